/* Batches that no publisher of this store has recorded: those of foreign publishers, and of ours
 * where they had no store. What the ledger says of them gives them rows as a publisher would have
 * added them: the batch, its steps, their places and transitions. The steps are in the order in
 * which the ledger first names them, so that more news only adds steps.
 *
 * What is not told stays empty (the body, a name, a handler_class); a step that names no task has
 * its step_id as task_id, and a batch of which no step is known counts one. */
#ifndef TASKER_ADOPT_H
#define TASKER_ADOPT_H

#include "tasker/store.h"

struct tsk_adopt {
    int64_t step_timeout, retry_limit; /* of a step that names none */
    bool all;                          /* of the whole ledger, not only batches with news */
    /* A batch whose values the store does not take: it keeps its news, the others are adopted. */
    void (*refused)(void *ctx, const char *batch_id, const struct tsk_err *err);
    void *ctx;
};

/* Adds what is missing of each such batch, in groups of a transaction each, which may be tried
 * again. Returns 0, or -1 with err. */
int tsk_adopt(struct tsk_store *store, const struct tsk_adopt *opts, int64_t patience,
              struct tsk_err *err);

#endif
