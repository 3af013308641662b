/* Retention. Three stages one after the other, each going through its table by id, some rows a
 * transaction: as many as take about 50 ms, since SQLite has but one writer at a time. */
#include "tasker/prune.h"

#include <inttypes.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/clock.h"

#define FINISHED_TASK "('complete', 'cancelled', 'resolved_manually')"
#define FINISHED_BATCH "('completed', 'failed', 'timeout', 'cancelled')"

/* Batches b that may go by themselves; $1 is the time. (No index by state is wanted: what is looked
 * for is nearly all, and in the order of ids; so the state is an expression.) */
#define OLD_BATCH                                                                                  \
    "b.state || '' IN " FINISHED_BATCH " AND b.updated_at < $1"                                    \
    " AND NOT EXISTS (SELECT 1 FROM unsettled u WHERE u.batch_id = b.batch_id)"                    \
    " AND NOT EXISTS (SELECT 1 FROM received_results r"                                            \
    " WHERE r.batch_id = b.batch_id AND r.received_at >= $1)"                                      \
    " AND NOT EXISTS (SELECT 1 FROM batch_steps bs JOIN steps s ON s.id = bs.step"                 \
    " JOIN tasks t ON t.task_id = s.task WHERE bs.batch = b.id"                                    \
    " AND (t.state NOT IN " FINISHED_TASK " OR t.updated_at >= $1))"

#define OLD_TASK "t.state || '' IN " FINISHED_TASK " AND t.updated_at < $1"

/* Messages r of no batch, all of them old. */
#define OLD_STRAY                                                                                  \
    "r.received_at < $1 AND (r.batch_id IS NULL OR ("                                              \
    "NOT EXISTS (SELECT 1 FROM batches b WHERE b.batch_id = r.batch_id)"                           \
    " AND NOT EXISTS (SELECT 1 FROM received_results l"                                            \
    " WHERE l.batch_id = r.batch_id AND l.received_at >= $1)))"

/* The ids of a JSON array, $1. */
#define IDS_SQLITE "(SELECT value FROM json_each($1))"
#define IDS_POSTGRESQL "(SELECT value::bigint FROM json_array_elements_text($1::json))"
#define BY_IDS(store, TEXT) TSK_SQL(store, TEXT(IDS_SQLITE), TEXT(IDS_POSTGRESQL))

enum { BATCHES, TASKS, STRAYS, DONE };
enum { GROUP_FIRST = 16, GROUP_MOST = 2000, LONG_MS = 100, SHORT_MS = 25 };

static const char find_batches[] =
    "SELECT b.id FROM batches b WHERE b.id > $2 AND " OLD_BATCH
    " AND NOT EXISTS (SELECT 1 FROM batch_steps bs JOIN batch_steps o ON o.step = bs.step"
    " AND o.attempt < bs.attempt WHERE bs.batch = b.id) ORDER BY b.id LIMIT $3";
static const char find_tasks[] =
    "SELECT t.task_id FROM tasks t WHERE t.task_id > $2 AND " OLD_TASK
    " AND NOT EXISTS (SELECT 1 FROM steps s JOIN batch_steps bs ON bs.step = s.id"
    " WHERE s.task = t.task_id) ORDER BY t.task_id LIMIT $3";
static const char find_strays[] =
    "SELECT r.id FROM received_results r WHERE r.id > $2 AND " OLD_STRAY " ORDER BY r.id LIMIT $3";

/* The work of one transaction. */
struct part {
    struct tsk_prune *prune;
    struct tsk_buf ids;
    int64_t last, found;
    int64_t tasks, batches, steps, messages;
};

static int take_id(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct part *part = ctx;
    (void)columns;
    tsk_buf_printf(&part->ids, "%c%" PRId64, part->found++ ? ',' : '[', row[0].number);
    part->last = row[0].number;
    return 0;
}

/* Runs a statement with the ids and adds what it changed to *count (which may be NULL). */
static int with_ids(struct tsk_store *store, struct part *part, const char *sql, int64_t *count,
                    struct tsk_err *err)
{
    struct tsk_value ids = tsk_value_chars(part->ids.data, part->ids.len);
    int64_t changed = tsk_store_run(store, sql, &ids, 1, NULL, NULL, err);
    if (changed > 0 && count)
        *count += changed;
    return changed < 0 ? -1 : 0;
}

#define LEDGER_OF(IDS)                                                                             \
    "DELETE FROM received_results WHERE batch_id IN (SELECT batch_id FROM batches WHERE id "       \
    "IN " IDS ")"
#define STEPS_OF(IDS)                                                                              \
    "DELETE FROM steps WHERE task IS NULL"                                                         \
    " AND id IN (SELECT step FROM batch_steps WHERE batch IN " IDS ")"                             \
    " AND NOT EXISTS (SELECT 1 FROM batch_steps o WHERE o.step = steps.id"                         \
    " AND o.batch NOT IN " IDS ")"
#define BATCHES_OF(IDS) "DELETE FROM batches WHERE id IN " IDS

static int take_batches(struct tsk_store *store, struct part *part, struct tsk_err *err)
{
    return with_ids(store, part, BY_IDS(store, LEDGER_OF), &part->messages, err) < 0 ||
                   with_ids(store, part, BY_IDS(store, STEPS_OF), &part->steps, err) < 0 ||
                   with_ids(store, part, BY_IDS(store, BATCHES_OF), &part->batches, err) < 0
               ? -1
               : 0;
}

#define STEPS_OF_TASKS(IDS) "DELETE FROM steps WHERE task IN " IDS
#define TASKS_OF(IDS) "DELETE FROM tasks WHERE task_id IN " IDS

static int take_tasks(struct tsk_store *store, struct part *part, struct tsk_err *err)
{
    return with_ids(store, part, BY_IDS(store, STEPS_OF_TASKS), &part->steps, err) < 0 ||
                   with_ids(store, part, BY_IDS(store, TASKS_OF), &part->tasks, err) < 0
               ? -1
               : 0;
}

/* What says that there is news of a batch goes with the last message of it. */
#define NEWS_OF(IDS)                                                                               \
    "DELETE FROM unsettled WHERE batch_id IN (SELECT batch_id FROM received_results"               \
    " WHERE id IN " IDS ") AND NOT EXISTS (SELECT 1 FROM received_results r"                       \
    " WHERE r.batch_id = unsettled.batch_id AND r.id NOT IN " IDS ")"
#define STRAYS_OF(IDS) "DELETE FROM received_results WHERE id IN " IDS

static int take_strays(struct tsk_store *store, struct part *part, struct tsk_err *err)
{
    return with_ids(store, part, BY_IDS(store, NEWS_OF), NULL, err) < 0 ||
                   with_ids(store, part, BY_IDS(store, STRAYS_OF), &part->messages, err) < 0
               ? -1
               : 0;
}

static const struct {
    const char *find;
    int (*take)(struct tsk_store *store, struct part *part, struct tsk_err *err);
} stages[] = {
    [BATCHES] = {find_batches, take_batches},
    [TASKS] = {find_tasks, take_tasks},
    [STRAYS] = {find_strays, take_strays},
};

static int do_part(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct part *part = ctx;
    const struct tsk_prune *prune = part->prune;
    struct tsk_value values[] = {tsk_value_int(prune->before), tsk_value_int(prune->after),
                                 tsk_value_int(prune->group)};
    tsk_buf_reset(&part->ids);
    *part = (struct part){.prune = part->prune, .ids = part->ids};
    if (tsk_store_run(store, stages[prune->stage].find, values, 3, take_id, part, err) < 0)
        return -1;
    if (!part->found)
        return 0;
    tsk_buf_char(&part->ids, ']');
    return stages[prune->stage].take(store, part, err);
}

/* Where to go on. Batches are gone through again while any go, since then later attempts may. */
static void go_on(struct tsk_prune *prune, const struct part *part)
{
    prune->found += part->found;
    prune->after = part->last;
    if (part->found == prune->group)
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

int tsk_prune_next(struct tsk_store *store, struct tsk_prune *prune, int64_t patience,
                   struct tsk_err *err)
{
    struct part part = {.prune = prune, .ids = TSK_BUF_INIT};
    if (!prune->group)
        prune->group = GROUP_FIRST;
    int64_t start = tsk_now_ms();
    int rc = tsk_store_write(store, do_part, &part, patience, err);
    tsk_buf_fini(&part.ids);
    if (rc < 0)
        return -1;
    prune->tasks += part.tasks;
    prune->batches += part.batches;
    prune->steps += part.steps;
    prune->messages += part.messages;
    go_on(prune, &part);
    fit_group(prune, tsk_now_ms() - start);
    return prune->stage < DONE;
}

/* A batch stays if it is not old, or if an earlier attempt of one of its steps is in one that
 * stays. */
static const char count_all[] =
    "WITH RECURSIVE stays (id) AS (SELECT id FROM batches WHERE id NOT IN"
    " (SELECT b.id FROM batches b WHERE " OLD_BATCH ")"
    " UNION SELECT bs.batch FROM stays JOIN batch_steps o ON o.batch = stays.id"
    " JOIN batch_steps bs ON bs.step = o.step AND bs.attempt > o.attempt),"
    " goes (id, batch_id) AS (SELECT id, batch_id FROM batches WHERE id NOT IN"
    " (SELECT id FROM stays)),"
    " ended (task) AS (SELECT t.task_id FROM tasks t WHERE " OLD_TASK
    " AND NOT EXISTS (SELECT 1 FROM steps s JOIN batch_steps bs ON bs.step = s.id"
    " WHERE s.task = t.task_id AND bs.batch IN (SELECT id FROM stays)))"
    " SELECT (SELECT count(*) FROM ended), (SELECT count(*) FROM goes),"
    " (SELECT count(*) FROM steps WHERE task IN (SELECT task FROM ended))"
    " + (SELECT count(*) FROM steps s WHERE s.task IS NULL"
    " AND EXISTS (SELECT 1 FROM batch_steps bs WHERE bs.step = s.id)"
    " AND NOT EXISTS (SELECT 1 FROM batch_steps bs WHERE bs.step = s.id"
    " AND bs.batch IN (SELECT id FROM stays))),"
    " (SELECT count(*) FROM received_results WHERE batch_id IN (SELECT batch_id FROM goes))"
    " + (SELECT count(*) FROM received_results r WHERE " OLD_STRAY ")";

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

int tsk_prune_count(struct tsk_store *store, struct tsk_prune *prune, struct tsk_err *err)
{
    struct tsk_value before = tsk_value_int(prune->before);
    return tsk_store_run(store, count_all, &before, 1, take_counts, prune, err) < 0 ? -1 : 0;
}
