/* Settling in a store: random ledgers, settled batch by batch in a random order while they grow, by
 * two connections, and at last made anew. However it was done, all rows are the same.
 *
 *     settler [URL [SEED]]     a SQLite store in a folder of its own, unless there is a URL
 *
 * The seed is printed if anything differs. */
#include "tasker/settle.h"

#include <inttypes.h>
#include <stdlib.h>

#include "check.h"
#include "tasker/clock.h"
#include "collect/ledger.h"
#include "tasker/tasker.h"

enum { BATCHES = 6, STEPS_MOST = 4, TASK_STEPS = 3, LAST_ATTEMPT = 2, MESSAGES = 160 };
enum { DEPENDENTS = 6, FIRST_DEPENDENT = 9101 };

struct test {
    struct tsk_store *store[2];
    struct tsk_settler *settler[2];
    uint64_t seed, drawn;
    int64_t offset, now;
    int steps[BATCHES]; /* of each batch */
    int settled;
};

/* A number below n. */
static int draw(struct test *t, int n)
{
    t->drawn = t->drawn * 6364136223846793005u + 1442695040888963407u;
    return (int)((t->drawn >> 33) % (uint64_t)n);
}

/* --- What was sent: batches of their own steps, and two (4 and 5) of the same steps of a task. */

/* Statements made of values that are no one's but ours; each text is used once, and so leaks into
 * the connection's statements, which a test may. */
static void exec(struct test *t, const char *fmt, ...)
{
    struct tsk_buf sql = TSK_BUF_INIT;
    struct tsk_err err = TSK_ERR_INIT;
    va_list args;
    va_start(args, fmt);
    tsk_buf_vprintf(&sql, fmt, args);
    va_end(args);
    static struct kept {
        struct kept *next;
        char *text;
    } * all;
    struct kept *one = tsk_alloc(sizeof *one);
    one->next = all;
    one->text = sql.data;
    all = one;
    if (!CHECK(tsk_store_run(t->store[0], one->text, NULL, 0, NULL, NULL, &err) >= 0))
        fprintf(stderr, "    %s\n    %s\n", err.text, one->text);
}

static bool of_task(int batch)
{
    return batch >= 4;
}

static int64_t step_id(int batch, int step)
{
    return of_task(batch) ? 9001 + step : step + 1;
}

static void send_step(struct test *t, int batch, int step)
{
    int attempt = batch == 5 ? LAST_ATTEMPT : 1;
    if (!of_task(batch))
        exec(t,
             "INSERT INTO steps (id, step_id, task_id, name, handler_class, created_at, state,"
             " updated_at, retry_limit) VALUES (%d, %d, 7, 'n', 'H', 1000, 'enqueued', 1000, %d)",
             batch * 100 + step + 1, step + 1, draw(t, 4));
    int64_t row = of_task(batch) ? step_id(batch, step) : batch * 100 + step + 1;
    exec(t,
         "INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt)"
         " VALUES (%d, %d, %" PRId64 ", %" PRId64 ", %d)",
         batch + 1, step + 1, row, step_id(batch, step), attempt);
    exec(t,
         "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch,"
         " created_at) VALUES (%" PRId64 ", %d, 'pending', 'enqueued', 'step_enqueued', 'program',"
         " %d, 1000)",
         row, attempt * 1000 + 1, batch + 1);
    if (draw(t, 12) == 0) {
        exec(t, "INSERT INTO unsettled (batch_id) VALUES ('b%d')", batch);
        exec(t,
             "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin,"
             " created_at) VALUES (%" PRId64 ", %d, 'pending', '%s', 'x', 'operator', %d)",
             row, attempt * 1000 + 100, draw(t, 2) ? "cancelled" : "resolved_manually",
             2000 + draw(t, 200));
    }
}

static void send_batch(struct test *t, int batch)
{
    bool published = draw(t, 4) > 0;
    t->steps[batch] = of_task(batch) ? TASK_STEPS : 1 + draw(t, STEPS_MOST);
    exec(t,
         "INSERT INTO batches (id, batch_id, total_steps, timeout_ms, body, created_at,"
         " published_at, state, updated_at) VALUES (%d, 'b%d', %d, 60000, '', 1000, %s, '%s', %d)",
         batch + 1, batch, t->steps[batch], published ? "1500" : "NULL",
         published ? "published" : "created", published ? 1500 : 1000);
    for (int i = 0; i < t->steps[batch]; i++)
        send_step(t, batch, i);
}

/* Steps of the task that wait for those that are sent, and for each other. */
static void put_dependents(struct test *t)
{
    static const char *const joins[] = {"all_ok", "all_ok", "all_done", "any_ok"};
    bool choices = draw(t, 4) == 0, blocks = draw(t, 4) == 0;
    for (int i = 0; i < DEPENDENTS; i++) {
        exec(t,
             "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, created_at,"
             " state, updated_at, join_rule, unsatisfied) VALUES (%d, 7, %d, 7, 'd%d', 'H', 1000,"
             " 'pending', 1000, '%s', '%s')",
             FIRST_DEPENDENT + i, FIRST_DEPENDENT + i, i, joins[draw(t, 4)],
             blocks && draw(t, 2) ? "block" : "cancel");
        for (int from = 0; from < TASK_STEPS + i; from++) {
            if (draw(t, 2))
                exec(t,
                     "INSERT INTO step_dependencies (task, from_step, to_step, choice)"
                     " VALUES (7, %d, %d, %d)",
                     from < TASK_STEPS ? 9001 + from : FIRST_DEPENDENT + from - TASK_STEPS,
                     FIRST_DEPENDENT + i, choices && draw(t, 4) == 0);
        }
    }
}

static int settle_flow(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    int64_t task = 7;
    (void)ctx;
    return tsk_flow_settle_all(store, &task, 1, err);
}

static void send_all(struct test *t)
{
    struct tsk_err err = TSK_ERR_INIT;
    exec(t, "INSERT INTO tasks (task_id, name, created_at, updated_at) VALUES (7, 't', 1, 1)");
    for (int i = 0; i < TASK_STEPS; i++)
        exec(t,
             "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, created_at,"
             " state, updated_at, last_attempted_at, attempts) VALUES (%d, 7, %d, 7, 's%d', 'H', "
             "1000,"
             " 'enqueued', 1000, 1000, %d)", /* as the claim has written them */
             9001 + i, 9001 + i, i, LAST_ATTEMPT);
    put_dependents(t);
    for (int i = 0; i < BATCHES; i++)
        send_batch(t, i);
    CHECK(tsk_store_write(t->store[0], settle_flow, NULL, 0, &err) == 0);
}

/* --- What came back. */

static void put_partial(struct test *t, struct tsk_buf *text, int batch)
{
    static const char *const statuses[] = {"in_progress", "in_progress", "completed", "completed",
                                           "failed"};
    static const char *const errors[] = {"validation", "infrastructure", "timeout"};
    int status = draw(t, 5), known = t->steps[batch];
    int step = draw(t, 20) ? draw(t, known) : known + 3; /* now and then one that nobody sent */
    tsk_buf_printf(text,
                   "{\"message_type\":\"partial_result\",\"batch_id\":\"b%d\",\"step_id\":%" PRId64
                   ",\"status\":\"%s\"",
                   batch, step_id(batch, step), statuses[status]);
    if (draw(t, 3))
        tsk_buf_printf(text, ",\"attempt\":%d", 1 + draw(t, 2));
    if (draw(t, 2))
        tsk_buf_printf(text, ",\"sequence\":%d", 1 + draw(t, 3));
    if (status >= 2)
        tsk_buf_printf(text, ",\"execution_time_ms\":%d,\"output\":{\"n\":%d}", draw(t, 9),
                       draw(t, 9));
    if (status == 4)
        tsk_buf_printf(text, ",\"error\":{\"message\":\"m%d\",\"error_category\":\"%s\"}",
                       draw(t, 3), errors[draw(t, 3)]);
    tsk_buf_char(text, '}');
}

static void put_completion(struct test *t, struct tsk_buf *text, int batch)
{
    tsk_buf_printf(text,
                   "{\"message_type\":\"batch_completion\",\"batch_id\":\"b%d\","
                   "\"step_summaries\":[",
                   batch);
    for (int i = 0; i < t->steps[batch]; i++)
        tsk_buf_printf(text, "%s{\"step_id\":%" PRId64 ",\"final_status\":\"%s\"}", i ? "," : "",
                       step_id(batch, i), draw(t, 4) ? "completed" : "failed");
    tsk_buf_str(text, "]}");
}

static void put_message(struct test *t, struct tsk_buf *text, int batch)
{
    int what = draw(t, 40);
    if (what > 5)
        put_partial(t, text, batch);
    else if (what > 2)
        put_completion(t, text, batch);
    else if (what == 0)
        tsk_buf_str(text, "{\"batch_id\":");
    else
        tsk_buf_printf(text,
                       "{\"message_type\":\"batch_error\",\"batch_id\":\"b%d\",\"error\":{"
                       "\"message\":\"x\",\"error_category\":\"%s\"}}",
                       batch, what == 1 ? "timeout" : "infrastructure");
}

struct coming {
    struct test *test;
    int batch;
    struct tsk_buf text;
};

static int add_message(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct coming *coming = ctx;
    char batch_id[8];
    snprintf(batch_id, sizeof batch_id, "b%d", coming->batch);
    struct tsk_ledger_entry entry = {.topic = "partial_result",
                                     .raw = coming->text.data,
                                     .len = coming->text.len,
                                     .batch_id = batch_id,
                                     .source = "s",
                                     .offset = ++coming->test->offset};
    if (tsk_ledger_insert(store, &entry, "c", coming->test->now, err) < 0)
        return -1;
    return tsk_ledger_mark(store, batch_id, err);
}

static void come(struct test *t)
{
    struct coming coming = {t, draw(t, BATCHES), TSK_BUF_INIT};
    struct tsk_err err = TSK_ERR_INIT;
    t->now += draw(t, 5) ? draw(t, 4) : -2; /* the clocks of two collectors */
    put_message(t, &coming.text, coming.batch);
    CHECK(tsk_store_write(t->store[0], add_message, &coming, 0, &err) == 0);
    tsk_buf_fini(&coming.text);
}

/* --- Settling, and all rows. */

static void settled(void *ctx, const struct tsk_settle_change *change)
{
    struct test *t = ctx;
    (void)change;
    t->settled++;
}

static void settle(struct test *t, int who, bool all, unsigned how)
{
    struct tsk_settle_list list = TSK_SETTLE_LIST_INIT;
    struct tsk_err err = TSK_ERR_INIT;
    CHECK((all ? tsk_settle_find_all(t->store[who], &list, &err)
               : tsk_settle_find_news(t->store[who], &list, &err)) == 0);
    if (!all && list.count) { /* one of them, whichever */
        list.items[0] = list.items[draw(t, (int)list.count)];
        list.count = 1;
    }
    if (!CHECK(tsk_settler_run(t->settler[who], &list, how, 5000, &err) == 0))
        fprintf(stderr, "    %s\n", err.text);
    tsk_settle_list_fini(&list);
}

static int put_row(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_buf *out = ctx;
    for (size_t i = 0; i < columns; i++) {
        if (row[i].type == TSK_INT)
            tsk_buf_printf(out, "|%" PRId64, row[i].number);
        else
            tsk_buf_printf(out, "|%.*s", (int)row[i].len, row[i].data ? row[i].data : "");
    }
    tsk_buf_char(out, '\n');
    return 0;
}

static char *dump(struct test *t)
{
    static const char *const tables[] = {
        "SELECT 'step', s.* FROM steps s ORDER BY id",
        "SELECT 'batch', id, state, updated_at FROM batches ORDER BY id",
        "SELECT 'settled', s.* FROM settled_batches s ORDER BY batch",
        "SELECT 'settled', s.* FROM settled_steps s ORDER BY batch, step_id",
        "SELECT 'odd', s.* FROM discrepancies s ORDER BY batch, place",
        "SELECT 'move', s.* FROM step_transitions s ORDER BY step, sort_key",
        "SELECT 'move', s.* FROM batch_transitions s ORDER BY batch, sort_key",
        "SELECT 'task', task_id, state, updated_at FROM tasks",
    };
    struct tsk_buf out = TSK_BUF_INIT;
    struct tsk_err err = TSK_ERR_INIT;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        CHECK(tsk_store_run(t->store[0], tables[i], NULL, 0, put_row, &out, &err) > 0 ||
              i == 4); /* there may be nothing odd */
    return out.data;
}

static void same(struct test *t, const char *want, const char *got, const char *what)
{
    if (CHECK(strcmp(want, got) == 0))
        return;
    size_t at = strspn(want, "");
    while (want[at] && want[at] == got[at])
        at++;
    while (at && want[at - 1] != '\n')
        at--;
    fprintf(stderr, "    %s, seed %" PRIu64 "\n    was: %.200s\n    is:  %.200s\n", what, t->seed,
            want + at, got + at);
}

static const char wipe_rows[] = "DELETE FROM settled_batches";
static const char wipe_steps[] = "UPDATE steps SET state = 'error', results = 'x', error = 'y', "
                                 "attempts = 9, next_retry_at = 4, worker_id = 'z', updated_at = 3 "
                                 "WHERE id < 9100";

static void one_round(struct test *t)
{
    struct tsk_err err;
    send_all(t);
    for (int i = 5 + draw(t, MESSAGES); i > 0; i--) {
        come(t);
        if (draw(t, 3) == 0)
            settle(t, draw(t, 2), false, 0);
    }
    for (int i = 0; i < BATCHES; i++)
        settle(t, draw(t, 2), false, 0);
    int before = t->settled;
    char *first = dump(t);
    settle(t, 0, false, 0);
    CHECK_INT(t->settled, before); /* nothing was left */
    settle(t, 1, true, TSK_SETTLE_FORCE);
    char *again = dump(t);
    same(t, first, again, "a rebuild");
    CHECK(tsk_store_run(t->store[0], wipe_rows, NULL, 0, NULL, NULL, &err) >= 0);
    CHECK(tsk_store_run(t->store[0], wipe_steps, NULL, 0, NULL, NULL, &err) >= 0);
    settle(t, 0, true, TSK_SETTLE_FORCE);
    char *anew = dump(t);
    same(t, first, anew, "a rebuild of nothing");
    free(first);
    free(again);
    free(anew);
}

static void take_down(struct test *t)
{
    static const char *const all[] = {
        "DELETE FROM batches", "DELETE FROM step_dependencies", "DELETE FROM steps",
        "DELETE FROM tasks",   "DELETE FROM received_results",  "DELETE FROM unsettled"};
    struct tsk_err err;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CHECK(tsk_store_run(t->store[0], all[i], NULL, 0, NULL, NULL, &err) >= 0);
}

static void run(const char *url, uint64_t seed, int rounds)
{
    static const struct tsk_reconcile_opts rules = TSK_RECONCILE_OPTS_INIT;
    static const struct tsk_create_limits limits = {1000, 10000};
    struct test t = {.now = 2000};
    struct tsk_settle_watch watch = {.ctx = &t, .settled = settled};
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(tsk_conf_set(conf, TSK_STORE_URL, url, "test", &err) == 0);
    for (int i = 0; i < 2; i++) {
        t.store[i] = tsk_store_new(conf, -1, &err);
        CHECK(t.store[i] && tsk_store_connect(t.store[i], &err) == 0);
        t.settler[i] = tsk_settler_new(t.store[i], &rules, &limits, &watch);
    }
    for (int i = 0; i < rounds && !check_failed; i++) {
        t.seed = t.drawn = seed + (uint64_t)i;
        t.offset = 0;
        one_round(&t);
        take_down(&t);
    }
    for (int i = 0; i < 2; i++) {
        tsk_settler_free(t.settler[i]);
        tsk_store_free(t.store[i]);
    }
    tsk_conf_free(conf);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/tasker-settler.XXXXXX", url[128], command[160];
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)tsk_wall_ms();
    if (argc > 1) {
        run(argv[1], seed, argc > 2 ? 1 : 4);
        return check_done();
    }
    CHECK(mkdtemp(folder) != NULL);
    snprintf(url, sizeof url, "sqlite:%s/store.db", folder);
    run(url, seed, 20);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return check_done();
}
