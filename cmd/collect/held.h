/* Results of batches that no receipt was read for: the receipt may come later, or never. */
#ifndef COLLECT_HELD_H
#define COLLECT_HELD_H

#include <stddef.h>
#include <stdint.h>

#include "collect/batches.h"
#include "collect/stream.h"

struct held;

/* Holds at most count results and bytes of them; of more, the batches that came first are dropped,
 * and counted. */
struct held *held_new(size_t count, size_t bytes);
void held_free(struct held *held);

/* Holds a result (data is copied) that came as offset of source (NULL: of no stream). */
void held_add(struct held *held, const struct result *result, const char *data, size_t len,
              const char *source, int64_t offset);

/* From now on no receipt can come: what is held, and all that is added, will not be printed. It
 * is only remembered, so that it stays unconfirmed and a later collector can have it. */
void held_close(struct held *held);

/* Gives the results of a batch in the order they came, and forgets them. */
typedef void held_fn(void *ctx, const struct result *result, const char *data, size_t len);
void held_release(struct held *held, const char *batch_id, held_fn *fn, void *ctx);

/* Tells stream which offsets are not durable here. */
void held_mark(const struct held *held, struct tsk_stream *stream);

int64_t held_unclaimed(const struct held *held); /* all that were added and never released */
/* Of these, what the limits cost before held_close. */
int64_t held_dropped(const struct held *held);

#endif
