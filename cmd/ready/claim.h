/* Claiming: steps of tasks that can run become batches, each step once, however many do so at the
 * same time.
 *
 * A step can run when it is pending, waits for nothing (steps.waits_for, which submit and reconcile
 * keep), its back-off is over, its task has not ended, and its namespace is not held. Those of the
 * greatest priority go first, then the oldest. A claimed step is enqueued, with its next attempt;
 * its batch is created, with the bytes that will be sent.
 *
 * A step that with all it needs is longer than a message may be would be so at each attempt. Its
 * batch is refused: the ledger has that in the same transaction, so that nobody sends the batch and
 * reconcile settles it as failed, for good. */
#ifndef TASKER_CLAIM_H
#define TASKER_CLAIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/store.h"

enum tsk_claim_group { TSK_CLAIM_BY_HANDLER, TSK_CLAIM_BY_TASK, TSK_CLAIM_MIXED };
#define TSK_CLAIM_GROUP_WORDS "handler,task,mixed"

#define TSK_CLAIM_MOST 10000 /* steps at a time */

struct tsk_claim_opts {
    int64_t limit;              /* steps, 1 to TSK_CLAIM_MOST */
    int64_t batch_size;         /* steps in a batch */
    size_t message_bytes;       /* the most that a batch may have (zeromq.max_message_bytes) */
    enum tsk_claim_group group; /* what the steps of a batch have in common */
    const char *namespace_name; /* NULL: any */
    int64_t task;               /* 0: any */
    int64_t step_timeout;       /* ms, of steps that name no time limit: for that of the batch */
    int64_t retry_cap;          /* ms, the longest back-off: for when the clock was set back */
    bool dry;                   /* nothing is written: what would be claimed */
};

struct tsk_claimed {
    char *batch_id, *body;
    size_t len, steps;
    char *refused; /* why it cannot be sent; NULL: it can */
};

struct tsk_claims {
    struct tsk_claimed *items; /* one a batch, in the order in which they are to go out */
    size_t count, cap;
    size_t steps;
};

void tsk_claims_fini(struct tsk_claims *claims);

/* Claims, within tsk_store_write (with dry: tsk_store_read), replacing what is in claims. Print the
 * batches that are not refused after the commit. now is a tsk_wall_ms value. Returns 0, or -1. */
int tsk_claim(struct tsk_store *store, const struct tsk_claim_opts *opts, int64_t now,
              struct tsk_claims *claims, struct tsk_err *err);

/* Sets *at to when the next back-off ends of a step that could run otherwise (a tsk_wall_ms value),
 * or to 0 if there is none. Within a transaction. Returns 0, or -1. */
int tsk_claim_next(struct tsk_store *store, const struct tsk_claim_opts *opts, int64_t now,
                   int64_t *at, struct tsk_err *err);

#endif
