/* ready_fill URL STEPS READY: fills a store with tasks of ten steps in a chain, STEPS steps in all.
 * READY tasks have a first step that can run now; of the others nine in ten are done, and of the
 * rest one half waits for a back-off that is an hour away, and one for a step that runs. Rows are
 * made by the database itself. */
#include "bench.h"
#include "tasker/tasker.h"

#define START "1700000000000"
#define NUMBERS                                                                                    \
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) "

/* Of task i, $2 being how many have a step that is ready: spread over all. */
#define READY "(i * $2 / $1 > (i - 1) * $2 / $1)"
#define TASK_STATE                                                                                 \
    "CASE WHEN " READY " THEN 'pending' WHEN i % 10 > 0 THEN 'complete' ELSE 'in_progress' END"
/* Its first step, and those after it. */
#define FIRST_STATE                                                                                \
    "CASE WHEN " READY " THEN 'pending' WHEN i % 10 > 0 THEN 'complete' WHEN i % 20 = 0 THEN "     \
    "'pending' ELSE 'in_progress' END"
#define NEXT_STATE "CASE WHEN " READY " OR i % 10 = 0 THEN 'pending' ELSE 'complete' END"
#define RETRY_AT "CASE WHEN i % 20 = 0 AND NOT " READY " THEN CAST($3 AS BIGINT) END"

/* $1 tasks, $2 of them ready, $3 the end of the back-offs. */
static const char *const texts[] = {
    "INSERT INTO tasks (task_id, namespace, name, state, priority, created_at, updated_at) " NUMBERS
    "SELECT i, 'bench', 'chain', " TASK_STATE ", i % 3, " START " + i, $3 FROM n",
    "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, created_at, updated_at, "
    "place, priority, state, next_retry_at) " NUMBERS
    "SELECT i * 10, i, i * 10, i, 'first', 'Bench::True', " START " + i, " START ", 0, i % 3, "
    "" FIRST_STATE ", " RETRY_AT " FROM n",
    "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, created_at, updated_at, "
    "place, priority, state, waits_for) " NUMBERS
    "SELECT i * 10 + k, i, i * 10 + k, i, 'step ' || k, 'Bench::True', " START " + i, $3, k, "
    "i % 3, " NEXT_STATE ", CASE WHEN " READY " OR i % 10 = 0 THEN 1 ELSE 0 END FROM n, "
    "(SELECT 1 AS k UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 "
    "UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) AS following",
    "INSERT INTO step_dependencies (from_step, to_step) SELECT id - 1, id FROM steps "
    "WHERE place > 0 AND task <= $1 AND $2 < $3",
};

static int fill(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    const int64_t *counts = ctx;
    struct tsk_value values[] = {tsk_value_int(counts[0]), tsk_value_int(counts[1]),
                                 tsk_value_int(tsk_wall_ms() + 3600000)};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (tsk_store_run(store, texts[i], values, 3, NULL, NULL, err) < 0)
            return -1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        bench_die("usage: ready_fill URL STEPS READY");
    int64_t counts[] = {bench_number(argv[2]) / 10, bench_number(argv[3])};
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    if (tsk_conf_set(conf, TSK_STORE_URL, argv[1], "the command line", &err) < 0)
        bench_die("%s", err.text);
    tsk_conf_set(conf, TSK_STORE_TIMEOUT, "1h", "this program", NULL);
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!store || tsk_store_write(store, fill, counts, 0, &err) < 0)
        bench_die("%s", err.text);
    tsk_store_free(store);
    tsk_conf_free(conf);
    return 0;
}
