/* The flow of a task: what follows for the steps that wait, and for the task, from the states that
 * its steps are in. A pure function of these; flow.h reads and writes them.
 *
 * A step can run when its join is satisfied by the steps that it waits for:
 *   all_ok    all are complete or resolved by an operator
 *   all_done  none of them will run any more: each has ended (complete, resolved, skipped,
 *             cancelled, error), or cannot run since none that it waits for will run either
 *   any_ok    one is complete or resolved (or it waits for none)
 * It also waits for steps that may still ask for others that it would wait for (a choice, flow.h):
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

#include "tasker/buf.h"
#include "tasker/conf.h"
#include "tasker/err.h"
#include "tasker/json.h"
#include "tasker/state.h"
#include "tasker/store.h"

#ifdef __cplusplus
extern "C" {
#endif

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

/* ---- The flow of tasks in a store: what follows from the states of their steps (flow.h) is read
 * and written, within the transaction that changed these. Part of what is derived from the ledger:
 * doing it again gives the same rows. */

/* Brings tasks up to date, each once: steps.waits_for, steps that are cancelled or skipped because
 * of those before them, the task's own state and their transitions; and has the commit wake those
 * who watch. A task that an operator has ended keeps that state. tasks, which may have one several
 * times, is put into ascending order: each is locked, and so no two who do so wait for each other.
 * Returns 0, or -1.
 */
int tsk_flow_settle_all(struct tsk_store *store, int64_t *tasks, size_t count,
                        struct tsk_err *err);

/* What a settlement has changed of a task. */
struct tsk_flow_news {
    int64_t task;
    enum {
        TSK_FLOW_WHOLE, /* anything */
        TSK_FLOW_DONE,  /* step was running and is complete, and neither asks for others nor did */
        TSK_FLOW_NONE,  /* nothing that the flow depends on */
    } kind;
    int64_t step;
};

/* The same for tasks of which this is all that has changed, each of which may be named several
 * times; news are put into order. A task of which only steps are done costs what these and their
 * direct dependents cost, however large it is: the counters of these are decremented. It is looked
 * at as a whole where that may not be enough: if nothing of it can run any more, a step of it is in
 * error or cancelled, or a dependent waits for a choice. */
int tsk_flow_settle_news(struct tsk_store *store, struct tsk_flow_news *news, size_t count,
                         struct tsk_err *err);

/* ---- The plan of a task: which step of its template waits for which, and what the optional ones
 * are like. It is kept with the task (tasks.optional_steps, JSON), for the time when a step's
 * output asks for optional ones (flow.h):
 *
 *     {"waits": {"split": [], "shard": ["split"], "join": ["shard"]},
 *      "optional": [{"name": "shard", "handler_class": …, "place": 1, …}]}
 *
 * A step that waits for an optional one which is not there waits for those instead that this one
 * waits for, through optional steps that are not there again: only these can still ask for it. Such
 * a wait is a choice. Once they have ended without asking, the optional step counts as if the
 * template did not have it. */

struct tsk_plan;

struct tsk_plan_step {
    const char *name;
    struct json_object *optional; /* what it is like; NULL: it is there from the start */
    const size_t *waits;          /* places */
    size_t count;
};

/* Returns an empty plan with room for count steps; or the plan that text holds (tsk_plan_text),
 * NULL if that is none. The caller frees it; it borrows nothing. */
struct tsk_plan *tsk_plan_new(size_t count);
struct tsk_plan *tsk_plan_read(const char *text);

/* Adds a step, whose name and waits (indexes of count steps, also of later ones) are copied.
 * optional (or NULL) becomes the plan's. */
void tsk_plan_add(struct tsk_plan *plan, const char *name, const size_t *waits, size_t count,
                  struct json_object *optional);
void tsk_plan_free(struct tsk_plan *plan); /* NULL is fine */

/* As text (the caller's), or NULL if it has no optional steps. */
char *tsk_plan_text(const struct tsk_plan *plan);

size_t tsk_plan_count(const struct tsk_plan *plan);
const struct tsk_plan_step *tsk_plan_step(const struct tsk_plan *plan, size_t place);

/* The place of a step; tsk_plan_count if there is none of that name. */
size_t tsk_plan_find(const struct tsk_plan *plan, const char *name);

/* Whether the step at place waits for other, directly or through more. */
bool tsk_plan_behind(const struct tsk_plan *plan, size_t place, size_t other);

struct tsk_plan_wait {
    size_t place;
    bool choice;
};

/* What the step at place waits for, each once, when those are there for which there is true. Fills
 * waits, which has room for all steps, and returns how many. */
size_t tsk_plan_waits(const struct tsk_plan *plan, size_t place, const bool *there,
                      struct tsk_plan_wait *waits);

/* ---- Steps that a step asks for: its output may have a member create_steps, a list of optional
 * steps of its task's template,
 *
 *     {"create_steps": ["refund", {"name": "shard", "count": 8}], …}
 *
 * each of which is then made: as a step of that name, or, with a count, as so many, "shard#1" to
 * "shard#8". A count of 0 asks for none. What asks must be a step that the optional one waits for,
 * directly or through others: so nothing is made too late, and nothing in a circle. An optional
 * step is made once: another step may ask for it again, but not with a count, nor if it was made
 * with one. Two other forms say the same:
 *
 *     {"decision_point_outcome": {"type": "create_steps", "step_names": ["refund"]}}
 *     {"batch_processing_outcome": {"type": "create_batches", "worker_template_name": "shard",
 *                                   "worker_count": 8}} */

struct tsk_create_limits {
    int64_t step; /* that one step may ask for */
    int64_t task; /* that a task may then have in all */
};

/* The limits that are configured. */
struct tsk_create_limits tsk_create_limits(const struct tsk_conf *conf);

/* Steps of a kind that are asked for, or made and no longer to be taken away. */
struct tsk_create_made {
    char *name; /* of their kind */
    int64_t by; /* who asks, or asked first */
    int64_t steps;
    bool counted; /* with a count */
};

/* Who asks, and what its task has. */
struct tsk_create_asker {
    int64_t step;
    const char *name; /* in the template */
    /* what it asked for when that was found right (as creates); NULL: nothing */
    const char *accepted;
    bool past;           /* what it asked for in an attempt before the last was found right */
    const char *refused; /* why there was no room for what it asks for; NULL: nothing told so */
    const struct tsk_create_made *made; /* in any order */
    size_t made_count;
    int64_t steps; /* that nobody has to ask for */
};

/* Whether an output may ask for steps at all: false if it is plain to see that it does not. */
bool tsk_create_possible(const char *output, size_t len);

/* Reads what an output (JSON) asks for, and holds it against the plan of the task (NULL: it has no
 * optional steps), what others ask for, and the limits. It is held against the last two once: what
 * was found right then, or refused, stays so, for limits may have changed since. Adds it to creates
 * as JSON, [{"name", "count"}], nothing if it asks for none. Returns 0, or -1 with kind TSK_DATA
 * and what is wrong, for the step's author. */
int tsk_create_judge(const struct tsk_plan *plan, const struct tsk_create_asker *asker,
                     const struct tsk_create_limits *limits, const char *output, size_t len,
                     struct tsk_buf *creates, struct tsk_err *err);

/* The category of the failure of a step that asks for what cannot be, and its error_type. */
#define TSK_CREATE_CATEGORY "validation"
#define TSK_CREATE_TYPE "create_steps"

#ifdef __cplusplus
}
#endif

#endif
