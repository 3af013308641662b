/* What comes in from the bus. Each message is parsed once; of one that is already in the shape that
 * the protocol asks for, as nearly all are, the very bytes are printed. The order of the questions
 * is: is it JSON at all, is it the next of its stream, is it a result, is its batch one of ours. */
#include "collect/collect.h"
#include "collect/keep.h"
#include "collect/place.h"
#include "collect/skew.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "tasker/parse.h"
#include "tasker/message.h"

/* A message while it is handled. */
struct incoming {
    struct collect *c;
    const struct tsk_frame *frame;
    const char *source; /* of its stream; NULL: it belongs to none */
    int64_t offset;
    bool cut;                /* it is beyond a limit, and this is what is within */
    struct keep_line *lines; /* what it is to be printed as once it is in the store; NULL so far */
    char batch_id[TSK_ID_SIZE]; /* of these */
};

/* Reads source and offset; a peer that sends others than the protocol allows has no stream. */
static void read_place(struct incoming *in, struct json_object *message)
{
    const char *source = tsk_json_str(message, "source");
    in->source = NULL;
    in->offset = 0;
    if (source && tsk_name_valid(source) && tsk_json_int(message, "offset", &in->offset) == 1 &&
        in->offset >= 0 && in->offset < TSK_STREAM_OFFSET_MAX)
        in->source = source;
}

/* From a worker of others: not taken, and so not confirmed either. */
static bool is_strange(const struct incoming *in)
{
    return in->source && endpoints_is_stranger(in->c->endpoints, in->source);
}

/* A worker sees two collectors of this id: what one has confirmed the other never gets. */
static void note_namesake(struct collect *c, struct json_object *message)
{
    const char *twice = tsk_json_str(message, "collector_twice");
    if (c->namesake || !twice || strcmp(twice, c->id) != 0)
        return;
    c->namesake = true;
    diag_warn("another collector has the id %s too: what one confirms the other may never get; "
              "give each its own --id",
              c->id);
}

static void take_status(struct incoming *in, struct json_object *message)
{
    int64_t oldest = 0, unconfirmed = 0, heartbeat = 0;
    const char *state = tsk_json_str(message, "state");
    bool stopped = state && !strcmp(state, "stopped");
    if (!in->source)
        return;
    endpoints_status(in->c, in->source, message, stopped);
    if (is_strange(in))
        return;
    skew_status(in->c->skews, in->source, message);
    note_namesake(in->c, message);
    if (tsk_json_int(message, "oldest", &oldest) < 0)
        oldest = 0;
    int told = tsk_json_int(message, "unconfirmed", &unconfirmed);
    /* a service goes on where the last one stopped; who waits for batches wants all there is */
    report_lost(in->source,
                tsk_stream_status(in->c->stream, in->source, in->offset, oldest,
                                  in->c->opts->follow && told == 1 ? unconfirmed : 0, in->c->now));
    if (told == 1)
        tsk_stream_settled(in->c->stream, in->source, unconfirmed);
    farewell_status(in->c, in->source, message, stopped);
    if (tsk_json_int(message, "heartbeat_ms", &heartbeat) < 0)
        heartbeat = 0;
    if (lost_status(in->c->lost, in->source, heartbeat, stopped))
        batches_recheck(in->c->batches);
    inquiry_status(in->c, in->source, in->frame->topic, message);
}

static bool is_next(struct incoming *in)
{
    int64_t lost;
    if (in->c->refusing) {
        tsk_stream_refuse(in->c->stream, in->source, in->offset, in->c->now);
        return false;
    }
    enum tsk_stream_verdict verdict =
        tsk_stream_message(in->c->stream, in->source, in->offset, in->c->now, &lost);
    report_lost(in->source, lost);
    return verdict == TSK_STREAM_DELIVER;
}

/* There will be something to confirm; with a store only when the message is there. */
static void note_unsaved(struct incoming *in)
{
    if (in->source && !in->c->ledger)
        in->c->unsaved++;
}

/* Prints a result, or notes it to be printed when the message is in the store. */
static void pass_on(struct incoming *in, const struct result *result, const char *data, size_t len)
{
    if (!in->c->ledger) {
        collect_result(in->c, result, data, len, in->source, in->offset);
        return;
    }
    keep_add(&in->lines, result, data == in->frame->body ? NULL : data, len);
    snprintf(in->batch_id, sizeof in->batch_id, "%s", result->batch_id);
}

/* One result in its normal shape; see tsk_result_fn. */
static int take_result(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct incoming *in = ctx;
    struct collect *c = in->c;
    const char *data = in->frame->body;
    size_t len = in->frame->len;
    struct result result = result_read(type, message);
    if (type == TSK_TYPE_WORKER && !c->opts->status)
        return 0;
    if (changed || in->cut || memchr(data, '\n', len))
        data = tsk_json_text(message, &len);
    if (type == TSK_TYPE_WORKER)
        out_line(data, len);
    else
        pass_on(in, &result, data, len);
    return !c->ledger && collect_done(c);
}

/* On its own topic, or among the messages that are for this collector alone, or asked for. */
static bool is_status(const char *topic, struct json_object *message)
{
    return !strcmp(topic, tsk_type_name(TSK_TYPE_WORKER)) ||
           ((tsk_topic_is(topic, TSK_TOPIC_COLLECTOR) || tsk_topic_is(topic, TSK_TOPIC_STATUS)) &&
            tsk_type_of(message) == TSK_TYPE_WORKER);
}

/* A message that cannot be read; it may be an object, which then may have names. */
static void take_unreadable(struct incoming *in, struct json_object *message, const char *reason)
{
    const char *batch_id = message ? tsk_json_str(message, "batch_id") : NULL;
    report_unreadable(in->c, in->frame, reason);
    if (batch_id && !tsk_name_valid(batch_id))
        batch_id = NULL;
    keep_message(in->c, in->frame, in->source, in->offset, NULL, batch_id, reason);
}

/* One that is the next of its stream, or of none. */
static void take_next(struct incoming *in, struct json_object *message, struct tsk_err *cut)
{
    struct tsk_err err = *cut;
    int rc = tsk_result_normalise(in->frame->topic, message, take_result, in, &err);
    if (rc < 0)
        take_unreadable(in, message, err.text);
    else
        keep_message(in->c, in->frame, in->source, in->offset, in->lines,
                     *in->batch_id ? in->batch_id : NULL, NULL);
    if (rc >= 0 && err.kind != TSK_OK) /* a part of it */
        report_unreadable(in->c, in->frame, err.text);
}

/* Whether it would have a place that only tasker's own programs write to. */
static bool is_forged(struct json_object *message)
{
    const char *source = tsk_json_str(message, "source");
    return source && tsk_source_reserved(source);
}

/* Returns the message as JSON, or as much of it as is within the limits: then err says what is not.
 * A worker_status is taken whole or not at all. */
static struct json_object *parse(struct incoming *in, struct tsk_err *err)
{
    const struct tsk_frame *frame = in->frame;
    struct json_object *message = NULL;
    if (frame->whole) {
        tsk_err_set(err, TSK_DATA, "its %zu bytes are over max_message_bytes", frame->whole);
        message = tsk_result_long(in->c->parser, frame->all, frame->all_len, err->text);
    } else {
        message = tsk_json_salvage(in->c->parser, frame->body, frame->len, err);
    }
    in->cut = message && err->kind != TSK_OK;
    if (!in->cut || !(is_status(frame->topic, message) || tsk_type_of(message) == TSK_TYPE_WORKER))
        return message;
    json_object_put(message);
    return NULL;
}

/* Whether it may be a worker_status, whose offset is not its own. */
static bool may_be_status(const struct tsk_frame *frame)
{
    const char *name = tsk_type_name(TSK_TYPE_WORKER);
    return tsk_topic_is(frame->topic, TSK_TOPIC_STATUS) || !strcmp(frame->topic, name) ||
           strstr(frame->body, name);
}

/* One that is no JSON, or too long. Where it is plain to see which of a known source it is, it has
 * that place, and what comes after it need not wait. */
static void take_unparsed(struct incoming *in, const char *reason)
{
    const struct tsk_frame *frame = in->frame;
    char source[TSK_ID_SIZE];
    if (place_guess(frame->all, frame->all_len, source, &in->offset) && !may_be_status(frame) &&
        !tsk_source_reserved(source) && tsk_stream_heard(in->c->stream, source) >= 0)
        in->source = source;
    if (is_strange(in))
        return;
    note_unsaved(in);
    if (!in->source || is_next(in))
        take_unreadable(in, NULL, reason);
}

static void take_message(struct collect *c, const struct tsk_frame *frame)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct incoming in = {.c = c, .frame = frame};
    struct json_object *message = parse(&in, &err);
    if (!message) {
        take_unparsed(&in, err.text);
        return;
    }
    if (is_forged(message)) {
        take_unreadable(&in, message, TSK_SOURCE_RESERVED);
        json_object_put(message);
        return;
    }
    read_place(&in, message);
    bool status = is_status(frame->topic, message);
    if (status)
        take_status(&in, message);
    if (is_strange(&in)) {
        json_object_put(message);
        return;
    }
    if (status) {
        c->unsaved += in.source != NULL;
        in.source = NULL; /* the offset that it tells is not its own */
    }
    note_unsaved(&in);
    if (!in.source || is_next(&in))
        take_next(&in, message, &err);
    json_object_put(message);
}

size_t receive(struct collect *c, size_t most)
{
    struct tsk_frame frame;
    struct tsk_err err;
    size_t count = 0;
    inquiry_send(c);
    while (count < most && !collect_done(c) && !keep_waits(c)) {
        int got = tsk_bus_recv(c->bus, &frame, &err);
        if (got == 0)
            break;
        count++;
        if (got < 0) {
            report_unreadable(c, NULL, err.text);
            continue;
        }
        c->heard_at = c->now;
        take_message(c, &frame);
    }
    return count;
}
