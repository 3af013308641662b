/* Receipts: the lines that say who has a batch and where its results will be. */
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
#include "publish/post.h"
#include "tasker/clock.h"

/* Adds a member of the worker's answer, null if it told none. */
static void add_answered(struct json_object *receipt, struct json_object *answer, const char *key)
{
    tsk_json_put_str(receipt, key, answer ? tsk_json_str(answer, key) : NULL);
}

void receipt_print(struct parcel *parcel, struct json_object *answer, int64_t attempts)
{
    struct json_object *receipt = json_object_new_object();
    tsk_json_put_str(receipt, "message_type", tsk_type_name(TSK_TYPE_PUBLISHED));
    tsk_json_put_str(receipt, "batch_id", parcel->batch_id);
    tsk_json_put_time(receipt, "published_at", tsk_wall_ms());
    tsk_json_put_str(receipt, "delivery", answer ? "confirmed" : "unconfirmed");
    add_answered(receipt, answer, "worker_id");
    add_answered(receipt, answer, "source");
    add_answered(receipt, answer, "result_endpoint");
    tsk_json_put_int(receipt, "total_steps", (int64_t)parcel->count);
    tsk_json_put_shared(receipt, "step_ids", parcel->step_ids);
    tsk_json_put_shared(receipt, "steps", parcel->steps);
    tsk_json_put_int(receipt, "attempts", attempts);
    out_json(receipt);
    json_object_put(receipt);
    parcel_free(parcel);
}

void receipt_rejected(struct parcel *parcel)
{
    struct json_object *error = json_object_get(parcel->error);
    if (!error)
        error = tsk_error_object("the worker gave no reason", "BatchRejected", "permanent", false);
    struct json_object *line = tsk_batch_error(parcel->batch_id, error);
    tsk_json_put_str(line, "worker_id", parcel->rejected_by);
    tsk_json_put_int(line, "total_steps", (int64_t)parcel->count);
    tsk_json_put_shared(line, "step_ids", parcel->step_ids);
    out_json(line);
    const char *why = tsk_json_str(error, "message");
    diag_error("batch %s (%s:%lld) was rejected by every worker: %s", parcel->batch_id,
               parcel->file, (long long)parcel->line, why ? why : "no reason given");
    json_object_put(line);
    parcel_free(parcel);
}

static void add_worker(void *ctx, const struct tsk_dispatch_worker *worker)
{
    struct json_object *one = json_object_new_object();
    tsk_json_put_str(one, "worker_id", worker->worker_id);
    tsk_json_put_int(one, "registered", worker->registered);
    tsk_json_put(one, "queued", worker->told ? json_object_new_int64(worker->load.queued) : NULL);
    tsk_json_put(one, "free_slots",
                 worker->told ? json_object_new_int64(worker->load.free_slots) : NULL);
    tsk_json_put_int(one, "unanswered", worker->unanswered);
    json_object_array_add(ctx, one);
}

struct json_object *receipt_status(const struct post *post)
{
    struct json_object *status = json_object_new_object();
    struct json_object *workers = json_object_new_array();
    tsk_dispatch_each_worker(post->dispatch, add_worker, workers);
    tsk_json_put_str(status, "message_type", "publisher_status");
    tsk_json_put_str(status, "endpoint", tsk_bus_endpoint(post->bus));
    tsk_json_put_int(status, "pid", getpid());
    tsk_json_put(status, "workers", workers);
    tsk_json_put_int(status, "plain", (int64_t)tsk_dispatch_plain(post->dispatch));
    tsk_json_put_int(status, "waiting", (int64_t)tsk_dispatch_count(post->dispatch));
    tsk_json_put_int(status, "accepted", post->accepted);
    tsk_json_put_str(status, "version", TASKER_VERSION);
    tsk_json_put_time(status, "timestamp", tsk_wall_ms());
    return status;
}
