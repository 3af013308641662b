/* Verdicts are printed as they are told, but those that a transaction brings wait until it is
 * durable: it may be done again, or never. */
#include "reconcile/told.h"

#include <inttypes.h>

#include "common/out.h"
#include "tasker/json.h"

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
