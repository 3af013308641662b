/* Settling in groups. A transaction costs a wait for the disk, which a small batch is not worth;
 * and it locks out other writers, or keeps what it locked, so it must not take long.
 *
 * PostgreSQL lets several settle at the same time. The batch's row is locked, then those of its
 * steps that other batches may have too, in the order of their ids. A group never waits for a lock:
 * what another one has it puts off. Only a transaction that holds no more than one batch waits. So
 * nobody waits for somebody who waits for him. */
#include <stdlib.h>

#include "workflow/settler_private.h"
#include "tasker/buf.h"
#include "tasker/flow.h"

enum { GROUP_BATCHES = 200, GROUP_STEPS = 2000 };

struct tsk_settler *tsk_settler_new(struct tsk_store *store, const struct tsk_reconcile_opts *rules,
                                    const struct tsk_create_limits *limits,
                                    const struct tsk_settle_watch *watch)
{
    struct tsk_settler *s = tsk_alloc(sizeof *s);
    s->store = store;
    s->settle = tsk_settle_new(rules);
    s->watch = *watch;
    s->assumed = -1;
    s->limits = *limits;
    s->fan = tsk_fan_new(s);
    tsk_settle_set_judge(s->settle, tsk_fan_judge, s->fan);
    return s;
}

void tsk_settler_free(struct tsk_settler *s)
{
    if (!s)
        return;
    tsk_settle_free(s->settle);
    tsk_fan_free(s->fan);
    free(s->states);
    free(s->tasks);
    free(s);
}

void tsk_settler_assume(struct tsk_settler *s, int64_t now)
{
    s->assumed = now;
}

/* --- Locks, which only PostgreSQL needs. */

#define ITS_STEPS                                                                                  \
    "FROM batch_steps p JOIN steps s ON s.id "                                                     \
    "= ANY (ARRAY[p.step])"                                                                        \
    " WHERE p.batch = $1"                                                                          \
    " AND s.task IS NOT NULL"
#define LOCK_BATCH                                                                                 \
    "SELECT (SELECT count(*) " ITS_STEPS ") FROM batches b WHERE b.id = $1 FOR NO KEY UPDATE OF b"
#define LOCK_STEPS                                                                                 \
    "SELECT s.id, (SELECT t.optional_steps IS NOT NULL FROM tasks t WHERE t.task_id = "            \
    "s.task) " ITS_STEPS " ORDER BY s.id FOR NO KEY UPDATE OF s"
static const char lock_batch[] = LOCK_BATCH, try_batch[] = LOCK_BATCH " SKIP LOCKED";
static const char lock_steps[] = LOCK_STEPS, try_steps[] = LOCK_STEPS " SKIP LOCKED";

/* Steps that may ask for others: what one may ask for depends on what others have. So of those of
 * one task no two are settled at the same time. */
#define LOCK_TASKS                                                                                 \
    "SELECT t.task_id FROM tasks t WHERE t.optional_steps IS NOT NULL AND t.task_id = ANY"         \
    " (ARRAY(SELECT s.task " ITS_STEPS ")) ORDER BY t.task_id FOR NO KEY UPDATE OF t"
#define COUNT_TASKS                                                                                \
    "SELECT count(*) FROM tasks t WHERE t.optional_steps IS NOT NULL AND t.task_id = ANY"          \
    " (ARRAY(SELECT s.task " ITS_STEPS "))"
static const char lock_all_tasks[] = LOCK_TASKS, try_all_tasks[] = LOCK_TASKS " SKIP LOCKED";
static const char count_tasks[] = COUNT_TASKS;

static int on_locked(void *ctx, const struct tsk_value *row, size_t columns)
{
    bool *optional = ctx;
    if (columns > 1)
        *optional |= tsk_value_true(&row[1]);
    return 0;
}

/* Returns 1, 0 if another process has one of them (never if wait), or -1. */
static int lock_tasks(struct tsk_store *store, int64_t batch, bool wait, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(batch);
    int64_t all = 0;
    int64_t got =
        tsk_store_run(store, wait ? lock_all_tasks : try_all_tasks, &key, 1, on_locked, NULL, err);
    if (got < 0 || wait)
        return got < 0 ? -1 : 1;
    if (tsk_store_get_int(store, count_tasks, &key, 1, &all, err) < 0)
        return -1;
    return got == all;
}

/* Returns 1, 0 if another process has some of it (never if wait), or -1. */
static int lock(struct tsk_store *store, int64_t batch, bool wait, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(batch);
    int64_t shared = 0;
    if (tsk_store_kind(store) == TSK_STORE_SQLITE)
        return 1;
    int there = tsk_store_get_int(store, wait ? lock_batch : try_batch, &key, 1, &shared, err);
    if (there < 0)
        return -1;
    if (!there)
        return wait; /* it is gone, or locked */
    if (!shared)
        return 1;
    bool optional = false;
    int64_t got =
        tsk_store_run(store, wait ? lock_steps : try_steps, &key, 1, on_locked, &optional, err);
    if (got < 0 || (!wait && got != shared))
        return got < 0 ? -1 : 0;
    return optional ? lock_tasks(store, batch, wait, err) : 1;
}

/* --- One batch. */

static void tell_settled(struct tsk_settler *s)
{
    struct tsk_settled_batch batch;
    struct tsk_settled_step step;
    tsk_settled_batch(s->settle, &batch);
    struct tsk_settle_change change = {
        .batch_id = s->batch_id,
        .from = s->state,
        .to = batch.state.state,
        .news = batch.news,
        .ended = batch.ended,
        .ended_before = tsk_state_ended(TSK_SUBJECT_BATCH, s->state),
        .revision = batch.revision,
        .revision_before = s->revision,
    };
    for (size_t i = 0; i < s->count; i++) {
        tsk_settled_step(s->settle, i, &step);
        bool changed = step.owns & TSK_OWNS_STATE && step.state.state != s->states[i];
        bool refused = step.status == TSK_STEP_COMPLETED && step.outcome == TSK_OUTCOME_FAILED;
        change.steps += changed;
        change.refused += changed && refused;
    }
    s->watch.settled(s->watch.ctx, &change);
}

/* Takes the marks of news away. Returns 1, 0 if there is none, or -1. */
static int take_marks(struct tsk_settler *s, int64_t batch, struct tsk_err *err)
{
    static const char sql[] = "DELETE FROM unsettled WHERE batch_id ="
                              " (SELECT batch_id FROM batches WHERE id = $1)";
    struct tsk_value key = tsk_value_int(batch);
    int64_t taken = tsk_store_run(s->store, sql, &key, 1, NULL, NULL, err);
    return taken < 0 ? -1 : taken > 0;
}

/* Settles a batch within a transaction. Returns 1, 0 if it is to be put off, or -1. */
static int settle_one(struct tsk_settler *s, int64_t batch, unsigned how, bool wait,
                      struct tsk_err *err)
{
    bool dry = how & TSK_SETTLE_DRY, force = how & TSK_SETTLE_FORCE;
    int ours = dry ? 1 : lock(s->store, batch, wait, err);
    if (ours <= 0)
        return ours;
    int marked = dry ? 1 : take_marks(s, batch, err);
    if (marked < 0)
        return -1;
    if (!marked && !force)
        return 1;
    int there = tsk_settler_read(s, batch, err);
    if (there > 0 && !dry &&
        (tsk_settler_write(s, !force && !s->revision, err) < 0 || tsk_fan_write(s->fan, err) < 0))
        return -1;
    if (there > 0 && s->watch.settled)
        tell_settled(s);
    return there < 0 ? -1 : 1;
}

/* --- A group. */

struct group {
    struct tsk_settler *settler;
    const struct tsk_settle_item *items;
    size_t count;
    unsigned how;
    bool wait;
    struct tsk_settle_list *put_off;
    size_t put_off_before; /* how many there were */
};

static int settle_group(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct group *group = ctx;
    struct tsk_settler *s = group->settler;
    group->put_off->count = group->put_off_before;
    s->task_count = 0;
    if (s->watch.restart)
        s->watch.restart(s->watch.ctx);
    for (size_t i = 0; i < group->count; i++) {
        int rc = settle_one(s, group->items[i].batch, group->how, group->wait, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            tsk_settle_list_add(group->put_off, group->items[i].batch, group->items[i].steps);
    }
    if (group->how & TSK_SETTLE_DRY)
        return 0;
    return tsk_flow_settle_all(store, s->tasks, s->task_count, err);
}

/* How many of the first of count items go together. */
static size_t group_size(const struct tsk_settle_item *items, size_t count)
{
    int64_t steps = items[0].steps;
    size_t n = 1;
    while (n < count && n < GROUP_BATCHES && (steps += items[n].steps) <= GROUP_STEPS)
        n++;
    return n;
}

static int run(struct tsk_settler *s, struct group *group, int64_t patience, struct tsk_err *err)
{
    int rc = group->how & TSK_SETTLE_DRY
                 ? tsk_store_read(s->store, settle_group, group, patience, err)
                 : tsk_store_write(s->store, settle_group, group, patience, err);
    if (rc == 0 && s->watch.commit)
        s->watch.commit(s->watch.ctx);
    return rc;
}

/* Settles the batches of a group by themselves, after one of them was refused by the store: that
 * one must not keep the others back. */
static int run_each(struct tsk_settler *s, const struct group *all, int64_t patience,
                    struct tsk_err *err)
{
    struct group group = *all;
    int rc = 0;
    group.count = 1;
    for (size_t i = 0; i < all->count && rc == 0; i++) {
        group.items = &all->items[i];
        group.put_off_before = all->put_off->count;
        *s->batch_id = '\0';
        rc = run(s, &group, patience, err);
        if (rc < 0 && err->kind == TSK_DATA && s->watch.refused) {
            s->watch.refused(s->watch.ctx, s->batch_id, err);
            rc = 0;
        }
    }
    return rc;
}

static int run_group(struct tsk_settler *s, struct group *group, int64_t patience,
                     struct tsk_err *err)
{
    int rc = run(s, group, patience, err);
    if (rc == 0 || err->kind != TSK_DATA || !s->watch.refused)
        return rc;
    group->put_off->count = group->put_off_before;
    return run_each(s, group, patience, err);
}

int tsk_settler_run(struct tsk_settler *s, const struct tsk_settle_list *list, unsigned how,
                    int64_t patience, struct tsk_err *err)
{
    struct tsk_settle_list later = TSK_SETTLE_LIST_INIT;
    int rc = 0;
    for (size_t i = 0, n; i < list->count && rc == 0; i += n) {
        n = group_size(list->items + i, list->count - i);
        struct group group = {s, list->items + i, n, how, false, &later, later.count};
        rc = run_group(s, &group, patience, err);
    }
    struct tsk_settle_list none = TSK_SETTLE_LIST_INIT;
    for (size_t i = 0; i < later.count && rc == 0; i++) {
        struct group group = {s, &later.items[i], 1, how, true, &none, 0};
        rc = run_group(s, &group, patience, err);
    }
    tsk_settle_list_fini(&later);
    tsk_settle_list_fini(&none);
    return rc;
}

int tsk_settler_within(struct tsk_settler *s, const struct tsk_settle_list *list, unsigned how,
                       struct tsk_err *err)
{
    struct tsk_settle_list none = TSK_SETTLE_LIST_INIT;
    struct group group = {s, list->items, list->count, how, true, &none, 0};
    return list->count ? settle_group(s->store, &group, err) : 0;
}
