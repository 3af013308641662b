/* look_fill URL STEPS BIG: fills a store with STEPS steps in batches of 100, of which all but a few
 * have ended well, each with a message in the ledger; and with one batch, "big", of BIG steps with
 * all their transitions and messages. Rows are made by the database itself. */
#include "bench.h"
#include "tasker/tasker.h"

#define NUMBERS(most)                                                                              \
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " most ") "
#define START "1700000000000"

/* $1 is how many steps, $2 the first id, $3 the batch's id (of the big one) or 0 for many. */
static const char *const many[] = {
    /* $1 batches, $2 their body */
    "INSERT INTO batches (id, batch_id, total_steps, timeout_ms, body, created_at, published_at, "
    "accepted_by, source, sends, state, updated_at) " NUMBERS(
        "$1") "SELECT i, 'batch-' || i, 100, "
              "60000, $2, " START " + i * 1000, " START " + i * 1000, 'worker-1', 'source-1', 1, "
              "CASE i % 100 WHEN 0 THEN 'failed' WHEN 1 THEN 'executing' ELSE 'completed' "
              "END, " START " + i * 1000 FROM n",
    "INSERT INTO settled_batches (batch, verdict, revision, completed_steps, failed_steps, "
    "execution_ms) SELECT id, 'complete', 1, 100, 0, 100 + (id * 7919) % 9973 FROM batches "
    "WHERE id <= $1 AND total_steps = 100 AND length(body) = length($2)",
};

static const char of_steps[] =
    "INSERT INTO steps (id, step_id, task_id, name, handler_class, attempts, created_at, state, "
    "updated_at, processed_at, results, error, error_category, execution_ms, worker_id) " NUMBERS(
        "$1") "SELECT $2 + i, $2 + i, 1 + i / 10, 'validate_order', 'Order::Handler' || (i % 20), "
              "1, " START
              " + i / 100 * 1000, CASE i % 100 WHEN 0 THEN 'error' WHEN 1 THEN 'in_progress' "
              "ELSE 'complete' END, " START " + i / 100 * 1000, " START " + i / 100 * 1000, "
              "'{\"total\":12.5,\"valid\":true}', CASE i % 100 WHEN 0 THEN "
              "'{\"message\":\"no such order\"}' END, CASE i % 100 WHEN 0 THEN 'validation' END, "
              "i % 977, 'worker-1' FROM n";

static const char of_batch_steps[] =
    "INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt) " NUMBERS(
        "$1") "SELECT (i - 1) / 100 + 1, (i - 1) % 100 + 1, $2 + i, $2 + i, 1 FROM n";

static const char of_ledger[] =
    "INSERT INTO received_results (received_at, collector_id, topic, message_type, batch_id, "
    "step_id, source, stream_offset, raw_message) " NUMBERS(
        "$1") "SELECT " START " + i * 10, 'collector', 'partial_result', 'partial_result', "
              "'batch-' || ((i - 1) / 100 + 1), i, 'source-1', i, $2 FROM n";

static const char *const big[] = {
    "INSERT INTO batches (id, batch_id, total_steps, timeout_ms, body, created_at, published_at, "
    "sends, state, updated_at) SELECT 1 + max(id), 'big', $1, 60000, $2, " START ", " START
    ", 1, 'completed', " START " FROM batches",
    "INSERT INTO steps (id, step_id, task_id, name, handler_class, attempts, created_at, state, "
    "updated_at) " NUMBERS("$1") "SELECT top.id + i, i, 1, 'big', 'Big', 1, " START ", "
                                 "CASE length($2) WHEN 0 THEN 'error' ELSE 'complete' END, " START
                                 " FROM n, (SELECT max(id) AS id FROM steps) AS top",
    "INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt) "
    "SELECT b.id, s.step_id, s.id, s.step_id, 1 FROM steps s, batches b WHERE b.batch_id = 'big' "
    "AND s.name = 'big' AND s.step_id <= $1 AND length($2) > 0",
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch, "
    "created_at) SELECT p.step, 1000 + k.i, 'pending', 'enqueued', 'step_enqueued', 'ledger', "
    "p.batch, " START " + p.step_id + k.i FROM batch_steps p JOIN batches b ON b.id = p.batch, "
    "(SELECT 0 AS i UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS k "
    "WHERE b.batch_id = 'big' AND p.step_id <= $1 AND length($2) > 0",
    "INSERT INTO received_results (received_at, collector_id, topic, message_type, batch_id, "
    "step_id, source, stream_offset, raw_message) " NUMBERS(
        "2 * $1") "SELECT " START " + i, "
                  "'collector', 'partial_result', 'partial_result', 'big', (i + 1) / 2, "
                  "'source-2', i, $2 FROM n",
};

static const char message[] =
    "{\"message_type\":\"partial_result\",\"batch_id\":\"big\",\"step_id\":1001,\"task_id\":101,"
    "\"step_name\":\"validate_order\",\"attempt\":1,\"status\":\"completed\",\"output\":{\"valid\":"
    "true,\"total\":12.5},\"error\":null,\"execution_time_ms\":4,\"worker_id\":\"worker-1\"}";

struct fill {
    int64_t steps, big;
};

static int run(struct tsk_store *store, const char *sql, struct tsk_value first,
               struct tsk_value second, struct tsk_err *err)
{
    struct tsk_value values[] = {first, second};
    return tsk_store_run(store, sql, values, 2, NULL, NULL, err) < 0 ? -1 : 0;
}

static int fill_all(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    const struct fill *fill = ctx;
    struct tsk_value raw = tsk_value_bytes(message, sizeof message - 1);
    struct tsk_value steps = tsk_value_int(fill->steps), none = tsk_value_int(0);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < 2; i++)
        rc = run(store, many[i], tsk_value_int(fill->steps / 100), raw, err);
    if (rc < 0 || run(store, of_steps, steps, none, err) < 0 ||
        run(store, of_batch_steps, steps, none, err) < 0 ||
        run(store, of_ledger, steps, raw, err) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < sizeof big / sizeof *big; i++)
        rc = run(store, big[i], tsk_value_int(fill->big), raw, err);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        bench_die("usage: look_fill URL STEPS BIG");
    struct fill fill = {bench_number(argv[2]), bench_number(argv[3])};
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    if (tsk_conf_set(conf, TSK_STORE_URL, argv[1], "the command line", &err) < 0)
        bench_die("%s", err.text);
    tsk_conf_set(conf, TSK_STORE_TIMEOUT, "1h", "this program", NULL);
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!store || tsk_store_write(store, fill_all, &fill, 0, &err) < 0)
        bench_die("%s", err.text);
    tsk_store_free(store);
    tsk_conf_free(conf);
    return 0;
}
