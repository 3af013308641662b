/* What is asked before a batch is sent: it is offered to a worker, and sent when that is allowed.
 * And batches that a worker may know already: they wait for it, for a while. */
#include <stdlib.h>
#include <string.h>

#include "publish/dispatch_private.h"
#include "tasker/buf.h"

/* Whether a batch still prefers a worker. One that has rejected it is not asked again. */
static bool prefers(struct held *held)
{
    if (held->prefer && tsk_held_refused_by(held, held->prefer)) {
        free(held->prefer);
        held->prefer = NULL;
    }
    return held->prefer;
}

void tsk_held_queue(struct tsk_dispatch *dispatch, struct held *held, bool first)
{
    if (prefers(held) && !tsk_dispatch_worker(dispatch, held->prefer)) {
        if (held->attempts == 0) {
            tsk_held_append(&dispatch->reserved, held);
            return;
        }
        free(held->prefer); /* that worker had it, and is gone for good */
        held->prefer = NULL;
    }
    if (first)
        tsk_held_prepend(&dispatch->queued, held);
    else
        tsk_held_append(&dispatch->queued, held);
}

void tsk_dispatch_allow(struct tsk_dispatch *dispatch, const char *batch_id, const char *worker_id)
{
    struct held *held = tsk_map_get(dispatch->held, batch_id);
    if (!held)
        return;
    if (!worker_id) {
        held->plain = true;
    } else if (held->list == &dispatch->offered &&
               strcmp(held->worker->seen.worker_id, worker_id) == 0) {
        tsk_held_remove(held);
        tsk_held_append(&dispatch->allowed, held);
    }
}

const char *tsk_dispatch_offered(const struct tsk_dispatch *dispatch, const char *batch_id)
{
    const struct held *held = tsk_map_get(dispatch->held, batch_id);
    return held && held->list == &dispatch->offered ? held->worker->seen.worker_id : NULL;
}

void tsk_dispatch_prefer(struct tsk_dispatch *dispatch, const char *batch_id, const char *worker_id,
                         int64_t until)
{
    struct held *held = tsk_map_get(dispatch->held, batch_id);
    if (!held || held->attempts || held->prefer)
        return;
    held->prefer = tsk_strdup(worker_id);
    held->due = until;
    if (held->worker && strcmp(held->worker->seen.worker_id, worker_id) == 0)
        return;
    tsk_held_unassign(held);
    tsk_held_remove(held);
    tsk_held_queue(dispatch, held, false);
}

/* Nothing of it was sent, so that another worker may have it at once; but one that prefers this
 * worker waits for it, for as long as it is told. */
static void end_offers(struct tsk_dispatch *dispatch, struct list *list,
                       const struct worker *worker)
{
    for (struct held *held = list->last, *prev; held; held = prev) {
        prev = held->prev;
        bool prefers_it = held->prefer && strcmp(held->prefer, worker->seen.worker_id) == 0;
        if (held->worker != worker && !prefers_it)
            continue;
        tsk_held_unassign(held);
        tsk_held_remove(held);
        tsk_held_prepend(prefers_it ? &dispatch->reserved : &dispatch->queued, held);
    }
}

void tsk_dispatch_offers_end(struct tsk_dispatch *dispatch, const struct worker *worker)
{
    end_offers(dispatch, &dispatch->queued, worker);
    end_offers(dispatch, &dispatch->allowed, worker);
    end_offers(dispatch, &dispatch->offered, worker);
}

void tsk_dispatch_reserved_for(struct tsk_dispatch *dispatch, const struct worker *worker)
{
    for (struct held *held = dispatch->reserved.first, *next; held; held = next) {
        next = held->next;
        if (strcmp(held->prefer, worker->seen.worker_id) != 0)
            continue;
        tsk_held_remove(held);
        tsk_held_append(&dispatch->queued, held);
    }
}

void tsk_dispatch_reserved_end(struct tsk_dispatch *dispatch, int64_t now)
{
    struct held *held;
    while ((held = dispatch->reserved.first) && held->due <= now) {
        tsk_held_remove(held);
        free(held->prefer);
        held->prefer = NULL;
        tsk_held_append(&dispatch->queued, held);
    }
}
