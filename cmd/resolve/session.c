/* What follows from an operator's doing is settled by the rules that reconcile has. */
#include <string.h>

#include "common/diag.h"
#include "resolve/session.h"

enum tsk_exit session_open(struct session *session, const struct options *opts,
                           const struct tsk_conf *conf)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_reconcile_opts rules = TSK_RECONCILE_OPTS_INIT;
    struct tsk_settle_watch nobody = {.ctx = NULL};
    memset(session, 0, sizeof *session);
    session->store = tsk_store_new(conf, -1, &err);
    if (!session->store)
        return diag_no_store(&err);
    if (opts->dry_run)
        tsk_store_set_use(session->store, TSK_STORE_LOOK);
    struct tsk_create_limits limits = tsk_create_limits(conf);
    rules.retry = tsk_retry_rules(conf);
    session->settler = tsk_settler_new(session->store, &rules, &limits, &nobody);
    session->patience = tsk_conf_int(conf, TSK_STORE_TIMEOUT);
    session->dry = opts->dry_run;
    return TSK_OK;
}

void session_close(struct session *session)
{
    tsk_settler_free(session->settler);
    tsk_store_free(session->store);
}

int session_do(struct session *session, tsk_store_fn *fn, void *ctx, struct tsk_err *err)
{
    return session->dry ? tsk_store_read(session->store, fn, ctx, session->patience, err)
                        : tsk_store_write(session->store, fn, ctx, session->patience, err);
}
