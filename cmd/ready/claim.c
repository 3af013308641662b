/* Claiming, in one transaction: the steps that can run, in groups, become batches and are enqueued.
 * Two who claim at once do not claim the same: on PostgreSQL each passes over the steps that the
 * other has locked, and waits only for the tasks that both begin, in the order in which all lock
 * them; on SQLite there is one writer at a time. */
#include "ready/claim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/message.h"
#include "tasker/state.h"
#include "tasker/store.h"
#include "tasker/buf.h"
#include "tasker/map.h"

/* A step that is being claimed. Texts are owned. */
struct tsk_ready {
    int64_t id, task, attempt, retry_limit;
    int64_t timeout_ms;   /* 0: none named */
    int64_t index, count; /* which of how many of its kind it is; 0: not one of several */
    bool retryable;
    char *kind;    /* its name in the template, if it was made at run time; else NULL */
    char *backoff; /* its own (retry.h), or NULL */
    char *name, *handler_class, *handler_config, *context, *namespace_name, *task_name;
    char *task_config;       /* handler_config of the task */
    struct tsk_buf previous; /* members of previous_results, with commas between */
    bool cut;                /* they are more than a message holds, and not all here */
};

struct tsk_ready_list {
    struct tsk_ready *items;
    size_t count, cap;
};

/* ---- previous_results: what the steps gave that one waited for, by their names in the template;
 * not those that could only have asked for more of them. Those of N of a kind are a list, in which
 * each has its place, and null stands for one that gave nothing. */

#define OK "p.state IN ('complete', 'resolved_manually')"
/* clang-format off */
#define PREVIOUS(ids, JOIN)                                                                        \
    "SELECT d.to_step, coalesce(p.template_name, p.name), CASE WHEN " OK " THEN p.results END,"    \
    " p.created_count FROM " ids                                                                   \
    JOIN("step_dependencies", "d", "d.to_step = w.id")                                             \
    JOIN("steps", "p", "p.id = d.from_step")                                                       \
    " WHERE d.choice = 0 AND (" OK " OR p.created_count IS NOT NULL)"                              \
    " ORDER BY d.to_step, p.place, p.created_index, p.id"
/* clang-format on */
static const char previous_sqlite[] = PREVIOUS(TSK_IDS_SQLITE, TSK_JOIN_SQLITE);
static const char previous_postgresql[] = PREVIOUS(TSK_IDS_POSTGRESQL, TSK_JOIN_POSTGRESQL);

static int by_id(const void *a, const void *b)
{
    const struct tsk_ready *const *x = a, *const *y = b;
    return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

struct previous {
    struct tsk_ready **sorted; /* by id */
    size_t count;
    size_t most;
    struct tsk_buf *out; /* where a list is open, */
    char *kind;          /* of this name; NULL: none is */
};

static void close_list(struct previous *previous)
{
    if (previous->kind)
        tsk_buf_char(previous->out, ']');
    free(previous->kind);
    previous->kind = NULL;
}

static void add_name(struct tsk_buf *out, const char *name)
{
    struct json_object *text = json_object_new_string(name);
    size_t len;
    const char *quoted = tsk_json_text(text, &len);
    tsk_buf_add(out, quoted, len);
    json_object_put(text);
}

/* Where the next result of a step goes; NULL: nowhere. */
static struct tsk_buf *out_of(const struct previous *previous, int64_t id)
{
    struct tsk_ready key = {.id = id}, *wanted = &key, **found;
    found = bsearch(&wanted, previous->sorted, previous->count, sizeof *previous->sorted, by_id);
    if (!found)
        return NULL;
    (*found)->cut |= (*found)->previous.len > previous->most;
    return (*found)->cut ? NULL : &(*found)->previous;
}

static int on_previous(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct previous *previous = ctx;
    struct tsk_buf *out = out_of(previous, row[0].number);
    bool counted = row[3].type == TSK_INT;
    (void)columns;
    if (!out)
        return 0;
    bool goes_on = counted && previous->kind && previous->out == out &&
                   strcmp(previous->kind, row[1].data) == 0;
    if (!goes_on)
        close_list(previous);
    if (out->len)
        tsk_buf_char(out, ',');
    if (!goes_on) {
        add_name(out, row[1].data);
        tsk_buf_str(out, counted ? ":[" : ":");
    }
    tsk_buf_str(out, row[2].type == TSK_TEXT ? row[2].data : "null");
    if (counted && !goes_on) {
        previous->kind = tsk_strdup(row[1].data);
        previous->out = out;
    }
    return 0;
}

static int find_previous(struct tsk_store *store, struct tsk_ready_list *list, size_t most,
                         struct tsk_err *err)
{
    struct previous previous = {.sorted = tsk_alloc((list->count + 1) * sizeof *previous.sorted),
                                .count = list->count,
                                .most = most};
    struct tsk_buf ids = TSK_BUF_INIT;
    for (size_t i = 0; i < list->count; i++) {
        previous.sorted[i] = &list->items[i];
        tsk_store_ids(&ids, list->items[i].id);
    }
    qsort(previous.sorted, previous.count, sizeof *previous.sorted, by_id);
    struct tsk_value value = tsk_value_text(ids.data);
    int64_t rc = tsk_store_run(store, TSK_SQL(store, previous_sqlite, previous_postgresql), &value,
                               1, on_previous, &previous, err);
    close_list(&previous);
    tsk_buf_fini(&ids);
    free(previous.sorted);
    return rc < 0 ? -1 : 0;
}

/* ---- Finding steps that can run: one query along an index that has only pending steps which wait
 * for nothing, so that it takes no longer in a store of a million others. */

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

static void ready_fini(struct tsk_ready_list *list)
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
static int find_ready(struct tsk_store *store, const struct tsk_claim_opts *opts, int64_t now,
                      struct tsk_ready_list *list, struct tsk_err *err)
{
    if (find(store, opts, false, now, list, err) < 0)
        return -1;
    int set_back = (int64_t)list->count < opts->limit ? is_set_back(store, now, err) : 0;
    if (set_back < 0 ||
        (set_back && find(store, opts, true, now + 2 * opts->retry_cap, list, err) < 0))
        return -1;
    return list->count ? find_previous(store, list, opts->message_bytes, err) : 0;
}

/* clang-format off */
#define NEXT(JOIN)                                                                                 \
    "SELECT min(s.next_retry_at) FROM steps s" JOIN("tasks", "t", "t.task_id = s.task")            \
    " WHERE s.state = 'pending' AND s.waits_for = 0 AND s.task IS NOT NULL"                        \
    " AND s.next_retry_at > $1 AND t.state IN ('pending', 'in_progress')"                          \
    " AND ($2 = 0 OR s.task = $2) AND ($3 = '' OR t.namespace = $3)"
/* clang-format on */
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

/* ---- A batch as it is sent (tasker(7), PROTOCOL), from what the store has. Objects are kept as
 * texts in the store and go out as they are. */

static void put_metadata(struct tsk_buf *body, const struct tsk_ready *step, size_t sequence,
                         size_t total)
{
    tsk_write_open(body, "metadata", '{');
    tsk_write_int(body, "sequence", (int64_t)sequence);
    tsk_write_int(body, "total_steps", (int64_t)total);
    tsk_write_int(body, "attempt", step->attempt);
    tsk_write_int(body, "retry_limit", step->retry_limit);
    tsk_write_bool(body, "retryable", step->retryable);
    if (step->backoff)
        tsk_write_str(body, "backoff", step->backoff);
    if (step->count) {
        tsk_write_int(body, "index", step->index);
        tsk_write_int(body, "count", step->count);
    }
    if (step->timeout_ms)
        tsk_write_int(body, "timeout_ms", step->timeout_ms);
    tsk_write_close(body, '}');
}

static void put_object(struct tsk_buf *body, const char *key, const char *json)
{
    tsk_write_raw(body, key, json, strlen(json));
}

static void put_step(struct tsk_buf *body, const struct tsk_ready *step, size_t sequence,
                     size_t total)
{
    tsk_write_open(body, NULL, '{');
    tsk_write_int(body, "step_id", step->id);
    tsk_write_int(body, "task_id", step->task);
    tsk_write_str(body, "step_name", step->name);
    tsk_write_str(body, "handler_class", step->handler_class);
    put_object(body, "handler_config", step->handler_config);
    put_object(body, "task_context", step->context);
    tsk_write_open(body, "previous_results", '{');
    tsk_buf_add(body, step->previous.data, step->previous.len);
    tsk_write_close(body, '}');
    tsk_write_str(body, "namespace", step->namespace_name);
    tsk_write_str(body, "task_name", step->task_name);
    if (strcmp(step->task_config, "{}") != 0)
        put_object(body, "task_handler_config", step->task_config);
    if (step->kind)
        tsk_write_str(body, "template_step", step->kind);
    put_metadata(body, step, sequence, total);
    tsk_write_close(body, '}');
}

static void write_body(const char *batch_id, int64_t now, struct tsk_ready *const *steps,
                       size_t count, struct tsk_buf *body)
{
    tsk_buf_reset(body);
    tsk_write_open(body, NULL, '{');
    tsk_write_str(body, "batch_id", batch_id);
    tsk_write_str(body, "protocol_version", TSK_PROTOCOL_VERSION);
    tsk_write_time(body, "created_at", now);
    tsk_write_open(body, "steps", '[');
    for (size_t i = 0; i < count; i++)
        put_step(body, steps[i], i + 1, count);
    tsk_write_close(body, ']');
    tsk_write_close(body, '}');
}

#define CREATED TSK_KEY_TEXT(TSK_BATCH_KEY_CREATED)
#define STARTED TSK_KEY_TEXT(TSK_TASK_KEY_STARTED)
#define BATCH_SLACK_MS 60000 /* as for batches that publish records */
#define REFUSED_OFFSET 1

static const char add_batch[] =
    "INSERT INTO batches (batch_id, total_steps, timeout_ms, body, created_at, updated_at) "
    "VALUES ($1, $2, $3, $4, $5, $5) RETURNING id";
static const char add_batch_transition[] =
    "INSERT INTO batch_transitions (batch, sort_key, to_state, event, origin, created_at) "
    "VALUES ($1, " CREATED ", 'created', '" TSK_EVENT_BATCH_CREATED "', 'program', $2)";
/* What is written of each step: rows that go at once. */
enum { BATCH_STEPS, STATES, TRANSITIONS, TASKS, TASK_TRANSITIONS, CLAIM_KINDS };

#define BATCH_STEP "INSERT INTO batch_steps (batch, sequence_order, step, step_id, attempt) "
#define ENQUEUE(x)                                                                                 \
    "UPDATE steps SET state = 'enqueued', attempts = " x "2, updated_at = " x                      \
    "3, last_attempted_at = " x "3, next_retry_at = NULL "
#define TRANSITION                                                                                 \
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch, "   \
    "created_at) "
/* This attempt may have been claimed before, and given back, more often than it has rounds of keys.
 */
#define AGAIN                                                                                      \
    " ON CONFLICT (step, sort_key) DO UPDATE SET batch = excluded.batch, created_at = "            \
    "excluded.created_at"
#define MOVE(x)                                                                                    \
    x "1, " TSK_STEP_KEY(x "2", TSK_PLACE_ENQUEUED) " + " TSK_ROUND_PLACES(                        \
        x "1", x "2", x "3") ", 'pending', 'enqueued', '" TSK_EVENT_STEP_ENQUEUED                  \
                             "', 'program', " x "3, " x "4"
#define START(x) "UPDATE tasks SET state = 'in_progress', updated_at = " x "2 "
#define PENDING " AND " TSK_UNINDEXED("state") " = 'pending'"
#define TASK_TRANSITION                                                                            \
    "INSERT INTO task_transitions (task, sort_key, from_state, to_state, event, origin, "          \
    "created_at) "
#define TASK_MOVE(x)                                                                               \
    x "1, " STARTED ", 'pending', 'in_progress', '" TSK_EVENT_TASK_STARTED "', 'program', " x "2"

static const struct tsk_rows_sql sqls[CLAIM_KINDS] = {
    [BATCH_STEPS] = {BATCH_STEP "VALUES ($1, $2, $3, $3, $4)",
                     BATCH_STEP "SELECT v1, v2, v3, v3, v4 FROM unnest($1::bigint[], $2::bigint[],"
                                " $3::bigint[], $4::bigint[]) AS v (v1, v2, v3, v4)",
                     "iiii"},
    [STATES] = {ENQUEUE("$") "WHERE id = $1",
                ENQUEUE("v") "FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])"
                             " AS v (v1, v2, v3) WHERE id = ANY (ARRAY[v1])",
                "iii"},
    [TRANSITIONS] = {TRANSITION "VALUES (" MOVE("$") ")" AGAIN,
                     TRANSITION
                     "SELECT " MOVE("v") " FROM unnest($1::bigint[], $2::bigint[],"
                                         " $3::bigint[], $4::bigint[]) AS v (v1, v2, v3, v4)" AGAIN,
                     "iiii"},
    [TASKS] = {START("$") "WHERE task_id = $1" PENDING,
               START("v") "FROM unnest($1::bigint[], $2::bigint[]) AS v (v1, v2)"
                          " WHERE task_id = ANY (ARRAY[v1])" PENDING,
               "ii"},
    [TASK_TRANSITIONS] = {TASK_TRANSITION "VALUES (" TASK_MOVE("$") ") ON CONFLICT DO NOTHING",
                          TASK_TRANSITION "SELECT " TASK_MOVE(
                              "v") " FROM unnest($1::bigint[],"
                                   " $2::bigint[]) AS v (v1, v2) ON CONFLICT DO NOTHING",
                          "ii"},
};

void tsk_claims_fini(struct tsk_claims *claims)
{
    for (size_t i = 0; i < claims->count; i++) {
        free(claims->items[i].batch_id);
        free(claims->items[i].body);
        free(claims->items[i].refused);
    }
    free(claims->items);
    *claims = (struct tsk_claims){NULL, 0, 0, 0};
}

/* ---- groups: which steps go into one batch */

struct group {
    struct tsk_ready **steps; /* opts->batch_size */
    size_t count, bytes;
};

struct claiming {
    struct tsk_store *store;
    const struct tsk_claim_opts *opts;
    int64_t now;
    struct tsk_claims *claims;
    struct tsk_err *err;
    struct tsk_rows *rows; /* CLAIM_KINDS */
};

static void group_free(void *value)
{
    struct group *group = value;
    free(group->steps);
    free(group);
}

static int64_t batch_timeout(const struct claiming *claiming, const struct group *group)
{
    int64_t sum = BATCH_SLACK_MS;
    for (size_t i = 0; i < group->count; i++)
        sum += group->steps[i]->timeout_ms ? group->steps[i]->timeout_ms
                                           : claiming->opts->step_timeout;
    return sum;
}

static int claim_put_step(const struct claiming *claiming, int64_t batch, size_t place,
                          const struct tsk_ready *step)
{
    struct tsk_value row[] = {tsk_value_int(batch), tsk_value_int((int64_t)place + 1),
                              tsk_value_int(step->id), tsk_value_int(step->attempt)};
    struct tsk_value state[] = {tsk_value_int(step->id), tsk_value_int(step->attempt),
                                tsk_value_int(claiming->now)};
    struct tsk_value transition[] = {tsk_value_int(step->id), tsk_value_int(step->attempt),
                                     tsk_value_int(batch), tsk_value_int(claiming->now)};
    struct tsk_value task[] = {tsk_value_int(step->task), tsk_value_int(claiming->now)};
    const struct tsk_value *const values[CLAIM_KINDS] = {row, state, transition, task, task};
    int rc = 0;
    for (size_t i = 0; i < CLAIM_KINDS && rc == 0; i++)
        rc = tsk_rows_add(&claiming->rows[i], values[i], claiming->err);
    return rc;
}

static int put_batch(const struct claiming *claiming, const struct group *group,
                     const struct tsk_claimed *claimed)
{
    int64_t id;
    struct tsk_value values[] = {
        tsk_value_text(claimed->batch_id), tsk_value_int((int64_t)group->count),
        tsk_value_int(batch_timeout(claiming, group)),
        tsk_value_bytes(claimed->body, claimed->refused ? 0 : claimed->len), /* nobody sends it */
        tsk_value_int(claiming->now)};
    if (tsk_store_get_int(claiming->store, add_batch, values, 5, &id, claiming->err) < 1)
        return -1;
    struct tsk_value transition[] = {tsk_value_int(id), tsk_value_int(claiming->now)};
    int rc = tsk_store_send(claiming->store, add_batch_transition, transition, 2, claiming->err);
    for (size_t i = 0; rc == 0 && i < group->count; i++)
        rc = claim_put_step(claiming, id, i, group->steps[i]);
    return rc;
}

/* Says in the ledger that a batch is not sent, once it is in the store. */
static int refuse(const struct claiming *claiming, const struct tsk_claimed *claimed)
{
    struct json_object *error =
        tsk_error_object(claimed->refused, "message_too_long", "validation", false);
    char *text = tsk_batch_error_text(claimed->batch_id, error, claiming->now);
    struct tsk_ledger_own own = {TSK_SOURCE_READY, REFUSED_OFFSET, claimed->batch_id, text,
                                 strlen(text)};
    int rc = tsk_ledger_put_own(claiming->store, &own, claiming->now, claiming->err);
    free(text);
    return rc;
}

/* Why it is too long for a message, or NULL. Only that of a single step ever is. */
static char *too_long(const struct claiming *claiming, const struct group *group, size_t len)
{
    struct tsk_buf text = TSK_BUF_INIT;
    if (len <= claiming->opts->message_bytes)
        return NULL;
    const struct tsk_ready *step = group->steps[0];
    tsk_buf_printf(&text,
                   "step %" PRId64 " (%s) with its context and previous_results makes a message of "
                   "%zu bytes%s, over max_message_bytes (%zu)",
                   step->id, step->name, len, step->cut ? " or more" : "",
                   claiming->opts->message_bytes);
    return text.data;
}

/* Makes a batch of a group, and empties that. */
static int close_group(const struct claiming *claiming, struct group *group)
{
    struct tsk_claims *claims = claiming->claims;
    struct tsk_buf body = TSK_BUF_INIT;
    char id[TSK_UUID_SIZE];
    tsk_uuid(id);
    write_body(id, claiming->now, group->steps, group->count, &body);
    claims->items = tsk_grow(claims->items, &claims->cap, claims->count + 1, sizeof *claims->items);
    struct tsk_claimed *claimed = &claims->items[claims->count++];
    *claimed = (struct tsk_claimed){tsk_strdup(id), body.data, body.len, group->count,
                                    too_long(claiming, group, body.len)};
    claims->steps += group->count;
    int rc = claiming->opts->dry ? 0 : put_batch(claiming, group, claimed);
    if (rc == 0 && claimed->refused && !claiming->opts->dry)
        rc = refuse(claiming, claimed);
    group->count = group->bytes = 0;
    return rc;
}

/* About what a step takes in a batch, and never less. */
static size_t bytes_of(const struct tsk_ready *step)
{
    enum { REST = 600 };
    size_t kind = step->kind ? strlen(step->kind) : 0;
    return REST + strlen(step->context) + step->previous.len + strlen(step->handler_config) +
           strlen(step->task_config) +
           6 * (kind + strlen(step->name) + strlen(step->handler_class) +
                strlen(step->namespace_name) + strlen(step->task_name));
}

static void key_of(const struct tsk_claim_opts *opts, const struct tsk_ready *step,
                   struct tsk_buf *key)
{
    tsk_buf_reset(key);
    if (opts->group == TSK_CLAIM_BY_HANDLER)
        tsk_buf_str(key, step->handler_class);
    else if (opts->group == TSK_CLAIM_BY_TASK)
        tsk_buf_printf(key, "%lld", (long long)step->task);
    else
        tsk_buf_str(key, "");
}

static struct group *group_of(struct tsk_map *groups, const char *key, size_t size)
{
    struct group *group = tsk_map_get(groups, key);
    if (group)
        return group;
    group = tsk_alloc(sizeof *group);
    group->steps = tsk_alloc(size * sizeof *group->steps);
    tsk_map_put(groups, key, group);
    return group;
}

static int make_batches(const struct claiming *claiming, struct tsk_ready_list *list)
{
    struct tsk_map *groups = tsk_map_new(group_free);
    struct tsk_buf key = TSK_BUF_INIT;
    size_t size = (size_t)claiming->opts->batch_size;
    size_t batch_bytes = claiming->opts->message_bytes / 8 * 7; /* the rest is for what is around */
    int rc = 0;
    if (size > list->count)
        size = list->count;
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        key_of(claiming->opts, &list->items[i], &key);
        struct group *group = group_of(groups, key.data, size);
        size_t bytes = bytes_of(&list->items[i]);
        if (group->count && group->bytes + bytes > batch_bytes)
            rc = close_group(claiming, group);
        group->steps[group->count++] = &list->items[i];
        group->bytes += bytes;
        if (rc == 0 && group->count == size)
            rc = close_group(claiming, group);
    }
    for (struct tsk_map_entry *e = tsk_map_first(groups); rc == 0 && e; e = tsk_map_next(e)) {
        struct group *group = tsk_map_value(e);
        if (group->count)
            rc = close_group(claiming, group);
    }
    tsk_buf_fini(&key);
    tsk_map_free(groups);
    return rc;
}

/* Tasks that start are locked in the order in which all lock them, whatever that of their steps in
 * the batches is: so two who have steps of the same tasks do not wait for each other. */
static int lock_tasks(const struct claiming *claiming, const struct tsk_ready_list *list)
{
    static const char sql[] =
        "SELECT count(*) FROM (SELECT t.task_id FROM tasks t WHERE t.task_id = ANY"
        " (ARRAY(SELECT w.id FROM " TSK_IDS_POSTGRESQL
        ")) AND " TSK_UNINDEXED("t.state") " = 'pending' ORDER BY t.optional_steps IS NULL, "
                                           "t.task_id FOR NO KEY UPDATE OF t) locked";
    struct tsk_buf ids = TSK_BUF_INIT;
    int64_t locked;
    if (claiming->opts->dry || tsk_store_kind(claiming->store) == TSK_STORE_SQLITE)
        return 0;
    for (size_t i = 0; i < list->count; i++) {
        if (!i || list->items[i].task != list->items[i - 1].task)
            tsk_store_ids(&ids, list->items[i].task);
    }
    struct tsk_value value = tsk_value_chars(ids.data, ids.len);
    int rc = tsk_store_get_int(claiming->store, sql, &value, 1, &locked, claiming->err);
    tsk_buf_fini(&ids);
    return rc < 0 ? -1 : 0;
}

int tsk_claim(struct tsk_store *store, const struct tsk_claim_opts *opts, int64_t now,
              struct tsk_claims *claims, struct tsk_err *err)
{
    struct tsk_ready_list list = {NULL, 0, 0};
    struct tsk_rows rows[CLAIM_KINDS];
    struct claiming claiming = {store, opts, now, claims, err, rows};
    tsk_claims_fini(claims);
    for (size_t i = 0; i < CLAIM_KINDS; i++)
        tsk_rows_init(&rows[i], store, &sqls[i]);
    int rc = find_ready(store, opts, now, &list, err);
    if (rc == 0 && list.count)
        rc = lock_tasks(&claiming, &list);
    if (rc == 0 && list.count)
        rc = make_batches(&claiming, &list);
    for (size_t i = 0; i < CLAIM_KINDS; i++) {
        if (rc == 0)
            rc = tsk_rows_end(&rows[i], err);
        tsk_rows_fini(&rows[i]);
    }
    ready_fini(&list);
    return rc;
}
