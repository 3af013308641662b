/* Retention: taking away what ended long ago, in transactions so small that nobody waits for them.
 */
#ifndef TASKER_PRUNE_H
#define TASKER_PRUNE_H

#include <stdbool.h>

#include "tasker/store.h"

/* What is finished: a task that is complete, cancelled or resolved_manually (one in error is not:
 * it waits for somebody), and a batch that is completed, failed, timeout or cancelled. What goes:
 *
 * - batches finished before the time; not if there is news of it that is not settled or that came
 *   later, nor if a task with a step in it stays. Earlier attempts go before later ones, so that
 *   the state of a step never comes to rest on an older attempt. With a batch go its ledger and
 *   those of its steps that no task has;
 * - tasks finished before the time, once no batch has a step of theirs; with their steps;
 * - messages of the ledger that came before the time and belong to no batch in the store, and of
 *   which there is no later one. */
struct tsk_prune {
    int64_t before;                          /* ms since 1970, the caller's */
    int64_t tasks, batches, steps, messages; /* taken away, or to be (tsk_prune_count) */
    /* private */
    int stage;
    int64_t after, found, group;
};

/* Counts what would go. Changes nothing. */
int tsk_prune_count(struct tsk_store *store, struct tsk_prune *prune, struct tsk_err *err);

/* Does the next part, in one transaction. prune has before set and is zero else at first. Returns
 * 1, 0 when all is done, or -1 with err (patience as of tsk_store_write). Whenever it is left off,
 * the store is as it should be, and another run does the rest. */
int tsk_prune_next(struct tsk_store *store, struct tsk_prune *prune, int64_t patience,
                   struct tsk_err *err);

#endif
