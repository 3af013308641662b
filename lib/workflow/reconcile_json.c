/* A verdict as text. What is not known is left out. */
#include "workflow/reconcile_private.h"

#include "tasker/json.h"

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
        "out_of_order",    "refused_entry",      "late_result",
    };
    return names[type];
}

/* Members that are left out where they are not known. */

static void put_told(struct tsk_buf *buf, const char *key, int64_t value, int64_t untold)
{
    if (value != untold)
        tsk_write_int(buf, key, value);
}

static void put_text(struct tsk_buf *buf, const char *key, const char *text)
{
    if (text)
        tsk_write_str(buf, key, text);
}

static void put_time(struct tsk_buf *buf, const char *key, int64_t wall_ms)
{
    if (wall_ms >= 0)
        tsk_write_time(buf, key, wall_ms);
}

static void put_counts(struct tsk_buf *buf, const struct tsk_verdict *verdict)
{
    tsk_write_open(buf, "counts", '{');
    tsk_write_int(buf, "total", verdict->total);
    tsk_write_int(buf, "completed", verdict->completed);
    tsk_write_int(buf, "failed", verdict->failed);
    tsk_write_int(buf, "in_progress", verdict->in_progress);
    tsk_write_int(buf, "missing", verdict->missing);
    tsk_write_int(buf, "retry", verdict->retry);
    tsk_write_close(buf, '}');
}

static void add_step(struct tsk_buf *buf, const struct tsk_verdict_step *step)
{
    tsk_write_open(buf, NULL, '{');
    tsk_write_int(buf, "step_id", step->step_id);
    put_told(buf, "task_id", step->task_id, 0);
    put_text(buf, "step_name", step->step_name);
    tsk_write_int(buf, "attempt", step->attempt);
    if (step->unused)
        tsk_write_bool(buf, TSK_ATTEMPT_USED_KEY, false);
    put_text(buf, "status", tsk_step_status_name(step->status));
    put_text(buf, "outcome", tsk_outcome_name(step->outcome));
    put_time(buf, "retry_at", step->retry_at);
    put_text(buf, "error_category", step->category);
    put_text(buf, "error_message", step->reason);
    put_told(buf, "execution_time_ms", step->time_ms, -1);
    put_text(buf, "worker_id", step->worker_id);
    tsk_write_close(buf, '}');
}

static void add_discrepancy(struct tsk_buf *buf, const struct tsk_discrepancy *one)
{
    tsk_write_open(buf, NULL, '{');
    tsk_write_str(buf, "type", tsk_discrepancy_name(one->type));
    put_told(buf, "step_id", one->step_id, 0);
    put_text(buf, "detail", one->detail);
    if (one->field) {
        put_text(buf, "field", one->field);
        tsk_write_int(buf, "expected", one->expected);
        tsk_write_int(buf, "actual", one->actual);
    }
    put_text(buf, "partial", one->partial);
    put_text(buf, "summary", one->summary);
    tsk_write_close(buf, '}');
}

static void put_lists(struct tsk_buf *buf, const struct tsk_verdict *verdict)
{
    tsk_write_open(buf, "steps", '[');
    for (size_t i = 0; i < verdict->steps; i++) {
        struct tsk_verdict_step step;
        tsk_verdict_step(verdict, i, &step);
        add_step(buf, &step);
    }
    tsk_write_close(buf, ']');
    tsk_write_open(buf, "discrepancies", '[');
    for (size_t i = 0; i < verdict->discrepancy_count; i++)
        add_discrepancy(buf, &verdict->discrepancies[i]);
    tsk_write_close(buf, ']');
}

void tsk_verdict_json(const struct tsk_verdict *verdict, struct tsk_buf *buf)
{
    tsk_write_open(buf, NULL, '{');
    tsk_write_str(buf, "message_type", "batch_reconciled");
    tsk_write_str(buf, "batch_id", *verdict->batch_id ? verdict->batch_id : NULL);
    put_text(buf, "verdict", tsk_verdict_name(verdict->kind));
    tsk_write_int(buf, "revision", verdict->revision);
    put_counts(buf, verdict);
    tsk_write_bool(buf, "receipt", verdict->receipt);
    tsk_write_bool(buf, "completion", verdict->completion);
    put_time(buf, "published_at", verdict->published_at);
    put_time(buf, "completed_at", verdict->completed_at);
    put_told(buf, "total_execution_time_ms", verdict->time_ms, -1);
    if (verdict->error)
        tsk_write_json(buf, "error", verdict->error);
    put_lists(buf, verdict);
    tsk_write_close(buf, '}');
}
