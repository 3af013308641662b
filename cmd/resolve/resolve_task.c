/* A task by hand: what an operator has ended stays so (flow_store.c), and with it end the steps
 * that have not. */
#include <inttypes.h>
#include <stdlib.h>

#include "resolve/resolve_private.h"
#include "tasker/flow.h"
#include "tasker/state.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct seen {
    struct tsk_resolved *one;
    int64_t updated_at;
};

static int take_id(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)columns;
    tsk_resolve_ids_add(ctx, row[0].number);
    return 0;
}

/* The steps that end with the task, or that have ended so and nobody has said it yet. */
static int find_open(struct tsk_resolving *r, int64_t task, struct tsk_resolve_ids *ids)
{
    static const char sql[] = "SELECT s.id FROM steps s WHERE s.task = $1 AND (" TSK_OPEN
                              " OR (" TSK_UNCONFIRMED ")) ORDER BY s.id";
    struct tsk_value key = tsk_value_int(task);
    ids->count = 0;
    return tsk_store_run(r->store, sql, &key, 1, take_id, ids, r->err) < 0 ? -1 : 0;
}

static int take_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct seen *seen = ctx;
    (void)columns;
    seen->one->name = tsk_strdup(row[0].data);
    seen->one->from = tsk_state_find(TSK_SUBJECT_TASK, row[1].data);
    seen->updated_at = row[2].number;
    return 1;
}

/* Returns 1, 0 if it is not there, or -1. */
static int look(struct tsk_resolving *r, struct seen *seen)
{
    static const char sql[] = "SELECT name, state, updated_at FROM tasks WHERE task_id = $1";
    struct tsk_value key = tsk_value_int(seen->one->id);
    return (int)tsk_store_run(r->store, sql, &key, 1, take_task, seen, r->err);
}

static int refuse(struct tsk_resolved *one, bool runs)
{
    struct tsk_buf why = TSK_BUF_INIT;
    bool over = one->from == TSK_STATE_RESOLVED && !runs;
    if (!one->name)
        tsk_buf_printf(&why, "task %" PRId64 " is not in the store", one->id);
    else
        tsk_buf_printf(&why, "task %" PRId64 " (%s) is %s: %s", one->id, one->name,
                       tsk_state_name(one->from),
                       over ? "nothing more can be done to it" : "it can be resolved");
    one->why = why.data;
    return 0;
}

static const char last_key[] =
    "SELECT max(sort_key) FROM task_transitions WHERE task = $1 AND sort_key BETWEEN $2 AND $3";
static const char add_fact[] =
    "INSERT INTO task_transitions (task, sort_key, from_state, to_state, event, origin, metadata,"
    " created_at) VALUES ($1, $2, $3, $4, $5, 'operator', $6, $7)";
static const char set_state[] = "UPDATE tasks SET state = $2, updated_at = $3 WHERE task_id = $1";
static const char delete_end[] =
    "DELETE FROM task_transitions WHERE task = $1 AND origin = 'ledger'";

static int put_fact(struct tsk_resolving *r, const struct seen *seen)
{
    const struct tsk_resolved *one = seen->one;
    int64_t key = TSK_PLACE_HAND - 1, now = r->order->now;
    int64_t at = now > seen->updated_at ? now : seen->updated_at + 1;
    struct tsk_value range[] = {tsk_value_int(one->id), tsk_value_int(TSK_PLACE_HAND),
                                tsk_value_int(TSK_PLACE_HAND_LAST)};
    if (tsk_store_get_int(r->store, last_key, range, COUNT(range), &key, r->err) < 0)
        return -1;
    struct tsk_value fact[] = {
        tsk_value_int(one->id),
        tsk_value_int(key + 1),
        tsk_value_text(tsk_state_name(one->from)),
        tsk_value_text(tsk_state_name(one->to)),
        tsk_value_text(tsk_state_event(TSK_SUBJECT_TASK, one->from, one->to)),
        tsk_value_text(r->about),
        tsk_value_int(at)};
    struct tsk_value state[] = {fact[0], fact[3], fact[6]};
    return tsk_store_send(r->store, delete_end, state, 1, r->err) < 0 ||
                   tsk_store_send(r->store, add_fact, fact, COUNT(fact), r->err) < 0 ||
                   tsk_store_send(r->store, set_state, state, COUNT(state), r->err) < 0
               ? -1
               : 0;
}

/* The task, then its steps, which are cancelled whatever the task is. */
static int end_task(struct tsk_resolving *r, int64_t id, struct tsk_resolve_ids *open)
{
    struct seen seen = {.one = tsk_resolved_add(r->list)};
    seen.one->is_task = true;
    seen.one->id = seen.one->task_id = id;
    int there = look(r, &seen);
    if (there < 0 || find_open(r, id, open) < 0)
        return -1;
    bool runs = open->count > 0;
    if (there)
        seen.one->to = tsk_resolve_task_to(r->order->action, seen.one->from, runs);
    if (seen.one->to == TSK_STATE_NONE)
        return refuse(seen.one, runs);
    bool again = seen.one->to == seen.one->from;
    if (!again && !r->order->dry && put_fact(r, &seen) < 0)
        return -1;
    seen.one->steps = open->count;
    for (size_t i = 0; i < open->count; i++) {
        if (tsk_resolving_step(r, open->items[i]) < 0)
            return -1;
    }
    tsk_resolve_ids_add(&r->tasks, id);
    return tsk_resolving_finish(r);
}

int tsk_resolve_task(struct tsk_store *store, struct tsk_settler *settler,
                     const struct tsk_resolve_order *order, int64_t id,
                     struct tsk_resolved_list *list, struct tsk_err *err)
{
    struct tsk_resolve_ids open = {NULL, 0, 0};
    struct tsk_resolving r = {.store = store,
                              .settler = settler,
                              .order = order,
                              .action = TSK_RESOLVE_CANCEL,
                              .about = tsk_resolve_about(order),
                              .list = list,
                              .err = err};
    int rc = find_open(&r, id, &open);
    if (rc == 0)
        rc = tsk_resolving_begin(&r, open.items, open.count, id);
    if (rc == 0)
        rc = end_task(&r, id, &open);
    tsk_resolving_fini(&r);
    free(open.items);
    return rc;
}
