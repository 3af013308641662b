/* What objects say of steps, held against the store. A step that is of no task has the step_id that
 * whoever made it chose, which may be that of another step of a task: only an id without an object
 * is taken for what it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/diag.h"
#include "resolve/resolve.h"
#include "resolve/session.h"
#include "tasker/map.h"

struct check {
    const struct targets *targets;
    int64_t *tasks; /* of each target: what the store says; 0: it has no such step of a task */
};

static int ask(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sql[] = "SELECT task FROM steps WHERE id = $1 AND task IS NOT NULL";
    struct check *check = ctx;
    for (size_t i = 0; i < check->targets->item_count; i++) {
        struct tsk_value id = tsk_value_int(check->targets->items[i].id);
        if (check->targets->items[i].task &&
            tsk_store_get_int(store, sql, &id, 1, &check->tasks[i], err) < 0)
            return -1;
    }
    return 0;
}

/* Tells of a step that is not the one that is meant. Returns whether it is. */
static bool is_another(struct targets *targets, const struct target *target, int64_t task)
{
    char text[160];
    if (!target->task || !task || target->task == task)
        return false; /* that there is none is told when it is looked for */
    snprintf(text, sizeof text,
             "step %" PRId64 " in the store is of task %" PRId64 ", not of %" PRId64
             ": nothing is done to it",
             target->id, task, target->task);
    if (target->line)
        diag_input("-", target->line, text);
    else
        diag_error("%s", text);
    targets->status = tsk_exit_worse(targets->status, TSK_DATA);
    return true;
}

static void take(struct targets *targets, const int64_t *tasks, struct tsk_resolve_ids *ids)
{
    static char there;
    struct tsk_map *seen = tsk_map_new(NULL);
    for (size_t i = 0; i < targets->item_count; i++) {
        char key[32];
        snprintf(key, sizeof key, "%" PRId64, targets->items[i].id);
        if (is_another(targets, &targets->items[i], tasks[i]) || tsk_map_get(seen, key))
            continue;
        tsk_map_put(seen, key, &there);
        ids->items = tsk_grow(ids->items, &ids->cap, ids->count + 1, sizeof *ids->items);
        ids->items[ids->count++] = targets->items[i].id;
    }
    tsk_map_free(seen);
}

int said_check(struct targets *targets, struct session *session, struct tsk_resolve_ids *ids,
               struct tsk_err *err)
{
    struct check check = {targets, tsk_alloc(targets->item_count * sizeof *check.tasks)};
    int rc = tsk_store_read(session->store, ask, &check, session->patience, err);
    if (rc == 0)
        take(targets, check.tasks, ids);
    free(check.tasks);
    return rc;
}
