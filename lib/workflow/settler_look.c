/* Which batches are to be settled. */
#include "workflow/settler_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/store.h"

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

/* Here and in find_unsent "+b.id", since for "b.id" SQLite reads all batches in that order. */
int tsk_settle_find_overdue(struct tsk_store *store, int64_t now, struct tsk_settle_list *list,
                            struct tsk_err *err)
{
    static const char sql[] =
        "SELECT b.id, b.total_steps FROM batches b WHERE b.state IN ('published', 'executing')"
        " AND coalesce(b.published_at, (SELECT s.first_at FROM settled_batches s"
        " WHERE s.batch = b.id)) + b.timeout_ms <= $1"
        " AND (SELECT count(*) FROM unsettled u WHERE u.batch_id = b.batch_id) = 0 ORDER BY +b.id";
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

/* ---- Batches out of time. That depends on the clock, and what is derived must not: so the end of
 * the time becomes a message of the ledger first, the same one whoever puts it there. */

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

static int add_timeout(struct late *late, struct tsk_err *err)
{
    char *text = tsk_settle_timeout_text(late->batch_id, late->limit_at);
    struct tsk_ledger_own own = {TSK_SETTLE_SOURCE, TSK_SETTLE_OFFSET, late->batch_id, text,
                                 strlen(text)};
    int rc = tsk_ledger_put_own(late->settler->store, &own, late->now, err);
    free(text);
    return rc;
}

static int add_timeouts(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct late *late = ctx;
    const char *sql = TSK_SQL(store, overdue_sqlite, overdue_postgresql);
    for (size_t i = 0; i < late->list->count; i++) {
        struct tsk_value values[] = {tsk_value_int(late->list->items[i].batch),
                                     tsk_value_int(late->now)};
        int64_t rows = tsk_store_run(store, sql, values, 2, take_overdue, late, err);
        if (rows < 0 || (rows && add_timeout(late, err) < 0))
            return -1;
    }
    return 0;
}

int tsk_settler_time_out(struct tsk_settler *settler, const struct tsk_settle_list *list,
                         int64_t now, int64_t patience, struct tsk_err *err)
{
    struct late late = {.settler = settler, .list = list, .now = now};
    return list->count ? tsk_store_write(settler->store, add_timeouts, &late, patience, err) : 0;
}

/* ---- Batches that were claimed and never accepted. Whether one still may be depends on the clock,
 * and what is derived must not: so its end becomes a message of the ledger first, the same one
 * whoever puts it there. Whoever does so takes the claim on the batch with it, for ever, so that no
 * publisher sends it any more.
 *
 * One that was offered to nobody is given back: its steps are pending as before. One that was about
 * to be sent to a worker may be running there: it has its time limit from then on, and is out of
 * time like one that was accepted. */

#define LAST "CASE WHEN b.claimed_until > b.created_at THEN b.claimed_until ELSE b.created_at END"
#define LIMIT                                                                                      \
    LAST " + CASE WHEN b.offered_to IS NULL THEN $2 WHEN b.timeout_ms > $2 THEN b.timeout_ms "     \
         "ELSE $2 END"
/* A step that no task has was given by somebody who sends it again. */
#define UNSENT                                                                                     \
    "b.state = 'created' AND b.claimed_until <= $1 AND " LIMIT " <= $1"                            \
    " AND (SELECT count(*) FROM received_results r WHERE r.batch_id = b.batch_id) = 0"             \
    " AND (SELECT count(*) FROM batch_steps p WHERE p.batch = b.id"                                \
    " AND (SELECT s.task FROM steps s WHERE s.id = p.step) IS NULL) = 0"

int tsk_settle_find_unsent(struct tsk_store *store, int64_t now, int64_t claim_timeout,
                           struct tsk_settle_list *list, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT b.id, b.total_steps FROM batches b WHERE " UNSENT " ORDER BY +b.id";
    struct tsk_value values[] = {tsk_value_int(now), tsk_value_int(claim_timeout)};
    return tsk_store_run(store, sql, values, 2, tsk_settle_list_take, list, err) < 0 ? -1 : 0;
}

static char *back_text(const char *batch_id, int64_t limit_at)
{
    static const char why[] = "no publisher has sent the batch in time; its steps are given back";
    struct json_object *error = tsk_error_object(why, "claim_timeout", "infrastructure", true);
    tsk_json_put_bool(error, TSK_ATTEMPT_USED_KEY, false);
    return tsk_batch_error_text(batch_id, error, limit_at);
}

struct unsent {
    struct tsk_settler *settler;
    const struct tsk_settle_list *list;
    int64_t now, claim_timeout;
    char batch_id[TSK_ID_SIZE];
    int64_t limit_at;
    bool offered;
};

/* A publisher that wants it at the same time changes the same row: one of the two finds it changed.
 */
static const char take_claim[] =
    "UPDATE batches AS b SET publisher = 'reconcile', claimed_until = 9223372036854775807 WHERE "
    "b.id = $3 AND " UNSENT " RETURNING batch_id, offered_to";

static int take_claimed(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct unsent *unsent = ctx;
    (void)columns;
    snprintf(unsent->batch_id, sizeof unsent->batch_id, "%s", row[0].data);
    unsent->offered = row[1].type == TSK_TEXT;
    unsent->limit_at = unsent->now;
    return 0;
}

static int add_back(struct unsent *unsent, struct tsk_err *err)
{
    char *text = unsent->offered ? tsk_settle_timeout_text(unsent->batch_id, unsent->limit_at)
                                 : back_text(unsent->batch_id, unsent->limit_at);
    struct tsk_ledger_own own = {TSK_SETTLE_SOURCE,
                                 unsent->offered ? TSK_SETTLE_OFFSET : TSK_SETTLE_BACK_OFFSET,
                                 unsent->batch_id, text, strlen(text)};
    int rc = tsk_ledger_put_own(unsent->settler->store, &own, unsent->now, err);
    free(text);
    return rc;
}

static int add_backs(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct unsent *unsent = ctx;
    for (size_t i = 0; i < unsent->list->count; i++) {
        struct tsk_value values[] = {tsk_value_int(unsent->now),
                                     tsk_value_int(unsent->claim_timeout),
                                     tsk_value_int(unsent->list->items[i].batch)};
        int64_t rows = tsk_store_run(store, take_claim, values, 3, take_claimed, unsent, err);
        if (rows < 0 || (rows && add_back(unsent, err) < 0))
            return -1;
    }
    return 0;
}

int tsk_settler_give_back(struct tsk_settler *settler, const struct tsk_settle_list *list,
                          int64_t now, int64_t claim_timeout, int64_t patience, struct tsk_err *err)
{
    struct unsent unsent = {
        .settler = settler, .list = list, .now = now, .claim_timeout = claim_timeout};
    return list->count ? tsk_store_write(settler->store, add_backs, &unsent, patience, err) : 0;
}
