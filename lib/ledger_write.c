/* A group of messages as one transaction: the messages, each unless it is there, and a mark for
 * each batch that has news by it. Where the store cannot tell at no cost whether a message was
 * there (PostgreSQL), it counts as news, and all go at once. */
#include <stdlib.h>
#include <string.h>

#include "ledger_private.h"
#include "tasker/map.h"
#include "tasker/rows.h"

#define ADD                                                                                        \
    "INSERT INTO received_results (received_at, collector_id, topic, message_type, batch_id, "     \
    "step_id, source, stream_offset, raw_message, reason) "

const struct tsk_rows_sql tsk_ledger_rows = {
    ADD "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    ADD "SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], "
        "$6::bigint[], $7::text[], $8::bigint[], $9::bytea[], $10::text[]) ON CONFLICT DO NOTHING",
    "ittttitibt"};
static const char add_mark[] = "INSERT INTO unsettled (batch_id) VALUES ($1)";

enum { VALUES = 10 };

struct group {
    const char *collector_id;
    struct tsk_ledger_node **nodes;
    size_t count;
    struct tsk_map *news;  /* batches marked */
    struct tsk_rows *rows; /* messages that go at once; or NULL */
};

static void fill_values(struct tsk_value values[VALUES], const struct tsk_ledger_entry *entry,
                        const char *collector_id, int64_t received_at)
{
    values[0] = tsk_value_int(received_at);
    values[1] = tsk_value_text(collector_id);
    values[2] = tsk_value_text(entry->topic);
    values[3] = tsk_value_text(entry->message_type);
    values[4] = tsk_value_text(entry->batch_id);
    values[5] = tsk_value_told(entry->step_id, 0);
    values[6] = tsk_value_text(entry->source);
    values[7] = tsk_value_int(entry->offset);
    values[8] = tsk_value_bytes(entry->raw, entry->len);
    values[9] = tsk_value_text(entry->reason);
}

int tsk_ledger_insert(struct tsk_store *store, const struct tsk_ledger_entry *entry,
                      const char *collector_id, int64_t received_at, struct tsk_err *err)
{
    struct tsk_value values[VALUES];
    fill_values(values, entry, collector_id, received_at);
    if (tsk_store_kind(store) == TSK_STORE_SQLITE)
        return (int)tsk_store_run(store, tsk_ledger_rows.one, values, VALUES, NULL, NULL, err);
    return tsk_store_send(store, tsk_ledger_rows.one, values, VALUES, err) < 0 ? -1 : 1;
}

int tsk_ledger_add(struct tsk_rows *rows, const struct tsk_ledger_entry *entry,
                   const char *collector_id, int64_t received_at, struct tsk_err *err)
{
    struct tsk_value values[VALUES];
    fill_values(values, entry, collector_id, received_at);
    return tsk_rows_add(rows, values, err);
}

/* As tsk_ledger_insert, in a group. */
static int add_node(struct tsk_store *store, const struct group *group,
                    const struct tsk_ledger_node *node, struct tsk_err *err)
{
    if (!group->rows)
        return tsk_ledger_insert(store, &node->entry, group->collector_id, node->received_at, err);
    int rc = tsk_ledger_add(group->rows, &node->entry, group->collector_id, node->received_at, err);
    return rc < 0 ? -1 : 1;
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
