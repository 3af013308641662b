/* What is remembered of batches that had their verdict: its revision, and the facts it stood on, as
 * hashes (reconcile_past.c). A fact is "this step of this batch, in this attempt, was reported so",
 * or "the completion (the receipt) was this one". */
#include "workflow/reconcile_private.h"

#include "base/mix.h"

#define PAST_BATCHES 65536
#define PAST_FACTS 262144

void tsk_history_init(struct tsk_history *history)
{
    *history =
        (struct tsk_history){.batches = {.limit = PAST_BATCHES}, .facts = {.limit = PAST_FACTS}};
}

void tsk_history_fini(struct tsk_history *history)
{
    tsk_past_fini(&history->batches);
    tsk_past_fini(&history->facts);
}

static uint64_t hash_id(const char *batch_id)
{
    uint64_t hash = 14695981039346656037u;
    for (; *batch_id; batch_id++)
        hash = (hash ^ (unsigned char)*batch_id) * 1099511628211u;
    return tsk_mix(hash);
}

static uint64_t hash_fact(uint64_t batch, enum tsk_fact fact, uint64_t what)
{
    return tsk_mix(batch + tsk_mix(what * 4 + fact));
}

static uint64_t hash_step(uint64_t batch, int64_t step_id, int64_t attempt,
                          enum tsk_step_status status)
{
    uint64_t which = tsk_mix((uint64_t)step_id) ^ (uint64_t)(attempt ? attempt : 1);
    return hash_fact(batch, TSK_FACT_STEP, tsk_mix(which) + (uint64_t)status);
}

unsigned tsk_history_revision(const struct tsk_history *history, const char *batch_id)
{
    return tsk_past_get(&history->batches, hash_id(batch_id));
}

bool tsk_history_knows(const struct tsk_history *history, const char *batch_id, enum tsk_fact fact,
                       uint64_t what)
{
    return tsk_past_get(&history->facts, hash_fact(hash_id(batch_id), fact, what));
}

bool tsk_history_knows_step(const struct tsk_history *history, const char *batch_id,
                            int64_t step_id, int64_t attempt, enum tsk_step_status status)
{
    return tsk_past_get(&history->facts, hash_step(hash_id(batch_id), step_id, attempt, status));
}

static void add_step(struct tsk_history *history, uint64_t batch, const struct tsk_rstep *step)
{
    uint32_t attempt = tsk_rstep_attempt(step);
    if (step->status)
        tsk_past_put(&history->facts, hash_step(batch, step->step_id, attempt, step->status), 1);
    if (step->flags & TSK_RSTEP_PROGRESS && tsk_status_final(step->status))
        tsk_past_put(&history->facts,
                     hash_step(batch, step->step_id, attempt, TSK_STEP_IN_PROGRESS), 1);
}

void tsk_history_add(struct tsk_history *history, const struct tsk_rbatch *batch)
{
    uint64_t id = hash_id(batch->id);
    tsk_past_put(&history->batches, id, batch->revision < 65535 ? batch->revision : 65535);
    for (size_t i = 0; i < batch->count; i++)
        add_step(history, id, &batch->steps[i]);
    if (batch->completion)
        tsk_past_put(&history->facts, hash_fact(id, TSK_FACT_COMPLETION, batch->digest), 1);
    if (batch->receipt || !batch->late)
        tsk_past_put(&history->facts, hash_fact(id, TSK_FACT_RECEIPT, tsk_rbatch_digest(batch)), 1);
    if (batch->error)
        tsk_past_put(&history->facts, hash_fact(id, TSK_FACT_ERROR, 0), 1);
}
