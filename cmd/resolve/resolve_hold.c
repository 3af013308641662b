/* Namespaces that are held: a row for each, and a history. */
#include <stdlib.h>

#include "resolve/resolve_private.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int take_hold(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_hold *hold = ctx;
    (void)columns;
    hold->reason = tsk_strdup(row[0].data);
    hold->since = row[1].number;
    hold->by = tsk_strdup(row[2].data);
    return 1;
}

/* Returns 1 if it is held, 0, or -1. */
static int look(struct tsk_store *store, const char *namespace_name, struct tsk_hold *hold,
                struct tsk_err *err)
{
    static const char held[] =
        "SELECT reason, created_at, held_by FROM held_namespaces WHERE namespace = $1";
    static const char known[] =
        "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE namespace = $1 LIMIT 1) t";
    struct tsk_value value = tsk_value_text(namespace_name);
    int64_t some = 0;
    tsk_hold_fini(hold);
    if (tsk_store_get_int(store, known, &value, 1, &some, err) < 0)
        return -1;
    hold->known = some > 0;
    return (int)tsk_store_run(store, held, &value, 1, take_hold, hold, err);
}

static const char add[] =
    "INSERT INTO held_namespaces (namespace, reason, created_at, held_by) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT DO NOTHING";
static const char take[] = "DELETE FROM held_namespaces WHERE namespace = $1";
static const char add_fact[] =
    "INSERT INTO namespace_transitions (namespace, sort_key, from_state, to_state, event, origin,"
    " metadata, created_at) SELECT $1, coalesce((SELECT max(sort_key) FROM namespace_transitions"
    " WHERE namespace = $1), 0) + 1, $2, $3, $4, 'operator', $5, $6";

static int put_fact(struct tsk_store *store, const struct tsk_resolve_order *order,
                    const char *namespace_name, bool held, struct tsk_err *err)
{
    char *about = tsk_resolve_about(order);
    struct tsk_value values[] = {tsk_value_text(namespace_name),
                                 tsk_value_text(held ? "open" : "held"),
                                 tsk_value_text(held ? "held" : "open"),
                                 tsk_value_text(held ? "namespace.held" : "namespace.released"),
                                 tsk_value_text(about),
                                 tsk_value_int(order->now)};
    int64_t rows = tsk_store_run(store, add_fact, values, COUNT(values), NULL, NULL, err);
    free(about);
    return rows < 0 ? -1 : 0;
}

int tsk_resolve_hold(struct tsk_store *store, const struct tsk_resolve_order *order,
                     const char *namespace_name, bool held, struct tsk_hold *hold,
                     struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_text(namespace_name), tsk_value_text(order->reason),
                                 tsk_value_int(order->now), tsk_value_text(order->by)};
    int is = look(store, namespace_name, hold, err);
    if (is < 0)
        return -1;
    hold->done = is != held;
    if (!hold->done || order->dry)
        return 0;
    int64_t changed = held ? tsk_store_run(store, add, values, 4, NULL, NULL, err)
                           : tsk_store_run(store, take, values, 1, NULL, NULL, err);
    if (changed < 0)
        return -1;
    hold->done = changed > 0; /* another may have been faster */
    if (!hold->done)
        return 0;
    return put_fact(store, order, namespace_name, held, err) < 0 ? -1
                                                                 : tsk_store_notify(store, err);
}
