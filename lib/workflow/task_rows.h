/* Rows of a task in the store: its steps and their dependencies, as task.c makes them at first and
 * fan_out.c those that are asked for later. */
#ifndef LIB_TASK_ROWS_H
#define LIB_TASK_ROWS_H

#include "tasker/store.h"
#include "tasker/state.h"

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

/* Rows on their way, each kind at once. */
struct tsk_task_rows {
    struct tsk_rows steps, transitions, dependencies;
};

/* Within a transaction for writing, all return 0, or -1. tsk_step_ids draws count ids for new steps
 * in a row, of which *first is the first. tsk_step_put writes a step with its first transition, and
 * tsk_dependency_put a dependency of steps that are there or were put, which may be a choice
 * (flow.h); tsk_task_rows_end sends what waits of both if rc is 0, and frees. It returns rc, or -1.
 */
int tsk_step_ids(struct tsk_store *store, int64_t count, int64_t *first, struct tsk_err *err);
void tsk_task_rows_init(struct tsk_task_rows *rows, struct tsk_store *store);
int tsk_step_put(struct tsk_task_rows *rows, const struct tsk_step_row *step, struct tsk_err *err);
int tsk_dependency_put(struct tsk_task_rows *rows, int64_t task, int64_t from, int64_t to,
                       bool choice, struct tsk_err *err);
int tsk_task_rows_end(struct tsk_task_rows *rows, int rc, struct tsk_err *err);

#endif
