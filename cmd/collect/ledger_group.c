/* A group of messages as one transaction: the messages, each unless it is there, and a mark for
 * each batch that has news by it. Where the store cannot tell at no cost whether a message was
 * there (PostgreSQL), it counts as news, and all go at once. */
#include <stdlib.h>
#include <string.h>

#include "collect/ledger_private.h"
#include "tasker/map.h"

struct group {
    const char *collector_id;
    struct tsk_ledger_node **nodes;
    size_t count;
    struct tsk_map *news;  /* batches marked */
    struct tsk_rows *rows; /* messages that go at once; or NULL */
};

/* As tsk_ledger_insert, in a group. */
static int add_node(struct tsk_store *store, const struct group *group,
                    const struct tsk_ledger_node *node, struct tsk_err *err)
{
    if (!group->rows)
        return tsk_ledger_insert(store, &node->entry, group->collector_id, node->received_at, err);
    int rc = tsk_ledger_add(group->rows, &node->entry, group->collector_id, node->received_at, err);
    return rc < 0 ? -1 : 1;
}

/* Two that write the same messages in different orders would wait for each other. */
static int compare_places(const void *a, const void *b)
{
    const struct tsk_ledger_node *x = *(struct tsk_ledger_node *const *)a;
    const struct tsk_ledger_node *y = *(struct tsk_ledger_node *const *)b;
    int order = strcmp(x->entry.source, y->entry.source);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static int mark_batch(struct tsk_store *store, struct group *group, const char *batch_id,
                      struct tsk_err *err)
{
    static char mark;
    if (tsk_map_get(group->news, batch_id))
        return 0;
    tsk_map_put(group->news, batch_id, &mark);
    return tsk_ledger_mark(store, batch_id, err);
}

static int write_group(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct group *group = ctx;
    const char *last = "";
    tsk_map_free(group->news); /* of a try before this one */
    group->news = tsk_map_new(NULL);
    if (group->rows)
        tsk_rows_init(group->rows, store, &tsk_ledger_rows);
    int rc = 0;
    for (size_t i = 0; i < group->count && rc >= 0; i++) {
        const struct tsk_ledger_node *node = group->nodes[i];
        rc = add_node(store, group, node, err);
        if (rc <= 0 || !node->entry.batch_id || !strcmp(last, node->entry.batch_id))
            continue;
        last = node->entry.batch_id;
        rc = mark_batch(store, group, last, err);
    }
    if (!group->rows)
        return rc < 0 ? -1 : 0;
    if (rc >= 0)
        rc = tsk_rows_end(group->rows, err);
    tsk_rows_fini(group->rows);
    return rc < 0 ? -1 : 0;
}

int tsk_ledger_write(struct tsk_store *store, const char *collector_id,
                     struct tsk_ledger_node **nodes, size_t count, struct tsk_err *err)
{
    struct tsk_rows rows;
    bool at_once = tsk_store_kind(store) == TSK_STORE_POSTGRESQL && count > 1;
    struct group group = {collector_id, nodes, count, NULL, at_once ? &rows : NULL};
    if (tsk_store_kind(store) == TSK_STORE_POSTGRESQL)
        qsort(nodes, count, sizeof *nodes, compare_places);
    int rc = tsk_store_write(store, write_group, &group, 0, err);
    tsk_map_free(group.news);
    return rc;
}
