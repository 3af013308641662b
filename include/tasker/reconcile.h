/* Reconciliation: what was published, what was reported step by step and what was reported at the
 * end, held against each other, a verdict a batch. It does no I/O and has no clock: it is fed
 * messages, and the time by whoever runs it, and calls back. The same messages give the same
 * verdicts.
 *
 * When a batch gets its verdict:
 * - at once when its completion is there, its receipt too (see tsk_receipts), and both agree with
 *   the partial results about every step;
 * - else when nothing more can change it: at tsk_reconcile_finish, or earlier if opts name a
 *   settle time (counted from the last news of a batch that has a completion or a batch_error) or
 *   a timeout (counted from the last news of any batch; the verdict is then timed_out).
 * What comes for a batch after its verdict is a late_result: a further verdict with a higher
 * revision tells of it, with the steps it concerns and no others; what is exactly what was known
 * already tells nothing and is taken in silence.
 *
 * Verdicts:
 * - consistent: all agree. Steps may have failed.
 * - discrepant: how each step ended is known, or never will be since a batch_error says that the
 *   batch could not be run (it is in error), and some discrepancy was found.
 * - incomplete: there is no completion, or of some step neither side says how it ended.
 * - timed_out: as incomplete, and a batch_error of category timeout came or opts.timeout_ms passed.
 *
 * Batches that lack nothing but their receipt wait for it only while they have no more than 65 536
 * steps together; then the oldest of them get their verdict without it.
 *
 * Memory: an open batch needs about 100 bytes a step besides its texts; a finished one a few words
 * in tables of fixed size, which hold the last 65 536 batches and 262 144 facts at most (half as
 * many at least). What is older is forgotten: its late results are then those of a batch never
 * heard of. */
#ifndef TASKER_RECONCILE_H
#define TASKER_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/err.h"
#include "tasker/json.h"
#include "tasker/message.h"
#include "tasker/retry.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tsk_verdict_kind { TSK_CONSISTENT, TSK_DISCREPANT, TSK_INCOMPLETE, TSK_TIMED_OUT };

enum tsk_discrepancy_type {
    TSK_MISSING_PARTIAL,    /* no partial result that ends the step */
    TSK_MISSING_COMPLETION, /* no batch_completion */
    TSK_MISSING_SUMMARY,    /* the completion does not name the step */
    TSK_STATUS_MISMATCH,    /* partial result and completion disagree how it ended */
    TSK_COUNT_MISMATCH,     /* a count is not that of the things counted */
    TSK_UNKNOWN_STEP,       /* a step that the receipt does not name */
    TSK_UNKNOWN_BATCH,      /* results of a batch that has no receipt */
    TSK_CONFLICTING_RESULT, /* two different ends of one attempt, or two different completions */
    TSK_OUT_OF_ORDER,       /* a sequence number missed or gone back, or a result after the end */
    TSK_REFUSED_ENTRY,      /* an entry of the completion, or of the older "results", is bad */
    TSK_LATE_RESULT,        /* of an older attempt, or after the verdict; it changes no state */
};

/* Which batches must have a receipt (batch_published). */
enum tsk_receipts {
    TSK_RECEIPTS_AUTO, /* all, from the first receipt on; where there are none at all, none. A batch
                        * in which a failed step's retry hangs on a retry_limit that nobody but a
                        * receipt can tell waits for one in any case. */
    TSK_RECEIPTS_ALL,
    TSK_RECEIPTS_NONE,
};

struct tsk_reconcile_opts {
    struct tsk_retry retry;
    int64_t retry_limit; /* for steps of which nobody tells theirs */
    int64_t settle_ms;   /* -1: only tsk_reconcile_finish settles what is not clear */
    int64_t timeout_ms;  /* -1: none */
    enum tsk_receipts receipts;
    int64_t (*wall)(void); /* the clock (wall ms) that bounds the times in failures: a failure that
                            * claims to be later counts as of now; NULL: no bound */
    bool timeout_fails; /* a batch_error of category timeout ends the steps that did not end: they
                         * have failed. Without it they are unknown: whoever tells of the time that
                         * is over may just have waited no longer. */
};

#define TSK_RECONCILE_OPTS_INIT                                                                    \
    {                                                                                              \
        TSK_RETRY_INIT, TSK_RETRY_LIMIT, -1, -1, TSK_RECEIPTS_AUTO, NULL, false                    \
    }

struct tsk_discrepancy {
    enum tsk_discrepancy_type type;
    int64_t step_id;               /* 0: the batch as a whole */
    const char *detail;            /* static */
    const char *field;             /* TSK_COUNT_MISMATCH: which count, static; else NULL */
    int64_t expected, actual;      /* TSK_COUNT_MISMATCH */
    const char *partial, *summary; /* TSK_STATUS_MISMATCH: names of statuses, static; else NULL */
};

/* A verdict; all is borrowed and good until the callback returns. */
struct tsk_verdict {
    const char *batch_id; /* "": a batch_error that names none */
    enum tsk_verdict_kind kind;
    int64_t revision;          /* 1, and one more for each later verdict on the batch */
    bool receipt, completion;  /* whether they were there */
    struct json_object *error; /* of the batch_error, or NULL */
    int64_t published_at;      /* wall ms, of the receipt; -1: not told */
    int64_t completed_at;      /* wall ms, of the completion; -1: not told */
    int64_t time_ms;           /* total_execution_time_ms; -1: not told */
    int64_t total;             /* steps that the batch has */
    int64_t completed, failed, in_progress, missing; /* steps by status */
    int64_t retry; /* steps with TSK_OUTCOME_RETRY, also among the failed ones */
    size_t steps;  /* see tsk_verdict_step */
    const struct tsk_discrepancy *discrepancies;
    size_t discrepancy_count;
    const struct tsk_rbatch *batch; /* private */
    const struct tsk_reconcile_opts *opts;
};

/* Fills out (texts borrowed as the verdict is) with step i of verdict->steps, in order of step_id:
 * its retry_limit is told, its reason is cut to 200 bytes. */
void tsk_verdict_step(const struct tsk_verdict *verdict, size_t i, struct tsk_result *out);

/* Adds the verdict to buf as one JSON object, batch_reconciled, without a newline. */
void tsk_verdict_json(const struct tsk_verdict *verdict, struct tsk_buf *buf);

/* Names as in JSON; static. */
const char *tsk_verdict_name(enum tsk_verdict_kind kind);
const char *tsk_step_status_name(enum tsk_step_status status);
const char *tsk_outcome_name(enum tsk_outcome outcome);
const char *tsk_discrepancy_name(enum tsk_discrepancy_type type);

typedef void tsk_verdict_fn(void *ctx, const struct tsk_verdict *verdict);

struct tsk_reconcile;

/* Returns a reconciliation; opts are copied. tell is called for each verdict, from within the
 * functions below; it must not call them. */
struct tsk_reconcile *tsk_reconcile_new(const struct tsk_reconcile_opts *opts, tsk_verdict_fn *tell,
                                        void *ctx);

/* Frees it without telling what is open. NULL is fine. */
void tsk_reconcile_free(struct tsk_reconcile *reconcile);

/* Takes in a message (borrowed; it may be changed in place as tsk_result_normalise does): a
 * receipt, a partial result, a completion or a batch_error, in any shape that tasker(7) allows.
 * now is a tsk_now_ms value; it matters only with a settle time or timeout. Returns 1; or 0 if the
 * message is none of these; or -1 with kind TSK_DATA if it cannot be used (nothing was taken in).
 */
int tsk_reconcile_feed(struct tsk_reconcile *reconcile, struct json_object *message, int64_t now,
                       struct tsk_err *err);

/* Checks a message as tsk_reconcile_feed does, returns the same, and calls emit with what it stands
 * for (tsk_result_fn in message.h); a receipt goes to emit as it is. */
int tsk_reconcile_read(struct json_object *message, tsk_result_fn *emit, void *ctx,
                       struct tsk_err *err);

/* Tells the verdicts that are due at now. */
void tsk_reconcile_settle(struct tsk_reconcile *reconcile, int64_t now);

/* Returns when tsk_reconcile_settle has to be called next (a tsk_now_ms value), or -1. */
int64_t tsk_reconcile_due(const struct tsk_reconcile *reconcile);

/* Tells the verdicts of all open batches, oldest first: nothing more will come. */
void tsk_reconcile_finish(struct tsk_reconcile *reconcile);

/* How many batches are open. */
size_t tsk_reconcile_open(const struct tsk_reconcile *reconcile);

#ifdef __cplusplus
}
#endif

#endif
