/* A batch as it is sent (tasker(7), PROTOCOL), from what the store has. Objects are kept as texts
 * in the store and go out as they are. */
#include <string.h>

#include "ready/claim_private.h"
#include "tasker/message.h"
#include "tasker/json.h"

static void put_metadata(struct tsk_buf *body, const struct tsk_ready *step, size_t sequence,
                         size_t total)
{
    tsk_write_open(body, "metadata", '{');
    tsk_write_int(body, "sequence", (int64_t)sequence);
    tsk_write_int(body, "total_steps", (int64_t)total);
    tsk_write_int(body, "attempt", step->attempt);
    tsk_write_int(body, "retry_limit", step->retry_limit);
    tsk_write_bool(body, "retryable", step->retryable);
    if (step->backoff)
        tsk_write_str(body, "backoff", step->backoff);
    if (step->count) {
        tsk_write_int(body, "index", step->index);
        tsk_write_int(body, "count", step->count);
    }
    if (step->timeout_ms)
        tsk_write_int(body, "timeout_ms", step->timeout_ms);
    tsk_write_close(body, '}');
}

static void put_object(struct tsk_buf *body, const char *key, const char *json)
{
    tsk_write_raw(body, key, json, strlen(json));
}

static void put_step(struct tsk_buf *body, const struct tsk_ready *step, size_t sequence,
                     size_t total)
{
    tsk_write_open(body, NULL, '{');
    tsk_write_int(body, "step_id", step->id);
    tsk_write_int(body, "task_id", step->task);
    tsk_write_str(body, "step_name", step->name);
    tsk_write_str(body, "handler_class", step->handler_class);
    put_object(body, "handler_config", step->handler_config);
    put_object(body, "task_context", step->context);
    tsk_write_open(body, "previous_results", '{');
    tsk_buf_add(body, step->previous.data, step->previous.len);
    tsk_write_close(body, '}');
    tsk_write_str(body, "namespace", step->namespace_name);
    tsk_write_str(body, "task_name", step->task_name);
    if (strcmp(step->task_config, "{}") != 0)
        put_object(body, "task_handler_config", step->task_config);
    if (step->kind)
        tsk_write_str(body, "template_step", step->kind);
    put_metadata(body, step, sequence, total);
    tsk_write_close(body, '}');
}

void tsk_ready_body(const char *batch_id, int64_t now, struct tsk_ready *const *steps, size_t count,
                    struct tsk_buf *body)
{
    tsk_buf_reset(body);
    tsk_write_open(body, NULL, '{');
    tsk_write_str(body, "batch_id", batch_id);
    tsk_write_str(body, "protocol_version", TSK_PROTOCOL_VERSION);
    tsk_write_time(body, "created_at", now);
    tsk_write_open(body, "steps", '[');
    for (size_t i = 0; i < count; i++)
        put_step(body, steps[i], i + 1, count);
    tsk_write_close(body, ']');
    tsk_write_close(body, '}');
}
