/* Batches that wait for room in the queue. They are kept as the texts that came: parsed they would
 * take many times the memory, and there may be many of them. Their number has a limit, and so have
 * their bytes. What is beyond is not kept: its publisher sends it again, until it is answered. */
#include <stdlib.h>
#include <string.h>

#include "work/work.h"

#define DEFERRED_MOST 1024  /* batches */
#define DEFERRED_MESSAGES 3 /* of the largest size: with as many bytes, no more are kept */

void deferred_free(void *value)
{
    struct deferred *deferred = value;
    if (!deferred)
        return;
    free(deferred->steps);
    free(deferred->text);
    free(deferred);
}

static size_t size_of(const struct deferred *deferred)
{
    return deferred->len + deferred->count * sizeof *deferred->steps;
}

/* Asks for what is there, not for what would fit: else a large batch might never find a place among
 * small ones. */
bool defer_is_full(const struct work *work)
{
    return tsk_map_count(work->deferred) >= DEFERRED_MOST ||
           work->deferred_bytes >= work->max_message * DEFERRED_MESSAGES;
}

void defer_keep(struct work *work, const struct batch *batch, const struct tsk_frame *frame,
                bool plain)
{
    struct deferred *deferred = tsk_alloc(sizeof *deferred);
    *deferred = (struct deferred){.text = tsk_alloc_raw(frame->len),
                                  .len = frame->len,
                                  .count = batch->data.count,
                                  .plain = plain,
                                  .heard_at = tsk_now_ms()};
    memcpy(deferred->text, frame->body, frame->len);
    deferred->steps = tsk_alloc(deferred->count * sizeof *deferred->steps);
    for (size_t i = 0; i < deferred->count; i++)
        deferred->steps[i].step_id = batch->data.steps[i].step_id;
    work->deferred_bytes += size_of(deferred);
    tsk_map_put(work->deferred, batch->data.batch_id, deferred);
}

bool defer_is_same(const struct deferred *deferred, const struct tsk_frame *frame)
{
    return deferred->len == frame->len && memcmp(deferred->text, frame->body, frame->len) == 0;
}

struct deferred *defer_take(struct work *work, const char *batch_id)
{
    struct deferred *deferred = tsk_map_take(work->deferred, batch_id);
    work->deferred_bytes -= size_of(deferred);
    return deferred;
}
