/* Which batches are to be settled. */
#include <stdlib.h>

#include "workflow/settler_private.h"
#include "tasker/buf.h"

void tsk_settle_list_fini(struct tsk_settle_list *list)
{
    free(list->items);
    *list = (struct tsk_settle_list)TSK_SETTLE_LIST_INIT;
}

void tsk_settle_list_add(struct tsk_settle_list *list, int64_t batch, int64_t steps)
{
    list->items = tsk_grow(list->items, &list->cap, list->count + 1, sizeof *list->items);
    list->items[list->count++] = (struct tsk_settle_item){batch, steps};
}

int tsk_settle_list_take(void *list, const struct tsk_value *row, size_t columns)
{
    (void)columns;
    tsk_settle_list_add(list, row[0].number, row[1].number);
    return 0;
}

static int find(struct tsk_store *store, const char *sql, const struct tsk_value *value,
                struct tsk_settle_list *list, struct tsk_err *err)
{
    return tsk_store_run(store, sql, value, value ? 1 : 0, tsk_settle_list_take, list, err) < 0 ? -1
                                                                                                : 0;
}

#define OF(ids, JOIN)                                                                              \
    "SELECT b.id, b.total_steps FROM (SELECT DISTINCT batch_id FROM " ids                          \
    ") u" JOIN("batches", "b", "b.batch_id = u.batch_id") " ORDER BY b.id"
#define SINCE "received_results WHERE received_at >= $1"
static const char news_sqlite[] = OF("unsettled", TSK_JOIN_SQLITE);
static const char news_postgresql[] = OF("unsettled", TSK_JOIN_POSTGRESQL);
static const char since_sqlite[] = OF(SINCE, TSK_JOIN_SQLITE);
static const char since_postgresql[] = OF(SINCE, TSK_JOIN_POSTGRESQL);

int tsk_settle_find_news(struct tsk_store *store, struct tsk_settle_list *list, struct tsk_err *err)
{
    return find(store, TSK_SQL(store, news_sqlite, news_postgresql), NULL, list, err);
}

int tsk_settle_find_since(struct tsk_store *store, int64_t since, struct tsk_settle_list *list,
                          struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(since);
    return find(store, TSK_SQL(store, since_sqlite, since_postgresql), &value, list, err);
}

int tsk_settle_find_overdue(struct tsk_store *store, int64_t now, struct tsk_settle_list *list,
                            struct tsk_err *err)
{
    static const char sql[] =
        "SELECT b.id, b.total_steps FROM batches b WHERE b.state IN ('published', 'executing')"
        " AND coalesce(b.published_at, (SELECT s.first_at FROM settled_batches s"
        " WHERE s.batch = b.id)) + b.timeout_ms <= $1"
        " AND (SELECT count(*) FROM unsettled u WHERE u.batch_id = b.batch_id) = 0 ORDER BY b.id";
    struct tsk_value value = tsk_value_int(now);
    return find(store, sql, &value, list, err);
}

int tsk_settle_find_all(struct tsk_store *store, struct tsk_settle_list *list, struct tsk_err *err)
{
    static const char sql[] = "SELECT id, total_steps FROM batches ORDER BY id";
    return find(store, sql, NULL, list, err);
}

int tsk_settle_find_id(struct tsk_store *store, const char *batch_id, struct tsk_settle_list *list,
                       struct tsk_err *err)
{
    static const char sql[] = "SELECT id, total_steps FROM batches WHERE batch_id = $1";
    struct tsk_value value = tsk_value_text(batch_id);
    size_t before = list->count;
    if (find(store, sql, &value, list, err) < 0)
        return -1;
    return list->count > before;
}
