/* Messages while they wait for the store. */
#include <stdlib.h>
#include <string.h>

#include "collect/ledger_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

/* Copies a text with its NUL to *to and moves that on. NULL stays NULL. */
static const char *copy_text(char **to, const char *text)
{
    char *copy = *to;
    if (!text)
        return NULL;
    *to = stpcpy(copy, text) + 1;
    return copy;
}

/* A reason may quote what came: only what any database takes for text is kept. */
static const char *copy_plain(char **to, const char *text)
{
    char *copy = *to;
    if (!copy_text(to, text))
        return NULL;
    for (char *c = copy; *c; c++) {
        if (*c < ' ' || *c > '~')
            *c = '?';
    }
    return copy;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static void forget_found(struct tsk_ledger_node *node)
{
    for (size_t i = 0; i < node->entry.found_count; i++)
        free((char *)node->found[i].raw);
    node->entry.found_count = 0;
}

void tsk_ledger_node_free(struct tsk_ledger_node *node)
{
    if (!node)
        return;
    forget_found(node);
    free(node->found);
    free(node);
}

static int add_found(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_ledger_node *node = ctx;
    size_t *count = &node->entry.found_count;
    if (columns < 2)
        return 0;
    node->found = tsk_grow(node->found, &node->found_cap, *count + 1, sizeof *node->found);
    char *raw = tsk_alloc(row[1].len + row[0].len + 2);
    char *topic = raw + row[1].len + 1;
    memcpy(raw, row[1].data, row[1].len);
    memcpy(topic, row[0].data, row[0].len);
    node->found[(*count)++] = (struct tsk_ledger_found){topic, raw, row[1].len};
    return 0;
}

static int find(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT topic, raw_message FROM received_results WHERE batch_id = $1 AND reason IS NULL "
        "AND (source IS NULL OR source <> $2) ORDER BY id";
    struct tsk_ledger_node *node = ctx;
    struct tsk_value values[] = {tsk_value_text(node->entry.batch_id),
                                 tsk_value_text(node->entry.source)};
    forget_found(node);
    return tsk_store_run(store, sql, values, 2, add_found, node, err) < 0 ? -1 : 0;
}

#define OPEN(object, array)                                                                        \
    "SELECT 'receipt', CAST(" object "('batch_id', b.batch_id, 'worker_id', b.accepted_by,"        \
    " 'source', b.source, 'result_endpoint', b.result_endpoint, 'step_ids', (SELECT " array        \
    "(p.step_id) FROM batch_steps p WHERE p.batch = b.id), 'reached', (SELECT count(*) FROM"       \
    " (SELECT 1 FROM received_results r WHERE r.source = b.source LIMIT 1) n)) AS TEXT)"           \
    " FROM batches b WHERE b.state IN ('published', 'executing') AND b.source IS NOT NULL"         \
    " ORDER BY b.id"

static int find_open(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sqlite[] = OPEN("json_object", "json_group_array");
    static const char postgresql[] = OPEN("json_build_object", "json_agg");
    struct tsk_ledger_node *node = ctx;
    forget_found(node);
    return tsk_store_run(store, TSK_SQL(store, sqlite, postgresql), NULL, 0, add_found, node, err) <
                   0
               ? -1
               : 0;
}

static int find_known(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sql[] = "SELECT 'batch', batch_id FROM batches WHERE batch_id = $1";
    struct tsk_ledger_node *node = ctx;
    struct tsk_value id = tsk_value_text(node->entry.batch_id);
    forget_found(node);
    return tsk_store_run(store, sql, &id, 1, add_found, node, err) < 0 ? -1 : 0;
}

int tsk_ledger_find(struct tsk_store *store, struct tsk_ledger_node *node, struct tsk_err *err)
{
    tsk_store_fn *fn = !node->entry.batch_id ? find_open : node->entry.offset ? find_known : find;
    int rc = tsk_store_read(store, fn, node, 0, err);
    node->entry.found = node->found;
    return rc;
}

struct tsk_ledger_node *tsk_ledger_node_new(const struct tsk_ledger_entry *entry,
                                            const char *source)
{
    size_t size = sizeof(struct tsk_ledger_node) + text_size(entry->topic) + entry->len + 1 +
                  text_size(entry->message_type) + text_size(entry->batch_id) + text_size(source) +
                  text_size(entry->reason);
    struct tsk_ledger_node *node = malloc(size);
    if (!node)
        abort(); /* out of memory: see buf.h */
    char *to = (char *)(node + 1);
    *node = (struct tsk_ledger_node){.size = size};
    node->received_at = tsk_wall_ms();
    node->entry = *entry;
    node->entry.topic = copy_plain(&to, entry->topic);
    node->entry.message_type = copy_text(&to, entry->message_type);
    node->entry.batch_id = copy_text(&to, entry->batch_id);
    node->entry.source = copy_text(&to, source);
    node->entry.reason = copy_plain(&to, entry->reason);
    node->entry.raw = memcpy(to, entry->raw, entry->len);
    to[entry->len] = '\0';
    return node;
}
