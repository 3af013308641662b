/* The past in bounded memory: a set of hashes in two halves. New ones go into the younger; when it
 * is full, it becomes the older one and what the older one held is forgotten. So nothing is ever
 * deleted one by one, and the tables never fill up. */
#include "workflow/reconcile_private.h"

#include <stdlib.h>

#define VALUE_BITS 16
#define VALUE_MASK ((1u << VALUE_BITS) - 1)

void tsk_past_fini(struct tsk_past *past)
{
    free(past->now.slots);
    free(past->before.slots);
    *past = (struct tsk_past){.limit = past->limit};
}

/* Returns the slot where hash is, or is to be; NULL if there is no table. */
static uint64_t *find(const struct tsk_past_half *half, uint64_t hash)
{
    if (!half->size)
        return NULL;
    size_t at = (hash >> VALUE_BITS) & (half->size - 1);
    while (half->slots[at] && half->slots[at] >> VALUE_BITS != hash >> VALUE_BITS)
        at = (at + 1) & (half->size - 1);
    return &half->slots[at];
}

static void grow(struct tsk_past_half *half)
{
    struct tsk_past_half old = *half;
    half->size = old.size ? old.size * 2 : 256;
    half->slots = tsk_alloc(half->size * sizeof *half->slots);
    for (size_t i = 0; i < old.size; i++) {
        if (old.slots[i])
            *find(half, old.slots[i]) = old.slots[i];
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
        grow(&past->now);
    uint64_t *slot = find(&past->now, hash);
    past->now.count += !*slot;
    *slot = (hash & ~(uint64_t)VALUE_MASK) | (value & VALUE_MASK);
}

unsigned tsk_past_get(const struct tsk_past *past, uint64_t hash)
{
    const uint64_t *slot = find(&past->now, hash);
    if (!slot || !*slot)
        slot = find(&past->before, hash);
    return slot ? (unsigned)(*slot & VALUE_MASK) : 0;
}
