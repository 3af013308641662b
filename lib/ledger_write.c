/* A group of messages as one transaction: the messages, each unless it is there, and a mark for
 * each batch that has news by it. */
#include <stdlib.h>
#include <string.h>

#include "ledger_private.h"
#include "tasker/map.h"

static const char add_message[] =
    "INSERT INTO received_results (received_at, collector_id, topic, message_type, batch_id, "
    "step_id, source, stream_offset, raw_message, reason) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
static const char add_mark[] = "INSERT INTO unsettled (batch_id) VALUES ($1)";

enum { VALUES = 10 };

struct group {
    const char *collector_id;
    struct tsk_ledger_node **nodes;
    size_t count;
    struct tsk_map *news; /* batches marked */
};

int tsk_ledger_insert(struct tsk_store *store, const struct tsk_ledger_entry *entry,
                      const char *collector_id, int64_t received_at, struct tsk_err *err)
{
    struct tsk_value values[VALUES] = {tsk_value_int(received_at),
                                       tsk_value_text(collector_id),
                                       tsk_value_text(entry->topic),
                                       tsk_value_text(entry->message_type),
                                       tsk_value_text(entry->batch_id),
                                       tsk_value_told(entry->step_id, 0),
                                       tsk_value_text(entry->source),
                                       tsk_value_int(entry->offset),
                                       tsk_value_bytes(entry->raw, entry->len),
                                       tsk_value_text(entry->reason)};
    if (tsk_store_kind(store) == TSK_STORE_SQLITE)
        return (int)tsk_store_run(store, add_message, values, VALUES, NULL, NULL, err);
    return tsk_store_send(store, add_message, values, VALUES, err) < 0 ? -1 : 1;
}

int tsk_ledger_mark(struct tsk_store *store, const char *batch_id, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_text(batch_id);
    return tsk_store_send(store, add_mark, &value, 1, err);
}

/* Two that write the same messages in different orders would wait for each other. */
static int compare_places(const void *a, const void *b)
{
    const struct tsk_ledger_node *x = *(struct tsk_ledger_node *const *)a;
    const struct tsk_ledger_node *y = *(struct tsk_ledger_node *const *)b;
    int order = strcmp(x->entry.source, y->entry.source);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static int write_group(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static char mark;
    struct group *group = ctx;
    const char *last = "";
    tsk_map_free(group->news); /* of a try before this one */
    group->news = tsk_map_new(NULL);
    for (size_t i = 0; i < group->count; i++) {
        const struct tsk_ledger_node *node = group->nodes[i];
        int added =
            tsk_ledger_insert(store, &node->entry, group->collector_id, node->received_at, err);
        if (added < 0)
            return -1;
        if (!added || !node->entry.batch_id || !strcmp(last, node->entry.batch_id))
            continue;
        last = node->entry.batch_id;
        if (tsk_map_get(group->news, last))
            continue;
        tsk_map_put(group->news, last, &mark);
        if (tsk_ledger_mark(store, last, err) < 0)
            return -1;
    }
    return 0;
}

int tsk_ledger_write(struct tsk_store *store, const char *collector_id,
                     struct tsk_ledger_node **nodes, size_t count, struct tsk_err *err)
{
    struct group group = {collector_id, nodes, count, NULL};
    if (tsk_store_kind(store) == TSK_STORE_POSTGRESQL)
        qsort(nodes, count, sizeof *nodes, compare_places);
    int rc = tsk_store_write(store, write_group, &group, 0, err);
    tsk_map_free(group.news);
    return rc;
}
