/* The statements that make steps and dependencies. None is waited for. */
#include "workflow/task_rows.h"

#include <inttypes.h>
#include <stdio.h>

#include "tasker/state.h"

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

/* clang-format off */
#define STEP                                                                                       \
    "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, handler_config, "         \
    "retry_limit, timeout_ms, created_at, updated_at, state, place, priority, join_rule, "         \
    "unsatisfied, waits_for, retryable, default_retryable, template_name, created_by, "            \
    "created_index, created_count, backoff, when_skipped) "
#define STEP_VALUES(x)                                                                             \
    x "1, " x "2, " x "1, " x "2, " x "3, " x "4, " x "5, " x "6, " x "7, " x "8, " x "8, "        \
    x "9, " x "10, " x "11, " x "12, " x "13, " x "14, " x "15, " x "15, " x "16, " x "17, "       \
    x "18, " x "19, " x "20, coalesce(" x "21, 'run')"
#define TRANSITION                                                                                 \
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, "          \
    "metadata, created_at) "
#define DEPENDENCY "INSERT INTO step_dependencies (task, from_step, to_step, choice) "

static const struct tsk_rows_sql steps = {
    STEP "VALUES (" STEP_VALUES("$") ")",
    STEP "SELECT " STEP_VALUES("v") " FROM unnest($1::bigint[], $2::bigint[], $3::text[],"
    " $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::bigint[],"
    " $11::bigint[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::text[],"
    " $17::bigint[], $18::bigint[], $19::bigint[], $20::text[], $21::text[]) AS v (v1, v2, v3, v4,"
    " v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19, v20, v21)",
    "iitttiiitiittiitiiitt"};
/* clang-format on */
static const struct tsk_rows_sql transitions = {
    TRANSITION "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    TRANSITION "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[],"
               " $5::text[], $6::text[], $7::text[], $8::bigint[])",
    "iittttti"};
static const struct tsk_rows_sql dependencies = {
    DEPENDENCY "VALUES ($1, $2, $3, $4)",
    DEPENDENCY "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])",
    "iiii"};

void tsk_task_rows_init(struct tsk_task_rows *rows, struct tsk_store *store)
{
    tsk_rows_init(&rows->steps, store, &steps);
    tsk_rows_init(&rows->transitions, store, &transitions);
    tsk_rows_init(&rows->dependencies, store, &dependencies);
}

int tsk_task_rows_end(struct tsk_task_rows *rows, int rc, struct tsk_err *err)
{
    struct tsk_rows *const all[] = {&rows->steps, &rows->transitions, &rows->dependencies};
    for (size_t i = 0; i < COUNT(all); i++) {
        if (rc == 0)
            rc = tsk_rows_end(all[i], err);
        tsk_rows_fini(all[i]);
    }
    return rc;
}

/* A step that is bypassed is resolved in its first transition, as if by hand. */
static int put_transition(struct tsk_task_rows *rows, const struct tsk_step_row *step,
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
    return tsk_rows_add(&rows->transitions, values, err);
}

int tsk_step_put(struct tsk_task_rows *rows, const struct tsk_step_row *step, struct tsk_err *err)
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
    return tsk_rows_add(&rows->steps, values, err) < 0 ? -1 : put_transition(rows, step, err);
}

int tsk_dependency_put(struct tsk_task_rows *rows, int64_t task, int64_t from, int64_t to,
                       bool choice, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(task), tsk_value_int(from), tsk_value_int(to),
                                 tsk_value_int(choice)};
    if (tsk_rows_end(&rows->steps, err) < 0) /* it names them */
        return -1;
    return tsk_rows_add(&rows->dependencies, values, err);
}
