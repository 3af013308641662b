/* Settling in groups. A transaction costs a wait for the disk, which a small batch is not worth;
 * and it locks out other writers, or keeps what it locked, so it must not take long.
 *
 * PostgreSQL lets several settle at the same time. The batch's row is locked, then those of its
 * steps that other batches may have too, in the order of their ids. A group never waits for a lock:
 * what another one has it puts off. Only a transaction that holds no more than one batch waits. So
 * nobody waits for somebody who waits for him. */
#include "workflow/settler_private.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/flow.h"
#include "tasker/outbound.h"
#include "tasker/state.h"

/* ---- Reading what a settlement is made of: the batch, its steps, its ledger. All of it streams:
 * of a ledger no more than a message is in memory. */

static enum tsk_state state_at(enum tsk_subject subject, const struct tsk_value *value)
{
    return value->type == TSK_TEXT ? tsk_state_find(subject, value->data) : TSK_STATE_NONE;
}

static int64_t number_at(const struct tsk_value *value, int64_t untold)
{
    return value->type == TSK_INT ? value->number : untold;
}

/* --- The batch. */

static const char get_batch[] =
    "SELECT b.batch_id, b.created_at, b.published_at, b.state, h.to_state, h.created_at,"
    " s.revision, coalesce(b.published_at, s.first_at) + b.timeout_ms, CASE WHEN b.publisher = '"
    TSK_OUTBOUND_LEDGER "' THEN b.total_steps ELSE 0 END FROM batches b"
    " LEFT JOIN settled_batches s ON s.batch = b.id"
    " LEFT JOIN batch_transitions h ON h.batch = b.id AND h.sort_key = (SELECT max(x.sort_key)"
    " FROM batch_transitions x WHERE x.batch = b.id AND x.origin = 'operator') WHERE b.id = $1";

static int take_batch(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_settler *s = ctx;
    (void)columns;
    strncpy(s->batch_id, row[0].data, sizeof s->batch_id - 1);
    int64_t published_at = number_at(&row[2], -1);
    bool published = published_at >= 0;
    s->outbound = (struct tsk_settle_batch){
        .batch_id = s->batch_id,
        .base = {published ? TSK_STATE_PUBLISHED : TSK_STATE_CREATED,
                 published ? published_at : row[1].number},
        .hand = {state_at(TSK_SUBJECT_BATCH, &row[4]), number_at(&row[5], -1)},
        .published_at = published_at,
        .total = row[8].number,
        .silent_too = s->tell,
    };
    s->state = state_at(TSK_SUBJECT_BATCH, &row[3]);
    s->revision = number_at(&row[6], 0);
    s->limit_at = number_at(&row[7], -1);
    return 0;
}

/* --- Its steps. */

/* Batches with a later or an earlier attempt at the step. A step that no task knows is in no other
 * batch. */
#define OTHERS(which) "(SELECT count(*) FROM batch_steps o WHERE o.step = p.step AND " which ") > 0"
#define LATER "(o.attempt > p.attempt OR (o.attempt = p.attempt AND o.batch > p.batch))"

/* Whether this batch is of the latest attempt; of the latest one that was heard of; of the first.
 */
#define IS_LATEST "CASE WHEN " OTHERS(LATER) " THEN 0 ELSE 1 END"
#define HEARD                                                                                      \
    " AND (SELECT count(*) FROM settled_steps d WHERE d.batch = o.batch AND d.step_id = "          \
    "o.step_id) > 0"
#define IS_LATEST_HEARD "CASE WHEN " OTHERS(LATER HEARD) " THEN 0 ELSE 2 END"
#define EARLIER "(o.attempt < p.attempt OR (o.attempt = p.attempt AND o.batch < p.batch))"
#define IS_FIRST "CASE WHEN " OTHERS(EARLIER) " THEN 0 ELSE 4 END"
/* The first and the last thing that an operator did to this attempt. */
#define HAND_KEY TSK_STEP_KEY("p.attempt", TSK_PLACE_HAND)
#define HAND_KEY_LAST TSK_STEP_KEY("p.attempt", TSK_PLACE_HAND_LAST)
#define HANDS                                                                                      \
    "(x.sort_key) FROM step_transitions x WHERE x.step = p.step AND x.origin = 'operator' AND"     \
    " x.event <> '" TSK_EVENT_RESET "' AND x.sort_key BETWEEN " HAND_KEY " AND " HAND_KEY_LAST ")"
#define FIRST_HAND "(SELECT min" HANDS
#define LAST_HAND "(SELECT max" HANDS

/* How many attempts it may have: those before this one that an operator let start anew do not
 * count. */
#define ATTEMPT TSK_STEP_KEY_ATTEMPT("x.sort_key")
#define RESET_AT                                                                                   \
    ATTEMPT " - CASE WHEN x.from_state IN ('enqueued', 'in_progress') THEN 1 ELSE 0 END"
#define LIMIT                                                                                      \
    "CASE WHEN s.attempts_before = 0 THEN s.retry_limit ELSE s.retry_limit + coalesce((SELECT"     \
    " max(" RESET_AT                                                                               \
    ") FROM step_transitions x WHERE x.step = p.step AND x.event = '" TSK_EVENT_RESET              \
    "' AND x.origin = 'operator' AND " RESET_AT " < p.attempt), 0) END"

#define ROUND TSK_ROUND_PLACES("p.step", "p.attempt", "p.batch")
#define ENQUEUED_KEY TSK_STEP_KEY("p.attempt", TSK_PLACE_ENQUEUED) " + " ROUND

/* clang-format off */
#define GET_STEPS(JOIN, LEFT_JOIN)                                                                 \
    "SELECT p.step, p.step_id, s.task_id, p.attempt, " LIMIT ", s.name,"                           \
    " coalesce((SELECT t.created_at FROM step_transitions t WHERE t.step = p.step AND t.sort_key"  \
    " = " ENQUEUED_KEY "), s.created_at), h.to_state, h.created_at, s.state,"                      \
    " CASE WHEN s.task IS NULL THEN 7 ELSE 8 + " IS_LATEST " + " IS_LATEST_HEARD " + "             \
    IS_FIRST " END, s.task, CASE WHEN h.sort_key IS NULL THEN NULL ELSE (SELECT y.from_state FROM" \
    " step_transitions y WHERE y.step = p.step AND y.sort_key = " FIRST_HAND ") END,"              \
    " coalesce(s.template_name, s.name), s.creates,"                                               \
    " (SELECT k.optional_steps FROM tasks k WHERE k.task_id = s.task), (SELECT count(*) FROM"      \
    " settled_steps d WHERE d.batch = p.batch AND d.step_id = p.step_id AND d.status ="            \
    " 'completed' AND d.outcome = 'done'), r.attempt, r.error_message, s.backoff, " ROUND           \
    " FROM batch_steps p" JOIN("steps", "s", "s.id = p.step")                                      \
    " LEFT JOIN settled_steps r ON r.batch = p.batch AND r.step_id = p.step_id AND r.status ="     \
    " 'completed' AND r.outcome = 'failed'"                                                        \
    LEFT_JOIN("step_transitions", "h", "h.step = p.step AND h.sort_key = " LAST_HAND)              \
    " WHERE p.batch = $1 ORDER BY p.step_id"
/* clang-format on */
static const char get_steps_sqlite[] = GET_STEPS(TSK_JOIN_SQLITE, TSK_LEFT_JOIN_SQLITE);
static const char get_steps_postgresql[] =
    GET_STEPS(TSK_JOIN_POSTGRESQL, TSK_LEFT_JOIN_POSTGRESQL);

static int take_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_settler *s = ctx;
    (void)columns;
    struct tsk_settle_step step = {
        .row = row[0].number,
        .sent = {.step_id = row[1].number,
                 .task_id = row[2].number,
                 .attempt = row[3].number,
                 .retry_limit = row[4].number,
                 .step_name = row[5].data,
                 .backoff = row[19].data},
        .since = row[6].number,
        .round_places = (int)row[20].number,
        .hand = {state_at(TSK_SUBJECT_STEP, &row[7]), number_at(&row[8], -1)},
        .hand_from = state_at(TSK_SUBJECT_STEP, &row[12]),
        .owns = (unsigned)row[10].number,
    };
    s->states = tsk_grow(s->states, &s->cap, s->count + 1, sizeof *s->states);
    s->states[s->count++] = (uint8_t)state_at(TSK_SUBJECT_STEP, &row[9]);
    tsk_settle_step(s->settle, &step);
    tsk_fan_step(s->fan, row[0].number, number_at(&row[11], 0), row[13].data, row[15].data,
                 row[14].data, row[16].number && !(step.owns & TSK_OWNS_STATE));
    if (row[18].type == TSK_TEXT)
        tsk_fan_refused(s->fan, row[17].number, row[18].data);
    return 0;
}

/* --- Its ledger. */

static const char get_messages[] =
    "SELECT id, received_at, topic, raw_message, source, reason FROM received_results"
    " WHERE batch_id = $1 ORDER BY id";

static int take_message(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_settler *s = ctx;
    (void)columns;
    struct tsk_settle_message message = {.id = row[0].number,
                                         .received_at = row[1].number,
                                         .topic = row[2].data,
                                         .data = row[3].data,
                                         .len = row[3].len,
                                         .source = row[4].data,
                                         .reason = row[5].data};
    tsk_settle_message(s->settle, &message);
    return 0;
}

/* Takes the end of its time limit as told. */
static void time_out(struct tsk_settler *s)
{
    char *text = tsk_settle_timeout_text(s->batch_id, s->limit_at);
    struct tsk_settle_message message = {.id = INT64_MAX,
                                         .received_at = s->assumed,
                                         .topic = tsk_type_name(TSK_TYPE_ERROR),
                                         .data = text,
                                         .len = strlen(text)};
    tsk_settle_message(s->settle, &message);
    free(text);
}

static int read_all(struct tsk_settler *s, bool out_of_time, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(s->batch), id = tsk_value_text(s->batch_id);
    s->count = 0;
    if (s->watch.begin)
        s->watch.begin(s->watch.ctx, s->batch_id, s->state, s->revision);
    tsk_settle_begin(s->settle, &s->outbound, s->watch.tell, s->watch.ctx);
    tsk_fan_begin(s->fan);
    const char *get_steps = TSK_SQL(s->store, get_steps_sqlite, get_steps_postgresql);
    if (tsk_store_run(s->store, get_steps, &key, 1, take_step, s, err) < 0 ||
        tsk_fan_load(s->fan, err) < 0 ||
        tsk_store_run(s->store, get_messages, &id, 1, take_message, s, err) < 0)
        return -1;
    if (out_of_time)
        time_out(s);
    tsk_settle_end(s->settle);
    return 1;
}

/* Whether a batch that was settled has no end, and is assumed to be out of time. */
static bool ends_so(const struct tsk_settler *s)
{
    struct tsk_settled_batch batch;
    tsk_settled_batch(s->settle, &batch);
    return !batch.ended && s->assumed >= 0 && s->limit_at >= 0 && s->limit_at <= s->assumed;
}

static int tsk_settler_read(struct tsk_settler *s, int64_t batch, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(batch);
    s->batch = batch;
    int64_t rows = tsk_store_run(s->store, get_batch, &key, 1, take_batch, s, err);
    if (rows <= 0)
        return (int)rows;
    int rc = read_all(s, false, err);
    return rc > 0 && ends_so(s) ? read_all(s, true, err) : rc;
}

/* ---- Groups. */

enum { GROUP_BATCHES = 200, GROUP_STEPS = 2000 };

struct tsk_settler *tsk_settler_new(struct tsk_store *store, const struct tsk_reconcile_opts *rules,
                                    const struct tsk_create_limits *limits,
                                    const struct tsk_settle_watch *watch)
{
    struct tsk_settler *s = tsk_alloc(sizeof *s);
    s->store = store;
    s->settle = tsk_settle_new(rules);
    s->watch = *watch;
    s->assumed = -1;
    s->limits = *limits;
    s->fan = tsk_fan_new(s);
    tsk_settle_set_judge(s->settle, tsk_fan_judge, s->fan);
    return s;
}

void tsk_settler_free(struct tsk_settler *s)
{
    if (!s)
        return;
    tsk_settle_free(s->settle);
    tsk_fan_free(s->fan);
    free(s->states);
    free(s->news);
    free(s);
}

void tsk_settler_assume(struct tsk_settler *s, int64_t now)
{
    s->assumed = now;
}

/* --- Locks, which only PostgreSQL needs. */

#define ITS_STEPS                                                                                  \
    "FROM batch_steps p JOIN steps s ON s.id "                                                     \
    "= ANY (ARRAY[p.step])"                                                                        \
    " WHERE p.batch = $1"                                                                          \
    " AND s.task IS NOT NULL"
#define LOCK_BATCH                                                                                 \
    "SELECT (SELECT count(*) " ITS_STEPS ") FROM batches b WHERE b.id = $1 FOR NO KEY UPDATE OF b"
#define LOCK_STEPS                                                                                 \
    "SELECT s.id, (SELECT t.optional_steps IS NOT NULL FROM tasks t WHERE t.task_id = "            \
    "s.task) " ITS_STEPS " ORDER BY s.id FOR NO KEY UPDATE OF s"
static const char lock_batch[] = LOCK_BATCH, try_batch[] = LOCK_BATCH " SKIP LOCKED";
static const char lock_steps[] = LOCK_STEPS, try_steps[] = LOCK_STEPS " SKIP LOCKED";

/* Steps that may ask for others: what one may ask for depends on what others have. So of those of
 * one task no two are settled at the same time. */
#define LOCK_TASKS                                                                                 \
    "SELECT t.task_id FROM tasks t WHERE t.optional_steps IS NOT NULL AND t.task_id = ANY"         \
    " (ARRAY(SELECT s.task " ITS_STEPS ")) ORDER BY t.task_id FOR NO KEY UPDATE OF t"
#define COUNT_TASKS                                                                                \
    "SELECT count(*) FROM tasks t WHERE t.optional_steps IS NOT NULL AND t.task_id = ANY"          \
    " (ARRAY(SELECT s.task " ITS_STEPS "))"
static const char lock_all_tasks[] = LOCK_TASKS, try_all_tasks[] = LOCK_TASKS " SKIP LOCKED";
static const char count_tasks[] = COUNT_TASKS;

static int on_locked(void *ctx, const struct tsk_value *row, size_t columns)
{
    bool *optional = ctx;
    if (columns > 1)
        *optional |= tsk_value_true(&row[1]);
    return 0;
}

/* Returns 1, 0 if another process has one of them (never if wait), or -1. */
static int lock_tasks(struct tsk_store *store, int64_t batch, bool wait, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(batch);
    int64_t all = 0;
    int64_t got =
        tsk_store_run(store, wait ? lock_all_tasks : try_all_tasks, &key, 1, on_locked, NULL, err);
    if (got < 0 || wait)
        return got < 0 ? -1 : 1;
    if (tsk_store_get_int(store, count_tasks, &key, 1, &all, err) < 0)
        return -1;
    return got == all;
}

/* Returns 1, 0 if another process has some of it (never if wait), or -1. */
static int lock(struct tsk_store *store, int64_t batch, bool wait, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(batch);
    int64_t shared = 0;
    if (tsk_store_kind(store) == TSK_STORE_SQLITE)
        return 1;
    int there = tsk_store_get_int(store, wait ? lock_batch : try_batch, &key, 1, &shared, err);
    if (there < 0)
        return -1;
    if (!there)
        return wait; /* it is gone, or locked */
    if (!shared)
        return 1;
    bool optional = false;
    int64_t got =
        tsk_store_run(store, wait ? lock_steps : try_steps, &key, 1, on_locked, &optional, err);
    if (got < 0 || (!wait && got != shared))
        return got < 0 ? -1 : 0;
    return optional ? lock_tasks(store, batch, wait, err) : 1;
}

/* --- One batch. */

static void tell_settled(struct tsk_settler *s)
{
    struct tsk_settled_batch batch;
    struct tsk_settled_step step;
    tsk_settled_batch(s->settle, &batch);
    struct tsk_settle_change change = {
        .batch_id = s->batch_id,
        .from = s->state,
        .to = batch.state.state,
        .news = batch.news,
        .ended = batch.ended,
        .ended_before = tsk_state_ended(TSK_SUBJECT_BATCH, s->state),
        .revision = batch.revision,
        .revision_before = s->revision,
    };
    for (size_t i = 0; i < s->count; i++) {
        tsk_settled_step(s->settle, i, &step);
        bool changed = step.owns & TSK_OWNS_STATE && step.state.state != s->states[i];
        bool refused =
            step.result.status == TSK_STEP_COMPLETED && step.result.outcome == TSK_OUTCOME_FAILED;
        change.steps += changed;
        change.refused += changed && refused;
    }
    s->watch.settled(s->watch.ctx, &change);
}

/* Takes the marks of news away. Returns 1, 0 if there is none, or -1. */
static int take_marks(struct tsk_settler *s, int64_t batch, struct tsk_err *err)
{
    static const char sql[] = "DELETE FROM unsettled WHERE batch_id ="
                              " (SELECT batch_id FROM batches WHERE id = $1)";
    struct tsk_value key = tsk_value_int(batch);
    int64_t taken = tsk_store_run(s->store, sql, &key, 1, NULL, NULL, err);
    return taken < 0 ? -1 : taken > 0;
}

/* Settles a batch within a transaction. Returns 1, 0 if it is to be put off, or -1. */
static int settle_one(struct tsk_settler *s, int64_t batch, unsigned how, bool wait,
                      struct tsk_err *err)
{
    bool dry = how & TSK_SETTLE_DRY, force = how & TSK_SETTLE_FORCE;
    int ours = dry ? 1 : lock(s->store, batch, wait, err);
    if (ours <= 0)
        return ours;
    int marked = dry ? 1 : take_marks(s, batch, err);
    if (marked < 0)
        return -1;
    if (!marked && !force && !(how & TSK_SETTLE_TELL))
        return 1;
    int there = tsk_settler_read(s, batch, err);
    if (there > 0 && !dry && (marked || force) &&
        (tsk_settler_write(s, !force && !s->revision, err) < 0 || tsk_fan_write(s->fan, err) < 0))
        return -1;
    if (there > 0 && s->watch.settled)
        tell_settled(s);
    return there < 0 ? -1 : 1;
}

/* --- A group. */

struct group {
    struct tsk_settler *settler;
    const struct tsk_settle_item *items;
    size_t count;
    unsigned how;
    bool wait;
    struct tsk_settle_list *put_off;
    size_t put_off_before; /* how many there were */
};

static int settle_group(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct group *group = ctx;
    struct tsk_settler *s = group->settler;
    group->put_off->count = group->put_off_before;
    s->news_count = 0;
    s->anew = group->how & TSK_SETTLE_FORCE;
    s->tell = group->how & TSK_SETTLE_TELL;
    if (s->watch.restart)
        s->watch.restart(s->watch.ctx);
    for (size_t i = 0; i < group->count; i++) {
        int rc = settle_one(s, group->items[i].batch, group->how, group->wait, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            tsk_settle_list_add(group->put_off, group->items[i].batch, group->items[i].steps);
    }
    if (group->how & TSK_SETTLE_DRY)
        return 0;
    return tsk_flow_settle_news(store, s->news, s->news_count, err);
}

/* How many of the first of count items go together. */
static size_t group_size(const struct tsk_settle_item *items, size_t count)
{
    int64_t steps = items[0].steps;
    size_t n = 1;
    while (n < count && n < GROUP_BATCHES && (steps += items[n].steps) <= GROUP_STEPS)
        n++;
    return n;
}

static int run(struct tsk_settler *s, struct group *group, int64_t patience, struct tsk_err *err)
{
    int rc = group->how & TSK_SETTLE_DRY
                 ? tsk_store_read(s->store, settle_group, group, patience, err)
                 : tsk_store_write(s->store, settle_group, group, patience, err);
    if (rc == 0 && s->watch.commit)
        s->watch.commit(s->watch.ctx);
    return rc;
}

/* Settles the batches of a group by themselves, after one of them was refused by the store: that
 * one must not keep the others back. */
static int run_each(struct tsk_settler *s, const struct group *all, int64_t patience,
                    struct tsk_err *err)
{
    struct group group = *all;
    int rc = 0;
    group.count = 1;
    for (size_t i = 0; i < all->count && rc == 0; i++) {
        group.items = &all->items[i];
        group.put_off_before = all->put_off->count;
        *s->batch_id = '\0';
        rc = run(s, &group, patience, err);
        if (rc < 0 && err->kind == TSK_DATA && s->watch.refused) {
            s->watch.refused(s->watch.ctx, s->batch_id, err);
            rc = 0;
        }
    }
    return rc;
}

static int run_group(struct tsk_settler *s, struct group *group, int64_t patience,
                     struct tsk_err *err)
{
    int rc = run(s, group, patience, err);
    if (rc == 0 || err->kind != TSK_DATA || !s->watch.refused)
        return rc;
    group->put_off->count = group->put_off_before;
    return run_each(s, group, patience, err);
}

int tsk_settler_run(struct tsk_settler *s, const struct tsk_settle_list *list, unsigned how,
                    int64_t patience, struct tsk_err *err)
{
    struct tsk_settle_list later = TSK_SETTLE_LIST_INIT;
    int rc = 0;
    for (size_t i = 0, n; i < list->count && rc == 0; i += n) {
        n = group_size(list->items + i, list->count - i);
        struct group group = {s, list->items + i, n, how, false, &later, later.count};
        rc = run_group(s, &group, patience, err);
    }
    struct tsk_settle_list none = TSK_SETTLE_LIST_INIT;
    for (size_t i = 0; i < later.count && rc == 0; i++) {
        struct group group = {s, &later.items[i], 1, how, true, &none, 0};
        rc = run_group(s, &group, patience, err);
    }
    tsk_settle_list_fini(&later);
    tsk_settle_list_fini(&none);
    return rc;
}

int tsk_settler_within(struct tsk_settler *s, const struct tsk_settle_list *list, unsigned how,
                       struct tsk_err *err)
{
    struct tsk_settle_list none = TSK_SETTLE_LIST_INIT;
    struct group group = {s, list->items, list->count, how, true, &none, 0};
    return list->count ? settle_group(s->store, &group, err) : 0;
}
