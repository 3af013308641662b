/* Who gets which batch (tasker(7), PROTOCOL): the publisher's part as a state machine that
 * knows no socket and no clock. It is told what came (subscriptions, answers) and what was done;
 * it tells what to do next and until when to wait. All times are tsk_now_ms values.
 *
 * Where whoever sends must first record durably what is sent to whom (opts.ask), a batch is
 * offered to a worker before it is sent to it, and sent when that is allowed. */
#ifndef TASKER_DISPATCH_H
#define TASKER_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tsk_dispatch;

struct tsk_dispatch_opts {
    size_t window;           /* batches held and not yet accepted before it is full */
    int64_t resend_after_ms; /* without an answer for so long a batch is sent again */
    int64_t quiet_ms;        /* no subscription came or went for so long: plain peers are plain */
    size_t workers;          /* registered workers to wait for before the first send; 0: anybody */
    int64_t grace_ms;        /* a worker that comes again within it keeps what it was sent */
    bool ask;                /* nothing is sent that was not allowed */
    int64_t gather_ms;       /* from the first worker on, until all that connect again are there */
};

struct tsk_dispatch *tsk_dispatch_new(const struct tsk_dispatch_opts *opts);
void tsk_dispatch_free(struct tsk_dispatch *dispatch); /* NULL is fine; tags are not freed */

/* A peer subscribed to topic, or ended that. "worker.ID " registers a worker; "", "steps" and
 * "steps " are a plain subscription or a registered worker's second one; all else is ignored, also
 * "s", by which somebody looks on without being there. Returns how often the worker is now
 * registered, or -1 if topic is none of a worker. One that is registered twice (two workers of one
 * name) gets nothing, since both would run it, until one is left. */
int tsk_dispatch_join(struct tsk_dispatch *dispatch, const char *topic, int64_t now);
int tsk_dispatch_leave(struct tsk_dispatch *dispatch, const char *topic, int64_t now);

/* A worker said that it accepts nothing more: what it was sent and did not accept is free once it
 * leaves. */
void tsk_dispatch_stopping(struct tsk_dispatch *dispatch, const char *worker_id);

/* Adds a batch of so many steps to be sent. Returns false if that batch_id is held already. */
bool tsk_dispatch_add(struct tsk_dispatch *dispatch, const char *batch_id, int64_t steps,
                      void *tag);

/* Gives up a batch that is held. Returns its tag, or NULL if it is not held. */
void *tsk_dispatch_drop(struct tsk_dispatch *dispatch, const char *batch_id);

/* With opts.ask: allows that a batch is sent to a worker (no effect if it is not offered to that
 * one any more) or, with NULL, to plain subscribers. */
void tsk_dispatch_allow(struct tsk_dispatch *dispatch, const char *batch_id, const char *worker_id);

/* Returns the worker that a batch is offered to and may not be sent to yet, or NULL. */
const char *tsk_dispatch_offered(const struct tsk_dispatch *dispatch, const char *batch_id);

/* A batch that was not sent yet may be known to a worker, from an earlier publisher: it goes to
 * that one, and to another only if it rejects it, or is not there and until is over. The times of
 * several calls must not go back. */
void tsk_dispatch_prefer(struct tsk_dispatch *dispatch, const char *batch_id, const char *worker_id,
                         int64_t until);

size_t tsk_dispatch_count(const struct tsk_dispatch *dispatch); /* batches held */
bool tsk_dispatch_full(const struct tsk_dispatch *dispatch);    /* read no more input */

enum tsk_dispatch_kind {
    TSK_DISPATCH_NONE,
    TSK_DISPATCH_OFFER,   /* with opts.ask: it is to go to this worker; tsk_dispatch_allow it */
    TSK_DISPATCH_SEND,    /* send the batch, then say so by tsk_dispatch_sent */
    TSK_DISPATCH_REJECTED /* every registered worker has rejected it; it is no longer held */
};

struct tsk_dispatch_act {
    void *tag;
    const char *worker_id; /* to whom, NULL for plain subscribers. Good until the next call */
    int64_t attempts;      /* how often it was sent before */
};

/* Returns whether batches are queued for plain subscribers, now or after the quiet time. */
bool tsk_dispatch_serves_plain(const struct tsk_dispatch *dispatch);

/* Sends nothing to plain subscribers before that moment. */
void tsk_dispatch_hold_plain(struct tsk_dispatch *dispatch, int64_t until);

/* Tells what to do next; call it until it returns TSK_DISPATCH_NONE. */
enum tsk_dispatch_kind tsk_dispatch_next(struct tsk_dispatch *dispatch, int64_t now,
                                         struct tsk_dispatch_act *act);

/* Answers TSK_DISPATCH_SEND: whether the socket took it (else it is tried again in some ms). A
 * batch for plain subscribers is held until tsk_dispatch_taken; if the last of them leaves before,
 * it is queued again. */
void tsk_dispatch_sent(struct tsk_dispatch *dispatch, bool taken, int64_t now);

/* All plain subscribers have a batch. Returns its tag, and in *attempts how often it was sent; it
 * is then no longer held. Returns NULL if it was not sent to them, or is queued again. */
void *tsk_dispatch_taken(struct tsk_dispatch *dispatch, const char *batch_id, int64_t *attempts);

/* How busy a worker says that it is. */
struct tsk_dispatch_load {
    int64_t queued, free_slots;
};

/* A worker has accepted a batch; one that it was taken from meanwhile counts as well. load may be
 * NULL. Returns the tag of the batch, which is then no longer held, and in *attempts (may be NULL)
 * how often it was sent; or NULL if no such batch was sent and not yet accepted. */
void *tsk_dispatch_accept(struct tsk_dispatch *dispatch, const char *batch_id,
                          const char *worker_id, const struct tsk_dispatch_load *load, int64_t now,
                          int64_t *attempts);

/* A worker has rejected it. Returns the tag of the batch, which is still held: the next worker is
 * tried, or, if none is left, tsk_dispatch_next gives TSK_DISPATCH_REJECTED. NULL as above. */
void *tsk_dispatch_reject(struct tsk_dispatch *dispatch, const char *batch_id,
                          const char *worker_id, int64_t now);

/* When tsk_dispatch_next has something to do even if nothing comes; -1: never. */
int64_t tsk_dispatch_deadline(const struct tsk_dispatch *dispatch);

/* Since when there have been batches and nobody to send them to; -1: it is not so. */
int64_t tsk_dispatch_stranded(const struct tsk_dispatch *dispatch);

/* What is known of one registered worker. */
struct tsk_dispatch_worker {
    const char *worker_id;
    int registered;                /* how often; more than 1 is a mistake of somebody's */
    bool told;                     /* whether load was told by an answer */
    struct tsk_dispatch_load load; /* as told last */
    int64_t unanswered;            /* batches sent to it and not answered */
    int64_t silent_since;          /* since when it owes an answer; -1: it owes none */
};

size_t tsk_dispatch_registered(const struct tsk_dispatch *dispatch);
size_t tsk_dispatch_plain(const struct tsk_dispatch *dispatch); /* plain subscriptions */
void tsk_dispatch_each_worker(const struct tsk_dispatch *dispatch,
                              void (*fn)(void *ctx, const struct tsk_dispatch_worker *worker),
                              void *ctx);

/* What a batch that is held waits for. */
enum tsk_dispatch_wait {
    TSK_DISPATCH_FOR_WORKER, /* any worker */
    TSK_DISPATCH_FOR_RETURN, /* worker_id, until due, which is not connected */
    TSK_DISPATCH_FOR_ALLOW,  /* tsk_dispatch_allow */
    TSK_DISPATCH_FOR_SOCKET,
    TSK_DISPATCH_FOR_ANSWER /* worker_id, until due, when it is sent again */
};

struct tsk_dispatch_batch {
    void *tag;
    const char *worker_id; /* it has the batch and did not answer, or is waited for; or NULL */
    int64_t attempts;      /* how often it was sent */
    int64_t due;           /* -1: no time is set */
    enum tsk_dispatch_wait wait;
};

/* Calls fn for each batch held, in the order of adding. fn may free the tag. */
typedef void tsk_dispatch_batch_fn(void *ctx, const struct tsk_dispatch_batch *batch);
void tsk_dispatch_each_batch(const struct tsk_dispatch *dispatch, tsk_dispatch_batch_fn *fn,
                             void *ctx);

#endif
