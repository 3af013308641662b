/* What follows from an operator's doing is settled by the rules that reconcile has. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
#include "resolve/resolve.h"
#include "tasker/clock.h"
#include "tasker/json.h"

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

/* ---- What the options come to. */

bool options_filtered(const struct options *opts)
{
    const struct tsk_resolve_filter *filter = &opts->filter;
    return filter->task || filter->namespace_name || filter->handler_class || filter->category;
}

char *options_by(const struct options *opts)
{
    if (opts->by)
        return tsk_strdup(opts->by);
    struct tsk_buf who = TSK_BUF_INIT;
    const char *user = getenv("USER");
    char host[256] = "";
    if (!user || !*user)
        user = getenv("LOGNAME");
    gethostname(host, sizeof host - 1);
    if (user && *user && tsk_json_is_text(user, strlen(user)))
        tsk_buf_str(&who, user);
    else
        tsk_buf_printf(&who, "uid %ld", (long)getuid());
    tsk_buf_printf(&who, "@%s", host);
    return who.data;
}

struct tsk_resolve_order options_order(const struct options *opts)
{
    return (struct tsk_resolve_order){.action = (enum tsk_resolve_action)opts->action,
                                      .reason = opts->reason,
                                      .by = opts->by,
                                      .now = tsk_wall_ms(),
                                      .dry = opts->dry_run};
}

/* ---- What was done, an object a line. */

static struct json_object *begin(const struct options *opts, const char *action)
{
    struct json_object *line = json_object_new_object();
    tsk_json_put_str(line, "message_type", "operator_action");
    tsk_json_put_str(line, "action", action);
    if (opts->dry_run)
        tsk_json_put_bool(line, "dry_run", true);
    return line;
}

static void end(const struct options *opts, struct json_object *line)
{
    tsk_json_put_str(line, "reason", opts->reason);
    tsk_json_put_str(line, "by", opts->by);
    out_json(line);
    json_object_put(line);
}

static void put_step(struct json_object *line, const struct tsk_resolved *one)
{
    tsk_json_put_str(line, "of", "step");
    tsk_json_put_int(line, "step_id", one->id);
    tsk_json_put_int(line, "task_id", one->task_id);
    tsk_json_put_str(line, "name", one->name);
    tsk_json_put_int(line, "attempt", one->attempt);
}

static void put_task(struct json_object *line, const struct tsk_resolved *one)
{
    tsk_json_put_str(line, "of", "task");
    tsk_json_put_int(line, "task_id", one->id);
    tsk_json_put_str(line, "name", one->name);
    tsk_json_put_int(line, "steps", (int64_t)one->steps);
}

static void put_handler(struct json_object *line, const struct tsk_resolved *one,
                        enum handler handler)
{
    static const char *const words[] = {
        [HANDLER_UNSENT] = "unsent",       [HANDLER_DROPPED] = "dropped",
        [HANDLER_STOPPED] = "stopped",     [HANDLER_ENDED] = "ended",
        [HANDLER_UNKNOWN] = "unknown",     [HANDLER_RUNS] = "running",
        [HANDLER_UNREACHED] = "unreached",
    };
    if (handler == HANDLER_NONE || handler == HANDLER_WAITS)
        return;
    tsk_json_put_str(line, "handler", words[handler]);
    tsk_json_put_str(line, "batch_id", one->batch_id);
    tsk_json_put_str(line, "worker_id", one->worker_id);
}

void line_resolved(const struct options *opts, const struct tsk_resolved *one, enum handler handler)
{
    struct json_object *line = begin(opts, tsk_resolve_word((enum tsk_resolve_action)opts->action));
    if (one->is_task)
        put_task(line, one);
    else
        put_step(line, one);
    tsk_json_put_str(line, "from_state", tsk_state_name(one->from));
    tsk_json_put_str(line, "to_state", tsk_state_name(one->to));
    put_handler(line, one, handler);
    end(opts, line);
}

void line_hold(const struct options *opts, const char *namespace_name)
{
    struct json_object *line = begin(opts, opts->action ? "hold" : "release");
    tsk_json_put_str(line, "of", "namespace");
    tsk_json_put_str(line, "namespace", namespace_name);
    tsk_json_put_str(line, "from_state", opts->action ? "open" : "held");
    tsk_json_put_str(line, "to_state", opts->action ? "held" : "open");
    end(opts, line);
}
