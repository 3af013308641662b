/* What messages say of a step, as plain values. Results have gone through tsk_result_normalise, so
 * their types and signs are sound; receipts are checked here, as a whole, before any of their
 * entries is read. Details that only help (names, times) are left out where they are not what they
 * should be: they are no reason to lose a result. */
#include "tasker/message.h"

#include <string.h>

#include "tasker/clock.h"
#include "tasker/parse.h"

/* An integer, at least 0; fallback where there is none. */
static int64_t number(struct json_object *json, const char *key, int64_t fallback)
{
    int64_t n;
    return tsk_json_int(json, key, &n) == 1 && n >= 0 ? n : fallback;
}

int64_t tsk_message_time(struct json_object *message, const char *key)
{
    const char *text = tsk_json_str(message, key);
    int64_t ms;
    return text && !tsk_time_parse(text, &ms) ? ms : -1;
}

/* The statuses are what tsk_result_normalise lets through. */
static enum tsk_step_status status_of(struct json_object *json, const char *key)
{
    const char *status = tsk_json_str(json, key);
    if (status && *status == 'c')
        return TSK_STEP_COMPLETED;
    return status && *status == 'f' ? TSK_STEP_FAILED : TSK_STEP_IN_PROGRESS;
}

/* What only a failure has: its category, whether and when another attempt is worth it. */
static void read_failure(struct tsk_result *result, struct json_object *message)
{
    struct json_object *error = tsk_json_get(message, "error");
    struct json_object *about = tsk_json_get(message, "execution_metadata");
    result->category = tsk_json_str(error, "error_category");
    if (!result->category)
        result->category = tsk_json_str(about, "error_category");
    result->reason = tsk_json_str(error, "message");
    result->retryable = tsk_category_retryable(result->category);
    if (tsk_json_bool(message, "retryable", &result->retryable) != 1)
        tsk_json_bool(error, "retryable", &result->retryable);
    result->unused = tsk_error_unused(error);
    result->retry_after = number(error, "retry_after_ms", -1);
    result->retry_limit = number(about, "retry_limit", -1);
    result->backoff = tsk_json_str(about, "backoff");
    result->ended = tsk_message_time(message, "timestamp");
}

/* A step that is completed and whose output was refused (message.h). */
static void read_refusal(struct tsk_result *result, struct json_object *message)
{
    struct json_object *error = tsk_json_get(message, TSK_JSON_REFUSED);
    result->refused = json_object_is_type(error, json_type_object);
    result->category = tsk_json_str(error, "error_category");
    result->reason = tsk_json_str(error, "message");
}

void tsk_result_partial(struct tsk_result *result, struct json_object *message)
{
    *result = (struct tsk_result){
        .batch_id = tsk_json_str(message, "batch_id"),
        .step_id = number(message, "step_id", 0),
        .task_id = number(message, "task_id", 0),
        .attempt = number(message, "attempt", 0),
        .sequence = number(message, "sequence", 0),
        .time_ms = number(message, "execution_time_ms", -1),
        .ended = -1,
        .retry_after = -1,
        .retry_limit = -1,
        .retry_at = -1,
        .status = status_of(message, "status"),
        .step_name = tsk_json_str(message, "step_name"),
        .worker_id = tsk_json_str(message, "worker_id"),
    };
    if (result->status == TSK_STEP_FAILED)
        read_failure(result, message);
    else if (result->status == TSK_STEP_COMPLETED)
        read_refusal(result, message);
}

void tsk_result_summary(struct tsk_result *entry, struct json_object *json)
{
    *entry = (struct tsk_result){
        .step_id = number(json, "step_id", 0),
        .attempt = number(json, "attempt", 0),
        .time_ms = number(json, "execution_time_ms", -1),
        .retry_limit = -1,
        .ended = -1,
        .retry_after = -1,
        .retry_at = -1,
        .status = status_of(json, "final_status"),
        .worker_id = tsk_json_str(json, "worker_id"),
    };
}

/* Of a receipt's entry every integer that is there must be one. */
static int check_entry(struct json_object *json, struct tsk_err *err)
{
    static const char *const keys[] = {"step_id", "task_id", "attempt", "retry_limit"};
    int64_t n;
    if (json_object_is_type(json, json_type_int))
        return json_object_get_int64(json) > 0
                   ? 0
                   : tsk_err_set(err, TSK_DATA, "step_id is not a positive integer");
    if (!json_object_is_type(json, json_type_object))
        return tsk_err_set(err, TSK_DATA, "it is neither a step nor a step_id");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (tsk_json_int(json, keys[i], &n) < 0)
            return tsk_err_set(err, TSK_DATA, "%s is not an integer", keys[i]);
    }
    if (tsk_json_int(json, "step_id", &n) != 1 || n < 1)
        return tsk_err_set(err, TSK_DATA, "step_id is not a positive integer");
    return 0;
}

/* Returns 1 if key is an array of sound entries, 0 if it is absent, or -1. */
static int check_entries(struct json_object *message, const char *key, struct tsk_err *err)
{
    struct json_object *all = tsk_json_get(message, key);
    if (!all)
        return 0;
    if (!json_object_is_type(all, json_type_array))
        return tsk_err_set(err, TSK_DATA, "%s is not an array", key);
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        if (check_entry(json_object_array_get_idx(all, i), err))
            return tsk_err_prefix(err, "%s, entry %zu: ", key, i + 1);
    }
    return 1;
}

int tsk_receipt_check(struct json_object *message, struct tsk_err *err)
{
    const char *id = tsk_json_str(message, "batch_id");
    int64_t n;
    if (!tsk_json_get(message, "batch_id"))
        return tsk_err_set(err, TSK_DATA, "batch_id is missing");
    if (!id || !tsk_name_valid(id))
        return tsk_err_set(err, TSK_DATA, "batch_id is not " TSK_NAME_RULE);
    int found = tsk_json_int(message, "total_steps", &n);
    if (found < 0 || (found == 1 && n < 0))
        return tsk_err_set(err, TSK_DATA, "total_steps is not a count");
    int steps = check_entries(message, "steps", err);
    int ids = steps < 0 ? -1 : check_entries(message, "step_ids", err);
    if (steps < 0 || ids < 0)
        return -1;
    if (!steps && !ids)
        return tsk_err_set(err, TSK_DATA, "step_ids is missing");
    return 0;
}

void tsk_result_published(struct tsk_result *entry, struct json_object *json)
{
    *entry = (struct tsk_result){
        .time_ms = -1, .retry_limit = -1, .ended = -1, .retry_after = -1, .retry_at = -1};
    if (json_object_is_type(json, json_type_int)) {
        entry->step_id = json_object_get_int64(json);
        return;
    }
    entry->step_id = number(json, "step_id", 0);
    entry->task_id = number(json, "task_id", 0);
    entry->attempt = number(json, "attempt", 0);
    entry->retry_limit = number(json, "retry_limit", -1);
    entry->backoff = tsk_json_str(json, "backoff");
    entry->step_name = tsk_json_str(json, "step_name");
}
