/* From what is known of a batch to its verdict: the state of each step, the discrepancies, the
 * counts. Nothing here depends on the order in which messages came, but for the marks that say so.
 */
#include "workflow/reconcile_private.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/json.h"

static int by_step_id(const void *a, const void *b)
{
    const struct tsk_rstep *x = a, *y = b;
    return (x->step_id > y->step_id) - (x->step_id < y->step_id);
}

/* Mostly they are in order already. The table of slots is of no use after this. */
static void sort_steps(struct tsk_rbatch *batch)
{
    for (size_t i = 1; i < batch->count; i++) {
        if (batch->steps[i - 1].step_id > batch->steps[i].step_id) {
            qsort(batch->steps, batch->count, sizeof *batch->steps, by_step_id);
            return;
        }
    }
}

/* --- Steps. */

/* Whether the partial results tell how the newest attempt ended. */
static bool partial_ended(const struct tsk_rstep *step)
{
    return tsk_status_final(step->status) && tsk_rstep_match(step) != TSK_RMATCH_NEWER;
}

static bool mismatch(const struct tsk_rstep *step)
{
    return partial_ended(step) && tsk_rstep_match(step) == TSK_RMATCH_SAME &&
           step->summary != step->status;
}

/* Two ends of one attempt, and no summary that decides. */
static bool undecided(const struct tsk_rbatch *batch, const struct tsk_rstep *step)
{
    return step->flags & TSK_RSTEP_CONTESTED ||
           (step->flags & TSK_RSTEP_CONFLICT &&
            (batch->late || tsk_rstep_match(step) != TSK_RMATCH_SAME));
}

static enum tsk_step_status known_status(const struct tsk_rstep *step)
{
    if (partial_ended(step))
        return step->status;
    if (tsk_rstep_match(step) != TSK_RMATCH_NONE)
        return step->summary;
    return step->status;
}

static int64_t known_attempt(const struct tsk_rstep *step)
{
    uint32_t attempt = tsk_rstep_attempt(step);
    if (step->summary_attempt > attempt)
        attempt = step->summary_attempt;
    return attempt ? attempt : 1;
}

static bool error_is(const struct tsk_rbatch *batch, const char *category)
{
    const char *is = batch->error ? tsk_json_str(batch->error, "error_category") : NULL;
    return is && strcmp(is, category) == 0;
}

/* Whether a batch_error says that the batch was not run, so that no result can be missed. */
static bool not_run(const struct tsk_rbatch *batch)
{
    return batch->error && !error_is(batch, "timeout");
}

/* Whether the steps that did not end have failed with the whole batch. */
static bool lost(const struct tsk_verdict *verdict)
{
    return not_run(verdict->batch) ||
           (verdict->opts->timeout_fails && error_is(verdict->batch, "timeout"));
}

/* Fills in whether a step that failed, by itself or with its whole batch, is tried again. A step
 * that was never started (out->unused) has used no attempt, so it always has one left. */
static void fill_failure(struct tsk_result *out, const struct tsk_reconcile_opts *opts,
                         bool retryable, int64_t ended, int64_t retry_after)
{
    bool again = retryable && (out->unused || tsk_retry_left(out->attempt, out->retry_limit));
    out->outcome = again ? TSK_OUTCOME_RETRY : TSK_OUTCOME_FAILED;
    const struct tsk_retry retry = tsk_retry_with(&opts->retry, out->backoff);
    if (again && ended >= 0)
        out->retry_at = ended + tsk_retry_delay(&retry, out->step_id, out->attempt, retry_after);
}

/* A step that did not end, in a batch that could not be run or is out of time. */
static void fill_lost(struct tsk_result *out, const struct tsk_verdict *verdict)
{
    const struct tsk_rbatch *batch = verdict->batch;
    bool retryable = false;
    out->category = tsk_json_str(batch->error, "error_category");
    if (tsk_json_bool(batch->error, "retryable", &retryable) != 1)
        retryable = tsk_category_retryable(out->category);
    out->unused = tsk_error_unused(batch->error);
    fill_failure(out, verdict->opts, retryable || out->unused, batch->error_at,
                 out->unused ? 0 : -1);
}

static void fill_outcome(struct tsk_result *out, const struct tsk_verdict *verdict,
                         const struct tsk_rstep *step)
{
    if (mismatch(step) || undecided(verdict->batch, step) || verdict->batch->given_up)
        return;
    if (out->status == TSK_STEP_COMPLETED)
        out->outcome = step->flags & TSK_RSTEP_REFUSED ? TSK_OUTCOME_FAILED : TSK_OUTCOME_DONE;
    else if (out->status == TSK_STEP_FAILED && partial_ended(step))
        fill_failure(out, verdict->opts, step->flags & TSK_RSTEP_RETRYABLE, step->ended,
                     step->retry_after == UINT32_MAX ? -1 : (int64_t)step->retry_after);
    else if (!tsk_status_final(out->status) && lost(verdict))
        fill_lost(out, verdict);
}

void tsk_verdict_step(const struct tsk_verdict *verdict, size_t i, struct tsk_result *out)
{
    const struct tsk_names *names = &verdict->batch->names;
    const struct tsk_rstep *step = &verdict->batch->steps[i];
    *out = (struct tsk_result){
        .step_id = step->step_id,
        .task_id = step->task_id,
        .attempt = known_attempt(step),
        .retry_limit = step->limit == UINT32_MAX ? verdict->opts->retry_limit : step->limit,
        .status = known_status(step),
        .retry_at = -1,
        .time_ms = step->time_ms,
        .step_name = tsk_names_get(names, step->name),
        .worker_id = tsk_names_get(names, step->worker),
        .category = tsk_names_get(names, step->category),
        .reason = tsk_names_get(names, step->reason),
        .backoff = tsk_names_get(names, step->backoff),
        .unused = step->flags & TSK_RSTEP_UNUSED && known_status(step) == TSK_STEP_FAILED,
    };
    fill_outcome(out, verdict, step);
}

/* --- Discrepancies. */

struct found {
    struct tsk_discrepancy *all;
    size_t count, cap;
};

static struct tsk_discrepancy *add(struct found *found, enum tsk_discrepancy_type type,
                                   int64_t step_id, const char *detail)
{
    found->all = tsk_grow(found->all, &found->cap, found->count + 1, sizeof *found->all);
    struct tsk_discrepancy *one = &found->all[found->count++];
    one->type = type;
    one->step_id = step_id;
    one->detail = detail;
    return one;
}

static void check_count(struct found *found, const char *field, int64_t told, size_t counted,
                        const char *detail)
{
    if (told < 0 || (uint64_t)told == counted)
        return;
    struct tsk_discrepancy *one = add(found, TSK_COUNT_MISMATCH, 0, detail);
    one->field = field;
    one->expected = (int64_t)counted;
    one->actual = told;
}

static void check_counts(struct found *found, const struct tsk_rbatch *batch)
{
    static const char detail[] = "the completion counts otherwise";
    bool summed = batch->summaries;
    size_t steps = batch->receipt ? batch->published : batch->count;
    size_t done = summed ? batch->summary_completed : batch->completed;
    size_t failed = summed ? batch->summary_failed : batch->failed;
    check_count(found, "total_steps", batch->told_published, batch->published,
                "the receipt names another number of steps than it counts");
    check_count(found, "total_steps", batch->told_total, steps, detail);
    check_count(found, "completed_steps", batch->told_completed, done, detail);
    check_count(found, "failed_steps", batch->told_failed, failed, detail);
    check_count(found, "in_progress_steps", batch->told_in_progress,
                summed ? batch->summarised - done - failed : 0, detail);
}

static void check_batch(struct found *found, const struct tsk_rbatch *batch, bool needs_receipt)
{
    bool results = batch->completion || batch->count;
    if (needs_receipt && !batch->receipt && results && !not_run(batch))
        add(found, TSK_UNKNOWN_BATCH, 0, "there are results and no receipt");
    if (!batch->completion && !not_run(batch))
        add(found, TSK_MISSING_COMPLETION, 0, "there is no batch_completion");
    if (batch->completions_differ)
        add(found, TSK_CONFLICTING_RESULT, 0, "there are two different batch_completions");
    if (batch->refused)
        add(found, TSK_REFUSED_ENTRY, 0, "an entry of it cannot be read and is refused");
    if (batch->error && batch->completion)
        add(found, TSK_CONFLICTING_RESULT, 0, "there are a batch_error and a batch_completion");
    if (batch->completion || batch->receipt)
        check_counts(found, batch);
}

static void check_missing(struct found *found, const struct tsk_rbatch *batch,
                          const struct tsk_rstep *step)
{
    if (batch->receipt && !(step->flags & TSK_RSTEP_PUBLISHED))
        add(found, TSK_UNKNOWN_STEP, step->step_id, "the receipt does not name it");
    if (!partial_ended(step) && !not_run(batch))
        add(found, TSK_MISSING_PARTIAL, step->step_id,
            step->status == TSK_STEP_IN_PROGRESS
                ? "it began, and no partial result says how it ended"
                : "there is no partial result of this attempt");
    if (batch->summaries && tsk_rstep_match(step) == TSK_RMATCH_NONE)
        add(found, TSK_MISSING_SUMMARY, step->step_id, "the batch_completion does not name it");
}

static void check_order(struct found *found, const struct tsk_rstep *step)
{
    const char *detail = NULL;
    if (tsk_rstep_gap(step))
        detail = "a sequence number is missing";
    else if (step->flags & TSK_RSTEP_DISORDER)
        detail = "its partial results came out of sequence";
    else if (step->flags & TSK_RSTEP_AFTER)
        detail = "a partial result came after the batch_completion";
    if (detail)
        add(found, TSK_OUT_OF_ORDER, step->step_id, detail);
}

static void check_step(struct found *found, const struct tsk_rbatch *batch,
                       const struct tsk_rstep *step)
{
    check_missing(found, batch, step);
    if (mismatch(step)) {
        struct tsk_discrepancy *one = add(found, TSK_STATUS_MISMATCH, step->step_id,
                                          "partial result and batch_completion disagree");
        one->partial = tsk_step_status_name(step->status);
        one->summary = tsk_step_status_name(step->summary);
    }
    if (step->flags & TSK_RSTEP_CONFLICT)
        add(found, TSK_CONFLICTING_RESULT, step->step_id, "two ends of one attempt");
    if (step->flags & TSK_RSTEP_CONTESTED)
        add(found, TSK_CONFLICTING_RESULT, step->step_id, "two summaries of one attempt");
    check_order(found, step);
    if (step->flags & TSK_RSTEP_OLDER)
        add(found, TSK_LATE_RESULT, step->step_id, "a result of an older attempt, put aside");
}

static void check_late(struct found *found, const struct tsk_rbatch *batch)
{
    static const char detail[] = "it came after the verdict";
    if (batch->receipt)
        add(found, TSK_LATE_RESULT, 0, "a receipt that differs came after the verdict");
    if (batch->completion)
        add(found, TSK_LATE_RESULT, 0, "a batch_completion came after the verdict");
    if (batch->error)
        add(found, TSK_LATE_RESULT, 0, "a batch_error came after the verdict");
    for (size_t i = 0; i < batch->count; i++) {
        const struct tsk_rstep *step = &batch->steps[i];
        if (step->status || step->flags & TSK_RSTEP_OLDER)
            add(found, TSK_LATE_RESULT, step->step_id, detail);
        if (step->flags & TSK_RSTEP_CONFLICT)
            add(found, TSK_CONFLICTING_RESULT, step->step_id, "two ends of one attempt");
    }
}

/* --- The whole. */

static void count_outcomes(struct tsk_verdict *verdict)
{
    for (size_t i = 0; i < verdict->steps; i++) {
        struct tsk_result step;
        tsk_verdict_step(verdict, i, &step);
        bool refused = step.status == TSK_STEP_COMPLETED && step.outcome == TSK_OUTCOME_FAILED;
        verdict->completed += step.status == TSK_STEP_COMPLETED && !refused;
        verdict->failed += step.status == TSK_STEP_FAILED || refused;
        verdict->in_progress += step.status == TSK_STEP_IN_PROGRESS;
        verdict->missing += step.status == TSK_STEP_MISSING;
        verdict->retry += step.outcome == TSK_OUTCOME_RETRY;
    }
    if (verdict->total > (int64_t)verdict->steps)
        verdict->missing += verdict->total - (int64_t)verdict->steps; /* counted, never named */
}

static int64_t total_of(const struct tsk_rbatch *batch)
{
    if (batch->receipt && !batch->late)
        return (int64_t)batch->published;
    return batch->told_total > (int64_t)batch->count && !batch->late ? batch->told_total
                                                                     : (int64_t)batch->count;
}

static enum tsk_verdict_kind kind_of(const struct tsk_rbatch *batch,
                                     const struct tsk_verdict *verdict)
{
    if (batch->late || not_run(batch))
        return TSK_DISCREPANT;
    if (!batch->completion || verdict->missing || verdict->in_progress)
        return batch->error || batch->timed_out ? TSK_TIMED_OUT : TSK_INCOMPLETE;
    return verdict->discrepancy_count ? TSK_DISCREPANT : TSK_CONSISTENT;
}

struct tsk_discrepancy *tsk_rbatch_verdict(struct tsk_rbatch *batch,
                                           const struct tsk_reconcile_opts *opts,
                                           bool needs_receipt, struct tsk_verdict *verdict)
{
    struct found found = {NULL, 0, 0};
    sort_steps(batch);
    if (batch->late)
        check_late(&found, batch);
    else
        check_batch(&found, batch, needs_receipt);
    for (size_t i = 0; i < batch->count && !batch->late; i++)
        check_step(&found, batch, &batch->steps[i]);
    *verdict = (struct tsk_verdict){
        .batch_id = batch->id,
        .revision = batch->revision,
        .receipt = batch->receipt,
        .completion = batch->completion,
        .error = batch->error,
        .published_at = batch->published_at,
        .completed_at = batch->completed_at,
        .time_ms = batch->time_ms,
        .total = total_of(batch),
        .steps = batch->count,
        .discrepancies = found.all,
        .discrepancy_count = found.count,
        .batch = batch,
        .opts = opts,
    };
    count_outcomes(verdict);
    verdict->kind = kind_of(batch, verdict);
    return found.all;
}

/* ---- A verdict as text. What is not known is left out. */

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

static void write_step(struct tsk_buf *buf, const struct tsk_result *step)
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

static void write_discrepancy(struct tsk_buf *buf, const struct tsk_discrepancy *one)
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
        struct tsk_result step;
        tsk_verdict_step(verdict, i, &step);
        write_step(buf, &step);
    }
    tsk_write_close(buf, ']');
    tsk_write_open(buf, "discrepancies", '[');
    for (size_t i = 0; i < verdict->discrepancy_count; i++)
        write_discrepancy(buf, &verdict->discrepancies[i]);
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
