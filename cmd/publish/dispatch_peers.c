/* Who is there: registered workers and plain subscribers as their subscriptions come and go, and
 * which worker a batch should go to. */
#include <stdlib.h>
#include <string.h>

#include "publish/dispatch_private.h"
#include "tasker/buf.h"
#include "tasker/message.h"

void tsk_dispatch_worker_free(void *value)
{
    struct worker *worker = value;
    free((char *)worker->seen.worker_id);
    free(worker);
}

/* A shorter beginning of the word is no subscription of one who runs batches: somebody only looks
 * on (tasker-collect --tap subscribes to each first byte there is). */
static bool is_steps_prefix(const char *topic)
{
    return !*topic || strcmp(topic, TSK_TOPIC_STEPS) == 0 ||
           strcmp(topic, TSK_TOPIC_STEPS " ") == 0;
}

struct worker *tsk_dispatch_worker(const struct tsk_dispatch *dispatch, const char *id)
{
    return tsk_map_get(dispatch->workers, id);
}

/* The last plain subscriber left: what it did not take is for the next one. */
static void take_back(struct tsk_dispatch *dispatch)
{
    for (struct held *held; (held = dispatch->handed.last);) {
        tsk_held_remove(held);
        tsk_held_prepend(&dispatch->queued, held);
    }
}

/* Takes all that a worker has not answered from it, and keeps it for that worker for a while: it
 * may run it. A worker that said that it stops runs nothing of it. */
static void park(struct tsk_dispatch *dispatch, const struct worker *worker, int64_t now)
{
    for (struct held *held = dispatch->sent.first, *next; held; held = next) {
        next = held->next;
        if (held->worker != worker)
            continue;
        tsk_held_unassign(held);
        tsk_held_remove(held);
        if (worker->stopping) {
            tsk_held_queue(dispatch, held, false);
            continue;
        }
        held->parked_for = tsk_strdup(worker->seen.worker_id);
        held->due = now + dispatch->opts.grace_ms;
        tsk_held_append(&dispatch->parked, held);
    }
}

static void unpark(struct held *held)
{
    tsk_held_remove(held);
    free(held->parked_for);
    held->parked_for = NULL;
}

/* A worker came again: what was kept for it is its own, and due to be sent to it at once. */
static void give_back(struct tsk_dispatch *dispatch, struct worker *worker, int64_t now)
{
    for (struct held *held = dispatch->parked.last, *prev; held; held = prev) {
        prev = held->prev;
        if (strcmp(held->parked_for, worker->seen.worker_id) != 0)
            continue;
        unpark(held);
        tsk_held_assign(held, worker);
        tsk_held_owe(held, now);
        held->due = now;
        tsk_held_prepend(&dispatch->sent, held);
    }
}

int tsk_dispatch_join(struct tsk_dispatch *dispatch, const char *topic, int64_t now)
{
    char id[TSK_ID_SIZE];
    bool plain = is_steps_prefix(topic);
    if (!plain && !tsk_topic_own(topic, TSK_TOPIC_WORKER, id))
        return -1;
    dispatch->quiet_at = now + dispatch->opts.quiet_ms;
    if (plain) {
        dispatch->steps_subscriptions++;
        return -1;
    }
    struct worker *worker = tsk_dispatch_worker(dispatch, id);
    if (!worker) {
        worker = tsk_alloc(sizeof *worker);
        worker->seen.worker_id = tsk_strdup(id);
        worker->seen.silent_since = -1;
        tsk_map_put(dispatch->workers, id, worker);
    }
    if (dispatch->gathered_at < 0)
        dispatch->gathered_at = now + dispatch->opts.gather_ms;
    dispatch->registrations++;
    worker->seen.registered++;
    worker->stopping = false;
    give_back(dispatch, worker, now);
    tsk_dispatch_reserved_for(dispatch, worker);
    return worker->seen.registered;
}

void tsk_dispatch_unpark(struct tsk_dispatch *dispatch, int64_t now)
{
    struct held *held = dispatch->parked.last;
    while (held && held->due > now)
        held = held->prev;
    for (struct held *prev; held; held = prev) {
        prev = held->prev;
        unpark(held);
        tsk_held_queue(dispatch, held, true);
    }
    tsk_dispatch_reserved_end(dispatch, now);
}

void tsk_dispatch_stopping(struct tsk_dispatch *dispatch, const char *worker_id)
{
    struct worker *worker = tsk_dispatch_worker(dispatch, worker_id);
    if (worker)
        worker->stopping = true;
}

int tsk_dispatch_leave(struct tsk_dispatch *dispatch, const char *topic, int64_t now)
{
    char id[TSK_ID_SIZE];
    if (is_steps_prefix(topic)) {
        dispatch->quiet_at = now + dispatch->opts.quiet_ms;
        if (dispatch->steps_subscriptions)
            dispatch->steps_subscriptions--;
        if (!tsk_dispatch_plain(dispatch))
            take_back(dispatch);
        return -1;
    }
    struct worker *worker =
        tsk_topic_own(topic, TSK_TOPIC_WORKER, id) ? tsk_dispatch_worker(dispatch, id) : NULL;
    if (!worker)
        return -1;
    dispatch->quiet_at = now + dispatch->opts.quiet_ms;
    dispatch->registrations--;
    int left = --worker->seen.registered;
    if (left == 0) {
        park(dispatch, worker, now);
        tsk_dispatch_offers_end(dispatch, worker);
        tsk_map_remove(dispatch->workers, id);
    }
    return left;
}

size_t tsk_dispatch_registered(const struct tsk_dispatch *dispatch)
{
    return tsk_map_count(dispatch->workers);
}

size_t tsk_dispatch_plain(const struct tsk_dispatch *dispatch)
{
    int64_t plain = dispatch->steps_subscriptions - dispatch->registrations;
    return plain > 0 ? (size_t)plain : 0;
}

/* The steps that wait for a worker, as it told last and with those sent since; below 0: it has free
 * slots. */
static double load(const struct worker *worker)
{
    return (double)worker->seen.load.queued - (double)worker->seen.load.free_slots +
           (double)worker->unanswered_steps;
}

/* Whether a is the better choice: one of which nothing is known yet, which is asked by one batch;
 * then the one with the smaller load; then the one whose turn it is. */
static bool better(const struct worker *a, const struct worker *b)
{
    bool new_a = !a->seen.told && !a->unanswered_steps;
    bool new_b = !b->seen.told && !b->unanswered_steps;
    double load_a = load(a), load_b = load(b);
    if (new_a != new_b)
        return new_a;
    if (load_a < load_b || load_a > load_b)
        return load_a < load_b;
    return a->used < b->used;
}

static bool takes_more(const struct worker *worker)
{
    return worker->seen.registered == 1 && !worker->stopping;
}

struct worker *tsk_dispatch_choose(const struct tsk_dispatch *dispatch, const struct held *held,
                                   bool *refused)
{
    struct worker *best = NULL;
    *refused = false;
    if (held->prefer) {
        best = tsk_dispatch_worker(dispatch, held->prefer);
        return best && takes_more(best) ? best : NULL;
    }
    *refused = true;
    for (struct tsk_map_entry *e = tsk_map_first(dispatch->workers); e; e = tsk_map_next(e)) {
        struct worker *worker = tsk_map_value(e);
        if (tsk_held_refused_by(held, worker->seen.worker_id))
            continue;
        *refused = false;
        if (takes_more(worker) && (!best || better(worker, best)))
            best = worker;
    }
    return best;
}

void tsk_dispatch_each_worker(const struct tsk_dispatch *dispatch,
                              void (*fn)(void *ctx, const struct tsk_dispatch_worker *worker),
                              void *ctx)
{
    for (struct tsk_map_entry *e = tsk_map_first(dispatch->workers); e; e = tsk_map_next(e))
        fn(ctx, &((struct worker *)tsk_map_value(e))->seen);
}
