/* What dispatch.c (batches) and dispatch_peers.c (who is there) share. */
#ifndef LIB_DISPATCH_PRIVATE_H
#define LIB_DISPATCH_PRIVATE_H

#include "tasker/bus.h"
#include "publish/dispatch.h"
#include "tasker/map.h"

struct worker {
    struct tsk_dispatch_worker seen; /* worker_id is owned */
    int64_t unanswered_steps;
    uint64_t used; /* when it was chosen last, on a clock of its own */
    bool stopping; /* it accepts nothing more */
};

struct held;
struct list {
    struct held *first, *last;
};

struct held {
    struct held *prev, *next;
    struct list *list;
    char *batch_id;
    void *tag;
    int64_t steps, attempts, due;
    struct worker *worker; /* NULL unless in offered, allowed or sent */
    bool owed;             /* it was sent to worker, which owes an answer */
    bool plain;            /* it may be sent to plain subscribers */
    char *prefer;          /* the worker that may know it; or NULL */
    char *parked_for;      /* the worker that left and may come again; NULL unless in parked */
    char **refusers;       /* the workers that rejected it */
    size_t refuser_count, refuser_cap;
};

struct tsk_dispatch {
    struct tsk_dispatch_opts opts;
    struct tsk_map *held, *workers;
    struct list queued, reserved, offered, allowed, sent, handed, parked, refused;
    struct held *sending; /* between SEND and tsk_dispatch_sent */
    struct worker *target;
    int64_t steps_subscriptions, registrations;
    int64_t quiet_at;      /* no subscription changed until then: who is plain is known */
    int64_t blocked_until; /* the socket took nothing; 0: it does */
    int64_t stranded;
    int64_t gathered_at; /* when all workers that connect again are there; -1: none was there yet */
    bool undecided;      /* a batch is queued that all who are there by now have rejected */
    bool started;        /* opts.workers were there once */
    uint64_t uses;
};

void tsk_held_remove(struct held *held);
void tsk_held_append(struct list *list, struct held *held);
void tsk_held_prepend(struct list *list, struct held *held);
bool tsk_held_refused_by(const struct held *held, const char *worker_id);

/* Gives a batch its worker; says that this one owes an answer; and takes the batch away from it. */
void tsk_held_assign(struct held *held, struct worker *worker);
void tsk_held_owe(struct held *held, int64_t now);
void tsk_held_unassign(struct held *held);

/* Puts a batch without a worker where it waits for one: with the queue, or reserved for the worker
 * that it prefers. */
void tsk_held_queue(struct tsk_dispatch *dispatch, struct held *held, bool first);

/* dispatch_offer.c: a worker left, to which these were offered; one came, for which these were
 * reserved; the time of a reservation is over. */
void tsk_dispatch_offers_end(struct tsk_dispatch *dispatch, const struct worker *worker);
void tsk_dispatch_reserved_for(struct tsk_dispatch *dispatch, const struct worker *worker);
void tsk_dispatch_reserved_end(struct tsk_dispatch *dispatch, int64_t now);

/* Puts those back in front of the queue whose worker did not come again in time. */
void tsk_dispatch_unpark(struct tsk_dispatch *dispatch, int64_t now);

void tsk_dispatch_worker_free(void *worker);
struct worker *tsk_dispatch_worker(const struct tsk_dispatch *dispatch, const char *id);

/* Returns the worker for a batch, or NULL; *refused tells whether all have rejected it. */
struct worker *tsk_dispatch_choose(const struct tsk_dispatch *dispatch, const struct held *held,
                                   bool *refused);

#endif
