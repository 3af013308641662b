/* Settling in a store: the rows of settle.h are read from it and written to it, a bounded group of
 * batches a transaction.
 *
 * Settling a batch replaces all its derived rows, so that it may be done twice, by several
 * processes at once, and be cut off anywhere: the end is the same. Whoever settles takes the marks
 * away (unsettled) by which collect says that there are news, and leaves a batch alone that has
 * none any more: somebody else was faster. Several processes do not wait for each other in a
 * circle: in a group, a batch that another process works on is put off, and waited for alone, at
 * the end.
 *
 * All functions fail with -1 and err, of the kinds of store.h. */
#ifndef TASKER_SETTLER_H
#define TASKER_SETTLER_H

#include "tasker/create.h"
#include "tasker/settle.h"
#include "tasker/store.h"

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

#endif
