/* Batches in: checked, answered, queued. A batch that is known is answered again and never run a
 * second time; one for which there is no room waits here and is answered later. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "work/work.h"

#define FINISHED_MOST 100000 /* ended batches that are remembered */
#define SUMMARY_MOST 140     /* bytes of a step in a completion, beside the worker's name */
#define COMPLETION_MOST 700  /* and of all else in it */
#define DRAIN_BYTES 1000000  /* parsed at a time: more would hold the heartbeats up */
#define UNREAD_SHARE 16      /* a byte that is not parsed takes so much less of it */
#define STALE_MS 250         /* what lay in the sockets during a pause has come by then */
#define ACCEPTED_MESSAGES 2  /* of the largest size: what accepted batches may have in bytes */

void batch_free(void *value)
{
    struct batch *batch = value;
    if (!batch)
        return;
    tsk_batch_fini(&batch->data);
    free(batch->runs);
    free(batch);
}

/* Whether a batch of so many steps and bytes may come in. When nothing waits any may, since places
 * would stay empty otherwise. */
static bool has_room(const struct work *work, size_t steps, size_t bytes)
{
    int64_t waiting = (int64_t)(run_queued(work) + work->live.count);
    return !run_queued(work) ||
           (waiting + (int64_t)steps <= work->queue_limit + work->room &&
            work->accepted_bytes + bytes <= work->max_message * ACCEPTED_MESSAGES);
}

static void enqueue(struct work *work, struct batch *batch)
{
    batch->accepted_us = tsk_now_us();
    batch->left = batch->data.count;
    tsk_map_put(work->batches, batch->data.batch_id, batch);
    work->accepted += (int64_t)batch->data.count;
    work->accepted_bytes += batch->bytes;
    for (size_t i = 0; i < batch->data.count; i++)
        run_list_add(&work->queue, &batch->runs[i]);
    diag_info("batch %s: %zu step%s accepted", batch->data.batch_id, batch->data.count,
              tsk_plural((int64_t)batch->data.count));
    answer_accepted(work, batch->data.batch_id, batch->data.count);
}

void accept_paused(struct work *work, int64_t now)
{
    struct tsk_map_entry *next;
    work->stale_until = now + STALE_MS;
    for (struct tsk_map_entry *e = tsk_map_first(work->deferred); e; e = next) {
        const struct deferred *deferred = tsk_map_value(e);
        next = tsk_map_next(e);
        if (!deferred->plain)
            deferred_free(defer_take(work, tsk_map_key(e)));
    }
}

/* What is kept of a batch that was accepted: how many steps it has, and how long its text is. */
struct known {
    size_t steps, bytes;
};

static bool find_known(const struct work *work, const char *batch_id, struct known *known)
{
    const struct batch *batch = tsk_map_get(work->batches, batch_id);
    const struct known *finished = tsk_map_get(work->finished, batch_id);
    if (batch)
        *known = (struct known){batch->data.count, batch->bytes};
    else if (finished)
        *known = *finished;
    return batch || finished;
}

void accept_finished(struct work *work, struct batch *batch)
{
    struct known *known = tsk_alloc(sizeof *known);
    *known = (struct known){batch->data.count, batch->bytes};
    tsk_map_put(work->finished, batch->data.batch_id, known);
    if (tsk_map_count(work->finished) > FINISHED_MOST)
        tsk_map_remove(work->finished, tsk_map_key(tsk_map_first(work->finished)));
    work->accepted_bytes -= batch->bytes;
    char batch_id[TSK_ID_SIZE];
    snprintf(batch_id, sizeof batch_id, "%s", batch->data.batch_id);
    tsk_map_remove(work->batches, batch_id);
}

/* Answers for a batch that came before. Returns whether it is one. */
static bool answer_known(struct work *work, const char *batch_id)
{
    struct deferred *deferred = tsk_map_get(work->deferred, batch_id);
    struct known known;
    bool accepted = find_known(work, batch_id, &known);
    if (accepted)
        answer_accepted(work, batch_id, known.steps);
    if (deferred)
        deferred->heard_at = tsk_now_ms();
    return accepted || deferred;
}

/* Says which steps have no handler: the first of them, and how many more. Returns -1. */
static int no_handler(const struct batch *batch, const struct tsk_step *first, size_t missing,
                      struct tsk_err *err)
{
    char more[64] = "";
    if (missing > 1)
        snprintf(more, sizeof more, ", nor for %zu more of its %zu steps", missing - 1,
                 batch->data.count);
    return tsk_err_set(err, TSK_DATA, "no handler for %s (step %" PRId64 ", %s)%s",
                       first->handler_class, first->step_id, first->step_name, more);
}

/* Finds the handler of each step. Returns 0, or -1 with which are missing. */
static int assign(struct work *work, struct batch *batch, struct tsk_err *err)
{
    const struct tsk_step *first = NULL;
    size_t missing = 0;
    batch->runs = tsk_alloc(batch->data.count * sizeof *batch->runs);
    for (size_t i = 0; i < batch->data.count; i++) {
        struct run *run = &batch->runs[i];
        run->batch = batch;
        run->step = &batch->data.steps[i];
        tsk_json_bool(tsk_json_get(run->step->json, "metadata"), "cancelled", &run->cancelled);
        run->handler = tsk_handlers_find(work->handlers, run->step->handler_class);
        if (!run->handler && !missing++)
            first = run->step;
    }
    return first ? no_handler(batch, first, missing, err) : 0;
}

/* Whether the completion of the batch, with a summary a step, can be sent at all. */
static bool completion_fits(const struct work *work, const struct batch *batch)
{
    size_t summary = SUMMARY_MOST + strlen(work->id);
    return batch->data.count <= (work->max_message - COMPLETION_MOST) / summary;
}

/* Takes json, a batch with a valid batch_id whose text has so many bytes. Returns it checked, or
 * NULL: then it is refused. */
static struct batch *check(struct work *work, const char *topic, struct json_object *json,
                           size_t bytes)
{
    struct batch *batch = tsk_alloc(sizeof *batch);
    struct tsk_err err;
    char batch_id[TSK_ID_SIZE];
    snprintf(batch_id, sizeof batch_id, "%s", tsk_json_str(json, "batch_id"));
    batch->bytes = bytes;
    if (tsk_batch_read(&batch->data, json, true, &err) < 0) {
        answer_rejected(work, topic, batch_id, err.text, "InvalidBatch", "validation");
        free(batch);
        return NULL;
    }
    if (assign(work, batch, &err) < 0)
        answer_rejected(work, topic, batch_id, err.text, "NoHandler", "permanent");
    else if (!completion_fits(work, batch))
        answer_rejected(work, topic, batch_id,
                        "so many steps that the completion is over max_message_bytes",
                        "InvalidBatch", "validation");
    else
        return batch;
    batch_free(batch);
    return NULL;
}

/* The batch waits; or it does not, where too much waits already. Then its publisher sends it again,
 * but for a plain one, which would never know. */
static void defer(struct work *work, const struct batch *batch, const struct tsk_frame *frame)
{
    bool plain = !tsk_topic_is(frame->topic, TSK_TOPIC_WORKER);
    const char *batch_id = batch->data.batch_id;
    if (!defer_is_full(work)) {
        diag_debug("batch %s has to wait: the queue is full", batch_id);
        defer_keep(work, batch, frame, plain);
    } else if (plain) {
        answer_rejected(work, frame->topic, batch_id, "too many batches wait", "QueueFull",
                        "infrastructure");
    }
}

/* Takes json, the batch with a valid batch_id that came in frame. */
static void accept(struct work *work, const struct tsk_frame *frame, struct json_object *json)
{
    struct batch *batch = check(work, frame->topic, json, frame->len);
    if (!batch)
        return;
    if (!tsk_map_count(work->deferred) && has_room(work, batch->data.count, batch->bytes)) {
        enqueue(work, batch);
        return;
    }
    defer(work, batch, frame);
    batch_free(batch);
}

/* Whether a batch that waits is still for us. Its publisher sends it again and again as long as it
 * is; if it does not, it is gone or has given the batch to another worker. */
static bool is_ours(const struct work *work, const struct deferred *deferred, int64_t now)
{
    return deferred->plain ||
           now - deferred->heard_at <= 2 * tsk_conf_int(work->conf, TSK_ZEROMQ_RESEND_AFTER);
}

/* Takes in a batch that waited, with the marks that its steps have got meanwhile. */
static void enqueue_deferred(struct work *work, const struct deferred *deferred)
{
    struct tsk_err err;
    const char *topic = deferred->plain ? TSK_TOPIC_STEPS : TSK_TOPIC_WORKER;
    struct json_object *json = tsk_json_object(work->json, deferred->text, deferred->len, &err);
    struct batch *batch = json ? check(work, topic, json, deferred->len) : NULL;
    if (!batch)
        return; /* cannot be: it was read before */
    for (size_t i = 0; i < deferred->count; i++)
        batch->runs[i].cancelled |= deferred->steps[i].cancelled;
    enqueue(work, batch);
}

void accept_deferred(struct work *work)
{
    struct tsk_map_entry *first;
    int64_t now = tsk_now_ms();
    while (work->state == WORK_READY && (first = tsk_map_first(work->deferred))) {
        struct deferred *deferred = tsk_map_value(first);
        char batch_id[TSK_ID_SIZE];
        if (!has_room(work, deferred->count, deferred->len))
            return;
        snprintf(batch_id, sizeof batch_id, "%s", tsk_map_key(first));
        deferred = defer_take(work, batch_id);
        if (is_ours(work, deferred, now))
            enqueue_deferred(work, deferred);
        else
            diag_info("batch %s: not asked for any more", batch_id);
        deferred_free(deferred);
    }
}

/* Finds the batch_id in a message that is not parsed, or cannot be: too long (then this is its
 * beginning), nested too deep. Returns whether there is one that can be answered: without an answer
 * the publisher would send it for ever. */
static bool glimpse_id(const struct tsk_frame *frame, char id[TSK_ID_SIZE])
{
    static const char key[] = "\"batch_id\"";
    const char *at = strstr(frame->body, key);
    return at && tsk_name_glimpse(at + sizeof key - 1, id);
}

/* Whether the batch_id that is glimpsed is the batch's own, and not one from within a step. */
static bool is_own_id(const struct tsk_frame *frame)
{
    const char *object = strchr(frame->body, '{'), *key = strstr(frame->body, "\"batch_id\"");
    return object && key && object + 1 + strcspn(object + 1, "{[") > key;
}

/* Refuses a batch that cannot be read. Its own batch_id may stand behind what is too long or nested
 * too deep, in which there may be others. */
static void refuse_unread(struct work *work, const struct tsk_frame *frame, const char *why)
{
    char id[TSK_ID_SIZE] = "";
    struct json_object *json = frame->whole
                                   ? tsk_result_long(work->json, frame->all, frame->all_len, why)
                                   : tsk_json_salvage(work->json, frame->body, frame->len, NULL);
    const char *own = tsk_json_str(json, "batch_id");
    if (own && tsk_name_valid(own))
        snprintf(id, sizeof id, "%s", own);
    else if (json || !is_own_id(frame) || !glimpse_id(frame, id))
        *id = '\0';
    answer_rejected(work, frame->topic, id, why, "InvalidBatch", "validation");
    json_object_put(json);
}

static void refuse_long(struct work *work, const struct tsk_frame *frame)
{
    char why[128];
    snprintf(why, sizeof why, "message of %zu bytes is over max_message_bytes", frame->whole);
    refuse_unread(work, frame, why);
}

/* Whether it may have been sent before this process was held up, so that its publisher may have
 * given it to another. One that is still for us is sent again soon. */
static bool is_stale(const struct work *work, const struct tsk_frame *frame)
{
    return tsk_topic_is(frame->topic, TSK_TOPIC_WORKER) && tsk_now_ms() < work->stale_until;
}

static void tell_stale(const char *batch_id)
{
    diag_info("batch %s: came before a pause of this worker; accepted if it is sent again",
              batch_id);
}

/* Whether a batch that is new to us is not to be taken now, but when it is sent again. */
static bool is_for_later(const struct work *work, const struct tsk_frame *frame, const char *id)
{
    if (is_stale(work, frame)) {
        tell_stale(id);
        return true;
    }
    return defer_is_full(work) && tsk_topic_is(frame->topic, TSK_TOPIC_WORKER);
}

/* Does what can be done without parsing: the same batch was accepted before (that is told again),
 * or it waits here, or it is new and not to be taken now. Returns whether that was all. Publishers
 * send all that waits once a second: parsing that would leave no time for anything else, and more
 * would come meanwhile. */
static bool done_unread(struct work *work, const struct tsk_frame *frame)
{
    char id[TSK_ID_SIZE];
    struct known known;
    if (!glimpse_id(frame, id) || !is_own_id(frame))
        return false;
    if (find_known(work, id, &known))
        return known.bytes == frame->len && answer_known(work, id);
    struct deferred *deferred = tsk_map_get(work->deferred, id);
    if (!deferred)
        return is_for_later(work, frame, id);
    bool same = defer_is_same(deferred, frame);
    if (same)
        deferred->heard_at = tsk_now_ms();
    return same;
}

/* Refuses a batch of a plain publisher because this worker is stopping. Nobody else would ever tell
 * that publisher; a registered one gives its batches to another worker by itself. */
static void refuse_stopping(struct work *work, const char *batch_id)
{
    answer_rejected(work, TSK_TOPIC_STEPS, batch_id, "the worker is stopping", "Stopping",
                    "infrastructure");
}

/* The same for one that comes now. */
static void refuse_late(struct work *work, const struct tsk_frame *frame)
{
    char id[TSK_ID_SIZE];
    struct known known;
    if (!strcmp(frame->topic, TSK_TOPIC_STEPS) && glimpse_id(frame, id) && is_own_id(frame) &&
        !find_known(work, id, &known))
        refuse_stopping(work, id);
}

static void read_batch(struct work *work, const struct tsk_frame *frame)
{
    struct tsk_err err;
    struct json_object *json = tsk_json_object(work->json, frame->body, frame->len, &err);
    const char *batch_id = tsk_json_str(json, "batch_id");
    if (!json) {
        refuse_unread(work, frame, err.text);
    } else if (!batch_id || !tsk_name_valid(batch_id)) {
        answer_rejected(work, frame->topic, "", "batch_id is missing or not valid", "InvalidBatch",
                        "validation");
        json_object_put(json);
    } else if (answer_known(work, batch_id)) {
        json_object_put(json);
    } else if (is_stale(work, frame)) {
        tell_stale(batch_id);
        json_object_put(json);
    } else {
        accept(work, frame, json);
    }
}

/* Returns whether it was parsed. */
static bool on_message(struct work *work, const struct tsk_frame *frame)
{
    if (frame->whole) {
        refuse_long(work, frame);
        return false;
    }
    if (done_unread(work, frame))
        return false;
    read_batch(work, frame);
    return true;
}

/* Whether it has one of the two topics that a batch can have, or none at all. Others are meant for
 * somebody else, and come only since their names begin with "steps". */
static bool is_for_us(const struct work *work, const struct tsk_frame *frame)
{
    const char *topic = frame->topic;
    return !*topic || !strcmp(topic, TSK_TOPIC_STEPS) ||
           (tsk_topic_is(topic, TSK_TOPIC_WORKER) &&
            !strcmp(topic + strlen(TSK_TOPIC_WORKER), work->id));
}

bool accept_drain(struct work *work)
{
    struct tsk_frame frame;
    struct tsk_err err;
    bool any = false;
    int left = DRAIN_MOST;
    size_t bytes = 0;
    for (int got; left-- && bytes < DRAIN_BYTES; any = true) {
        if ((got = tsk_bus_recv(work->steps, &frame, &err)) == 0)
            break;
        if (got < 0) {
            diag_error("steps: %s", err.text);
            return any;
        }
        bool ready = work->state == WORK_READY, ours = is_for_us(work, &frame);
        bool parsed = ready && ours && on_message(work, &frame);
        if (!ready && ours)
            refuse_late(work, &frame);
        bytes += parsed ? frame.len : frame.len / UNREAD_SHARE;
    }
    return any;
}

/* Subscribes to a topic on which nothing is sent: so the publisher knows that the worker stops, and
 * that another worker may have at once what this one did not accept. */
static void announce_stop(struct work *work)
{
    char topic[TSK_TOPIC_SIZE];
    snprintf(topic, sizeof topic, TSK_TOPIC_STOPPING "%s ", work->id);
    tsk_bus_subscribe(work->steps, topic);
}

/* "steps" is without the space that ends it in the protocol, for the peers that send two frames. */
static void subscribe(struct work *work, void (*change)(struct tsk_bus *, const char *))
{
    char topic[TSK_TOPIC_SIZE];
    snprintf(topic, sizeof topic, TSK_TOPIC_WORKER "%s ", work->id);
    change(work->steps, topic);
    change(work->steps, TSK_TOPIC_STEPS);
}

void accept_all(struct work *work)
{
    subscribe(work, tsk_bus_subscribe);
}

void accept_none(struct work *work)
{
    announce_stop(work);
    subscribe(work, tsk_bus_unsubscribe);
    for (struct tsk_map_entry *e; (e = tsk_map_first(work->deferred));) {
        char batch_id[TSK_ID_SIZE];
        snprintf(batch_id, sizeof batch_id, "%s", tsk_map_key(e));
        struct deferred *deferred = defer_take(work, batch_id);
        if (deferred->plain)
            refuse_stopping(work, batch_id);
        deferred_free(deferred);
    }
}
