/* Verdicts on their way to stdout, and what they make of the exit status. */
#ifndef RECONCILE_TOLD_H
#define RECONCILE_TOLD_H

#include "reconcile/reconcile.h"
#include "tasker/settle.h"

struct told {
    const struct options *opts;
    enum tsk_exit status;
    struct totals totals;
    struct tsk_buf line;
    /* Verdicts that a transaction brought, until it is durable: */
    struct tsk_buf held;
    bool within; /* a transaction */
    struct {
        struct totals totals;
        enum tsk_exit status;
        size_t len; /* of held */
    } start, batch; /* how it was before the transaction, and before the batch at hand */
};

void told_fini(struct told *told);

/* Prints a verdict (a tsk_verdict_fn). */
void told_verdict(void *told, const struct tsk_verdict *verdict);

/* The same for what stands in the store: a transaction begins, a verdict, the batch is complete
 * (and to be left out, or not), all is durable. */
void told_restart(struct told *told);
void told_hold(struct told *told, const struct tsk_verdict *verdict);
void told_batch(struct told *told, bool leave_out);
void told_commit(struct told *told);

/* Prints what would change (--dry-run). */
void told_change(struct told *told, const struct tsk_settle_change *change);

#endif
