/* The reconciliation as a whole: which batches are open, when each gets its verdict, and what is
 * remembered of those that had theirs.
 *
 * Open batches stand in a map in the order of their first message, and in two rings in the order
 * of their last one: all of them (for the timeout), and those that are to settle. As both times are
 * the same for every batch, the first of a ring is always the next one due. A third ring holds
 * those that lack nothing but their receipt; it is bounded, so that a stream without receipts needs
 * no more memory than one with them.
 *
 * A batch that had its verdict leaves behind its revision and the facts of its steps, as hashes
 * (reconcile_history.c). So what comes again is known for what it is; anything else is late. */
#include "workflow/reconcile_private.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/clock.h"
#include "tasker/map.h"

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
    struct tsk_history history;
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
    tsk_history_init(&r->history);
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
    tsk_history_fini(&r->history);
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
    tsk_rlink_remove(&batch->wait_link);
    r->waiting_steps -= batch->waiting;
    batch->waiting = 0;
}

static void take_out(struct tsk_reconcile *r, struct tsk_rbatch *batch)
{
    if (!*batch->id)
        return; /* it never was in */
    tsk_map_take(r->open, batch->id);
    tsk_rlink_remove(&batch->heard_link);
    tsk_rlink_remove(&batch->settle_link);
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
        tsk_history_add(&r->history, batch);
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
    tsk_rlink_append(&r->waiting, &batch->wait_link);
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
    tsk_rlink_append(&r->heard, &batch->heard_link);
    if (batch->completion || batch->error || batch->late)
        tsk_rlink_append(&r->settling, &batch->settle_link);
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
    unsigned revision = tsk_history_revision(&r->history, batch_id);
    batch->late = revision > 0;
    batch->given_up = batch->late && tsk_history_knows(&r->history, batch_id, TSK_FACT_ERROR, 0);
    batch->revision = revision + 1;
    tsk_map_put(r->open, batch_id, batch);
    r->last = batch;
    return batch;
}

/* Whether a partial result says once more what was known when its batch had its verdict. */
static bool partial_known(const struct tsk_reconcile *r, const char *batch_id,
                          const struct tsk_rpartial *partial)
{
    return tsk_history_knows_step(&r->history, batch_id, partial->step_id, partial->attempt,
                                  partial->status);
}

/* Whether it contradicts what was known then. */
static bool partial_contradicts(const struct tsk_reconcile *r, const char *batch_id,
                                const struct tsk_rpartial *partial)
{
    struct tsk_rpartial other = *partial;
    other.status = partial->status == TSK_STEP_COMPLETED ? TSK_STEP_FAILED : TSK_STEP_COMPLETED;
    return tsk_status_final(partial->status) && partial_known(r, batch_id, &other);
}

/* Whether batch is one of the past (its id not open, or open again), where only news count. */
static bool of_the_past(struct tsk_reconcile *r, const char *batch_id)
{
    struct tsk_rbatch *batch = find_open(r, batch_id);
    return batch ? batch->late : tsk_history_revision(&r->history, batch_id) > 0;
}

static struct tsk_rbatch *get_open(struct tsk_reconcile *r, const char *batch_id)
{
    struct tsk_rbatch *batch = find_open(r, batch_id);
    return batch ? batch : open_batch(r, batch_id);
}

static struct tsk_rbatch *feed_partial(struct tsk_reconcile *r, const struct tsk_rpartial *partial)
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
    if (of_the_past(r, batch_id) &&
        tsk_history_knows(&r->history, batch_id, TSK_FACT_COMPLETION, digest))
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
        tsk_history_knows(&r->history, batch_id, TSK_FACT_RECEIPT, tsk_rreceipt_digest(message)))
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
    if (of_the_past(r, batch_id) && tsk_history_knows(&r->history, batch_id, TSK_FACT_ERROR, 0))
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

static int feed_result(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct feed *feed = ctx;
    const char *batch_id = tsk_json_str(message, "batch_id");
    struct tsk_rbatch *batch = NULL;
    struct tsk_rpartial partial;
    (void)changed;
    if (type == TSK_TYPE_PARTIAL) {
        tsk_rpartial_read(&partial, message);
        bound(feed->r, &partial.ended);
        batch = feed_partial(feed->r, &partial);
    } else if (type == TSK_TYPE_COMPLETION)
        batch = feed_completion(feed->r, batch_id, message);
    else if (type == TSK_TYPE_ERROR)
        batch = feed_error(feed->r, batch_id, message);
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

void tsk_reconcile_partial(struct tsk_reconcile *r, const struct tsk_rpartial *partial, int64_t now)
{
    struct tsk_rbatch *batch = feed_partial(r, partial);
    if (batch)
        consider(r, batch, now);
}

static int feed_published(struct tsk_reconcile *r, struct json_object *message, int64_t now,
                          struct tsk_err *err)
{
    if (tsk_rreceipt_check(message, err))
        return -1;
    struct tsk_rbatch *batch = feed_receipt(r, tsk_json_str(message, "batch_id"), message);
    if (batch)
        consider(r, batch, now);
    return 1;
}

void tsk_reconcile_publish(struct tsk_reconcile *r, const char *batch_id,
                           const struct tsk_rentry *entries, size_t count, int64_t published_at)
{
    r->receipts_seen = true;
    tsk_rbatch_publish(get_open(r, batch_id), entries, count, published_at);
}

int tsk_reconcile_feed(struct tsk_reconcile *r, struct json_object *message, int64_t now,
                       struct tsk_err *err)
{
    struct feed feed = {r, now};
    enum tsk_type type = tsk_type_of(message);
    switch (type) {
    case TSK_TYPE_PARTIAL:
    case TSK_TYPE_COMPLETION:
    case TSK_TYPE_ERROR:
        return tsk_result_normalise("", message, feed_result, &feed, err) ? -1 : 1;
    case TSK_TYPE_PUBLISHED:
        return feed_published(r, message, now, err);
    default:
        if (!is_older(message))
            return 0;
        return tsk_result_normalise("results", message, feed_result, &feed, err) ? -1 : 1;
    }
}
