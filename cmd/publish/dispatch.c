/* The publisher's state machine. Each batch held is in one of these lists:
 *
 *   queued   it has no worker: new, or its worker left or rejected it
 *   reserved as queued, for a while, as the worker that it prefers is not there
 *   offered  it has a worker, and may not be sent yet
 *   allowed  it has a worker, and may be sent
 *   sent     it has a worker that did not answer yet; in order of the time to send it again, which
 *            is the order of sending, since that time is the same for all
 *   handed   it was sent to plain subscribers, which did not take it yet
 *   parked   its worker left: if only the connection was lost, the worker has it and comes again,
 *            and another worker would run it a second time
 *   refused  every registered worker rejected it, and those that were to connect again had the
 *            time for it
 *
 * and in a map by batch_id, for the answers. As a batch is sent as soon as there is anybody to
 * send it to, the queue is long only while nobody is there, and then it is not walked. */
#include <stdlib.h>
#include <string.h>

#include "publish/dispatch_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

#define TRY_AGAIN_MS 10 /* after the socket did not take a message */

void tsk_held_remove(struct held *held)
{
    struct list *list = held->list;
    *(held->prev ? &held->prev->next : &list->first) = held->next;
    *(held->next ? &held->next->prev : &list->last) = held->prev;
    held->prev = held->next = NULL;
    held->list = NULL;
}

void tsk_held_append(struct list *list, struct held *held)
{
    held->list = list;
    held->prev = list->last;
    *(list->last ? &list->last->next : &list->first) = held;
    list->last = held;
}

void tsk_held_prepend(struct list *list, struct held *held)
{
    held->list = list;
    held->next = list->first;
    *(list->first ? &list->first->prev : &list->last) = held;
    list->first = held;
}

void tsk_held_assign(struct held *held, struct worker *worker)
{
    held->worker = worker;
    held->owed = false;
    worker->unanswered_steps += held->steps;
}

void tsk_held_owe(struct held *held, int64_t now)
{
    if (held->owed)
        return;
    held->owed = true;
    if (held->worker->seen.unanswered++ == 0)
        held->worker->seen.silent_since = now;
}

void tsk_held_unassign(struct held *held)
{
    struct worker *worker = held->worker;
    held->worker = NULL;
    if (!worker)
        return;
    worker->unanswered_steps -= held->steps;
    if (held->owed && --worker->seen.unanswered == 0)
        worker->seen.silent_since = -1;
    held->owed = false;
}

bool tsk_held_refused_by(const struct held *held, const char *worker_id)
{
    for (size_t i = 0; i < held->refuser_count; i++) {
        if (strcmp(held->refusers[i], worker_id) == 0)
            return true;
    }
    return false;
}

static void free_held(void *value)
{
    struct held *held = value;
    for (size_t i = 0; i < held->refuser_count; i++)
        free(held->refusers[i]);
    free(held->refusers);
    free(held->parked_for);
    free(held->prefer);
    free(held->batch_id);
    free(held);
}

struct tsk_dispatch *tsk_dispatch_new(const struct tsk_dispatch_opts *opts)
{
    struct tsk_dispatch *dispatch = tsk_alloc(sizeof *dispatch);
    dispatch->opts = *opts;
    dispatch->held = tsk_map_new(free_held);
    dispatch->workers = tsk_map_new(tsk_dispatch_worker_free);
    dispatch->stranded = dispatch->gathered_at = -1;
    return dispatch;
}

void tsk_dispatch_free(struct tsk_dispatch *dispatch)
{
    if (!dispatch)
        return;
    tsk_map_free(dispatch->held);
    tsk_map_free(dispatch->workers);
    free(dispatch);
}

bool tsk_dispatch_add(struct tsk_dispatch *dispatch, const char *batch_id, int64_t steps, void *tag)
{
    if (tsk_map_get(dispatch->held, batch_id))
        return false;
    struct held *held = tsk_alloc(sizeof *held);
    *held = (struct held){.batch_id = tsk_strdup(batch_id), .tag = tag, .steps = steps};
    tsk_held_append(&dispatch->queued, held);
    tsk_map_put(dispatch->held, batch_id, held);
    return true;
}

size_t tsk_dispatch_count(const struct tsk_dispatch *dispatch)
{
    return tsk_map_count(dispatch->held);
}

bool tsk_dispatch_full(const struct tsk_dispatch *dispatch)
{
    return tsk_dispatch_count(dispatch) >= dispatch->opts.window;
}

/* Returns the tag of a batch that is forgotten. */
static void *forget(struct tsk_dispatch *dispatch, struct held *held)
{
    void *tag = held->tag;
    tsk_held_unassign(held);
    tsk_held_remove(held);
    free_held(tsk_map_take(dispatch->held, held->batch_id));
    return tag;
}

void *tsk_dispatch_taken(struct tsk_dispatch *dispatch, const char *batch_id, int64_t *attempts)
{
    struct held *held = tsk_map_get(dispatch->held, batch_id);
    if (!held || held->list != &dispatch->handed)
        return NULL;
    *attempts = held->attempts;
    return forget(dispatch, held);
}

void *tsk_dispatch_drop(struct tsk_dispatch *dispatch, const char *batch_id)
{
    struct held *held = tsk_map_get(dispatch->held, batch_id);
    return held ? forget(dispatch, held) : NULL;
}

/* A worker is alive: what it still owes is counted from now. */
static void heard_from(struct tsk_dispatch *dispatch, const char *worker_id, int64_t now)
{
    struct worker *worker = tsk_dispatch_worker(dispatch, worker_id);
    if (worker && worker->seen.unanswered)
        worker->seen.silent_since = now;
}

/* Finds a batch that somebody may answer: one that was sent. */
static struct held *get_sent(struct tsk_dispatch *dispatch, const char *batch_id)
{
    struct held *held = tsk_map_get(dispatch->held, batch_id);
    return held && held->attempts ? held : NULL;
}

void *tsk_dispatch_accept(struct tsk_dispatch *dispatch, const char *batch_id,
                          const char *worker_id, const struct tsk_dispatch_load *load, int64_t now,
                          int64_t *attempts)
{
    struct worker *worker = tsk_dispatch_worker(dispatch, worker_id);
    if (worker && load) {
        worker->seen.told = true;
        worker->seen.load = *load;
    }
    struct held *held = get_sent(dispatch, batch_id);
    if (held && attempts)
        *attempts = held->attempts;
    void *tag = held ? forget(dispatch, held) : NULL;
    heard_from(dispatch, worker_id, now);
    return tag;
}

void *tsk_dispatch_reject(struct tsk_dispatch *dispatch, const char *batch_id,
                          const char *worker_id, int64_t now)
{
    struct held *held = get_sent(dispatch, batch_id);
    if (held && !tsk_held_refused_by(held, worker_id)) {
        held->refusers = tsk_grow(held->refusers, &held->refuser_cap, held->refuser_count + 1,
                                  sizeof *held->refusers);
        held->refusers[held->refuser_count++] = tsk_strdup(worker_id);
    }
    if (held && held->worker && strcmp(held->worker->seen.worker_id, worker_id) == 0) {
        tsk_held_unassign(held);
        tsk_held_remove(held);
        tsk_held_queue(dispatch, held, false);
    }
    heard_from(dispatch, worker_id, now);
    return held ? held->tag : NULL;
}

/* ---- what to do next */

/* Finds the first batch that can go to a worker now. Those that nobody wants go to refused. */
static bool next_queued(struct tsk_dispatch *dispatch, int64_t now)
{
    for (struct held *held = dispatch->queued.first, *next; held; held = next) {
        bool refused;
        next = held->next;
        struct worker *worker = tsk_dispatch_choose(dispatch, held, &refused);
        if (worker) {
            dispatch->sending = held;
            dispatch->target = worker;
            return true;
        }
        if (refused && now < dispatch->gathered_at) {
            dispatch->undecided = true;
        } else if (refused) {
            tsk_held_remove(held);
            tsk_held_append(&dispatch->refused, held);
        }
    }
    return false;
}

/* Finds a batch whose answer is overdue and whose worker can be asked again. */
static bool next_overdue(struct tsk_dispatch *dispatch, int64_t now)
{
    for (struct held *held; (held = dispatch->sent.first) && held->due <= now;) {
        if (held->worker->seen.registered == 1) {
            dispatch->sending = held;
            dispatch->target = held->worker;
            return true;
        }
        tsk_held_remove(held); /* two of one name: later */
        held->due = now + dispatch->opts.resend_after_ms;
        tsk_held_append(&dispatch->sent, held);
    }
    return false;
}

/* Whether plain subscribers are to be served, now or after the quiet time. */
static bool serves_plain(const struct tsk_dispatch *dispatch)
{
    return dispatch->opts.workers == 0 && tsk_dispatch_registered(dispatch) == 0 &&
           tsk_dispatch_plain(dispatch) > 0;
}

bool tsk_dispatch_serves_plain(const struct tsk_dispatch *dispatch)
{
    return dispatch->queued.first && serves_plain(dispatch);
}

void tsk_dispatch_hold_plain(struct tsk_dispatch *dispatch, int64_t until)
{
    if (dispatch->quiet_at < until)
        dispatch->quiet_at = until;
}

/* Finds the next one that has a worker and may be sent to it. */
static bool next_allowed(struct tsk_dispatch *dispatch)
{
    dispatch->sending = dispatch->allowed.first;
    dispatch->target = dispatch->sending ? dispatch->sending->worker : NULL;
    return dispatch->sending;
}

static enum tsk_dispatch_kind next_for_plain(struct tsk_dispatch *dispatch, int64_t now)
{
    struct held *held = dispatch->queued.first;
    if (!held || !serves_plain(dispatch) || now < dispatch->quiet_at)
        return TSK_DISPATCH_NONE;
    if (dispatch->opts.ask && !held->plain)
        return TSK_DISPATCH_NONE;
    dispatch->sending = held;
    dispatch->target = NULL;
    return TSK_DISPATCH_SEND;
}

static enum tsk_dispatch_kind next_send(struct tsk_dispatch *dispatch, int64_t now)
{
    size_t registered = tsk_dispatch_registered(dispatch);
    dispatch->undecided = false;
    if (next_overdue(dispatch, now) || next_allowed(dispatch))
        return TSK_DISPATCH_SEND;
    if (registered && registered >= dispatch->opts.workers)
        dispatch->started = true;
    if (!registered)
        return next_for_plain(dispatch, now);
    if (!dispatch->started || !next_queued(dispatch, now))
        return TSK_DISPATCH_NONE;
    return dispatch->opts.ask ? TSK_DISPATCH_OFFER : TSK_DISPATCH_SEND;
}

/* Gives the batch to the worker that was found for it; it is sent when that is allowed. */
static void offer(struct tsk_dispatch *dispatch)
{
    struct held *held = dispatch->sending;
    tsk_held_assign(held, dispatch->target);
    dispatch->target->used = ++dispatch->uses;
    tsk_held_remove(held);
    tsk_held_append(&dispatch->offered, held);
}

/* After all that could be sent was: what is still queued has nowhere to go. */
static void note_stranded(struct tsk_dispatch *dispatch, int64_t now)
{
    bool kept = (dispatch->reserved.first || dispatch->parked.first) &&
                !tsk_dispatch_registered(dispatch);
    if ((!dispatch->queued.first && !kept) || serves_plain(dispatch))
        dispatch->stranded = -1;
    else if (dispatch->stranded < 0)
        dispatch->stranded = now;
}

enum tsk_dispatch_kind tsk_dispatch_next(struct tsk_dispatch *dispatch, int64_t now,
                                         struct tsk_dispatch_act *act)
{
    *act = (struct tsk_dispatch_act){0};
    if (dispatch->blocked_until > now)
        return TSK_DISPATCH_NONE;
    dispatch->blocked_until = 0;
    tsk_dispatch_unpark(dispatch, now);
    enum tsk_dispatch_kind kind = next_send(dispatch, now);
    if (dispatch->refused.first) {
        act->attempts = dispatch->refused.first->attempts;
        act->tag = forget(dispatch, dispatch->refused.first);
        return TSK_DISPATCH_REJECTED;
    }
    if (kind == TSK_DISPATCH_NONE) {
        note_stranded(dispatch, now);
        return TSK_DISPATCH_NONE;
    }
    if (kind == TSK_DISPATCH_OFFER)
        offer(dispatch);
    act->tag = dispatch->sending->tag;
    act->worker_id = dispatch->target ? dispatch->target->seen.worker_id : NULL;
    act->attempts = dispatch->sending->attempts;
    return kind;
}

void tsk_dispatch_sent(struct tsk_dispatch *dispatch, bool taken, int64_t now)
{
    struct held *held = dispatch->sending;
    struct worker *worker = dispatch->target;
    dispatch->sending = NULL;
    if (!taken) {
        dispatch->blocked_until = now + TRY_AGAIN_MS;
        return;
    }
    if (!worker) {
        held->attempts++;
        tsk_held_remove(held);
        tsk_held_append(&dispatch->handed, held);
        return;
    }
    if (!held->worker) {
        tsk_held_assign(held, worker);
        worker->used = ++dispatch->uses;
    }
    tsk_held_owe(held, now);
    held->attempts++;
    held->due = now + dispatch->opts.resend_after_ms;
    tsk_held_remove(held);
    tsk_held_append(&dispatch->sent, held);
}

int64_t tsk_dispatch_deadline(const struct tsk_dispatch *dispatch)
{
    if (dispatch->blocked_until)
        return dispatch->blocked_until;
    int64_t due = dispatch->sent.first ? dispatch->sent.first->due : -1;
    if (dispatch->parked.first)
        due = tsk_earlier(due, dispatch->parked.first->due);
    if (dispatch->reserved.first)
        due = tsk_earlier(due, dispatch->reserved.first->due);
    if (dispatch->queued.first && serves_plain(dispatch))
        due = tsk_earlier(due, dispatch->quiet_at);
    if (dispatch->undecided)
        due = tsk_earlier(due, dispatch->gathered_at);
    return due;
}

int64_t tsk_dispatch_stranded(const struct tsk_dispatch *dispatch)
{
    return dispatch->stranded;
}

/* ---- to look at */

static struct tsk_dispatch_batch describe(const struct tsk_dispatch *dispatch,
                                          const struct held *held)
{
    struct tsk_dispatch_batch batch = {held->tag, NULL, held->attempts, -1,
                                       TSK_DISPATCH_FOR_WORKER};
    if (held->worker)
        batch.worker_id = held->worker->seen.worker_id;
    if (held->list == &dispatch->reserved || held->list == &dispatch->parked) {
        batch.wait = TSK_DISPATCH_FOR_RETURN;
        batch.worker_id = held->parked_for ? held->parked_for : held->prefer;
        batch.due = held->due;
    } else if (held->list == &dispatch->sent) {
        batch.wait = TSK_DISPATCH_FOR_ANSWER;
        batch.due = held->due;
    } else if (held->list == &dispatch->offered || (dispatch->opts.ask && !held->plain)) {
        batch.wait = TSK_DISPATCH_FOR_ALLOW;
    } else if (held->list == &dispatch->allowed) {
        batch.wait = TSK_DISPATCH_FOR_SOCKET;
    }
    return batch;
}

void tsk_dispatch_each_batch(const struct tsk_dispatch *dispatch, tsk_dispatch_batch_fn *fn,
                             void *ctx)
{
    for (struct tsk_map_entry *e = tsk_map_first(dispatch->held); e; e = tsk_map_next(e)) {
        struct tsk_dispatch_batch batch = describe(dispatch, tsk_map_value(e));
        fn(ctx, &batch);
    }
}
