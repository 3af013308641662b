/* Results out: sent, kept in the outbox, confirmed, sent again. While more steps wait than run,
 * results go out in small groups, since each message that wakes the peers costs them and the
 * handlers processor time; otherwise at once. A collector with an address
 * of its own (its subscription to "collector.ID ") is answered there, so that nobody else sees a
 * result twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/life.h"
#include "work/work.h"

#define REPLAY_AT_ONCE 256 /* messages a turn of the loop and replay */
#define REPLAY_AHEAD 5000  /* messages beyond what the collector has confirmed */
#define REPLAYS_MOST 64
#define COLLECTORS_MOST 1024
#define GROUP_MS 3    /* the longest that a result waits for others */
#define GROUP_MOST 32 /* and with how many of them */

/* A replay under way. */
struct replay {
    char collector[TSK_ID_SIZE]; /* "" : on the normal topics */
    int64_t next;                /* the offset that goes out next */
    int64_t asked;               /* it was asked for what is after this */
};

struct feed {
    struct tsk_outbox *outbox;
    struct replay replays[REPLAYS_MOST];
    size_t replay_count;
    size_t subscribers; /* connections that take partial_result */
    size_t collectors;  /* those of them that confirm; the others are plain subscribers */
    int64_t alone; /* what is before it went out while no plain subscriber was there, or earlier */
    int64_t taken; /* what is before it had left the sockets while one was there */
    int64_t lost_told;
    bool twice_told;  /* that two collectors have one id */
    int64_t unsent;   /* the first offset that has not gone out yet */
    int64_t group;    /* how many may wait */
    int64_t flush_at; /* when those that wait must go; -1: none waits */
};

struct feed *feed_new(const struct tsk_conf *conf)
{
    struct feed *feed = tsk_alloc(sizeof *feed);
    feed->outbox = tsk_outbox_new(tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_LIMIT),
                                  tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_MAX_BYTES),
                                  tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_MAX_AGE));
    int64_t limit = tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_LIMIT);
    feed->group = limit < GROUP_MOST ? limit : GROUP_MOST;
    feed->unsent = 1;
    feed->flush_at = -1;
    return feed;
}

void feed_free(struct feed *feed)
{
    if (!feed)
        return;
    tsk_outbox_free(feed->outbox);
    free(feed);
}

/* Whether anybody takes the results who cannot confirm them. */
static bool has_plain(const struct feed *feed)
{
    return feed->subscribers > feed->collectors;
}

static void put(struct work *work, const char *topic, const char *body, size_t len)
{
    struct tsk_err err;
    if (tsk_bus_send(work->results, topic, body, len, &err) < 0)
        diag_error("cannot send a result: %s", err.text);
}

/* Sends all that waits, or as much as there is room for. At the end of the worker all must go, and
 * may. */
static void flush_all(struct work *work)
{
    struct feed *feed = work->feed;
    struct tsk_outbox_entry entry;
    struct tsk_err err;
    if (feed->unsent < tsk_outbox_oldest(feed->outbox))
        feed->unsent = tsk_outbox_oldest(feed->outbox); /* given up before there was room */
    for (; feed->unsent < tsk_outbox_next(feed->outbox); feed->unsent++) {
        if (work->state != WORK_STOPPED && flow_is_full(work))
            return;
        if (tsk_outbox_get(feed->outbox, feed->unsent, &entry) &&
            tsk_bus_send_blob(work->results, entry.blob, &err) < 0)
            diag_error("cannot send a result: %s", err.text);
        if (!has_plain(feed))
            feed->alone = feed->unsent + 1;
    }
    feed->flush_at = -1;
}

bool feed_flush(struct work *work)
{
    struct feed *feed = work->feed;
    if (work->flow.look_at >= 0 &&
        !flow_look(work, tsk_outbox_bytes(feed->outbox, feed->unsent), tsk_now_ms()))
        return false;
    if (feed->flush_at < 0 || (work->queue.first && tsk_now_ms() < feed->flush_at))
        return false;
    flush_all(work);
    return true;
}

int64_t feed_flush_at(const struct work *work)
{
    return work->flow.look_at >= 0 ? work->flow.look_at : work->feed->flush_at;
}

/* Adds the place in the stream as the last members of an object. */
static void add_place(const struct work *work, struct tsk_buf *text)
{
    text->len--; /* its brace */
    tsk_write_str(text, "source", work->source);
    tsk_write_int(text, "offset", tsk_outbox_next(work->feed->outbox));
    tsk_write_close(text, '}');
}

void feed_send(struct work *work, enum tsk_type type, struct tsk_buf *text)
{
    struct tsk_outbox *outbox = work->feed->outbox;
    add_place(work, text);
    if (text->len > work->max_message)
        result_shorten(work, work->max_message, text);
    int64_t now = tsk_now_ms();
    tsk_outbox_add(outbox, tsk_type_name(type), text->data, text->len, now);
    tsk_buf_fini(text);
    if (work->feed->flush_at < 0)
        work->feed->flush_at = now + GROUP_MS;
    if (tsk_outbox_next(outbox) - work->feed->unsent >= work->feed->group && work->flow.look_at < 0)
        flush_all(work);
}

static void put_counts(const struct work *work, struct json_object *message)
{
    tsk_json_put_int(message, "running", run_count(work));
    run_put_load(work, message);
    tsk_json_put_int(message, "max_workers", work->room);
    tsk_json_put_int(message, "accepted", work->accepted);
    tsk_json_put_int(message, "completed", work->completed);
    tsk_json_put_int(message, "failed", work->failed);
    tsk_json_put_int(message, "rejected", work->rejected);
    tsk_json_put_int(message, "lost", tsk_outbox_lost(work->feed->outbox));
    tsk_json_put_int(message, "collectors", (int64_t)tsk_outbox_collectors(work->feed->outbox));
}

/* Two collectors of one id: both are told, since each drops what the other has confirmed. */
static void put_twice(struct work *work, struct json_object *message)
{
    int64_t least =
        (TSK_HEARTBEATS_MISSED + 1) * tsk_conf_int(work->conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL);
    const char *id = tsk_outbox_twice(work->feed->outbox, tsk_now_ms(), least);
    if (!id)
        return;
    tsk_json_put_str(message, "collector_twice", id);
    if (!work->feed->twice_told)
        diag_warn("two collectors have the id %s: what one confirms the other may never get; give "
                  "each its own --id",
                  id);
    work->feed->twice_told = true;
}

/* Where batches come from, so that a worker which gets none can be asked why. */
static const char *batch_endpoint(const struct work *work)
{
    return tsk_bus_binds(work->steps) ? tsk_bus_endpoint(work->steps)
                                      : tsk_conf_str(work->conf, TSK_ZEROMQ_BATCH_ENDPOINT);
}

/* Adds what the outbox holds last of a step, "STEP_ID.BATCH_ID", if that is its end. */
static void put_end(const struct work *work, struct json_object *message, const char *step)
{
    const struct tsk_outbox *outbox = work->feed->outbox;
    struct tsk_buf head = TSK_BUF_INIT;
    struct tsk_outbox_entry entry;
    char *batch_id;
    int64_t step_id = strtoll(step, &batch_id, 10);
    result_head(&head, step_id, *batch_id ? batch_id + 1 : "");
    tsk_buf_char(&head, ',');
    int64_t offset = tsk_outbox_next(outbox) - 1;
    while (tsk_outbox_get(outbox, offset, &entry) &&
           (entry.len < head.len || memcmp(entry.body, head.data, head.len) != 0))
        offset--;
    struct json_object *result =
        tsk_outbox_get(outbox, offset, &entry)
            ? tsk_json_object(work->json, entry.body, entry.len, NULL)
            : NULL;
    const char *status = tsk_json_str(result, "status"), *at = tsk_json_str(result, "timestamp");
    if (status && at && strcmp(status, "in_progress") != 0) {
        tsk_json_put_int(message, "step_offset", offset);
        tsk_json_put_str(message, "step_ended_at", at);
    }
    json_object_put(result);
    tsk_buf_fini(&head);
}

void feed_status(struct work *work, const char *topic)
{
    bool asked = topic && tsk_topic_is(topic, TSK_TOPIC_STATUS);
    const char *step = asked ? strchr(topic + strlen(TSK_TOPIC_STATUS), '.') : NULL;
    static const char *const states[] = {"starting", "ready", "draining", "stopped"};
    struct tsk_outbox *outbox = work->feed->outbox;
    struct json_object *message = json_object_new_object();
    char host[256] = "";
    size_t len;
    flush_all(work); /* the more can be told: an offset must have gone out before */
    gethostname(host, sizeof host - 1);
    tsk_json_put_str(message, "message_type", tsk_type_name(TSK_TYPE_WORKER));
    tsk_json_put_str(message, "worker_id", work->id);
    tsk_json_put_str(message, "source", work->source);
    tsk_json_put_int(message, "offset", work->feed->unsent - 1);
    tsk_json_put_int(message, "oldest", tsk_outbox_oldest(outbox));
    tsk_json_put_int(message, "unconfirmed", tsk_outbox_unconfirmed(outbox));
    tsk_json_put_str(message, "state", states[work->state]);
    tsk_json_put_int(message, "heartbeat_ms",
                     tsk_conf_int(work->conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL));
    tsk_json_put_str(message, "host", host);
    tsk_json_put_int(message, "pid", getpid());
    tsk_json_put_str(message, "batch_endpoint", batch_endpoint(work));
    tsk_json_put_str(message, "result_endpoint", work->result_endpoint);
    put_counts(work, message);
    put_twice(work, message);
    breaker_put_open(work, message);
    if (step)
        put_end(work, message, step + 1);
    tsk_json_put_time(message, "timestamp", tsk_wall_ms());
    const char *text = tsk_json_text(message, &len);
    put(work, topic ? topic : tsk_type_name(TSK_TYPE_WORKER), text, len);
    json_object_put(message);
}

/* Sends a status to the topic that a peer has of its own: the subscription without its space. */
static void status_to(struct work *work, const char *subscription)
{
    char topic[TSK_TOPIC_SIZE];
    snprintf(topic, sizeof topic, "%.*s", (int)strlen(subscription) - 1, subscription);
    feed_status(work, topic);
}

static struct replay *find_replay(struct feed *feed, const char *collector)
{
    for (size_t i = 0; i < feed->replay_count; i++) {
        if (!strcmp(feed->replays[i].collector, collector))
            return &feed->replays[i];
    }
    return NULL;
}

static void end_replay(struct feed *feed, struct replay *replay)
{
    if (replay)
        *replay = feed->replays[--feed->replay_count];
}

/* Whether somebody who subscribed to prefix takes the results; one who subscribes to the first byte
 * of all topics (tasker-collect --tap) only looks on. */
static bool takes_results(const char *prefix)
{
    return !*prefix || !strcmp(prefix, "partial_result") || !strcmp(prefix, "partial_result ");
}

static void count_peer(size_t *count, bool join)
{
    if (join)
        ++*count;
    else if (*count)
        --*count;
}

static void on_subscription(struct work *work, const struct tsk_frame *frame)
{
    struct feed *feed = work->feed;
    bool join = frame->kind == TSK_FRAME_JOIN;
    char name[TSK_ID_SIZE];
    life_topic(work->results, frame);
    if (tsk_topic_own(frame->topic, TSK_TOPIC_COLLECTOR, name)) {
        count_peer(&feed->collectors, join);
        if (!join) {
            tsk_outbox_leave(feed->outbox, name);
            if (tsk_outbox_confirmed(feed->outbox, name) < 0)
                end_replay(feed, find_replay(feed, name));
            return;
        }
        if (tsk_outbox_collectors(feed->outbox) >= COLLECTORS_MOST &&
            tsk_outbox_confirmed(feed->outbox, name) < 0)
            return; /* whoever that is, they can still listen */
        diag_info("collector %s is there", name);
        tsk_outbox_join(feed->outbox, name);
        status_to(work, frame->topic);
    } else if (join && tsk_topic_own(frame->topic, TSK_TOPIC_STATUS, name)) {
        status_to(work, frame->topic);
    } else if (takes_results(frame->topic)) {
        count_peer(&feed->subscribers, join);
    }
}

static void on_replay(struct work *work, struct json_object *message, const char *collector)
{
    struct feed *feed = work->feed;
    int64_t after;
    if (tsk_json_int(message, "after", &after) != 1 || after < 0) {
        diag_warn("a replay message without \"after\"");
        return;
    }
    bool known = tsk_outbox_confirmed(feed->outbox, collector) >= 0;
    if (!known && tsk_outbox_collectors(feed->outbox) >= COLLECTORS_MOST)
        collector = ""; /* one too many to be known: it is answered where all hear it */
    if (after >= tsk_outbox_next(feed->outbox) || (*collector && !known))
        return; /* nothing to send; or nobody, without a subscription to its own topic */
    struct replay *replay = find_replay(feed, collector);
    if (!replay && feed->replay_count == REPLAYS_MOST)
        return; /* it asks again */
    if (!replay) {
        replay = &feed->replays[feed->replay_count++];
        snprintf(replay->collector, sizeof replay->collector, "%s", collector);
    }
    replay->next = after + 1;
    replay->asked = after;
    diag_debug("replay after %lld for %s", (long long)after, *collector ? collector : "all");
}

static void on_upstream(struct work *work, const struct tsk_frame *frame)
{
    struct tsk_err err;
    struct json_object *message = tsk_json_object(work->json, frame->body, frame->len, &err);
    const char *source = tsk_json_str(message, "source");
    const char *collector = tsk_json_str(message, "collector_id");
    int64_t offset;
    if (!message) {
        diag_warn("results: message of topic \"%s\" from a peer: %s", frame->topic, err.text);
    } else if (!strcmp(frame->topic, TSK_TOPIC_CANCEL)) {
        cancel_message(work, message);
    } else if (source && !strcmp(source, work->source)) { /* all workers hear it */
        if (!strcmp(frame->topic, TSK_TOPIC_REPLAY))
            on_replay(work, message, collector && tsk_name_valid(collector) ? collector : "");
        else if (!strcmp(frame->topic, TSK_TOPIC_COLLECTED) && collector &&
                 tsk_json_int(message, "offset", &offset) == 1)
            tsk_outbox_confirm(work->feed->outbox, collector, offset);
    }
    json_object_put(message);
}

bool feed_drain(struct work *work)
{
    struct tsk_frame frame;
    struct tsk_err err;
    bool any = false;
    int left = DRAIN_MOST;
    /* before libzmq is called, which may then forget what waits for a peer that has left */
    if (has_plain(work->feed) && !tsk_bus_backlog(work->results))
        work->feed->taken = work->feed->unsent;
    for (int got; left-- && (got = tsk_bus_recv(work->results, &frame, &err)) != 0; any = true) {
        if (got < 0) {
            diag_error("results: %s", err.text);
            return any;
        }
        if (frame.kind == TSK_FRAME_MESSAGE)
            on_upstream(work, &frame);
        else
            on_subscription(work, &frame);
    }
    return any;
}

/* Sends one part of a replay. Returns false once all is sent. */
static bool replay_part(struct work *work, struct replay *replay)
{
    struct feed *feed = work->feed;
    struct tsk_outbox_entry entry;
    char topic[TSK_TOPIC_SIZE];
    int64_t confirmed = tsk_outbox_confirmed(feed->outbox, replay->collector);
    int64_t base = confirmed > replay->asked ? confirmed : replay->asked;
    snprintf(topic, sizeof topic, TSK_TOPIC_COLLECTOR "%s", replay->collector);
    if (replay->next < tsk_outbox_oldest(feed->outbox)) {
        replay->next = tsk_outbox_oldest(feed->outbox);
        if (base < replay->next)
            base = replay->asked = replay->next - 1;
        feed_status(work, *replay->collector ? topic : NULL); /* so that it knows of the hole */
    }
    for (int n = 0; n < REPLAY_AT_ONCE && replay->next <= base + REPLAY_AHEAD; n++) {
        if (flow_is_full(work))
            return true;
        if (!tsk_outbox_get(feed->outbox, replay->next, &entry))
            return false;
        put(work, *replay->collector ? topic : entry.topic, entry.body, entry.len);
        replay->next++;
    }
    return true;
}

bool feed_replay(struct work *work)
{
    struct feed *feed = work->feed;
    bool sent = false;
    if (!feed->replay_count || work->flow.look_at >= 0)
        return false;
    flush_all(work);
    for (size_t i = 0; i < feed->replay_count;) {
        int64_t before = feed->replays[i].next;
        if (!replay_part(work, &feed->replays[i])) {
            end_replay(feed, &feed->replays[i]);
            sent = true;
            continue;
        }
        sent |= feed->replays[i++].next != before;
    }
    return sent;
}

void feed_expire(struct work *work, int64_t now)
{
    struct feed *feed = work->feed;
    tsk_outbox_expire(feed->outbox, now);
    int64_t lost = tsk_outbox_lost(feed->outbox);
    if (lost > feed->lost_told)
        diag_warn("%lld result%s given up unconfirmed (%lld in all): outbox limits",
                  (long long)(lost - feed->lost_told),
                  lost - feed->lost_told == 1 ? " was" : "s were",
                  (long long)lost);
    feed->lost_told = lost;
}

int64_t feed_unconfirmed(const struct work *work)
{
    const struct tsk_outbox *outbox = work->feed->outbox;
    return tsk_outbox_next(outbox) - tsk_outbox_unconfirmed(outbox);
}

bool feed_has_collector(const struct work *work)
{
    return tsk_outbox_collectors(work->feed->outbox) > 0;
}

bool feed_is_done(const struct work *work)
{
    const struct feed *feed = work->feed;
    if (!feed_unconfirmed(work))
        return true;
    return !feed_has_collector(work) && tsk_outbox_unconfirmed(feed->outbox) >= feed->alone &&
           (has_plain(feed) || feed->taken >= tsk_outbox_next(feed->outbox));
}
