/* The batches that a receipt was read for: what is still to come of each, and until when. */
#ifndef COLLECT_BATCHES_H
#define COLLECT_BATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collect/lost.h"
#include "tasker/json.h"
#include "tasker/message.h"
#include "collect/stream.h"

/* What a result line says that matters here. batch_id is borrowed and "" if there is none. */
struct result {
    enum tsk_type type;
    const char *batch_id;
    int64_t step_id;
    bool final;       /* a partial result that is not in_progress */
    int64_t sequence; /* of a partial result; 0: not told */
};

/* Reads it from a message that tsk_result_normalise let pass (or any other: it is tolerant). */
struct result result_read(enum tsk_type type, struct json_object *message);

struct batch {
    char id[TSK_ID_SIZE], source[TSK_ID_SIZE], worker[TSK_ID_SIZE]; /* "" where not known */
    char *endpoint; /* where its results are to be, as the receipt says; NULL: it does not */
    int64_t *steps;                                                 /* ids, ascending */
    bool *ended;        /* the step's final result came */
    int64_t *sequences; /* the greatest that came of it; 0: none */
    size_t count, ended_count;
    bool complete;       /* its completion came */
    int64_t since, last; /* when its receipt and its latest result came */
    int64_t settle_at;   /* it ends then whatever is missing; -1: not yet */
    bool asked;          /* it was due, and is looked for elsewhere before it is given up */
    int why;             /* then: why, an enum batch_due */
    bool heard;          /* something of it came before that */
    bool recorded;       /* it was read from the store, which has what came of it before */
    bool reached;        /* then: the ledger has a message of its worker */
    bool looked;         /* the store was asked because its worker was not reached */
};

enum batch_due {
    BATCH_SETTLED,  /* complete, and what is missing did not come */
    BATCH_LATE,     /* over its time limit */
    BATCH_LOST,     /* its worker has ended, as far as can be told */
    BATCH_GONE,     /* its worker has nothing more of it */
    BATCH_SILENT,   /* its worker has not been heard for too long */
    BATCH_UNREACHED /* its worker was neither heard nor reached: only the store may have it */
};

struct batches;

/* timeout (from the receipt) and silence are in ms; -1 is without. stream is asked when a batch's
 * source was last heard; lost (which is told what is open) when it is to be given up. */
struct batches *batches_new(int64_t timeout, int64_t silence, const struct tsk_stream *stream,
                            struct lost *lost);
void batches_free(struct batches *batches);

/* Takes a receipt. Returns NULL, or (static text) what is wrong with it. */
const char *batches_receipt(struct batches *batches, struct json_object *receipt, int64_t now);

/* The same for a receipt from the store (tsk_ledger_look_open), if the batch is not known. */
const char *batches_record(struct batches *batches, struct json_object *receipt, int64_t now);
bool batches_recorded(struct batches *batches, const char *batch_id);

/* Whether there was a receipt for this batch (of those ended, the last 20 000 are remembered). */
bool batches_know(struct batches *batches, const char *batch_id);

/* No more receipts will come. */
void batches_close(struct batches *batches);

/* Takes note of a result; it may end its batch. One that comes before its receipt counts too. */
void batches_note(struct batches *batches, const struct result *result, int64_t now);

size_t batches_open(const struct batches *batches);
int64_t batches_seen(const struct batches *batches); /* receipts, each batch once */

/* Of these, those that nobody looks for. */
size_t batches_awaited(const struct batches *batches);

/* Calls due for each batch whose time has come, and ends it if due returns true. Else it is looked
 * for: it stays open, and is not due any more, until batches_give_up. heard_at is when anything was
 * last heard from anybody. A batch whose worker was never heard is not lost with it while reached
 * says no: its steps may well run. */
typedef bool batch_due_fn(void *ctx, const struct batch *batch, enum batch_due why);
typedef bool batch_reached_fn(void *ctx, const struct batch *batch);
void batches_check(struct batches *batches, int64_t now, int64_t heard_at,
                   batch_reached_fn *reached, batch_due_fn *due, void *ctx);
int64_t batches_deadline(const struct batches *batches); /* of the next call; -1: none */

/* Whether any batch of source is open. Calls due for those whose receipt came before a moment, for
 * their worker has nothing more of them, and ends them. */
bool batches_wait_for(const struct batches *batches, const char *source);
void batches_forgotten(struct batches *batches, const char *source, int64_t before,
                       batch_due_fn *due, void *ctx);

/* Messages have come that are not printed yet, some of them long ago: what seems to be missing may
 * be among them, so until now it was neither missing nor anybody silent. */
void batches_behind(struct batches *batches, int64_t now);

/* The same for a batch that was looked for, if it is still open; due's answer does not matter. One
 * that is only unreached stays open. */
void batches_give_up(struct batches *batches, const char *batch_id, batch_due_fn *due, void *ctx);

/* Whether a result is of an open batch and tells what nothing has told yet. */
bool batches_lack(struct batches *batches, const struct result *result);

/* What is known of a worker changed: the next call is due at once. */
void batches_recheck(struct batches *batches);

/* Calls fn for each open batch. */
void batches_each(const struct batches *batches, void (*fn)(void *ctx, const struct batch *batch),
                  void *ctx);

#endif
