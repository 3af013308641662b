/* The sort_key of a transition, by which those of one subject are in order. It is made of what a
 * transition is and never of when it was written, so that whoever writes it again, from the ledger
 * or after a rollback, gives it the same place. Macros, since SQL has them as text too. */
#ifndef TASKER_SORT_KEY_H
#define TASKER_SORT_KEY_H

#include <stdint.h>

/* Of a step: its attempt times this, and a place. Attempt 0 is before it is first enqueued. */
#define TSK_KEYS_OF_ATTEMPT 1000

#define TSK_PLACE_CREATED 0
#define TSK_PLACE_ENQUEUED 1
#define TSK_PLACE_STARTED 2
#define TSK_PLACE_ENDED 3 /* complete, or error */
#define TSK_PLACE_RETRIED 4
#define TSK_PLACE_UNSATISFIED 5 /* cancelled by what it waits for */
#define TSK_PLACE_BACK 10       /* given back, of the attempt before: its own begins once more */
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
#define TSK_KEY_TEXT(key) TSK_KEY_TEXT_(key)
#define TSK_KEY_TEXT_(key) #key

#endif
