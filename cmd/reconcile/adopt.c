/* Adds the rows of foreign batches, as a publisher adds them, by the messages in the ledger. */
#include "reconcile/reconcile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tasker/buf.h"
#include "tasker/map.h"
#include "tasker/message.h"
#include "tasker/outbound.h"
#include "tasker/parse.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What the ledger tells of one batch. */
struct found {
    const struct settling *settling;
    struct tsk_json *json;
    char batch_id[TSK_ID_SIZE], worker[TSK_ID_SIZE], source[TSK_ID_SIZE];
    int64_t first_at, total;
    struct tsk_map *places; /* of steps + 1, by step_id */
    struct tsk_outbound_step *steps;
    size_t count, cap;
};

static void forget_steps(struct found *found)
{
    for (size_t i = 0; i < found->count; i++) {
        free((char *)found->steps[i].name);
        free((char *)found->steps[i].handler_class);
        free((char *)found->steps[i].handler_config);
    }
    free(found->steps);
    tsk_map_free(found->places);
}

static struct tsk_outbound_step *find_step(struct found *found, int64_t step_id)
{
    char key[32];
    snprintf(key, sizeof key, "%" PRId64, step_id);
    uintptr_t place = (uintptr_t)tsk_map_get(found->places, key);
    if (place)
        return &found->steps[place - 1];
    found->steps = tsk_grow(found->steps, &found->cap, found->count + 1, sizeof *found->steps);
    struct tsk_outbound_step *step = &found->steps[found->count++];
    *step = (struct tsk_outbound_step){.step_id = step_id};
    tsk_map_put(found->places, key, (void *)found->count); /* NOLINT: a number */
    return step;
}

/* Copies a text, if it is not known yet. */
static void learn_text(const char **to, const char *text)
{
    if (!*to && text)
        *to = tsk_strdup(text);
}

/* Copies a number from 1 to most, if none is known yet. Any other number is ignored: a foreign peer
 * may send what no column holds. */
static void learn_number(int64_t *to, int64_t n, int64_t most)
{
    if (!*to && n > 0 && n <= most)
        *to = n;
}

static void learn_int(int64_t *to, struct json_object *json, const char *key, int64_t most)
{
    int64_t n;
    if (tsk_json_int(json, key, &n) == 1)
        learn_number(to, n, most);
}

static void learn_step(struct found *found, struct json_object *json)
{
    struct json_object *about = tsk_json_get(json, "execution_metadata");
    struct json_object *config = tsk_json_get(about, "handler_config");
    int64_t step_id = 0;
    tsk_json_int(json, "step_id", &step_id);
    struct tsk_outbound_step *step = find_step(found, step_id);
    learn_int(&step->task_id, json, "task_id", INT64_MAX);
    learn_int(&step->attempt, json, "attempt", TSK_COUNT_MOST);
    learn_int(&step->retry_limit, about, "retry_limit", TSK_COUNT_MOST);
    learn_int(&step->timeout_ms, about, "timeout_ms", TSK_TIMEOUT_MOST);
    learn_text(&step->name, tsk_json_str(json, "step_name"));
    learn_text(&step->handler_class, tsk_json_str(about, "handler_class"));
    if (json_object_is_type(config, json_type_object))
        learn_text(&step->handler_config, tsk_json_text(config, NULL));
}

static void learn_name(char to[TSK_ID_SIZE], const char *name)
{
    if (!*to && name && tsk_name_valid(name))
        snprintf(to, TSK_ID_SIZE, "%s", name);
}

static int learn_result(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct found *found = ctx;
    struct json_object *all = tsk_json_get(message, "step_summaries");
    (void)changed;
    learn_name(found->worker, tsk_json_str(message, "worker_id"));
    learn_int(&found->total, message, "total_steps", TSK_COUNT_MOST);
    if (type == TSK_TYPE_PARTIAL)
        learn_step(found, message);
    for (size_t i = 0; all && i < json_object_array_length(all); i++)
        learn_step(found, json_object_array_get_idx(all, i));
    return 0;
}

/* A receipt names each step of its batch. */
static void learn_receipt(struct found *found, struct json_object *message)
{
    static const char *const keys[] = {"steps", "step_ids"};
    if (tsk_receipt_check(message, NULL))
        return;
    learn_int(&found->total, message, "total_steps", TSK_COUNT_MOST);
    for (size_t k = 0; k < COUNT(keys); k++) {
        struct json_object *all = tsk_json_get(message, keys[k]);
        for (size_t i = 0; all && i < json_object_array_length(all); i++) {
            struct tsk_result entry;
            tsk_result_published(&entry, json_object_array_get_idx(all, i));
            struct tsk_outbound_step *step = find_step(found, entry.step_id);
            learn_number(&step->task_id, entry.task_id, INT64_MAX);
            learn_number(&step->attempt, entry.attempt, TSK_COUNT_MOST);
            learn_number(&step->retry_limit, entry.retry_limit, TSK_COUNT_MOST);
            learn_text(&step->name, entry.step_name);
        }
    }
}

static int learn(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct found *found = ctx;
    (void)columns;
    if (found->first_at < 0)
        found->first_at = row[0].number;
    struct json_object *message = tsk_json_salvage(found->json, row[2].data, row[2].len, NULL);
    if (message && tsk_type_of(message) == TSK_TYPE_PUBLISHED)
        learn_receipt(found, message);
    else if (message)
        tsk_result_normalise(row[1].data, message, learn_result, found, NULL);
    if (row[3].data && !tsk_source_reserved(row[3].data))
        learn_name(found->source, row[3].data);
    json_object_put(message);
    return 0;
}

/* What nobody told. */
static void fill_in(struct found *found)
{
    for (size_t i = 0; i < found->count; i++) {
        struct tsk_outbound_step *step = &found->steps[i];
        learn_text(&step->name, "");
        learn_text(&step->handler_class, "");
        if (!step->task_id)
            step->task_id = step->step_id;
        if (!step->attempt)
            step->attempt = 1;
        if (!step->retry_limit)
            step->retry_limit = found->settling->retry_limit;
    }
    if (found->total < (int64_t)found->count)
        found->total = (int64_t)found->count;
    if (!found->total)
        found->total = 1;
}

static int add(struct tsk_store *store, const struct found *found, struct tsk_err *err)
{
    static const char count[] = "UPDATE batches SET total_steps = $2, timeout_ms = $3 WHERE"
                                " batch_id = $1 AND publisher = '" TSK_OUTBOUND_LEDGER "'";
    struct tsk_outbound_claim claim = {TSK_OUTBOUND_LEDGER, found->first_at, 0};
    struct tsk_outbound_batch batch = {.batch_id = found->batch_id,
                                       .body = "",
                                       .step_timeout = found->settling->step_timeout,
                                       .steps = found->steps,
                                       .count = found->count,
                                       .total = found->total};
    struct tsk_outbound_acceptance acceptance = {
        .batch_id = found->batch_id,
        .worker_id = *found->worker ? found->worker : NULL,
        .source = *found->source ? found->source : NULL,
        .at = found->first_at};
    struct tsk_value values[] = {tsk_value_text(found->batch_id), tsk_value_int(found->total),
                                 tsk_value_int(tsk_outbound_time_limit(&batch))};
    if (tsk_outbound_add(store, &claim, &batch, err) < 0 ||
        tsk_store_send(store, count, values, COUNT(values), err) < 0)
        return -1;
    return tsk_outbound_accept(store, &acceptance, err);
}

/* A mark of a batch of which nothing can be read is of no use. */
static int drop_marks(struct tsk_store *store, const char *batch_id, struct tsk_err *err)
{
    static const char sql[] = "DELETE FROM unsettled WHERE batch_id = $1";
    struct tsk_value value = tsk_value_text(batch_id);
    return tsk_store_send(store, sql, &value, 1, err);
}

/* Two processes that adopt the same batch do it one after the other: each locks its marks first. */
static int lock_marks(struct tsk_store *store, const char *batch_id, struct tsk_err *err)
{
    static const char sql[] = "SELECT count(*) FROM (SELECT id FROM unsettled WHERE batch_id = $1"
                              " ORDER BY id FOR UPDATE) u";
    struct tsk_value value = tsk_value_text(batch_id);
    int64_t n;
    if (tsk_store_kind(store) == TSK_STORE_SQLITE)
        return 0;
    return tsk_store_get_int(store, sql, &value, 1, &n, err) < 0 ? -1 : 0;
}

static int adopt_one(const struct settling *s, struct tsk_json *json, const char *batch_id,
                     struct tsk_err *err)
{
    static const char sql[] = "SELECT received_at, topic, raw_message, source FROM received_results"
                              " WHERE batch_id = $1 AND reason IS NULL ORDER BY id";
    struct found found = {.settling = s, .json = json, .first_at = -1, .places = tsk_map_new(NULL)};
    struct tsk_value value = tsk_value_text(batch_id);
    learn_name(found.batch_id, batch_id);
    int rc = lock_marks(s->store, batch_id, err);
    if (rc == 0 && tsk_store_run(s->store, sql, &value, 1, learn, &found, err) < 0)
        rc = -1;
    fill_in(&found);
    if (rc == 0)
        rc = found.first_at < 0 ? drop_marks(s->store, batch_id, err) : add(s->store, &found, err);
    forget_steps(&found);
    return rc;
}

enum { GROUP_MOST = 100 }; /* batches in one transaction */

struct adopting {
    struct settling *settling;
    bool all;
    struct json_object *ids;
    size_t from, to; /* of ids: what the transaction adopts */
};

static int take_id(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct adopting *adopting = ctx;
    (void)columns;
    json_object_array_add(adopting->ids,
                          json_object_new_string_len(row[0].data, (int)row[0].len));
    return 0;
}

#define MARKED(LEFT_JOIN)                                                                          \
    "SELECT DISTINCT u.batch_id FROM unsettled u" LEFT_JOIN("batches", "b",                        \
                                                            "b.batch_id = u.batch_id")             \
        " WHERE b.id IS NULL OR b.publisher = '" TSK_OUTBOUND_LEDGER "'"
#define UNKNOWN                                                                                    \
    "SELECT DISTINCT r.batch_id FROM received_results r WHERE r.batch_id IS NOT NULL AND"          \
    " r.reason IS NULL AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.batch_id = r.batch_id)"

#define ORDER " ORDER BY 1"
static const char marked_sqlite[] = MARKED(TSK_LEFT_JOIN_SQLITE) ORDER;
static const char marked_postgresql[] = MARKED(TSK_LEFT_JOIN_POSTGRESQL) ORDER;
static const char all_sqlite[] = MARKED(TSK_LEFT_JOIN_SQLITE) " UNION " UNKNOWN ORDER;
static const char all_postgresql[] = MARKED(TSK_LEFT_JOIN_POSTGRESQL) " UNION " UNKNOWN ORDER;

static int find(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct adopting *adopting = ctx;
    const char *sql = adopting->all ? TSK_SQL(store, all_sqlite, all_postgresql)
                                    : TSK_SQL(store, marked_sqlite, marked_postgresql);
    json_object_put(adopting->ids);
    adopting->ids = json_object_new_array();
    return tsk_store_run(store, sql, NULL, 0, take_id, adopting, err) < 0 ? -1 : 0;
}

static const char *id_at(const struct adopting *adopting, size_t i)
{
    return json_object_get_string(json_object_array_get_idx(adopting->ids, i));
}

static int adopt_group(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct adopting *adopting = ctx;
    struct tsk_json *json = tsk_json_new();
    int rc = 0;
    (void)store;
    for (size_t i = adopting->from; i < adopting->to && rc == 0; i++)
        rc = adopt_one(adopting->settling, json, id_at(adopting, i), err);
    tsk_json_free(json);
    return rc;
}

/* Adopts so many batches in one transaction. If the store refuses one of them, each gets a
 * transaction of its own, and the bad ones are reported. */
static int adopt_range(struct adopting *adopting, size_t from, size_t count, struct tsk_err *err)
{
    struct settling *s = adopting->settling;
    int rc = 0;
    adopting->from = from;
    adopting->to = from + count;
    if (tsk_store_write(s->store, adopt_group, adopting, s->patience, err) == 0)
        return 0;
    if (err->kind != TSK_DATA)
        return -1;
    if (count == 1)
        settling_refused(s, id_at(adopting, from), err);
    for (size_t i = 0; count > 1 && i < count && rc == 0; i++)
        rc = adopt_range(adopting, from + i, 1, err);
    return rc;
}

int adopt_batches(struct settling *s, bool all, struct tsk_err *err)
{
    struct adopting adopting = {.settling = s, .all = all};
    int rc = tsk_store_read(s->store, find, &adopting, s->patience, err);
    size_t count = rc == 0 ? json_object_array_length(adopting.ids) : 0;
    for (size_t i = 0; i < count && rc == 0; i += GROUP_MOST)
        rc = adopt_range(&adopting, i, count - i < GROUP_MOST ? count - i : GROUP_MOST, err);
    json_object_put(adopting.ids);
    return rc;
}
