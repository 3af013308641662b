/* tasker-status store --prune: takes away what ended long ago, in small transactions, each of which
 * leaves the store as it should be: so it can be stopped at any time, and done again. */
#include <inttypes.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "status/store.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "status/prune_store.h"

enum { PATIENCE_MS = 60000 };

int store_prune_signals(struct tsk_err *err)
{
    return signals_open(false, err);
}

static int count(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    return tsk_prune_count(store, ctx, err);
}

static int take_all(struct tsk_store *store, struct tsk_prune *prune, struct tsk_err *err)
{
    int more = 1;
    while (more > 0 && !signals_stopped()) {
        more = tsk_prune_next(store, prune, PATIENCE_MS, err);
        diag_progress("%" PRId64 " batches, %" PRId64 " tasks, %" PRId64 " messages taken away",
                      prune->batches, prune->tasks, prune->messages);
    }
    diag_progress_end();
    if (more <= 0)
        return more;
    return tsk_err_set(err, TSK_TEMPFAIL, "stopped; another --prune does the rest");
}

static void show(const struct options *opts, const struct tsk_prune *prune)
{
    if (opts->format != FORMAT_JSON) {
        out_printf("%s %" PRId64 " task%s, %" PRId64 " batch%s, %" PRId64 " step%s, %" PRId64
                   " message%s",
                   opts->dry_run ? "would take away" : "took away", prune->tasks,
                   tsk_plural(prune->tasks), prune->batches, prune->batches == 1 ? "" : "es",
                   prune->steps, tsk_plural(prune->steps), prune->messages,
                   tsk_plural(prune->messages));
        return;
    }
    struct json_object *all = json_object_new_object();
    tsk_json_put_str(all, "message_type", "store_prune");
    tsk_json_put_bool(all, "dry_run", opts->dry_run);
    tsk_json_put_time(all, "before", prune->before);
    tsk_json_put_int(all, "tasks", prune->tasks);
    tsk_json_put_int(all, "batches", prune->batches);
    tsk_json_put_int(all, "steps", prune->steps);
    tsk_json_put_int(all, "messages", prune->messages);
    out_json(all);
    json_object_put(all);
}

enum tsk_exit store_prune(const struct options *opts, struct tsk_store *store)
{
    struct tsk_prune prune = {.before = tsk_wall_ms() - opts->older_than};
    struct tsk_err err = TSK_ERR_INIT;
    tsk_store_set_use(store, TSK_STORE_LOOK);
    int rc = opts->dry_run ? tsk_store_read(store, count, &prune, 0, &err)
                           : take_all(store, &prune, &err);
    if (rc == 0 || prune.batches + prune.tasks + prune.messages > 0)
        show(opts, &prune); /* what is gone is told, though the rest could not be done */
    return rc < 0 ? diag_err(&err) : TSK_OK;
}
