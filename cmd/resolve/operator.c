/* Steps by hand. In one transaction the ledger's news of their batches are settled, so that each is
 * judged by all that is known; then the facts are recorded, and their batches settled again, by
 * which all that follows is derived as reconcile would. A step that was in no batch has its state
 * from here alone. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "resolve/resolve_private.h"
#include "tasker/flow.h"
#include "tasker/state.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A step as it is there. */
struct seen {
    struct tsk_resolving *r;
    struct tsk_resolved *one;
    struct tsk_resolve_facts facts;
    int64_t updated_at;
    /* its latest batch; 0: none */
    int64_t batch, batch_steps, sent_until;
};

/* --- Reading. */

#define STEP                                                                                       \
    "SELECT s.name, s.task, s.state, s.next_retry_at, s.updated_at, t.state FROM steps s"          \
    " JOIN tasks t ON t.task_id = s.task WHERE s.id = $1"
static const char get_step[] = STEP, lock_step[] = STEP " FOR NO KEY UPDATE OF s";

static int take_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct seen *seen = ctx;
    (void)columns;
    seen->one->name = tsk_strdup(row[0].data);
    seen->one->task_id = row[1].number;
    seen->one->from = seen->facts.state = tsk_state_find(TSK_SUBJECT_STEP, row[2].data);
    seen->facts.backs_off = row[3].type == TSK_INT && row[3].number > seen->r->order->now;
    seen->updated_at = row[4].number;
    seen->facts.task = tsk_state_find(TSK_SUBJECT_TASK, row[5].data);
    return 1;
}

static const char get_batch[] =
    "SELECT b.id, b.total_steps, x.attempt, b.batch_id, b.accepted_by, b.result_endpoint,"
    " " TSK_SENT_UNTIL
    ", (SELECT z.status FROM settled_steps z WHERE z.batch = b.id AND z.step_id ="
    " x.step_id), (SELECT count(*) FROM step_transitions h WHERE h.step = x.step AND h.origin ="
    " 'operator' AND h.batch = b.id AND h.from_state IN ('enqueued', 'in_progress') AND h.to_state"
    " IN ('cancelled', 'resolved_manually')) FROM batch_steps x JOIN batches b ON b.id = x.batch "
    "WHERE x.step = $1"
    " ORDER BY x.attempt DESC, b.id DESC LIMIT 1";

static bool is_final(const struct tsk_value *status)
{
    return status->type == TSK_TEXT &&
           (strcmp(status->data, "completed") == 0 || strcmp(status->data, "failed") == 0);
}

static int take_batch(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct seen *seen = ctx;
    (void)columns;
    seen->batch = row[0].number;
    seen->batch_steps = row[1].number;
    seen->one->attempt = seen->facts.attempts = row[2].number;
    seen->sent_until = row[6].number;
    bool has =
        seen->facts.state == TSK_STATE_ENQUEUED || seen->facts.state == TSK_STATE_IN_PROGRESS;
    bool had = tsk_state_ended(TSK_SUBJECT_STEP, seen->facts.state) && row[8].number > 0;
    seen->facts.runs = !is_final(&row[7]) && (has || had);
    if (!seen->facts.runs)
        return 1;
    seen->one->batch_id = tsk_strdup(row[3].data);
    seen->one->worker_id = tsk_strdup(row[4].data);
    seen->one->endpoint = tsk_strdup(row[5].data);
    return 1;
}

/* Returns 1, 0 if there is no such step of a task, or -1. */
static int look(struct seen *seen, int64_t id)
{
    struct tsk_resolving *r = seen->r;
    struct tsk_value key = tsk_value_int(id);
    bool locks = !r->order->dry && tsk_store_kind(r->store) == TSK_STORE_POSTGRESQL;
    int64_t rows = /* one that was made since resolve_lock.c looked is locked here */
        tsk_store_run(r->store, locks ? lock_step : get_step, &key, 1, take_step, seen, r->err);
    if (rows <= 0)
        return (int)rows;
    return tsk_store_run(r->store, get_batch, &key, 1, take_batch, seen, r->err) < 0 ? -1 : 1;
}

/* --- Writing. */

static const char add_fact[] =
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, batch,"
    " metadata, created_at) VALUES ($1, $2, $3, $4, $5, 'operator', $6, $7, $8)";
static const char last_key[] =
    "SELECT max(sort_key) FROM step_transitions WHERE step = $1 AND sort_key BETWEEN $2 AND $3";
static const char set_state[] =
    "UPDATE steps SET state = $2, updated_at = $3, next_retry_at = NULL WHERE id = $1";
static const char set_before[] = "UPDATE steps SET attempts_before = $2 WHERE id = $1";
static const char delete_cascade[] =
    "DELETE FROM step_transitions WHERE step = $1 AND origin = 'ledger' AND event IN"
    " (" TSK_EVENTS_UNDONE ")";

/* Returns the next sort_key of the attempt, 0 if there is none left, or -1. */
static int64_t next_key(const struct seen *seen)
{
    struct tsk_resolving *r = seen->r;
    int64_t least = tsk_step_key(seen->one->attempt, TSK_PLACE_HAND), last = least - 1;
    int64_t most = tsk_step_key(seen->one->attempt, TSK_PLACE_HAND_LAST);
    struct tsk_value values[] = {tsk_value_int(seen->one->id), tsk_value_int(least),
                                 tsk_value_int(most)};
    if (tsk_store_get_int(r->store, last_key, values, COUNT(values), &last, r->err) < 0)
        return -1;
    return last < most ? last + 1 : 0;
}

static int put_fact(const struct seen *seen, int64_t key, enum tsk_state to, const char *event,
                    int64_t at)
{
    struct tsk_value values[] = {tsk_value_int(seen->one->id),
                                 tsk_value_int(key),
                                 tsk_value_text(tsk_state_name(seen->one->from)),
                                 tsk_value_text(tsk_state_name(to)),
                                 tsk_value_text(event),
                                 tsk_value_told(seen->batch, 0),
                                 tsk_value_text(seen->r->about),
                                 tsk_value_int(at)};
    return tsk_store_send(seen->r->store, add_fact, values, COUNT(values), seen->r->err);
}

/* The attempt that is under way is the first of the new ones. */
static int put_reset(const struct seen *seen, int64_t key, int64_t at)
{
    bool runs = seen->one->from == TSK_STATE_ENQUEUED || seen->one->from == TSK_STATE_IN_PROGRESS;
    struct tsk_value values[] = {tsk_value_int(seen->one->id),
                                 tsk_value_int(seen->one->attempt - runs)};
    if (put_fact(seen, key, seen->one->from, TSK_EVENT_RESET, at) < 0)
        return -1;
    return tsk_store_send(seen->r->store, set_before, values, COUNT(values), seen->r->err);
}

static const char *event_of(const struct seen *seen)
{
    const char *event = tsk_state_event(TSK_SUBJECT_STEP, seen->one->from, seen->one->to);
    return event ? event : tsk_state_event(TSK_SUBJECT_STEP, TSK_STATE_ERROR, TSK_STATE_PENDING);
}

/* What follows at once: a batch is settled later, with others. */
static int follow(const struct seen *seen, int64_t at)
{
    struct tsk_resolving *r = seen->r;
    struct tsk_value state[] = {tsk_value_int(seen->one->id),
                                tsk_value_text(tsk_state_name(seen->one->to)), tsk_value_int(at)};
    if (seen->one->from == TSK_STATE_CANCELLED &&
        tsk_store_send(r->store, delete_cascade, state, 1, r->err) < 0)
        return -1;
    if (seen->batch) {
        tsk_settle_list_add(&r->touched, seen->batch, seen->batch_steps);
        return 0;
    }
    tsk_resolve_ids_add(&r->tasks, seen->one->task_id);
    return tsk_store_send(r->store, set_state, state, COUNT(state), r->err);
}

/* Later than all that is known of the step, whatever the clocks of others say. */
static int64_t moment(const struct seen *seen)
{
    int64_t now = seen->r->order->now;
    return now > seen->updated_at ? now : seen->updated_at + 1;
}

static int refuse(struct seen *seen, const char *why)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text, "step %" PRId64, seen->one->id);
    if (seen->one->name)
        tsk_buf_printf(&text, " (%s)", seen->one->name);
    tsk_buf_printf(&text, " %s", why);
    seen->one->why = text.data;
    return 0;
}

static int write_fact(struct seen *seen)
{
    bool reset = seen->r->action == TSK_RESOLVE_RESET;
    int64_t key = next_key(seen), at = moment(seen);
    if (key < 0)
        return -1;
    if (!key || (reset && key % TSK_KEYS_OF_ATTEMPT == TSK_PLACE_HAND_LAST))
        return refuse(seen, "has had all that can be done to one attempt");
    if (reset && put_reset(seen, key++, at) < 0)
        return -1;
    bool moves = !reset || seen->one->from != seen->one->to;
    if (moves && put_fact(seen, key, seen->one->to, event_of(seen), at) < 0)
        return -1;
    return follow(seen, at);
}

/* --- One step. */

static int refuse_state(struct seen *seen)
{
    struct tsk_buf text = TSK_BUF_INIT;
    struct tsk_resolve_facts alone = seen->facts;
    alone.task = TSK_STATE_IN_PROGRESS;
    tsk_buf_printf(&text, "is %s", tsk_state_name(seen->facts.state));
    if (tsk_resolve_step_to(seen->r->action, &alone) != TSK_STATE_NONE)
        tsk_buf_printf(&text, ", and its task %" PRId64 " is %s", seen->one->task_id,
                       tsk_state_name(seen->facts.task));
    tsk_buf_str(&text, ": ");
    tsk_resolve_choices(&seen->facts, &text);
    refuse(seen, text.data);
    tsk_buf_fini(&text);
    return 0;
}

/* Whether whoever has it is to be told. */
static bool is_to_be_told(const struct seen *seen)
{
    return seen->facts.runs && tsk_state_ended(TSK_SUBJECT_STEP, seen->one->to);
}

int tsk_resolving_step(struct tsk_resolving *r, int64_t id)
{
    struct seen seen = {.r = r, .one = tsk_resolved_add(r->list)};
    seen.one->id = id;
    int there = look(&seen, id);
    if (there < 0)
        return -1;
    if (!there)
        return refuse(&seen, "belongs to no task in the store: only a step of a task can be changed");
    seen.one->to = tsk_resolve_step_to(r->action, &seen.facts);
    if (!is_to_be_told(&seen)) {
        free(seen.one->batch_id);
        seen.one->batch_id = NULL;
    }
    seen.one->sent_until = seen.sent_until;
    if (seen.one->to == TSK_STATE_NONE)
        return refuse_state(&seen);
    bool again = seen.one->to == seen.one->from && tsk_state_ended(TSK_SUBJECT_STEP, seen.one->to);
    return r->order->dry || again ? 0 : write_fact(&seen);
}

/* --- The transaction. */

static int by_batch(const void *a, const void *b)
{
    const struct tsk_settle_item *m = a, *n = b;
    return m->batch < n->batch ? -1 : m->batch > n->batch;
}

/* Settles the batches that were touched, in the order in which all lock them, each once. */
static int settle(struct tsk_resolving *r, unsigned how)
{
    struct tsk_settle_list *list = &r->touched;
    size_t kept = 0;
    if (list->count)
        qsort(list->items, list->count, sizeof *list->items, by_batch);
    for (size_t i = 0; i < list->count; i++) {
        if (!i || list->items[i].batch != list->items[i - 1].batch)
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
    return tsk_settler_within(r->settler, list, how, r->err);
}

static int take_touched(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_resolving *r = ctx;
    (void)columns;
    tsk_settle_list_add(&r->touched, row[0].number, row[1].number);
    return 1;
}

int tsk_resolving_begin(struct tsk_resolving *r, const int64_t *ids, size_t count, int64_t task)
{
    tsk_resolved_fini(r->list);
    if (tsk_resolving_lock(r, ids, count, task) < 0)
        return -1;
    for (size_t i = 0; i < count && !r->order->dry; i++) {
        struct tsk_value key = tsk_value_int(ids[i]);
        if (tsk_store_run(r->store, get_batch, &key, 1, take_touched, r, r->err) < 0)
            return -1;
    }
    int rc = settle(r, 0);
    r->touched.count = 0;
    return rc;
}

/* What a publisher that is still to send a batch must know. */
#define DROPPED                                                                                    \
    " FROM batch_steps p JOIN steps s ON s.id = p.step WHERE p.batch = $1 AND s.state IN"          \
    " ('cancelled', 'resolved_manually')) WHERE id = $1 AND state = 'created'"
static const char drop_sqlite[] =
    "UPDATE batches SET dropped = (SELECT json_group_array(p.step_id)" DROPPED;
static const char drop_postgresql[] =
    "UPDATE batches SET dropped = (SELECT CAST(json_agg(p.step_id) AS text)" DROPPED;

static int drop(struct tsk_resolving *r)
{
    const char *sql = TSK_SQL(r->store, drop_sqlite, drop_postgresql);
    for (size_t i = 0; i < r->touched.count; i++) {
        struct tsk_value key = tsk_value_int(r->touched.items[i].batch);
        if (tsk_store_send(r->store, sql, &key, 1, r->err) < 0)
            return -1;
    }
    return 0;
}

int tsk_resolving_finish(struct tsk_resolving *r)
{
    if (r->order->dry)
        return 0;
    if (settle(r, TSK_SETTLE_FORCE) < 0 || drop(r) < 0)
        return -1;
    return tsk_flow_settle_all(r->store, r->tasks.items, r->tasks.count, r->err);
}

void tsk_resolving_fini(struct tsk_resolving *r)
{
    free(r->about);
    free(r->tasks.items);
    tsk_settle_list_fini(&r->touched);
}

int tsk_resolve_steps(struct tsk_store *store, struct tsk_settler *settler,
                      const struct tsk_resolve_order *order, const int64_t *ids, size_t count,
                      struct tsk_resolved_list *list, struct tsk_err *err)
{
    struct tsk_resolving r = {.store = store,
                              .settler = settler,
                              .order = order,
                              .action = order->action,
                              .about = tsk_resolve_about(order),
                              .list = list,
                              .err = err};
    int rc = tsk_resolving_begin(&r, ids, count, 0);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = tsk_resolving_step(&r, ids[i]);
    if (rc == 0)
        rc = tsk_resolving_finish(&r);
    tsk_resolving_fini(&r);
    return rc;
}
