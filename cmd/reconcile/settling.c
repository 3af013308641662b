/* The store and the settler, with what is told of them. A service outlives a store that is away; a
 * filter ends, with nothing lost: the ledger has what it had, and settling can be done again. */
#include "reconcile/settling.h"

#include <poll.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/signals.h"
#include "tasker/clock.h"

enum { FULL_MS = 1000 }; /* between two tries to write to a disk that is full */

/* --- What the settler tells. */

static void on_restart(void *ctx)
{
    struct settling *s = ctx;
    told_restart(s->told);
}

static void on_begin(void *ctx, const char *batch_id, enum tsk_state state, int64_t revision)
{
    struct settling *s = ctx;
    (void)batch_id;
    s->told_before = tsk_state_ended(TSK_SUBJECT_BATCH, state) ? revision : 0;
}

/* A service tells of each batch once it has ended, and again only what came late. */
static void on_verdict(void *ctx, const struct tsk_verdict *verdict)
{
    struct settling *s = ctx;
    if (s->loud && !(s->opts->follow && verdict->revision <= s->told_before))
        told_hold(s->told, verdict);
}

static void on_settled(void *ctx, const struct tsk_settle_change *change)
{
    struct settling *s = ctx;
    bool by_lines = s->touched && tsk_map_get(s->touched, change->batch_id);
    s->done++;
    if (change->refused) {
        diag_warn("batch %s: %zu step%s for steps that cannot be made; \"tasker-status errors\" "
                  "says why",
                  change->batch_id, change->refused, change->refused == 1 ? " asks" : "s ask");
        s->status = tsk_exit_worse(s->status, TSK_NO);
    }
    if (s->opts->dry_run)
        told_change(s->told, change);
    told_batch(s->told, s->opts->follow && (!change->ended || by_lines));
}

static void on_commit(void *ctx)
{
    struct settling *s = ctx;
    told_commit(s->told);
    if (s->total > 1)
        diag_progress("%zu of %zu batches", s->done < s->total ? s->done : s->total, s->total);
}

/* A service, which tries again at each look, tells it once. */
static void on_refused(void *ctx, const char *batch_id, const struct tsk_err *err)
{
    struct settling *s = ctx;
    told_restart(s->told);
    s->status = tsk_exit_worse(s->status, TSK_DATA);
    if (tsk_map_get(s->refused, batch_id))
        return;
    diag_error("batch %s is not settled: %s", batch_id, err->text);
    tsk_map_put(s->refused, batch_id, s);
}

/* --- Trouble. */

static void fail(struct settling *s, const struct tsk_err *err)
{
    s->status = tsk_exit_worse(s->status, diag_err(err));
}

/* Whether to try again what failed with err. */
static bool again(struct settling *s, const struct tsk_err *err)
{
    bool passes = err->kind == TSK_TEMPFAIL || err->kind == TSK_IO;
    if (s->opts->follow && passes && !signals_stopped()) {
        if (!s->away)
            diag_warn("%s; waiting for it", err->text);
        s->away = true;
        if (err->kind == TSK_IO) /* which the library does not wait for */
            poll(NULL, 0, FULL_MS);
        return true;
    }
    fail(s, err);
    return false;
}

static bool back(struct settling *s)
{
    if (s->away)
        diag_warn("the store %s is back", tsk_store_name(s->store));
    s->away = false;
    return true;
}

bool settling_do(struct settling *s, bool write, tsk_store_fn *fn, void *ctx)
{
    struct tsk_err err = TSK_ERR_INIT;
    while ((write ? tsk_store_write(s->store, fn, ctx, s->patience, &err)
                  : tsk_store_read(s->store, fn, ctx, s->patience, &err)) < 0) {
        if (!again(s, &err))
            return false;
    }
    return back(s);
}

bool settling_run(struct settling *s, const struct tsk_settle_list *list, unsigned how)
{
    struct tsk_err err = TSK_ERR_INIT;
    bool ok = true;
    s->done = 0;
    s->total = list->count;
    while (ok && tsk_settler_run(s->settler, list, how, s->patience, &err) < 0)
        ok = again(s, &err);
    diag_progress_end();
    return ok && back(s);
}

bool settling_time_out(struct settling *s, int64_t now, const struct tsk_settle_list *list)
{
    struct tsk_err err = TSK_ERR_INIT;
    while (tsk_settler_time_out(s->settler, list, now, s->patience, &err) < 0) {
        if (!again(s, &err))
            return false;
    }
    return back(s);
}

int64_t settling_pause(int64_t *took, int64_t start, int64_t times, int64_t least, int64_t most)
{
    int64_t now = tsk_now_ms(), last = now - start;
    int64_t pause = (last < *took ? last : *took) * times;
    *took = last;
    if (pause > most)
        pause = most;
    return now + (pause > least ? pause : least);
}

/* --- Looking for batches. */

struct search {
    struct tsk_settle_list *list;
    int64_t now, timeout;
};

static int find_news(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list->count = 0;
    return tsk_settle_find_news(store, search->list, err);
}

bool settling_adopt(struct settling *s, bool all)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_adopt opts = s->adopt;
    opts.all = all;
    while (tsk_adopt(s->store, &opts, s->patience, &err) < 0) {
        if (!again(s, &err))
            return false;
    }
    return back(s);
}

bool settling_find_news(struct settling *s, struct tsk_settle_list *list)
{
    struct search search = {list, 0, 0};
    return settling_adopt(s, false) && settling_do(s, false, find_news, &search);
}

static int find_overdue(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list->count = 0;
    return tsk_settle_find_overdue(store, search->now, search->list, err);
}

bool settling_find_overdue(struct settling *s, int64_t now, struct tsk_settle_list *list)
{
    struct search search = {list, now, 0};
    return settling_do(s, false, find_overdue, &search);
}

static int find_unsent(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list->count = 0;
    return tsk_settle_find_unsent(store, search->now, search->timeout, search->list, err);
}

bool settling_give_back(struct settling *s, int64_t now, struct tsk_settle_list *list)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct search search = {list, now, s->claim_timeout};
    if (!settling_do(s, false, find_unsent, &search))
        return false;
    while (tsk_settler_give_back(s->settler, list, now, s->claim_timeout, s->patience, &err) < 0) {
        if (!again(s, &err))
            return false;
    }
    return back(s) && settling_run(s, list, 0);
}

/* --- Begin and end. */

struct settling *settling_new(const struct tsk_conf *conf, const struct tsk_reconcile_opts *rules,
                              const struct options *opts, struct told *told, enum tsk_exit *status)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_store *store = tsk_store_new(conf, signals_fd(), &err);
    bool needed = opts->ledger || opts->rebuild || opts->batches.count;
    *status = TSK_OK;
    if (!store && err.kind == TSK_OK && needed)
        err.kind = TSK_CONFIG;
    if (store && opts->dry_run)
        tsk_store_set_use(store, TSK_STORE_LOOK);
    if (err.kind != TSK_OK || (store && tsk_store_connect(store, &err) < 0)) {
        *status = diag_err(&err);
        tsk_store_free(store);
        return NULL;
    }
    if (!store)
        return NULL;
    struct settling *s = tsk_alloc(sizeof *s);
    struct tsk_settle_watch watch = {.ctx = s,
                                     .restart = on_restart,
                                     .begin = on_begin,
                                     .tell = on_verdict,
                                     .settled = on_settled,
                                     .commit = on_commit,
                                     .refused = on_refused};
    s->opts = opts;
    s->told = told;
    s->store = store;
    struct tsk_create_limits limits = tsk_create_limits(conf);
    s->settler = tsk_settler_new(store, rules, &limits, &watch);
    s->patience = tsk_conf_int(conf, TSK_STORE_TIMEOUT);
    s->claim_timeout = tsk_conf_int(conf, TSK_WORKFLOW_CLAIM_TIMEOUT);
    s->adopt = (struct tsk_adopt){tsk_conf_int(conf, TSK_WORKER_STEP_TIMEOUT), rules->retry_limit,
                                  false};
    s->due = -1;
    if (!needed)
        s->touched = tsk_map_new(free);
    s->refused = tsk_map_new(NULL);
    return s;
}

void settling_free(struct settling *s)
{
    if (!s)
        return;
    settling_forget_lines(s);
    free(s->lines);
    tsk_map_free(s->touched);
    tsk_map_free(s->refused);
    tsk_settle_list_fini(&s->seen);
    tsk_settler_free(s->settler);
    tsk_store_free(s->store);
    free(s);
}
