/* The plan of a task: which step of its template waits for which, and what the optional ones are
 * like. It is kept with the task (tasks.optional_steps, JSON), for the time when a step's output
 * asks for optional ones (create.h):
 *
 *     {"waits": {"split": [], "shard": ["split"], "join": ["shard"]},
 *      "optional": [{"name": "shard", "handler_class": …, "place": 1, …}]}
 *
 * A step that waits for an optional one which is not there waits for those instead that this one
 * waits for, through optional steps that are not there again: only these can still ask for it. Such
 * a wait is a choice. Once they have ended without asking, the optional step counts as if the
 * template did not have it. */
#ifndef TASKER_PLAN_H
#define TASKER_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "tasker/json.h"

struct tsk_plan;

struct tsk_plan_step {
    const char *name;
    struct json_object *optional; /* what it is like; NULL: it is there from the start */
    const size_t *waits;          /* places */
    size_t count;
};

/* Returns an empty plan with room for count steps; or the plan that text holds (tsk_plan_text), NULL if
 * that is none. The caller frees it; it borrows nothing. */
struct tsk_plan *tsk_plan_new(size_t count);
struct tsk_plan *tsk_plan_read(const char *text);

/* Adds a step, whose name and waits (indexes of count steps, also of later ones) are copied. optional
 * (or NULL) becomes the plan's. */
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

#endif
