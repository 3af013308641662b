/* --explain: why a step does not run, in words. One query for what it is, one for what it waits for
 * or for the batch that has it, and a line for each reason; a
 * task is explained by its steps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ask.h"
#include "common/diag.h"
#include "common/out.h"
#include "ready/ready.h"
#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/conf.h"
#include "tasker/flow.h"
#include "tasker/json.h"
#include "tasker/outbound.h"
#include "tasker/parse.h"
#include "tasker/store.h"

struct explain {
    struct tsk_store *store;
    const struct tsk_conf *conf;
    int64_t now, claim_timeout; /* wall ms; how long a claimed batch may wait to be sent */
    struct tsk_buf line;
    int64_t *ids; /* of the steps of a task */
    size_t count, cap;
    char silent[TSK_TOPIC_SIZE]; /* the endpoint that did not answer last: asked once */
    /* the step at hand */
    bool found, waits, held_up; /* held_up: by something else than what it waits for */
    int64_t id;
    char state[24];
    struct tsk_flow_step flow;
    /* what it waits for */
    struct tsk_flow_step *before;
    size_t before_count, before_cap;
    struct tsk_flow_edge *edges;
    size_t edge_cap;
};

/* A batch that a worker has accepted. Texts are "" where they are not known. */
struct explain_accepted {
    const char *batch, *worker, *source, *endpoint;
    bool unsettled;                 /* the ledger has news of it */
    const struct tsk_value *result; /* the last message about the step there, or null */
    int64_t heard; /* wall ms: the newest message of the worker in the ledger; -1: none */
};

static int explain_waits(struct explain *explain, struct tsk_err *err);
static int explain_batch(struct explain *explain, struct tsk_err *err);

static const char get_task[] =
    "SELECT t.task_id, t.namespace, t.name, t.state, h.reason, (SELECT count(*) FROM steps s WHERE "
    "s.task = t.task_id) FROM tasks t LEFT JOIN held_namespaces h ON h.namespace = t.namespace "
    "WHERE t.task_id = $1";
static const char get_steps[] = "SELECT id FROM steps WHERE task = $1 ORDER BY place, id";
/* clang-format off */
static const char get_step[] =
    "SELECT s.id, s.name, " TSK_STEP_STATE_SHOWN("s") ", s.attempts,"
    " s.retry_limit + s.attempts_before, s.next_retry_at, s.waits_for, s.join_rule, s.unsatisfied,"
    " s.error_category, s.handler_class, t.state, t.namespace, h.reason, h.created_at, h.held_by,"
    " s.created_by, (SELECT c.name FROM steps c WHERE c.id = s.created_by), s.created_index,"
    " s.created_count FROM steps s LEFT JOIN tasks t ON t.task_id = s.task"
    " LEFT JOIN held_namespaces h ON h.namespace = t.namespace"
    " WHERE s.id = $1 AND s.task IS NOT NULL";
/* clang-format on */
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

/* clang-format off */
static const char get_undone[] =
    "SELECT x.event, x.created_at, b.id, b.name, " TSK_STEP_STATE_SHOWN("b")
    " FROM step_transitions x JOIN step_dependencies d ON d.to_step = x.step"
    " JOIN steps b ON b.id = d.from_step WHERE x.step = $1 AND x.origin = 'ledger'"
    " AND x.event IN (" TSK_EVENTS_UNDONE ") ORDER BY b.place, b.id";
/* clang-format on */

static const char get_hand[] =
    "SELECT event, metadata, created_at FROM step_transitions WHERE step = $1 AND origin = "
    "'operator' AND sort_key = (SELECT max(sort_key) FROM step_transitions WHERE step = $1)";

static void add_name(struct explain *explain, const char *name)
{
    tsk_plain_str(&explain->line, name);
}

static void add_time(struct explain *explain, int64_t wall)
{
    char time[TSK_TIME_SIZE];
    int64_t ms = wall - explain->now;
    tsk_time_format(wall, time);
    tsk_buf_printf(&explain->line, "%s (%s%" PRId64 ".%" PRId64 " s%s)", time, ms > 0 ? "in " : "",
                   (ms < 0 ? -ms : ms) / 1000, (ms < 0 ? -ms : ms) % 1000 / 100,
                   ms > 0 ? "" : " ago");
}

static void begin_line(struct explain *explain)
{
    tsk_buf_reset(&explain->line);
    tsk_buf_str(&explain->line, "    ");
}

static void end_line(struct explain *explain)
{
    out_line(explain->line.data, explain->line.len);
}

/* ---- why a pending step does not run */

static void tell_hold(struct explain *explain, const struct tsk_value *row)
{
    if (row[HELD_WHY].type != TSK_TEXT)
        return;
    begin_line(explain);
    tsk_buf_str(&explain->line, "its namespace ");
    add_name(explain, tsk_value_str(&row[NAMESPACE]));
    tsk_buf_str(&explain->line, " is held since ");
    add_time(explain, row[HELD_SINCE].number);
    if (*tsk_value_str(&row[HELD_BY])) {
        tsk_buf_str(&explain->line, " by ");
        add_name(explain, tsk_value_str(&row[HELD_BY]));
    }
    tsk_buf_str(&explain->line, ": ");
    add_name(explain, tsk_value_str(&row[HELD_WHY]));
    end_line(explain);
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
        begin_line(explain);
        const char *category = tsk_value_str(&row[CATEGORY]);
        if (row[ATTEMPTS].number > 0)
            tsk_buf_printf(&explain->line, "attempt %" PRId64 " of %" PRId64 " failed (",
                           row[ATTEMPTS].number, row[LIMIT].number);
        else
            tsk_buf_str(&explain->line, "a worker did not start it (");
        add_name(explain, *category ? category : "no category");
        tsk_buf_str(&explain->line, "); its back-off is over at ");
        add_time(explain, retry);
        end_line(explain);
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
    begin_line(explain);
    tsk_buf_printf(&explain->line, "it failed for good after attempt %" PRId64 " of %" PRId64 "%s",
                   row[ATTEMPTS].number, row[LIMIT].number, *category ? ": " : "");
    add_name(explain, category);
    tsk_buf_str(&explain->line,
                spent ? "; no attempts are left" : "; the failure is not worth another attempt");
    end_line(explain);
}

static void tell_creator(struct explain *explain, const struct tsk_value *row)
{
    if (row[CREATED_BY].type != TSK_INT)
        return;
    begin_line(explain);
    if (row[CREATED_INDEX].type == TSK_INT)
        tsk_buf_printf(&explain->line, "%" PRId64 " of %" PRId64 ", ", row[CREATED_INDEX].number,
                       row[CREATED_COUNT].number);
    tsk_buf_printf(&explain->line, "created by step %" PRId64 " (", row[CREATED_BY].number);
    add_name(explain, tsk_value_str(&row[CREATOR]));
    tsk_buf_str(&explain->line, "), whose output asked for it");
    end_line(explain);
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
    add_name(explain, tsk_value_str(&row[NAME]));
    tsk_buf_str(&explain->line, ", ");
    add_name(explain, tsk_value_str(&row[HANDLER]));
    tsk_buf_printf(&explain->line, "): %s", tsk_value_str(&row[STATE]));
    end_line(explain);
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
    begin_line(explain);
    tsk_buf_str(&explain->line, skipped ? "skipped " : "its join can never be satisfied, ");
    add_time(explain, row[1].number);
    tsk_buf_printf(&explain->line, ": step %" PRId64 " (", row[2].number);
    add_name(explain, tsk_value_str(&row[3]));
    tsk_buf_printf(&explain->line, ") before it is %s%s", state,
                   skipped && strcmp(state, "skipped") != 0
                       ? " and has asked for no optional step between them"
                       : "");
    end_line(explain);
    return 0;
}

/* What an operator did last to a step that is pending or has ended. */
static int on_hand(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    struct json_object *about = tsk_json_stored(tsk_value_str(&row[1]));
    const char *by = tsk_json_str(about, "by"), *reason = tsk_json_str(about, "reason");
    (void)columns;
    begin_line(explain);
    add_name(explain, tsk_value_str(&row[0]));
    tsk_buf_str(&explain->line, " by ");
    add_name(explain, by ? by : "an operator");
    tsk_buf_char(&explain->line, ' ');
    add_time(explain, row[2].number);
    tsk_buf_str(&explain->line, ": ");
    add_name(explain, reason ? reason : "no reason is known");
    end_line(explain);
    json_object_put(about);
    return 0;
}

static int on_refusal(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    struct json_object *error = tsk_json_stored(tsk_value_str(&row[0]));
    const char *message = tsk_json_str(error, "message");
    (void)columns;
    begin_line(explain);
    tsk_buf_str(&explain->line, "its last batch could not be run: ");
    add_name(explain, message ? message : tsk_value_str(&row[0]));
    end_line(explain);
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
    add_name(explain, tsk_value_str(&row[1]));
    tsk_buf_char(&explain->line, '/');
    add_name(explain, tsk_value_str(&row[2]));
    tsk_buf_printf(&explain->line, "): %s, %" PRId64 " step%s", tsk_value_str(&row[3]),
                   row[5].number, tsk_plural(row[5].number));
    end_line(explain);
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

/* ---- What a step waits for. Whether that can come is asked of the rule that settles tasks
 * (flow.h), for this step and those right before it. */

/* clang-format off */
static const char get_waits[] =
    "SELECT p.id, p.name, " TSK_STEP_STATE_SHOWN("p") ", p.next_retry_at, d.choice"
    " FROM step_dependencies d JOIN steps p ON p.id = d.from_step"
    " WHERE d.to_step = $1 ORDER BY p.place, p.id";
/* clang-format on */

enum { WAIT_ID, WAIT_NAME, WAIT_STATE, WAIT_RETRY_AT, CHOICE };

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
    bool skipped =
        strcmp(row[WAIT_STATE].data, "skipped") == 0; /* it counts as if it were not there */
    enum tsk_state state =
        skipped ? TSK_STATE_RESOLVED : tsk_state_find(TSK_SUBJECT_STEP, row[WAIT_STATE].data);
    bool choice = row[CHOICE].number != 0;
    (void)columns;
    bool failed = state == TSK_STATE_ERROR;
    keep(explain, row[WAIT_ID].number, state, choice);
    if (tsk_state_satisfies(state) ||
        (explain->flow.join == TSK_JOIN_ALL_DONE && (failed || state == TSK_STATE_CANCELLED)))
        return 0;
    begin_line(explain);
    tsk_buf_printf(&explain->line, "it waits for step %" PRId64 " (", row[WAIT_ID].number);
    add_name(explain, tsk_value_str(&row[WAIT_NAME]));
    tsk_buf_printf(&explain->line, "), %s %s",
                   choice ? "which may ask for optional steps before it, and is" : "which is",
                   tsk_value_str(&row[WAIT_STATE]));
    if (row[WAIT_RETRY_AT].type == TSK_INT && row[WAIT_RETRY_AT].number > explain->now) {
        tsk_buf_str(&explain->line, " until ");
        add_time(explain, row[WAIT_RETRY_AT].number);
    }
    if (failed)
        tsk_buf_str(&explain->line, "; tasker-resolve can retry or resolve it");
    end_line(explain);
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
    begin_line(explain);
    tsk_buf_printf(&explain->line,
                   "its join %s can never be satisfied, since step %" PRId64
                   " is cancelled; by its template (unsatisfied: block) it stays so until somebody "
                   "resolves or cancels it: tasker-resolve",
                   tsk_join_name(explain->flow.join), explain->before[n].because);
    end_line(explain);
}

static int explain_waits(struct explain *explain, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(explain->id);
    explain->before_count = 0;
    if (tsk_store_run(explain->store, get_waits, &value, 1, on_wait, explain, err) < 0)
        return -1;
    tell_block(explain);
    return 0;
}

/* ---- What became of a batch after a worker has accepted it: what the ledger has of it, and what
 * the worker itself reports, which is asked for a short time. */

#define WAIT_MS 1500 /* a worker that lives answers at once */

static void tell_silent(struct explain *explain, const struct explain_accepted *accepted)
{
    add_name(explain, accepted->worker);
    if (accepted->heard < 0)
        tsk_buf_str(&explain->line, " does not answer, and nothing was ever heard of it");
    else
        tsk_buf_str(&explain->line, " does not answer; it has not been heard of since ");
    if (accepted->heard >= 0)
        add_time(explain, accepted->heard);
    tsk_buf_str(&explain->line, " (asked at ");
    add_name(explain, accepted->endpoint);
    tsk_buf_str(&explain->line, "); a tasker-collect that runs reports it as lost");
}

/* Asks the worker for its status, which is the caller's; NULL: no answer. */
static struct json_object *ask(struct explain *explain, const struct explain_accepted *accepted)
{
    char step[TSK_ID_SIZE];
    struct tsk_err err = TSK_ERR_INIT;
    if (strcmp(explain->silent, accepted->endpoint) == 0)
        return NULL;
    int len = snprintf(step, sizeof step, "%" PRId64 ".%s", explain->id, accepted->batch);
    bool fits = len < (int)(sizeof step - TSK_UUID_SIZE);
    struct json_object *status = ask_status(explain->conf, TSK_RESULTS, accepted->endpoint,
                                            fits ? step : NULL, WAIT_MS, &err);
    if (!status)
        snprintf(explain->silent, sizeof explain->silent, "%s", accepted->endpoint);
    return status;
}

static void add_end(struct explain *explain, int64_t ended)
{
    tsk_buf_str(&explain->line, "it ended ");
    add_time(explain, ended);
    tsk_buf_str(&explain->line, "; ");
}

/* Prints when the step ended, by the worker's clock: status has the time of both. Returns false if
 * the worker does not know. */
static bool worker_tell_end(struct explain *explain, const char *worker, struct json_object *status)
{
    const char *at = tsk_json_str(status, "step_ended_at");
    const char *asked = tsk_json_str(status, "timestamp");
    int64_t offset = 0, unconfirmed = 0, collectors = 0, ended, then;
    if (!at || !asked || tsk_time_parse(at, &ended) < 0 || tsk_time_parse(asked, &then) < 0)
        return false;
    tsk_json_int(status, "step_offset", &offset);
    tsk_json_int(status, "unconfirmed", &unconfirmed);
    tsk_json_int(status, "collectors", &collectors);
    explain->now = tsk_wall_ms();
    add_end(explain, explain->now - (then - ended));
    tsk_buf_str(&explain->line, "the result is in the outbox of ");
    add_name(explain, worker);
    tsk_buf_str(&explain->line, offset < unconfirmed
                                    ? ", and a collector took it that does not write to this store"
                                : collectors ? ", and a collector is taking it"
                                             : ", and no collector takes it: run tasker-collect");
    return true;
}

static void tell_status(struct explain *explain, const struct explain_accepted *accepted,
                        struct json_object *status)
{
    const char *source = tsk_json_str(status, "source");
    int64_t running = 0, queued = 0;
    tsk_json_int(status, "running", &running);
    tsk_json_int(status, "queued", &queued);
    bool same = source && strcmp(source, accepted->source) == 0;
    if (same && worker_tell_end(explain, accepted->worker, status))
        return;
    add_name(explain, accepted->worker);
    if (same)
        tsk_buf_printf(&explain->line, " lives: %" PRId64 " running, %" PRId64 " queued", running,
                       queued);
    else
        tsk_buf_str(&explain->line, " is another process now: what it had accepted is lost with "
                                    "it; a tasker-collect that runs reports that");
}

/* Prints what the ledger has of the step. */
static void tell_ledger(struct explain *explain, const struct tsk_value *message)
{
    struct tsk_json *parser = tsk_json_new();
    bool any = message->type == TSK_BYTES;
    struct json_object *result =
        any ? tsk_json_object(parser, message->data, message->len, NULL) : NULL;
    const char *status = tsk_json_str(result, "status"), *at = tsk_json_str(result, "timestamp");
    int64_t ended;
    if (status && at && strcmp(status, "in_progress") != 0 && tsk_time_parse(at, &ended) == 0) {
        add_end(explain, ended);
        tsk_buf_str(&explain->line, "its result is in the ledger: run tasker-reconcile");
    } else {
        tsk_buf_str(&explain->line, "the ledger has news of its batch: run tasker-reconcile");
    }
    json_object_put(result);
    tsk_json_free(parser);
}

static void explain_worker(struct explain *explain, const struct explain_accepted *accepted)
{
    begin_line(explain);
    if (accepted->unsettled) {
        tell_ledger(explain, accepted->result);
    } else if (!*accepted->endpoint || !*accepted->source) {
        tsk_buf_str(&explain->line, "nobody knows where its worker is: the worker did not report "
                                    "its address, as a plain one does not");
    } else {
        struct json_object *status = ask(explain, accepted);
        if (status)
            tell_status(explain, accepted, status);
        else
            tell_silent(explain, accepted);
        json_object_put(status);
    }
    end_line(explain);
}

/* ---- Where the batch is that has claimed a step. */

/* clang-format off */
static const char get_batch[] =
    "SELECT b.batch_id, b.state, b.created_at, b.published_at, b.accepted_by, b.offered_to,"
    " b.publisher, b.claimed_until, (SELECT r.raw_message FROM received_results r"
    " WHERE " TSK_OUTBOUND_REFUSES("r", "b.batch_id") "), b.source, b.result_endpoint,"
    " (SELECT count(*) FROM unsettled u WHERE u.batch_id = b.batch_id),"
    " (SELECT h.received_at FROM received_results h WHERE h.source = b.source"
    " ORDER BY h.stream_offset DESC LIMIT 1),"
    " (SELECT h.raw_message FROM received_results h WHERE h.batch_id = b.batch_id"
    " AND h.step_id = x.step ORDER BY h.id DESC LIMIT 1)"
    " FROM batch_steps x JOIN batches b ON b.id = x.batch WHERE x.step = $1"
    " ORDER BY x.attempt DESC, b.id DESC LIMIT 1";
/* clang-format on */

enum {
    BATCH_ID,
    BATCH_STATE,
    CREATED_AT,
    PUBLISHED_AT,
    ACCEPTED_BY,
    OFFERED_TO,
    PUBLISHER,
    CLAIMED_UNTIL,
    REFUSAL,
    SOURCE,
    ENDPOINT,
    UNSETTLED,
    HEARD,
    RESULT,
};

/* Every worker has refused it, or it is too long; until reconcile looks at that, it stays so. */
static void tell_refused(struct explain *explain, const struct tsk_value *message)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *json = tsk_json_object(parser, message->data, message->len, NULL);
    const char *why = tsk_json_str(tsk_json_get(json, "error"), "message");
    tsk_buf_str(&explain->line, "refused: ");
    add_name(explain, why ? why : "no reason is told");
    tsk_buf_str(&explain->line, "; the next tasker-reconcile ends the batch");
    json_object_put(json);
    tsk_json_free(parser);
}

static void tell_unsent(struct explain *explain, const struct tsk_value *row)
{
    int64_t back = row[CLAIMED_UNTIL].number > row[CREATED_AT].number ? row[CLAIMED_UNTIL].number
                                                                      : row[CREATED_AT].number;
    if (row[PUBLISHER].type == TSK_TEXT && row[CLAIMED_UNTIL].number > explain->now) {
        tsk_buf_str(&explain->line, "not sent yet: tasker-publish ");
        add_name(explain, tsk_value_str(&row[PUBLISHER]));
        tsk_buf_str(&explain->line, " has it and waits for a worker");
        return;
    }
    tsk_buf_str(&explain->line, "not sent yet: is tasker-publish running, and a worker? "
                                "tasker-publish --pending sends it; if nobody does, "
                                "tasker-reconcile gives it back after ");
    add_time(explain, back + explain->claim_timeout);
}

static int on_batch(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    begin_line(explain);
    tsk_buf_printf(&explain->line, "claimed in batch %s (%s), created ",
                   tsk_value_str(&row[BATCH_ID]), tsk_value_str(&row[BATCH_STATE]));
    add_time(explain, row[CREATED_AT].number);
    end_line(explain);
    begin_line(explain);
    if (row[REFUSAL].type == TSK_BYTES && row[PUBLISHED_AT].type != TSK_INT) {
        tell_refused(explain, &row[REFUSAL]);
    } else if (row[PUBLISHED_AT].type == TSK_INT) {
        tsk_buf_str(&explain->line, "accepted by ");
        add_name(explain, *tsk_value_str(&row[ACCEPTED_BY]) ? tsk_value_str(&row[ACCEPTED_BY])
                                                            : "nobody known");
        tsk_buf_char(&explain->line, ' ');
        add_time(explain, row[PUBLISHED_AT].number);
        end_line(explain);
        struct explain_accepted accepted = {
            .batch = tsk_value_str(&row[BATCH_ID]),
            .worker = tsk_value_str(&row[ACCEPTED_BY]),
            .source = tsk_value_str(&row[SOURCE]),
            .endpoint = tsk_value_str(&row[ENDPOINT]),
            .unsettled = row[UNSETTLED].number > 0,
            .result = &row[RESULT],
            .heard = row[HEARD].type == TSK_INT ? row[HEARD].number : -1,
        };
        explain_worker(explain, &accepted);
        return 0;
    } else if (*tsk_value_str(&row[OFFERED_TO])) {
        tsk_buf_str(&explain->line, "sent to ");
        add_name(explain, tsk_value_str(&row[OFFERED_TO]));
        tsk_buf_str(&explain->line, ", not accepted yet");
    } else {
        tell_unsent(explain, row);
    }
    end_line(explain);
    return 0;
}

static int explain_batch(struct explain *explain, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(explain->id);
    return tsk_store_run(explain->store, get_batch, &value, 1, on_batch, explain, err) < 0 ? -1 : 0;
}
