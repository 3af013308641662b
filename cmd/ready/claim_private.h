/* Private to lib/claim*.c. */
#ifndef LIB_CLAIM_PRIVATE_H
#define LIB_CLAIM_PRIVATE_H

#include "tasker/buf.h"
#include "ready/claim.h"
#include "tasker/map.h"

/* A step that is being claimed. Texts are owned. */
struct tsk_ready {
    int64_t id, task, attempt, retry_limit;
    int64_t timeout_ms;   /* 0: none named */
    int64_t index, count; /* which of how many of its kind it is; 0: not one of several */
    bool retryable;
    char *kind; /* its name in the template, if it was made at run time; else NULL */
    char *backoff; /* its own (retry.h), or NULL */
    char *name, *handler_class, *handler_config, *context, *namespace_name, *task_name;
    char *task_config;       /* handler_config of the task */
    struct tsk_buf previous; /* members of previous_results, with commas between */
    bool cut;                /* they are more than a message holds, and not all here */
};

struct tsk_ready_list {
    struct tsk_ready *items;
    size_t count, cap;
};

void tsk_ready_fini(struct tsk_ready_list *list);

/* claim_find.c: fills list with the steps that can run, and what their predecessors gave. */
int tsk_ready_find(struct tsk_store *store, const struct tsk_claim_opts *opts, int64_t now,
                   struct tsk_ready_list *list, struct tsk_err *err);

/* claim_previous.c: fills in what the predecessors of those in list gave, of each step no more than
 * most bytes and one result. */
int tsk_ready_previous(struct tsk_store *store, struct tsk_ready_list *list, size_t most,
                       struct tsk_err *err);

/* claim_body.c: writes a batch of some of the steps to body. */
void tsk_ready_body(const char *batch_id, int64_t now, struct tsk_ready *const *steps, size_t count,
                    struct tsk_buf *body);

#endif
