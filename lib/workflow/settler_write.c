/* Writing what a settlement gave, in place of what was derived before. None of the statements is
 * waited for, but to fetch a text that was too long to be kept; what there is of each step goes as
 * many rows at once. */
#include <string.h>

#include "workflow/settler_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/store.h"
#include "tasker/state.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct tsk_value told(int64_t number)
{
    return tsk_value_told(number, -1);
}

static struct tsk_value named(enum tsk_state state)
{
    return tsk_value_text(tsk_state_name(state));
}

/* --- What was there before. */

static const char delete_step_transitions[] =
    "DELETE FROM step_transitions WHERE batch = $1 AND origin = 'ledger'";
static const char delete_batch_transitions[] =
    "DELETE FROM batch_transitions WHERE batch = $1 AND origin = 'ledger'";
static const char delete_discrepancies[] = "DELETE FROM discrepancies WHERE batch = $1";
static const char delete_steps[] = "DELETE FROM settled_steps WHERE batch = $1";
static const char delete_batch[] = "DELETE FROM settled_batches WHERE batch = $1";

static int take_away(struct tsk_settler *s, struct tsk_err *err)
{
    static const char *const all[] = {delete_step_transitions, delete_batch_transitions,
                                      delete_discrepancies, delete_steps, delete_batch};
    struct tsk_value key = tsk_value_int(s->batch);
    for (size_t i = 0; i < COUNT(all); i++) {
        if (tsk_store_send(s->store, all[i], &key, 1, err) < 0)
            return -1;
    }
    return 0;
}

/* --- The batch. */

static const char set_batch[] = "UPDATE batches SET state = $2, updated_at = $3 WHERE id = $1"
                                " AND (state <> $2 OR updated_at <> $3)";
static const char add_batch[] =
    "INSERT INTO settled_batches (batch, verdict, revision, completed_steps, failed_steps,"
    " first_at, ended_at, completed_at, execution_ms, error)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
static const char add_batch_transition[] =
    "INSERT INTO batch_transitions (batch, sort_key, from_state, to_state, event, origin,"
    " created_at) VALUES ($1, $2, $3, $4, $5, 'ledger', $6)";

static int write_batch(struct tsk_settler *s, const struct tsk_settled_batch *batch,
                       struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(s->batch);
    struct tsk_value state[] = {key, named(batch->state.state), tsk_value_int(batch->state.at)};
    struct tsk_value row[] = {key,
                              tsk_value_text(tsk_verdict_name(batch->verdict)),
                              tsk_value_int(batch->revision),
                              tsk_value_int(batch->completed),
                              tsk_value_int(batch->failed),
                              told(batch->first_at),
                              told(batch->ended_at),
                              told(batch->completed_at),
                              told(batch->execution_ms),
                              tsk_value_text(batch->error)};
    if (tsk_store_send(s->store, set_batch, state, COUNT(state), err) < 0)
        return -1;
    if (batch->news && tsk_store_send(s->store, add_batch, row, COUNT(row), err) < 0)
        return -1;
    for (size_t i = 0; i < batch->move_count; i++) {
        const struct tsk_transition *move = &batch->moves[i];
        struct tsk_value values[] = {key,
                                     tsk_value_int(move->place),
                                     named(move->from),
                                     named(move->to),
                                     tsk_value_text(move->event),
                                     tsk_value_int(move->at)};
        if (tsk_store_send(s->store, add_batch_transition, values, COUNT(values), err) < 0)
            return -1;
    }
    return 0;
}

static const char add_discrepancy[] =
    "INSERT INTO discrepancies (batch, place, type, step_id, detail) VALUES ($1, $2, $3, $4, $5)";

static int write_discrepancies(struct tsk_settler *s, struct tsk_err *err)
{
    struct tsk_settled_discrepancy one;
    for (size_t i = 0; i < tsk_settled_discrepancies(s->settle); i++) {
        tsk_settled_discrepancy(s->settle, i, &one);
        struct tsk_value values[] = {tsk_value_int(s->batch), tsk_value_int((int64_t)i + 1),
                                     tsk_value_text(one.type), tsk_value_told(one.step_id, 0),
                                     tsk_value_text(one.detail)};
        if (tsk_store_send(s->store, add_discrepancy, values, COUNT(values), err) < 0)
            return -1;
    }
    return 0;
}

/* --- Steps. */

#define SETTLED                                                                                    \
    "INSERT INTO settled_steps (batch, step_id, attempt, status, outcome, retry_at, execution_ms," \
    " worker_id, error_category, error_message) "
#define MOVED                                                                                      \
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, batch, metadata,"  \
    " created_at, origin) "

/* The columns of a step's row that tell of what was heard, and those of its state. */
#define HEARD(x)                                                                                   \
    "UPDATE steps SET attempts = coalesce(" x "2, attempts), processed_at = " x "3,"               \
    " retryable = " x "4, results = " x "5, error = " x "6, error_category = " x "7,"              \
    " execution_ms = " x "8, worker_id = " x "9"
#define STATE(state, at, retry, tried)                                                             \
    "state = " state ", updated_at = " at ", next_retry_at = " retry ", last_attempted_at = " tried
#define HEARD_TYPES                                                                                \
    "$1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],"              \
    " $7::text[], $8::bigint[], $9::text[]"
#define HEARD_NAMES "v1, v2, v3, v4, v5, v6, v7, v8, v9"

enum { SETTLED_ROWS, MOVES, WHOLE, COLUMNS, STATES, KINDS };

static const struct tsk_rows_sql sqls[KINDS] = {
    [SETTLED_ROWS] = {SETTLED "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                      SETTLED "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[],"
                              " $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[],"
                              " $9::text[], $10::text[])",
                      "iiittiittt"},
    [MOVES] = {MOVED "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'ledger') ON CONFLICT DO NOTHING",
               MOVED "SELECT *, 'ledger' FROM unnest($1::bigint[], $2::bigint[], $3::text[],"
                     " $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bigint[])"
                     " ON CONFLICT DO NOTHING",
               "iitttiti"},
    [WHOLE] =
        {HEARD("$") ", " STATE("$10", "$11", "$12", "$13") " WHERE id = $1",
         HEARD("v") ", " STATE(
             "v10", "v11", "v12",
             "v13") " FROM unnest(" HEARD_TYPES
                    ", $10::text[], $11::bigint[], $12::bigint[], $13::bigint[]) AS v (" HEARD_NAMES
                    ", v10, v11, v12, v13) WHERE id = ANY (ARRAY[v1])",
         "iiiitttittiii"},
    [COLUMNS] = {HEARD("$") " WHERE id = $1",
                 HEARD("v") " FROM unnest(" HEARD_TYPES ") AS v (" HEARD_NAMES
                            ") WHERE id = ANY (ARRAY[v1])",
                 "iiiitttit"},
    [STATES] =
        {"UPDATE steps SET " STATE("$2", "$3", "$4",
                                   "$5") ", attempts = coalesce($6, attempts) WHERE id = $1",
         "UPDATE steps SET " STATE(
             "v2", "v3", "v4",
             "v5") ", attempts = coalesce(v6, attempts) FROM unnest($1::bigint[], $2::text[],"
                   " $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])"
                   " AS v (v1, v2, v3, v4, v5, v6) WHERE id = ANY (ARRAY[v1])",
         "itiiii"},
};

/* What is on its way: rows of each kind. */
struct writing {
    struct tsk_settler *s;
    struct tsk_rows rows[KINDS];
};

static int write_settled(struct writing *w, const struct tsk_settled_step *step,
                         struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(w->s->batch),
                                 tsk_value_int(step->result.step_id),
                                 tsk_value_int(step->result.attempt),
                                 tsk_value_text(tsk_step_status_name(step->result.status)),
                                 tsk_value_text(tsk_outcome_name(step->result.outcome)),
                                 told(step->result.retry_at),
                                 told(step->result.time_ms),
                                 tsk_value_text(step->result.worker_id),
                                 tsk_value_text(step->result.category),
                                 tsk_value_text(step->result.reason)};
    return tsk_rows_add(&w->rows[SETTLED_ROWS], values, err);
}

/* What is worth telling of a move: why it failed, when it is tried again. */
static const char *metadata_of(const struct tsk_settled_step *step, enum tsk_state to,
                               struct tsk_buf *buf)
{
    struct json_object *about = json_object_new_object();
    size_t len;
    if (to == TSK_STATE_ERROR && step->result.category)
        tsk_json_put_str(about, "error_category", step->result.category);
    if (to == TSK_STATE_PENDING && step->result.retry_at >= 0)
        tsk_json_put_time(about, "next_retry_at", step->result.retry_at);
    const char *text = tsk_json_text(about, &len);
    tsk_buf_reset(buf);
    tsk_buf_add(buf, text, len);
    json_object_put(about);
    return buf->data;
}

static int write_moves(struct writing *w, const struct tsk_settled_step *step,
                       struct tsk_err *err)
{
    struct tsk_buf about = TSK_BUF_INIT;
    int rc = 0;
    for (size_t i = 0; i < step->move_count && rc == 0; i++) {
        const struct tsk_transition *move = &step->moves[i];
        bool plain = move->to == TSK_STATE_IN_PROGRESS || move->to == TSK_STATE_COMPLETE;
        struct tsk_value values[] = {
            tsk_value_int(step->row),
            tsk_value_int(tsk_step_key(step->attempt, move->place)),
            named(move->from),
            named(move->to),
            tsk_value_text(move->event),
            tsk_value_int(w->s->batch),
            tsk_value_text(plain ? "{}" : metadata_of(step, move->to, &about)),
            tsk_value_int(move->at)};
        rc = tsk_rows_add(&w->rows[MOVES], values, err);
    }
    tsk_buf_fini(&about);
    return rc;
}

/* A text that was too much to keep is read from the ledger again. */
struct fetch {
    struct tsk_settler *s;
    const struct tsk_settled_step *step;
    bool error;
    struct tsk_buf *buf;
};

static int take_text(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct fetch *fetch = ctx;
    (void)columns;
    struct tsk_settle_message message = {
        .topic = row[0].data, .data = row[1].data, .len = row[1].len};
    tsk_settle_text(fetch->s->settle, &message, fetch->step->result.step_id, fetch->error,
                    fetch->buf);
    return 1;
}

static int get_text(struct tsk_settler *s, const struct tsk_settled_step *step, bool error,
                    struct tsk_buf *buf, struct tsk_value *out, struct tsk_err *err)
{
    static const char sql[] = "SELECT topic, raw_message FROM received_results WHERE id = $1";
    const struct tsk_settle_text *text = error ? &step->error : &step->results;
    struct fetch fetch = {s, step, error, buf};
    struct tsk_value key = tsk_value_int(text->id);
    *out = tsk_value_chars(text->data, text->len);
    if (text->data || !text->id)
        return 0;
    if (tsk_store_run(s->store, sql, &key, 1, take_text, &fetch, err) < 0)
        return -1;
    *out = tsk_value_chars(buf->data, buf->len);
    return 0;
}

/* How many attempts it has used. Those of a step of a task are counted when it is claimed, also by
 * a later batch. */
static struct tsk_value attempts_of(const struct tsk_settled_step *step)
{
    if (!(step->owns & TSK_OWNS_STATE))
        return tsk_value_null();
    if (step->given_back)
        return tsk_value_int(step->attempt - 1);
    return tsk_value_int(step->news || step->owns & TSK_OWNS_TASK ? step->attempt : 0);
}

/* When the latest attempt began, or was claimed where nothing tells that it began. A step that no
 * task has is not claimed. */
static int64_t last_attempt(const struct tsk_settled_step *step)
{
    if (step->started_at >= 0)
        return step->started_at;
    return step->owns & TSK_OWNS_TASK ? step->since : -1;
}

/* The row of the step: its state is that of the latest attempt that was sent, the rest that of the
 * latest one that was heard of. */
static int write_row(struct writing *w, const struct tsk_settled_step *step,
                     struct tsk_err *err)
{
    bool state = step->owns & TSK_OWNS_STATE, columns = step->owns & TSK_OWNS_COLUMNS;
    struct tsk_buf results = TSK_BUF_INIT, error = TSK_BUF_INIT;
    struct tsk_value values[13] = {
        [0] = tsk_value_int(step->row),
        [1] = attempts_of(step),
        [2] = told(step->result.outcome == TSK_OUTCOME_DONE ? step->ended_at : -1),
        [3] = tsk_value_int(step->retryable),
        [6] = tsk_value_text(step->result.category),
        [7] = told(step->result.time_ms),
        [8] = tsk_value_text(step->result.worker_id),
        [9] = named(step->state.state),
        [10] = tsk_value_int(step->state.at),
        [11] = told(step->next_retry_at),
        [12] = told(last_attempt(step))};
    columns = columns && (step->news || step->owns & TSK_OWNS_FIRST);
    if (!columns) {
        struct tsk_value some[] = {values[0],  values[9],  values[10],
                                   values[11], values[12], values[1]};
        return state ? tsk_rows_add(&w->rows[STATES], some, err) : 0;
    }
    int rc = get_text(w->s, step, false, &results, &values[4], err);
    if (rc == 0)
        rc = get_text(w->s, step, true, &error, &values[5], err);
    if (rc == 0)
        rc = tsk_rows_add(&w->rows[state ? WHOLE : COLUMNS], values, err);
    tsk_buf_fini(&results);
    tsk_buf_fini(&error);
    return rc;
}

static int write_step(struct writing *w, const struct tsk_settled_step *step, struct tsk_err *err)
{
    if (step->news && write_settled(w, step, err) < 0)
        return -1;
    if (!step->known)
        return 0;
    return write_moves(w, step, err) < 0 ? -1 : write_row(w, step, err);
}

static int write_steps(struct tsk_settler *s, struct tsk_err *err)
{
    struct writing w = {.s = s};
    struct tsk_settled_step step;
    int rc = 0;
    for (size_t i = 0; i < KINDS; i++)
        tsk_rows_init(&w.rows[i], s->store, &sqls[i]);
    for (size_t i = 0; i < tsk_settled_steps(s->settle) && rc == 0; i++) {
        tsk_settled_step(s->settle, i, &step);
        rc = write_step(&w, &step, err);
    }
    for (size_t i = 0; i < KINDS; i++) {
        if (rc == 0)
            rc = tsk_rows_end(&w.rows[i], err);
        tsk_rows_fini(&w.rows[i]);
    }
    return rc;
}

int tsk_settler_write(struct tsk_settler *s, bool fresh, struct tsk_err *err)
{
    struct tsk_settled_batch batch;
    tsk_settled_batch(s->settle, &batch);
    if ((!fresh && take_away(s, err) < 0) || write_batch(s, &batch, err) < 0 ||
        write_discrepancies(s, err) < 0)
        return -1;
    return write_steps(s, err);
}
