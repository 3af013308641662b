/* Settling: what the store's ledger means for a batch and its steps. A settlement is a pure
 * function of what was sent (outbound) and what came back (the ledger, in the order of its ids):
 * rows in, rows out, no store and no clock. So it can be done again at any time, by anybody, with
 * the same end. settle.h reads and writes those rows.
 *
 * The messages go through a reconciliation (reconcile.h) with the store's rows as the receipt, and:
 * - a batch_error ends its batch at once: what comes after it is late, and changes no state;
 * - a batch_error of category timeout fails the steps that did not end, to be retried while
 *   attempts are left;
 * - but that a collector waits no longer (such an error of the source "lost:…") is no end: it is
 *   the time limit of the batch that counts;
 * - a step that completed with an output that cannot be, as a judge says, or that is beyond the
 * limits of a message, has failed for good;
 * - a message that names the batch, is beyond those limits and was refused since it does not say of
 *   which step it is, is a discrepancy, "refused_entry";
 * - a batch_error of the source "reconcile:…" with "attempt_used":false ends a batch that was sent
 *   to nobody: it is cancelled, and its steps are pending as they were before, no attempt used;
 * - what nobody has heard of has no derived row at all;
 * - a back-off begins when the ledger got the failure, whatever the worker's clock said.
 *
 * States follow the tables of state.h. What an operator did (a transition of that origin) counts
 * from the state on that it found a step in, for it was recorded when the ledger had no more; where
 * that is not known, and of a batch, from its time on. What the ledger then wants against the table
 * is refused, and that is a discrepancy, "refused_transition"; so is what the operator wanted, if
 * the table does not have that. A step that is stopped, fails or is lost after an operator has
 * ended it asks for no transition. One that an operator has made pending has no back-off.
 *
 * A batch is executing from the first news on, and ended when it has a completion and each of its
 * steps has ended (completed, or failed if some step was not done), or by a batch_error (failed, or
 * timeout if that is its category; completed, if all steps were done by then). */
#ifndef TASKER_SETTLE_H
#define TASKER_SETTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/flow.h"
#include "tasker/message.h"
#include "tasker/reconcile.h"
#include "tasker/state.h"
#include "tasker/store.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The source, before its batch_id, of messages that are made of what is known and the clock: the
 * same for all that look, so that they are in the ledger once. */
#define TSK_SETTLE_SOURCE TSK_SOURCE_RECONCILE
/* The offset there of the message by which a batch is given back. */
#define TSK_SETTLE_BACK_OFFSET 2

/* A state that somebody else than the ledger brought about. Times are wall ms. */
struct tsk_settle_state {
    enum tsk_state state; /* TSK_STATE_NONE: nothing of that kind */
    int64_t at;
};

/* What is known of a batch besides its ledger. */
struct tsk_settle_batch {
    const char *batch_id;         /* copied */
    struct tsk_settle_state base; /* created or published */
    struct tsk_settle_state hand; /* an operator's */
    int64_t published_at;         /* -1: not told */
    int64_t total;                /* steps, where some may not be named (tsk_adopt); else 0 */
    bool silent_too;              /* it gets a verdict even if its ledger is empty */
};

/* The same of a step. */
struct tsk_settle_step {
    int64_t row; /* the caller's name for it */
    struct tsk_result sent;       /* step_id, task_id, attempt, retry_limit; step_name and backoff,
                                   * which are copied */
    int64_t since;                /* when it was enqueued with this attempt */
    int round_places;             /* how much higher its places are (TSK_PLACES_OF_ROUND) */
    struct tsk_settle_state hand; /* an operator's, after this attempt began */
    enum tsk_state hand_from;     /* what the step was before it; NONE: not known */
    unsigned owns;                /* the caller's */
};

/* A row of the ledger. */
struct tsk_settle_message {
    int64_t id, received_at;
    const char *topic, *source; /* source: NULL if it has none */
    const char *data;           /* the JSON, len bytes */
    size_t len;
    const char *reason; /* NULL; or why it was refused: it is no result */
};

struct tsk_transition {
    int place; /* of a step, in its sort_key (state.h); of a batch the whole sort_key */
    enum tsk_state from, to;
    const char *event; /* static */
    int64_t at;
};

/* A text of a message: what the step put out, or its error. If it was too much to keep, data is
 * NULL and id the row of the ledger that has it; id is 0 where there is none. */
struct tsk_settle_text {
    const char *data;
    size_t len;
    int64_t id;
};

enum { TSK_STEP_MOVES = 3, TSK_BATCH_MOVES = 3 };

/* Looks at what the step at place i, of those that the batch was sent with, put out in an attempt,
 * as JSON. Adds to creates what it asks for (JSON; nothing: none). Returns 0, or -1 with err: it
 * cannot be. */
typedef int tsk_settle_judge_fn(void *ctx, size_t i, int64_t attempt, const char *output,
                                size_t len, struct tsk_buf *creates, struct tsk_err *err);

/* What follows for a step. -1 stands for a time or duration that is not there, NULL for a text. */
struct tsk_settled_step {
    int64_t row;
    unsigned owns;
    bool known;      /* the batch was sent with it; else only results name it */
    bool news;       /* the ledger has something about it: result, up to error, is new */
    int64_t attempt; /* that the batch was sent with */
    struct tsk_result result; /* by the verdict, with its step_id, attempt, status, outcome,
                               * retry_at, time_ms, worker_id, category and reason */
    int64_t next_retry_at;    /* retry_at, if that is what it waits for in its state */
    bool retryable;
    int64_t started_at, ended_at;
    int64_t since; /* when this attempt was enqueued */
    struct tsk_settle_text results, error;
    const char *creates; /* that it is done and asks for, as JSON; NULL: nothing */
    bool given_back;     /* alone or with its batch: its attempt was not used */
    struct tsk_settle_state state;
    struct tsk_transition moves[TSK_STEP_MOVES];
    size_t move_count;
};

/* What follows for the batch. */
struct tsk_settled_batch {
    bool news; /* the ledger has something about it; else only state means anything */
    bool ended;
    enum tsk_verdict_kind verdict;
    int64_t revision, steps, completed, failed;
    int64_t first_at, ended_at, completed_at, execution_ms;
    const char *error; /* JSON of a batch_error's error */
    struct tsk_settle_state state;
    struct tsk_transition moves[TSK_BATCH_MOVES];
    size_t move_count;
};

struct tsk_settled_discrepancy {
    const char *type, *detail;
    int64_t step_id; /* 0: the batch as a whole */
};

struct tsk_settle;

/* Returns a settlement that is used for one batch after the other. Of rules only retry and
 * retry_limit matter. */
struct tsk_settle *tsk_settle_new(const struct tsk_reconcile_opts *rules);
void tsk_settle_free(struct tsk_settle *settle);

/* Has all outputs judged from now on. */
void tsk_settle_set_judge(struct tsk_settle *settle, tsk_settle_judge_fn *judge, void *ctx);

/* In this order, for each batch: begin, its steps in ascending order of step_id (each once), its
 * messages in the order of the ledger, end. tell (may be NULL) is called for each verdict, by
 * message and end. A message that cannot be read is skipped, and so is one of another batch. */
void tsk_settle_begin(struct tsk_settle *settle, const struct tsk_settle_batch *batch,
                      tsk_verdict_fn *tell, void *ctx);
void tsk_settle_step(struct tsk_settle *settle, const struct tsk_settle_step *step);
void tsk_settle_message(struct tsk_settle *settle, const struct tsk_settle_message *message);
void tsk_settle_end(struct tsk_settle *settle);

/* After the end: the batch; its steps, of which those that it was sent with come first; the
 * discrepancies. Texts are borrowed until the next begin. Of a batch that has not ended there are
 * no discrepancies that more news may take away again. */
void tsk_settled_batch(const struct tsk_settle *settle, struct tsk_settled_batch *out);
size_t tsk_settled_steps(const struct tsk_settle *settle);
void tsk_settled_step(const struct tsk_settle *settle, size_t i, struct tsk_settled_step *out);
size_t tsk_settled_discrepancies(const struct tsk_settle *settle);
void tsk_settled_discrepancy(const struct tsk_settle *settle, size_t i,
                             struct tsk_settled_discrepancy *out);

/* Adds the output (or, if error, the error) of step_id in the message to buf; for a text that was
 * too much to keep. Nothing, if it is not there. */
void tsk_settle_text(struct tsk_settle *settle, const struct tsk_settle_message *message,
                     int64_t step_id, bool error, struct tsk_buf *buf);

/* ---- Settling in a store: the rows of settle.h are read from it and written to it, a bounded
 * group of batches a transaction.
 *
 * Settling a batch replaces all its derived rows, so that it may be done twice, by several
 * processes at once, and be cut off anywhere: the end is the same. Whoever settles takes the marks
 * away (unsettled) by which collect says that there are news, and leaves a batch alone that has
 * none any more: somebody else was faster. Several processes do not wait for each other in a
 * circle: in a group, a batch that another process works on is put off, and waited for alone, at
 * the end.
 *
 * All functions fail with -1 and err, of the kinds of store.h. */

/* Batches of the store. TSK_SETTLE_LIST_INIT; to be freed by tsk_settle_list_fini. */
struct tsk_settle_list {
    struct tsk_settle_item {
        int64_t batch; /* batches.id */
        int64_t steps;
    } * items;
    size_t count, cap;
};
#define TSK_SETTLE_LIST_INIT                                                                       \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }
void tsk_settle_list_fini(struct tsk_settle_list *list);

/* Adds a batch; and, for tsk_store_run, the one of a row of id and steps, list being its ctx. */
void tsk_settle_list_add(struct tsk_settle_list *list, int64_t batch, int64_t steps);
int tsk_settle_list_take(void *list, const struct tsk_value *row, size_t columns);

/* Add to list, in order of batches.id, the batches that
 * _news     the ledger has news of
 * _since    the ledger got anything of since that moment (wall ms), settled or not
 * _overdue  are out of time at now (wall ms) without an end, and have no news
 * _all      there are.
 * tsk_settle_find_id adds the one of that batch_id and returns 1, or 0 if there is none. */
int tsk_settle_find_news(struct tsk_store *store, struct tsk_settle_list *list,
                         struct tsk_err *err);
int tsk_settle_find_since(struct tsk_store *store, int64_t since, struct tsk_settle_list *list,
                          struct tsk_err *err);
int tsk_settle_find_overdue(struct tsk_store *store, int64_t now, struct tsk_settle_list *list,
                            struct tsk_err *err);
/* The same of batches of tasks that are created and that nobody has accepted: neither has a
 * publisher a claim on them at now, nor was there one for claim_timeout ms (where a worker may have
 * got it, nor for its time limit); and the ledger has nothing of them. */
int tsk_settle_find_unsent(struct tsk_store *store, int64_t now, int64_t claim_timeout,
                           struct tsk_settle_list *list, struct tsk_err *err);
int tsk_settle_find_all(struct tsk_store *store, struct tsk_settle_list *list, struct tsk_err *err);
int tsk_settle_find_id(struct tsk_store *store, const char *batch_id, struct tsk_settle_list *list,
                       struct tsk_err *err);

/* What settling did, or would do, to a batch. */
struct tsk_settle_change {
    const char *batch_id; /* borrowed */
    enum tsk_state from, to;
    size_t steps;                      /* whose state has changed */
    size_t refused;                    /* of these, that ask for steps that cannot be made */
    bool news;                         /* the ledger has something of it */
    bool ended;                        /* it has ended now, */
    bool ended_before;                 /* and had before */
    int64_t revision, revision_before; /* of the last verdict; 0: none */
};

/* Who wants to know. All but ctx may be NULL; none may use the store. */
struct tsk_settle_watch {
    void *ctx;
    void (*restart)(void *ctx); /* what was told since the last commit was undone: forget it */
    /* A batch comes, whose state is this one, and its last verdict of revision (0: none); */
    void (*begin)(void *ctx, const char *batch_id, enum tsk_state state, int64_t revision);
    tsk_verdict_fn *tell;                                               /* each verdict of it, */
    void (*settled)(void *ctx, const struct tsk_settle_change *change); /* and then the batch */
    void (*commit)(void *ctx); /* what was told is durable (or, if dry, complete) */
    /* A batch cannot be settled: the store does not take what there is to write (TSK_DATA). It
     * stays as it was, with its news, and the others are settled. If NULL, the first such error is
     * the end, and none of its group is. */
    void (*refused)(void *ctx, const char *batch_id, const struct tsk_err *err);
};

enum {
    TSK_SETTLE_FORCE = 1, /* also those without news: what is derived is made anew */
    TSK_SETTLE_DRY = 2,   /* change nothing, and also those without news */
    TSK_SETTLE_TELL = 4,  /* give a verdict on every batch, also on those without news */
};

struct tsk_settler;

/* Returns a settler for store (borrowed). rules as for tsk_settle_new, limits for what steps may
 * ask for: all who settle in a store must have the same. These and watch are copied. */
struct tsk_settler *tsk_settler_new(struct tsk_store *store, const struct tsk_reconcile_opts *rules,
                                    const struct tsk_create_limits *limits,
                                    const struct tsk_settle_watch *watch);
void tsk_settler_free(struct tsk_settler *settler);

/* Settles the batches of list. patience is that of tsk_store_write, for each transaction. After an
 * error those of the groups before are settled. */
int tsk_settler_run(struct tsk_settler *settler, const struct tsk_settle_list *list, unsigned how,
                    int64_t patience, struct tsk_err *err);

/* The same within a transaction of the caller's (tsk_store_write), all in one go: it waits for
 * batches that another process has. how must not be TSK_SETTLE_DRY. */
int tsk_settler_within(struct tsk_settler *settler, const struct tsk_settle_list *list,
                       unsigned how, struct tsk_err *err);

/* With TSK_SETTLE_DRY: takes the batches that are out of time at now (wall ms) as ended by that. */
void tsk_settler_assume(struct tsk_settler *settler, int64_t now);

/* The offset of the message that ends a batch out of time, in TSK_SETTLE_SOURCE. */
#define TSK_SETTLE_OFFSET 1

/* Puts such a message into the ledger for each batch of list that is out of time at now (wall ms)
 * and has neither an end nor news, and marks it as one with news. */
int tsk_settler_time_out(struct tsk_settler *settler, const struct tsk_settle_list *list,
                         int64_t now, int64_t patience, struct tsk_err *err);

/* The same for those of list that tsk_settle_find_unsent would still find. No publisher sends them
 * any more; those that were offered to no worker are given back, the others are out of time. */
int tsk_settler_give_back(struct tsk_settler *settler, const struct tsk_settle_list *list,
                          int64_t now, int64_t claim_timeout, int64_t patience,
                          struct tsk_err *err);

#ifdef __cplusplus
}
#endif

#endif
