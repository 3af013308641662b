/* Receipts: the lines that say who has a batch and where its results will be. */
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
