/* Batches out of time. That depends on the clock, and what is derived must not: so the end of the
 * time becomes a message of the ledger first, the same one whoever puts it there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workflow/settler_private.h"
#include "tasker/store.h"

char *tsk_settle_timeout_text(const char *batch_id, int64_t limit_at)
{
    static const char why[] = "the batch has no end within its time limit";
    struct json_object *error = tsk_error_object(why, "batch_timeout", "timeout", true);
    return tsk_batch_error_text(batch_id, error, limit_at);
}

struct late {
    struct tsk_settler *settler;
    const struct tsk_settle_list *list;
    int64_t now;
    char batch_id[TSK_ID_SIZE];
    int64_t limit_at;
};

/* Looks once more, now that nobody else can change it (SQLite has no other writer than this one).
 */
#define OVERDUE                                                                                    \
    "SELECT b.batch_id, coalesce(b.published_at, (SELECT s.first_at FROM settled_batches s"        \
    " WHERE s.batch = b.id)) + b.timeout_ms FROM batches b WHERE b.id = $1"                        \
    " AND b.state IN ('published', 'executing') AND coalesce(b.published_at, (SELECT s.first_at"   \
    " FROM settled_batches s WHERE s.batch = b.id)) + b.timeout_ms <= $2"                          \
    " AND NOT EXISTS (SELECT 1 FROM unsettled u WHERE u.batch_id = b.batch_id)"
static const char overdue_sqlite[] = OVERDUE;
static const char overdue_postgresql[] = OVERDUE " FOR NO KEY UPDATE OF b SKIP LOCKED";

static int take_overdue(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct late *late = ctx;
    (void)columns;
    snprintf(late->batch_id, sizeof late->batch_id, "%s", row[0].data);
    late->limit_at = row[1].number;
    return 0;
}

static int add_message(struct late *late, struct tsk_err *err)
{
    char *text = tsk_settle_timeout_text(late->batch_id, late->limit_at);
    struct tsk_ledger_own own = {TSK_SETTLE_SOURCE, TSK_SETTLE_OFFSET, late->batch_id, text,
                                 strlen(text)};
    int rc = tsk_ledger_put_own(late->settler->store, &own, late->now, err);
    free(text);
    return rc;
}

static int add_messages(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct late *late = ctx;
    const char *sql = TSK_SQL(store, overdue_sqlite, overdue_postgresql);
    for (size_t i = 0; i < late->list->count; i++) {
        struct tsk_value values[] = {tsk_value_int(late->list->items[i].batch),
                                     tsk_value_int(late->now)};
        int64_t rows = tsk_store_run(store, sql, values, 2, take_overdue, late, err);
        if (rows < 0 || (rows && add_message(late, err) < 0))
            return -1;
    }
    return 0;
}

int tsk_settler_time_out(struct tsk_settler *settler, const struct tsk_settle_list *list,
                         int64_t now, int64_t patience, struct tsk_err *err)
{
    struct late late = {.settler = settler, .list = list, .now = now};
    return list->count ? tsk_store_write(settler->store, add_messages, &late, patience, err) : 0;
}
