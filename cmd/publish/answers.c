/* What comes up the batch socket: subscriptions, which say who is there, and answers. Anybody can
 * connect, so what makes no sense is told and thrown away. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/life.h"
#include "publish/post.h"
#include "tasker/clock.h"
#include "tasker/parse.h"
#include "tasker/message.h"

struct listing {
    const struct post *post;
    struct json_object *workers;
};

static void add_worker(void *ctx, const struct tsk_dispatch_worker *worker)
{
    struct listing *listing = ctx;
    struct json_object *one = json_object_new_object();
    tsk_json_put_str(one, "worker_id", worker->worker_id);
    tsk_json_put_int(one, "registered", worker->registered);
    tsk_json_put(one, "queued", worker->told ? json_object_new_int64(worker->load.queued) : NULL);
    tsk_json_put(one, "free_slots",
                 worker->told ? json_object_new_int64(worker->load.free_slots) : NULL);
    tsk_json_put_int(one, "unanswered", worker->unanswered);
    const char *endpoint = tsk_map_get(listing->post->result_endpoints, worker->worker_id);
    if (endpoint)
        tsk_json_put_str(one, "result_endpoint", endpoint);
    json_object_array_add(listing->workers, one);
}

/* Names what a batch waits for; NULL if nothing is known to come, which must never be. */
static const char *waits_for(const struct tsk_dispatch_batch *batch)
{
    const struct parcel *parcel = batch->tag;
    switch (batch->wait) {
    case TSK_DISPATCH_FOR_WORKER:
        return "a worker";
    case TSK_DISPATCH_FOR_RETURN:
        return "its worker to connect again";
    case TSK_DISPATCH_FOR_ALLOW:
        return parcel->todo ? "the store" : NULL;
    case TSK_DISPATCH_FOR_SOCKET:
        return "room in the socket";
    case TSK_DISPATCH_FOR_ANSWER:
        return "the answer of its worker";
    }
    return NULL;
}

static void add_batch(void *ctx, const struct tsk_dispatch_batch *batch)
{
    const struct parcel *parcel = batch->tag;
    const char *what = waits_for(batch);
    struct json_object *one = json_object_new_object();
    tsk_json_put_str(one, "batch_id", parcel->batch_id);
    tsk_json_put(one, "waits_for", what ? json_object_new_string(what) : NULL);
    if (batch->worker_id)
        tsk_json_put_str(one, "worker_id", batch->worker_id);
    if (batch->due >= 0)
        tsk_json_put_int(one, "due_ms", tsk_left_ms(batch->due));
    json_object_array_add(ctx, one);
}

static struct json_object *status_message(const struct post *post)
{
    struct json_object *status = json_object_new_object();
    struct json_object *workers = json_object_new_array();
    struct listing listing = {post, workers};
    tsk_dispatch_each_worker(post->dispatch, add_worker, &listing);
    tsk_json_put_str(status, "message_type", TSK_MESSAGE_PUBLISHER_STATUS);
    tsk_json_put_str(status, "endpoint", tsk_bus_endpoint(post->bus));
    tsk_json_put_int(status, "pid", getpid());
    tsk_json_put(status, "workers", workers);
    tsk_json_put_int(status, "plain", (int64_t)tsk_dispatch_plain(post->dispatch));
    tsk_json_put_int(status, "waiting", (int64_t)tsk_dispatch_count(post->dispatch));
    struct json_object *batches = json_object_new_array();
    tsk_dispatch_each_batch(post->dispatch, add_batch, batches);
    tsk_json_put(status, "batches", batches);
    tsk_json_put_int(status, "accepted", post->accepted);
    tsk_json_put_str(status, "version", TASKER_VERSION);
    tsk_json_put_time(status, "timestamp", tsk_wall_ms());
    return status;
}

/* Answers a peer that asks, by subscribing, what is going on. */
static void answer_status(struct post *post, const char *prefix)
{
    char topic[TSK_TOPIC_SIZE];
    size_t len = strlen(prefix);
    if (len < 2 || prefix[len - 1] != ' ')
        return;
    memcpy(topic, prefix, len - 1);
    topic[len - 1] = '\0';
    struct json_object *status = status_message(post);
    struct tsk_err err;
    const char *text = tsk_json_text(status, &len);
    if (tsk_bus_send(post->bus, topic, text, len, &err) < 0)
        diag_debug("%s", err.text);
    json_object_put(status);
}

static void joined(struct post *post, const char *topic, int64_t now)
{
    if (tsk_topic_is(topic, TSK_TOPIC_STATUS)) {
        answer_status(post, topic);
        return;
    }
    char id[TSK_ID_SIZE] = "";
    if (tsk_topic_own(topic, TSK_TOPIC_STOPPING, id)) {
        tsk_dispatch_stopping(post->dispatch, id);
        return;
    }
    int times = tsk_dispatch_join(post->dispatch, topic, now);
    tsk_topic_own(topic, TSK_TOPIC_WORKER, id);
    if (times == 1)
        diag_info("worker %s: registered", id);
    else if (times > 1)
        diag_warn(
            "worker %s: registered %d times: give each worker its own worker.id (or its old "
            "connection is dead, and not yet known to be); it gets no batch until one is left",
            id, times);
}

static void left(struct post *post, const char *topic, int64_t now)
{
    char id[TSK_ID_SIZE];
    if (tsk_dispatch_leave(post->dispatch, topic, now) != 0)
        return;
    if (!tsk_topic_own(topic, TSK_TOPIC_WORKER, id))
        return;
    diag_info("worker %s: gone", id);
    tsk_map_remove(post->result_endpoints, id);
}

static void accepted(struct post *post, struct json_object *answer, const char *batch_id,
                     const char *worker_id, int64_t now)
{
    struct tsk_dispatch_load load = {0, 0};
    int64_t attempts;
    bool told = tsk_json_int(answer, "queued", &load.queued) == 1;
    told = tsk_json_int(answer, "free_slots", &load.free_slots) == 1 && told;
    struct parcel *parcel = tsk_dispatch_accept(post->dispatch, batch_id, worker_id,
                                                told ? &load : NULL, now, &attempts);
    if (!parcel) {
        diag_debug("batch %s: accepted by %s, not asked for (any more)", batch_id, worker_id);
        return;
    }
    diag_info("batch %s: accepted by %s", batch_id, worker_id);
    const char *endpoint = tsk_json_str(answer, "result_endpoint");
    if (endpoint)
        tsk_map_put(post->result_endpoints, worker_id, tsk_strdup(endpoint));
    post_accepted(post, parcel, answer, attempts);
}

static void rejected(struct post *post, struct json_object *answer, const char *batch_id,
                     const char *worker_id, int64_t now)
{
    struct json_object *error = tsk_json_get(answer, "error");
    struct parcel *parcel = tsk_dispatch_reject(post->dispatch, batch_id, worker_id, now);
    if (!parcel)
        return;
    json_object_put(parcel->error);
    parcel->error = json_object_is_type(error, json_type_object) ? json_object_get(error) : NULL;
    memcpy(parcel->rejected_by, worker_id, strlen(worker_id) + 1);
    const char *why = parcel->error ? tsk_json_str(parcel->error, "message") : NULL;
    diag_info("batch %s: rejected by %s: %s", batch_id, worker_id, why ? why : "no reason given");
}

static void answered(struct post *post, const struct tsk_frame *frame, int64_t now)
{
    struct tsk_err err;
    bool yes = strcmp(frame->topic, TSK_TOPIC_ACCEPTED) == 0;
    if (!yes && strcmp(frame->topic, TSK_TOPIC_REJECTED) != 0) {
        diag_warn("a peer sent what is no answer (topic \"%s\"): ignored", frame->topic);
        return;
    }
    struct json_object *answer = tsk_json_object(post->parser, frame->body, frame->len, &err);
    const char *batch_id = tsk_json_str(answer, "batch_id");
    const char *worker_id = tsk_json_str(answer, "worker_id");
    if (!answer)
        diag_warn("a peer sent a bad %s: %s", frame->topic, err.text);
    else if (!batch_id || !worker_id || !tsk_name_valid(worker_id))
        diag_warn("a peer sent a %s without a valid batch_id and worker_id", frame->topic);
    else if (yes)
        accepted(post, answer, batch_id, worker_id, now);
    else
        rejected(post, answer, batch_id, worker_id, now);
    json_object_put(answer);
}

bool post_receive(struct post *post)
{
    struct tsk_frame frame;
    struct tsk_err err;
    bool any = false;
    int rc = 0;
    while (post->bus && (rc = tsk_bus_recv(post->bus, &frame, &err)) > 0) {
        int64_t now = tsk_now_ms();
        any = true;
        life_topic(post->bus, &frame);
        if (frame.kind == TSK_FRAME_JOIN)
            joined(post, frame.topic, now);
        else if (frame.kind == TSK_FRAME_LEAVE)
            left(post, frame.topic, now);
        else
            answered(post, &frame, now);
    }
    if (rc < 0)
        post->status = tsk_exit_worse(post->status, diag_err(&err));
    return any;
}
