/* Rows of a task in the store: its steps and their dependencies, as task.c makes them at first and
 * fan_out.c those that are asked for later. */
#ifndef LIB_TASK_ROWS_H
#define LIB_TASK_ROWS_H

#include "tasker/state.h"
#include "tasker/store.h"

/* A step that is made. */
struct tsk_step_row {
    int64_t id, task, priority;
    const char *name, *handler_class;
    const char *handler_config;     /* JSON */
    const char *join, *unsatisfied; /* words of template.h */
    const char *when_skipped;       /* NULL: run, as in a plan that is older than the word */
    int64_t place;                  /* in the template */
    int64_t retry_limit;
    const char *backoff; /* its own (retry.h), or NULL */
    int64_t timeout_ms; /* 0: none named */
    bool retryable;     /* false: it has one attempt, whatever retry_limit says */
    int64_t waits_for;  /* how many dependencies it waits for */
    bool bypassed;      /* it is resolved from the start */
    int64_t at;         /* wall ms */
    /* of one that another step has asked for: the optional step that it is, who asked, and which
     * of several it is (0: the only one); else NULL and 0 */
    const char *template_name;
    int64_t created_by, created_index, created_count;
};

/* Within a transaction for writing: draws count ids for new steps in a row, of which *first is the
 * first; puts down a step, with its first transition; a dependency, which may be a choice (plan.h).
 * They return 0, or -1. */
int tsk_step_ids(struct tsk_store *store, int64_t count, int64_t *first, struct tsk_err *err);
int tsk_step_put(struct tsk_store *store, const struct tsk_step_row *step, struct tsk_err *err);
int tsk_dependency_put(struct tsk_store *store, int64_t task, int64_t from, int64_t to, bool choice,
                       struct tsk_err *err);

#endif
