/* Who gets which batch: scenarios one by one, then workers that come, go, defer and reject at
 * random against what must always hold. A failing seed is printed; give it as argument. */
#include <inttypes.h>
#include <stdlib.h>

#include "check.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "publish/dispatch.h"

static struct tsk_dispatch *start(size_t window, size_t workers)
{
    struct tsk_dispatch_opts opts = {window, 1000, 200, workers, 0, false, 0};
    return tsk_dispatch_new(&opts);
}

/* The tags here are the batch_ids themselves. */
static void add(struct tsk_dispatch *d, const char *id)
{
    CHECK(tsk_dispatch_add(d, id, 1, (void *)id));
}

/* Takes the next thing to do as "send ID to WORKER", "reject ID" or "", and does it. */
static const char *next(struct tsk_dispatch *d, int64_t now)
{
    static char text[200];
    struct tsk_dispatch_act act;
    enum tsk_dispatch_kind kind = tsk_dispatch_next(d, now, &act);
    text[0] = '\0';
    if (kind == TSK_DISPATCH_SEND) {
        snprintf(text, sizeof text, "send %s to %s", (char *)act.tag,
                 act.worker_id ? act.worker_id : "all");
        tsk_dispatch_sent(d, true, now);
    } else if (kind == TSK_DISPATCH_OFFER) {
        snprintf(text, sizeof text, "offer %s to %s", (char *)act.tag, act.worker_id);
    } else if (kind == TSK_DISPATCH_REJECTED) {
        snprintf(text, sizeof text, "reject %s", (char *)act.tag);
    }
    return text;
}

static const char *accept(struct tsk_dispatch *d, const char *id, const char *worker, int64_t now)
{
    struct tsk_dispatch_load load = {0, 1};
    return tsk_dispatch_accept(d, id, worker, &load, now, NULL);
}

/* A cut connection is no death: the batch is not run elsewhere if the worker comes again in time.
 */
static void test_grace(void)
{
    struct tsk_dispatch_opts opts = {64, 1000, 200, 0, 50, false, 0};
    struct tsk_dispatch *d = tsk_dispatch_new(&opts);
    tsk_dispatch_join(d, "worker.a ", 0);
    add(d, "1");
    add(d, "2");
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_STR(next(d, 0), "send 2 to a");
    tsk_dispatch_join(d, "worker.b ", 0);
    tsk_dispatch_leave(d, "worker.a ", 10);
    CHECK_STR(next(d, 20), "");
    CHECK_INT(tsk_dispatch_deadline(d), 60);
    tsk_dispatch_join(d, "worker.a ", 30);
    CHECK_STR(next(d, 30), "send 1 to a");
    CHECK_STR(next(d, 30), "send 2 to a");
    CHECK_STR(next(d, 30), "");
    CHECK_STR(accept(d, "1", "a", 31), "1");
    tsk_dispatch_leave(d, "worker.a ", 40);
    CHECK_STR(next(d, 89), "");
    CHECK_STR(next(d, 90), "send 2 to b");
    tsk_dispatch_join(d, "worker.a ", 95);
    CHECK_STR(next(d, 95), "");
    tsk_dispatch_leave(d, "worker.b ", 100);
    CHECK_STR(accept(d, "2", "b", 101), "2"); /* its answer was on the way */
    CHECK_STR(next(d, 200), "");
    CHECK_INT((int64_t)tsk_dispatch_count(d), 0);
    tsk_dispatch_free(d);
}

static void test_one_worker(void)
{
    struct tsk_dispatch *d = start(64, 0);
    CHECK_INT(tsk_dispatch_join(d, "steps ", 0), -1);
    CHECK_INT(tsk_dispatch_join(d, "worker.a ", 0), 1);
    CHECK_INT(tsk_dispatch_plain(d), 0);
    CHECK_STR(next(d, 0), "");
    add(d, "1");
    CHECK(!tsk_dispatch_add(d, "1", 1, NULL));
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_STR(next(d, 0), "");
    CHECK_INT(tsk_dispatch_deadline(d), 1000);
    CHECK_STR(accept(d, "2", "a", 1), NULL);
    CHECK_STR(accept(d, "1", "a", 1), "1");
    CHECK_STR(accept(d, "1", "a", 1), NULL);
    CHECK_INT(tsk_dispatch_count(d), 0);
    CHECK_INT(tsk_dispatch_deadline(d), -1);
    tsk_dispatch_free(d);
}

/* Which subscriptions make whom. */
static void test_topics(void)
{
    static const char *const ignored[] = {
        "worker.",   "worker. ", "worker.a", "worker.a b ", "steps_other ",
        "status.x ", "x",        "worker",   "s",           "step"};
    static const char *const plain[] = {"", "steps", "steps "};
    struct tsk_dispatch *d = start(64, 0);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        CHECK_INT(tsk_dispatch_join(d, ignored[i], 0), -1);
        CHECK_INT(tsk_dispatch_leave(d, ignored[i], 0), -1);
    }
    CHECK_INT(tsk_dispatch_plain(d), 0);
    CHECK_INT(tsk_dispatch_registered(d), 0);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        CHECK_INT(tsk_dispatch_join(d, plain[i], 0), -1);
    CHECK_INT(tsk_dispatch_plain(d), 3);
    for (int i = 0; i < 5; i++)
        CHECK_INT(tsk_dispatch_leave(d, "steps", 0), -1);
    CHECK_INT(tsk_dispatch_plain(d), 0);
    CHECK_INT(tsk_dispatch_leave(d, "worker.z ", 0), -1);
    tsk_dispatch_free(d);
}

/* Plain subscribers are served only when it is quiet and nobody is registered. */
static void test_plain(void)
{
    int64_t attempts;
    struct tsk_dispatch *d = start(64, 0);
    add(d, "1");
    CHECK_STR(next(d, 0), "");
    CHECK_INT(tsk_dispatch_stranded(d), 0);
    tsk_dispatch_join(d, "steps ", 100);
    CHECK_STR(next(d, 100), "");
    CHECK_INT(tsk_dispatch_stranded(d), -1);
    CHECK_INT(tsk_dispatch_deadline(d), 300);
    CHECK_STR(next(d, 299), "");
    CHECK_STR(next(d, 300), "send 1 to all");
    CHECK_STR(next(d, 300), "");
    tsk_dispatch_leave(d, "steps ", 310); /* it did not take it: the next one gets it */
    CHECK_STR(tsk_dispatch_taken(d, "1", &attempts), NULL);
    tsk_dispatch_join(d, "steps ", 320);
    CHECK_STR(next(d, 520), "send 1 to all");
    CHECK_STR(tsk_dispatch_taken(d, "1", &attempts), "1");
    CHECK_INT(attempts, 2);
    CHECK_INT(tsk_dispatch_count(d), 0);
    add(d, "2");
    tsk_dispatch_join(d, "worker.a ", 600); /* the plain one was a worker that said so late */
    CHECK_STR(next(d, 600), "send 2 to a");
    tsk_dispatch_leave(d, "worker.a ", 700);
    CHECK_STR(next(d, 700), "");
    tsk_dispatch_leave(d, "steps ", 800);
    CHECK_STR(next(d, 900), "");
    CHECK_INT(tsk_dispatch_stranded(d), 900);
    tsk_dispatch_free(d);
}

static void test_least_loaded(void)
{
    struct tsk_dispatch *d = start(64, 2);
    struct tsk_dispatch_load idle = {0, 9}, busy = {5, 0};
    tsk_dispatch_join(d, "worker.a ", 0);
    add(d, "1");
    CHECK_STR(next(d, 0), ""); /* two are wanted */
    CHECK_INT(tsk_dispatch_stranded(d), 0);
    tsk_dispatch_join(d, "worker.b ", 0);
    CHECK(tsk_dispatch_add(d, "big", 50, "big"));
    add(d, "3");
    add(d, "4");
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_STR(next(d, 0), "send big to b");
    CHECK_STR(next(d, 0), "send 3 to a");
    CHECK_STR(next(d, 0), "send 4 to a");
    CHECK(tsk_dispatch_accept(d, "1", "a", &busy, 5, NULL));
    CHECK(tsk_dispatch_accept(d, "3", "a", &busy, 5, NULL));
    CHECK(tsk_dispatch_accept(d, "4", "a", &busy, 5, NULL));
    CHECK(tsk_dispatch_accept(d, "big", "b", &idle, 5, NULL));
    add(d, "5");
    CHECK_STR(next(d, 5), "send 5 to b"); /* it told of less */
    CHECK(tsk_dispatch_accept(d, "5", "b", &busy, 5, NULL));
    add(d, "6");
    add(d, "7");
    add(d, "8");
    CHECK_STR(next(d, 5), "send 6 to a"); /* a tie: whose turn it is */
    CHECK_STR(next(d, 5), "send 7 to b");
    tsk_dispatch_leave(d, "worker.b ", 6); /* fewer than two now, but it had begun */
    CHECK_STR(next(d, 6), "send 7 to a");
    CHECK_STR(next(d, 6), "send 8 to a");
    tsk_dispatch_free(d);
}

/* One with free slots gets more than one that has none, although it was sent something just now. */
static void test_free_slots(void)
{
    struct tsk_dispatch *d = start(64, 2);
    struct tsk_dispatch_load wide = {0, 3}, full = {1, 0};
    tsk_dispatch_join(d, "worker.a ", 0);
    tsk_dispatch_join(d, "worker.b ", 0);
    add(d, "1");
    add(d, "2");
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_STR(next(d, 0), "send 2 to b");
    CHECK(tsk_dispatch_accept(d, "1", "a", &full, 1, NULL));
    CHECK(tsk_dispatch_accept(d, "2", "b", &wide, 1, NULL));
    for (const char *id = "3\0004\0005\0006\0"; *id; id += 2)
        add(d, id);
    CHECK_STR(next(d, 1), "send 3 to b");
    CHECK_STR(next(d, 1), "send 4 to b");
    CHECK_STR(next(d, 1), "send 5 to b");
    CHECK_STR(next(d, 1), "send 6 to b"); /* its free slots are used up: one waits, as at a */
    add(d, "7");
    CHECK_STR(next(d, 1), "send 7 to a");
    tsk_dispatch_free(d);
}

static void test_resend(void)
{
    struct tsk_dispatch *d = start(64, 0);
    int64_t attempts = 0;
    tsk_dispatch_join(d, "worker.a ", 0);
    tsk_dispatch_join(d, "worker.b ", 0);
    add(d, "1");
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_STR(next(d, 999), "");
    CHECK_STR(next(d, 1000), "send 1 to a"); /* the same: it may just be busy */
    CHECK_STR(next(d, 1000), "");
    CHECK_INT(tsk_dispatch_deadline(d), 2000);
    tsk_dispatch_leave(d, "worker.a ", 1100);
    CHECK_STR(next(d, 1100), "send 1 to b");                        /* at once */
    CHECK(tsk_dispatch_accept(d, "1", "a", NULL, 1200, &attempts)); /* late, and it counts */
    CHECK_INT(attempts, 3);
    CHECK_STR(next(d, 5000), "");
    CHECK_STR(accept(d, "1", "b", 5000), NULL);
    tsk_dispatch_free(d);
}

/* A worker that leaves while nobody else is there, and answers after all. */
static void test_late_alone(void)
{
    struct tsk_dispatch *d = start(64, 0);
    tsk_dispatch_join(d, "worker.a ", 0);
    add(d, "1");
    add(d, "2");
    add(d, "3");
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_STR(next(d, 0), "send 2 to a");
    tsk_dispatch_leave(d, "worker.a ", 10);
    CHECK_STR(next(d, 10), "");
    CHECK_INT(tsk_dispatch_stranded(d), 10);
    CHECK_STR(accept(d, "1", "a", 20), "1");
    CHECK_STR(accept(d, "3", "a", 20), NULL); /* never sent */
    tsk_dispatch_join(d, "worker.a ", 30);
    CHECK_STR(next(d, 30), "send 2 to a");
    CHECK_STR(next(d, 30), "send 3 to a");
    CHECK_STR(next(d, 30), "");
    CHECK_INT(tsk_dispatch_stranded(d), -1);
    tsk_dispatch_free(d);
}

static void test_reject(void)
{
    struct tsk_dispatch *d = start(64, 0);
    tsk_dispatch_join(d, "worker.a ", 0);
    tsk_dispatch_join(d, "worker.b ", 0);
    tsk_dispatch_join(d, "worker.c ", 0);
    add(d, "1");
    CHECK_STR(tsk_dispatch_reject(d, "1", "a", 0), NULL); /* not sent yet */
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_STR(tsk_dispatch_reject(d, "1", "a", 1), "1");
    CHECK_STR(next(d, 1), "send 1 to b");
    CHECK_STR(tsk_dispatch_reject(d, "1", "a", 1), "1"); /* said again: no more than once */
    CHECK_STR(next(d, 1), "");
    CHECK_STR(tsk_dispatch_reject(d, "1", "b", 2), "1");
    CHECK_STR(next(d, 2), "send 1 to c");
    tsk_dispatch_leave(d, "worker.c ", 3); /* all who are left have rejected it */
    CHECK_STR(next(d, 3), "reject 1");
    CHECK_INT(tsk_dispatch_count(d), 0);
    add(d, "2");
    CHECK_STR(next(d, 4), "send 2 to a");
    CHECK_STR(tsk_dispatch_reject(d, "2", "a", 4), "2");
    CHECK_STR(next(d, 4), "send 2 to b");
    CHECK_STR(tsk_dispatch_reject(d, "2", "b", 4), "2");
    CHECK_STR(accept(d, "2", "a", 4), "2"); /* changed its mind in time */
    CHECK_STR(next(d, 4), "");
    tsk_dispatch_free(d);
}

/* Two workers of one name would both run a batch: neither gets one. */
/* Who connects again may be a little later than the first, and have the handler that it lacks. */
static void test_gather(void)
{
    struct tsk_dispatch_opts opts = {64, 1000, 200, 0, 0, false, 500};
    struct tsk_dispatch *d = tsk_dispatch_new(&opts);
    tsk_dispatch_join(d, "worker.a ", 10);
    add(d, "1");
    add(d, "2");
    CHECK_STR(next(d, 10), "send 1 to a");
    CHECK_STR(next(d, 10), "send 2 to a");
    tsk_dispatch_reject(d, "1", "a", 20);
    tsk_dispatch_reject(d, "2", "a", 20);
    CHECK_STR(next(d, 20), "");
    CHECK_INT(tsk_dispatch_deadline(d), 510);
    tsk_dispatch_join(d, "worker.b ", 400);
    CHECK_STR(next(d, 400), "send 1 to b");
    CHECK_STR(next(d, 400), "send 2 to b");
    CHECK_STR(accept(d, "1", "b", 410), "1");
    tsk_dispatch_reject(d, "2", "b", 410);
    CHECK_STR(next(d, 509), "");
    CHECK_STR(next(d, 510), "reject 2");
    CHECK_INT(tsk_dispatch_deadline(d), -1);
    tsk_dispatch_free(d);
}

static void test_same_name(void)
{
    struct tsk_dispatch *d = start(64, 0);
    CHECK_INT(tsk_dispatch_join(d, "worker.a ", 0), 1);
    add(d, "1");
    CHECK_STR(next(d, 0), "send 1 to a");
    CHECK_INT(tsk_dispatch_join(d, "worker.a ", 0), 2);
    add(d, "2");
    CHECK_STR(next(d, 1500), "");
    CHECK_INT(tsk_dispatch_stranded(d), 1500);
    CHECK_INT(tsk_dispatch_leave(d, "worker.a ", 2000), 1);
    CHECK_STR(next(d, 2000), "send 2 to a");
    CHECK_STR(next(d, 2500), "send 1 to a");
    CHECK_STR(next(d, 2500), "");
    CHECK_INT(tsk_dispatch_stranded(d), -1);
    tsk_dispatch_free(d);
}

static void test_window_and_blocked(void)
{
    struct tsk_dispatch *d = start(2, 0);
    struct tsk_dispatch_act act;
    add(d, "1");
    CHECK(!tsk_dispatch_full(d));
    add(d, "2");
    CHECK(tsk_dispatch_full(d));
    tsk_dispatch_join(d, "worker.a ", 0);
    CHECK_INT(tsk_dispatch_next(d, 0, &act), TSK_DISPATCH_SEND);
    tsk_dispatch_sent(d, false, 0); /* the socket takes nothing now */
    CHECK_STR(next(d, 5), "");
    CHECK_INT(tsk_dispatch_deadline(d), 10);
    CHECK_STR(next(d, 10), "send 1 to a");
    CHECK_STR(next(d, 10), "send 2 to a");
    CHECK(tsk_dispatch_full(d));
    CHECK_STR(accept(d, "2", "a", 20), "2");
    CHECK(!tsk_dispatch_full(d));
    tsk_dispatch_free(d);
}

static void note_worker(void *ctx, const struct tsk_dispatch_worker *worker)
{
    *(struct tsk_dispatch_worker *)ctx = *worker;
}

static void test_silence(void)
{
    struct tsk_dispatch *d = start(64, 0);
    struct tsk_dispatch_worker seen;
    tsk_dispatch_join(d, "worker.a ", 0);
    tsk_dispatch_each_worker(d, note_worker, &seen);
    CHECK_INT(seen.silent_since, -1);
    add(d, "1");
    add(d, "2");
    next(d, 100);
    next(d, 200);
    next(d, 5000); /* sending again does not make it less silent */
    tsk_dispatch_each_worker(d, note_worker, &seen);
    CHECK_STR(seen.worker_id, "a");
    CHECK_INT(seen.silent_since, 100);
    CHECK_INT(seen.unanswered, 2);
    CHECK(!seen.told);
    CHECK_STR(accept(d, "1", "a", 6000), "1");
    tsk_dispatch_each_worker(d, note_worker, &seen);
    CHECK_INT(seen.silent_since, 6000);
    CHECK_INT(seen.unanswered, 1);
    CHECK_INT(seen.load.free_slots, 1);
    CHECK_STR(accept(d, "2", "a", 7000), "2");
    tsk_dispatch_each_worker(d, note_worker, &seen);
    CHECK_INT(seen.silent_since, -1);
    tsk_dispatch_free(d);
}

static void note_batch(void *ctx, const struct tsk_dispatch_batch *batch)
{
    static const char *const waits[] = {"worker", "return", "allow", "socket", "answer"};
    tsk_buf_printf(ctx, "%s:%s:%" PRId64 ":%s:%" PRId64 " ", (char *)batch->tag,
                   batch->worker_id ? batch->worker_id : "-", batch->attempts, waits[batch->wait],
                   batch->due);
}

static void test_each_batch(void)
{
    struct tsk_dispatch *d = start(64, 0);
    struct tsk_buf out = TSK_BUF_INIT;
    tsk_dispatch_join(d, "worker.a ", 0);
    add(d, "1");
    add(d, "2");
    next(d, 0);
    next(d, 0);
    add(d, "3");
    tsk_dispatch_each_batch(d, note_batch, &out);
    CHECK_STR(out.data, "1:a:1:answer:1000 2:a:1:answer:1000 3:-:0:worker:-1 ");
    tsk_dispatch_leave(d, "worker.a ", 5);
    tsk_buf_reset(&out);
    tsk_dispatch_each_batch(d, note_batch, &out);
    CHECK_STR(out.data, "1:a:1:return:5 2:a:1:return:5 3:-:0:worker:-1 ");
    tsk_buf_fini(&out);
    tsk_dispatch_free(d);
}

/* A worker that said that it stops gets nothing more, and keeps nothing. */
static void test_stopping(void)
{
    struct tsk_dispatch *d = start(64, 0);
    tsk_dispatch_join(d, "worker.a ", 0);
    add(d, "1");
    CHECK_STR(next(d, 0), "send 1 to a");
    tsk_dispatch_join(d, "worker.b ", 1);
    tsk_dispatch_stopping(d, "a");
    tsk_dispatch_stopping(d, "nobody");
    CHECK_STR(next(d, 2), "");
    tsk_dispatch_leave(d, "worker.a ", 2);
    CHECK_STR(next(d, 2), "send 1 to b");
    tsk_dispatch_join(d, "worker.a ", 3);
    add(d, "2");
    CHECK_STR(next(d, 3), "send 2 to a");
    tsk_dispatch_free(d);
}

/* Nothing leaves before it is allowed, and only to the one to whom it is allowed. */
static void test_offers(void)
{
    struct tsk_dispatch_opts opts = {64, 1000, 200, 0, 50, true, 0};
    struct tsk_dispatch *d = tsk_dispatch_new(&opts);
    add(d, "1");
    tsk_dispatch_join(d, "worker.a ", 0);
    CHECK_STR(next(d, 0), "offer 1 to a");
    CHECK_STR(next(d, 0), "");
    CHECK_INT(tsk_dispatch_stranded(d), -1);
    tsk_dispatch_allow(d, "1", "b");
    tsk_dispatch_allow(d, "2", "a");
    CHECK_STR(next(d, 0), "");
    tsk_dispatch_join(d, "worker.b ", 1);
    tsk_dispatch_leave(d, "worker.a ", 2); /* nothing was sent: no grace */
    CHECK_STR(next(d, 2), "offer 1 to b");
    tsk_dispatch_allow(d, "1", "a"); /* too late */
    CHECK_STR(next(d, 2), "");
    tsk_dispatch_allow(d, "1", "b");
    CHECK_STR(next(d, 2), "send 1 to b");
    CHECK_STR(next(d, 1002), "send 1 to b"); /* again: no need to ask */
    CHECK_STR(accept(d, "1", "b", 1003), "1");
    tsk_dispatch_leave(d, "worker.b ", 1004);
    tsk_dispatch_join(d, "steps ", 1004);
    add(d, "2");
    CHECK_STR(next(d, 2000), "");
    tsk_dispatch_allow(d, "2", NULL);
    int64_t attempts;
    CHECK_STR(next(d, 2000), "send 2 to all");
    CHECK_STR(tsk_dispatch_taken(d, "2", &attempts), "2");
    add(d, "3");
    CHECK_STR(tsk_dispatch_drop(d, "3"), "3");
    CHECK_STR(tsk_dispatch_drop(d, "3"), NULL);
    CHECK_INT(tsk_dispatch_count(d), 0);
    tsk_dispatch_free(d);
}

/* One that a worker may know waits for it, and for no longer than it is told. */
static void test_prefer(void)
{
    struct tsk_dispatch_opts opts = {64, 1000, 200, 0, 50, true, 0};
    struct tsk_dispatch *d = tsk_dispatch_new(&opts);
    tsk_dispatch_join(d, "worker.b ", 0);
    add(d, "1");
    CHECK_STR(next(d, 0), "offer 1 to b");
    tsk_dispatch_prefer(d, "1", "a", 500);
    tsk_dispatch_allow(d, "1", "b");
    CHECK_STR(next(d, 1), "");
    CHECK_INT(tsk_dispatch_deadline(d), 500);
    tsk_dispatch_join(d, "worker.a ", 2);
    CHECK_STR(next(d, 2), "offer 1 to a");
    tsk_dispatch_leave(d, "worker.a ", 3);
    CHECK_STR(next(d, 499), "");
    CHECK_STR(next(d, 500), "offer 1 to b");
    tsk_dispatch_allow(d, "1", "b");
    CHECK_STR(next(d, 500), "send 1 to b");
    add(d, "2");
    tsk_dispatch_prefer(d, "2", "b", 900);
    CHECK_STR(next(d, 500), "offer 2 to b");
    tsk_dispatch_allow(d, "2", "b");
    CHECK_STR(next(d, 500), "send 2 to b");
    tsk_dispatch_join(d, "worker.a ", 501);
    CHECK_STR(tsk_dispatch_reject(d, "2", "b", 502), "2");
    CHECK_STR(next(d, 502), "offer 2 to a"); /* it said no: it is preferred no more */
    tsk_dispatch_free(d);

    d = tsk_dispatch_new(&opts);
    add(d, "3");
    tsk_dispatch_prefer(d, "3", "a", 700);
    CHECK_STR(next(d, 10), "");
    CHECK_INT(tsk_dispatch_stranded(d), 10); /* nobody is there at all */
    tsk_dispatch_free(d);
}

/* ---- the model */

enum { WORKERS = 5, BATCHES = 300, ROUNDS = 40 };

struct batch {
    char id[16];
    bool ended;
    unsigned has;     /* workers that have it and did not answer, by bit */
    unsigned refused; /* workers that said no */
    unsigned asked;   /* 1 + the worker that it is offered to; 0: none */
    unsigned allowed; /* workers that it may be sent to, by bit */
    unsigned prefers; /* 1 + the worker that it prefers until then; 0: none */
    int64_t until;
};

struct model {
    struct tsk_dispatch *d;
    struct batch batches[BATCHES];
    bool there[WORKERS], ever_refuses, asks;
    int added, accepted, rejected;
    int64_t now;
    uint64_t random;
};

static unsigned roll(struct model *m, unsigned sides)
{
    m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(m->random >> 33) % sides;
}

static const char *worker_name(unsigned i, bool topic)
{
    static char name[32];
    snprintf(name, sizeof name, topic ? "worker.w%u " : "w%u", i);
    return name;
}

static void model_sent(struct model *m, const struct tsk_dispatch_act *act)
{
    struct batch *batch = act->tag;
    unsigned w = act->worker_id ? (unsigned)(act->worker_id[1] - '0') : WORKERS;
    CHECK(!batch->ended);
    if (!CHECK(w < WORKERS && m->there[w]))
        return;
    CHECK(!(batch->refused & 1u << w));
    CHECK(!m->asks || batch->allowed & 1u << w);
    if (batch->prefers && batch->prefers != w + 1 && !act->attempts)
        CHECK(m->now >= batch->until);
    bool taken = roll(m, 20) != 0;
    if (taken && roll(m, 10))
        batch->has |= 1u << w; /* else it gets lost on the way */
    tsk_dispatch_sent(m->d, taken, m->now);
}

static void model_offered(struct model *m, const struct tsk_dispatch_act *act)
{
    struct batch *batch = act->tag;
    unsigned w = (unsigned)(act->worker_id[1] - '0');
    CHECK(m->asks && !batch->ended && w < WORKERS && m->there[w]);
    batch->asked = w + 1;
}

/* Allows what was asked; late, so that the worker may be gone. */
static void model_allow(struct model *m, unsigned one_in)
{
    for (int b = 0; b < m->added; b++) {
        struct batch *batch = &m->batches[b];
        if (!batch->asked || roll(m, one_in))
            continue;
        batch->allowed |= 1u << (batch->asked - 1);
        tsk_dispatch_allow(m->d, batch->id, worker_name(batch->asked - 1, false));
        batch->asked = 0;
    }
}

static void model_drain(struct model *m)
{
    struct tsk_dispatch_act act;
    enum tsk_dispatch_kind kind;
    while ((kind = tsk_dispatch_next(m->d, m->now, &act)) != TSK_DISPATCH_NONE) {
        if (kind == TSK_DISPATCH_SEND) {
            model_sent(m, &act);
            continue;
        }
        if (kind == TSK_DISPATCH_OFFER) {
            model_offered(m, &act);
            continue;
        }
        struct batch *batch = act.tag;
        CHECK(m->ever_refuses && !batch->ended && batch->refused);
        batch->ended = true;
        m->rejected++;
    }
}

/* Some worker answers for a batch that it has, be it there or gone by now. */
static void model_answer(struct model *m, unsigned w, struct batch *batch)
{
    struct tsk_dispatch_load load = {(int64_t)roll(m, 9), (int64_t)roll(m, 9)};
    const char *name = worker_name(w, false);
    batch->has &= ~(1u << w);
    if (m->ever_refuses && roll(m, 4) == 0) {
        batch->refused |= 1u << w;
        CHECK((tsk_dispatch_reject(m->d, batch->id, name, m->now) == batch) == !batch->ended);
        return;
    }
    void *tag = tsk_dispatch_accept(m->d, batch->id, name, &load, m->now, NULL);
    CHECK(tag == (batch->ended ? NULL : batch));
    m->accepted += tag != NULL;
    batch->ended = true;
}

static void model_answers(struct model *m, unsigned one_in)
{
    for (int b = 0; b < m->added; b++) {
        for (unsigned w = 0; w < WORKERS && m->batches[b].has; w++) {
            if (m->batches[b].has & 1u << w && roll(m, one_in) == 0)
                model_answer(m, w, &m->batches[b]);
        }
    }
}

static void model_toggle(struct model *m, unsigned w, bool there)
{
    if (m->there[w] == there)
        return;
    m->there[w] = there;
    const char *topic = worker_name(w, true);
    if (there) {
        CHECK_INT(tsk_dispatch_join(m->d, "steps ", m->now), -1);
        CHECK_INT(tsk_dispatch_join(m->d, topic, m->now), 1);
    } else {
        CHECK_INT(tsk_dispatch_leave(m->d, topic, m->now), 0);
        CHECK_INT(tsk_dispatch_leave(m->d, "steps ", m->now), -1);
    }
}

static void model_add(struct model *m)
{
    while (m->added < BATCHES && !tsk_dispatch_full(m->d) && roll(m, 4)) {
        struct batch *batch = &m->batches[m->added++];
        snprintf(batch->id, sizeof batch->id, "b%d", m->added);
        CHECK(tsk_dispatch_add(m->d, batch->id, 1 + (int64_t)roll(m, 9), batch));
        if (!m->asks || roll(m, 3))
            continue;
        batch->prefers = 1 + roll(m, WORKERS);
        batch->until = m->now + 500;
        tsk_dispatch_prefer(m->d, batch->id, worker_name(batch->prefers - 1, false), batch->until);
    }
}

/* After the trouble, good times: all must end. */
static void model_settle(struct model *m)
{
    for (unsigned w = 0; w < WORKERS; w++)
        model_toggle(m, w, true);
    for (int i = 0; i < 20000 && (m->added < BATCHES || tsk_dispatch_count(m->d)); i++) {
        m->now += 300;
        model_add(m);
        model_drain(m);
        model_allow(m, 1);
        model_drain(m);
        model_answers(m, 1);
    }
}

static void model_run(uint64_t seed)
{
    struct model *m = tsk_alloc(sizeof *m);
    m->random = seed;
    m->asks = roll(m, 2);
    struct tsk_dispatch_opts opts = {1 + roll(m, 40), 1000, 200, 0, 0, m->asks, 0};
    opts.workers = roll(m, 3) + 1; /* so that plain ones get none */
    m->d = tsk_dispatch_new(&opts);
    m->ever_refuses = roll(m, 2);
    int before = check_failed;
    for (int step = 0; step < 400; step++) {
        m->now += (int64_t)roll(m, 400);
        model_add(m);
        if (roll(m, 3) == 0)
            model_toggle(m, roll(m, WORKERS), roll(m, 2));
        model_drain(m);
        model_allow(m, 2);
        model_answers(m, 6);
    }
    model_settle(m);
    CHECK_INT(m->added, BATCHES);
    CHECK_INT(m->accepted + m->rejected, BATCHES);
    CHECK(m->ever_refuses || !m->rejected);
    CHECK_INT(tsk_dispatch_count(m->d), 0);
    if (check_failed != before)
        fprintf(stderr, "seed %" PRIu64 "\n", seed);
    tsk_dispatch_free(m->d);
    free(m);
}

int main(int argc, char **argv)
{
    test_one_worker();
    test_grace();
    test_topics();
    test_plain();
    test_least_loaded();
    test_free_slots();
    test_resend();
    test_late_alone();
    test_reject();
    test_gather();
    test_same_name();
    test_window_and_blocked();
    test_silence();
    test_each_batch();
    test_stopping();
    test_offers();
    test_prefer();
    if (argc > 1)
        model_run(strtoull(argv[1], NULL, 10));
    for (uint64_t seed = 1; seed <= ROUNDS && argc == 1; seed++)
        model_run(seed);
    if (argc == 1)
        model_run((uint64_t)tsk_wall_ms());
    return check_done();
}
