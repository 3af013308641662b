/* A verdict as text. It is written straight into a buffer: building json-c objects for 100 000
 * steps only to print them would take longer than all the rest. What is not known is left out. */
#include "reconcile_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tasker/clock.h"

const char *tsk_verdict_name(enum tsk_verdict_kind kind)
{
    static const char *const names[] = {"consistent", "discrepant", "incomplete", "timed_out"};
    return names[kind];
}

const char *tsk_step_status_name(enum tsk_step_status status)
{
    static const char *const names[] = {"missing", "in_progress", "completed", "failed"};
    return names[status];
}

const char *tsk_outcome_name(enum tsk_outcome outcome)
{
    static const char *const names[] = {"unknown", "done", "retry", "failed"};
    return names[outcome];
}

const char *tsk_discrepancy_name(enum tsk_discrepancy_type type)
{
    static const char *const names[] = {
        "missing_partial", "missing_completion", "missing_summary", "status_mismatch",
        "count_mismatch",  "unknown_step",       "unknown_batch",   "conflicting_result",
        "out_of_order",    "late_result",
    };
    return names[type];
}

static void add_text(struct tsk_buf *buf, const char *text)
{
    tsk_buf_char(buf, '"');
    for (;;) {
        size_t plain = 0;
        while ((unsigned char)text[plain] >= ' ' && text[plain] != '"' && text[plain] != '\\')
            plain++;
        tsk_buf_add(buf, text, plain);
        text += plain;
        if (!*text)
            break;
        if (*text == '"' || *text == '\\')
            tsk_buf_printf(buf, "\\%c", *text);
        else
            tsk_buf_printf(buf, "\\u%04x", (unsigned char)*text);
        text++;
    }
    tsk_buf_char(buf, '"');
}

/* Members after the first one of an object, each with its comma. */

static void put_key(struct tsk_buf *buf, const char *key)
{
    tsk_buf_add(buf, ",\"", 2);
    tsk_buf_str(buf, key);
    tsk_buf_add(buf, "\":", 2);
}

static void put_int(struct tsk_buf *buf, const char *key, int64_t value)
{
    char text[24];
    put_key(buf, key);
    int len = snprintf(text, sizeof text, "%" PRId64, value);
    tsk_buf_add(buf, text, (size_t)len);
}

static void put_told(struct tsk_buf *buf, const char *key, int64_t value, int64_t untold)
{
    if (value != untold)
        put_int(buf, key, value);
}

static void put_text(struct tsk_buf *buf, const char *key, const char *text)
{
    if (!text)
        return;
    put_key(buf, key);
    add_text(buf, text);
}

static void put_bool(struct tsk_buf *buf, const char *key, bool value)
{
    put_key(buf, key);
    tsk_buf_str(buf, value ? "true" : "false");
}

static void put_time(struct tsk_buf *buf, const char *key, int64_t wall_ms)
{
    char text[TSK_TIME_SIZE];
    if (wall_ms < 0)
        return;
    tsk_time_format(wall_ms, text);
    put_text(buf, key, text);
}

static void put_counts(struct tsk_buf *buf, const struct tsk_verdict *verdict)
{
    tsk_buf_printf(buf, ",\"counts\":{\"total\":%" PRId64, verdict->total);
    put_int(buf, "completed", verdict->completed);
    put_int(buf, "failed", verdict->failed);
    put_int(buf, "in_progress", verdict->in_progress);
    put_int(buf, "missing", verdict->missing);
    put_int(buf, "retry", verdict->retry);
    tsk_buf_char(buf, '}');
}

static void add_step(struct tsk_buf *buf, const struct tsk_verdict_step *step)
{
    tsk_buf_printf(buf, "{\"step_id\":%" PRId64, step->step_id);
    put_told(buf, "task_id", step->task_id, 0);
    put_text(buf, "step_name", step->step_name);
    put_int(buf, "attempt", step->attempt);
    put_text(buf, "status", tsk_step_status_name(step->status));
    put_text(buf, "outcome", tsk_outcome_name(step->outcome));
    put_time(buf, "retry_at", step->retry_at);
    put_text(buf, "error_category", step->category);
    put_text(buf, "error_message", step->reason);
    put_told(buf, "execution_time_ms", step->time_ms, -1);
    put_text(buf, "worker_id", step->worker_id);
    tsk_buf_char(buf, '}');
}

static void add_discrepancy(struct tsk_buf *buf, const struct tsk_discrepancy *one)
{
    tsk_buf_printf(buf, "{\"type\":\"%s\"", tsk_discrepancy_name(one->type));
    put_told(buf, "step_id", one->step_id, 0);
    put_text(buf, "detail", one->detail);
    if (one->field) {
        put_text(buf, "field", one->field);
        put_int(buf, "expected", one->expected);
        put_int(buf, "actual", one->actual);
    }
    put_text(buf, "partial", one->partial);
    put_text(buf, "summary", one->summary);
    tsk_buf_char(buf, '}');
}

static void put_lists(struct tsk_buf *buf, const struct tsk_verdict *verdict)
{
    put_key(buf, "steps");
    tsk_buf_char(buf, '[');
    for (size_t i = 0; i < verdict->steps; i++) {
        struct tsk_verdict_step step;
        tsk_verdict_step(verdict, i, &step);
        if (i)
            tsk_buf_char(buf, ',');
        add_step(buf, &step);
    }
    tsk_buf_char(buf, ']');
    put_key(buf, "discrepancies");
    tsk_buf_char(buf, '[');
    for (size_t i = 0; i < verdict->discrepancy_count; i++) {
        if (i)
            tsk_buf_char(buf, ',');
        add_discrepancy(buf, &verdict->discrepancies[i]);
    }
    tsk_buf_char(buf, ']');
}

void tsk_verdict_json(const struct tsk_verdict *verdict, struct tsk_buf *buf)
{
    tsk_buf_str(buf, "{\"message_type\":\"batch_reconciled\"");
    if (*verdict->batch_id)
        put_text(buf, "batch_id", verdict->batch_id);
    else
        tsk_buf_str(buf, ",\"batch_id\":null");
    put_text(buf, "verdict", tsk_verdict_name(verdict->kind));
    put_int(buf, "revision", verdict->revision);
    put_counts(buf, verdict);
    put_bool(buf, "receipt", verdict->receipt);
    put_bool(buf, "completion", verdict->completion);
    put_time(buf, "published_at", verdict->published_at);
    put_time(buf, "completed_at", verdict->completed_at);
    put_told(buf, "total_execution_time_ms", verdict->time_ms, -1);
    if (verdict->error) {
        size_t len;
        const char *text = tsk_json_text(verdict->error, &len);
        put_key(buf, "error");
        tsk_buf_add(buf, text, len);
    }
    put_lists(buf, verdict);
    tsk_buf_char(buf, '}');
}
