/* retry, reset, resolve and cancel. Steps are done in groups, each a transaction; a task with its
 * steps is one of its own. What is done is printed when it is durable; of a step that a worker may
 * have, when that was told too. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "resolve/resolve.h"

enum { GROUP = 100 };

struct work {
    const struct options *opts;
    struct session *session;
    /* of the transaction at hand */
    const int64_t *ids;
    size_t count;
    int64_t task;
    struct tsk_resolve_order order;
    struct tsk_resolved_list list;
    struct tsk_resolve_ids found;
    /* lists with steps that workers may have: they wait for these to be told */
    struct tsk_resolved_list *kept;
    size_t kept_count, kept_cap;
    struct pending *pending;
    size_t pending_count, pending_cap;
    enum tsk_exit status;
};

/* --- What was done. */

static void add_pending(struct work *work, struct tsk_resolved *one)
{
    work->pending =
        tsk_grow(work->pending, &work->pending_cap, work->pending_count + 1, sizeof *work->pending);
    work->pending[work->pending_count++] = (struct pending){.one = one, .handler = HANDLER_WAITS};
}

/* Tells of each, and keeps the list if somebody else is to be told. */
static void take_list(struct work *work)
{
    size_t before = work->pending_count;
    for (size_t i = 0; i < work->list.count; i++) {
        struct tsk_resolved *one = &work->list.items[i];
        if (one->why) {
            diag_error("%s", one->why);
            work->status = tsk_exit_worse(work->status, TSK_NO);
        } else if (one->batch_id && !work->opts->dry_run) {
            add_pending(work, one);
        } else {
            line_resolved(work->opts, one, HANDLER_NONE);
        }
    }
    if (work->pending_count > before) {
        work->kept =
            tsk_grow(work->kept, &work->kept_cap, work->kept_count + 1, sizeof *work->kept);
        work->kept[work->kept_count++] = work->list;
        work->list = (struct tsk_resolved_list)TSK_RESOLVED_LIST_INIT;
    }
    out_flush();
}

/* --- Transactions. */

static bool run(struct work *work, tsk_store_fn *fn)
{
    struct tsk_err err = TSK_ERR_INIT;
    work->order = options_order(work->opts);
    if (session_do(work->session, fn, work, &err) == 0)
        return true;
    work->status = tsk_exit_worse(work->status, diag_err(&err));
    return false;
}

static int do_steps(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct work *work = ctx;
    return tsk_resolve_steps(store, work->session->settler, &work->order, work->ids, work->count,
                             &work->list, err);
}

static bool run_steps(struct work *work, const struct tsk_resolve_ids *ids)
{
    for (size_t i = 0; i < ids->count; i += work->count) {
        work->ids = ids->items + i;
        work->count = ids->count - i < GROUP ? ids->count - i : GROUP;
        if (!run(work, do_steps))
            return false;
        take_list(work);
    }
    return true;
}

static int do_task(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct work *work = ctx;
    return tsk_resolve_task(store, work->session->settler, &work->order, work->task, &work->list,
                            err);
}

static int do_find(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct work *work = ctx;
    struct tsk_resolve_filter filter = work->opts->filter;
    work->found.count = 0;
    if (work->task)
        filter = (struct tsk_resolve_filter){.task = work->task};
    return tsk_resolve_find(store, work->order.action, &filter, work->order.now, &work->found, err);
}

/* Those of its steps that are meant, where the task as a whole knows no such thing. */
static bool run_steps_of(struct work *work)
{
    if (!run(work, do_find))
        return false;
    if (!work->found.count) {
        diag_error("task %" PRId64 " has no step that can be %s", work->task,
                   tsk_resolve_past(work->order.action));
        work->status = tsk_exit_worse(work->status, TSK_NO);
    }
    return run_steps(work, &work->found);
}

static bool run_tasks(struct work *work, const struct tsk_resolve_ids *ids)
{
    bool whole =
        work->opts->action == TSK_RESOLVE_RESOLVE || work->opts->action == TSK_RESOLVE_CANCEL;
    bool ok = true;
    for (size_t i = 0; i < ids->count && ok; i++) {
        work->task = ids->items[i];
        ok = whole ? run(work, do_task) : run_steps_of(work);
        if (ok && whole)
            take_list(work);
    }
    return ok;
}

static bool run_filter(struct work *work)
{
    if (!run(work, do_find))
        return false;
    if (!work->found.count) {
        diag_error("no step that can be %s goes through the filters",
                   tsk_resolve_past(work->order.action));
        work->status = tsk_exit_worse(work->status, TSK_NO);
    }
    return run_steps(work, &work->found);
}

static void run_targets(struct work *work, struct targets *targets)
{
    struct tsk_resolve_ids ids = {NULL, 0, 0};
    struct tsk_err err = TSK_ERR_INIT;
    if (targets_check(targets, work->session, &ids, &err) < 0)
        work->status = diag_err(&err);
    else if (targets->tasks)
        run_tasks(work, &ids);
    else
        run_steps(work, &ids);
    free(ids.items);
}

/* --- All of it. */

static void tell_all(struct work *work, const struct tsk_conf *conf)
{
    if (!work->pending_count)
        return;
    enum tsk_exit status =
        tell_workers(work->opts, conf, work->session->store, work->pending, work->pending_count);
    work->status = tsk_exit_worse(work->status, status);
}

static void fini(struct work *work)
{
    for (size_t i = 0; i < work->kept_count; i++)
        tsk_resolved_fini(&work->kept[i]);
    tsk_resolved_fini(&work->list);
    free(work->kept);
    free(work->pending);
    free(work->found.items);
}

enum tsk_exit steps_run(const struct options *opts, const struct tsk_conf *conf,
                        char *const *operands, size_t count)
{
    struct targets targets = {.status = TSK_OK};
    struct session session;
    struct work work = {.opts = opts, .session = &session, .status = TSK_USAGE};
    if (targets_read(&targets, operands, count) == 0) {
        work.status = session_open(&session, opts, conf);
        if (work.status == TSK_OK) {
            if (options_filtered(opts))
                run_filter(&work);
            else
                run_targets(&work, &targets);
            tell_all(&work, conf);
            work.status = tsk_exit_worse(work.status, targets.status);
        }
        fini(&work);
        session_close(&session);
    }
    targets_fini(&targets);
    return work.status;
}
