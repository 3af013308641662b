/* Steps by hand. In one transaction the ledger's news of their batches are settled, so that each is
 * judged by all that is known; then the facts are recorded, and their batches settled again, by
 * which all that follows is derived as reconcile would. A step that was in no batch has its state
 * from here alone. */
#include "resolve/operator.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/flow.h"
#include "tasker/json.h"
#include "tasker/state.h"

/* Of batches b: when it is clear that no publisher sends it at the moment; -1: somebody has
 * accepted it. Results may be there before a publisher could record who gives them. */
#define SENT_UNTIL                                                                                 \
    "CASE WHEN b.published_at IS NOT NULL THEN -1 WHEN b.state = 'created' THEN b.claimed_until"   \
    " ELSE 9000000000000000 END"

/* Of steps s: an operator has cancelled it where a worker may have had it, and the ledger has no
 * end of it since; and the same, where the batch b in which that was meets a condition. */
#define UNCONFIRMED_IF(condition)                                                                  \
    "s.state = 'cancelled' AND EXISTS (SELECT 1 FROM step_transitions h JOIN batches b ON b.id ="  \
    " h.batch WHERE h.step = s.id AND h.origin = 'operator' AND h.from_state IN ('enqueued',"      \
    " 'in_progress') AND h.to_state = 'cancelled' AND " condition                                  \
    " AND NOT EXISTS (SELECT 1 FROM settled_steps z WHERE z.batch = b.id AND z.step_id ="          \
    " s.step_id AND z.status IN ('completed', 'failed')))"
#define UNCONFIRMED_ANY UNCONFIRMED_IF("1 = 1")
#define OPEN_STATE "s.state IN ('pending', 'enqueued', 'in_progress')"

/* What is under way in one transaction. */
struct resolving {
    struct tsk_store *store;
    struct tsk_settler *settler;
    const struct tsk_resolve_order *order;
    enum tsk_resolve_action action; /* as ordered, or of the steps of a task */
    char *about;                    /* metadata of the transitions */
    struct tsk_resolved_list *list;
    struct tsk_settle_list touched; /* batches to be settled */
    struct tsk_resolve_ids tasks;   /* those of steps that are in none */
    struct tsk_err *err;
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- Texts and lists of the operator's hand. */

char *tsk_resolve_about(const struct tsk_resolve_order *order)
{
    struct json_object *about = json_object_new_object();
    tsk_json_put_str(about, "reason", order->reason);
    tsk_json_put_str(about, "by", order->by);
    size_t len;
    char *text = tsk_strdup(tsk_json_text(about, &len));
    json_object_put(about);
    return text;
}

void tsk_resolve_ids_add(struct tsk_resolve_ids *ids, int64_t id)
{
    ids->items = tsk_grow(ids->items, &ids->cap, ids->count + 1, sizeof *ids->items);
    ids->items[ids->count++] = id;
}

static struct tsk_resolved *add_resolved(struct tsk_resolved_list *list)
{
    list->items = tsk_grow(list->items, &list->cap, list->count + 1, sizeof *list->items);
    struct tsk_resolved *one = &list->items[list->count++];
    *one = (struct tsk_resolved){.is_task = false};
    return one;
}

static void forget(struct tsk_resolved *one)
{
    free(one->name);
    free(one->why);
    free(one->batch_id);
    free(one->worker_id);
    free(one->endpoint);
}

void tsk_resolved_fini(struct tsk_resolved_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        forget(&list->items[i]);
    free(list->items);
    *list = (struct tsk_resolved_list)TSK_RESOLVED_LIST_INIT;
}

void tsk_hold_fini(struct tsk_hold *hold)
{
    free(hold->reason);
    free(hold->by);
    *hold = (struct tsk_hold){.done = false};
}

static int take_id(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)columns;
    tsk_resolve_ids_add(ctx, row[0].number);
    return 0;
}

/* ---- What an operator may do, and when. */

static const struct {
    const char *word, *past;
} words[TSK_RESOLVE_ACTIONS] = {
    [TSK_RESOLVE_RETRY] = {"retry", "retried"},
    [TSK_RESOLVE_RESET] = {"reset", "reset"},
    [TSK_RESOLVE_RESOLVE] = {"resolve", "resolved"},
    [TSK_RESOLVE_CANCEL] = {"cancel", "cancelled"},
};

const char *tsk_resolve_word(enum tsk_resolve_action action)
{
    return words[action].word;
}

const char *tsk_resolve_past(enum tsk_resolve_action action)
{
    return words[action].past;
}

static enum tsk_state end_to(enum tsk_state state, const struct tsk_resolve_facts *facts)
{
    if (facts->state == state)
        return facts->runs ? state : TSK_STATE_NONE;
    return tsk_state_allowed(TSK_SUBJECT_STEP, facts->state, state) ? state : TSK_STATE_NONE;
}

/* A task that somebody has ended runs no step any more. */
static bool task_is_over(const struct tsk_resolve_facts *facts)
{
    return facts->task == TSK_STATE_CANCELLED || facts->task == TSK_STATE_RESOLVED;
}

static enum tsk_state retry_to(const struct tsk_resolve_facts *facts)
{
    bool waits = facts->state == TSK_STATE_PENDING && facts->backs_off;
    return (facts->state == TSK_STATE_ERROR || waits) && !task_is_over(facts) ? TSK_STATE_PENDING
                                                                              : TSK_STATE_NONE;
}

static enum tsk_state reset_to(const struct tsk_resolve_facts *facts)
{
    if (!facts->attempts || task_is_over(facts) || tsk_state_ended(TSK_SUBJECT_STEP, facts->state))
        return TSK_STATE_NONE;
    return facts->state == TSK_STATE_ERROR ? TSK_STATE_PENDING : facts->state;
}

enum tsk_state tsk_resolve_step_to(enum tsk_resolve_action action,
                                   const struct tsk_resolve_facts *facts)
{
    switch (action) {
    case TSK_RESOLVE_RETRY:
        return retry_to(facts);
    case TSK_RESOLVE_RESET:
        return reset_to(facts);
    case TSK_RESOLVE_RESOLVE:
        return end_to(TSK_STATE_RESOLVED, facts);
    default:
        return end_to(TSK_STATE_CANCELLED, facts);
    }
}

enum tsk_state tsk_resolve_task_to(enum tsk_resolve_action action, enum tsk_state state, bool runs)
{
    enum tsk_state to = action == TSK_RESOLVE_RESOLVE ? TSK_STATE_RESOLVED : TSK_STATE_CANCELLED;
    if (state == to)
        return runs ? to : TSK_STATE_NONE;
    return tsk_state_allowed(TSK_SUBJECT_TASK, state, to) ? to : TSK_STATE_NONE;
}

void tsk_resolve_choices(const struct tsk_resolve_facts *facts, struct tsk_buf *out)
{
    size_t left = 0;
    for (int i = 0; i < TSK_RESOLVE_ACTIONS; i++)
        left += tsk_resolve_step_to((enum tsk_resolve_action)i, facts) != TSK_STATE_NONE;
    tsk_buf_str(out, left ? "it can be " : "nothing more can be done to it");
    for (int i = 0; i < TSK_RESOLVE_ACTIONS; i++) {
        if (tsk_resolve_step_to((enum tsk_resolve_action)i, facts) == TSK_STATE_NONE)
            continue;
        left--;
        tsk_buf_printf(out, "%s%s", words[i].past, left > 1 ? ", " : left == 1 ? " or " : "");
    }
}

/* ---- Locks, which only PostgreSQL needs, before anything is read to be changed: so that nobody
 * waits for somebody who waits for him. What is waited for comes in the order of those who settle
 * (settler.c): the batches, then the tasks, of these first those with optional steps, each in the
 * order of their ids. Who settles or claims has steps before he waits for their task. So steps come
 * last here and are not waited for: if another has one, all is let go, and tried again. */

/* $1: the steps that are meant, as an array; $2: a task, or 0. With a batch all its steps are
 * settled. */
#define IDS "CAST(CAST($1 AS TEXT) AS BIGINT[])"
#define BATCHES "SELECT p.batch FROM batch_steps p WHERE p.step = ANY(" IDS ")"
#define STEPS                                                                                      \
    "SELECT unnest(" IDS ") UNION SELECT q.step FROM batch_steps q WHERE q.batch IN (" BATCHES ")"

static const char lock_batches[] =
    "SELECT b.id FROM batches b WHERE b.id IN (" BATCHES ") ORDER BY b.id FOR NO KEY UPDATE OF b";
static const char count_batches[] = "SELECT count(*) FROM batches b WHERE b.id IN (" BATCHES ")";
static const char lock_tasks[] =
    "SELECT t.task_id FROM tasks t WHERE t.task_id IN (SELECT CAST($2 AS BIGINT) UNION SELECT"
    " s.task FROM steps s WHERE s.id IN (" STEPS
    ")) ORDER BY t.optional_steps IS NULL, t.task_id FOR UPDATE OF t";
static const char try_steps[] = "SELECT s.id FROM steps s WHERE s.id IN (" STEPS
                                ") ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED";
static const char count_steps[] = "SELECT count(*) FROM steps s WHERE s.id IN (" STEPS ")";

static int pass(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)ctx;
    (void)row;
    (void)columns;
    return 0;
}

/* Whether the rows that were got are all that count tells. Returns 1, 0, or -1. */
static int all_of(struct resolving *r, int64_t got, const char *count, const struct tsk_value *ids)
{
    int64_t there = 0;
    if (got < 0 || tsk_store_get_int(r->store, count, ids, 1, &there, r->err) < 0)
        return -1;
    return got == there;
}

static int lock(struct resolving *r, const struct tsk_value *values)
{
    int64_t batches = tsk_store_run(r->store, lock_batches, values, 1, pass, NULL, r->err);
    if (batches < 0 || tsk_store_run(r->store, lock_tasks, values, 2, pass, NULL, r->err) < 0)
        return -1;
    int64_t steps = tsk_store_run(r->store, try_steps, values, 1, pass, NULL, r->err);
    int all = all_of(r, steps, count_steps, values);
    if (all > 0)
        all = all_of(r, batches, count_batches, values); /* or one was claimed in between */
    if (all < 0)
        return -1;
    return all ? 0
               : tsk_err_set(r->err, TSK_TEMPFAIL,
                             "%s: the steps are being claimed or settled by others",
                             tsk_store_name(r->store));
}

static int lock_all(struct resolving *r, const int64_t *ids, size_t count, int64_t task)
{
    struct tsk_buf array = TSK_BUF_INIT;
    if (r->order->dry || tsk_store_kind(r->store) == TSK_STORE_SQLITE)
        return 0;
    tsk_buf_char(&array, '{');
    for (size_t i = 0; i < count; i++)
        tsk_buf_printf(&array, "%s%" PRId64, i ? "," : "", ids[i]);
    tsk_buf_char(&array, '}');
    struct tsk_value values[] = {tsk_value_chars(array.data, array.len), tsk_value_int(task)};
    int rc = lock(r, values);
    tsk_buf_fini(&array);
    return rc;
}

/* ---- steps */

/* A step as it is there. */
struct seen {
    struct resolving *r;
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
    " " SENT_UNTIL ", (SELECT z.status FROM settled_steps z WHERE z.batch = b.id AND z.step_id ="
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
    struct resolving *r = seen->r;
    struct tsk_value key = tsk_value_int(id);
    bool locks = !r->order->dry && tsk_store_kind(r->store) == TSK_STORE_POSTGRESQL;
    int64_t rows = /* one that was made since lock_all looked is locked here */
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
    struct resolving *r = seen->r;
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
    struct resolving *r = seen->r;
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

static int resolve_step(struct resolving *r, int64_t id)
{
    struct seen seen = {.r = r, .one = add_resolved(r->list)};
    seen.one->id = id;
    int there = look(&seen, id);
    if (there < 0)
        return -1;
    if (!there)
        return refuse(&seen,
                      "belongs to no task in the store: only a step of a task can be changed");
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
static int settle(struct resolving *r, unsigned how)
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
    struct resolving *r = ctx;
    (void)columns;
    tsk_settle_list_add(&r->touched, row[0].number, row[1].number);
    return 1;
}

static int begin(struct resolving *r, const int64_t *ids, size_t count, int64_t task)
{
    tsk_resolved_fini(r->list);
    if (lock_all(r, ids, count, task) < 0)
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

static int drop(struct resolving *r)
{
    const char *sql = TSK_SQL(r->store, drop_sqlite, drop_postgresql);
    for (size_t i = 0; i < r->touched.count; i++) {
        struct tsk_value key = tsk_value_int(r->touched.items[i].batch);
        if (tsk_store_send(r->store, sql, &key, 1, r->err) < 0)
            return -1;
    }
    return 0;
}

static int finish(struct resolving *r)
{
    if (r->order->dry)
        return 0;
    if (settle(r, TSK_SETTLE_FORCE) < 0 || drop(r) < 0)
        return -1;
    return tsk_flow_settle_all(r->store, r->tasks.items, r->tasks.count, r->err);
}

static void fini(struct resolving *r)
{
    free(r->about);
    free(r->tasks.items);
    tsk_settle_list_fini(&r->touched);
}

int tsk_resolve_steps(struct tsk_store *store, struct tsk_settler *settler,
                      const struct tsk_resolve_order *order, const int64_t *ids, size_t count,
                      struct tsk_resolved_list *list, struct tsk_err *err)
{
    struct resolving r = {.store = store,
                          .settler = settler,
                          .order = order,
                          .action = order->action,
                          .about = tsk_resolve_about(order),
                          .list = list,
                          .err = err};
    int rc = begin(&r, ids, count, 0);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = resolve_step(&r, ids[i]);
    if (rc == 0)
        rc = finish(&r);
    fini(&r);
    return rc;
}

/* ---- A task by hand: what an operator has ended stays so (flow_store.c), and with it end the
 * steps that have not. */

struct task_seen {
    struct tsk_resolved *one;
    int64_t updated_at;
};

/* The steps that end with the task, or that have ended so and nobody has said it yet. */
static int find_open(struct resolving *r, int64_t task, struct tsk_resolve_ids *ids)
{
    static const char sql[] = "SELECT s.id FROM steps s WHERE s.task = $1 AND (" OPEN_STATE
                              " OR (" UNCONFIRMED_ANY ")) ORDER BY s.id";
    struct tsk_value key = tsk_value_int(task);
    ids->count = 0;
    return tsk_store_run(r->store, sql, &key, 1, take_id, ids, r->err) < 0 ? -1 : 0;
}

static int take_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct task_seen *task_seen = ctx;
    (void)columns;
    task_seen->one->name = tsk_strdup(row[0].data);
    task_seen->one->from = tsk_state_find(TSK_SUBJECT_TASK, row[1].data);
    task_seen->updated_at = row[2].number;
    return 1;
}

/* Returns 1, 0 if it is not there, or -1. */
static int task_look(struct resolving *r, struct task_seen *task_seen)
{
    static const char sql[] = "SELECT name, state, updated_at FROM tasks WHERE task_id = $1";
    struct tsk_value key = tsk_value_int(task_seen->one->id);
    return (int)tsk_store_run(r->store, sql, &key, 1, take_task, task_seen, r->err);
}

static int task_refuse(struct tsk_resolved *one, bool runs)
{
    struct tsk_buf why = TSK_BUF_INIT;
    bool over = one->from == TSK_STATE_RESOLVED && !runs;
    if (!one->name)
        tsk_buf_printf(&why, "task %" PRId64 " is not in the store", one->id);
    else
        tsk_buf_printf(&why, "task %" PRId64 " (%s) is %s: %s", one->id, one->name,
                       tsk_state_name(one->from),
                       over ? "nothing more can be done to it" : "it can be resolved");
    one->why = why.data;
    return 0;
}

static const char task_last_key[] =
    "SELECT max(sort_key) FROM task_transitions WHERE task = $1 AND sort_key BETWEEN $2 AND $3";
static const char task_add_fact[] =
    "INSERT INTO task_transitions (task, sort_key, from_state, to_state, event, origin, metadata,"
    " created_at) VALUES ($1, $2, $3, $4, $5, 'operator', $6, $7)";
static const char task_set_state[] =
    "UPDATE tasks SET state = $2, updated_at = $3 WHERE task_id = $1";
static const char delete_end[] =
    "DELETE FROM task_transitions WHERE task = $1 AND origin = 'ledger'";

static int task_put_fact(struct resolving *r, const struct task_seen *task_seen)
{
    const struct tsk_resolved *one = task_seen->one;
    int64_t key = TSK_PLACE_HAND - 1, now = r->order->now;
    int64_t at = now > task_seen->updated_at ? now : task_seen->updated_at + 1;
    struct tsk_value range[] = {tsk_value_int(one->id), tsk_value_int(TSK_PLACE_HAND),
                                tsk_value_int(TSK_PLACE_HAND_LAST)};
    if (tsk_store_get_int(r->store, task_last_key, range, COUNT(range), &key, r->err) < 0)
        return -1;
    struct tsk_value fact[] = {
        tsk_value_int(one->id),
        tsk_value_int(key + 1),
        tsk_value_text(tsk_state_name(one->from)),
        tsk_value_text(tsk_state_name(one->to)),
        tsk_value_text(tsk_state_event(TSK_SUBJECT_TASK, one->from, one->to)),
        tsk_value_text(r->about),
        tsk_value_int(at)};
    struct tsk_value state[] = {fact[0], fact[3], fact[6]};
    return tsk_store_send(r->store, delete_end, state, 1, r->err) < 0 ||
                   tsk_store_send(r->store, task_add_fact, fact, COUNT(fact), r->err) < 0 ||
                   tsk_store_send(r->store, task_set_state, state, COUNT(state), r->err) < 0
               ? -1
               : 0;
}

/* The task, then its steps, which are cancelled whatever the task is. */
static int end_task(struct resolving *r, int64_t id, struct tsk_resolve_ids *open)
{
    struct task_seen task_seen = {.one = add_resolved(r->list)};
    task_seen.one->is_task = true;
    task_seen.one->id = task_seen.one->task_id = id;
    int there = task_look(r, &task_seen);
    if (there < 0 || find_open(r, id, open) < 0)
        return -1;
    bool runs = open->count > 0;
    if (there)
        task_seen.one->to = tsk_resolve_task_to(r->order->action, task_seen.one->from, runs);
    if (task_seen.one->to == TSK_STATE_NONE)
        return task_refuse(task_seen.one, runs);
    bool again = task_seen.one->to == task_seen.one->from;
    if (!again && !r->order->dry && task_put_fact(r, &task_seen) < 0)
        return -1;
    task_seen.one->steps = open->count;
    for (size_t i = 0; i < open->count; i++) {
        if (resolve_step(r, open->items[i]) < 0)
            return -1;
    }
    tsk_resolve_ids_add(&r->tasks, id);
    return finish(r);
}

int tsk_resolve_task(struct tsk_store *store, struct tsk_settler *settler,
                     const struct tsk_resolve_order *order, int64_t id,
                     struct tsk_resolved_list *list, struct tsk_err *err)
{
    struct tsk_resolve_ids open = {NULL, 0, 0};
    struct resolving r = {.store = store,
                          .settler = settler,
                          .order = order,
                          .action = TSK_RESOLVE_CANCEL,
                          .about = tsk_resolve_about(order),
                          .list = list,
                          .err = err};
    int rc = find_open(&r, id, &open);
    if (rc == 0)
        rc = begin(&r, open.items, open.count, id);
    if (rc == 0)
        rc = end_task(&r, id, &open);
    fini(&r);
    free(open.items);
    return rc;
}

/* ---- Finding the steps that are meant: by a filter; and who has a batch that was on its way. */

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
#define UNCONFIRMED UNCONFIRMED_IF("b.published_at + b.timeout_ms > $5")
#define BOTH(condition)                                                                            \
    {                                                                                              \
        FIND(condition, TSK_GLOB_SQLITE("$4")), FIND(condition, TSK_GLOB_POSTGRESQL("$4"))         \
    }

static const char *const queries[TSK_RESOLVE_ACTIONS][2] = {
    [TSK_RESOLVE_RETRY] = BOTH("(" FAILED " OR " WAITS ") AND " LIVE),
    [TSK_RESOLVE_RESET] = BOTH(FAILED " AND " LIVE),
    [TSK_RESOLVE_RESOLVE] = BOTH(FAILED),
    [TSK_RESOLVE_CANCEL] = BOTH("(" OPEN_STATE " OR (" UNCONFIRMED "))"),
};

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
    static const char sql[] = "SELECT b.accepted_by, b.result_endpoint, " SENT_UNTIL
                              " FROM batches b WHERE b.batch_id = $1";
    struct tsk_value value = tsk_value_text(one->batch_id);
    return tsk_store_run(store, sql, &value, 1, take_worker, one, err) < 0 ? -1 : 0;
}
