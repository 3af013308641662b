/* What the store says of batches on their way out (outbound data): a batch is recorded before it is
 * sent for the first time, and what became of it afterwards.
 *
 * All functions are for use within tsk_store_write (or _read) and may be called again after a
 * rollback; what they write is written once. They return 0, or -1 with err, of the store's kinds.
 * All times are tsk_wall_ms values.
 *
 * A batch that is "created" was accepted by nobody yet. Whoever is about to send it has a claim on
 * it, which runs out: of two publishers one sends it, and if that one dies another can. */
#ifndef TASKER_OUTBOUND_H
#define TASKER_OUTBOUND_H

#include "tasker/message.h"
#include "tasker/store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In batches.publisher of a batch that no publisher of this store has recorded: its rows come from
 * the ledger. */
#define TSK_OUTBOUND_LEDGER "ledger"

struct tsk_outbound_claim {
    const char *publisher; /* who sends: a name that is its own */
    int64_t now, until;
};

struct tsk_outbound_step {
    int64_t step_id, task_id, attempt, retry_limit;
    int64_t timeout_ms; /* 0: none named */
    const char *name, *handler_class;
    const char *handler_config; /* JSON, or NULL */
};

struct tsk_outbound_batch {
    const char *batch_id;
    const char *body; /* as it is sent */
    size_t len;
    const char *offered_to; /* the worker that it will be sent to, or NULL */
    int64_t timeout_ms;     /* its own; 0: that of its steps */
    int64_t step_timeout;   /* of a step that names none */
    const struct tsk_outbound_step *steps;
    size_t count;
    int64_t total; /* steps, where more are known to be than are named; else 0 */
};

/* Returns how long a batch may take, in ms: its own limit; or the sum of those of its steps, which
 * may run one after the other, and a minute. */
int64_t tsk_outbound_time_limit(const struct tsk_outbound_batch *batch);

/* Puts a batch down as created and claimed, with its steps and their transitions, unless there is
 * one of that batch_id: tsk_outbound_look tells what is there then. */
int tsk_outbound_add(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                     const struct tsk_outbound_batch *batch, struct tsk_err *err);

/* What is there of a batch. Texts are borrowed, NULL where there is none. */
struct tsk_outbound_seen {
    const char *batch_id, *state, *publisher, *offered_to;
    const char *accepted_by, *source, *result_endpoint, *delivery;
    int64_t published_at; /* 0: it is not told */
    int64_t claimed_until, sends;
    bool news;        /* the ledger has something of it */
    bool refused;     /* namely that every worker rejected it */
    const char *dropped; /* JSON: step_ids that are not to be run; an operator has ended them */
    const char *body; /* NULL: it is created, and of this publisher */
    size_t len;
};

/* Tells of each of the batches whose batch_ids are in ids, a JSON array. fn must not use the
 * store. */
typedef void tsk_outbound_seen_fn(void *ctx, const struct tsk_outbound_seen *seen);
int tsk_outbound_look(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                      const char *ids, tsk_outbound_seen_fn *fn, void *ctx, struct tsk_err *err);

/* The bytes of a batch; those from stamp on are a time that was put in when they were made, so that
 * the same batch has others each time. */
struct tsk_outbound_body {
    const char *data;
    size_t len, stamp, stamp_len;
};

/* What is to be done with a batch of these bytes. */
enum tsk_outbound_verdict {
    TSK_OUTBOUND_SEND,  /* send it: it is created, and ours */
    TSK_OUTBOUND_FREE,  /* it is created, and nobody has a claim: tsk_outbound_take it */
    TSK_OUTBOUND_TAKEN, /* it is created, and another one's to send */
    TSK_OUTBOUND_PAST,  /* it was sent and accepted before, or is cancelled */
    TSK_OUTBOUND_OTHER, /* another batch has its batch_id */
};
enum tsk_outbound_verdict tsk_outbound_judge(const struct tsk_outbound_seen *seen,
                                             const struct tsk_outbound_claim *claim,
                                             const struct tsk_outbound_body *body);

/* Claims one that is created. Returns 1, 0 if another was faster, or -1. */
int tsk_outbound_take(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                      const char *batch_id, struct tsk_err *err);

/* Records to which worker a batch will be sent. A batch that was offered to a worker, and of which
 * the ledger has news, stays that worker's. */
int tsk_outbound_offer(struct tsk_store *store, const char *batch_id, const char *worker_id,
                       struct tsk_err *err);

/* Whoever has accepted a batch: its answer (NULL where it told nothing). */
struct tsk_outbound_acceptance {
    const char *batch_id, *worker_id, *source, *result_endpoint;
    bool confirmed; /* false: it was handed to plain subscribers */
    int64_t at, sends;
};

/* Records that a batch is published. Where the ledger knew it before, reconcile is told to look
 * again. */
int tsk_outbound_accept(struct tsk_store *store, const struct tsk_outbound_acceptance *acceptance,
                        struct tsk_err *err);

/* Puts into the ledger, once, that no worker takes a batch: message is the batch_error of it, with
 * the source and offset that these give. Settling the batch and its steps is reconcile's. */
#define TSK_OUTBOUND_SOURCE TSK_SOURCE_PUBLISH /* and the batch_id */
#define TSK_OUTBOUND_OFFSET 1
/* SQL: whether row, of the ledger, reports that the batch with the batch_id of the expression id is
 * refused: by every worker, or before it could be sent. Both numbers of its place are named, so
 * that it is looked up. */
#define TSK_OUTBOUND_REFUSES(row, id)                                                              \
    row ".source IN ('" TSK_OUTBOUND_SOURCE "' || " id ", '" TSK_SOURCE_READY "' || " id           \
        ") AND " row ".stream_offset = 1"
int tsk_outbound_refuse(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                        const char *batch_id, const char *message, size_t len, struct tsk_err *err);

/* Makes all claims of a publisher last until claim->until; release gives them up. */
int tsk_outbound_renew(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                       struct tsk_err *err);
int tsk_outbound_release(struct tsk_store *store, const char *publisher, struct tsk_err *err);

/* A place among the batches that are created, oldest first; {0, 0} is before the first. */
struct tsk_outbound_place {
    int64_t created_at, id;
};

struct tsk_outbound_unsent {
    struct tsk_outbound_place place;
    const char *batch_id, *body, *offered_to; /* borrowed */
    const char *dropped;                      /* as in tsk_outbound_seen */
    size_t len;
};

/* Claims at most most batches after a place that are created, that the ledger knows nothing of, and
 * that nobody has a claim on; two publishers that do so get different ones. */
int tsk_outbound_claim_unsent(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                              struct tsk_outbound_place after, int64_t most, struct tsk_err *err);

/* Tells of at most most batches after a place that are created and claimed by this publisher; with
 * claim->publisher NULL of those that could be claimed now. fn must not use the store. */
typedef void tsk_outbound_unsent_fn(void *ctx, const struct tsk_outbound_unsent *unsent);
int tsk_outbound_each_unsent(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                             struct tsk_outbound_place after, int64_t most,
                             tsk_outbound_unsent_fn *fn, void *ctx, struct tsk_err *err);

/* When the first claim of another one on such a batch runs out, of those that do so by a time; 0 in
 * *at if there is none. One that is renewed meanwhile runs out later than it did. */
int tsk_outbound_next_free(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                           int64_t by, int64_t *at, struct tsk_err *err);

#ifdef __cplusplus
}
#endif

#endif
