/* What a settlement gives: the states of the batch and of its steps with the transitions that led
 * there, and what is stored besides. Times are those at which the ledger got the messages. */
#include "workflow/settle_private.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/state.h"

/* A subject on its way through its states. */
struct walk {
    enum tsk_subject subject;
    struct tsk_settle_state is, hand;
    enum tsk_state hand_from; /* what the operator found it in; NONE: not told */
    struct tsk_transition *moves;
    size_t *count;
    bool by_hand;                            /* it is so by what an operator did */
    bool gives_way;                          /* then it asks for no more */
    enum tsk_state refused_from, refused_to; /* NONE: nothing was */
    int round_places; /* how much higher the places are */
    bool refused_hand;                       /* that was an operator's */
};

/* Of a step the last one counts, which is its end; of a batch the first. */
static void refuse(struct walk *walk, enum tsk_state to, bool hand)
{
    if (walk->refused_to != TSK_STATE_NONE && walk->subject == TSK_SUBJECT_BATCH)
        return;
    walk->refused_from = walk->is.state;
    walk->refused_to = to;
    walk->refused_hand = hand;
}

static void let_hand(struct walk *walk)
{
    struct tsk_settle_state hand = walk->hand;
    if (hand.state == TSK_STATE_NONE)
        return;
    walk->hand.state = TSK_STATE_NONE;
    if (walk->is.state != hand.state &&
        !tsk_state_allowed(walk->subject, walk->is.state, hand.state)) {
        refuse(walk, hand.state, true);
        return;
    }
    walk->is = hand;
    walk->by_hand = true;
}

/* Whether what an operator did comes before the next move, at a time. Where it is known in what
 * state the operator found it, that counts and not the clock: the ledger had nothing more then. */
static bool hand_is_first(const struct walk *walk, int64_t at)
{
    if (walk->hand_from == TSK_STATE_NONE)
        return walk->hand.at <= at;
    return walk->hand_from == walk->is.state;
}

static void move(struct walk *walk, int place, enum tsk_state to, int64_t at)
{
    if (hand_is_first(walk, at))
        let_hand(walk);
    if (walk->by_hand && walk->gives_way)
        return;
    const char *event = tsk_state_event(walk->subject, walk->is.state, to);
    if (!event) {
        refuse(walk, to, false);
        return;
    }
    walk->moves[(*walk->count)++] =
        (struct tsk_transition){place + walk->round_places, walk->is.state, to, event, at};
    walk->is = (struct tsk_settle_state){to, at};
    walk->by_hand = false;
}

/* --- Steps. */

/* Whether it failed with its whole batch, with no end of its own. */
static bool lost(const struct tsk_fold_step *step)
{
    return !tsk_status_final(step->status) && step->outcome != TSK_OUTCOME_UNKNOWN;
}

/* Whether it is pending as it was before this attempt, which was not used: its batch was sent to
 * nobody, or the worker never started it. */
static bool is_back(const struct tsk_settle *s, const struct tsk_fold_step *step)
{
    return lost(step) ? s->given_back : step->unused && step->outcome == TSK_OUTCOME_RETRY;
}

/* When it ended; -1: it did not. */
static int64_t end_of(const struct tsk_settle *s, const struct tsk_fold_step *step)
{
    int64_t at = s->completion_at;
    if (lost(step))
        return s->error_at;
    if (!tsk_status_final(step->status))
        return -1;
    if (step->status == TSK_STEP_COMPLETED && step->completed_at >= 0)
        at = step->completed_at;
    if (step->status == TSK_STEP_FAILED && step->failed_at >= 0)
        at = step->failed_at;
    return at >= 0 ? at : s->now;
}

/* When it began; -1: it did not. Who ended began, and be it that nobody told. */
static int64_t begin_of(const struct tsk_settle *s, const struct tsk_fold_step *step)
{
    if (step->status == TSK_STEP_MISSING)
        return -1;
    if (step->started_at >= 0)
        return step->started_at;
    return tsk_status_final(step->status) ? end_of(s, step) : s->completion_at;
}

static int64_t retry_of(const struct tsk_settle *s, const struct tsk_fold_step *step)
{
    if (step->outcome != TSK_OUTCOME_RETRY)
        return -1;
    if (step->retry_at >= 0)
        return step->retry_at;
    struct tsk_retry retry =
        tsk_retry_with(&s->rules.retry, tsk_names_get(&s->names, step->backoff));
    return end_of(s, step) + tsk_retry_delay(&retry, step->step_id, step->told, -1);
}

/* Whether it was not done, as is only right for one that an operator has ended: that it was
 * stopped, or lost, asks for no transition then. */
static bool gives_way(const struct tsk_fold_step *step)
{
    return tsk_state_ended(TSK_SUBJECT_STEP, (enum tsk_state)step->hand) &&
           step->outcome != TSK_OUTCOME_DONE;
}

static struct walk walk_step(const struct tsk_settle *s, const struct tsk_fold_step *step,
                             struct tsk_transition *moves, size_t *count)
{
    struct walk walk = {.subject = TSK_SUBJECT_STEP,
                        .is = {TSK_STATE_ENQUEUED, step->since},
                        .hand = {(enum tsk_state)step->hand, step->hand_at},
                        .hand_from = (enum tsk_state)step->hand_from,
                        .gives_way = gives_way(step),
                        .round_places = step->round_places,
                        .moves = moves,
                        .count = count};
    int64_t begin = begin_of(s, step), end = end_of(s, step);
    bool done = step->outcome == TSK_OUTCOME_DONE;
    *count = 0;
    if (is_back(s, step)) {
        move(&walk, TSK_PLACE_BACK, TSK_STATE_PENDING, end);
        begin = end = -1;
    }
    if (begin >= 0)
        move(&walk, TSK_PLACE_STARTED, TSK_STATE_IN_PROGRESS, begin);
    if (end >= 0)
        move(&walk, TSK_PLACE_ENDED, done ? TSK_STATE_COMPLETE : TSK_STATE_ERROR, end);
    if (end >= 0 && step->outcome == TSK_OUTCOME_RETRY && walk.is.state == TSK_STATE_ERROR)
        move(&walk, TSK_PLACE_RETRIED, TSK_STATE_PENDING, end);
    let_hand(&walk);
    return walk;
}

static struct tsk_settle_text text_of(const struct tsk_settle *s, const struct tsk_kept *kept)
{
    if (!kept->id || kept->place == SIZE_MAX)
        return (struct tsk_settle_text){NULL, 0, kept->id};
    return (struct tsk_settle_text){s->texts.data + kept->place, kept->len, kept->id};
}

static void fill_texts(const struct tsk_settle *s, const struct tsk_fold_step *step,
                       struct tsk_settled_step *out)
{
    if (step->status == TSK_STEP_COMPLETED && step->completed_at >= 0)
        out->results = text_of(s, &step->results);
    if (step->status == TSK_STEP_FAILED && step->failed_at >= 0)
        out->error = text_of(s, &step->error);
    if (step->status == TSK_STEP_COMPLETED && step->outcome == TSK_OUTCOME_FAILED &&
        step->refusal) {
        const char *error = tsk_names_get(&s->names, step->refusal);
        out->error = (struct tsk_settle_text){error, strlen(error), 0};
    }
    if (step->outcome == TSK_OUTCOME_DONE && step->completed_at >= 0)
        out->creates = tsk_names_get(&s->names, step->creates);
    if (lost(step) && s->error && !s->given_back)
        out->error = (struct tsk_settle_text){s->error, strlen(s->error), 0};
}

void tsk_settled_step(const struct tsk_settle *s, size_t i, struct tsk_settled_step *out)
{
    const struct tsk_fold_step *step = &s->steps[i];
    *out = (struct tsk_settled_step){
        .row = step->row,
        .step_id = step->step_id,
        .owns = step->owns,
        .known = i < s->known,
        .given_back = is_back(s, step),
        .news = !(s->given_back && lost(step)) &&
                (step->status != TSK_STEP_MISSING || step->outcome != TSK_OUTCOME_UNKNOWN),
        .attempt = step->attempt,
        .told_attempt = step->told,
        .status = (enum tsk_step_status)step->status,
        .outcome = (enum tsk_outcome)step->outcome,
        .retry_at = s->given_back && lost(step) ? -1 : retry_of(s, step),
        .execution_ms = step->time_ms,
        .worker_id = tsk_names_get(&s->names, step->worker),
        .category = tsk_names_get(&s->names, step->category),
        .reason = tsk_names_get(&s->names, step->reason),
        .retryable =
            step->outcome != TSK_OUTCOME_FAILED || !tsk_retry_left(step->told, step->limit),
        .next_retry_at = -1,
        .started_at = begin_of(s, step),
        .since = step->since,
        .ended_at = end_of(s, step),
    };
    fill_texts(s, step, out);
    if (!out->known)
        return;
    struct walk walk = walk_step(s, step, out->moves, &out->move_count);
    out->state = walk.is;
    out->next_retry_at = walk.is.state == TSK_STATE_PENDING && !walk.by_hand ? out->retry_at : -1;
}

size_t tsk_settled_steps(const struct tsk_settle *s)
{
    return s->count;
}

/* --- The batch. */

/* What its steps have come to. */
struct sums {
    size_t completed, failed, ended, done;
    int64_t last; /* when the last of them ended; -1 */
};

static struct sums sum_up(const struct tsk_settle *s)
{
    struct sums sums = {0, 0, 0, 0, -1};
    for (size_t i = 0; i < s->known; i++) {
        const struct tsk_fold_step *step = &s->steps[i];
        int64_t end = end_of(s, step);
        bool refused = step->status == TSK_STEP_COMPLETED && step->outcome == TSK_OUTCOME_FAILED;
        sums.completed += step->status == TSK_STEP_COMPLETED && !refused;
        sums.failed += step->status == TSK_STEP_FAILED || refused;
        sums.ended += end >= 0;
        sums.done += step->outcome == TSK_OUTCOME_DONE;
        if (end > sums.last)
            sums.last = end;
    }
    return sums;
}

static bool all_named(const struct tsk_settle *s)
{
    return (int64_t)s->known >= s->batch.total;
}

static enum tsk_state end_state(const struct tsk_settle *s, const struct sums *sums)
{
    if (s->given_back)
        return TSK_STATE_CANCELLED;
    if (sums->done == s->known && all_named(s))
        return TSK_STATE_COMPLETED;
    return s->error_at >= 0 && s->timed_out ? TSK_STATE_TIMEOUT : TSK_STATE_FAILED;
}

static struct walk walk_batch(struct tsk_settle *s, const struct sums *sums)
{
    struct tsk_settled_batch *out = &s->settled;
    struct walk walk = {.subject = TSK_SUBJECT_BATCH,
                        .is = s->batch.base,
                        .hand = s->batch.hand,
                        .moves = out->moves,
                        .count = &out->move_count};
    out->move_count = 0;
    if (out->news && s->batch.base.state == TSK_STATE_CREATED && !s->given_back)
        move(&walk, TSK_BATCH_KEY_PUBLISHED, TSK_STATE_PUBLISHED, s->first_at);
    if (s->heard_at >= 0 && !s->given_back)
        move(&walk, TSK_BATCH_KEY_EXECUTING, TSK_STATE_EXECUTING, s->heard_at);
    if (out->ended_at >= 0)
        move(&walk, TSK_BATCH_KEY_ENDED, end_state(s, sums), out->ended_at);
    let_hand(&walk);
    return walk;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* --- Discrepancies. */

static void add_refusal(struct tsk_settle *s, int64_t step_id, const struct walk *walk)
{
    struct tsk_buf text = TSK_BUF_INIT;
    if (walk->refused_to == TSK_STATE_NONE)
        return;
    struct tsk_fold_discrepancy *one = tsk_settle_found(s, step_id);
    tsk_buf_printf(&text, "%s wants it %s, and it was %s",
                   walk->refused_hand ? "an operator" : "the ledger",
                   tsk_state_name(walk->refused_to), tsk_state_name(walk->refused_from));
    one->refused = true;
    one->made = tsk_names_add(&s->names, text.data);
    tsk_buf_fini(&text);
}

/* Whether a discrepancy of a batch that goes on may just be news that have not come yet. */
static bool may_pass(enum tsk_discrepancy_type type)
{
    return type == TSK_MISSING_PARTIAL || type == TSK_MISSING_COMPLETION ||
           type == TSK_MISSING_SUMMARY || type == TSK_COUNT_MISMATCH || type == TSK_OUT_OF_ORDER;
}

static void drop_passing(struct tsk_settle *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->found_count; i++) {
        if (!may_pass(s->found[i].type))
            s->found[kept++] = s->found[i];
    }
    s->found_count = kept;
}

void tsk_settle_conclude(struct tsk_settle *s)
{
    struct tsk_settled_batch *out = &s->settled;
    struct sums sums = sum_up(s);
    bool told = s->completion_at >= 0 && sums.ended == s->known && all_named(s);
    *out = (struct tsk_settled_batch){
        .news = s->first_at >= 0,
        .verdict = s->verdict,
        .revision = s->revision,
        .steps = (int64_t)s->known,
        .completed = (int64_t)sums.completed,
        .failed = (int64_t)sums.failed,
        .first_at = s->first_at,
        .ended_at = -1,
        .completed_at = s->completed_at,
        .execution_ms = s->time_ms,
        .error = s->error,
    };
    if (told || s->error_at >= 0)
        out->ended_at = later(later(sums.last, s->completion_at), s->error_at);
    if (out->execution_ms < 0 && out->ended_at >= 0 && s->heard_at >= 0)
        out->execution_ms = out->ended_at - s->heard_at;
    struct walk walk = walk_batch(s, &sums);
    out->state = walk.is;
    out->ended = tsk_state_ended(TSK_SUBJECT_BATCH, walk.is.state);
    if (!out->ended)
        drop_passing(s);
    add_refusal(s, 0, &walk);
    for (size_t i = 0; i < s->known; i++) {
        struct tsk_transition moves[TSK_STEP_MOVES];
        size_t count;
        if (!s->steps[i].hand)
            continue;
        walk = walk_step(s, &s->steps[i], moves, &count);
        add_refusal(s, s->steps[i].step_id, &walk);
    }
}

void tsk_settled_batch(const struct tsk_settle *s, struct tsk_settled_batch *out)
{
    *out = s->settled;
}

size_t tsk_settled_discrepancies(const struct tsk_settle *s)
{
    return s->found_count;
}

void tsk_settled_discrepancy(const struct tsk_settle *s, size_t i,
                             struct tsk_settled_discrepancy *out)
{
    const struct tsk_fold_discrepancy *one = &s->found[i];
    out->type = one->refused ? "refused_transition" : tsk_discrepancy_name(one->type);
    out->detail = one->detail ? one->detail : tsk_names_get(&s->names, one->made);
    out->step_id = one->step_id;
}
