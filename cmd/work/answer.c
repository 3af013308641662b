/* Answers to publishers. They go out together, once a turn. */
#include <string.h>

#include "common/diag.h"
#include "work/work.h"

/* Takes message, whose type is its topic. */
static void answer(struct work *work, struct json_object *message)
{
    if (!work->answers)
        work->answers = json_object_new_array();
    json_object_array_add(work->answers, message);
}

bool answer_send(struct work *work)
{
    struct tsk_err err;
    bool any = work->answers != NULL;
    for (size_t i = 0; work->answers && i < json_object_array_length(work->answers); i++) {
        struct json_object *message = json_object_array_get_idx(work->answers, i);
        size_t len;
        const char *topic = tsk_json_str(message, "message_type");
        const char *text = tsk_json_text(message, &len);
        if (tsk_bus_send(work->steps, topic, text, len, &err) < 0)
            diag_error("cannot answer the publisher: %s", err.text);
    }
    json_object_put(work->answers);
    work->answers = NULL;
    return any;
}

static struct json_object *answer_object(const struct work *work, const char *type,
                                         const char *batch_id)
{
    struct json_object *message = json_object_new_object();
    tsk_json_put_str(message, "message_type", type);
    tsk_json_put_str(message, "batch_id", batch_id);
    tsk_json_put_str(message, "worker_id", work->id);
    tsk_json_put_str(message, "source", work->source);
    return message;
}

void answer_accepted(struct work *work, const char *batch_id, size_t steps)
{
    struct json_object *message = answer_object(work, TSK_TOPIC_ACCEPTED, batch_id);
    tsk_json_put_int(message, "steps", (int64_t)steps);
    run_put_load(work, message);
    tsk_json_put_str(message, "result_endpoint", work->result_endpoint);
    answer(work, message);
}

void answer_again(struct work *work)
{
    for (struct tsk_map_entry *e = tsk_map_first(work->batches); e; e = tsk_map_next(e)) {
        const struct batch *batch = tsk_map_value(e);
        answer_accepted(work, batch->data.batch_id, batch->data.count);
    }
}

/* Returns the error of a batch that is refused. What has no cause in the batch itself may pass: the
 * batch was not begun, and can come again. */
static struct json_object *refusal(const char *text, const char *type, const char *category)
{
    bool passes = tsk_category_retryable(category);
    struct json_object *error = tsk_error_object(text, type, category, passes);
    if (passes)
        tsk_json_put_bool(error, TSK_ATTEMPT_USED_KEY, false);
    return error;
}

void answer_rejected(struct work *work, const char *topic, const char *batch_id, const char *text,
                     const char *type, const char *category)
{
    work->rejected++;
    diag_warn("batch %s refused: %s", *batch_id ? batch_id : "without a usable batch_id", text);
    if (!*batch_id)
        return;
    struct json_object *message = answer_object(work, TSK_TOPIC_REJECTED, batch_id);
    tsk_json_put(message, "error", refusal(text, type, category));
    answer(work, message);
    if (strcmp(topic, TSK_TOPIC_STEPS) != 0)
        return;
    struct tsk_buf result = TSK_BUF_INIT;
    message = tsk_batch_error(batch_id, refusal(text, type, category));
    tsk_write_json(&result, NULL, message);
    feed_send(work, TSK_TYPE_ERROR, &result);
    json_object_put(message);
}
