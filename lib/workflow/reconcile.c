/* The reconciliation as a whole: which batches are open, when each gets its verdict, and what is
 * remembered of those that had theirs.
 *
 * Open batches stand in a map in the order of their first message, and in two rings in the order
 * of their last one: all of them (for the timeout), and those that are to settle. As both times are
 * the same for every batch, the first of a ring is always the next one due. A third ring holds
 * those that lack nothing but their receipt; it is bounded, so that a stream without receipts needs
 * no more memory than one with them.
 *
 * A batch that had its verdict leaves behind its revision and the facts of its steps, as hashes.
 * So what comes again is known for what it is; anything else is late. */
#include "workflow/reconcile_private.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/clock.h"
#include "tasker/map.h"

/* ---- The past in bounded memory: a set of hashes in two halves. New ones go into the younger;
 * when it is full, it becomes the older one and what the older one held is forgotten. So nothing is
 * ever deleted one by one, and the tables never fill up. */

#define VALUE_BITS 16
#define VALUE_MASK ((1u << VALUE_BITS) - 1)

void tsk_past_fini(struct tsk_past *past)
{
    free(past->now.slots);
    free(past->before.slots);
    *past = (struct tsk_past){.limit = past->limit};
}

/* Returns the slot where hash is, or is to be; NULL if there is no table. */
static uint64_t *find_hash(const struct tsk_past_half *half, uint64_t hash)
{
    if (!half->size)
        return NULL;
    size_t at = (hash >> VALUE_BITS) & (half->size - 1);
    while (half->slots[at] && half->slots[at] >> VALUE_BITS != hash >> VALUE_BITS)
        at = (at + 1) & (half->size - 1);
    return &half->slots[at];
}

static void grow_half(struct tsk_past_half *half)
{
    struct tsk_past_half old = *half;
    half->size = old.size ? old.size * 2 : 256;
    half->slots = tsk_alloc(half->size * sizeof *half->slots);
    for (size_t i = 0; i < old.size; i++) {
        if (old.slots[i])
            *find_hash(half, old.slots[i]) = old.slots[i];
    }
    free(old.slots);
}

void tsk_past_put(struct tsk_past *past, uint64_t hash, unsigned value)
{
    if (past->now.count >= past->limit / 2) {
        free(past->before.slots);
        past->before = past->now;
        past->now = (struct tsk_past_half){NULL, 0, 0};
    }
    if (past->now.count * 2 >= past->now.size)
        grow_half(&past->now);
    uint64_t *slot = find_hash(&past->now, hash);
    past->now.count += !*slot;
    *slot = (hash & ~(uint64_t)VALUE_MASK) | (value & VALUE_MASK);
}

unsigned tsk_past_get(const struct tsk_past *past, uint64_t hash)
{
    const uint64_t *slot = find_hash(&past->now, hash);
    if (!slot || !*slot)
        slot = find_hash(&past->before, hash);
    return slot ? (unsigned)(*slot & VALUE_MASK) : 0;
}

/* ---- What is remembered of batches that had their verdict: its revision, and the facts it stood
 * on, as hashes. A fact is "this step of this batch, in this attempt, was reported so", or "the
 * completion (the receipt) was this one". */

struct history {
    struct tsk_past batches, facts;
};
enum fact { FACT_STEP, FACT_COMPLETION, FACT_RECEIPT, FACT_ERROR };

#define PAST_BATCHES 65536
#define PAST_FACTS 262144

static void history_init(struct history *history)
{
    *history = (struct history){.batches = {.limit = PAST_BATCHES}, .facts = {.limit = PAST_FACTS}};
}

static void history_fini(struct history *history)
{
    tsk_past_fini(&history->batches);
    tsk_past_fini(&history->facts);
}

static uint64_t hash_id(const char *batch_id)
{
    uint64_t hash = 14695981039346656037u;
    for (; *batch_id; batch_id++)
        hash = (hash ^ (unsigned char)*batch_id) * 1099511628211u;
    return tsk_mix(hash);
}

static uint64_t hash_fact(uint64_t batch, enum fact fact, uint64_t what)
{
    return tsk_mix(batch + tsk_mix(what * 4 + fact));
}

static uint64_t hash_step(uint64_t batch, int64_t step_id, int64_t attempt,
                          enum tsk_step_status status)
{
    uint64_t which = tsk_mix((uint64_t)step_id) ^ (uint64_t)(attempt ? attempt : 1);
    return hash_fact(batch, FACT_STEP, tsk_mix(which) + (uint64_t)status);
}

static unsigned history_revision(const struct history *history, const char *batch_id)
{
    return tsk_past_get(&history->batches, hash_id(batch_id));
}

static bool history_knows(const struct history *history, const char *batch_id, enum fact fact,
                          uint64_t what)
{
    return tsk_past_get(&history->facts, hash_fact(hash_id(batch_id), fact, what));
}

static bool history_knows_step(const struct history *history, const char *batch_id, int64_t step_id,
                               int64_t attempt, enum tsk_step_status status)
{
    return tsk_past_get(&history->facts, hash_step(hash_id(batch_id), step_id, attempt, status));
}

static void remember_step(struct history *history, uint64_t batch, const struct tsk_rstep *step)
{
    uint32_t attempt = tsk_rstep_attempt(step);
    if (step->status)
        tsk_past_put(&history->facts, hash_step(batch, step->step_id, attempt, step->status), 1);
    if (step->flags & TSK_RSTEP_PROGRESS && tsk_status_final(step->status))
        tsk_past_put(&history->facts,
                     hash_step(batch, step->step_id, attempt, TSK_STEP_IN_PROGRESS), 1);
}

static void history_add(struct history *history, const struct tsk_rbatch *batch)
{
    uint64_t id = hash_id(batch->id);
    tsk_past_put(&history->batches, id, batch->revision < 65535 ? batch->revision : 65535);
    for (size_t i = 0; i < batch->count; i++)
        remember_step(history, id, &batch->steps[i]);
    if (batch->completion)
        tsk_past_put(&history->facts, hash_fact(id, FACT_COMPLETION, batch->digest), 1);
    if (batch->receipt || !batch->late)
        tsk_past_put(&history->facts, hash_fact(id, FACT_RECEIPT, tsk_rbatch_digest(batch)), 1);
    if (batch->error)
        tsk_past_put(&history->facts, hash_fact(id, FACT_ERROR, 0), 1);
}

/* ---- Rings of open batches, each in the order of their last news. */

static void ring_remove(struct tsk_rlink *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = NULL;
}

static void ring_append(struct tsk_rlink *ring, struct tsk_rlink *link)
{
    ring_remove(link);
    link->prev = ring->prev;
    link->next = ring;
    link->prev->next = ring->prev = link;
}

/* ---- Open batches. */

#define WAITING_STEPS 65536

struct tsk_reconcile {
    struct tsk_reconcile_opts opts;
    tsk_verdict_fn *tell;
    void *ctx;
    struct tsk_map *open;    /* struct tsk_rbatch by batch_id */
    struct tsk_rbatch *last; /* the one fed last; NULL */
    struct tsk_rlink heard, settling, waiting;
    size_t waiting_steps;
    bool receipts_seen;
    struct history history;
};

struct tsk_reconcile *tsk_reconcile_new(const struct tsk_reconcile_opts *opts, tsk_verdict_fn *tell,
                                        void *ctx)
{
    struct tsk_reconcile *r = tsk_alloc(sizeof *r);
    r->opts = *opts;
    r->tell = tell;
    r->ctx = ctx;
    r->open = tsk_map_new(NULL);
    r->heard.prev = r->heard.next = &r->heard;
    r->settling.prev = r->settling.next = &r->settling;
    r->waiting.prev = r->waiting.next = &r->waiting;
    history_init(&r->history);
    return r;
}

void tsk_reconcile_free(struct tsk_reconcile *r)
{
    if (!r)
        return;
    struct tsk_map_entry *next;
    for (struct tsk_map_entry *e = tsk_map_first(r->open); e; e = next) {
        next = tsk_map_next(e);
        tsk_rbatch_free(tsk_map_value(e));
    }
    tsk_map_free(r->open);
    history_fini(&r->history);
    free(r);
}

size_t tsk_reconcile_open(const struct tsk_reconcile *r)
{
    return tsk_map_count(r->open);
}

/* --- Rings. */

/* The first batch of a ring whose links are at offset; NULL if it is empty. */
static struct tsk_rbatch *first_of(const struct tsk_rlink *ring, size_t offset)
{
    return ring->next == ring ? NULL : (struct tsk_rbatch *)((char *)ring->next - offset);
}

static struct tsk_rbatch *first_heard(const struct tsk_reconcile *r)
{
    return first_of(&r->heard, offsetof(struct tsk_rbatch, heard_link));
}

static struct tsk_rbatch *first_settling(const struct tsk_reconcile *r)
{
    return first_of(&r->settling, offsetof(struct tsk_rbatch, settle_link));
}

static struct tsk_rbatch *first_waiting(const struct tsk_reconcile *r)
{
    return first_of(&r->waiting, offsetof(struct tsk_rbatch, wait_link));
}

/* --- Verdicts. */

static bool needs_receipt(const struct tsk_reconcile *r)
{
    return r->opts.receipts == TSK_RECEIPTS_ALL ||
           (r->opts.receipts == TSK_RECEIPTS_AUTO && r->receipts_seen);
}

static void stop_waiting(struct tsk_reconcile *r, struct tsk_rbatch *batch)
{
    ring_remove(&batch->wait_link);
    r->waiting_steps -= batch->waiting;
    batch->waiting = 0;
}

static void take_out(struct tsk_reconcile *r, struct tsk_rbatch *batch)
{
    if (!*batch->id)
        return; /* it never was in */
    tsk_map_take(r->open, batch->id);
    ring_remove(&batch->heard_link);
    ring_remove(&batch->settle_link);
    stop_waiting(r, batch);
    if (r->last == batch)
        r->last = NULL;
}

/* Tells the verdict on batch and lets go of it. */
static void conclude(struct tsk_reconcile *r, struct tsk_rbatch *batch)
{
    struct tsk_verdict verdict;
    take_out(r, batch);
    struct tsk_discrepancy *list = tsk_rbatch_verdict(batch, &r->opts, needs_receipt(r), &verdict);
    r->tell(r->ctx, &verdict);
    free(list);
    if (*batch->id)
        history_add(&r->history, batch);
    tsk_rbatch_free(batch);
}

/* Whether an agreed batch has no need of (another) receipt. */
static bool has_receipt(const struct tsk_reconcile *r, const struct tsk_rbatch *batch)
{
    if (batch->receipt || r->opts.receipts == TSK_RECEIPTS_NONE)
        return true;
    return !needs_receipt(r) && !batch->limitless;
}

/* An agreed batch waits for its receipt, and those that wait longest make room for it. */
static void start_waiting(struct tsk_reconcile *r, struct tsk_rbatch *batch)
{
    batch->waiting = batch->count + 1;
    r->waiting_steps += batch->waiting;
    ring_append(&r->waiting, &batch->wait_link);
    while (r->waiting_steps > WAITING_STEPS && first_waiting(r))
        conclude(r, first_waiting(r));
}

/* News of batch are in: is it clear now, or when will it be? */
static void consider(struct tsk_reconcile *r, struct tsk_rbatch *batch, int64_t now)
{
    bool agreed = tsk_rbatch_agrees(batch);
    if (agreed && has_receipt(r, batch)) {
        conclude(r, batch);
        return;
    }
    batch->heard = now;
    ring_append(&r->heard, &batch->heard_link);
    if (batch->completion || batch->error || batch->late)
        ring_append(&r->settling, &batch->settle_link);
    stop_waiting(r, batch);
    if (agreed)
        start_waiting(r, batch);
}

void tsk_reconcile_settle(struct tsk_reconcile *r, int64_t now)
{
    struct tsk_rbatch *batch;
    while (r->opts.settle_ms >= 0 && (batch = first_settling(r)) &&
           now - batch->heard >= r->opts.settle_ms)
        conclude(r, batch);
    while (r->opts.timeout_ms >= 0 && (batch = first_heard(r)) &&
           now - batch->heard >= r->opts.timeout_ms) {
        batch->timed_out = true;
        conclude(r, batch);
    }
}

int64_t tsk_reconcile_due(const struct tsk_reconcile *r)
{
    const struct tsk_rbatch *batch;
    int64_t due = -1;
    if (r->opts.settle_ms >= 0 && (batch = first_settling(r)))
        due = batch->heard + r->opts.settle_ms;
    if (r->opts.timeout_ms >= 0 && (batch = first_heard(r)))
        due = tsk_earlier(due, batch->heard + r->opts.timeout_ms);
    return due;
}

void tsk_reconcile_finish(struct tsk_reconcile *r)
{
    struct tsk_map_entry *first;
    while ((first = tsk_map_first(r->open)))
        conclude(r, tsk_map_value(first));
}

/* --- Feeding. */

/* Bounds the time of a failure, which its sender's clock gave: that may be a day ahead. */
static void bound(const struct tsk_reconcile *r, int64_t *at)
{
    if (r->opts.wall && *at >= 0)
        *at = tsk_earlier(*at, r->opts.wall());
}

static struct tsk_rbatch *find_open(struct tsk_reconcile *r, const char *batch_id)
{
    if (!r->last || strcmp(r->last->id, batch_id) != 0)
        r->last = tsk_map_get(r->open, batch_id);
    return r->last;
}

/* Opens a batch, or opens it again if it had its verdict. */
static struct tsk_rbatch *open_batch(struct tsk_reconcile *r, const char *batch_id)
{
    struct tsk_rbatch *batch = tsk_rbatch_new(batch_id);
    unsigned revision = history_revision(&r->history, batch_id);
    batch->late = revision > 0;
    batch->given_up = batch->late && history_knows(&r->history, batch_id, FACT_ERROR, 0);
    batch->revision = revision + 1;
    tsk_map_put(r->open, batch_id, batch);
    r->last = batch;
    return batch;
}

/* Whether a partial result says once more what was known when its batch had its verdict. */
static bool partial_known(const struct tsk_reconcile *r, const char *batch_id,
                          const struct tsk_result *partial)
{
    return history_knows_step(&r->history, batch_id, partial->step_id, partial->attempt,
                              partial->status);
}

/* Whether it contradicts what was known then. */
static bool partial_contradicts(const struct tsk_reconcile *r, const char *batch_id,
                                const struct tsk_result *partial)
{
    struct tsk_result other = *partial;
    other.status = partial->status == TSK_STEP_COMPLETED ? TSK_STEP_FAILED : TSK_STEP_COMPLETED;
    return tsk_status_final(partial->status) && partial_known(r, batch_id, &other);
}

/* Whether batch is one of the past (its id not open, or open again), where only news count. */
static bool of_the_past(struct tsk_reconcile *r, const char *batch_id)
{
    struct tsk_rbatch *batch = find_open(r, batch_id);
    return batch ? batch->late : history_revision(&r->history, batch_id) > 0;
}

static struct tsk_rbatch *get_open(struct tsk_reconcile *r, const char *batch_id)
{
    struct tsk_rbatch *batch = find_open(r, batch_id);
    return batch ? batch : open_batch(r, batch_id);
}

static struct tsk_rbatch *feed_partial(struct tsk_reconcile *r, const struct tsk_result *partial)
{
    const char *batch_id = partial->batch_id;
    bool past = of_the_past(r, batch_id);
    if (past && partial_known(r, batch_id, partial))
        return NULL;
    struct tsk_rbatch *batch = get_open(r, batch_id);
    tsk_rbatch_partial(batch, partial);
    if (past && partial_contradicts(r, batch_id, partial))
        tsk_rbatch_step(batch, partial->step_id)->flags |= TSK_RSTEP_CONFLICT;
    return batch;
}

static struct tsk_rbatch *feed_completion(struct tsk_reconcile *r, const char *batch_id,
                                          struct json_object *message)
{
    uint64_t digest = tsk_rcompletion_digest(message);
    if (of_the_past(r, batch_id) && history_knows(&r->history, batch_id, FACT_COMPLETION, digest))
        return NULL;
    struct tsk_rbatch *batch = get_open(r, batch_id);
    tsk_rbatch_completion(batch, message, digest);
    return batch;
}

static struct tsk_rbatch *feed_receipt(struct tsk_reconcile *r, const char *batch_id,
                                       struct json_object *message)
{
    r->receipts_seen = true;
    if (of_the_past(r, batch_id) &&
        history_knows(&r->history, batch_id, FACT_RECEIPT, tsk_rreceipt_digest(message)))
        return NULL;
    struct tsk_rbatch *batch = get_open(r, batch_id);
    tsk_rbatch_receipt(batch, message);
    return batch;
}

/* A batch_error that names no batch gets a verdict of its own at once: nothing can belong to it. */
static struct tsk_rbatch *feed_error(struct tsk_reconcile *r, const char *batch_id,
                                     struct json_object *message)
{
    if (!batch_id) {
        struct tsk_rbatch *nameless = tsk_rbatch_new("");
        tsk_rbatch_error(nameless, message);
        conclude(r, nameless);
        return NULL;
    }
    if (of_the_past(r, batch_id) && history_knows(&r->history, batch_id, FACT_ERROR, 0))
        return NULL;
    struct tsk_rbatch *batch = get_open(r, batch_id);
    tsk_rbatch_error(batch, message);
    bound(r, &batch->error_at);
    return batch;
}

struct feed {
    struct tsk_reconcile *r;
    int64_t now;
};

static int feed_message(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct feed *feed = ctx;
    const char *batch_id = tsk_json_str(message, "batch_id");
    struct tsk_rbatch *batch = NULL;
    struct tsk_result partial;
    (void)changed;
    if (type == TSK_TYPE_PARTIAL) {
        tsk_result_partial(&partial, message);
        bound(feed->r, &partial.ended);
        batch = feed_partial(feed->r, &partial);
    } else if (type == TSK_TYPE_COMPLETION)
        batch = feed_completion(feed->r, batch_id, message);
    else if (type == TSK_TYPE_ERROR)
        batch = feed_error(feed->r, batch_id, message);
    else if (type == TSK_TYPE_PUBLISHED)
        batch = feed_receipt(feed->r, batch_id, message);
    if (batch)
        consider(feed->r, batch, feed->now);
    return 0;
}

/* The older shape: many results in one message, with no type of its own. */
static bool is_older(struct json_object *message)
{
    return json_object_is_type(tsk_json_get(message, "results"), json_type_array) &&
           tsk_json_get(message, "batch_id") && !tsk_json_get(message, "message_type");
}

int tsk_reconcile_read(struct json_object *message, tsk_result_fn *emit, void *ctx,
                       struct tsk_err *err)
{
    enum tsk_type type = tsk_type_of(message);
    bool older = is_older(message);
    if (type == TSK_TYPE_PUBLISHED) {
        if (tsk_receipt_check(message, err))
            return -1;
        emit(ctx, type, message, false);
        return 1;
    }
    if (type != TSK_TYPE_PARTIAL && type != TSK_TYPE_COMPLETION && type != TSK_TYPE_ERROR && !older)
        return 0;
    return tsk_result_normalise(older ? "results" : "", message, emit, ctx, err) ? -1 : 1;
}

void tsk_reconcile_partial(struct tsk_reconcile *r, const struct tsk_result *partial, int64_t now)
{
    struct tsk_rbatch *batch = feed_partial(r, partial);
    if (batch)
        consider(r, batch, now);
}

void tsk_reconcile_publish(struct tsk_reconcile *r, const char *batch_id,
                           const struct tsk_result *entries, size_t count, int64_t published_at)
{
    r->receipts_seen = true;
    tsk_rbatch_publish(get_open(r, batch_id), entries, count, published_at);
}

int tsk_reconcile_feed(struct tsk_reconcile *r, struct json_object *message, int64_t now,
                       struct tsk_err *err)
{
    struct feed feed = {r, now};
    return tsk_reconcile_read(message, feed_message, &feed, err);
}
