/* What one step's messages mean together. Whatever the order in which they come, the same ones must
 * leave the same state behind: an older attempt never replaces a newer one, an end is never
 * replaced by an in_progress, and of two ends of one attempt the summary decides, or else the
 * failure stands (and its outcome is then unknown). Only marks (came after the completion, came
 * out of order) tell of the order. */
#include "workflow/reconcile_private.h"

#include <string.h>

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
static void take_end(struct tsk_rstep *step, const struct tsk_rpartial *partial,
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
static bool note_end(struct tsk_rstep *step, const struct tsk_rpartial *partial,
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

static bool note_progress(struct tsk_rstep *step, const struct tsk_rpartial *partial, bool newer)
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

static void note_names(struct tsk_rstep *step, const struct tsk_rpartial *partial,
                       struct tsk_names *names)
{
    if (partial->task_id)
        step->task_id = partial->task_id;
    if (!step->name)
        step->name = tsk_names_add(names, partial->step_name);
    if (partial->worker_id && (!step->worker || tsk_status_final(partial->status)))
        step->worker = tsk_names_add(names, partial->worker_id);
    if (step->limit == UINT32_MAX)
        step->limit = narrow_told(partial->limit);
    if (!step->backoff)
        step->backoff = tsk_names_add(names, partial->backoff);
}

void tsk_rstep_partial(struct tsk_rstep *step, const struct tsk_rpartial *partial, bool completed,
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

void tsk_rstep_summary(struct tsk_rstep *step, const struct tsk_rentry *entry,
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

void tsk_rstep_publish(struct tsk_rstep *step, const struct tsk_rentry *entry,
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
    if (entry->limit >= 0)
        step->limit = narrow(entry->limit);
    if (entry->backoff)
        step->backoff = tsk_names_add(names, entry->backoff);
    if (entry->task_id)
        step->task_id = entry->task_id;
    if (entry->step_name)
        step->name = tsk_names_add(names, entry->step_name);
}
