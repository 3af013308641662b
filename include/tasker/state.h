/* The states of tasks, steps and batches, and one table of the transitions that are allowed
 * (DESIGN, State machines). What the table does not have is refused; who is refused records it. */
#ifndef TASKER_STATE_H
#define TASKER_STATE_H

#include <stdbool.h>

/* What has a state. */
enum tsk_subject { TSK_SUBJECT_TASK, TSK_SUBJECT_STEP, TSK_SUBJECT_BATCH };

/* All states; which of them a subject can have is in the table. */
enum tsk_state {
    TSK_STATE_NONE, /* it is not there yet */
    TSK_STATE_PENDING,
    TSK_STATE_ENQUEUED,
    TSK_STATE_IN_PROGRESS,
    TSK_STATE_COMPLETE,
    TSK_STATE_ERROR,
    TSK_STATE_CANCELLED,
    TSK_STATE_RESOLVED, /* by hand */
    TSK_STATE_CREATED,
    TSK_STATE_PUBLISHED,
    TSK_STATE_EXECUTING,
    TSK_STATE_COMPLETED,
    TSK_STATE_FAILED,
    TSK_STATE_TIMEOUT,
    TSK_STATES
};

/* Events of a step that are not in the table:
 *   reset        an operator's, leaves the step in its state: its attempts count from none again
 *   bypassed     the first of a step that a request left out: it is resolved from the start
 *   unsatisfied  what it waits for has ended otherwise than its join wants: it is cancelled
 *   skipped      nothing that it waits for was run: its state is cancelled, and it is told apart by
 *                this event alone (TSK_STEP_IS_SKIPPED) */
#define TSK_EVENT_RESET "step.attempts_reset"
#define TSK_EVENT_BYPASSED "step.bypassed"
#define TSK_EVENT_UNSATISFIED "step.unsatisfied"
#define TSK_EVENT_SKIPPED "step.skipped"
#define TSK_EVENTS_UNDONE "'" TSK_EVENT_UNSATISFIED "', '" TSK_EVENT_SKIPPED "'"

/* SQL: whether the step of that id was skipped; and the state, as people are shown it, of the step
 * whose row is of that name. */
#define TSK_STEP_IS_SKIPPED(id)                                                                    \
    "EXISTS (SELECT 1 FROM step_transitions sk WHERE sk.step = " id                                \
    " AND sk.origin = 'ledger' AND sk.event = '" TSK_EVENT_SKIPPED "')"
#define TSK_STEP_STATE_SHOWN(row)                                                                  \
    "CASE WHEN " row                                                                               \
    ".state = 'cancelled' AND " TSK_STEP_IS_SKIPPED(row ".id") " THEN 'skipped' ELSE " row         \
                                                               ".state END"

/* Those of the table that are written by SQL, not by tsk_state_event. */
#define TSK_EVENT_TASK_CREATED "task.created"
#define TSK_EVENT_TASK_STARTED "task.started"
#define TSK_EVENT_STEP_CREATED "step_created"
#define TSK_EVENT_STEP_ENQUEUED "step_enqueued"
#define TSK_EVENT_BATCH_CREATED "batch_initialization"
#define TSK_EVENT_BATCH_PUBLISHED "zmq_publish_success"

/* The name as it is stored ("resolved_manually"), static; NULL for TSK_STATE_NONE. */
const char *tsk_state_name(enum tsk_state state);

/* The state of that name that subject can have; TSK_STATE_NONE if there is none, or name is NULL.
 */
enum tsk_state tsk_state_find(enum tsk_subject subject, const char *name);

/* The event that takes subject from one state to the other ("step.completed"), static; NULL if no
 * event does: such a transition is refused. */
const char *tsk_state_event(enum tsk_subject subject, enum tsk_state from, enum tsk_state to);

static inline bool tsk_state_allowed(enum tsk_subject subject, enum tsk_state from,
                                     enum tsk_state to)
{
    return tsk_state_event(subject, from, to) != 0;
}

/* Whether subject has ended in it: nothing but a hand takes it out of there. */
bool tsk_state_ended(enum tsk_subject subject, enum tsk_state state);

/* Whether a step in it lets the steps that depend on it run. */
bool tsk_state_satisfies(enum tsk_state state);

#endif
