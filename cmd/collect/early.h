/* Results that were printed before the receipt of their batch came: what they say is kept for it.
 * With --follow the results of the bus often overtake the receipts of the input. */
#ifndef COLLECT_EARLY_H
#define COLLECT_EARLY_H

#include <stddef.h>

struct early;
struct result;

/* Remembers so many batches at most; beyond that the oldest is forgotten. */
struct early *early_new(size_t most);
void early_free(struct early *early); /* NULL is fine */

/* Takes note of a result of a batch without a receipt. */
void early_note(struct early *early, const struct result *result);

/* Calls fn for each result of the batch, in their order, and forgets them. */
void early_take(struct early *early, const char *batch_id,
                void (*fn)(void *ctx, const struct result *result), void *ctx);

#endif
