/* What the parts of tasker-reconcile share. */
#ifndef RECONCILE_RECONCILE_H
#define RECONCILE_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/opt.h"
#include "tasker/err.h"
#include "tasker/reconcile.h"

struct options {
    bool follow, pass;
    int64_t settle, timeout; /* ms; -1: not given */
    int text;                /* --format: 0 json, 1 text */
    int receipts;            /* enum tsk_receipts */
    bool ledger, dry_run, rebuild;
    const char *since;
    struct opt_list batches;
};

/* All batches so far. */
struct totals {
    int64_t verdicts[4]; /* by enum tsk_verdict_kind */
    int64_t steps, completed, failed, in_progress, missing, retry;
};

/* Prints verdict as a table for people, and the last line of all of them. */
void text_verdict(const struct tsk_verdict *verdict);
void text_totals(const struct totals *totals);

struct settling;

/* Reads the operands to their end (or to a signal, while signals are open), line by line: feeds
 * reconcile and passes on what is not for it; settling (or NULL) is told, and has its turns. Tells
 * what is wrong. Returns the status so far. */
enum tsk_exit read_all(struct tsk_reconcile *reconcile, struct settling *settling,
                       const struct options *opts, char *const *operands, size_t count, size_t max);

#endif
