/* The flow of a task: what follows for the steps that wait, and for the task, from the states that
 * its steps are in. A pure function of these; flow_store.h reads and writes them.
 *
 * A step can run when its join is satisfied by the steps that it waits for:
 *   all_ok    all are complete or resolved by an operator
 *   all_done  none of them will run any more: each has ended (complete, resolved, skipped,
 *             cancelled, error), or cannot run since none that it waits for will run either
 *   any_ok    one is complete or resolved (or it waits for none)
 * It also waits for steps that may still ask for others that it would wait for (a choice, plan.h):
 * as long as these have not ended, and with all_ok until they are complete or resolved. For any_ok
 * they are none of those of which one is enough.
 *
 * An operator may try a step in error again: all_ok and any_ok go on waiting for it. A cancelled
 * step never comes back: where that makes a join impossible, the dependent step is cancelled too,
 * or, if it blocks, waits for an operator (all_done steps then wait as well).
 *
 * A step whose template names steps before it, of which none is there or was run (optional ones
 * that nobody asked for, and skipped ones), is skipped if it skips (template.h: when_skipped). Else
 * these count for its join as if the template did not have them; that is so too where others were
 * run.
 *
 * A task
 *   goes on    while a step runs, is claimed, or can run (also after a back-off)
 *   complete   all steps are complete, resolved or skipped
 *   cancelled  all have ended, none in error, some cancelled
 *   error      nothing more can run, and a step is in error
 *   blocked    nothing more can run, none is in error, and a step that blocks waits */
#ifndef TASKER_FLOW_H
#define TASKER_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/state.h"

enum tsk_join { TSK_JOIN_ALL_OK, TSK_JOIN_ALL_DONE, TSK_JOIN_ANY_OK };
enum tsk_unsatisfied { TSK_UNSATISFIED_CANCEL, TSK_UNSATISFIED_BLOCK };
enum tsk_when_skipped { TSK_WHEN_SKIPPED_RUN, TSK_WHEN_SKIPPED_SKIP };

#define TSK_JOIN_WORDS "all_ok,all_done,any_ok"
#define TSK_UNSATISFIED_WORDS "cancel,block"
#define TSK_WHEN_SKIPPED_WORDS "run,skip"

/* The word of a join or of what follows if it is unsatisfied, static; and the one of that word, the
 * first if there is none. */
const char *tsk_join_name(int64_t join);
const char *tsk_unsatisfied_name(int64_t unsatisfied);
enum tsk_join tsk_join_find(const char *word);
enum tsk_unsatisfied tsk_unsatisfied_find(const char *word);
const char *tsk_when_skipped_name(int64_t when_skipped);
enum tsk_when_skipped tsk_when_skipped_find(const char *word);

struct tsk_flow_step {
    int64_t id;
    enum tsk_state state; /* without what an earlier flow has cancelled: that is pending */
    int64_t at;           /* wall ms: since when it is in that state */
    enum tsk_join join;
    bool blocks; /* unsatisfied: block */
    bool skips;  /* when_skipped: skip */
    /* what follows: */
    int64_t waits_for; /* of a pending one: 0 if it can run, else for how many it waits */
    bool rests;        /* of a pending one: it cannot run any more, unless an operator acts */
    bool cancelled;    /* since its join has become impossible; or */
    bool skipped;      /* since nothing before it was run; */
    int64_t because;   /* by this step, of those the one of the least id, */
    int64_t ended_at;  /* at that time */
};

/* One waits for the other; places in the list of steps. */
struct tsk_flow_edge {
    size_t from, to;
    bool choice; /* for what it may ask for */
};

enum tsk_flow_end {
    TSK_FLOW_ON,
    TSK_FLOW_BLOCKED,
    TSK_FLOW_COMPLETE,
    TSK_FLOW_CANCELLED,
    TSK_FLOW_ERROR
};

/* Fills in what follows for each step, and returns what follows for the task; *at becomes the time
 * of the latest thing that happened. Edges that form a circle leave their steps waiting. Takes time
 * in proportion to steps and edges. */
enum tsk_flow_end tsk_flow(struct tsk_flow_step *steps, size_t count,
                           const struct tsk_flow_edge *edges, size_t edge_count, int64_t *at);

#endif
