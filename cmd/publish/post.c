/* The loop of the publisher: input in, batches down in the store, out to the workers, answers in,
 * down in the store too, receipts out.
 *
 * Who gets what is decided by tsk_dispatch; here are the port, the poller and the clock. Nothing is
 * ever waited for by sleeping: all pauses are the poller's, with the earliest of the deadlines. */
#include "publish/post.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/life.h"
#include "common/out.h"
#include "common/signals.h"
#include "tasker/clock.h"
#include "tasker/message.h"

enum {
    GATHER_PAUSES = 10,  /* of reconnect_max: a busy worker may be late */
    AWAIT_MS = 2000,     /* until it is told that no worker is there */
    OPEN_EVERY_MS = 100, /* tries to have the port */
    TICK_MS = 1000,      /* looks for something to warn of */
    LINES_AT_ONCE = 256  /* before the sockets are looked at again */
};

/* What the poller may find; the addresses are the tags. */
static const char tag_input, tag_bus, tag_signals;

/* Tries to have the port. Returns false if that can never be. */
static bool open_bus(struct post *post, int64_t now)
{
    struct tsk_err err;
    if (post->bus || now < post->next_open)
        return true;
    post->bus = tsk_bus_open(post->conf, TSK_STEPS, TSK_SENDER, &err);
    if (post->bus) {
        post->opened = now;
        tsk_poller_set(post->poller, tsk_bus_fd(post->bus), TSK_READ, (void *)&tag_bus);
        life_watch(post->bus, post->poller, (void *)&tag_bus);
        if (!tsk_bus_binds(post->bus))
            diag_info("connecting to %s", tsk_bus_endpoint(post->bus));
        return true;
    }
    if (err.kind != TSK_TEMPFAIL) {
        post->status = diag_err(&err);
        return false;
    }
    if (post->taken.kind == TSK_OK && post->wait)
        diag_warn("%s; waiting for it", err.text);
    post->taken = err;
    post->next_open = now + OPEN_EVERY_MS;
    return true;
}

size_t post_room(const struct post *post)
{
    size_t window = (size_t)tsk_conf_int(post->conf, TSK_ZEROMQ_SEND_WINDOW);
    size_t count = tsk_dispatch_count(post->dispatch) + record_count(&post->record);
    return count < window ? window - count : 0;
}

static void add_parcel(struct post *post, struct parcel *parcel)
{
    post->added++;
    parcel->held =
        tsk_dispatch_add(post->dispatch, parcel->batch_id, (int64_t)parcel->count, parcel);
    if (post->record.store)
        record_note(&post->record, parcel, RECORD_ADD);
}

void post_accepted(struct post *post, struct parcel *parcel, struct json_object *reply,
                   int64_t attempts)
{
    post->accepted++;
    handed_forget(post, parcel);
    parcel->held = false;
    parcel->reply = json_object_get(reply);
    parcel->at = tsk_wall_ms();
    parcel->attempts = attempts;
    if (post->record.store)
        record_note(&post->record, parcel, RECORD_ACCEPT);
    else
        receipt_print(post, parcel);
}

void post_rejected(struct post *post, struct parcel *parcel)
{
    char source[sizeof TSK_OUTBOUND_SOURCE + TSK_ID_SIZE];
    post->status = tsk_exit_worse(post->status, TSK_NO);
    handed_forget(post, parcel);
    parcel->held = false;
    parcel->line_error = receipt_refusal(parcel);
    if (!post->record.store) {
        receipt_rejected(parcel);
        return;
    }
    snprintf(source, sizeof source, TSK_OUTBOUND_SOURCE "%s", parcel->batch_id);
    tsk_json_put_str(parcel->line_error, "source", source);
    tsk_json_put_int(parcel->line_error, "offset", TSK_OUTBOUND_OFFSET);
    record_note(&post->record, parcel, RECORD_REFUSE);
}

/* Whether there is room for input, and some that need not be waited for. */
static bool can_read(const struct post *post)
{
    return !post->input_ended && !post->input_wanted && !out_failed() && post_room(post);
}

/* Reads while there is something to read and room for it. */
static void read_input(struct post *post)
{
    struct tsk_lines *lines = source_lines(post->source);
    struct parcel *parcel;
    post->input_wanted = false;
    for (int i = 0; i < LINES_AT_ONCE && can_read(post); i++) {
        switch (source_next(post->source, tsk_now_ms(), &parcel)) {
        case SOURCE_PARCEL:
            add_parcel(post, parcel);
            break;
        case SOURCE_LINE:
            break;
        case SOURCE_END:
            post->input_ended = true;
            break;
        case SOURCE_MORE:
            post->input_wanted = !tsk_lines_regular(lines);
            if (!post->input_wanted)
                tsk_lines_fill(lines);
            break;
        }
    }
}

/* Sends one batch as dispatch wants it. */
static void send_batch(struct post *post, const struct tsk_dispatch_act *act, int64_t now)
{
    struct parcel *parcel = act->tag;
    char topic[TSK_TOPIC_SIZE] = TSK_TOPIC_STEPS;
    const struct tsk_buf *text = parcel->marked.len ? &parcel->marked : &parcel->text;
    struct tsk_err err;
    bool plain = !act->worker_id;
    if (!plain)
        snprintf(topic, sizeof topic, TSK_TOPIC_WORKER "%s", act->worker_id);
    diag_debug("batch %s: sent on %s", parcel->batch_id, topic);
    if (!plain)
        handed_forget(post, parcel);
    int rc = plain ? handed_send(post, parcel, text, &err)
                   : tsk_bus_send(post->bus, topic, text->data, text->len, &err);
    if (rc < 0)
        diag_warn("batch %s: %s", parcel->batch_id, err.text);
    tsk_dispatch_sent(post->dispatch, rc > 0, now);
}

/* A batch is to go to a worker: that is recorded first, if it is not yet. */
static void offer_batch(struct post *post, const struct tsk_dispatch_act *act)
{
    struct parcel *parcel = act->tag;
    bool other = parcel->told && strcmp(parcel->told, act->worker_id) != 0;
    parcel_set(&parcel->target, act->worker_id);
    diag_debug("batch %s: offered to %s", parcel->batch_id, act->worker_id);
    if (parcel->told && !other && !(parcel->todo & RECORD_ADD))
        tsk_dispatch_allow(post->dispatch, parcel->batch_id, act->worker_id);
    else
        record_note(&post->record, parcel, RECORD_OFFER | (other ? RECORD_LOOK : 0));
}

/* Does all that can be done now. */
static void act_all(struct post *post)
{
    struct tsk_dispatch_act act;
    enum tsk_dispatch_kind kind;
    int64_t now = tsk_now_ms();
    if (!record_may_send(&post->record, now))
        return;
    while ((kind = tsk_dispatch_next(post->dispatch, now, &act)) != TSK_DISPATCH_NONE &&
           !out_failed()) {
        if (kind == TSK_DISPATCH_OFFER)
            offer_batch(post, &act);
        else if (kind == TSK_DISPATCH_SEND)
            send_batch(post, &act, now);
        else
            post_rejected(post, act.tag);
    }
}

/* The same, with what has to be recorded before and after. Returns false if the store is not there
 * in time. */
static bool act_recorded(struct post *post)
{
    act_all(post);
    if (!post->record.store)
        return true;
    if (!record_all(post)) {
        post_give_up(post, post->record.err.text);
        return false;
    }
    act_all(post);
    return true;
}

/* Whether all that was read, and all of the store that was wanted, is done. */
static bool is_idle(const struct post *post)
{
    const struct unsent *unsent = &post->record.unsent;
    return (!unsent->wanted || unsent->ended) && !tsk_dispatch_count(post->dispatch) &&
           !record_count(&post->record);
}

/* Whether there is nothing more to do, and nothing more to come. */
static bool is_done(const struct post *post)
{
    return post->input_ended && is_idle(post);
}

/* Ends at a signal: as a service that is told to, if nothing that came is left undone. */
static void stop(struct post *post)
{
    if (is_idle(post) && !source_pending(post->source))
        return;
    post->status = tsk_exit_worse(post->status, TSK_TEMPFAIL);
    post_give_up(post, "stopped by a signal");
}

static int64_t next_deadline(const struct post *post)
{
    int64_t at = tsk_dispatch_deadline(post->dispatch);
    at = tsk_earlier(at, tsk_limit_next(post_wait_deadline(post), post->limit_at));
    at = tsk_earlier(at, life_deadline(post->bus));
    at = tsk_earlier(at, life_deadline(post->results.bus));
    at = tsk_earlier(at, handed_deadline(post));
    at = tsk_earlier(at, record_deadline(post, tsk_now_ms()));
    if (post_room(post))
        at = tsk_earlier(at, source_deadline(post->source));
    if (!post->bus)
        at = tsk_earlier(at, post->next_open);
    if (tsk_dispatch_count(post->dispatch))
        at = tsk_earlier(at, post->last_tick + TICK_MS);
    return at;
}

static void wait_for_events(struct post *post, bool busy)
{
    struct tsk_event events[4];
    struct tsk_lines *lines = source_lines(post->source);
    int fd = tsk_lines_fd(lines);
    if (post->input_wanted)
        tsk_poller_set(post->poller, fd, TSK_READ, (void *)&tag_input);
    size_t n = tsk_poller_wait(post->poller, busy ? 0 : tsk_left_ms(next_deadline(post)), events,
                               sizeof events / sizeof *events);
    if (post->input_wanted) /* it may be closed by the next read, or not be wanted */
        tsk_poller_set(post->poller, fd, 0, NULL);
    for (size_t i = 0; i < n; i++) {
        if (events[i].tag == &tag_input)
            tsk_lines_fill(lines);
        else if (events[i].tag == &tag_signals)
            post->stop |= signals_read(NULL) & SIGNALS_STOP;
    }
}

/* While batches wait and nobody is there to take them, it is told who is waited for. */
static void await_worker(struct post *post)
{
    if (!post->bus)
        return;
    if (tsk_dispatch_stranded(post->dispatch) >= 0 && !tsk_dispatch_registered(post->dispatch))
        tsk_bus_await(post->bus, NULL, "a worker", AWAIT_MS);
    else
        tsk_bus_await_end(post->bus);
}

/* One turn of the loop. Returns whether there is more to do. */
static bool turn(struct post *post)
{
    if (!open_bus(post, tsk_now_ms()))
        return false;
    handed_look(post);
    read_input(post);
    post_receive(post);
    await_worker(post);
    life_tell(post->bus);
    results_side_look(post, tsk_now_ms());
    if (!act_recorded(post))
        return false;
    /* sending may have used up the sign that something came */
    bool busy = post_receive(post) || can_read(post);
    if (is_done(post) && !handed_lingers(post))
        return false;
    if (handed_stuck(post)) {
        post_give_up(post, "stopped: plain subscribers take nothing");
        return false;
    }
    if (!busy && out_flush() < 0) {
        post_give_up(post, "stopped: nobody takes the receipts");
        return false;
    }
    if (post->stop) {
        stop(post);
        return false;
    }
    if (post_timed_out(post))
        return false;
    if (tsk_now_ms() >= post->last_tick + TICK_MS)
        post_warn(post, tsk_now_ms());
    diag_progress("%" PRId64 " of %" PRId64 " batch%s accepted, workers: %zu", post->accepted,
                  post->added, post->added == 1 ? "" : "es",
                  tsk_dispatch_registered(post->dispatch));
    wait_for_events(post, busy);
    return true;
}

static void free_parcel(void *ctx, const struct tsk_dispatch_batch *batch)
{
    (void)ctx;
    parcel_free(batch->tag);
}

static int open_all(struct post *post, struct tsk_err *err)
{
    int signals_fd = signals_open(false, err);
    int opened = record_open(&post->record, post->conf, signals_fd, err);
    struct tsk_dispatch_opts opts = {
        .window = (size_t)tsk_conf_int(post->conf, TSK_ZEROMQ_SEND_WINDOW),
        .resend_after_ms = tsk_conf_int(post->conf, TSK_ZEROMQ_RESEND_AFTER),
        .quiet_ms = POST_QUIET_MS,
        .workers = post->workers,
        .grace_ms =
            TSK_HEARTBEATS_MISSED * tsk_conf_int(post->conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL) +
            tsk_conf_int(post->conf, TSK_ZEROMQ_RECONNECT_MAX),
        .ask = post->record.store,
        .gather_ms = tsk_earlier(GATHER_PAUSES * tsk_conf_int(post->conf, TSK_ZEROMQ_RECONNECT_MAX),
                                 post->wait),
    };
    post->dispatch = tsk_dispatch_new(&opts);
    post->parser = tsk_json_new();
    post->result_endpoints = tsk_map_new(free);
    post->poller = tsk_poller_new();
    if (signals_fd < 0 || opened < 0)
        return -1;
    if (!post->poller)
        return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot wait for descriptors");
    tsk_poller_set(post->poller, signals_fd, TSK_READ, (void *)&tag_signals);
    return 0;
}

static void close_all(struct post *post)
{
    diag_progress_end();
    record_close(post);
    tsk_dispatch_each_batch(post->dispatch, free_parcel, NULL);
    tsk_dispatch_free(post->dispatch);
    results_side_close(post);
    free(post->handed.items);
    life_close(post->bus, DIAG_WARNING); /* lingers, so that the last message leaves */
    tsk_poller_free(post->poller);
    tsk_json_free(post->parser);
    tsk_map_free(post->result_endpoints);
    signals_close();
}

/* Whether there is anything in the store to be sent: for nothing no port is needed. */
static bool has_pending(struct post *post)
{
    struct tsk_err err = TSK_ERR_INIT;
    if (!post->record.store)
        tsk_err_set(&err, TSK_CONFIG, "--pending needs a store, and store.url is none (%s)",
                    tsk_conf_origin(post->conf, TSK_STORE_URL));
    int any = post->record.store ? pending_any(post, &err) : -1;
    if (any < 0)
        post->status = diag_err(&err);
    return any > 0;
}

enum tsk_exit post_run(const struct tsk_conf *conf, struct source *source, size_t workers,
                       bool pending)
{
    struct tsk_err err;
    int64_t now = tsk_now_ms();
    struct post post = {.conf = conf,
                        .source = source,
                        .workers = workers,
                        .wait = tsk_conf_int(conf, TSK_ZEROMQ_WAIT),
                        .started = now,
                        .last_tick = now};
    post.record.unsent.wanted = pending;
    post.record.unsent.since = tsk_wall_ms();
    if (open_all(&post, &err) < 0)
        post.status = diag_err(&err);
    else if (!pending || has_pending(&post))
        while (turn(&post))
            ;
    receipts_end(&post);
    close_all(&post);
    return tsk_exit_worse(post.status, source_status(source));
}
