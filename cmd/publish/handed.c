/* Batches given to plain subscribers, which answer nothing. Such a batch is held until libzmq has
 * written it to all of them. So no more than zeromq.send_window of them wait in the sockets: a slow
 * subscriber holds the input back, and loses nothing. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/diag.h"
#include "publish/post.h"
#include "tasker/clock.h"
#include "tasker/message.h"

enum {
    PAUSE_MOST_MS = 50,
    LIMIT_LEAST_MS = 1000,
    BLOCKED_EVERY_MS = 200 /* it looks at all descriptors of the process */
};

int handed_send(struct post *post, struct parcel *parcel, const struct tsk_buf *text,
                struct tsk_err *err)
{
    struct handed *handed = &post->handed;
    struct tsk_blob *blob = tsk_blob_new(TSK_TOPIC_STEPS, text->data, text->len);
    int rc = tsk_bus_send_blob(post->bus, blob, err);
    if (rc <= 0) {
        tsk_blob_release(blob);
        return rc;
    }
    if (!parcel->blob) {
        handed->items =
            tsk_grow(handed->items, &handed->cap, handed->count + 1, sizeof(struct parcel *));
        handed->items[handed->count++] = parcel;
    }
    tsk_blob_release(parcel->blob); /* of a subscriber that left before it took the batch */
    parcel->blob = blob;
    parcel->subscribers = (int64_t)tsk_dispatch_plain(post->dispatch);
    if (parcel->subscribers > 1 && !handed->told_several)
        diag_warn("%" PRId64 " plain subscribers are at %s: each of them gets every batch, so each "
                  "step runs %" PRId64 " times",
                  parcel->subscribers, tsk_bus_endpoint(post->bus), parcel->subscribers);
    handed->told_several |= parcel->subscribers > 1;
    handed->moved_at = tsk_now_ms();
    return 1;
}

void handed_look(struct post *post)
{
    struct handed *handed = &post->handed;
    size_t kept = 0;
    for (size_t i = 0; i < handed->count; i++) {
        struct parcel *parcel = handed->items[i];
        int64_t attempts;
        if (tsk_blob_shared(parcel->blob) ||
            !tsk_dispatch_taken(post->dispatch, parcel->batch_id, &attempts)) {
            handed->items[kept++] = parcel;
            continue;
        }
        tsk_blob_release(parcel->blob);
        parcel->blob = NULL;
        handed->moved_at = tsk_now_ms();
        post_accepted(post, parcel, NULL, attempts);
    }
    handed->count = kept;
}

void handed_forget(struct post *post, struct parcel *parcel)
{
    struct handed *handed = &post->handed;
    size_t kept = 0;
    if (!parcel->blob)
        return;
    for (size_t i = 0; i < handed->count; i++) {
        if (handed->items[i] != parcel)
            handed->items[kept++] = handed->items[i];
    }
    handed->count = kept;
    tsk_blob_release(parcel->blob);
    parcel->blob = NULL;
}

static int64_t limit(const struct post *post)
{
    return post->wait > LIMIT_LEAST_MS ? post->wait : LIMIT_LEAST_MS;
}

int64_t handed_deadline(const struct post *post)
{
    const struct handed *handed = &post->handed;
    int64_t now = tsk_now_ms(), pause = (now - handed->moved_at) / 8 + 1;
    if (handed->blocked)
        return now + BLOCKED_EVERY_MS;
    return handed->count ? now + (pause < PAUSE_MOST_MS ? pause : PAUSE_MOST_MS) : -1;
}

/* Disconnects the subscribers that take nothing. Returns false if there are none to be found. */
static bool cut(struct post *post)
{
    struct handed *handed = &post->handed;
    size_t count = tsk_bus_cut(post->bus);
    if (!count)
        return false;
    diag_error("%zu plain subscriber%s took nothing for %" PRId64 " ms: disconnected", count,
               tsk_plural((int64_t)count), limit(post));
    for (size_t i = 0; i < handed->count; i++) {
        handed->items[i]->not_taken = true;
        diag_error("not taken by all plain subscribers: batch %s (%s)", handed->items[i]->batch_id,
                   handed->items[i]->place);
    }
    handed->moved_at = tsk_now_ms();
    return true;
}

bool handed_stuck(struct post *post)
{
    struct handed *handed = &post->handed;
    if (!handed->count || tsk_now_ms() - handed->moved_at < limit(post))
        return false;
    post->status = tsk_exit_worse(post->status, TSK_TEMPFAIL);
    return !cut(post);
}

bool handed_lingers(struct post *post)
{
    struct handed *handed = &post->handed;
    handed->blocked = handed->moved_at && post->bus && tsk_bus_blocked(post->bus);
    if (!handed->blocked || tsk_now_ms() - handed->moved_at < limit(post))
        return handed->blocked;
    diag_error("a plain subscriber took nothing for %" PRId64 " ms: it may lack the last batches",
               limit(post));
    post->status = tsk_exit_worse(post->status, TSK_TEMPFAIL);
    return false;
}
