/* Finding the steps that are meant: by a filter; and who has a batch that was on its way. */
#include <stdlib.h>

#include "resolve/resolve_private.h"

/* The first condition is that of the action; the clock is in all, so that all have the same
 * parameters. */
#define FIND(condition, glob)                                                                      \
    "SELECT s.id FROM steps s JOIN tasks t ON t.task_id = s.task WHERE " condition                 \
    " AND (CAST($1 AS BIGINT) = 0 OR s.task = $1) AND ($2 = '' OR t.namespace = $2)"               \
    " AND ($3 = '' OR s.error_category = $3) AND ($4 = '' OR s.handler_class " glob                \
    ") AND CAST($5 AS BIGINT) > 0 ORDER BY CASE s.state WHEN 'cancelled' THEN 1 ELSE 0 END,"       \
    " s.id LIMIT $6"
#define LIVE "t.state NOT IN ('cancelled', 'resolved_manually')"
#define FAILED "s.state = 'error'"
#define WAITS "s.state = 'pending' AND s.next_retry_at > $5"
/* A batch that is still to be sent has the word on it, and one out of time is given up. */
#define UNCONFIRMED TSK_UNCONFIRMED_IF("b.published_at + b.timeout_ms > $5")
#define BOTH(condition)                                                                            \
    {                                                                                              \
        FIND(condition, TSK_GLOB_SQLITE("$4")), FIND(condition, TSK_GLOB_POSTGRESQL("$4"))         \
    }

static const char *const queries[TSK_RESOLVE_ACTIONS][2] = {
    [TSK_RESOLVE_RETRY] = BOTH("(" FAILED " OR " WAITS ") AND " LIVE),
    [TSK_RESOLVE_RESET] = BOTH(FAILED " AND " LIVE),
    [TSK_RESOLVE_RESOLVE] = BOTH(FAILED),
    [TSK_RESOLVE_CANCEL] = BOTH("(" TSK_OPEN " OR (" UNCONFIRMED "))"),
};

static int take_id(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)columns;
    tsk_resolve_ids_add(ctx, row[0].number);
    return 0;
}

static struct tsk_value text_of(const char *text)
{
    return tsk_value_text(text ? text : "");
}

int tsk_resolve_find(struct tsk_store *store, enum tsk_resolve_action action,
                     const struct tsk_resolve_filter *filter, int64_t now,
                     struct tsk_resolve_ids *ids, struct tsk_err *err)
{
    struct tsk_buf glob = TSK_BUF_INIT;
    enum tsk_store_kind kind = tsk_store_kind(store);
    tsk_store_glob(kind, filter->handler_class ? filter->handler_class : "", &glob);
    struct tsk_value values[] = {
        tsk_value_int(filter->task), text_of(filter->namespace_name),
        text_of(filter->category),   text_of(glob.data),
        tsk_value_int(now),          tsk_value_int(filter->limit ? filter->limit : INT64_MAX)};
    int64_t rows = tsk_store_run(store, queries[action][kind == TSK_STORE_POSTGRESQL], values, 6,
                                 take_id, ids, err);
    tsk_buf_fini(&glob);
    return rows < 0 ? -1 : 0;
}

static int take_worker(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_resolved *one = ctx;
    (void)columns;
    free(one->worker_id);
    free(one->endpoint);
    one->worker_id = tsk_strdup(row[0].data);
    one->endpoint = tsk_strdup(row[1].data);
    one->sent_until = row[2].number;
    return 1;
}

int tsk_resolve_look(struct tsk_store *store, struct tsk_resolved *one, struct tsk_err *err)
{
    static const char sql[] = "SELECT b.accepted_by, b.result_endpoint, " TSK_SENT_UNTIL
                              " FROM batches b WHERE b.batch_id = $1";
    struct tsk_value value = tsk_value_text(one->batch_id);
    return tsk_store_run(store, sql, &value, 1, take_worker, one, err) < 0 ? -1 : 0;
}
