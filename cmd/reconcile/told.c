/* Verdicts are printed as they are told, but those that a transaction brings wait until it is
 * durable: it may be done again, or never. */
#include "reconcile/reconcile.h"

#include <inttypes.h>

#include "common/out.h"
#include "common/table.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"

/* ---- Verdicts for people: a line a batch, a table of its steps, its discrepancies. What a peer
 * has written is shown with nothing in it that a terminal would act on. */

enum column {
    STEP,
    NAME,
    STATUS,
    OUTCOME,
    ATTEMPT,
    TIME,
    CATEGORY,
    RETRY_AT,
    WORKER,
    REASON,
    COLUMNS
};
_Static_assert((int)COLUMNS <= (int)TABLE_COLUMNS, "a table has fewer columns");

static const char *const heads[COLUMNS] = {"STEP", "NAME",     "STATUS",   "OUTCOME", "ATTEMPT",
                                           "TIME", "CATEGORY", "RETRY AT", "WORKER",  "REASON"};

static void add_duration(struct tsk_buf *cell, int64_t ms)
{
    if (ms < 0)
        return;
    if (ms < 10000)
        tsk_buf_printf(cell, "%" PRId64 " ms", ms);
    else
        tsk_buf_printf(cell, "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
}

static void add_time(struct tsk_buf *cell, int64_t wall_ms)
{
    char text[TSK_TIME_SIZE];
    if (wall_ms < 0)
        return;
    tsk_time_format(wall_ms, text);
    tsk_buf_str(cell, text);
}

/* Writes what stands in a column of step into cell; nothing where nothing is known. */
static void fill_cell(struct tsk_buf *cell, const struct tsk_result *step, enum column column)
{
    tsk_buf_reset(cell);
    if (column == STEP)
        tsk_buf_printf(cell, "%" PRId64, step->step_id);
    else if (column == NAME)
        tsk_buf_str(cell, step->step_name ? step->step_name : "");
    else if (column == STATUS)
        tsk_buf_str(cell, tsk_step_status_name(step->status));
    else if (column == OUTCOME)
        tsk_buf_str(cell, tsk_outcome_name(step->outcome));
    else if (column == ATTEMPT)
        tsk_buf_printf(cell, "%" PRId64 "/%" PRId64, step->attempt,
                       step->retry_limit > 1 ? step->retry_limit : 1);
    else if (column == TIME)
        add_duration(cell, step->time_ms);
    else if (column == CATEGORY)
        tsk_buf_str(cell, step->category ? step->category : "");
    else if (column == RETRY_AT)
        add_time(cell, step->retry_at);
    else if (column == WORKER)
        tsk_buf_str(cell, step->worker_id ? step->worker_id : "");
    else
        tsk_buf_str(cell, step->reason ? step->reason : "");
}

static void print_steps(const struct tsk_verdict *verdict)
{
    struct table table = {
        .columns = COLUMNS, .right = 1u << STEP | 1u << TIME, .sparse = true, .indent = "  "};
    struct tsk_buf cell = TSK_BUF_INIT;
    for (int c = 0; c < COLUMNS; c++)
        table_add(&table, heads[c]);
    for (size_t i = 0; i < verdict->steps; i++) {
        struct tsk_result step;
        tsk_verdict_step(verdict, i, &step);
        for (int c = 0; c < COLUMNS; c++) {
            fill_cell(&cell, &step, (enum column)c);
            table_add(&table, cell.data);
        }
    }
    table_end(&table);
    tsk_buf_fini(&cell);
}

static void add_count(struct tsk_buf *line, int64_t count, const char *what)
{
    if (count)
        tsk_buf_printf(line, ", %" PRId64 " %s", count, what);
}

static void print_heading(const struct tsk_verdict *verdict)
{
    struct tsk_buf line = TSK_BUF_INIT;
    tsk_buf_printf(&line, "batch %s: %s", *verdict->batch_id ? verdict->batch_id : "(not named)",
                   tsk_verdict_name(verdict->kind));
    if (verdict->revision > 1)
        tsk_buf_printf(&line, " (revision %" PRId64 ")", verdict->revision);
    tsk_buf_printf(&line, ", %" PRId64 " step%s", verdict->total, tsk_plural(verdict->total));
    add_count(&line, verdict->completed, "completed");
    add_count(&line, verdict->failed, "failed");
    add_count(&line, verdict->in_progress, "in progress");
    add_count(&line, verdict->missing, "missing");
    add_count(&line, verdict->retry, "to retry");
    if (verdict->time_ms >= 0) {
        tsk_buf_str(&line, ", ");
        add_duration(&line, verdict->time_ms);
    }
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

static void print_discrepancy(const struct tsk_discrepancy *one)
{
    struct tsk_buf line = TSK_BUF_INIT;
    tsk_buf_printf(&line, "  ! %s: ", tsk_discrepancy_name(one->type));
    if (one->step_id)
        tsk_buf_printf(&line, "step %" PRId64 ": ", one->step_id);
    tsk_buf_str(&line, one->detail);
    if (one->field)
        tsk_buf_printf(&line, ": %s is %" PRId64 ", counted %" PRId64, one->field, one->actual,
                       one->expected);
    if (one->partial)
        tsk_buf_printf(&line, ": %s, %s", one->partial, one->summary);
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

static void print_error(struct json_object *error)
{
    struct tsk_buf line = TSK_BUF_INIT;
    const char *category = tsk_json_str(error, "error_category");
    const char *message = tsk_json_str(error, "message");
    tsk_buf_str(&line, "  ! batch_error: ");
    tsk_plain_str(&line, message ? message : "no reason is given");
    if (category) {
        tsk_buf_str(&line, " (");
        tsk_plain_str(&line, category);
        tsk_buf_char(&line, ')');
    }
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

static void text_verdict(const struct tsk_verdict *verdict)
{
    print_heading(verdict);
    if (verdict->steps)
        print_steps(verdict);
    if (verdict->error)
        print_error(verdict->error);
    for (size_t i = 0; i < verdict->discrepancy_count; i++)
        print_discrepancy(&verdict->discrepancies[i]);
    out_line("", 0);
}

void told_totals(const struct totals *totals)
{
    struct tsk_buf line = TSK_BUF_INIT;
    int64_t verdicts = 0;
    for (int kind = TSK_CONSISTENT; kind <= TSK_TIMED_OUT; kind++)
        verdicts += totals->verdicts[kind];
    tsk_buf_printf(&line, "in all: %" PRId64 " verdict%s", verdicts, tsk_plural(verdicts));
    for (int kind = TSK_CONSISTENT; kind <= TSK_TIMED_OUT; kind++)
        add_count(&line, totals->verdicts[kind], tsk_verdict_name((enum tsk_verdict_kind)kind));
    tsk_buf_printf(&line, "; %" PRId64 " step%s", totals->steps, tsk_plural(totals->steps));
    add_count(&line, totals->completed, "completed");
    add_count(&line, totals->failed, "failed");
    add_count(&line, totals->in_progress, "in progress");
    add_count(&line, totals->missing, "missing");
    add_count(&line, totals->retry, "to retry");
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

/* ---- Verdicts in their order. */

void told_fini(struct told *told)
{
    tsk_buf_fini(&told->line);
    tsk_buf_fini(&told->held);
}

static enum tsk_exit status_of(const struct tsk_verdict *verdict)
{
    if (verdict->kind == TSK_INCOMPLETE || verdict->kind == TSK_TIMED_OUT)
        return TSK_TEMPFAIL;
    return verdict->kind == TSK_DISCREPANT || verdict->failed ? TSK_NO : TSK_OK;
}

static void add_totals(struct totals *totals, const struct tsk_verdict *verdict)
{
    totals->verdicts[verdict->kind]++;
    if (totals->steps < INT64_MAX - verdict->total) /* a peer may claim any number of steps */
        totals->steps += verdict->total;
    totals->completed += verdict->completed;
    totals->failed += verdict->failed;
    totals->in_progress += verdict->in_progress;
    if (totals->missing < INT64_MAX - verdict->missing)
        totals->missing += verdict->missing;
    totals->retry += verdict->retry;
}

void told_verdict(void *ctx, const struct tsk_verdict *verdict)
{
    struct told *told = ctx;
    told->status = tsk_exit_worse(told->status, status_of(verdict));
    add_totals(&told->totals, verdict);
    if (told->opts->text) {
        text_verdict(verdict);
        return;
    }
    tsk_buf_reset(&told->line);
    tsk_verdict_json(verdict, &told->line);
    out_line(told->line.data, told->line.len);
}

static void remember(struct told *told, bool batch)
{
    if (!batch) {
        told->start.totals = told->totals;
        told->start.status = told->status;
    }
    told->batch.totals = told->totals;
    told->batch.status = told->status;
    told->batch.len = told->held.len;
}

void told_restart(struct told *told)
{
    if (told->within) {
        told->totals = told->start.totals;
        told->status = told->start.status;
    }
    tsk_buf_reset(&told->held);
    told->within = true;
    remember(told, false);
}

void told_hold(struct told *told, const struct tsk_verdict *verdict)
{
    out_divert(&told->held);
    told_verdict(told, verdict);
    out_divert(NULL);
}

void told_batch(struct told *told, bool leave_out)
{
    if (leave_out) {
        told->totals = told->batch.totals;
        told->status = told->batch.status;
        told->held.len = told->batch.len;
    }
    remember(told, true);
}

void told_commit(struct told *told)
{
    if (told->held.len)
        out_line(told->held.data, told->held.len - 1);
    tsk_buf_reset(&told->held);
    told->within = false;
}

/* Within a transaction too, which for this only reads. */
void told_change(struct told *told, const struct tsk_settle_change *change)
{
    if (change->from == change->to && !change->steps)
        return;
    struct json_object *line = json_object_new_object();
    out_divert(&told->held);
    if (told->opts->text) {
        out_printf("batch %s: %s to %s, %zu step%s", change->batch_id, tsk_state_name(change->from),
                   tsk_state_name(change->to), change->steps, tsk_plural(change->steps));
    } else {
        tsk_json_put_str(line, "message_type", "batch_change");
        tsk_json_put_str(line, "batch_id", change->batch_id);
        tsk_json_put_str(line, "from", tsk_state_name(change->from));
        tsk_json_put_str(line, "to", tsk_state_name(change->to));
        tsk_json_put_int(line, "steps", (int64_t)change->steps);
        out_json(line);
    }
    out_divert(NULL);
    json_object_put(line);
}
