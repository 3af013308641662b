/* A batch that waits for its verdict. Its steps stand in one array, found by a hash of step_id (and
 * mostly without it: messages of a step come in a row). How many steps are not settled yet is kept
 * up to date with each message, so that "does all agree?" is answered without looking at them. */
#include "workflow/reconcile_private.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/map.h"
#include "tasker/clock.h"

/* ---- Texts of one batch (step names, workers, categories, reasons) kept once each: a batch of 100
 * 000 steps has few different ones. One buffer for the texts, one open-addressing table of their
 * places. */

void tsk_names_fini(struct tsk_names *names)
{
    tsk_buf_fini(&names->text);
    free(names->slots);
    *names = (struct tsk_names){0};
}

static uint32_t hash_name(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash ^ (hash >> 15);
}

/* Returns the slot where text is, or is to be. */
static uint32_t *find_name(const struct tsk_names *names, const char *text)
{
    size_t at = hash_name(text) & (names->size - 1);
    while (names->slots[at] && strcmp(names->text.data + names->slots[at], text))
        at = (at + 1) & (names->size - 1);
    return &names->slots[at];
}

static void grow_names(struct tsk_names *names)
{
    uint32_t *old = names->slots;
    size_t old_size = names->size;
    names->size = old_size ? old_size * 2 : 16;
    names->slots = tsk_alloc(names->size * sizeof *names->slots);
    for (size_t i = 0; i < old_size; i++) {
        if (old[i])
            *find_name(names, names->text.data + old[i]) = old[i];
    }
    free(old);
}

uint32_t tsk_names_add(struct tsk_names *names, const char *text)
{
    if (!text || !*text)
        return 0;
    if (names->count * 2 >= names->size)
        grow_names(names);
    if (!names->text.len)
        tsk_buf_char(&names->text, '\0'); /* so that no text stands at 0 */
    uint32_t *slot = find_name(names, text);
    if (*slot)
        return *slot;
    if (names->text.len > UINT32_MAX / 2)
        return 0; /* 2 GiB of names: they are for people only, and these can go without */
    *slot = (uint32_t)names->text.len;
    names->count++;
    tsk_buf_add(&names->text, text, strlen(text) + 1);
    return *slot;
}

const char *tsk_names_get(const struct tsk_names *names, uint32_t at)
{
    return at ? names->text.data + at : NULL;
}

/* ---- What one step's messages mean together. Whatever the order in which they come, the same ones
 * must leave the same state behind: an older attempt never replaces a newer one, an end is never
 * replaced by an in_progress, and of two ends of one attempt the summary decides, or else the
 * failure stands (and its outcome is then unknown). Only marks (came after the completion, came
 * out of order) tell of the order. */

#define REASON_MOST 200

static uint32_t narrow(int64_t n)
{
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1;
}

static uint32_t narrow_told(int64_t n)
{
    return n < 0 ? UINT32_MAX : narrow(n);
}

uint32_t tsk_rstep_attempt(const struct tsk_rstep *step)
{
    return step->attempt ? step->attempt : step->published;
}

bool tsk_rstep_gap(const struct tsk_rstep *step)
{
    uint32_t n = step->sequence < 32 ? step->sequence : 32;
    uint32_t all = n == 32 ? UINT32_MAX : (1u << n) - 1;
    return (step->seen & all) != all;
}

enum tsk_rmatch tsk_rstep_match(const struct tsk_rstep *step)
{
    uint32_t attempt = tsk_rstep_attempt(step);
    if (!step->summary || (step->summary_attempt && step->summary_attempt < attempt))
        return TSK_RMATCH_NONE;
    return attempt && step->summary_attempt > attempt ? TSK_RMATCH_NEWER : TSK_RMATCH_SAME;
}

/* Forgets what partial results of an older attempt said. */
static void forget_attempt(struct tsk_rstep *step)
{
    step->status = TSK_STEP_MISSING;
    step->seen = step->sequence = 0;
    step->attempt = 0;
    step->category = step->reason = step->worker = 0;
    step->time_ms = -1;
    step->flags &= TSK_RSTEP_PUBLISHED | TSK_RSTEP_OLDER | TSK_RSTEP_AFTER | TSK_RSTEP_CONTESTED;
}

/* Notes a sequence number. Returns whether it tells something new. */
static bool note_sequence(struct tsk_rstep *step, int64_t sequence)
{
    uint32_t n = narrow(sequence);
    uint32_t bit = n <= 32 ? 1u << (n - 1) : 0;
    if (n > step->sequence) {
        if (n > 33 && n > step->sequence + 1)
            step->flags |= TSK_RSTEP_DISORDER; /* a gap that seen cannot show */
        step->sequence = n;
        step->seen |= bit;
        return true;
    }
    if (!bit || step->seen & bit)
        return false; /* seen before, or so far back that nobody can tell */
    step->seen |= bit;
    step->flags |= TSK_RSTEP_DISORDER;
    return true;
}

/* A handler may say as much as it likes; of that the first REASON_MOST bytes are kept, in whole
 * characters. */
static uint32_t add_reason(struct tsk_names *names, const char *reason)
{
    char cut[REASON_MOST + 1];
    size_t len = reason ? strlen(reason) : 0;
    if (len <= REASON_MOST)
        return tsk_names_add(names, reason);
    len = REASON_MOST;
    while (len && ((unsigned char)reason[len] & 0xC0) == 0x80)
        len--;
    memcpy(cut, reason, len);
    cut[len] = '\0';
    return tsk_names_add(names, cut);
}

/* Takes over what the end of the step tells. */
static void take_end(struct tsk_rstep *step, const struct tsk_result *partial,
                     struct tsk_names *names)
{
    step->status = (uint8_t)partial->status;
    step->time_ms = partial->time_ms;
    step->ended = partial->ended;
    step->retry_after = narrow_told(partial->retry_after);
    step->category = tsk_names_add(names, partial->category);
    step->reason = add_reason(names, partial->reason);
    step->flags &= (uint16_t) ~(TSK_RSTEP_RETRYABLE | TSK_RSTEP_UNUSED);
    step->flags |= partial->retryable ? TSK_RSTEP_RETRYABLE : 0;
    step->flags |= partial->unused ? TSK_RSTEP_UNUSED : 0;
}

/* Returns whether the end is news. */
static bool note_end(struct tsk_rstep *step, const struct tsk_result *partial,
                     struct tsk_names *names)
{
    if (step->status == partial->status)
        return false;
    bool first = !tsk_status_final(step->status);
    step->flags |= partial->refused ? TSK_RSTEP_REFUSED : 0;
    if (!first)
        step->flags |= TSK_RSTEP_CONFLICT;
    bool summed_up = tsk_rstep_match(step) == TSK_RMATCH_SAME && tsk_status_final(step->summary);
    enum tsk_step_status right = summed_up ? step->summary : TSK_STEP_FAILED;
    if (first || partial->status == right)
        take_end(step, partial, names);
    return true;
}

static bool note_progress(struct tsk_rstep *step, const struct tsk_result *partial, bool newer)
{
    bool news = newer || !(step->flags & TSK_RSTEP_PROGRESS);
    if (news && tsk_status_final(step->status))
        step->flags |= TSK_RSTEP_DISORDER;
    if (step->status == TSK_STEP_MISSING) {
        step->status = TSK_STEP_IN_PROGRESS;
        step->time_ms = partial->time_ms;
    }
    step->flags |= TSK_RSTEP_PROGRESS;
    return news;
}

static void note_names(struct tsk_rstep *step, const struct tsk_result *partial,
                       struct tsk_names *names)
{
    if (partial->task_id)
        step->task_id = partial->task_id;
    if (!step->name)
        step->name = tsk_names_add(names, partial->step_name);
    if (partial->worker_id && (!step->worker || tsk_status_final(partial->status)))
        step->worker = tsk_names_add(names, partial->worker_id);
    if (step->limit == UINT32_MAX)
        step->limit = narrow_told(partial->retry_limit);
    if (!step->backoff)
        step->backoff = tsk_names_add(names, partial->backoff);
}

static void step_partial(struct tsk_rstep *step, const struct tsk_result *partial, bool completed,
                         struct tsk_names *names)
{
    uint32_t attempt = narrow(partial->attempt), known = tsk_rstep_attempt(step);
    if (attempt && attempt < known) {
        step->flags |= TSK_RSTEP_OLDER;
        return;
    }
    if (attempt > known && known)
        forget_attempt(step);
    if (attempt)
        step->attempt = attempt;
    bool newer = partial->sequence && note_sequence(step, partial->sequence);
    note_names(step, partial, names);
    bool news = partial->status == TSK_STEP_IN_PROGRESS ? note_progress(step, partial, newer)
                                                        : note_end(step, partial, names);
    if (completed && (news || newer))
        step->flags |= TSK_RSTEP_AFTER;
}

/* Of two ends of the attempt, the summary tells which one stands. */
static void settle_conflict(struct tsk_rstep *step)
{
    if (!(step->flags & TSK_RSTEP_CONFLICT) || !tsk_status_final(step->summary) ||
        step->status == step->summary || tsk_rstep_match(step) != TSK_RMATCH_SAME)
        return;
    step->status = step->summary; /* completed: the failure stood until now */
    step->category = step->reason = 0;
    step->flags &= (uint16_t) ~(TSK_RSTEP_RETRYABLE | TSK_RSTEP_UNUSED);
}

static void step_summary(struct tsk_rstep *step, const struct tsk_result *entry,
                         struct tsk_names *names)
{
    uint32_t attempt = narrow(entry->attempt);
    if (step->summary && attempt < step->summary_attempt)
        return;
    if (step->summary && attempt == step->summary_attempt && step->summary != entry->status) {
        step->flags |= TSK_RSTEP_CONTESTED;
        if (step->summary == TSK_STEP_FAILED)
            return; /* whichever came first, the failure stands */
    }
    step->summary = (uint8_t)entry->status;
    step->summary_attempt = attempt;
    if (!tsk_status_final(step->status) && entry->time_ms >= 0)
        step->time_ms = entry->time_ms;
    if (!step->worker)
        step->worker = tsk_names_add(names, entry->worker_id);
    settle_conflict(step);
}

static void step_publish(struct tsk_rstep *step, const struct tsk_result *entry,
                         struct tsk_names *names)
{
    uint32_t attempt = narrow(entry->attempt);
    if (step->attempt && step->attempt < attempt) {
        forget_attempt(step);
        step->flags |= TSK_RSTEP_OLDER;
    }
    step->flags |= TSK_RSTEP_PUBLISHED;
    if (attempt)
        step->published = attempt;
    if (entry->retry_limit >= 0)
        step->limit = narrow(entry->retry_limit);
    if (entry->backoff)
        step->backoff = tsk_names_add(names, entry->backoff);
    if (entry->task_id)
        step->task_id = entry->task_id;
    if (entry->step_name)
        step->name = tsk_names_add(names, entry->step_name);
}

/* ---- The batch. */

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

void tsk_rbatch_partial(struct tsk_rbatch *batch, const struct tsk_result *partial)
{
    struct tsk_rstep *step = tsk_rbatch_step(batch, partial->step_id);
    count_step(batch, step, -1);
    step_partial(step, partial, batch->completion, &batch->names);
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
    batch->completed_at = tsk_message_time(message, "completed_at");
}

void tsk_rbatch_completion(struct tsk_rbatch *batch, struct json_object *message, uint64_t digest)
{
    struct json_object *all = tsk_json_get(message, "step_summaries");
    struct tsk_result entry;
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
        tsk_result_summary(&entry, json_object_array_get_idx(all, i));
        step_summary(tsk_rbatch_step(batch, entry.step_id), &entry, &batch->names);
    }
    count_all(batch);
}

void tsk_rbatch_receipt(struct tsk_rbatch *batch, struct json_object *message)
{
    static const char *const keys[] = {"steps", "step_ids"};
    struct tsk_result entry;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        struct json_object *all = tsk_json_get(message, keys[k]);
        expect_steps(batch, all);
        for (size_t i = 0; all && i < json_object_array_length(all); i++) {
            tsk_result_published(&entry, json_object_array_get_idx(all, i));
            step_publish(tsk_rbatch_step(batch, entry.step_id), &entry, &batch->names);
        }
    }
    tsk_json_int(message, "total_steps", &batch->told_published);
    batch->published_at = tsk_message_time(message, "published_at");
    batch->receipt = true;
    count_all(batch);
}

void tsk_rbatch_publish(struct tsk_rbatch *batch, const struct tsk_result *entries, size_t count,
                        int64_t published_at)
{
    for (size_t i = 0; i < count; i++)
        step_publish(tsk_rbatch_step(batch, entries[i].step_id), &entries[i], &batch->names);
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
    batch->error_at = tsk_message_time(message, "timestamp");
}

/* --- Digests: sums of hashes, so that the order of the entries does not matter. */

uint64_t tsk_rcompletion_digest(struct json_object *message)
{
    static const char *const counts[] = {"total_steps", "completed_steps", "failed_steps",
                                         "in_progress_steps"};
    struct json_object *all = tsk_json_get(message, "step_summaries");
    struct tsk_result entry;
    uint64_t digest = all != NULL;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t n = -1;
        tsk_json_int(message, counts[i], &n);
        digest += tsk_mix((uint64_t)n * 4 + i);
    }
    for (size_t i = 0; all && i < json_object_array_length(all); i++) {
        tsk_result_summary(&entry, json_object_array_get_idx(all, i));
        uint64_t hash = tsk_mix((uint64_t)entry.step_id) ^ (uint64_t)entry.status;
        digest += tsk_mix(hash + (uint64_t)entry.attempt * 8);
    }
    return tsk_mix(digest);
}

/* Of step_ids where they are there, else of steps: a receipt has the same in both. */
uint64_t tsk_rreceipt_digest(struct json_object *message)
{
    struct json_object *all = tsk_json_get(message, "step_ids");
    struct tsk_result entry;
    uint64_t digest = 0;
    if (!all)
        all = tsk_json_get(message, "steps");
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        tsk_result_published(&entry, json_object_array_get_idx(all, i));
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
