/* --explain: why a step does not run, in words. One query for what it is, one for what it waits
 * for, and a line for each reason; a task is explained by its steps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/plain.h"
#include "ready/ready.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/outbound.h"
#include "tasker/parse.h"
#include "tasker/store.h"

static const char get_task[] =
    "SELECT t.task_id, t.namespace, t.name, t.state, h.reason, (SELECT count(*) FROM steps s WHERE "
    "s.task = t.task_id) FROM tasks t LEFT JOIN held_namespaces h ON h.namespace = t.namespace "
    "WHERE t.task_id = $1";
static const char get_steps[] = "SELECT id FROM steps WHERE task = $1 ORDER BY place, id";
static const char get_step[] =
    "SELECT s.id, s.name, s.state, s.attempts, s.retry_limit + s.attempts_before, "
    "s.next_retry_at, s.waits_for, "
    "s.join_rule, s.unsatisfied, s.error_category, s.handler_class, s.task, s.updated_at, t.state, "
    "t.namespace, h.reason, h.created_at, h.held_by, s.created_by, (SELECT c.name FROM steps c "
    "WHERE c.id = s.created_by), s.created_index, s.created_count FROM steps s "
    "LEFT JOIN tasks t ON t.task_id = s.task LEFT "
    "JOIN held_namespaces h ON h.namespace = t.namespace WHERE s.id = $1 AND s.task IS NOT NULL";
static const char get_waits[] =
    "SELECT p.id, p.name, p.state, p.next_retry_at, p.attempts, p.retry_limit, d.choice FROM "
    "step_dependencies d JOIN steps p ON p.id = d.from_step WHERE d.to_step = $1 AND p.state NOT "
    "IN "
    "('complete', 'resolved_manually') ORDER BY p.place, p.id";
static const char get_batch[] =
    "SELECT b.batch_id, b.state, b.created_at, b.published_at, b.accepted_by, b.offered_to, "
    "b.publisher, b.claimed_until, (SELECT r.raw_message FROM received_results r WHERE r.source = "
    "'" TSK_OUTBOUND_SOURCE "' || b.batch_id) FROM "
    "batch_steps x JOIN batches b ON b.id = x.batch WHERE x.step = $1 ORDER BY x.attempt DESC, "
    "b.id "
    "DESC LIMIT 1";
static const char get_refusal[] =
    "SELECT z.error FROM batch_steps x JOIN settled_batches z ON z.batch = x.batch WHERE x.step = "
    "$1 AND z.error IS NOT NULL ORDER BY x.attempt DESC LIMIT 1";

static const char get_hand[] =
    "SELECT event, metadata, created_at FROM step_transitions WHERE step = $1 AND origin = "
    "'operator' AND sort_key = (SELECT max(sort_key) FROM step_transitions WHERE step = $1)";

struct explain {
    struct tsk_store *store;
    int64_t now, patience; /* wall ms; how long a claimed batch may wait to be sent */
    bool found, waits, blocked;
    int64_t *ids;
    size_t count, cap;
    struct tsk_buf line;
    int64_t id;
    char state[24];
};

static const char *text(const struct tsk_value *value)
{
    return value->type == TSK_TEXT ? value->data : "";
}

/* Adds a name that anybody may have chosen, fit for a terminal. */
static void add_plain(struct tsk_buf *line, const char *name)
{
    plain_add(line, name);
}

static void add_time(struct explain *explain, int64_t wall)
{
    char time[TSK_TIME_SIZE];
    int64_t ms = wall - explain->now;
    tsk_time_format(wall, time);
    tsk_buf_printf(&explain->line, "%s (%s%" PRId64 ".%" PRId64 " s%s)", time, ms >= 0 ? "in " : "",
                   (ms < 0 ? -ms : ms) / 1000, (ms < 0 ? -ms : ms) % 1000 / 100,
                   ms >= 0 ? "" : " ago");
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
    if (row[15].type != TSK_TEXT)
        return;
    begin_line(explain);
    tsk_buf_str(&explain->line, "its namespace ");
    add_plain(&explain->line, text(&row[14]));
    tsk_buf_str(&explain->line, " is held since ");
    add_time(explain, row[16].number);
    if (*text(&row[17])) {
        tsk_buf_str(&explain->line, " by ");
        add_plain(&explain->line, text(&row[17]));
    }
    tsk_buf_str(&explain->line, ": ");
    add_plain(&explain->line, text(&row[15]));
    end_line(explain);
    explain->blocked = true;
}

static void tell_pending(struct explain *explain, const struct tsk_value *row)
{
    int64_t retry = row[5].type == TSK_INT ? row[5].number : 0;
    const char *task = text(&row[13]);
    if (*task && strcmp(task, "pending") != 0 && strcmp(task, "in_progress") != 0) {
        out_printf("    its task has ended: %s", task);
        explain->blocked = true;
    }
    tell_hold(explain, row);
    if (retry > explain->now) {
        begin_line(explain);
        tsk_buf_printf(&explain->line,
                       "attempt %" PRId64 " of %" PRId64 " failed (%s); its back-off is over at ",
                       row[3].number, row[4].number,
                       *text(&row[9]) ? text(&row[9]) : "no category");
        add_time(explain, retry);
        end_line(explain);
        explain->blocked = true;
    }
    explain->waits = row[6].number > 0;
}

static void tell_end(const struct tsk_value *row)
{
    const char *state = text(&row[2]), *category = text(&row[9]);
    bool spent = row[3].number >= row[4].number;
    if (strcmp(state, "error") == 0)
        out_printf("    it failed for good after attempt %" PRId64 " of %" PRId64 "%s%.60s%s",
                   row[3].number, row[4].number, *category ? ": " : "", category,
                   spent ? "; no attempts are left" : "; the failure is not worth another attempt");
    else
        out_printf("    it has ended: %s", state);
}

static void tell_creator(struct explain *explain, const struct tsk_value *row)
{
    if (row[18].type != TSK_INT)
        return;
    begin_line(explain);
    if (row[20].type == TSK_INT)
        tsk_buf_printf(&explain->line, "%" PRId64 " of %" PRId64 ", ", row[20].number,
                       row[21].number);
    tsk_buf_printf(&explain->line, "created by step %" PRId64 " (", row[18].number);
    add_plain(&explain->line, text(&row[19]));
    tsk_buf_str(&explain->line, "), whose output asked for it");
    end_line(explain);
}

static int on_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    explain->found = true;
    explain->id = row[0].number;
    snprintf(explain->state, sizeof explain->state, "%s", text(&row[2]));
    tsk_buf_reset(&explain->line);
    tsk_buf_printf(&explain->line, "step %" PRId64 " (", row[0].number);
    add_plain(&explain->line, text(&row[1]));
    tsk_buf_str(&explain->line, ", ");
    add_plain(&explain->line, text(&row[10]));
    tsk_buf_printf(&explain->line, "): %s", text(&row[2]));
    end_line(explain);
    tell_creator(explain, row);
    if (strcmp(explain->state, "pending") == 0)
        tell_pending(explain, row);
    else if (strcmp(explain->state, "enqueued") != 0 && strcmp(explain->state, "in_progress") != 0)
        tell_end(row);
    return 0;
}

static int on_wait(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    begin_line(explain);
    tsk_buf_printf(&explain->line, "it waits for step %" PRId64 " (", row[0].number);
    add_plain(&explain->line, text(&row[1]));
    tsk_buf_printf(&explain->line, "), %s %s",
                   row[6].number ? "which may ask for optional steps before it, and is"
                                 : "which is",
                   text(&row[2]));
    if (row[3].type == TSK_INT && row[3].number > explain->now) {
        tsk_buf_str(&explain->line, " until ");
        add_time(explain, row[3].number);
    }
    end_line(explain);
    return 0;
}

/* Every worker has refused it; until reconcile looks at that, it stays as it is. */
static void tell_refused(struct explain *explain, const struct tsk_value *message)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *json = tsk_json_object(parser, message->data, message->len, NULL);
    const char *why = tsk_json_str(tsk_json_get(json, "error"), "message");
    tsk_buf_str(&explain->line, "every worker has refused it: ");
    add_plain(&explain->line, why ? why : "no reason is told");
    tsk_buf_str(&explain->line, "; the next tasker-reconcile ends the batch");
    json_object_put(json);
    tsk_json_free(parser);
}

static void tell_unsent(struct explain *explain, const struct tsk_value *row)
{
    int64_t back = row[7].number > row[2].number ? row[7].number : row[2].number;
    if (row[6].type == TSK_TEXT && row[7].number > explain->now) {
        tsk_buf_str(&explain->line, "not sent yet: tasker-publish ");
        add_plain(&explain->line, text(&row[6]));
        tsk_buf_str(&explain->line, " has it and waits for a worker");
        return;
    }
    tsk_buf_str(&explain->line, "not sent yet: is tasker-publish running, and a worker? "
                                "tasker-publish --pending sends it; if nobody does, "
                                "tasker-reconcile gives it back after ");
    add_time(explain, back + explain->patience);
}

static int on_batch(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    begin_line(explain);
    tsk_buf_printf(&explain->line, "claimed in batch %s (%s), created ", text(&row[0]),
                   text(&row[1]));
    add_time(explain, row[2].number);
    end_line(explain);
    begin_line(explain);
    if (row[8].type == TSK_BYTES && row[3].type != TSK_INT) {
        tell_refused(explain, &row[8]);
    } else if (row[3].type == TSK_INT) {
        tsk_buf_str(&explain->line, "accepted by ");
        add_plain(&explain->line, *text(&row[4]) ? text(&row[4]) : "nobody known");
        tsk_buf_char(&explain->line, ' ');
        add_time(explain, row[3].number);
    } else if (*text(&row[5])) {
        tsk_buf_str(&explain->line, "sent to ");
        add_plain(&explain->line, text(&row[5]));
        tsk_buf_str(&explain->line, ", not accepted yet");
    } else {
        tell_unsent(explain, row);
    }
    end_line(explain);
    return 0;
}

/* Who has ended it, or has it tried again; of one that is pending or has ended. */
static int on_hand(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    struct json_object *about = tsk_json_stored(text(&row[1]));
    const char *by = tsk_json_str(about, "by"), *reason = tsk_json_str(about, "reason");
    (void)columns;
    begin_line(explain);
    add_plain(&explain->line, text(&row[0]));
    tsk_buf_str(&explain->line, " by ");
    add_plain(&explain->line, by ? by : "an operator");
    tsk_buf_char(&explain->line, ' ');
    add_time(explain, row[2].number);
    tsk_buf_str(&explain->line, ": ");
    add_plain(&explain->line, reason ? reason : "no reason is known");
    end_line(explain);
    json_object_put(about);
    return 0;
}

static int on_refusal(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    begin_line(explain);
    tsk_buf_str(&explain->line, "its last batch could not be run: ");
    add_plain(&explain->line, text(&row[0]));
    end_line(explain);
    return 0;
}

static int explain_step(struct explain *explain, int64_t id, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(id);
    struct tsk_store *store = explain->store;
    explain->found = explain->waits = explain->blocked = false;
    if (tsk_store_run(store, get_step, &value, 1, on_step, explain, err) < 0)
        return -1;
    if (!explain->found)
        return tsk_err_set(err, TSK_NO, "there is no step %" PRId64 " of a task in %s", id,
                           tsk_store_name(store));
    bool claimed = !strcmp(explain->state, "enqueued") || !strcmp(explain->state, "in_progress");
    bool pending = !strcmp(explain->state, "pending");
    if (explain->waits && tsk_store_run(store, get_waits, &value, 1, on_wait, explain, err) < 0)
        return -1;
    if (claimed && tsk_store_run(store, get_batch, &value, 1, on_batch, explain, err) < 0)
        return -1;
    if (!claimed && tsk_store_run(store, get_refusal, &value, 1, on_refusal, explain, err) < 0)
        return -1;
    if (!claimed && tsk_store_run(store, get_hand, &value, 1, on_hand, explain, err) < 0)
        return -1;
    if (pending && !explain->waits && !explain->blocked)
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
    add_plain(&explain->line, text(&row[1]));
    tsk_buf_char(&explain->line, '/');
    add_plain(&explain->line, text(&row[2]));
    tsk_buf_printf(&explain->line, "): %s, %" PRId64 " steps", text(&row[3]), row[5].number);
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
    struct asked asked = {.explain = {.now = tsk_wall_ms(),
                                      .patience = tsk_conf_int(conf, TSK_WORKFLOW_CLAIM_TIMEOUT)}};
    enum tsk_exit status = TSK_OK;
    if (read_operands(&asked, operands, count, &err) < 0)
        return diag_err(&err);
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!store) {
        diag_error("%s", err.text);
        return TSK_CONFIG;
    }
    tsk_store_set_use(store, TSK_STORE_LOOK);
    /* once: what is printed cannot be taken back */
    if (tsk_store_read(store, read_all, &asked, 0, &err) < 0)
        status = diag_err(&err);
    tsk_store_free(store);
    free(asked.explain.ids);
    tsk_buf_fini(&asked.explain.line);
    return status;
}
