/* Steps that a step asks for: its output may have a member create_steps, a list of optional steps
 * of its task's template,
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
#ifndef TASKER_CREATE_H
#define TASKER_CREATE_H

#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/conf.h"
#include "tasker/err.h"
#include "tasker/plan.h"

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

#endif
