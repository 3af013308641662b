/* A task with its steps and edges out of the store, and what has changed back into it. The task's
 * row is locked first: of two who settle steps of one task, the second sees what the first has
 * written. Steps that others ask for are made first (fan_out.c). Only what differs is written. */
#include "tasker/flow_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>

#include "fan_out.h"
#include "tasker/buf.h"
#include "tasker/flow.h"
#include "tasker/sort_key.h"
#include "tasker/state.h"

struct row {
    enum tsk_state state;
    int64_t waits_for, attempts;
    bool was_cancelled; /* by an earlier flow */
};

struct loaded {
    struct tsk_store *store;
    int64_t task;
    enum tsk_state state; /* of the task */
    bool by_hand;         /* an operator has ended it */
    struct tsk_flow_step *steps;
    struct row *rows;
    size_t count, cap, row_cap;
    struct tsk_flow_edge *edges;
    size_t edge_count, edge_cap;
    bool fans; /* a step asks for others, or was asked for */
};

/* ---- reading */

#define TASK                                                                                       \
    "SELECT state, EXISTS (SELECT 1 FROM task_transitions x WHERE x.task = t.task_id AND "         \
    "x.origin "                                                                                    \
    "= 'operator' AND x.to_state IN ('cancelled', 'resolved_manually') AND NOT EXISTS (SELECT 1 "  \
    "FROM task_transitions y WHERE y.task = x.task AND y.origin = 'operator' AND y.sort_key > "    \
    "x.sort_key)) FROM tasks t WHERE task_id = $1"
static const char get_task[] = TASK, lock_task[] = TASK " FOR UPDATE OF t";
static const char get_steps[] =
    "SELECT s.id, s.state, s.updated_at, s.join_rule, s.unsatisfied, s.waits_for, s.attempts, "
    "c.from_state IS NOT NULL, s.created_at, s.creates IS NOT NULL OR s.created_by IS NOT NULL "
    "FROM "
    "steps s LEFT JOIN step_transitions c ON c.step = "
    "s.id AND c.origin = 'ledger' AND c.event = '" TSK_EVENT_UNSATISFIED
    "' WHERE s.task = $1 ORDER BY s.id";
static const char get_edges[] = "SELECT d.from_step, d.to_step, d.choice FROM step_dependencies d "
                                "JOIN steps s ON s.id = d.to_step WHERE "
                                "s.task = $1 ORDER BY d.to_step, d.from_step";

static int on_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct loaded *in = ctx;
    (void)columns;
    in->state = tsk_state_find(TSK_SUBJECT_TASK, row[0].data);
    in->by_hand = tsk_value_true(&row[1]);
    return 0;
}

static int on_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct loaded *in = ctx;
    bool undone = tsk_value_true(&row[7]);
    enum tsk_state state = tsk_state_find(TSK_SUBJECT_STEP, row[1].data);
    (void)columns;
    in->fans |= tsk_value_true(&row[9]);
    in->steps = tsk_grow(in->steps, &in->cap, in->count + 1, sizeof *in->steps);
    in->rows = tsk_grow(in->rows, &in->row_cap, in->count + 1, sizeof *in->rows);
    in->rows[in->count] = (struct row){state, row[5].number, row[6].number, undone};
    in->steps[in->count++] = (struct tsk_flow_step){.id = row[0].number,
                                                    .state = undone ? TSK_STATE_PENDING : state,
                                                    .at = undone ? row[8].number : row[2].number,
                                                    .join = tsk_join_find(row[3].data),
                                                    .blocks = tsk_unsatisfied_find(row[4].data) ==
                                                              TSK_UNSATISFIED_BLOCK};
    return 0;
}

/* The place of a step, all being in order of their ids; count if there is none. */
static size_t place_of(const struct loaded *in, int64_t id)
{
    size_t low = 0, high = in->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (in->steps[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < in->count && in->steps[low].id == id ? low : in->count;
}

static int on_edge(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct loaded *in = ctx;
    size_t from = place_of(in, row[0].number), to = place_of(in, row[1].number);
    (void)columns;
    if (from == in->count || to == in->count)
        return 0;
    in->edges = tsk_grow(in->edges, &in->edge_cap, in->edge_count + 1, sizeof *in->edges);
    in->edges[in->edge_count++] = (struct tsk_flow_edge){from, to, row[2].number != 0};
    return 0;
}

static int load_steps(struct loaded *in, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(in->task);
    in->count = 0;
    return tsk_store_run(in->store, get_steps, &key, 1, on_step, in, err) < 0 ? -1 : 0;
}

static int load(struct loaded *in, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(in->task);
    const char *task = TSK_SQL(in->store, get_task, lock_task);
    if (tsk_store_run(in->store, task, &key, 1, on_task, in, err) < 0 || load_steps(in, err) < 0)
        return -1;
    int changed = in->fans ? tsk_fan_out(in->store, in->task, err) : 0;
    if (changed < 0 || (changed && load_steps(in, err) < 0))
        return -1;
    return tsk_store_run(in->store, get_edges, &key, 1, on_edge, in, err) < 0 ? -1 : 0;
}

/* ---- writing */

static const char set_waits[] = "UPDATE steps SET waits_for = $2 WHERE id = $1";
static const char set_state[] =
    "UPDATE steps SET state = $2, updated_at = $3, waits_for = $4 WHERE id = $1";
static const char delete_cancel[] = "DELETE FROM step_transitions WHERE step = $1 AND origin = "
                                    "'ledger' AND event = '" TSK_EVENT_UNSATISFIED "'";
static const char add_cancel[] =
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, metadata, "
    "created_at) VALUES ($1, $2, 'pending', 'cancelled', '" TSK_EVENT_UNSATISFIED
    "', 'ledger', $3, $4)";

static int write_state(const struct loaded *in, size_t i, struct tsk_err *err)
{
    const struct tsk_flow_step *step = &in->steps[i];
    enum tsk_state state = step->cancelled ? TSK_STATE_CANCELLED : step->state;
    struct tsk_value values[] = {tsk_value_int(step->id), tsk_value_text(tsk_state_name(state)),
                                 tsk_value_int(step->cancelled ? step->cancelled_at : step->at),
                                 tsk_value_int(step->waits_for)};
    return tsk_store_send(in->store, set_state, values, 4, err);
}

static int write_cancel(const struct loaded *in, size_t i, struct tsk_err *err)
{
    const struct tsk_flow_step *step = &in->steps[i];
    char about[64];
    snprintf(about, sizeof about, "{\"because_step\":%" PRId64 "}", step->because);
    int64_t key = tsk_step_key(in->rows[i].attempts, TSK_PLACE_UNSATISFIED);
    struct tsk_value values[] = {tsk_value_int(step->id), tsk_value_int(key), tsk_value_text(about),
                                 tsk_value_int(step->cancelled_at)};
    if (tsk_store_send(in->store, delete_cancel, values, 1, err) < 0)
        return -1;
    return step->cancelled ? tsk_store_send(in->store, add_cancel, values, 4, err) : 0;
}

/* Writes what differs of one step. */
static int write_step(const struct loaded *in, size_t i, struct tsk_err *err)
{
    const struct tsk_flow_step *step = &in->steps[i];
    const struct row *row = &in->rows[i];
    struct tsk_value values[] = {tsk_value_int(step->id), tsk_value_int(step->waits_for)};
    if (step->cancelled || row->was_cancelled)
        return write_state(in, i, err) < 0 || write_cancel(in, i, err) < 0 ? -1 : 0;
    if (step->state != TSK_STATE_PENDING || step->waits_for == row->waits_for)
        return 0;
    return tsk_store_send(in->store, set_waits, values, 2, err);
}

static const char set_task[] = "UPDATE tasks SET state = $2, updated_at = $3 WHERE task_id = $1";
static const char delete_end[] =
    "DELETE FROM task_transitions WHERE task = $1 AND origin = 'ledger'";
static const char add_end[] = "INSERT INTO task_transitions (task, sort_key, from_state, to_state, "
                              "event, origin, created_at) "
                              "VALUES ($1, $2, 'in_progress', $3, $4, 'ledger', $5)";

static int write_task(const struct loaded *in, enum tsk_flow_end end, int64_t at,
                      struct tsk_err *err)
{
    static const enum tsk_state states[] = {[TSK_FLOW_ON] = TSK_STATE_IN_PROGRESS,
                                            [TSK_FLOW_BLOCKED] = TSK_STATE_IN_PROGRESS,
                                            [TSK_FLOW_COMPLETE] = TSK_STATE_COMPLETE,
                                            [TSK_FLOW_CANCELLED] = TSK_STATE_CANCELLED,
                                            [TSK_FLOW_ERROR] = TSK_STATE_ERROR};
    enum tsk_state state = states[end];
    const char *event = tsk_state_event(TSK_SUBJECT_TASK, TSK_STATE_IN_PROGRESS, state);
    struct tsk_value values[] = {tsk_value_int(in->task), tsk_value_int(TSK_TASK_KEY_ENDED),
                                 tsk_value_text(tsk_state_name(state)), tsk_value_text(event),
                                 tsk_value_int(at)};
    struct tsk_value row[] = {values[0], values[2], values[4]};
    if (in->by_hand || (state == in->state && state == TSK_STATE_IN_PROGRESS) ||
        (state == TSK_STATE_IN_PROGRESS && in->state == TSK_STATE_PENDING))
        return 0;
    if (tsk_store_send(in->store, set_task, row, 3, err) < 0 ||
        tsk_store_send(in->store, delete_end, values, 1, err) < 0)
        return -1;
    return state == TSK_STATE_IN_PROGRESS ? 0 : tsk_store_send(in->store, add_end, values, 5, err);
}

static int settle_task(struct tsk_store *store, int64_t task_id, struct tsk_err *err)
{
    struct loaded in = {.store = store, .task = task_id};
    int64_t at;
    int rc = load(&in, err);
    if (rc == 0 && in.count) {
        enum tsk_flow_end end = tsk_flow(in.steps, in.count, in.edges, in.edge_count, &at);
        for (size_t i = 0; rc == 0 && i < in.count; i++)
            rc = write_step(&in, i, err);
        if (rc == 0)
            rc = write_task(&in, end, at, err);
        if (rc == 0)
            rc = tsk_store_notify(store, err);
    }
    free(in.steps);
    free(in.rows);
    free(in.edges);
    return rc;
}

static int by_number(const void *a, const void *b)
{
    const int64_t *m = a, *n = b;
    return *m < *n ? -1 : *m > *n;
}

int tsk_flow_settle_all(struct tsk_store *store, int64_t *tasks, size_t count, struct tsk_err *err)
{
    if (count)
        qsort(tasks, count, sizeof *tasks, by_number);
    for (size_t i = 0; i < count; i++) {
        if ((!i || tasks[i] != tasks[i - 1]) && settle_task(store, tasks[i], err) < 0)
            return -1;
    }
    return 0;
}
