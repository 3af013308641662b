/* Telling the workers. Each binds the endpoint of its results, and hears there what those who
 * connect send upstream; so nobody else is needed, and no publisher has to be there. A subscription
 * to a topic of our own makes a worker tell who it is; then it is told which steps to end, and
 * answers on that topic; and the results of these steps say that they have ended.
 *
 * A batch that nobody has accepted yet goes out with the word on it, if its publisher does not have
 * it already: as long as that may be so we look who gets it. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/diag.h"
#include "common/life.h"
#include "common/out.h"
#include "resolve/resolve.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/parse.h"
#include "tasker/message.h"

enum { LOOK_MS = 50, AGAIN_MS = 1000 };

struct tell {
    const struct options *opts;
    const struct tsk_conf *conf;
    struct tsk_store *store;
    struct pending *items;
    size_t count;
    struct tsk_bus *bus; /* NULL before an endpoint is known */
    struct tsk_json *parser;
    char topic[64]; /* our own, as it comes back */
    char name[TSK_UUID_SIZE];
    int64_t deadline;
};

/* --- One of them. */

static void settle(struct tell *tell, struct pending *item, enum handler handler)
{
    item->handler = handler;
    line_resolved(tell->opts, item->one, handler);
    out_flush();
}

static bool is_of(const struct pending *item, const char *worker_id)
{
    return item->handler == HANDLER_WAITS && worker_id && item->one->worker_id &&
           strcmp(item->one->worker_id, worker_id) == 0;
}

static void send_cancel(struct tell *tell, struct pending *item)
{
    struct json_object *message = json_object_new_object(), *ids = json_object_new_array();
    struct tsk_err err;
    size_t len;
    json_object_array_add(ids, json_object_new_int64(item->one->id));
    tsk_json_put_str(message, "message_type", TSK_TOPIC_CANCEL);
    tsk_json_put_str(message, "batch_id", item->one->batch_id);
    tsk_json_put_str(message, "worker_id", item->one->worker_id);
    tsk_json_put(message, "step_ids", ids);
    tsk_json_put_str(message, "reason", tell->opts->reason);
    tsk_json_put_str(message, "by", tell->opts->by);
    tsk_json_put_str(message, "answer_to", tell->name);
    const char *text = tsk_json_text(message, &len);
    if (tsk_bus_send(tell->bus, TSK_TOPIC_CANCEL, text, len, &err) < 0)
        diag_warn("%s", err.text);
    json_object_put(message);
    item->asked_at = tsk_now_ms();
}

/* --- What comes back. */

static struct pending *find(struct tell *tell, const char *batch_id, int64_t step_id)
{
    for (size_t i = 0; batch_id && i < tell->count; i++) {
        struct pending *item = &tell->items[i];
        if (item->handler == HANDLER_WAITS && item->one->id == step_id &&
            strcmp(item->one->batch_id, batch_id) == 0)
            return item;
    }
    return NULL;
}

/* A worker is there. */
static void on_status(struct tell *tell, struct json_object *message)
{
    const char *worker_id = tsk_json_str(message, "worker_id");
    for (size_t i = 0; i < tell->count; i++) {
        if (is_of(&tell->items[i], worker_id))
            send_cancel(tell, &tell->items[i]);
    }
}

static void on_answer(struct tell *tell, struct json_object *message)
{
    struct json_object *steps = tsk_json_get(message, "steps");
    const char *batch_id = tsk_json_str(message, "batch_id");
    size_t count =
        json_object_is_type(steps, json_type_array) ? json_object_array_length(steps) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *step = json_object_array_get_idx(steps, i);
        int64_t id = 0;
        const char *was =
            tsk_json_int(step, "step_id", &id) == 1 ? tsk_json_str(step, "was") : NULL;
        struct pending *item = find(tell, batch_id, id);
        if (!item || !was)
            continue;
        item->asked = true;
        if (strcmp(was, "unknown") == 0)
            settle(tell, item, HANDLER_UNKNOWN);
        else if (strcmp(was, "ended") == 0)
            settle(tell, item, HANDLER_ENDED);
        else if (strcmp(was, "queued") == 0)
            settle(tell, item, HANDLER_DROPPED);
    }
}

/* The end of a step, as all collectors hear it. */
static void on_result(struct tell *tell, struct json_object *message)
{
    const char *status = tsk_json_str(message, "status");
    const char *category = tsk_json_str(tsk_json_get(message, "error"), "error_category");
    int64_t id = 0;
    struct pending *item = tsk_json_int(message, "step_id", &id) == 1
                               ? find(tell, tsk_json_str(message, "batch_id"), id)
                               : NULL;
    if (!item || !status || strcmp(status, "in_progress") == 0)
        return;
    bool stopped = category && strcmp(category, TSK_CATEGORY_CANCELLED) == 0;
    settle(tell, item, !stopped ? HANDLER_ENDED : HANDLER_STOPPED);
}

static void take(struct tell *tell, const struct tsk_frame *frame)
{
    struct tsk_err err;
    bool ours = strcmp(frame->topic, tell->topic) == 0;
    if (frame->kind != TSK_FRAME_MESSAGE ||
        (!ours && strcmp(frame->topic, tsk_type_name(TSK_TYPE_PARTIAL)) != 0))
        return;
    struct json_object *message = tsk_json_object(tell->parser, frame->body, frame->len, &err);
    const char *type = tsk_json_str(message, "message_type");
    if (message && !ours)
        on_result(tell, message);
    else if (type && strcmp(type, TSK_MESSAGE_CANCEL_ANSWER) == 0)
        on_answer(tell, message);
    else if (type && strcmp(type, tsk_type_name(TSK_TYPE_WORKER)) == 0)
        on_status(tell, message);
    json_object_put(message);
}

/* --- Who has it. */

static void subscribe(struct tell *tell)
{
    char topic[80];
    snprintf(topic, sizeof topic, "%s ", tell->topic);
    tsk_bus_subscribe(tell->bus, topic);
    snprintf(topic, sizeof topic, "%s ", tsk_type_name(TSK_TYPE_PARTIAL));
    tsk_bus_subscribe(tell->bus, topic);
}

/* Connects to the worker of item. Returns whether it can be. */
static bool connect_to(struct tell *tell, const struct pending *item)
{
    struct tsk_err err = TSK_ERR_INIT;
    const char *endpoint = item->one->endpoint;
    bool right = tsk_parse_endpoint(endpoint, &err) == 0; /* it is a peer's text */
    bool ok = right && tell->bus && tsk_bus_connect(tell->bus, endpoint, &err) >= 0;
    if (right && !tell->bus) {
        tell->bus = tsk_bus_open_at(tell->conf, TSK_RESULTS, TSK_RECEIVER, false, endpoint, &err);
        ok = tell->bus != NULL;
        if (ok)
            subscribe(tell);
    }
    if (!ok)
        diag_warn("%s", err.text);
    return ok;
}

static int look(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    return tsk_resolve_look(store, ctx, err);
}

/* Returns true if it is still to be found out who has it. */
static bool find_worker(struct tell *tell, struct pending *item)
{
    struct tsk_resolved *one = item->one;
    struct tsk_err err = TSK_ERR_INIT;
    if (!one->worker_id && one->sent_until > 0 &&
        tsk_store_read(tell->store, look, one, 0, &err) < 0)
        return true; /* away: the time will tell */
    if (one->worker_id || one->sent_until < 0) {
        item->asked_at = tsk_now_ms();
        if (!one->worker_id || !one->endpoint || !connect_to(tell, item))
            item->handler = HANDLER_UNREACHED;
        return false;
    }
    if (one->sent_until > tsk_wall_ms())
        return true;
    settle(tell, item, HANDLER_UNSENT);
    return false;
}

/* Returns whether somebody is still to be found. */
static bool find_workers(struct tell *tell)
{
    bool some = false;
    for (size_t i = 0; i < tell->count; i++) {
        struct pending *item = &tell->items[i];
        if (item->handler == HANDLER_WAITS && !item->asked_at)
            some |= find_worker(tell, item);
        else if (item->handler == HANDLER_WAITS && !item->asked &&
                 tsk_now_ms() - item->asked_at >= AGAIN_MS)
            send_cancel(tell, item);
    }
    return some;
}

/* --- The wait. */

static bool all_known(const struct tell *tell)
{
    for (size_t i = 0; i < tell->count; i++) {
        if (tell->items[i].handler == HANDLER_WAITS)
            return false;
    }
    return true;
}

static void receive(struct tell *tell)
{
    struct tsk_frame frame;
    struct tsk_err err;
    int got;
    life_tell(tell->bus); /* it may use up what the descriptor tells */
    while (tell->bus && (got = tsk_bus_recv(tell->bus, &frame, &err)) != 0) {
        if (got > 0)
            take(tell, &frame);
    }
}

static void wait_news(const struct tell *tell, bool looking)
{
    struct pollfd fd = {.fd = tell->bus ? tsk_bus_fd(tell->bus) : -1, .events = POLLIN};
    int64_t until = tsk_now_ms() + (looking ? LOOK_MS : AGAIN_MS);
    until = tsk_earlier(until, life_deadline(tell->bus));
    poll(&fd, 1, tsk_left_ms(tsk_earlier(until, tell->deadline)));
}

/* What is not known by now. Returns the status. */
static enum tsk_exit give_up(struct tell *tell)
{
    enum tsk_exit status = TSK_OK;
    for (size_t i = 0; i < tell->count; i++) {
        struct pending *item = &tell->items[i];
        const struct tsk_resolved *one = item->one;
        const char *worker = one->worker_id ? one->worker_id : "(which one is not known)";
        if (item->handler != HANDLER_WAITS && item->handler != HANDLER_UNREACHED)
            continue;
        status = TSK_TEMPFAIL;
        settle(tell, item, item->asked ? HANDLER_RUNS : HANDLER_UNREACHED);
        if (item->asked)
            diag_error("step %" PRId64 " is %s, and worker %s was told, but its handler has not "
                       "ended yet",
                       one->id, tsk_state_name(one->to), worker);
        else
            diag_error("step %" PRId64 " is %s, but worker %s was not reached: its handler may "
                       "run to its end, which changes nothing any more; the same command tries "
                       "again",
                       one->id, tsk_state_name(one->to), worker);
    }
    return status;
}

enum tsk_exit tell_workers(const struct options *opts, const struct tsk_conf *conf,
                           struct tsk_store *store, struct pending *items, size_t count)
{
    struct tell tell = {.opts = opts,
                        .conf = conf,
                        .store = store,
                        .items = items,
                        .count = count,
                        .parser = tsk_json_new(),
                        .deadline = tsk_now_ms() + opts->wait};
    tsk_uuid(tell.name);
    snprintf(tell.topic, sizeof tell.topic, TSK_TOPIC_STATUS "%s", tell.name);
    for (;;) {
        bool looking = find_workers(&tell);
        receive(&tell);
        if (all_known(&tell) || tsk_left_ms(tell.deadline) == 0)
            break;
        wait_news(&tell, looking);
    }
    enum tsk_exit status = give_up(&tell);
    life_close(tell.bus, DIAG_INFO);
    tsk_json_free(tell.parser);
    return status;
}
