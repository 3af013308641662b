/* hold and release: each namespace in a transaction of its own. */
#include "common/diag.h"
#include "common/out.h"
#include "resolve/resolve.h"
#include "resolve/session.h"
#include "tasker/clock.h"

struct work {
    const struct options *opts;
    const char *name;
    struct tsk_hold hold;
};

static int do_one(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct work *work = ctx;
    struct tsk_resolve_order order = options_order(work->opts);
    return tsk_resolve_hold(store, &order, work->name, work->opts->action, &work->hold, err);
}

/* Returns the status. */
static enum tsk_exit tell(const struct work *work)
{
    const struct tsk_hold *hold = &work->hold;
    char since[TSK_TIME_SIZE];
    tsk_time_format(hold->since, since);
    if (hold->done && !hold->known)
        diag_warn("no task is of the namespace %s so far", work->name);
    if (hold->done) {
        line_hold(work->opts, work->name);
        return TSK_OK;
    }
    if (work->opts->action && hold->reason)
        diag_error("the namespace %s is held already, since %s by %s: %s", work->name, since,
                   *hold->by ? hold->by : "somebody", hold->reason);
    else if (work->opts->action)
        diag_error("the namespace %s is held already", work->name);
    else
        diag_error("the namespace %s is not held", work->name);
    return TSK_NO;
}

static enum tsk_exit do_all(const struct options *opts, struct session *session,
                            const struct targets *targets)
{
    enum tsk_exit status = targets->status;
    for (size_t i = 0; i < targets->count; i++) {
        struct work work = {.opts = opts, .name = targets->names[i]};
        struct tsk_err err = TSK_ERR_INIT;
        bool ok = session_do(session, do_one, &work, &err) == 0;
        status = tsk_exit_worse(status, ok ? tell(&work) : diag_err(&err));
        tsk_hold_fini(&work.hold);
        if (!ok)
            break;
    }
    return status;
}

enum tsk_exit hold_run(const struct options *opts, const struct tsk_conf *conf,
                       char *const *operands, size_t count)
{
    struct targets targets = {.status = TSK_OK};
    struct session session;
    enum tsk_exit status = TSK_USAGE;
    if (targets_read_names(&targets, operands, count) == 0) {
        status = session_open(&session, opts, conf);
        if (status == TSK_OK)
            status = do_all(opts, &session, &targets);
        session_close(&session);
    }
    targets_fini(&targets);
    return status;
}
