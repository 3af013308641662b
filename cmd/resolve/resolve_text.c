/* Texts and lists of the operator's hand. */
#include <stdlib.h>

#include "resolve/resolve_private.h"
#include "tasker/json.h"

char *tsk_resolve_about(const struct tsk_resolve_order *order)
{
    struct json_object *about = json_object_new_object();
    tsk_json_put_str(about, "reason", order->reason);
    tsk_json_put_str(about, "by", order->by);
    size_t len;
    char *text = tsk_strdup(tsk_json_text(about, &len));
    json_object_put(about);
    return text;
}

void tsk_resolve_ids_add(struct tsk_resolve_ids *ids, int64_t id)
{
    ids->items = tsk_grow(ids->items, &ids->cap, ids->count + 1, sizeof *ids->items);
    ids->items[ids->count++] = id;
}

struct tsk_resolved *tsk_resolved_add(struct tsk_resolved_list *list)
{
    list->items = tsk_grow(list->items, &list->cap, list->count + 1, sizeof *list->items);
    struct tsk_resolved *one = &list->items[list->count++];
    *one = (struct tsk_resolved){.is_task = false};
    return one;
}

static void forget(struct tsk_resolved *one)
{
    free(one->name);
    free(one->why);
    free(one->batch_id);
    free(one->worker_id);
    free(one->endpoint);
}

void tsk_resolved_fini(struct tsk_resolved_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        forget(&list->items[i]);
    free(list->items);
    *list = (struct tsk_resolved_list)TSK_RESOLVED_LIST_INIT;
}

void tsk_hold_fini(struct tsk_hold *hold)
{
    free(hold->reason);
    free(hold->by);
    *hold = (struct tsk_hold){.done = false};
}
