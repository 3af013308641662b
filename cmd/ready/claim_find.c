/* Finding steps that can run: one query along an index that has only pending steps which wait for
 * nothing, so that it takes no longer in a store of a million others. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ready/claim_private.h"
#include "tasker/json.h"

#define COLUMNS(JOIN)                                                                              \
    "SELECT s.id, s.task, s.attempts, s.retry_limit + s.attempts_before, s.timeout_ms, "           \
    "s.default_retryable, s.name, s.handler_class, s.handler_config, t.context, t.namespace, "     \
    "t.name, t.handler_config, s.template_name, s.created_index, s.created_count, s.backoff "      \
    "FROM steps s" JOIN("tasks", "t", "t.task_id = s.task") " "
#define CONDITION(is)                                                                              \
    "WHERE s.state = 'pending' AND s.waits_for = 0 AND s.task IS NOT NULL "                        \
    "AND coalesce(s.next_retry_at, 0) " is " $1 "                                                  \
    "AND t.state IN ('pending', 'in_progress') "                                                   \
    "AND NOT EXISTS (SELECT 1 FROM held_namespaces h WHERE h.namespace = t.namespace) "
#define ORDER "ORDER BY s.priority DESC, s.created_at, s.id LIMIT $2"

/* The filters are texts of their own, so that the usual query has no condition that hides the
 * index. A dry run takes no locks. */
#define FIND(JOIN, is, filter, lock) COLUMNS(JOIN) CONDITION(is) filter ORDER lock
#define LOCKED " FOR UPDATE OF s SKIP LOCKED"
#define FINDS(is, filter)                                                                          \
    {                                                                                              \
        FIND(TSK_JOIN_SQLITE, is, filter, ""), FIND(TSK_JOIN_POSTGRESQL, is, filter, ""),          \
            FIND(TSK_JOIN_POSTGRESQL, is, filter, LOCKED)                                          \
    }
#define FILTERED(is)                                                                               \
    {                                                                                              \
        [0] = FINDS(is, ""), [BY_TASK] = FINDS(is, "AND s.task = $3 "),                            \
        [BY_NAMESPACE] = FINDS(is, "AND t.namespace = $3 "),                                       \
        [BY_TASK | BY_NAMESPACE] = FINDS(is, "AND s.task = $3 AND t.namespace = $4 "),             \
    }
enum { SQLITE, POSTGRESQL, POSTGRESQL_LOCKED, KINDS };
enum { BY_TASK = 1, BY_NAMESPACE = 2 };
enum { SET_BACK_MS = 60000 }; /* less is what the clocks of two machines may differ by */
/* Those whose back-off is over; and those that are due only after a moment. */
static const char *const finds[][KINDS] = FILTERED("<="), *const finds_late[][KINDS] =
                                                              FILTERED(">");

static char *text_of(const struct tsk_value *value)
{
    return tsk_strdup(value->type == TSK_TEXT ? value->data : "{}");
}

static int on_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_ready_list *list = ctx;
    (void)columns;
    list->items = tsk_grow(list->items, &list->cap, list->count + 1, sizeof *list->items);
    list->items[list->count++] =
        (struct tsk_ready){.id = row[0].number,
                           .task = row[1].number,
                           .attempt = row[2].number + 1,
                           .retry_limit = row[3].number,
                           .timeout_ms = row[4].number,
                           .retryable = row[5].number != 0,
                           .name = text_of(&row[6]),
                           .handler_class = text_of(&row[7]),
                           .handler_config = text_of(&row[8]),
                           .context = text_of(&row[9]),
                           .namespace_name = text_of(&row[10]),
                           .task_name = text_of(&row[11]),
                           .task_config = text_of(&row[12]),
                           .kind = row[13].type == TSK_TEXT ? tsk_strdup(row[13].data) : NULL,
                           .backoff = row[16].type == TSK_TEXT ? tsk_strdup(row[16].data) : NULL,
                           .index = row[14].number,
                           .count = row[15].number};
    return 0;
}

void tsk_ready_fini(struct tsk_ready_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct tsk_ready *step = &list->items[i];
        free(step->kind);
        free(step->backoff);
        free(step->name);
        free(step->handler_class);
        free(step->handler_config);
        free(step->context);
        free(step->namespace_name);
        free(step->task_name);
        free(step->task_config);
        tsk_buf_fini(&step->previous);
    }
    free(list->items);
    *list = (struct tsk_ready_list){NULL, 0, 0};
}

/* Adds what can run to list: with a back-off that ends by now, or (late) after it. */
static int find(struct tsk_store *store, const struct tsk_claim_opts *opts, bool late, int64_t now,
                struct tsk_ready_list *list, struct tsk_err *err)
{
    unsigned filter = (opts->task ? BY_TASK : 0) | (opts->namespace_name ? BY_NAMESPACE : 0);
    size_t kind = tsk_store_kind(store) == TSK_STORE_SQLITE ? SQLITE
                  : opts->dry                               ? POSTGRESQL
                                                            : POSTGRESQL_LOCKED;
    int64_t left = opts->limit - (int64_t)list->count;
    struct tsk_value values[4] = {tsk_value_int(now), tsk_value_int(left)};
    size_t count = 2;
    if (opts->task)
        values[count++] = tsk_value_int(opts->task);
    if (opts->namespace_name)
        values[count++] = tsk_value_text(opts->namespace_name);
    const char *sql = late ? finds_late[filter][kind] : finds[filter][kind];
    return tsk_store_run(store, sql, values, count, on_step, list, err) < 0 ? -1 : 0;
}

/* Whether the clock was set back: the newest message of the ledger is of the future. */
static int is_set_back(struct tsk_store *store, int64_t now, struct tsk_err *err)
{
    static const char newest[] = "SELECT max(received_at) FROM received_results";
    int64_t at = 0;
    if (tsk_store_get_int(store, newest, NULL, 0, &at, err) < 0)
        return -1;
    return at > now + SET_BACK_MS;
}

/* After the clock was set back, a stored back-off would last for as much longer. Those that end
 * later than any that begins now are over. (Jitter makes none longer than twice the cap.) */
int tsk_ready_find(struct tsk_store *store, const struct tsk_claim_opts *opts, int64_t now,
                   struct tsk_ready_list *list, struct tsk_err *err)
{
    if (find(store, opts, false, now, list, err) < 0)
        return -1;
    int set_back = (int64_t)list->count < opts->limit ? is_set_back(store, now, err) : 0;
    if (set_back < 0 ||
        (set_back && find(store, opts, true, now + 2 * opts->retry_cap, list, err) < 0))
        return -1;
    return list->count ? tsk_ready_previous(store, list, opts->message_bytes, err) : 0;
}

#define NEXT(JOIN)                                                                                 \
    "SELECT min(s.next_retry_at) FROM steps s" JOIN(                                               \
        "tasks", "t", "t.task_id = s.task") " WHERE s.state = 'pending' AND s.waits_for = 0 AND "  \
                                            "s.task IS NOT NULL AND s.next_retry_at > "            \
                                            "$1 AND t.state IN ('pending', 'in_progress') AND "    \
                                            "($2 = 0 OR s.task = $2) AND ($3 = '' OR "             \
                                            "t.namespace = $3)"
static const char next_sqlite[] = NEXT(TSK_JOIN_SQLITE);
static const char next_postgresql[] = NEXT(TSK_JOIN_POSTGRESQL);

int tsk_claim_next(struct tsk_store *store, const struct tsk_claim_opts *opts, int64_t now,
                   int64_t *at, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(now), tsk_value_int(opts->task),
                                 tsk_value_text(opts->namespace_name ? opts->namespace_name : "")};
    const char *sql = TSK_SQL(store, next_sqlite, next_postgresql);
    *at = 0;
    return tsk_store_get_int(store, sql, values, 3, at, err) < 0 ? -1 : 0;
}
