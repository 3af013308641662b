/* The statements that make steps and dependencies. None is waited for. */
#include "task_rows.h"

#include <inttypes.h>
#include <stdio.h>

#include "tasker/sort_key.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The first of a block of ids for steps. AUTOINCREMENT goes on behind the greatest ever used, and
 * the transaction holds off all other writers. */
static const char next_sqlite[] =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'steps'), 0) + 1 "
    "WHERE $1 > 0";
/* Others draw in between: the block is what lies behind the last one drawn, which is moved there.
 */
static const char next_postgresql[] =
    "WITH held AS (SELECT pg_advisory_xact_lock(7290401)) "
    "SELECT setval(pg_get_serial_sequence('steps', 'id'), "
    "nextval(pg_get_serial_sequence('steps', 'id')) + $1::bigint - 1) - $1::bigint + 1 FROM held";

int tsk_step_ids(struct tsk_store *store, int64_t count, int64_t *first, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(count);
    const char *sql = TSK_SQL(store, next_sqlite, next_postgresql);
    return tsk_store_get_int(store, sql, &value, 1, first, err) < 1 ? -1 : 0;
}

static const char add_step[] =
    "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, handler_config, "
    "retry_limit, timeout_ms, created_at, updated_at, state, place, priority, join_rule, "
    "unsatisfied, waits_for, retryable, default_retryable, template_name, created_by, "
    "created_index, created_count, backoff, when_skipped) VALUES ($1, $2, $1, $2, $3, $4, $5, $6, "
    "$7, $8, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16, $17, $18, $19, $20, "
    "coalesce($21, 'run'))";

static const char add_transition[] =
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, metadata, "
    "created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/* A step that is bypassed is resolved in its first transition, as if by hand. */
static int put_transition(struct tsk_store *store, const struct tsk_step_row *step,
                          struct tsk_err *err)
{
    enum tsk_state from = step->bypassed ? TSK_STATE_PENDING : TSK_STATE_NONE;
    enum tsk_state to = step->bypassed ? TSK_STATE_RESOLVED : TSK_STATE_PENDING;
    char about[64] = "{}";
    if (step->created_by)
        snprintf(about, sizeof about, "{\"created_by\":%" PRId64 "}", step->created_by);
    struct tsk_value values[] = {
        tsk_value_int(step->id),
        tsk_value_int(step->bypassed ? TSK_PLACE_HAND : TSK_PLACE_CREATED),
        tsk_value_text(tsk_state_name(from)),
        tsk_value_text(tsk_state_name(to)),
        tsk_value_text(step->bypassed ? TSK_EVENT_BYPASSED : TSK_EVENT_STEP_CREATED),
        tsk_value_text(step->created_by ? "ledger" : "program"),
        tsk_value_text(about),
        tsk_value_int(step->at)};
    return tsk_store_send(store, add_transition, values, COUNT(values), err);
}

int tsk_step_put(struct tsk_store *store, const struct tsk_step_row *step, struct tsk_err *err)
{
    enum tsk_state state = step->bypassed ? TSK_STATE_RESOLVED : TSK_STATE_PENDING;
    struct tsk_value values[] = {tsk_value_int(step->id),
                                 tsk_value_int(step->task),
                                 tsk_value_text(step->name),
                                 tsk_value_text(step->handler_class),
                                 tsk_value_text(step->handler_config),
                                 tsk_value_int(step->retryable ? step->retry_limit : 1),
                                 tsk_value_told(step->timeout_ms, 0),
                                 tsk_value_int(step->at),
                                 tsk_value_text(tsk_state_name(state)),
                                 tsk_value_int(step->place),
                                 tsk_value_int(step->priority),
                                 tsk_value_text(step->join),
                                 tsk_value_text(step->unsatisfied),
                                 tsk_value_int(step->waits_for),
                                 tsk_value_int(step->retryable),
                                 tsk_value_text(step->template_name),
                                 tsk_value_told(step->created_by, 0),
                                 tsk_value_told(step->created_index, 0),
                                 tsk_value_told(step->created_count, 0),
                                 tsk_value_text(step->backoff),
                                 tsk_value_text(step->when_skipped)};
    if (tsk_store_send(store, add_step, values, COUNT(values), err) < 0)
        return -1;
    return put_transition(store, step, err);
}

int tsk_dependency_put(struct tsk_store *store, int64_t task, int64_t from, int64_t to, bool choice,
                       struct tsk_err *err)
{
    static const char sql[] =
        "INSERT INTO step_dependencies (task, from_step, to_step, choice) VALUES ($1, $2, $3, $4)";
    struct tsk_value values[] = {tsk_value_int(task), tsk_value_int(from), tsk_value_int(to),
                                 tsk_value_int(choice)};
    return tsk_store_send(store, sql, values, COUNT(values), err);
}
