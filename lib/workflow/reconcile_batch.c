/* A batch that waits for its verdict. Its steps stand in one array, found by a hash of step_id (and
 * mostly without it: messages of a step come in a row). How many steps are not settled yet is kept
 * up to date with each message, so that "does all agree?" is answered without looking at them. */
#include "workflow/reconcile_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/mix.h"
#include "tasker/clock.h"

struct tsk_rbatch *tsk_rbatch_new(const char *batch_id)
{
    struct tsk_rbatch *batch = tsk_alloc(sizeof *batch);
    strncpy(batch->id, batch_id, sizeof batch->id - 1);
    batch->revision = 1;
    batch->error_at = batch->published_at = batch->completed_at = batch->time_ms = -1;
    batch->told_published = -1;
    batch->told_total = batch->told_completed = batch->told_failed = batch->told_in_progress = -1;
    return batch;
}

void tsk_rbatch_free(struct tsk_rbatch *batch)
{
    if (!batch)
        return;
    json_object_put(batch->error);
    tsk_names_fini(&batch->names);
    free(batch->steps);
    free(batch->slots);
    free(batch);
}

/* Whether nothing is open about step. */
static bool settled(const struct tsk_rbatch *batch, const struct tsk_rstep *step)
{
    if (!tsk_status_final(step->status) || tsk_rstep_gap(step))
        return false;
    if (batch->receipt && !(step->flags & TSK_RSTEP_PUBLISHED))
        return false;
    return !batch->summaries ||
           (step->summary == step->status && tsk_rstep_match(step) == TSK_RMATCH_SAME);
}

/* Whether what follows for step hangs on a limit that only a receipt can still tell. */
static bool lacks_limit(const struct tsk_rstep *step)
{
    return step->status == TSK_STEP_FAILED && step->flags & TSK_RSTEP_RETRYABLE &&
           step->limit == UINT32_MAX;
}

/* Adds (sign 1) step to what is counted, or takes it out (-1, before it is changed). */
static void count_step(struct tsk_rbatch *batch, const struct tsk_rstep *step, int sign)
{
    size_t one = (size_t)sign; /* wraps around as it should */
    if (!settled(batch, step))
        batch->unsettled += one;
    if (lacks_limit(step))
        batch->limitless += one;
    if (step->status == TSK_STEP_COMPLETED)
        batch->completed += one;
    if (step->status == TSK_STEP_FAILED)
        batch->failed += one;
    if (step->flags & TSK_RSTEP_PUBLISHED)
        batch->published += one;
    if (step->summary)
        batch->summarised += one;
    if (step->summary == TSK_STEP_COMPLETED)
        batch->summary_completed += one;
    if (step->summary == TSK_STEP_FAILED)
        batch->summary_failed += one;
}

/* Counts anew after a change that concerns all steps. */
static void count_all(struct tsk_rbatch *batch)
{
    batch->unsettled = batch->limitless = batch->completed = batch->failed = 0;
    batch->published = batch->summarised = batch->summary_completed = batch->summary_failed = 0;
    for (size_t i = 0; i < batch->count; i++)
        count_step(batch, &batch->steps[i], 1);
}

static uint32_t *find_slot(const struct tsk_rbatch *batch, int64_t step_id)
{
    size_t at = tsk_mix((uint64_t)step_id) & (batch->size - 1);
    while (batch->slots[at] && batch->steps[batch->slots[at] - 1].step_id != step_id)
        at = (at + 1) & (batch->size - 1);
    return &batch->slots[at];
}

static void grow_slots(struct tsk_rbatch *batch)
{
    free(batch->slots);
    batch->size = batch->size ? batch->size * 2 : 16;
    batch->slots = tsk_alloc(batch->size * sizeof *batch->slots);
    for (size_t i = 0; i < batch->count; i++)
        *find_slot(batch, batch->steps[i].step_id) = (uint32_t)i + 1;
}

static struct tsk_rstep *add_step(struct tsk_rbatch *batch, int64_t step_id)
{
    batch->steps = tsk_grow(batch->steps, &batch->cap, batch->count + 1, sizeof *batch->steps);
    struct tsk_rstep *step = &batch->steps[batch->count++];
    *step = (struct tsk_rstep){.step_id = step_id, .ended = -1, .time_ms = -1};
    step->retry_after = step->limit = UINT32_MAX;
    count_step(batch, step, 1);
    return step;
}

struct tsk_rstep *tsk_rbatch_step(struct tsk_rbatch *batch, int64_t step_id)
{
    for (size_t i = batch->last; i < batch->count && i < batch->last + 2; i++) {
        if (batch->steps[i].step_id == step_id) {
            batch->last = i;
            return &batch->steps[i];
        }
    }
    if (batch->count * 2 >= batch->size)
        grow_slots(batch);
    uint32_t *slot = find_slot(batch, step_id);
    if (!*slot) {
        add_step(batch, step_id);
        *slot = (uint32_t)batch->count;
    }
    batch->last = *slot - 1;
    return &batch->steps[batch->last];
}

/* Makes room for as many steps as are sure to come, and no more: many batches may be open. */
static void expect_steps(struct tsk_rbatch *batch, struct json_object *entries)
{
    size_t count = entries ? json_object_array_length(entries) : 0;
    if (batch->cap || !count)
        return;
    batch->steps = tsk_alloc(count * sizeof *batch->steps);
    batch->cap = count;
}

void tsk_rbatch_partial(struct tsk_rbatch *batch, const struct tsk_rpartial *partial)
{
    struct tsk_rstep *step = tsk_rbatch_step(batch, partial->step_id);
    count_step(batch, step, -1);
    tsk_rstep_partial(step, partial, batch->completion, &batch->names);
    count_step(batch, step, 1);
}

static void read_counts(struct tsk_rbatch *batch, struct json_object *message)
{
    const struct {
        const char *key;
        int64_t *to;
    } counts[] = {{"total_steps", &batch->told_total},
                  {"completed_steps", &batch->told_completed},
                  {"failed_steps", &batch->told_failed},
                  {"in_progress_steps", &batch->told_in_progress},
                  {"total_execution_time_ms", &batch->time_ms}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        tsk_json_int(message, counts[i].key, counts[i].to);
    batch->completed_at = tsk_rtime_read(message, "completed_at");
}

void tsk_rbatch_completion(struct tsk_rbatch *batch, struct json_object *message, uint64_t digest)
{
    struct json_object *all = tsk_json_get(message, "step_summaries");
    struct tsk_rentry entry;
    int64_t refused = 0;
    if (batch->completion && batch->digest == digest)
        return; /* the same once more */
    batch->completions_differ = batch->completion;
    if (!batch->completion)
        read_counts(batch, message);
    batch->completion = true;
    batch->digest = digest;
    batch->summaries |= all != NULL;
    batch->refused |= tsk_json_int(message, TSK_REFUSED_ENTRIES, &refused) == 1 && refused > 0;
    expect_steps(batch, all);
    for (size_t i = 0; all && i < json_object_array_length(all); i++) {
        tsk_rsummary_read(&entry, json_object_array_get_idx(all, i));
        tsk_rstep_summary(tsk_rbatch_step(batch, entry.step_id), &entry, &batch->names);
    }
    count_all(batch);
}

void tsk_rbatch_receipt(struct tsk_rbatch *batch, struct json_object *message)
{
    static const char *const keys[] = {"steps", "step_ids"};
    struct tsk_rentry entry;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        struct json_object *all = tsk_json_get(message, keys[k]);
        expect_steps(batch, all);
        for (size_t i = 0; all && i < json_object_array_length(all); i++) {
            tsk_rreceipt_read(&entry, json_object_array_get_idx(all, i));
            tsk_rstep_publish(tsk_rbatch_step(batch, entry.step_id), &entry, &batch->names);
        }
    }
    tsk_json_int(message, "total_steps", &batch->told_published);
    batch->published_at = tsk_rtime_read(message, "published_at");
    batch->receipt = true;
    count_all(batch);
}

void tsk_rbatch_publish(struct tsk_rbatch *batch, const struct tsk_rentry *entries, size_t count,
                        int64_t published_at)
{
    for (size_t i = 0; i < count; i++)
        tsk_rstep_publish(tsk_rbatch_step(batch, entries[i].step_id), &entries[i], &batch->names);
    batch->told_published = (int64_t)count;
    batch->published_at = published_at;
    batch->receipt = true;
    count_all(batch);
}

void tsk_rbatch_error(struct tsk_rbatch *batch, struct json_object *message)
{
    struct json_object *error = tsk_json_get(message, "error");
    if (batch->error)
        return; /* one is enough to say that it could not be run */
    batch->error = error ? json_object_get(error) : json_object_new_object();
    batch->error_at = tsk_rtime_read(message, "timestamp");
}

/* --- Digests: sums of hashes, so that the order of the entries does not matter. */

uint64_t tsk_rcompletion_digest(struct json_object *message)
{
    static const char *const counts[] = {"total_steps", "completed_steps", "failed_steps",
                                         "in_progress_steps"};
    struct json_object *all = tsk_json_get(message, "step_summaries");
    struct tsk_rentry entry;
    uint64_t digest = all != NULL;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t n = -1;
        tsk_json_int(message, counts[i], &n);
        digest += tsk_mix((uint64_t)n * 4 + i);
    }
    for (size_t i = 0; all && i < json_object_array_length(all); i++) {
        tsk_rsummary_read(&entry, json_object_array_get_idx(all, i));
        uint64_t hash = tsk_mix((uint64_t)entry.step_id) ^ (uint64_t)entry.status;
        digest += tsk_mix(hash + (uint64_t)entry.attempt * 8);
    }
    return tsk_mix(digest);
}

/* Of step_ids where they are there, else of steps: a receipt has the same in both. */
uint64_t tsk_rreceipt_digest(struct json_object *message)
{
    struct json_object *all = tsk_json_get(message, "step_ids");
    struct tsk_rentry entry;
    uint64_t digest = 0;
    if (!all)
        all = tsk_json_get(message, "steps");
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        tsk_rreceipt_read(&entry, json_object_array_get_idx(all, i));
        digest += tsk_mix((uint64_t)entry.step_id);
    }
    return tsk_mix(digest);
}

uint64_t tsk_rbatch_digest(const struct tsk_rbatch *batch)
{
    uint64_t digest = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->receipt || batch->steps[i].flags & TSK_RSTEP_PUBLISHED)
            digest += tsk_mix((uint64_t)batch->steps[i].step_id);
    }
    return tsk_mix(digest);
}

/* --- Agreement. */

static bool agrees(int64_t told, size_t counted)
{
    return told < 0 || (uint64_t)told == counted;
}

/* Whether anybody said which steps, or how many, there are: a bare completion does not. */
static bool extent_known(const struct tsk_rbatch *batch)
{
    return batch->receipt || batch->told_total >= 0 || (batch->summaries && batch->count);
}

bool tsk_rbatch_agrees(const struct tsk_rbatch *batch)
{
    return extent_known(batch) && batch->completion && !batch->late && !batch->error &&
           !batch->completions_differ && !batch->refused && batch->unsettled == 0 &&
           agrees(batch->told_published, batch->published) &&
           agrees(batch->told_total, batch->count) &&
           agrees(batch->told_completed, batch->completed) &&
           agrees(batch->told_failed, batch->failed) && agrees(batch->told_in_progress, 0);
}
