/* By batch, the little that batches.c needs of a result: its type, its step, whether it is final.
 * Those that tell nothing of an end are not kept. */
#include "collect/early.h"

#include <stdlib.h>

#include "collect/batches.h"
#include "tasker/buf.h"
#include "tasker/map.h"

struct group {
    struct result *items; /* batch_id is not set: the group has it as its key */
    size_t count, cap;
};

struct early {
    struct tsk_map *groups; /* by batch_id, the oldest first */
    size_t most;
};

static void group_free(void *value)
{
    struct group *group = value;
    free(group->items);
    free(group);
}

struct early *early_new(size_t most)
{
    struct early *early = tsk_alloc(sizeof *early);
    early->groups = tsk_map_new(group_free);
    early->most = most;
    return early;
}

void early_free(struct early *early)
{
    if (!early)
        return;
    tsk_map_free(early->groups);
    free(early);
}

void early_note(struct early *early, const struct result *result)
{
    if (result->type == TSK_TYPE_PARTIAL && !result->final)
        return;
    struct group *group = tsk_map_get(early->groups, result->batch_id);
    if (!group) {
        if (tsk_map_count(early->groups) >= early->most)
            tsk_map_remove(early->groups, tsk_map_key(tsk_map_first(early->groups)));
        group = tsk_alloc(sizeof *group);
        tsk_map_put(early->groups, result->batch_id, group);
    }
    group->items = tsk_grow(group->items, &group->cap, group->count + 1, sizeof *group->items);
    group->items[group->count] = *result;
    group->items[group->count++].batch_id = NULL;
}

void early_take(struct early *early, const char *batch_id,
                void (*fn)(void *ctx, const struct result *result), void *ctx)
{
    struct group *group = tsk_map_take(early->groups, batch_id);
    if (!group)
        return;
    for (size_t i = 0; i < group->count; i++) {
        struct result result = group->items[i];
        result.batch_id = batch_id;
        fn(ctx, &result);
    }
    group_free(group);
}
