/* hold and release: each namespace in a transaction of its own. */
#include <stdlib.h>

#include "common/diag.h"
#include "common/out.h"
#include "resolve/resolve.h"
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

/* ---- Namespaces that are held: a row for each, and a history. */

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int take_hold(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_hold *hold = ctx;
    (void)columns;
    hold->reason = tsk_strdup(row[0].data);
    hold->since = row[1].number;
    hold->by = tsk_strdup(row[2].data);
    return 1;
}

/* Returns 1 if it is held, 0, or -1. */
static int look(struct tsk_store *store, const char *namespace_name, struct tsk_hold *hold,
                struct tsk_err *err)
{
    static const char held[] =
        "SELECT reason, created_at, held_by FROM held_namespaces WHERE namespace = $1";
    static const char known[] =
        "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE namespace = $1 LIMIT 1) t";
    struct tsk_value value = tsk_value_text(namespace_name);
    int64_t some = 0;
    tsk_hold_fini(hold);
    if (tsk_store_get_int(store, known, &value, 1, &some, err) < 0)
        return -1;
    hold->known = some > 0;
    return (int)tsk_store_run(store, held, &value, 1, take_hold, hold, err);
}

static const char add[] =
    "INSERT INTO held_namespaces (namespace, reason, created_at, held_by) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT DO NOTHING";
static const char take[] = "DELETE FROM held_namespaces WHERE namespace = $1";
static const char add_fact[] =
    "INSERT INTO namespace_transitions (namespace, sort_key, from_state, to_state, event, origin,"
    " metadata, created_at) SELECT $1, coalesce((SELECT max(sort_key) FROM namespace_transitions"
    " WHERE namespace = $1), 0) + 1, $2, $3, $4, 'operator', $5, $6";

static int put_fact(struct tsk_store *store, const struct tsk_resolve_order *order,
                    const char *namespace_name, bool held, struct tsk_err *err)
{
    char *about = tsk_resolve_about(order);
    struct tsk_value values[] = {tsk_value_text(namespace_name),
                                 tsk_value_text(held ? "open" : "held"),
                                 tsk_value_text(held ? "held" : "open"),
                                 tsk_value_text(held ? "namespace.held" : "namespace.released"),
                                 tsk_value_text(about),
                                 tsk_value_int(order->now)};
    int64_t rows = tsk_store_run(store, add_fact, values, COUNT(values), NULL, NULL, err);
    free(about);
    return rows < 0 ? -1 : 0;
}

int tsk_resolve_hold(struct tsk_store *store, const struct tsk_resolve_order *order,
                     const char *namespace_name, bool held, struct tsk_hold *hold,
                     struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_text(namespace_name), tsk_value_text(order->reason),
                                 tsk_value_int(order->now), tsk_value_text(order->by)};
    int is = look(store, namespace_name, hold, err);
    if (is < 0)
        return -1;
    hold->done = is != held;
    if (!hold->done || order->dry)
        return 0;
    int64_t changed = held ? tsk_store_run(store, add, values, 4, NULL, NULL, err)
                           : tsk_store_run(store, take, values, 1, NULL, NULL, err);
    if (changed < 0)
        return -1;
    hold->done = changed > 0; /* another may have been faster */
    if (!hold->done)
        return 0;
    return put_fact(store, order, namespace_name, held, err) < 0 ? -1
                                                                 : tsk_store_notify(store, err);
}
