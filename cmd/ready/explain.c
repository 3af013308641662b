/* --explain: why a step does not run, in words. One query for what it is, one for what it waits for
 * (explain_wait.c) or for the batch that has it (explain_batch.c), and a line for each reason; a
 * task is explained by its steps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "ready/explain.h"
#include "ready/ready.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/parse.h"

static const char get_task[] =
    "SELECT t.task_id, t.namespace, t.name, t.state, h.reason, (SELECT count(*) FROM steps s WHERE "
    "s.task = t.task_id) FROM tasks t LEFT JOIN held_namespaces h ON h.namespace = t.namespace "
    "WHERE t.task_id = $1";
static const char get_steps[] = "SELECT id FROM steps WHERE task = $1 ORDER BY place, id";
static const char get_step[] = "SELECT s.id, s.name, " TSK_STEP_STATE_SHOWN(
    "s") ", s.attempts, s.retry_limit + s.attempts_before, "
         "s.next_retry_at, s.waits_for, s.join_rule, s.unsatisfied, s.error_category, "
         "s.handler_class, "
         "t.state, t.namespace, h.reason, h.created_at, h.held_by, s.created_by, (SELECT c.name "
         "FROM "
         "steps c WHERE c.id = s.created_by), s.created_index, s.created_count FROM steps s LEFT "
         "JOIN "
         "tasks t ON t.task_id = s.task LEFT JOIN held_namespaces h ON h.namespace = t.namespace "
         "WHERE "
         "s.id = $1 AND s.task IS NOT NULL";
enum {
    ID,
    NAME,
    STATE,
    ATTEMPTS,
    LIMIT,
    RETRY_AT,
    WAITS_FOR,
    JOIN,
    UNSATISFIED,
    CATEGORY,
    HANDLER,
    TASK_STATE,
    NAMESPACE,
    HELD_WHY,
    HELD_SINCE,
    HELD_BY,
    CREATED_BY,
    CREATOR,
    CREATED_INDEX,
    CREATED_COUNT,
};

static const char get_refusal[] =
    "SELECT z.error FROM batch_steps x JOIN settled_batches z ON z.batch = x.batch WHERE x.step = "
    "$1 AND z.error IS NOT NULL ORDER BY x.attempt DESC LIMIT 1";

static const char get_undone[] =
    "SELECT x.event, x.created_at, b.id, b.name, " TSK_STEP_STATE_SHOWN(
        "b") " FROM "
             "step_transitions x JOIN step_dependencies d ON d.to_step = x.step JOIN steps b ON "
             "b.id = "
             "d.from_step WHERE x.step = $1 AND x.origin = 'ledger' AND x.event IN "
             "(" TSK_EVENTS_UNDONE ") ORDER BY b.place, b.id";

static const char get_hand[] =
    "SELECT event, metadata, created_at FROM step_transitions WHERE step = $1 AND origin = "
    "'operator' AND sort_key = (SELECT max(sort_key) FROM step_transitions WHERE step = $1)";

void explain_add(struct explain *explain, const char *name)
{
    tsk_plain_str(&explain->line, name);
}

void explain_add_time(struct explain *explain, int64_t wall)
{
    char time[TSK_TIME_SIZE];
    int64_t ms = wall - explain->now;
    tsk_time_format(wall, time);
    tsk_buf_printf(&explain->line, "%s (%s%" PRId64 ".%" PRId64 " s%s)", time, ms > 0 ? "in " : "",
                   (ms < 0 ? -ms : ms) / 1000, (ms < 0 ? -ms : ms) % 1000 / 100,
                   ms > 0 ? "" : " ago");
}

void explain_begin(struct explain *explain)
{
    tsk_buf_reset(&explain->line);
    tsk_buf_str(&explain->line, "    ");
}

void explain_end(struct explain *explain)
{
    out_line(explain->line.data, explain->line.len);
}

/* ---- why a pending step does not run */

static void tell_hold(struct explain *explain, const struct tsk_value *row)
{
    if (row[HELD_WHY].type != TSK_TEXT)
        return;
    explain_begin(explain);
    tsk_buf_str(&explain->line, "its namespace ");
    explain_add(explain, tsk_value_str(&row[NAMESPACE]));
    tsk_buf_str(&explain->line, " is held since ");
    explain_add_time(explain, row[HELD_SINCE].number);
    if (*tsk_value_str(&row[HELD_BY])) {
        tsk_buf_str(&explain->line, " by ");
        explain_add(explain, tsk_value_str(&row[HELD_BY]));
    }
    tsk_buf_str(&explain->line, ": ");
    explain_add(explain, tsk_value_str(&row[HELD_WHY]));
    explain_end(explain);
    explain->held_up = true;
}

static void tell_pending(struct explain *explain, const struct tsk_value *row)
{
    int64_t retry = row[RETRY_AT].type == TSK_INT ? row[RETRY_AT].number : 0;
    const char *task = tsk_value_str(&row[TASK_STATE]);
    if (strcmp(task, "error") == 0) {
        out_printf("    its task is in error: no step of it can run now");
        explain->held_up = true;
    } else if (*task && strcmp(task, "pending") != 0 && strcmp(task, "in_progress") != 0) {
        out_printf("    its task has ended: %s", task);
        explain->held_up = true;
    }
    tell_hold(explain, row);
    if (retry > explain->now) {
        explain_begin(explain);
        const char *category = tsk_value_str(&row[CATEGORY]);
        if (row[ATTEMPTS].number > 0)
            tsk_buf_printf(&explain->line, "attempt %" PRId64 " of %" PRId64 " failed (",
                           row[ATTEMPTS].number, row[LIMIT].number);
        else
            tsk_buf_str(&explain->line, "a worker did not start it (");
        explain_add(explain, *category ? category : "no category");
        tsk_buf_str(&explain->line, "); its back-off is over at ");
        explain_add_time(explain, retry);
        explain_end(explain);
        explain->held_up = true;
    }
    explain->waits = row[WAITS_FOR].number > 0;
    explain->flow = (struct tsk_flow_step){.id = explain->id,
                                           .state = TSK_STATE_PENDING,
                                           .join = tsk_join_find(row[JOIN].data),
                                           .blocks = tsk_unsatisfied_find(row[UNSATISFIED].data) ==
                                                     TSK_UNSATISFIED_BLOCK};
}

static void tell_end(struct explain *explain, const struct tsk_value *row)
{
    const char *state = tsk_value_str(&row[STATE]), *category = tsk_value_str(&row[CATEGORY]);
    bool spent = row[ATTEMPTS].number >= row[LIMIT].number;
    if (strcmp(state, "error") != 0) {
        out_printf("    it has ended: %s", state);
        return;
    }
    explain_begin(explain);
    tsk_buf_printf(&explain->line, "it failed for good after attempt %" PRId64 " of %" PRId64 "%s",
                   row[ATTEMPTS].number, row[LIMIT].number, *category ? ": " : "");
    explain_add(explain, category);
    tsk_buf_str(&explain->line, spent ? "; no attempts are left"
                                      : "; the failure is not worth another attempt");
    explain_end(explain);
}

static void tell_creator(struct explain *explain, const struct tsk_value *row)
{
    if (row[CREATED_BY].type != TSK_INT)
        return;
    explain_begin(explain);
    if (row[CREATED_INDEX].type == TSK_INT)
        tsk_buf_printf(&explain->line, "%" PRId64 " of %" PRId64 ", ", row[CREATED_INDEX].number,
                       row[CREATED_COUNT].number);
    tsk_buf_printf(&explain->line, "created by step %" PRId64 " (", row[CREATED_BY].number);
    explain_add(explain, tsk_value_str(&row[CREATOR]));
    tsk_buf_str(&explain->line, "), whose output asked for it");
    explain_end(explain);
}

static int on_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    explain->found = true;
    explain->id = row[ID].number;
    snprintf(explain->state, sizeof explain->state, "%s", tsk_value_str(&row[STATE]));
    tsk_buf_reset(&explain->line);
    tsk_buf_printf(&explain->line, "step %" PRId64 " (", row[ID].number);
    explain_add(explain, tsk_value_str(&row[NAME]));
    tsk_buf_str(&explain->line, ", ");
    explain_add(explain, tsk_value_str(&row[HANDLER]));
    tsk_buf_printf(&explain->line, "): %s", tsk_value_str(&row[STATE]));
    explain_end(explain);
    tell_creator(explain, row);
    if (strcmp(explain->state, "pending") == 0)
        tell_pending(explain, row);
    else if (strcmp(explain->state, "enqueued") != 0 && strcmp(explain->state, "in_progress") != 0)
        tell_end(explain, row);
    return 0;
}

/* Why the flow of its task ended a step: a line for each step that it depends on. */
static int on_undone(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    const char *state = tsk_value_str(&row[4]);
    bool skipped = strcmp(tsk_value_str(&row[0]), TSK_EVENT_SKIPPED) == 0;
    (void)columns;
    explain_begin(explain);
    tsk_buf_str(&explain->line, skipped ? "skipped " : "its join can never be satisfied, ");
    explain_add_time(explain, row[1].number);
    tsk_buf_printf(&explain->line, ": step %" PRId64 " (", row[2].number);
    explain_add(explain, tsk_value_str(&row[3]));
    tsk_buf_printf(&explain->line, ") before it is %s%s", state,
                   skipped && strcmp(state, "skipped") != 0
                       ? " and has asked for no optional step between them"
                       : "");
    explain_end(explain);
    return 0;
}

/* What an operator did last to a step that is pending or has ended. */
static int on_hand(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    struct json_object *about = tsk_json_stored(tsk_value_str(&row[1]));
    const char *by = tsk_json_str(about, "by"), *reason = tsk_json_str(about, "reason");
    (void)columns;
    explain_begin(explain);
    explain_add(explain, tsk_value_str(&row[0]));
    tsk_buf_str(&explain->line, " by ");
    explain_add(explain, by ? by : "an operator");
    tsk_buf_char(&explain->line, ' ');
    explain_add_time(explain, row[2].number);
    tsk_buf_str(&explain->line, ": ");
    explain_add(explain, reason ? reason : "no reason is known");
    explain_end(explain);
    json_object_put(about);
    return 0;
}

static int on_refusal(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    struct json_object *error = tsk_json_stored(tsk_value_str(&row[0]));
    const char *message = tsk_json_str(error, "message");
    (void)columns;
    explain_begin(explain);
    tsk_buf_str(&explain->line, "its last batch could not be run: ");
    explain_add(explain, message ? message : tsk_value_str(&row[0]));
    explain_end(explain);
    json_object_put(error);
    return 0;
}

static int explain_step(struct explain *explain, int64_t id, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(id);
    struct tsk_store *store = explain->store;
    explain->found = explain->waits = explain->held_up = false;
    if (tsk_store_run(store, get_step, &value, 1, on_step, explain, err) < 0)
        return -1;
    if (!explain->found)
        return tsk_err_set(err, TSK_NO, "there is no step %" PRId64 " of a task in %s", id,
                           tsk_store_name(store));
    bool claimed = !strcmp(explain->state, "enqueued") || !strcmp(explain->state, "in_progress");
    bool pending = !strcmp(explain->state, "pending");
    if (explain->waits && explain_waits(explain, err) < 0)
        return -1;
    if (claimed && explain_batch(explain, err) < 0)
        return -1;
    if (!claimed && !pending &&
        tsk_store_run(store, get_undone, &value, 1, on_undone, explain, err) < 0)
        return -1;
    if (!claimed && tsk_store_run(store, get_refusal, &value, 1, on_refusal, explain, err) < 0)
        return -1;
    if (!claimed && tsk_store_run(store, get_hand, &value, 1, on_hand, explain, err) < 0)
        return -1;
    if (pending && !explain->waits && !explain->held_up)
        out_printf("    nothing is in its way: the next tasker-ready claims it");
    return 0;
}

/* ---- a task */

static int on_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    explain->found = true;
    tsk_buf_reset(&explain->line);
    tsk_buf_printf(&explain->line, "task %" PRId64 " (", row[0].number);
    explain_add(explain, tsk_value_str(&row[1]));
    tsk_buf_char(&explain->line, '/');
    explain_add(explain, tsk_value_str(&row[2]));
    tsk_buf_printf(&explain->line, "): %s, %" PRId64 " step%s", tsk_value_str(&row[3]),
                   row[5].number, tsk_plural(row[5].number));
    explain_end(explain);
    return 0;
}

static int on_id(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    explain->ids = tsk_grow(explain->ids, &explain->cap, explain->count + 1, sizeof *explain->ids);
    explain->ids[explain->count++] = row[0].number;
    return 0;
}

static int explain_task(struct explain *explain, int64_t id, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(id);
    struct tsk_store *store = explain->store;
    if (tsk_store_run(store, get_task, &value, 1, on_task, explain, err) < 0)
        return -1;
    if (!explain->found)
        return tsk_err_set(err, TSK_NO, "there is no task %" PRId64 " in %s", id,
                           tsk_store_name(store));
    if (tsk_store_run(store, get_steps, &value, 1, on_id, explain, err) < 0)
        return -1;
    for (size_t i = 0; i < explain->count; i++) {
        if (explain_step(explain, explain->ids[i], err) < 0)
            return -1;
    }
    return 0;
}

struct asked {
    struct explain explain;
    bool task;
    int64_t id;
};

static int read_all(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct asked *asked = ctx;
    asked->explain.store = store;
    return asked->task ? explain_task(&asked->explain, asked->id, err)
                       : explain_step(&asked->explain, asked->id, err);
}

/* Reads "[step | task] ID". Returns 0, or -1 with err. */
static int read_operands(struct asked *asked, char *const *operands, size_t count,
                         struct tsk_err *err)
{
    bool word = count == 2 && (!strcmp(operands[0], "task") || !strcmp(operands[0], "step"));
    if (count != 1 && !word)
        return tsk_err_set(err, TSK_USAGE,
                           "--explain takes \"step ID\", \"task ID\" or ID, a step");
    asked->task = word && !strcmp(operands[0], "task");
    return tsk_parse_int(operands[count - 1], 1, INT64_MAX, &asked->id, err);
}

enum tsk_exit ready_explain(const struct tsk_conf *conf, char *const *operands, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct asked asked = {
        .explain = {.conf = conf,
                    .now = tsk_wall_ms(),
                    .claim_timeout = tsk_conf_int(conf, TSK_WORKFLOW_CLAIM_TIMEOUT)}};
    enum tsk_exit status = TSK_OK;
    if (read_operands(&asked, operands, count, &err) < 0)
        return diag_err(&err);
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!store)
        return diag_no_store(&err);
    tsk_store_set_use(store, TSK_STORE_LOOK);
    /* once: what is printed cannot be taken back */
    if (tsk_store_read(store, read_all, &asked, 0, &err) < 0)
        status = diag_err(&err);
    tsk_store_free(store);
    free(asked.explain.ids);
    free(asked.explain.before);
    free(asked.explain.edges);
    tsk_buf_fini(&asked.explain.line);
    return status;
}
