/* Tasks with their steps and edges out of the store, and what has changed back into it: some tasks
 * at once. Their rows are locked first: of two who settle steps of one task, the second sees what
 * the first has written. Steps that others ask for are made then (fan_out.c). Only what differs is
 * written.
 *
 * Most news are that steps are complete, in a task that goes on. Then only the counters of their
 * direct dependents change, as long as no step is in error or cancelled: what cannot run any more
 * is then complete, so no dependent rests (flow.h) while it waits for another. */
#include "tasker/flow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>

#include "workflow/fan_out.h"
#include "tasker/buf.h"
#include "tasker/store.h"
#include "tasker/state.h"

enum { TASKS_AT_ONCE = 100 };

struct row {
    enum tsk_state state;
    int64_t waits_for, attempts;
    bool was_undone; /* cancelled or skipped by an earlier flow */
};

struct loaded {
    int64_t task;
    enum tsk_state state; /* of the task */
    bool by_hand;         /* an operator has ended it */
    struct tsk_flow_step *steps;
    struct row *rows;
    size_t count, cap, row_cap;
    struct tsk_flow_edge *edges;
    size_t edge_count, edge_cap;
    bool fans; /* a step asks for others, or was asked for */
    const struct tsk_flow_news *news;
    size_t news_count;
    bool whole; /* all of it is to be looked at */
    bool runs;  /* a step runs or can */
    struct dependent {
        int64_t id, waits_for;
    } * dependents; /* direct ones of steps that are done */
    size_t dependent_count, dependent_cap;
};

/* Tasks in the order of their ids, in which all rows come too. */
struct group {
    struct tsk_store *store;
    struct loaded tasks[TASKS_AT_ONCE];
    size_t count, at; /* at: the task of the last row */
    struct tsk_rows waits;
};

/* ---- reading */

#define TASKS                                                                                      \
    "SELECT t.task_id, t.state, (SELECT count(*) FROM task_transitions x WHERE x.task = t.task_id" \
    " AND x.origin = 'operator' AND x.to_state IN ('cancelled', 'resolved_manually') AND"          \
    " x.sort_key = (SELECT max(y.sort_key) FROM task_transitions y WHERE y.task = x.task AND"      \
    " y.origin = 'operator')) FROM tasks t WHERE t.task_id "
#define STEPS(ids, JOIN)                                                                           \
    "SELECT s.task, s.id, s.state, s.updated_at, s.join_rule, s.unsatisfied, s.waits_for,"         \
    " s.attempts, (SELECT count(*) FROM step_transitions c WHERE c.step = s.id AND c.origin ="     \
    " 'ledger' AND c.event IN (" TSK_EVENTS_UNDONE ")), s.created_at,"                             \
    " s.creates IS NOT NULL OR s.created_by IS NOT NULL, s.when_skipped FROM " ids JOIN(           \
        "steps", "s", "s.task = w.id") " ORDER BY s.task, s.id"
#define EDGES(ids, JOIN)                                                                           \
    "SELECT d.task, d.from_step, d.to_step, d.choice FROM " ids JOIN(                              \
        "step_dependencies", "d", "d.task = w.id") " ORDER BY d.task, d.to_step, d.from_step"
static const char get_tasks[] = TASKS "IN (SELECT w.id FROM " TSK_IDS_SQLITE ") ORDER BY t.task_id";
static const char lock_tasks[] = TASKS "= ANY (ARRAY(SELECT w.id FROM " TSK_IDS_POSTGRESQL
                                       ")) ORDER BY t.task_id FOR UPDATE OF t";
static const char steps_sqlite[] = STEPS(TSK_IDS_SQLITE, TSK_JOIN_SQLITE);
static const char steps_postgresql[] = STEPS(TSK_IDS_POSTGRESQL, TSK_JOIN_POSTGRESQL);
static const char edges_sqlite[] = EDGES(TSK_IDS_SQLITE, TSK_JOIN_SQLITE);
static const char edges_postgresql[] = EDGES(TSK_IDS_POSTGRESQL, TSK_JOIN_POSTGRESQL);

/* The task of a row. */
static struct loaded *task_of(struct group *group, const struct tsk_value *row)
{
    while (group->tasks[group->at].task != row[0].number)
        group->at++;
    return &group->tasks[group->at];
}

static int on_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct loaded *in = task_of(ctx, row);
    (void)columns;
    in->state = tsk_state_find(TSK_SUBJECT_TASK, row[1].data);
    in->by_hand = row[2].number > 0;
    return 0;
}

static int on_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct loaded *in = task_of(ctx, row);
    bool undone = row[8].number > 0;
    enum tsk_state state = tsk_state_find(TSK_SUBJECT_STEP, row[2].data);
    (void)columns;
    in->fans |= tsk_value_true(&row[10]);
    in->steps = tsk_grow(in->steps, &in->cap, in->count + 1, sizeof *in->steps);
    in->rows = tsk_grow(in->rows, &in->row_cap, in->count + 1, sizeof *in->rows);
    in->rows[in->count] = (struct row){state, row[6].number, row[7].number, undone};
    in->steps[in->count++] = (struct tsk_flow_step){
        .id = row[1].number,
        .state = undone ? TSK_STATE_PENDING : state,
        .at = undone ? row[9].number : row[3].number,
        .join = tsk_join_find(row[4].data),
        .blocks = tsk_unsatisfied_find(row[5].data) == TSK_UNSATISFIED_BLOCK,
        .skips = tsk_when_skipped_find(row[11].data) == TSK_WHEN_SKIPPED_SKIP};
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
    struct loaded *in = task_of(ctx, row);
    size_t from = place_of(in, row[1].number), to = place_of(in, row[2].number);
    (void)columns;
    if (from == in->count || to == in->count)
        return 0;
    in->edges = tsk_grow(in->edges, &in->edge_cap, in->edge_count + 1, sizeof *in->edges);
    in->edges[in->edge_count++] = (struct tsk_flow_edge){from, to, row[3].number != 0};
    return 0;
}

/* Of which tasks rows are read. */
typedef bool wanted_fn(const struct loaded *in);

static bool is_any(const struct loaded *in)
{
    return in->task > 0;
}

static bool is_whole(const struct loaded *in)
{
    return in->whole;
}

static bool has_fans(const struct loaded *in)
{
    return in->fans;
}

static int read_rows(struct group *group, const char *sql, wanted_fn *wanted, tsk_row_fn *row,
                     struct tsk_err *err)
{
    struct tsk_buf ids = TSK_BUF_INIT;
    for (size_t i = 0; i < group->count; i++) {
        if (wanted(&group->tasks[i]))
            tsk_store_ids(&ids, group->tasks[i].task);
    }
    struct tsk_value value = tsk_value_chars(ids.data, ids.len);
    group->at = 0;
    int64_t rows = ids.len ? tsk_store_run(group->store, sql, &value, 1, row, group, err) : 0;
    tsk_buf_fini(&ids);
    return rows < 0 ? -1 : 0;
}

/* Makes the steps that others ask for. The steps of a task that has changed are read again. */
static int fan_out(struct group *group, const char *get_steps, struct tsk_err *err)
{
    for (size_t i = 0; i < group->count; i++) {
        struct loaded *in = &group->tasks[i];
        int changed = in->fans ? tsk_fan_out(group->store, in->task, err) : 0;
        if (changed < 0)
            return -1;
        in->fans = changed;
        if (changed)
            in->count = 0;
    }
    return read_rows(group, get_steps, has_fans, on_step, err);
}

static int load(struct group *group, struct tsk_err *err)
{
    const char *get_steps = TSK_SQL(group->store, steps_sqlite, steps_postgresql);
    const char *get_edges = TSK_SQL(group->store, edges_sqlite, edges_postgresql);
    if (read_rows(group, get_steps, is_whole, on_step, err) < 0 ||
        fan_out(group, get_steps, err) < 0)
        return -1;
    return read_rows(group, get_edges, is_whole, on_edge, err);
}

/* ---- tasks of which steps are done, and that go on */

#define DEPENDENTS(ids, JOIN)                                                                      \
    "SELECT s.task, s.id, s.state, s.join_rule, s.waits_for, d.choice FROM " ids JOIN(             \
        "step_dependencies", "d", "d.from_step = w.id")                                            \
        JOIN("steps", "s", "s.id = d.to_step") " ORDER BY s.task, s.id"
#define ANY_STEP(states)                                                                           \
    "(SELECT s.id FROM steps s WHERE s.task = w.id AND s.state <> 'complete' AND s.state " states  \
    " LIMIT 1) IS NOT NULL"
#define UNDONE ANY_STEP("= 'error'") " OR " ANY_STEP("= 'cancelled'")
#define RUNNING ANY_STEP("= 'enqueued'") " OR " ANY_STEP("= 'in_progress'")
#define READY ANY_STEP("= 'pending' AND s.waits_for = 0")
#define LIVE(ids)                                                                                  \
    "SELECT w.id, " UNDONE ", " RUNNING " OR " READY " FROM " ids " ORDER BY w.id"
static const char dependents_sqlite[] = DEPENDENTS(TSK_IDS_SQLITE, TSK_JOIN_SQLITE);
static const char dependents_postgresql[] = DEPENDENTS(TSK_IDS_POSTGRESQL, TSK_JOIN_POSTGRESQL);
static const char live_sqlite[] = LIVE(TSK_IDS_SQLITE);
static const char live_postgresql[] = LIVE(TSK_IDS_POSTGRESQL);

static bool goes_on(const struct loaded *in)
{
    return !in->whole;
}

static int on_live(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct loaded *in = task_of(ctx, row);
    (void)columns;
    in->whole |= tsk_value_true(&row[1]);
    in->runs = tsk_value_true(&row[2]);
    return 0;
}

/* A step that waits for one that is done; it comes once for each of these. */
static int on_dependent(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct loaded *in = task_of(ctx, row);
    (void)columns;
    in->whole |= row[5].number != 0;
    if (tsk_state_find(TSK_SUBJECT_STEP, row[2].data) != TSK_STATE_PENDING)
        return 0;
    if (!in->dependent_count || in->dependents[in->dependent_count - 1].id != row[1].number) {
        in->dependents = tsk_grow(in->dependents, &in->dependent_cap, in->dependent_count + 1,
                                  sizeof *in->dependents);
        in->dependents[in->dependent_count++] = (struct dependent){row[1].number, row[4].number};
    }
    struct dependent *last = &in->dependents[in->dependent_count - 1];
    if (tsk_join_find(row[3].data) == TSK_JOIN_ANY_OK)
        last->waits_for = 0;
    else
        last->waits_for--;
    return 0;
}

/* Finds what waits for the steps that are done. */
static int read_dependents(struct group *group, struct tsk_err *err)
{
    struct tsk_buf ids = TSK_BUF_INIT;
    for (size_t i = 0; i < group->count; i++) {
        const struct loaded *in = &group->tasks[i];
        for (size_t n = 0; n < in->news_count && !in->whole; n++) {
            if (in->news[n].kind == TSK_FLOW_DONE)
                tsk_store_ids(&ids, in->news[n].step);
        }
    }
    const char *sql = TSK_SQL(group->store, dependents_sqlite, dependents_postgresql);
    struct tsk_value value = tsk_value_chars(ids.data, ids.len);
    group->at = 0;
    int64_t rows =
        ids.len ? tsk_store_run(group->store, sql, &value, 1, on_dependent, group, err) : 0;
    tsk_buf_fini(&ids);
    return rows < 0 ? -1 : 0;
}

/* Decides which tasks are to be looked at as a whole. */
static int look(struct group *group, struct tsk_err *err)
{
    for (size_t i = 0; i < group->count; i++) {
        struct loaded *in = &group->tasks[i];
        in->whole = in->state != TSK_STATE_PENDING && in->state != TSK_STATE_IN_PROGRESS;
        for (size_t n = 0; n < in->news_count; n++)
            in->whole |= in->news[n].kind == TSK_FLOW_WHOLE;
    }
    const char *live = TSK_SQL(group->store, live_sqlite, live_postgresql);
    if (read_rows(group, live, goes_on, on_live, err) < 0 || read_dependents(group, err) < 0)
        return -1;
    for (size_t i = 0; i < group->count; i++) {
        struct loaded *in = &group->tasks[i];
        for (size_t d = 0; d < in->dependent_count; d++) {
            in->runs |= in->dependents[d].waits_for == 0;
            in->whole |= in->dependents[d].waits_for < 0;
        }
        in->whole |= !in->runs;
    }
    return 0;
}

static int write_dependents(struct group *group, const struct loaded *in, struct tsk_err *err)
{
    int rc = 0;
    for (size_t d = 0; d < in->dependent_count && rc == 0; d++) {
        struct tsk_value values[] = {tsk_value_int(in->dependents[d].id),
                                     tsk_value_int(in->dependents[d].waits_for)};
        rc = tsk_rows_add(&group->waits, values, err);
    }
    return rc;
}

/* ---- writing */

static const struct tsk_rows_sql set_waits = {
    "UPDATE steps SET waits_for = $2 WHERE id = $1",
    "UPDATE steps SET waits_for = v2 FROM unnest($1::bigint[], $2::bigint[]) AS v (v1, v2)"
    " WHERE id = ANY (ARRAY[v1])",
    "ii"};
static const char set_state[] =
    "UPDATE steps SET state = $2, updated_at = $3, waits_for = $4 WHERE id = $1";
static const char delete_undone[] = "DELETE FROM step_transitions WHERE step = $1 AND origin = "
                                    "'ledger' AND event IN (" TSK_EVENTS_UNDONE ")";
static const char add_undone[] =
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, metadata, "
    "created_at) VALUES ($1, $2, 'pending', 'cancelled', $5, 'ledger', $3, $4)";

static bool is_undone(const struct tsk_flow_step *step)
{
    return step->cancelled || step->skipped;
}

static int write_state(struct tsk_store *store, const struct loaded *in, size_t i,
                       struct tsk_err *err)
{
    const struct tsk_flow_step *step = &in->steps[i];
    enum tsk_state state = is_undone(step) ? TSK_STATE_CANCELLED : step->state;
    struct tsk_value values[] = {tsk_value_int(step->id), tsk_value_text(tsk_state_name(state)),
                                 tsk_value_int(is_undone(step) ? step->ended_at : step->at),
                                 tsk_value_int(step->waits_for)};
    return tsk_store_send(store, set_state, values, 4, err);
}

static int write_undone(struct tsk_store *store, const struct loaded *in, size_t i,
                        struct tsk_err *err)
{
    const struct tsk_flow_step *step = &in->steps[i];
    char about[96];
    snprintf(about, sizeof about, "{\"because_step\":%" PRId64 "%s}", step->because,
             step->skipped ? ",\"reason\":\"no step before it was run\"" : "");
    int64_t key = tsk_step_key(in->rows[i].attempts, TSK_PLACE_UNSATISFIED);
    struct tsk_value values[] = {
        tsk_value_int(step->id), tsk_value_int(key), tsk_value_text(about),
        tsk_value_int(step->ended_at),
        tsk_value_text(step->skipped ? TSK_EVENT_SKIPPED : TSK_EVENT_UNSATISFIED)};
    if (tsk_store_send(store, delete_undone, values, 1, err) < 0)
        return -1;
    return is_undone(step) ? tsk_store_send(store, add_undone, values, 5, err) : 0;
}

/* Writes what differs of one step. */
static int write_step(struct group *group, const struct loaded *in, size_t i, struct tsk_err *err)
{
    const struct tsk_flow_step *step = &in->steps[i];
    const struct row *row = &in->rows[i];
    struct tsk_value values[] = {tsk_value_int(step->id), tsk_value_int(step->waits_for)};
    if (is_undone(step) || row->was_undone)
        return write_state(group->store, in, i, err) < 0 ||
                       write_undone(group->store, in, i, err) < 0
                   ? -1
                   : 0;
    if (step->state != TSK_STATE_PENDING || step->waits_for == row->waits_for)
        return 0;
    return tsk_rows_add(&group->waits, values, err);
}

static const char set_task[] = "UPDATE tasks SET state = $2, updated_at = $3 WHERE task_id = $1";
static const char delete_end[] =
    "DELETE FROM task_transitions WHERE task = $1 AND origin = 'ledger'";
static const char add_end[] = "INSERT INTO task_transitions (task, sort_key, from_state, to_state, "
                              "event, origin, created_at) "
                              "VALUES ($1, $2, 'in_progress', $3, $4, 'ledger', $5)";

static int write_task(struct tsk_store *store, const struct loaded *in, enum tsk_flow_end end,
                      int64_t at, struct tsk_err *err)
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
    if (tsk_store_send(store, set_task, row, 3, err) < 0 ||
        tsk_store_send(store, delete_end, values, 1, err) < 0)
        return -1;
    return state == TSK_STATE_IN_PROGRESS ? 0 : tsk_store_send(store, add_end, values, 5, err);
}

static int settle_task(struct group *group, struct loaded *in, struct tsk_err *err)
{
    int64_t at;
    int rc = 0;
    if (!in->whole)
        return write_dependents(group, in, err);
    if (!in->count)
        return 0;
    enum tsk_flow_end end = tsk_flow(in->steps, in->count, in->edges, in->edge_count, &at);
    for (size_t i = 0; rc == 0 && i < in->count; i++)
        rc = write_step(group, in, i, err);
    return rc < 0 ? -1 : write_task(group->store, in, end, at, err);
}

static int settle_group(struct group *group, struct tsk_err *err)
{
    const char *get = TSK_SQL(group->store, get_tasks, lock_tasks);
    int rc = read_rows(group, get, is_any, on_task, err);
    if (rc == 0)
        rc = look(group, err);
    if (rc == 0)
        rc = load(group, err);
    tsk_rows_init(&group->waits, group->store, &set_waits);
    for (size_t i = 0; rc == 0 && i < group->count; i++)
        rc = settle_task(group, &group->tasks[i], err);
    if (rc == 0)
        rc = tsk_rows_end(&group->waits, err);
    tsk_rows_fini(&group->waits);
    for (size_t i = 0; i < group->count; i++) {
        free(group->tasks[i].steps);
        free(group->tasks[i].rows);
        free(group->tasks[i].edges);
        free(group->tasks[i].dependents);
    }
    group->count = 0;
    return rc;
}

static int by_task(const void *a, const void *b)
{
    const struct tsk_flow_news *m = a, *n = b;
    return m->task < n->task ? -1 : m->task > n->task;
}

int tsk_flow_settle_news(struct tsk_store *store, struct tsk_flow_news *news, size_t count,
                         struct tsk_err *err)
{
    if (!count)
        return 0;
    qsort(news, count, sizeof *news, by_task);
    struct group *group = tsk_alloc(sizeof *group);
    int rc = 0;
    group->store = store;
    for (size_t i = 0, n; i < count && rc == 0; i += n) {
        for (n = 1; i + n < count && news[i + n].task == news[i].task;)
            n++;
        group->tasks[group->count++] =
            (struct loaded){.task = news[i].task, .news = &news[i], .news_count = n};
        if (group->count == TASKS_AT_ONCE || i + n == count)
            rc = settle_group(group, err);
    }
    free(group);
    return rc < 0 ? -1 : tsk_store_notify(store, err);
}

int tsk_flow_settle_all(struct tsk_store *store, int64_t *tasks, size_t count, struct tsk_err *err)
{
    struct tsk_flow_news *news = tsk_alloc((count + 1) * sizeof *news);
    for (size_t i = 0; i < count; i++)
        news[i] = (struct tsk_flow_news){.task = tasks[i]};
    int rc = tsk_flow_settle_news(store, news, count, err);
    free(news);
    return rc;
}
