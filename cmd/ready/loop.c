/* Claims, and prints what was claimed after it is committed: a batch that is on stdout is in the
 * store as created, so if nobody reads it, tasker-publish --pending sends it all the same.
 *
 * While following, the store itself wakes the loop when it has changed, and the end of the next
 * back-off does; stdout is written before more is claimed, so that no more is claimed than its
 * reader takes. */
#include <errno.h>
#include <poll.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "ready/ready.h"
#include "tasker/clock.h"
#include "tasker/store.h"

enum {
    ROUND_MOST = 100,      /* steps claimed at a time */
    SETTLE_MS = 2,         /* between a change of the store and the look at it: more may follow */
    AGAIN_MS = 1000,       /* when the store is away */
    LOOK_AGAIN_MS = 30000, /* even if nothing seems to have changed */
};

struct ready {
    const struct options *opts;
    const struct tsk_conf *conf;
    struct tsk_store *store;
    struct tsk_claim_opts how;
    struct tsk_claims claims;
    int64_t printed;  /* steps, with those that were refused */
    int64_t next;     /* wall ms: when a back-off ends; 0: none does */
    int64_t patience; /* for the store */
    int signals;      /* descriptor, or -1 */
    bool refused; /* some batch cannot be sent */
    bool stop;
    bool away; /* the store, at the last look */
};

static int claim(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct ready *ready = ctx;
    return tsk_claim(store, &ready->how, tsk_wall_ms(), &ready->claims, err);
}

static int find_next(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct ready *ready = ctx;
    return tsk_claim_next(store, &ready->how, tsk_wall_ms(), &ready->next, err);
}

static int64_t wanted(const struct ready *ready)
{
    const struct options *opts = ready->opts;
    int64_t most = opts->dry_run ? TSK_CLAIM_MOST : ROUND_MOST;
    if (most < opts->batch_size)
        most = opts->batch_size < TSK_CLAIM_MOST ? opts->batch_size : TSK_CLAIM_MOST;
    if (!opts->limit)
        return most;
    int64_t left = opts->limit - ready->printed;
    return left < most ? left : most;
}

static void print(struct ready *ready, const struct tsk_claimed *claimed)
{
    if (claimed->refused) {
        diag_error("batch %s: %s", claimed->batch_id, claimed->refused);
        ready->refused = true;
        return;
    }
    out_line(claimed->body, claimed->len);
    diag_info("batch %s: %zu step%s claimed", claimed->batch_id, claimed->steps,
              tsk_plural((int64_t)claimed->steps));
}

/* Claims and prints once. Returns how many steps that were, or -1. */
static int64_t take_round(struct ready *ready, struct tsk_err *err)
{
    ready->how.limit = wanted(ready);
    if (ready->how.limit < 1)
        return 0;
    int rc = ready->opts->dry_run
                 ? tsk_store_read(ready->store, claim, ready, ready->patience, err)
                 : tsk_store_write(ready->store, claim, ready, ready->patience, err);
    if (rc < 0)
        return -1;
    for (size_t i = 0; i < ready->claims.count; i++)
        print(ready, &ready->claims.items[i]);
    ready->printed += (int64_t)ready->claims.steps;
    return (int64_t)ready->claims.steps;
}

/* All that is ready now. Returns 0, or -1. */
static int take_all(struct ready *ready, struct tsk_err *err)
{
    int64_t got;
    do {
        got = take_round(ready, err);
        if (out_flush() < 0)
            return 0;
    } while (got > 0 && got == ready->how.limit && !ready->opts->dry_run);
    return got < 0 ? -1 : 0;
}

static void name_lost(const struct ready *ready)
{
    for (size_t i = 0; i < ready->claims.count; i++) {
        if (ready->claims.items[i].refused)
            continue;
        diag_error("batch %s was claimed and not printed whole: tasker-publish --pending sends it",
                   ready->claims.items[i].batch_id);
    }
}

static enum tsk_exit take_once(struct ready *ready)
{
    struct tsk_err err = TSK_ERR_INIT;
    if (take_all(ready, &err) < 0)
        return diag_err(&err);
    if (out_failed() && !ready->opts->dry_run)
        name_lost(ready);
    if (ready->refused)
        return TSK_DATA;
    return ready->printed ? TSK_OK : TSK_NO;
}

/* ---- --follow */

/* How long to sleep at most, in ms. */
static int64_t time_left(const struct ready *ready, int watch)
{
    int64_t most = watch < 0 && !ready->away ? TSK_STORE_WATCH_MS : LOOK_AGAIN_MS;
    int64_t left = ready->next ? ready->next - tsk_wall_ms() : most;
    if (left < 0)
        left = 0;
    return left < most ? left : most;
}

/* Sleeps until the store has changed, a back-off is over, or a signal or the end of stdout's reader
 * says to stop. */
static void wait_change(struct ready *ready, int watch)
{
    struct pollfd fds[] = {{.fd = watch, .events = POLLIN},
                           {.fd = ready->signals, .events = POLLIN},
                           {.fd = 1, .events = 0}};
    int got = poll(fds, 3, (int)time_left(ready, watch));
    if (got > 0 && fds[1].revents && signals_read(NULL) & SIGNALS_STOP)
        ready->stop = true;
    if (got > 0 && fds[2].revents & POLLERR) {
        diag_error("standard output: the reader went away");
        ready->stop = true;
    }
    if (got > 0 && fds[0].revents && !ready->stop)
        poll(&fds[1], 1, SETTLE_MS);
}

/* One look at the store. Returns 0, or -1; *watch is what to wait on, or -1. */
static int look(struct ready *ready, int *watch, struct tsk_err *err)
{
    /* first the watch, then the look: what changes in between is not missed */
    *watch = tsk_store_watch(ready->store, err);
    if (*watch < 0 && err->kind != TSK_OK)
        return -1;
    tsk_store_watch_read(ready->store);
    if (take_all(ready, err) < 0)
        return -1;
    return tsk_store_read(ready->store, find_next, ready, ready->patience, err);
}

static enum tsk_exit follow(struct ready *ready)
{
    struct tsk_err err = TSK_ERR_INIT;
    int watch;
    while (!ready->stop && !out_failed()) {
        bool ok = look(ready, &watch, &err) == 0;
        if (!ok && err.kind != TSK_TEMPFAIL && err.kind != TSK_IO)
            return diag_err(&err);
        if (!ok && !ready->away)
            diag_warn("%s; trying again", err.text);
        if (ok && ready->away)
            diag_warn("the store is there again");
        ready->away = !ok;
        if (!ok)
            ready->next = tsk_wall_ms() + AGAIN_MS;
        if (!ok || !tsk_store_watch_read(ready->store))
            wait_change(ready, ok ? watch : -1);
    }
    if (out_failed())
        name_lost(ready);
    return TSK_OK;
}

enum tsk_exit ready_run(const struct options *opts, const struct tsk_conf *conf)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct ready ready = {.opts = opts, .conf = conf, .signals = -1};
    enum tsk_exit status;
    ready.how = (struct tsk_claim_opts){
        .batch_size = opts->batch_size,
        .message_bytes = (size_t)tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES),
        .group = (enum tsk_claim_group)opts->group,
        .namespace_name = opts->namespace_name,
        .task = opts->task,
        .step_timeout = tsk_conf_int(conf, TSK_WORKER_STEP_TIMEOUT),
        .retry_cap = tsk_conf_int(conf, TSK_RETRY_CAP),
        .dry = opts->dry_run};
    ready.patience = tsk_conf_int(conf, TSK_STORE_TIMEOUT);
    if (opts->follow && (ready.signals = signals_open(false, &err)) < 0)
        return diag_err(&err);
    ready.store = tsk_store_new(conf, ready.signals, &err);
    if (!ready.store) {
        status = diag_no_store(&err);
    } else {
        if (opts->dry_run)
            tsk_store_set_use(ready.store, TSK_STORE_LOOK);
        status = opts->follow ? follow(&ready) : take_once(&ready);
    }
    tsk_claims_fini(&ready.claims);
    tsk_store_free(ready.store);
    if (opts->follow)
        signals_close();
    return status;
}
