/* The states of tasks, steps and batches, and one table of the transitions that are allowed
 * (tasker(7), STATES). What the table does not have is refused; who is refused records it. */
#ifndef TASKER_STATE_H
#define TASKER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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

/* ---- The sort_key of a transition, by which those of one subject are in order. It is made of what
 * a transition is and never of when it was written, so that whoever writes it again, from the
 * ledger or after a rollback, gives it the same place. Macros, since SQL has them as text too. */

/* Of a step: its attempt times this, and a place. Attempt 0 is before it is first enqueued. */
#define TSK_KEYS_OF_ATTEMPT 1000

#define TSK_PLACE_CREATED 0
#define TSK_PLACE_ENQUEUED 1
#define TSK_PLACE_STARTED 2
#define TSK_PLACE_ENDED 3 /* complete, or error */
#define TSK_PLACE_RETRIED 4
#define TSK_PLACE_UNSATISFIED 5 /* cancelled by what it waits for */
#define TSK_PLACE_BACK 6        /* given back: the attempt was not used, and begins once more */
/* Each time that an attempt begins once more its places are so much higher: by one round for each
 * batch that was sent with this attempt before. More than the last one share its places. */
#define TSK_PLACES_OF_ROUND 10
#define TSK_ROUND_LAST 9
/* What an operator, or the request of its task, did: in the order in which it was done. */
#define TSK_PLACE_HAND 100
#define TSK_PLACE_HAND_LAST 999

/* Of a task, which has no attempts; an operator's are TSK_PLACE_HAND to TSK_PLACE_HAND_LAST. */
#define TSK_TASK_KEY_CREATED 0
#define TSK_TASK_KEY_STARTED 1
#define TSK_TASK_KEY_ENDED 1000

/* Of a batch. */
#define TSK_BATCH_KEY_CREATED 1
#define TSK_BATCH_KEY_PUBLISHED 2
#define TSK_BATCH_KEY_EXECUTING 3
#define TSK_BATCH_KEY_ENDED 4

/* The sort_key of a step, and the attempt that it is of. */
static inline int64_t tsk_step_key(int64_t attempt, int place)
{
    return attempt * TSK_KEYS_OF_ATTEMPT + place;
}

static inline int64_t tsk_step_key_attempt(int64_t sort_key)
{
    return sort_key / TSK_KEYS_OF_ATTEMPT;
}

/* The same in SQL: attempt and sort_key are SQL, as "p.attempt" or "$2"; so is place in TSK_KEY_OF,
 * and else it is one of the names above, of which TSK_KEY_TEXT is the number. */
#define TSK_KEY_OF(attempt, place) attempt " * " TSK_KEY_TEXT(TSK_KEYS_OF_ATTEMPT) " + " place
#define TSK_STEP_KEY(attempt, place) TSK_KEY_OF(attempt, TSK_KEY_TEXT(place))
#define TSK_STEP_KEY_ATTEMPT(sort_key) sort_key " / " TSK_KEY_TEXT(TSK_KEYS_OF_ATTEMPT)
/* How much higher the places are, of an attempt at a step in the batch of that id. */
#define TSK_ROUND_PLACES(step, attempt, batch)                                                     \
    "(SELECT " TSK_KEY_TEXT(TSK_PLACES_OF_ROUND) " * CASE WHEN count(*) > " TSK_KEY_TEXT(          \
        TSK_ROUND_LAST) " THEN " TSK_KEY_TEXT(TSK_ROUND_LAST) " ELSE count(*) END FROM "           \
    "batch_steps e WHERE e.step = " step " AND e.attempt = " attempt " AND e.batch < " batch ")"
#define TSK_KEY_TEXT(key) TSK_KEY_TEXT_(key)
#define TSK_KEY_TEXT_(key) #key

#ifdef __cplusplus
}
#endif

#endif
