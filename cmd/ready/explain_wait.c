/* What a step waits for. Whether that can come is asked of the rule that settles tasks (flow.h),
 * for this step and those right before it. */
#include <inttypes.h>
#include <string.h>

#include "ready/explain.h"

static const char get_waits[] = "SELECT p.id, p.name, " TSK_STEP_STATE_SHOWN(
    "p") ", p.next_retry_at, d.choice FROM "
         "step_dependencies d JOIN steps p ON p.id = d.from_step WHERE d.to_step = $1 ORDER BY "
         "p.place, p.id";

enum { ID, NAME, STATE, RETRY_AT, CHOICE };

static void keep(struct explain *explain, int64_t id, enum tsk_state state, bool choice)
{
    size_t n = explain->before_count++;
    explain->before =
        tsk_grow(explain->before, &explain->before_cap, n + 2, sizeof *explain->before);
    explain->edges = tsk_grow(explain->edges, &explain->edge_cap, n + 1, sizeof *explain->edges);
    explain->before[n] = (struct tsk_flow_step){.id = id, .state = state};
    explain->edges[n] = (struct tsk_flow_edge){.from = n, .choice = choice};
}

static int on_wait(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    bool skipped = strcmp(row[STATE].data, "skipped") == 0; /* it counts as if it were not there */
    enum tsk_state state =
        skipped ? TSK_STATE_RESOLVED : tsk_state_find(TSK_SUBJECT_STEP, row[STATE].data);
    bool choice = row[CHOICE].number != 0;
    (void)columns;
    bool failed = state == TSK_STATE_ERROR;
    keep(explain, row[ID].number, state, choice);
    if (tsk_state_satisfies(state) ||
        (explain->flow.join == TSK_JOIN_ALL_DONE && (failed || state == TSK_STATE_CANCELLED)))
        return 0;
    explain_begin(explain);
    tsk_buf_printf(&explain->line, "it waits for step %" PRId64 " (", row[ID].number);
    explain_add(explain, tsk_value_str(&row[NAME]));
    tsk_buf_printf(&explain->line, "), %s %s",
                   choice ? "which may ask for optional steps before it, and is" : "which is",
                   tsk_value_str(&row[STATE]));
    if (row[RETRY_AT].type == TSK_INT && row[RETRY_AT].number > explain->now) {
        tsk_buf_str(&explain->line, " until ");
        explain_add_time(explain, row[RETRY_AT].number);
    }
    if (failed)
        tsk_buf_str(&explain->line, "; tasker-resolve can retry or resolve it");
    explain_end(explain);
    return 0;
}

/* One that did not block would have been cancelled: so the rule says when it stands there for
 * good. */
static void tell_block(struct explain *explain)
{
    size_t n = explain->before_count;
    int64_t at;
    if (!n || !explain->flow.blocks)
        return;
    explain->before[n] = explain->flow;
    explain->before[n].blocks = false;
    for (size_t i = 0; i < n; i++)
        explain->edges[i].to = n;
    tsk_flow(explain->before, n + 1, explain->edges, n, &at);
    if (!explain->before[n].cancelled)
        return;
    explain_begin(explain);
    tsk_buf_printf(&explain->line,
                   "its join %s can never be satisfied, since step %" PRId64
                   " is cancelled; by its template (unsatisfied: block) it stays so until somebody "
                   "resolves or cancels it: tasker-resolve",
                   tsk_join_name(explain->flow.join), explain->before[n].because);
    explain_end(explain);
}

int explain_waits(struct explain *explain, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(explain->id);
    explain->before_count = 0;
    if (tsk_store_run(explain->store, get_waits, &value, 1, on_wait, explain, err) < 0)
        return -1;
    tell_block(explain);
    return 0;
}
