/* A batch as it is sent (PROTOCOL, section 2), from what the store has. Objects are kept as texts
 * in the store and go out as they are. */
#include <inttypes.h>
#include <string.h>

#include "claim_private.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/message.h"

static void put_text(struct tsk_buf *body, const char *key, const char *value)
{
    struct json_object *text = json_object_new_string(value);
    size_t len;
    const char *quoted = tsk_json_text(text, &len);
    tsk_buf_printf(body, ",\"%s\":", key);
    tsk_buf_add(body, quoted, len);
    json_object_put(text);
}

static void put_object(struct tsk_buf *body, const char *key, const char *json)
{
    tsk_buf_printf(body, ",\"%s\":", key);
    tsk_buf_str(body, json);
}

static void put_metadata(struct tsk_buf *body, const struct tsk_ready *step, size_t sequence,
                         size_t total)
{
    tsk_buf_printf(body,
                   ",\"metadata\":{\"sequence\":%zu,\"total_steps\":%zu,\"attempt\":%" PRId64
                   ",\"retry_limit\":%" PRId64 ",\"retryable\":%s",
                   sequence, total, step->attempt, step->retry_limit,
                   step->retryable ? "true" : "false");
    if (step->count)
        tsk_buf_printf(body, ",\"index\":%" PRId64 ",\"count\":%" PRId64, step->index, step->count);
    if (step->timeout_ms)
        tsk_buf_printf(body, ",\"timeout_ms\":%" PRId64, step->timeout_ms);
    tsk_buf_char(body, '}');
}

static void put_step(struct tsk_buf *body, const struct tsk_ready *step, size_t sequence,
                     size_t total)
{
    tsk_buf_printf(body, "{\"step_id\":%" PRId64 ",\"task_id\":%" PRId64, step->id, step->task);
    put_text(body, "step_name", step->name);
    put_text(body, "handler_class", step->handler_class);
    put_object(body, "handler_config", step->handler_config);
    put_object(body, "task_context", step->context);
    tsk_buf_str(body, ",\"previous_results\":{");
    if (step->previous.len)
        tsk_buf_add(body, step->previous.data, step->previous.len);
    tsk_buf_char(body, '}');
    put_text(body, "namespace", step->namespace_name);
    put_text(body, "task_name", step->task_name);
    if (strcmp(step->task_config, "{}") != 0)
        put_object(body, "task_handler_config", step->task_config);
    if (step->kind)
        put_text(body, "template_step", step->kind);
    put_metadata(body, step, sequence, total);
    tsk_buf_char(body, '}');
}

void tsk_ready_body(const char *batch_id, int64_t now, struct tsk_ready *const *steps, size_t count,
                    struct tsk_buf *body)
{
    char time[TSK_TIME_SIZE];
    tsk_time_format(now, time);
    tsk_buf_reset(body);
    tsk_buf_printf(body,
                   "{\"batch_id\":\"%s\",\"protocol_version\":\"" TSK_PROTOCOL_VERSION
                   "\",\"created_at\":\"%s\",\"steps\":[",
                   batch_id, time);
    for (size_t i = 0; i < count; i++) {
        if (i)
            tsk_buf_char(body, ',');
        put_step(body, steps[i], i + 1, count);
    }
    tsk_buf_str(body, "]}");
}
