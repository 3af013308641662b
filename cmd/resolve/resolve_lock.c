/* Locks, which only PostgreSQL needs, before anything is read to be changed: so that nobody waits
 * for somebody who waits for him. What is waited for comes in the order of those who settle
 * (settler.c): the batches, then the tasks, of these first those with optional steps, each in the
 * order of their ids. Who settles or claims has steps before he waits for their task. So steps come
 * last here and are not waited for: if another has one, all is let go, and tried again. */
#include <inttypes.h>
#include <stdlib.h>

#include "resolve/resolve_private.h"
#include "tasker/buf.h"

/* $1: the steps that are meant, as an array; $2: a task, or 0. With a batch all its steps are
 * settled. */
#define IDS "CAST(CAST($1 AS TEXT) AS BIGINT[])"
#define BATCHES "SELECT p.batch FROM batch_steps p WHERE p.step = ANY(" IDS ")"
#define STEPS                                                                                      \
    "SELECT unnest(" IDS ") UNION SELECT q.step FROM batch_steps q WHERE q.batch IN (" BATCHES ")"

static const char lock_batches[] =
    "SELECT b.id FROM batches b WHERE b.id IN (" BATCHES ") ORDER BY b.id FOR NO KEY UPDATE OF b";
static const char count_batches[] = "SELECT count(*) FROM batches b WHERE b.id IN (" BATCHES ")";
static const char lock_tasks[] =
    "SELECT t.task_id FROM tasks t WHERE t.task_id IN (SELECT CAST($2 AS BIGINT) UNION SELECT"
    " s.task FROM steps s WHERE s.id IN (" STEPS
    ")) ORDER BY t.optional_steps IS NULL, t.task_id FOR UPDATE OF t";
static const char try_steps[] = "SELECT s.id FROM steps s WHERE s.id IN (" STEPS
                                ") ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED";
static const char count_steps[] = "SELECT count(*) FROM steps s WHERE s.id IN (" STEPS ")";

static int pass(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)ctx;
    (void)row;
    (void)columns;
    return 0;
}

/* Whether the rows that were got are all that count tells. Returns 1, 0, or -1. */
static int all_of(struct tsk_resolving *r, int64_t got, const char *count,
                  const struct tsk_value *ids)
{
    int64_t there = 0;
    if (got < 0 || tsk_store_get_int(r->store, count, ids, 1, &there, r->err) < 0)
        return -1;
    return got == there;
}

static int lock(struct tsk_resolving *r, const struct tsk_value *values)
{
    int64_t batches = tsk_store_run(r->store, lock_batches, values, 1, pass, NULL, r->err);
    if (batches < 0 || tsk_store_run(r->store, lock_tasks, values, 2, pass, NULL, r->err) < 0)
        return -1;
    int64_t steps = tsk_store_run(r->store, try_steps, values, 1, pass, NULL, r->err);
    int all = all_of(r, steps, count_steps, values);
    if (all > 0)
        all = all_of(r, batches, count_batches, values); /* or one was claimed in between */
    if (all < 0)
        return -1;
    return all ? 0
               : tsk_err_set(r->err, TSK_TEMPFAIL,
                             "%s: the steps are being claimed or settled by others",
                             tsk_store_name(r->store));
}

int tsk_resolving_lock(struct tsk_resolving *r, const int64_t *ids, size_t count, int64_t task)
{
    struct tsk_buf array = TSK_BUF_INIT;
    if (r->order->dry || tsk_store_kind(r->store) == TSK_STORE_SQLITE)
        return 0;
    tsk_buf_char(&array, '{');
    for (size_t i = 0; i < count; i++)
        tsk_buf_printf(&array, "%s%" PRId64, i ? "," : "", ids[i]);
    tsk_buf_char(&array, '}');
    struct tsk_value values[] = {tsk_value_chars(array.data, array.len), tsk_value_int(task)};
    int rc = lock(r, values);
    tsk_buf_fini(&array);
    return rc;
}
