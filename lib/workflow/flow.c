/* The steps are looked at in the order of their dependencies, so that what one's end means has been
 * decided before those behind it are asked. */
#include "tasker/flow.h"

#include <stdlib.h>

#include "tasker/buf.h"

/* What is known of the steps that one waits for. */
struct before {
    size_t all, ok, cancelled;        /* of those that it waits for, choices and others */
    size_t rest;                      /* those that will not run any more, unless somebody acts */
    size_t choices, chosen, lost;     /* of the choices among them: all, ok and cancelled ones */
    size_t skipped;                   /* of the others */
    size_t open;                      /* not looked at yet */
    int64_t because, cancelled_at;    /* the cancelled one of the least id, the latest time */
    int64_t least, latest;            /* the same of all */
};

struct flow {
    struct tsk_flow_step *steps;
    size_t count;
    struct before *before;
    size_t *first, *next; /* edges by from: lists, as place + 1 */
    const struct tsk_flow_edge *edges;
};

static bool is_cancelled(const struct tsk_flow_step *step)
{
    return step->cancelled || step->state == TSK_STATE_CANCELLED;
}

/* Whether it is as if it had run well, for those that depend on it. */
static bool is_ok(const struct tsk_flow_step *step)
{
    return step->skipped || tsk_state_satisfies(step->state);
}

/* How many a pending step still waits for. Skipped ones count as if they were not there. */
static int64_t open_of(const struct tsk_flow_step *step, const struct before *before)
{
    if (step->join == TSK_JOIN_ALL_DONE)
        return (int64_t)(before->all - before->rest);
    if (step->join == TSK_JOIN_ANY_OK && before->ok > before->chosen + before->skipped)
        return 0;
    if (step->join == TSK_JOIN_ANY_OK && before->all > before->choices + before->skipped)
        return (int64_t)(before->all - before->chosen - before->skipped);
    return (int64_t)(before->all - before->ok);
}

/* Whether its join can never be satisfied, whatever is tried again. */
static bool is_impossible(const struct tsk_flow_step *step, const struct before *before)
{
    if (step->join != TSK_JOIN_ANY_OK)
        return step->join == TSK_JOIN_ALL_OK && before->cancelled > 0;
    size_t others = before->all - before->choices - before->skipped;
    return before->chosen + before->lost == before->choices &&
           before->cancelled - before->lost == others && (others || before->lost);
}

/* Whether none of the steps that its template names before it is there, or was run: they are
 * optional and nobody asked for them, or were skipped themselves. */
static bool is_alone(const struct before *before)
{
    return before->all && before->all == before->choices + before->skipped &&
           before->chosen + before->lost == before->choices;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void decide(struct tsk_flow_step *step, const struct before *before)
{
    step->waits_for = 0;
    step->cancelled = step->skipped = step->rests = false;
    if (step->state != TSK_STATE_PENDING)
        return;
    bool impossible = is_impossible(step, before);
    step->waits_for = open_of(step, before);
    step->cancelled = impossible && !step->blocks;
    step->skipped = !impossible && step->skips && is_alone(before);
    step->rests = step->waits_for && before->rest == before->all && !impossible;
    if (!step->cancelled && !step->skipped)
        return;
    step->waits_for = 0;
    step->because = step->cancelled ? before->because : before->least;
    step->ended_at = later(step->cancelled ? before->cancelled_at : before->latest, step->at);
}

/* Propagates a step's state to one that depends on it. */
static void pass_on(struct before *before, const struct tsk_flow_step *step, bool choice)
{
    bool undone = step->cancelled || step->skipped;
    int64_t at = undone ? step->ended_at : step->at;
    before->open--;
    before->ok += is_ok(step);
    before->chosen += choice && is_ok(step);
    before->lost += choice && is_cancelled(step);
    before->skipped += !choice && step->skipped;
    before->rest += undone || step->rests || step->state == TSK_STATE_ERROR ||
                    tsk_state_ended(TSK_SUBJECT_STEP, step->state);
    before->latest = later(before->latest, at);
    if (!before->least || step->id < before->least)
        before->least = step->id;
    if (!is_cancelled(step))
        return;
    if (!before->cancelled++ || step->id < before->because)
        before->because = step->id;
    before->cancelled_at = later(before->cancelled_at, at);
}

/* Looks at all steps, those first that wait for none. */
static void walk(struct flow *flow)
{
    size_t *queue = tsk_alloc((flow->count + 1) * sizeof *queue), head = 0, tail = 0;
    for (size_t i = 0; i < flow->count; i++) {
        if (!flow->before[i].open)
            queue[tail++] = i;
    }
    while (head < tail) {
        size_t at = queue[head++];
        decide(&flow->steps[at], &flow->before[at]);
        for (size_t e = flow->first[at]; e; e = flow->next[e - 1]) {
            size_t to = flow->edges[e - 1].to;
            pass_on(&flow->before[to], &flow->steps[at], flow->edges[e - 1].choice);
            if (!flow->before[to].open)
                queue[tail++] = to;
        }
    }
    for (size_t i = 0; i < flow->count; i++) {
        if (flow->before[i].open) /* in a cycle, or behind one */
            flow->steps[i].waits_for = (int64_t)flow->before[i].open;
    }
    free(queue);
}

static enum tsk_flow_end sum_up(const struct flow *flow, int64_t *at)
{
    bool runs = false, error = false, cancelled = false, waits = false;
    *at = 0;
    for (size_t i = 0; i < flow->count; i++) {
        const struct tsk_flow_step *step = &flow->steps[i];
        bool undone = step->cancelled || step->skipped;
        bool pending = step->state == TSK_STATE_PENDING && !undone;
        *at = later(undone ? step->ended_at : step->at, *at);
        runs |= step->state == TSK_STATE_ENQUEUED || step->state == TSK_STATE_IN_PROGRESS ||
                (pending && !step->waits_for);
        waits |= pending;
        error |= step->state == TSK_STATE_ERROR;
        cancelled |= is_cancelled(step);
    }
    if (runs)
        return TSK_FLOW_ON;
    if (error)
        return TSK_FLOW_ERROR;
    if (waits)
        return TSK_FLOW_BLOCKED;
    return cancelled ? TSK_FLOW_CANCELLED : TSK_FLOW_COMPLETE;
}

enum tsk_flow_end tsk_flow(struct tsk_flow_step *steps, size_t count,
                           const struct tsk_flow_edge *edges, size_t edge_count, int64_t *at)
{
    struct flow flow = {steps,
                        count,
                        tsk_alloc((count + 1) * sizeof *flow.before),
                        tsk_alloc((count + 1) * sizeof *flow.first),
                        tsk_alloc((edge_count + 1) * sizeof *flow.next),
                        edges};
    for (size_t e = 0; e < edge_count; e++) {
        flow.before[edges[e].to].all++;
        flow.before[edges[e].to].open++;
        flow.before[edges[e].to].choices += edges[e].choice;
        flow.next[e] = flow.first[edges[e].from];
        flow.first[edges[e].from] = e + 1;
    }
    walk(&flow);
    enum tsk_flow_end end = sum_up(&flow, at);
    free(flow.before);
    free(flow.first);
    free(flow.next);
    return end;
}
