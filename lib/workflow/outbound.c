/* Batches on their way out, as recorded: what is written, one statement after the other, each of
 * which writes nothing where it is done again.
 *
 * None of them waits for an answer, so that PostgreSQL gets a whole transaction in one go; what was
 * there before is asked once for all batches, by tsk_outbound_look. */
#include "tasker/outbound.h"

#include "tasker/store.h"
#include "tasker/state.h"

#define BATCH_GRACE_MS 60000 /* beyond what its steps may take */
/* Places of transitions, in SQL. */
#define BATCH_CREATED TSK_KEY_TEXT(TSK_BATCH_KEY_CREATED)
#define BATCH_PUBLISHED TSK_KEY_TEXT(TSK_BATCH_KEY_PUBLISHED)
#define STEP_CREATED TSK_KEY_TEXT(TSK_PLACE_CREATED)
#define STEP_ENQUEUED TSK_KEY_TEXT(TSK_PLACE_ENQUEUED)
#define STEP_KEY TSK_KEY_OF("s.attempt", "t.place")

#define COUNT(array) (sizeof(array) / sizeof *(array))

int64_t tsk_outbound_time_limit(const struct tsk_outbound_batch *batch)
{
    int64_t count = (int64_t)batch->count, sum = BATCH_GRACE_MS;
    if (batch->timeout_ms)
        return batch->timeout_ms;
    if (batch->total > count)
        sum += (batch->total - count) * batch->step_timeout;
    for (size_t i = 0; i < batch->count; i++)
        sum += batch->steps[i].timeout_ms ? batch->steps[i].timeout_ms : batch->step_timeout;
    return sum;
}

static const char add_batch[] =
    "INSERT INTO batches (batch_id, publisher, claimed_until, offered_to, total_steps, timeout_ms,"
    " body, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)"
    " ON CONFLICT DO NOTHING";

/* Of the batch $1 if it is the publisher's $2, and so may be the one that was added just now. */
#define OURS " FROM batches b WHERE b.batch_id = $1 AND b.publisher = $2"

static const char add_batch_transition[] =
    "INSERT INTO batch_transitions (batch, sort_key, to_state, event, origin, created_at)"
    " SELECT b.id, " BATCH_CREATED ", 'created', '" TSK_EVENT_BATCH_CREATED
    "', 'program', b.created_at" OURS " ON CONFLICT DO NOTHING";

/* A batch that was run when there was no store: what is known of it can be settled now. */
static const char add_unsettled[] =
    "INSERT INTO unsettled (batch_id) SELECT b.batch_id" OURS
    " AND (SELECT count(*) FROM received_results r WHERE r.batch_id = b.batch_id) > 0";

#define STEP                                                                                       \
    "INSERT INTO steps (step_id, task_id, name, handler_class, handler_config, retry_limit,"       \
    " timeout_ms, created_at, state, updated_at) SELECT "
#define PLACE "INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt) SELECT "

static const char add_step_sqlite[] =
    STEP "$5, $6, $7, $8, $9, $10, $11, b.created_at, 'enqueued', b.created_at" OURS
         " AND NOT EXISTS (SELECT 1 FROM batch_steps o WHERE o.batch = b.id AND"
         " o.sequence_order = $3) AND $4 > 0";
static const char add_place_sqlite[] =
    PLACE "b.id, $3, last_insert_rowid(), $5, $4" OURS " ON CONFLICT DO NOTHING";

/* The steps of one batch, in which each step_id is once. */
/* clang-format off */
static const struct tsk_rows_sql add_steps_postgresql = {
    NULL,
    "WITH v AS MATERIALIZED (SELECT v.*, b.id AS batch, b.created_at FROM unnest($1::text[],"
    " $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],"
    " $9::text[], $10::bigint[], $11::bigint[]) AS v (batch_id, publisher, place, attempt, step_id,"
    " task_id, name, handler_class, handler_config, retry_limit, timeout_ms)"
    TSK_JOIN_POSTGRESQL("batches", "b", "b.batch_id = v.batch_id AND b.publisher = v.publisher")
    " WHERE (SELECT count(*) FROM batch_steps o WHERE o.batch = b.id AND"
    " o.sequence_order = v.place) = 0),"
    " s AS (" STEP "step_id, task_id, name, handler_class, handler_config, retry_limit, timeout_ms,"
    " created_at, 'enqueued', created_at FROM v ORDER BY place RETURNING id, step_id) "
    PLACE "v.batch, v.place, s.id, v.step_id, v.attempt FROM v JOIN s ON s.step_id = v.step_id",
    "ttiiiitttii"};
/* clang-format on */

/* Both transitions of each step that came with the batch. A step of a task has its own already,
 * also where its batch is added once more. */
static const char add_step_transitions[] =
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch,"
    " created_at) SELECT s.step, " STEP_KEY ", t.from_state, t.to_state, t.event,"
    " 'program', b.id, b.created_at FROM batches b JOIN batch_steps s ON s.batch = b.id"
    " JOIN steps i ON i.id = s.step AND i.task IS NULL CROSS JOIN"
    " (SELECT " STEP_CREATED " AS place, NULL AS from_state, 'pending' AS to_state,"
    " '" TSK_EVENT_STEP_CREATED "' AS event UNION ALL SELECT " STEP_ENQUEUED ", 'pending',"
    " 'enqueued', '" TSK_EVENT_STEP_ENQUEUED "') t"
    " WHERE b.batch_id = $1 AND b.publisher = $2 ON CONFLICT DO NOTHING";

static int add_step(struct tsk_rows *rows, const struct tsk_value *batch, size_t place,
                    const struct tsk_outbound_step *step, struct tsk_err *err)
{
    struct tsk_value values[] = {batch[0],
                                 batch[1],
                                 tsk_value_int((int64_t)place),
                                 tsk_value_int(step->attempt),
                                 tsk_value_int(step->step_id),
                                 tsk_value_int(step->task_id),
                                 tsk_value_text(step->name),
                                 tsk_value_text(step->handler_class),
                                 tsk_value_text(step->handler_config ? step->handler_config : "{}"),
                                 tsk_value_int(step->retry_limit),
                                 tsk_value_told(step->timeout_ms, 0)};
    if (tsk_store_kind(rows->store) != TSK_STORE_SQLITE)
        return tsk_rows_add(rows, values, err);
    if (tsk_store_send(rows->store, add_step_sqlite, values, COUNT(values), err) < 0)
        return -1;
    return tsk_store_send(rows->store, add_place_sqlite, values, 5, err);
}

static int add_steps(struct tsk_store *store, const struct tsk_value *batch,
                     const struct tsk_outbound_step *steps, size_t count, struct tsk_err *err)
{
    struct tsk_rows rows;
    int rc = 0;
    tsk_rows_init(&rows, store, &add_steps_postgresql);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_step(&rows, batch, i + 1, &steps[i], err);
    if (rc == 0)
        rc = tsk_rows_end(&rows, err);
    tsk_rows_fini(&rows);
    return rc;
}

int tsk_outbound_add(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                     const struct tsk_outbound_batch *batch, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_text(batch->batch_id),
                                 tsk_value_text(claim->publisher),
                                 tsk_value_int(claim->until),
                                 tsk_value_text(batch->offered_to),
                                 tsk_value_int(batch->total ? batch->total : (int64_t)batch->count),
                                 tsk_value_int(tsk_outbound_time_limit(batch)),
                                 tsk_value_bytes(batch->body, batch->len),
                                 tsk_value_int(claim->now)};
    if (tsk_store_send(store, add_batch, values, COUNT(values), err) < 0 ||
        tsk_store_send(store, add_batch_transition, values, 2, err) < 0 ||
        tsk_store_send(store, add_unsettled, values, 2, err) < 0)
        return -1;
    if (add_steps(store, values, batch->steps, batch->count, err) < 0)
        return -1;
    return tsk_store_send(store, add_step_transitions, values, 2, err);
}

int tsk_outbound_offer(struct tsk_store *store, const char *batch_id, const char *worker_id,
                       struct tsk_err *err)
{
    static const char sql[] =
        "UPDATE batches SET offered_to = $2 WHERE batch_id = $1 AND state = 'created'"
        " AND (offered_to IS NULL OR"
        " (SELECT count(*) FROM received_results r WHERE r.batch_id = $1) = 0)";
    struct tsk_value values[] = {tsk_value_text(batch_id), tsk_value_text(worker_id)};
    return tsk_store_send(store, sql, values, COUNT(values), err);
}

/* Reconcile may have moved it on already, when results were faster than this. */
static const char set_published[] =
    "UPDATE batches SET state = CASE WHEN state = 'created' THEN 'published' ELSE state END,"
    " published_at = $2, accepted_by = $3, source = $4, result_endpoint = $5, delivery = $6,"
    " sends = $7, updated_at = $2 WHERE batch_id = $1 AND published_at IS NULL";
static const char add_published[] =
    "INSERT INTO batch_transitions (batch, sort_key, from_state, to_state, event, origin,"
    " created_at) SELECT b.id, " BATCH_PUBLISHED
    ", 'created', 'published', '" TSK_EVENT_BATCH_PUBLISHED "', 'program',"
    " b.published_at FROM batches b WHERE b.batch_id = $1 ON CONFLICT (batch, sort_key) DO UPDATE"
    " SET from_state = excluded.from_state, to_state = excluded.to_state, event = excluded.event,"
    " origin = excluded.origin, metadata = '{}', created_at = excluded.created_at";
static const char settle_again[] =
    "INSERT INTO unsettled (batch_id) SELECT b.batch_id FROM batches b"
    " WHERE b.batch_id = $1 AND b.state <> 'published'";

int tsk_outbound_accept(struct tsk_store *store, const struct tsk_outbound_acceptance *acceptance,
                        struct tsk_err *err)
{
    struct tsk_value values[] = {
        tsk_value_text(acceptance->batch_id),
        tsk_value_int(acceptance->at),
        tsk_value_text(acceptance->worker_id),
        tsk_value_text(acceptance->source),
        tsk_value_text(acceptance->result_endpoint),
        tsk_value_text(acceptance->confirmed ? "confirmed" : "unconfirmed"),
        tsk_value_int(acceptance->sends)};
    if (tsk_store_send(store, set_published, values, COUNT(values), err) < 0 ||
        tsk_store_send(store, add_published, values, 1, err) < 0)
        return -1;
    return tsk_store_send(store, settle_again, values, 1, err);
}

int tsk_outbound_refuse(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                        const char *batch_id, const char *message, size_t len, struct tsk_err *err)
{
    struct tsk_ledger_own own = {TSK_OUTBOUND_SOURCE, TSK_OUTBOUND_OFFSET, batch_id, message, len};
    return tsk_ledger_put_own(store, &own, claim->now, err);
}

int tsk_outbound_renew(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                       struct tsk_err *err)
{
    static const char sql[] =
        "UPDATE batches SET claimed_until = $2 WHERE publisher = $1 AND state = 'created'";
    struct tsk_value values[] = {tsk_value_text(claim->publisher), tsk_value_int(claim->until)};
    return tsk_store_send(store, sql, values, COUNT(values), err);
}

int tsk_outbound_release(struct tsk_store *store, const char *publisher, struct tsk_err *err)
{
    struct tsk_outbound_claim none = {publisher, 0, 0};
    return tsk_outbound_renew(store, &none, err);
}
