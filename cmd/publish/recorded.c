/* What follows when the store has been told: batches that are down may be sent, those that were
 * accepted have their receipt, and those that are nothing to send are done with. */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "publish/post.h"

enum { LOOK_EVERY_MS = 200 }; /* at batches that another publisher has */

int64_t record_prefer_until(const struct post *post, int64_t now)
{
    return (post->bus ? post->opened : now) + post->wait;
}

static void take_back(struct post *post, struct parcel *parcel)
{
    if (parcel->held)
        tsk_dispatch_drop(post->dispatch, parcel->batch_id);
    handed_forget(post, parcel);
    parcel->held = false;
}

/* It is down, and ours to send. The worker that it was offered to before, by a publisher that did
 * not come to say what became of it, may know it. */
static void may_go(struct post *post, struct parcel *parcel, int64_t now)
{
    parcel->taken_since = 0;
    parcel_mark(parcel, post->parser);
    if (!parcel->held)
        parcel->held =
            tsk_dispatch_add(post->dispatch, parcel->batch_id, (int64_t)parcel->count, parcel);
    if (parcel->told && (!parcel->target || strcmp(parcel->told, parcel->target) != 0))
        tsk_dispatch_prefer(post->dispatch, parcel->batch_id, parcel->told,
                            record_prefer_until(post, now));
    tsk_dispatch_allow(post->dispatch, parcel->batch_id, NULL);
    if (parcel->told)
        tsk_dispatch_allow(post->dispatch, parcel->batch_id, parcel->told);
    /* the store names another, or none */
    if (tsk_dispatch_offered(post->dispatch, parcel->batch_id))
        record_note(&post->record, parcel, RECORD_OFFER);
}

/* Counts a batch that this publisher sent, and of which the ledger has news, as accepted: its
 * worker runs it, though the answer was lost. Returns whether it is such a batch. */
static bool accept_known(struct post *post, struct parcel *parcel, int64_t now)
{
    const char *worker = tsk_json_str(parcel->past, "worker_id");
    bool refused = false;
    int64_t attempts;
    tsk_json_bool(parcel->past, "refused", &refused);
    if (!parcel->held || !worker || refused || tsk_json_str(parcel->past, "delivery") ||
        strcmp(tsk_json_str(parcel->past, "state"), "cancelled") == 0 ||
        !tsk_dispatch_accept(post->dispatch, parcel->batch_id, worker, NULL, now, &attempts))
        return false;
    diag_info("batch %s: worker %s has it: the ledger has news of it", parcel->batch_id, worker);
    post_accepted(post, parcel, parcel->past, attempts);
    return true;
}

static void is_taken(struct post *post, struct parcel *parcel, int64_t now)
{
    struct record *record = &post->record;
    take_back(post, parcel);
    if (!parcel->taken_since) {
        parcel->taken_since = now;
        diag_info("batch %s: another publisher has it", parcel->batch_id);
    }
    if (now >= parcel->taken_since + post->wait) {
        diag_error("batch %s (%s): another publisher has it, and nobody accepted it in time",
                   parcel->batch_id, parcel->place);
        post->status = tsk_exit_worse(post->status, TSK_TEMPFAIL);
        parcel_free(parcel);
        return;
    }
    record->others.items = tsk_grow(record->others.items, &record->others.cap,
                                    record->others.count + 1, sizeof *record->others.items);
    record->others.items[record->others.count++] = parcel;
    record->look_at = now + LOOK_EVERY_MS;
}

/* It was published before. Where somebody took it, its receipt is given once more. */
static void is_past(struct post *post, struct parcel *parcel)
{
    const char *state = tsk_json_str(parcel->past, "state");
    bool refused = false;
    tsk_json_bool(parcel->past, "refused", &refused);
    take_back(post, parcel);
    if (refused || strcmp(state, "cancelled") == 0) {
        diag_error("batch %s (%s): %s before: not sent again", parcel->batch_id, parcel->place,
                   refused ? "rejected" : "cancelled");
        post->status = tsk_exit_worse(post->status, TSK_NO);
        parcel_free(parcel);
        return;
    }
    diag_warn("batch %s (%s): already published (it is %s): not sent again", parcel->batch_id,
              parcel->place, strcmp(state, "created") == 0 ? "known to the ledger" : state);
    receipt_again(post, parcel);
}

static void is_other(struct post *post, struct parcel *parcel)
{
    take_back(post, parcel);
    diag_error("batch %s (%s): the store has another batch of this batch_id: not sent",
               parcel->batch_id, parcel->place);
    post->status = tsk_exit_worse(post->status, TSK_DATA);
    parcel_free(parcel);
}

static void added(struct post *post, struct parcel *parcel, int64_t now)
{
    switch (parcel->verdict) {
    case TSK_OUTBOUND_SEND:
    case TSK_OUTBOUND_FREE:
        may_go(post, parcel, now);
        break;
    case TSK_OUTBOUND_TAKEN:
        is_taken(post, parcel, now);
        break;
    case TSK_OUTBOUND_PAST:
        if (!accept_known(post, parcel, now))
            is_past(post, parcel);
        break;
    case TSK_OUTBOUND_OTHER:
        is_other(post, parcel);
        break;
    }
}

static void done(struct post *post, struct parcel *parcel, int64_t now)
{
    unsigned todo = parcel->todo;
    parcel->todo = 0;
    if (todo & RECORD_ACCEPT) {
        receipt_print(post, parcel);
    } else if (todo & RECORD_REFUSE) {
        receipt_rejected(parcel);
    } else if (todo & (RECORD_ADD | RECORD_LOOK)) {
        added(post, parcel, now);
    } else if (todo & RECORD_OFFER) {
        parcel_set(&parcel->told, parcel->target);
        tsk_dispatch_allow(post->dispatch, parcel->batch_id, parcel->target);
    }
}

void record_done(struct post *post, int64_t now)
{
    struct parcels due = post->record.due;
    post->record.due = (struct parcels){NULL, 0, 0};
    for (size_t i = 0; i < due.count; i++)
        done(post, due.items[i], now);
    free(due.items);
}
