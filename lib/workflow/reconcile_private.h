/* What the files reconcile*.c share. */
#ifndef LIB_RECONCILE_PRIVATE_H
#define LIB_RECONCILE_PRIVATE_H

#include "tasker/message.h"
#include "tasker/reconcile.h"

/* --- reconcile_batch.c: texts kept once each, named by where they stand; 0 is "none". */
struct tsk_names {
    struct tsk_buf text;
    uint32_t *slots;
    size_t size, count; /* size is 0 or a power of two */
};
void tsk_names_fini(struct tsk_names *names);
uint32_t tsk_names_add(struct tsk_names *names, const char *text);     /* NULL and "" give 0 */
const char *tsk_names_get(const struct tsk_names *names, uint32_t at); /* NULL for 0 */

/* --- reconcile.c: what is remembered of the past, in bounded memory. Keys are hashes; about
 * the last limit keys are kept, and at least half as many. */
struct tsk_past {
    struct tsk_past_half {
        uint64_t *slots; /* the upper 48 bits of the hash, and the value; 0: free */
        size_t size, count;
    } now, before;
    size_t limit;
};
void tsk_past_fini(struct tsk_past *past);
void tsk_past_put(struct tsk_past *past, uint64_t hash, unsigned value); /* 1 to 65535 */
unsigned tsk_past_get(const struct tsk_past *past, uint64_t hash);       /* 0: not known */

/* --- reconcile_batch.c: a batch that has no verdict yet. */
enum {
    TSK_RSTEP_PUBLISHED = 1,   /* the receipt names it */
    TSK_RSTEP_RETRYABLE = 2,   /* as its failure says */
    TSK_RSTEP_PROGRESS = 4,    /* an in_progress of this attempt was heard */
    TSK_RSTEP_OLDER = 8,       /* a result of an older attempt came */
    TSK_RSTEP_AFTER = 16,      /* news came after the completion */
    TSK_RSTEP_DISORDER = 32,   /* sequence numbers went back */
    TSK_RSTEP_CONFLICT = 64,   /* two ends of one attempt */
    TSK_RSTEP_CONTESTED = 128, /* two summaries that disagree */
    TSK_RSTEP_REFUSED = 256,   /* completed, with an output that cannot be */
    TSK_RSTEP_UNUSED = 512,    /* its failure says that it was never started */
};

struct tsk_rstep {
    int64_t step_id, task_id;
    int64_t ended, time_ms;   /* as in tsk_result */
    uint32_t retry_after;     /* ms; UINT32_MAX: not told */
    uint32_t seen, sequence;  /* bit n-1: sequence n was seen, for 1 to 32; the greatest */
    uint32_t attempt;         /* of its partial results; 0: not told */
    uint32_t published;       /* attempt that the receipt tells; 0: not told */
    uint32_t summary_attempt; /* 0: not told */
    uint32_t limit;           /* UINT32_MAX: not told */
    uint32_t name, worker, category, reason, backoff;
    uint8_t status, summary; /* enum tsk_step_status, by partial result and by completion */
    uint16_t flags;
};

struct tsk_rlink {
    struct tsk_rlink *prev, *next; /* a ring, whose head is in struct tsk_reconcile */
};

struct tsk_rbatch {
    struct tsk_rlink heard_link, settle_link, wait_link; /* next is NULL: in no ring */
    size_t waiting; /* steps counted as waiting for a receipt; 0: it does not wait */
    int64_t heard;  /* when the last news came */
    char id[TSK_ID_SIZE];
    unsigned revision; /* that its verdict will have */
    bool late;         /* it had a verdict: all that is here came after it */
    bool given_up;     /* and that was with a batch_error: what comes is no outcome any more */
    bool receipt, completion, summaries, completions_differ, timed_out, refused;
    struct json_object *error; /* owned, or NULL; an empty object where the batch_error had none */
    int64_t error_at;
    uint64_t digest;                             /* of the completion */
    int64_t published_at, completed_at, time_ms; /* -1: not told */
    int64_t told_published;                      /* total_steps of the receipt; -1: not told */
    int64_t told_total, told_completed, told_failed, told_in_progress; /* of the completion */
    size_t published, summarised, summary_completed, summary_failed;   /* steps counted */
    size_t completed, failed;                                          /* by partial results */
    size_t unsettled; /* steps about which not all agree yet */
    size_t limitless; /* failed steps of which only a receipt can tell the retry_limit */
    struct tsk_names names;
    struct tsk_rstep *steps;
    size_t count, cap, last; /* last: index of the step touched last */
    uint32_t *slots;         /* indices + 1, by hash of step_id */
    size_t size;
};

struct tsk_rbatch *tsk_rbatch_new(const char *batch_id);
void tsk_rbatch_free(struct tsk_rbatch *batch);
struct tsk_rstep *tsk_rbatch_step(struct tsk_rbatch *batch, int64_t step_id); /* made if needed */

void tsk_rbatch_partial(struct tsk_rbatch *batch, const struct tsk_result *partial);
void tsk_rbatch_completion(struct tsk_rbatch *batch, struct json_object *message, uint64_t digest);
void tsk_rbatch_receipt(struct tsk_rbatch *batch, struct json_object *message);
void tsk_rbatch_error(struct tsk_rbatch *batch, struct json_object *message);
/* A receipt that is no message. */
void tsk_rbatch_publish(struct tsk_rbatch *batch, const struct tsk_result *entries, size_t count,
                        int64_t published_at);

/* What a completion or a receipt says, whatever the order of its entries. */
uint64_t tsk_rcompletion_digest(struct json_object *message);
uint64_t tsk_rreceipt_digest(struct json_object *message);
uint64_t tsk_rbatch_digest(const struct tsk_rbatch *batch); /* of a receipt that names its steps */

/* Whether all that is known agrees, so that a verdict can be told (the receipt apart). */
bool tsk_rbatch_agrees(const struct tsk_rbatch *batch);

/* One step. */
enum tsk_rmatch { TSK_RMATCH_NONE, TSK_RMATCH_SAME, TSK_RMATCH_NEWER };

uint32_t tsk_rstep_attempt(const struct tsk_rstep *step);      /* 0: nobody told */
bool tsk_rstep_gap(const struct tsk_rstep *step);              /* a sequence number is missing */
enum tsk_rmatch tsk_rstep_match(const struct tsk_rstep *step); /* which attempt the summary is of */

/* --- verdict.c */

/* Fills verdict for batch, whose steps it sorts. Returns the discrepancies, which verdict borrows
 * and the caller frees. needs_receipt: the lack of one is a discrepancy. */
struct tsk_discrepancy *tsk_rbatch_verdict(struct tsk_rbatch *batch,
                                           const struct tsk_reconcile_opts *opts,
                                           bool needs_receipt, struct tsk_verdict *verdict);

/* --- reconcile.c: what the store knows of a batch, in place of its receipt and before anything
 * else of it. entries are of different steps. */
void tsk_reconcile_publish(struct tsk_reconcile *reconcile, const char *batch_id,
                           const struct tsk_result *entries, size_t count, int64_t published_at);
/* A partial result whose values are sound. */
void tsk_reconcile_partial(struct tsk_reconcile *reconcile, const struct tsk_result *partial,
                           int64_t now);

#endif
