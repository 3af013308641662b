/* Retention. Three stages one after the other, each going through all of its table by id, some rows
 * a transaction: as many as take about 50 ms, since SQLite has but one writer at a time. All that
 * is done for a row is looked up by an index, so that the time is that of the rows and no more. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/store.h"

/* What is finished: a task that is complete, cancelled or resolved_manually (one in error is not:
 * it waits for somebody), and a batch that is completed, failed, timeout or cancelled. What goes:
 *
 * - batches finished before the time; not if there is news of it that is not settled or that came
 *   later, nor if a task with a step in it stays. Earlier attempts go before later ones, so that
 *   the state of a step never comes to rest on an older attempt. With a batch go its ledger and
 *   those of its steps that no task has;
 * - tasks finished before the time, once no batch has a step of theirs; with their steps;
 * - messages of the ledger that came before the time and belong to no batch in the store, and of
 *   which there is no later one. */
struct tsk_prune {
    int64_t before;                          /* ms since 1970, the caller's */
    int64_t tasks, batches, steps, messages; /* taken away, or to be (tsk_prune_count) */
    /* private */
    int stage;
    int64_t after, found, group;
};

#define FINISHED_TASK "('complete', 'cancelled', 'resolved_manually')"
#define FINISHED_BATCH "('completed', 'failed', 'timeout', 'cancelled')"

/* There are no such rows; as the joins it has one plan (store.h). */
#define NONE(rows) "(SELECT count(*) FROM " rows ") = 0"

#define ENDED_BATCH "b.state IN " FINISHED_BATCH " AND b.updated_at < $1"

/* clang-format off */
/* Batches b that may go by themselves; $1 is the time. */
#define OLD_BATCH(JOIN)                                                                            \
    ENDED_BATCH " AND " NONE("unsettled u WHERE u.batch_id = b.batch_id")                          \
    " AND " NONE("received_results r WHERE r.batch_id = b.batch_id AND r.received_at >= $1")       \
    " AND " NONE("batch_steps bs" JOIN("steps", "s", "s.id = bs.step")                             \
                 JOIN("tasks", "t", "t.task_id = s.task") " WHERE bs.batch = b.id"                 \
                 " AND (t.state NOT IN " FINISHED_TASK " OR t.updated_at >= $1)")
/* clang-format on */

#define OLD_TASK "t.state IN " FINISHED_TASK " AND t.updated_at < $1"

/* Messages r of no batch, all of them old. */
#define OLD_STRAY                                                                                  \
    "r.received_at < $1 AND (r.batch_id IS NULL OR ("                                              \
    NONE("batches b WHERE b.batch_id = r.batch_id") " AND "                                        \
    NONE("received_results l WHERE l.batch_id = r.batch_id AND l.received_at >= $1") "))"

enum { BATCHES, TASKS, STRAYS, DONE };
enum { GROUP_FIRST = 16, GROUP_MOST = 2000, LONG_MS = 100, SHORT_MS = 25 };

/* The next rows of a table: id, whether it goes, and then with how many steps and messages. */
#define NEXT(columns, table, key, name)                                                            \
    " FROM (SELECT " columns " FROM " table " WHERE " key " > $2 ORDER BY " key                    \
    " LIMIT $3) AS " name " ORDER BY " name "." key
#define GOES(condition) "CASE WHEN " condition " THEN 1 ELSE 0 END"

/* clang-format off */
/* No step of b is in an earlier batch: that one goes first. */
#define IS_THE_FIRST(JOIN)                                                                         \
    NONE("batch_steps bs" JOIN("batch_steps", "o", "o.step = bs.step AND o.attempt < bs.attempt")  \
         " WHERE bs.batch = b.id")
#define OWN_STEPS(JOIN)                                                                            \
    "(SELECT count(*) FROM batch_steps bs" JOIN("steps", "s", "s.id = bs.step")                    \
    " WHERE bs.batch = b.id AND s.task IS NULL AND "                                               \
    NONE("batch_steps o WHERE o.step = bs.step AND o.batch <> b.id") ")"
#define ITS_MESSAGES "(SELECT count(*) FROM received_results r WHERE r.batch_id = b.batch_id)"
#define IN_NO_BATCH(JOIN)                                                                          \
    NONE("steps s" JOIN("batch_steps", "bs", "bs.step = s.id") " WHERE s.task = t.task_id")
#define ITS_STEPS "(SELECT count(*) FROM steps s WHERE s.task = t.task_id)"
/* Counts of rows that stay anyway would cost the most of all. */
#define COUNT_IF(condition, count) "CASE WHEN " condition " THEN " count " ELSE 0 END"

#define NEXT_BATCHES(JOIN)                                                                         \
    "SELECT b.id, " GOES(OLD_BATCH(JOIN) " AND " IS_THE_FIRST(JOIN))                               \
    ", " COUNT_IF(ENDED_BATCH, OWN_STEPS(JOIN)) ", " COUNT_IF(ENDED_BATCH, ITS_MESSAGES)           \
    NEXT("id, batch_id, state, updated_at", "batches", "id", "b")
#define NEXT_TASKS(JOIN)                                                                           \
    "SELECT t.task_id, " GOES(OLD_TASK " AND " IN_NO_BATCH(JOIN))                                  \
    ", " COUNT_IF(OLD_TASK, ITS_STEPS) ", 0"                                                       \
    NEXT("task_id, state, updated_at", "tasks", "task_id", "t")
static const char next_strays[] =
    "SELECT r.id, " GOES(OLD_STRAY) ", 0, 1"
    NEXT("id, received_at, batch_id", "received_results", "id", "r");
/* clang-format on */
static const char next_batches_sqlite[] = NEXT_BATCHES(TSK_JOIN_SQLITE);
static const char next_batches_postgresql[] = NEXT_BATCHES(TSK_JOIN_POSTGRESQL);
static const char next_tasks_sqlite[] = NEXT_TASKS(TSK_JOIN_SQLITE);
static const char next_tasks_postgresql[] = NEXT_TASKS(TSK_JOIN_POSTGRESQL);

/* What takes one away, $1. Steps that no task has go before the batch that tells which they are;
 * what says that there is news of a batch goes with the last message of it. */
static const char delete_ledger[] = "DELETE FROM received_results WHERE batch_id ="
                                    " (SELECT batch_id FROM batches WHERE id = $1)";
/* clang-format off */
#define DELETE_STEPS(ids)                                                                          \
    "DELETE FROM steps WHERE task IS NULL AND id " ids(                                            \
        "SELECT bs.step FROM batch_steps bs WHERE bs.batch = $1 AND "                              \
        NONE("batch_steps o WHERE o.step = bs.step AND o.batch <> bs.batch"))
/* clang-format on */
#define IN_SQLITE(rows) "IN (" rows ")"
#define IN_POSTGRESQL(rows) "= ANY (ARRAY(" rows "))"
static const char delete_steps_sqlite[] = DELETE_STEPS(IN_SQLITE);
static const char delete_steps_postgresql[] = DELETE_STEPS(IN_POSTGRESQL);
static const char delete_batch[] = "DELETE FROM batches WHERE id = $1";
static const char delete_task[] = "DELETE FROM tasks WHERE task_id = $1";
static const char delete_news[] =
    "DELETE FROM unsettled WHERE batch_id = (SELECT batch_id FROM received_results WHERE id = $1)"
    " AND " NONE("received_results r WHERE r.batch_id = unsettled.batch_id AND r.id <> $1");
static const char delete_stray[] = "DELETE FROM received_results WHERE id = $1";

#define BOTH(sql)                                                                                  \
    {                                                                                              \
        sql, sql                                                                                   \
    }
static const struct {
    const char *next[2]; /* SQLite's, PostgreSQL's */
    const char *take[3][2];
    const char *look;
} stages[] = {
    [BATCHES] = {{next_batches_sqlite, next_batches_postgresql},
                 {BOTH(delete_ledger),
                  {delete_steps_sqlite, delete_steps_postgresql},
                  BOTH(delete_batch)},
                 "SELECT 1 FROM batches WHERE id = $1"},
    [TASKS] = {{next_tasks_sqlite, next_tasks_postgresql},
               {BOTH(delete_task)},
               "SELECT 1 FROM tasks WHERE task_id = $1"},
    [STRAYS] = {BOTH(next_strays),
                {BOTH(delete_news), BOTH(delete_stray)},
                "SELECT 1 FROM received_results WHERE id = $1"},
};

/* The work of one transaction. */
struct part {
    struct tsk_prune *prune;
    int64_t *ids; /* of those that go */
    size_t cap, found;
    int64_t seen, last, steps, messages;
};

static int take_row(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct part *part = ctx;
    part->seen++;
    part->last = row[0].number;
    if (columns != 4 || !row[1].number)
        return 0;
    part->ids = tsk_grow(part->ids, &part->cap, part->found + 1, sizeof *part->ids);
    part->ids[part->found++] = row[0].number;
    part->steps += row[2].number;
    part->messages += row[3].number;
    return 0;
}

/* One prune at a time, or two would count the same rows; SQLite has but one writer anyway. The lock
 * also waits for the server's end of a commit that was cut off, so was_done comes after it. */
static int set_up(struct tsk_store *store, struct tsk_err *err)
{
    static const char alone[] = "SELECT pg_advisory_xact_lock(7290402)";
    if (tsk_store_kind(store) != TSK_STORE_POSTGRESQL)
        return 0;
    return tsk_store_send(store, alone, NULL, 0, err);
}

static int take_away(struct tsk_store *store, const struct part *part, struct tsk_err *err)
{
    const char *const(*sql)[2] = stages[part->prune->stage].take;
    bool other = tsk_store_kind(store) != TSK_STORE_SQLITE;
    for (size_t i = 0; i < part->found; i++) {
        struct tsk_value id = tsk_value_int(part->ids[i]);
        for (size_t n = 0; n < 3 && sql[n][0]; n++) {
            if (tsk_store_send(store, sql[n][other], &id, 1, err) < 0)
                return -1;
        }
    }
    return 0;
}

/* Whether the try before this one was committed, though its answer never came: another would find
 * nothing of it and not count it. (Another prune may have taken the row between the two; both count
 * it then.) Returns 1, 0 or -1. */
static int was_done(struct tsk_store *store, const struct part *part, struct tsk_err *err)
{
    int64_t one;
    if (!tsk_store_in_doubt(store) || !part->found)
        return 0;
    struct tsk_value id = tsk_value_int(part->ids[0]);
    int there = tsk_store_get_int(store, stages[part->prune->stage].look, &id, 1, &one, err);
    return there < 0 ? -1 : !there;
}

static int do_part(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct part *part = ctx;
    const struct tsk_prune *prune = part->prune;
    struct tsk_value values[] = {tsk_value_int(prune->before), tsk_value_int(prune->after),
                                 tsk_value_int(prune->group)};
    if (set_up(store, err) < 0)
        return -1;
    int done = was_done(store, part, err);
    if (done)
        return done < 0 ? -1 : 0;
    part->found = 0;
    part->seen = part->last = part->steps = part->messages = 0;
    const char *next = stages[prune->stage].next[tsk_store_kind(store) != TSK_STORE_SQLITE];
    if (tsk_store_run(store, next, values, 3, take_row, part, err) >= 0 &&
        take_away(store, part, err) == 0)
        return 0;
    part->found = 0; /* never to be asked for as what a commit took */
    return -1;
}

static void add_up(struct tsk_prune *prune, const struct part *part)
{
    int64_t found = (int64_t)part->found;
    prune->batches += prune->stage == BATCHES ? found : 0;
    prune->tasks += prune->stage == TASKS ? found : 0;
    prune->steps += part->steps;
    prune->messages += part->messages;
    prune->found += found;
}

/* Where to go on. Batches are gone through again while any go, since then later attempts may. */
static void go_on(struct tsk_prune *prune, const struct part *part)
{
    prune->after = part->last;
    if (part->seen == prune->group)
        return;
    bool again = prune->stage == BATCHES && prune->found;
    prune->stage += !again;
    prune->after = prune->found = 0;
}

static void fit_group(struct tsk_prune *prune, int64_t took)
{
    if (took > LONG_MS && prune->group > 1)
        prune->group /= 2;
    else if (took < SHORT_MS && prune->group < GROUP_MOST)
        prune->group *= 2;
}

static int tsk_prune_next(struct tsk_store *store, struct tsk_prune *prune, int64_t patience,
                          struct tsk_err *err)
{
    struct part part = {.prune = prune};
    if (!prune->group)
        prune->group = GROUP_FIRST;
    int64_t start = tsk_now_ms();
    int rc = tsk_store_write(store, do_part, &part, patience, err);
    free(part.ids);
    if (rc < 0)
        return -1;
    add_up(prune, &part);
    go_on(prune, &part);
    fit_group(prune, tsk_now_ms() - start);
    return prune->stage < DONE;
}

/* A batch stays if it is not old, or if an earlier attempt of one of its steps is in one that
 * stays. Each database has a way of its own to hold rows against a set, and is slow in the other.
 */
#define KEPT(JOIN)                                                                                 \
    "WITH RECURSIVE stays (id) AS (SELECT b.id FROM batches b WHERE NOT (" OLD_BATCH(JOIN) ")"     \
    " UNION SELECT bs.batch FROM stays JOIN batch_steps o ON o.batch = stays.id"                   \
    " JOIN batch_steps bs ON bs.step = o.step AND bs.attempt > o.attempt),"                        \
    " kept (id) AS (SELECT DISTINCT id FROM stays),"                                               \
    " held (id) AS (SELECT DISTINCT bs.step FROM kept JOIN batch_steps bs ON bs.batch = kept.id)," \
    " busy (id) AS (SELECT DISTINCT s.task FROM held JOIN steps s ON s.id = held.id"               \
    " WHERE s.task IS NOT NULL),"
#define GOING(out_of_kept, out_of_busy)                                                            \
    " goes (batch_id) AS (SELECT b.batch_id FROM batches b WHERE " out_of_kept "),"                \
    " ended (task) AS (SELECT t.task_id FROM tasks t WHERE " OLD_TASK " AND " out_of_busy ")"
#define COUNTS(out_of_held)                                                                        \
    " SELECT (SELECT count(*) FROM ended), (SELECT count(*) FROM goes),"                           \
    " (SELECT count(*) FROM ended JOIN steps s ON s.task = ended.task)"                            \
    " + (SELECT count(*) FROM steps s WHERE s.task IS NULL AND " out_of_held                       \
    " AND EXISTS (SELECT 1 FROM batch_steps bs WHERE bs.step = s.id)),"                            \
    " (SELECT count(*) FROM goes JOIN received_results r ON r.batch_id = goes.batch_id)"           \
    " + (SELECT count(*) FROM received_results r WHERE " OLD_STRAY ")"
static const char count_sqlite[] =
    KEPT(TSK_JOIN_SQLITE)
        GOING("b.id NOT IN (SELECT id FROM kept)", "t.task_id NOT IN (SELECT id FROM busy)")
        COUNTS("s.id NOT IN (SELECT id FROM held)");
static const char count_postgresql[] =
    KEPT(TSK_JOIN_POSTGRESQL)
        GOING("NOT EXISTS (SELECT 1 FROM kept WHERE kept.id = b.id)",
              "NOT EXISTS (SELECT 1 FROM busy WHERE busy.id = t.task_id)")
        COUNTS("NOT EXISTS (SELECT 1 FROM held WHERE held.id = s.id)");

static int take_counts(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_prune *prune = ctx;
    if (columns == 4) {
        prune->tasks = row[0].number;
        prune->batches = row[1].number;
        prune->steps = row[2].number;
        prune->messages = row[3].number;
    }
    return 0;
}

static int tsk_prune_count(struct tsk_store *store, struct tsk_prune *prune, struct tsk_err *err)
{
    const char *sql = TSK_SQL(store, count_sqlite, count_postgresql);
    struct tsk_value before = tsk_value_int(prune->before);
    return tsk_store_run(store, sql, &before, 1, take_counts, prune, err) < 0 ? -1 : 0;
}

/* tasker-status store --prune: takes away what ended long ago, in small transactions, each of which
 * leaves the store as it should be: so it can be stopped at any time, and done again. */
enum { PATIENCE_MS = 60000 };

static int count(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    return tsk_prune_count(store, ctx, err);
}

static int take_all(struct tsk_store *store, struct tsk_prune *prune, struct tsk_err *err)
{
    int more = 1;
    while (more > 0 && !signals_stopped()) {
        more = tsk_prune_next(store, prune, PATIENCE_MS, err);
        diag_progress("%" PRId64 " batches, %" PRId64 " tasks, %" PRId64 " messages taken away",
                      prune->batches, prune->tasks, prune->messages);
    }
    diag_progress_end();
    if (more <= 0)
        return more;
    return tsk_err_set(err, TSK_TEMPFAIL, "stopped; another --prune does the rest");
}

static void show(const struct options *opts, const struct tsk_prune *prune)
{
    if (opts->format != FORMAT_JSON) {
        out_printf(
            "%s %" PRId64 " task%s, %" PRId64 " batch%s, %" PRId64 " step%s, %" PRId64 " message%s",
            opts->dry_run ? "would take away" : "took away", prune->tasks, tsk_plural(prune->tasks),
            prune->batches, prune->batches == 1 ? "" : "es", prune->steps, tsk_plural(prune->steps),
            prune->messages, tsk_plural(prune->messages));
        return;
    }
    struct json_object *all = json_object_new_object();
    tsk_json_put_str(all, "message_type", "store_prune");
    tsk_json_put_bool(all, "dry_run", opts->dry_run);
    tsk_json_put_time(all, "before", prune->before);
    tsk_json_put_int(all, "tasks", prune->tasks);
    tsk_json_put_int(all, "batches", prune->batches);
    tsk_json_put_int(all, "steps", prune->steps);
    tsk_json_put_int(all, "messages", prune->messages);
    out_json(all);
    json_object_put(all);
}

enum tsk_exit store_prune(const struct options *opts, struct tsk_store *store)
{
    struct tsk_prune prune = {.before = tsk_wall_ms() - opts->older_than};
    struct tsk_err err = TSK_ERR_INIT;
    tsk_store_set_use(store, TSK_STORE_LOOK);
    int rc = opts->dry_run ? tsk_store_read(store, count, &prune, 0, &err)
                           : take_all(store, &prune, &err);
    if (rc == 0 || prune.batches + prune.tasks + prune.messages > 0)
        show(opts, &prune); /* what is gone is told, though the rest could not be done */
    return rc < 0 ? diag_err(&err) : TSK_OK;
}
