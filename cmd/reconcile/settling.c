/* The store and the settler, for lines.c and ledger.c. */
#include <poll.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/signals.h"
#include "reconcile/reconcile.h"
#include "tasker/clock.h"

enum { FULL_MS = 1000 }; /* between two tries to write to a disk that is full */

/* ---- What the settler calls. */

static void on_restart(void *ctx)
{
    struct settling *s = ctx;
    told_restart(s->told);
    lines_restart(s->lines);
}

static void on_begin(void *ctx, const char *batch_id, enum tsk_state state, int64_t revision)
{
    struct settling *s = ctx;
    (void)batch_id;
    s->revision = tsk_state_ended(TSK_SUBJECT_BATCH, state) ? revision : 0;
}

/* A service prints the verdict of a batch once it has ended, and again only what came late. */
static void on_verdict(void *ctx, const struct tsk_verdict *verdict)
{
    struct settling *s = ctx;
    if (lines_verdict(s->lines, verdict))
        return;
    if (s->loud && !(s->opts->follow && verdict->revision <= s->revision))
        told_hold(s->told, verdict);
}

static void on_settled(void *ctx, const struct tsk_settle_change *change)
{
    struct settling *s = ctx;
    bool by_lines = lines_settled(s->lines, change->batch_id);
    s->done++;
    if (change->refused) {
        diag_warn("batch %s: %zu step%s for steps that cannot be made; \"tasker-status errors\" "
                  "says why",
                  change->batch_id, change->refused, change->refused == 1 ? " asks" : "s ask");
        s->status = tsk_exit_worse(s->status, TSK_NO);
    }
    if (s->opts->dry_run)
        told_change(s->told, change);
    told_batch(s->told, s->opts->follow && !by_lines && !change->ended);
}

static void on_commit(void *ctx)
{
    struct settling *s = ctx;
    told_commit(s->told);
    lines_commit(s->lines);
    if (s->total > 1)
        diag_progress("%zu of %zu batches", s->done < s->total ? s->done : s->total, s->total);
}

void settling_refused(void *ctx, const char *batch_id, const struct tsk_err *err)
{
    struct settling *s = ctx;
    told_restart(s->told);
    s->status = tsk_exit_worse(s->status, TSK_DATA);
    if (tsk_map_get(s->refused, batch_id))
        return;
    diag_error("batch %s is not settled: %s", batch_id, err->text);
    tsk_map_put(s->refused, batch_id, s);
}

/* ---- Jobs in the store. */

/* Whether a service waits for the store that failed with err: it is unavailable, locked or full. */
static bool waits(const struct options *opts, const struct tsk_err *err)
{
    return opts->follow && (err->kind == TSK_TEMPFAIL || err->kind == TSK_IO);
}

/* Whether to repeat what failed with err. */
static bool again(struct settling *s, const struct tsk_err *err)
{
    if (!waits(s->opts, err) || signals_stopped()) {
        s->status = tsk_exit_worse(s->status, diag_err(err));
        s->failed = true;
        return false;
    }
    if (!s->unavailable)
        diag_warn("%s; waiting for it", err->text);
    s->unavailable = true;
    if (err->kind == TSK_IO) /* which the library does not wait for */
        poll(NULL, 0, FULL_MS);
    return true;
}

struct job {
    bool write;
    tsk_store_fn *fn;
    void *ctx;
    const struct tsk_settle_list *list;
    unsigned how;
    int64_t now;
};
typedef int job_fn(struct settling *s, const struct job *job, struct tsk_err *err);

static bool run_job(struct settling *s, job_fn *fn, const struct job *job)
{
    struct tsk_err err = TSK_ERR_INIT;
    while (fn(s, job, &err) < 0) {
        if (!again(s, &err))
            return false;
    }
    if (s->unavailable)
        diag_warn("the store %s is back", tsk_store_name(s->store));
    s->unavailable = false;
    return true;
}

static int job_transaction(struct settling *s, const struct job *job, struct tsk_err *err)
{
    return job->write ? tsk_store_write(s->store, job->fn, job->ctx, s->patience, err)
                      : tsk_store_read(s->store, job->fn, job->ctx, s->patience, err);
}

bool settling_read(struct settling *s, tsk_store_fn *fn, void *ctx)
{
    return run_job(s, job_transaction, &(struct job){.fn = fn, .ctx = ctx});
}

bool settling_write(struct settling *s, tsk_store_fn *fn, void *ctx)
{
    return run_job(s, job_transaction, &(struct job){.write = true, .fn = fn, .ctx = ctx});
}

static int job_settle(struct settling *s, const struct job *job, struct tsk_err *err)
{
    return tsk_settler_run(s->settler, job->list, job->how, s->patience, err);
}

bool settling_run(struct settling *s, const struct tsk_settle_list *list, unsigned how)
{
    s->done = 0;
    s->total = list->count;
    bool ok = run_job(s, job_settle, &(struct job){.list = list, .how = how});
    diag_progress_end();
    return ok;
}

static int job_adopt(struct settling *s, const struct job *job, struct tsk_err *err)
{
    return adopt_batches(s, job->how, err);
}

bool settling_adopt(struct settling *s, bool all)
{
    return run_job(s, job_adopt, &(struct job){.how = all});
}

/* --- Batches out of time. */

struct search {
    struct tsk_settle_list *list;
    int64_t now, timeout;
};

static int find_overdue(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list->count = 0;
    return tsk_settle_find_overdue(store, search->now, search->list, err);
}

static int find_unsent(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list->count = 0;
    return tsk_settle_find_unsent(store, search->now, search->timeout, search->list, err);
}

static int job_time_out(struct settling *s, const struct job *job, struct tsk_err *err)
{
    return tsk_settler_time_out(s->settler, job->list, job->now, s->patience, err);
}

static int job_give_back(struct settling *s, const struct job *job, struct tsk_err *err)
{
    return tsk_settler_give_back(s->settler, job->list, job->now, s->claim_timeout, s->patience,
                                 err);
}

bool settling_overdue(struct settling *s, int64_t now, struct tsk_settle_list *list)
{
    struct search search = {list, now, s->claim_timeout};
    struct job job = {.list = list, .now = now};
    if (!settling_read(s, find_overdue, &search))
        return false;
    if (s->opts->dry_run)
        return settling_run(s, list, TSK_SETTLE_DRY);
    return run_job(s, job_time_out, &job) && settling_run(s, list, 0) &&
           settling_read(s, find_unsent, &search) && run_job(s, job_give_back, &job) &&
           settling_run(s, list, 0);
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

/* ---- Begin and end. */

/* Opens and connects; a service connects again when it needs the store. */
static struct tsk_store *open_store(const struct tsk_conf *conf, const struct options *opts,
                                    struct tsk_err *err)
{
    struct tsk_store *store = tsk_store_new(conf, signals_fd(), err);
    bool needed = opts->ledger || opts->rebuild || opts->batches.count;
    if (!store && err->kind == TSK_OK && needed)
        err->kind = TSK_CONFIG;
    if (!store)
        return NULL;
    if (opts->dry_run)
        tsk_store_set_use(store, TSK_STORE_LOOK);
    if (tsk_store_connect(store, err) == 0 || waits(opts, err)) {
        err->kind = TSK_OK;
        return store;
    }
    tsk_store_free(store);
    return NULL;
}

struct settling *settling_new(const struct tsk_conf *conf, const struct tsk_reconcile_opts *rules,
                              const struct options *opts, struct told *told, enum tsk_exit *status)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_store *store = open_store(conf, opts, &err);
    *status = err.kind == TSK_OK ? TSK_OK : diag_err(&err);
    if (!store)
        return NULL;
    struct settling *s = tsk_alloc(sizeof *s);
    struct tsk_settle_watch watch = {.ctx = s,
                                     .restart = on_restart,
                                     .begin = on_begin,
                                     .tell = on_verdict,
                                     .settled = on_settled,
                                     .commit = on_commit,
                                     .refused = settling_refused};
    struct tsk_create_limits limits = tsk_create_limits(conf);
    *s = (struct settling){.opts = opts,
                           .told = told,
                           .store = store,
                           .settler = tsk_settler_new(store, rules, &limits, &watch),
                           .patience = tsk_conf_int(conf, TSK_STORE_TIMEOUT),
                           .step_timeout = tsk_conf_int(conf, TSK_WORKER_STEP_TIMEOUT),
                           .retry_limit = rules->retry_limit,
                           .claim_timeout = tsk_conf_int(conf, TSK_WORKFLOW_CLAIM_TIMEOUT),
                           .refused = tsk_map_new(NULL)};
    if (!opts->ledger && !opts->rebuild && !opts->batches.count)
        s->lines = lines_new(s, rules);
    return s;
}

void settling_free(struct settling *s)
{
    if (!s)
        return;
    lines_free(s->lines);
    tsk_map_free(s->refused);
    tsk_settler_free(s->settler);
    tsk_store_free(s->store);
    free(s);
}
