/* Claiming, in one transaction: the steps that can run, in groups, become batches and are enqueued.
 * Two who claim at once do not claim the same: on PostgreSQL each passes over the steps that the
 * other has locked, and waits only for the tasks that both begin, in the order in which all lock
 * them; on SQLite there is one writer at a time. */
#include "ready/claim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ready/claim_private.h"
#include "tasker/clock.h"
#include "tasker/store.h"
#include "tasker/message.h"
#include "tasker/state.h"

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
enum { BATCH_STEPS, STATES, TRANSITIONS, TASKS, TASK_TRANSITIONS, KINDS };

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
        x "1", x "2", x "3") ", 'pending', 'enqueued', '" TSK_EVENT_STEP_ENQUEUED "', 'program', " \
        x "3, " x "4"
#define START(x) "UPDATE tasks SET state = 'in_progress', updated_at = " x "2 "
#define PENDING " AND " TSK_UNINDEXED("state") " = 'pending'"
#define TASK_TRANSITION                                                                            \
    "INSERT INTO task_transitions (task, sort_key, from_state, to_state, event, origin, "          \
    "created_at) "
#define TASK_MOVE(x)                                                                               \
    x "1, " STARTED ", 'pending', 'in_progress', '" TSK_EVENT_TASK_STARTED "', 'program', " x "2"

static const struct tsk_rows_sql sqls[KINDS] = {
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
    struct tsk_rows *rows; /* KINDS */
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

static int put_step(const struct claiming *claiming, int64_t batch, size_t place,
                    const struct tsk_ready *step)
{
    struct tsk_value row[] = {tsk_value_int(batch), tsk_value_int((int64_t)place + 1),
                              tsk_value_int(step->id), tsk_value_int(step->attempt)};
    struct tsk_value state[] = {tsk_value_int(step->id), tsk_value_int(step->attempt),
                                tsk_value_int(claiming->now)};
    struct tsk_value transition[] = {tsk_value_int(step->id),
                                     tsk_value_int(step->attempt),
                                     tsk_value_int(batch), tsk_value_int(claiming->now)};
    struct tsk_value task[] = {tsk_value_int(step->task), tsk_value_int(claiming->now)};
    const struct tsk_value *const values[KINDS] = {row, state, transition, task, task};
    int rc = 0;
    for (size_t i = 0; i < KINDS && rc == 0; i++)
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
        rc = put_step(claiming, id, i, group->steps[i]);
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
    tsk_ready_body(id, claiming->now, group->steps, group->count, &body);
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
    struct tsk_rows rows[KINDS];
    struct claiming claiming = {store, opts, now, claims, err, rows};
    tsk_claims_fini(claims);
    for (size_t i = 0; i < KINDS; i++)
        tsk_rows_init(&rows[i], store, &sqls[i]);
    int rc = tsk_ready_find(store, opts, now, &list, err);
    if (rc == 0 && list.count)
        rc = lock_tasks(&claiming, &list);
    if (rc == 0 && list.count)
        rc = make_batches(&claiming, &list);
    for (size_t i = 0; i < KINDS; i++) {
        if (rc == 0)
            rc = tsk_rows_end(&rows[i], err);
        tsk_rows_fini(&rows[i]);
    }
    tsk_ready_fini(&list);
    return rc;
}
