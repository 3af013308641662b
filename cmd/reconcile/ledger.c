/* What is settled without lines: the batches that the options name, or what the ledger has news of.
 */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "reconcile/reconcile.h"
#include "tasker/clock.h"
#include "tasker/parse.h"

enum { LOOK_MS = 1000, OVERDUE_MOST_MS = 10000, OVERDUE_TIMES = 20 };

/* ---- Once. */

struct wanted {
    const struct options *opts;
    struct tsk_settle_list *list;
    int64_t since; /* wall ms; -1 */
};

static int find_named(struct tsk_store *store, struct wanted *wanted, struct tsk_err *err)
{
    const struct opt_list *names = &wanted->opts->batches;
    for (size_t i = 0; i < names->count; i++) {
        if (tsk_settle_find_id(store, names->items[i], wanted->list, err) < 0)
            return -1;
    }
    return 0;
}

/* Finds the batches that the options name. */
static int find_wanted(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct wanted *wanted = ctx;
    const struct options *opts = wanted->opts;
    wanted->list->count = 0;
    if (opts->rebuild)
        return tsk_settle_find_all(store, wanted->list, err);
    if (wanted->since >= 0)
        return tsk_settle_find_since(store, wanted->since, wanted->list, err);
    if (!opts->batches.count)
        return tsk_settle_find_news(store, wanted->list, err);
    return find_named(store, wanted, err);
}

/* Reports the batches that are named and not there. */
static int report_missing(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct settling *s = ctx;
    struct tsk_settle_list list = TSK_SETTLE_LIST_INIT;
    int found = 1;
    for (size_t i = 0; i < s->opts->batches.count && found >= 0; i++) {
        const char *name = s->opts->batches.items[i];
        found = tsk_settle_find_id(store, name, &list, err);
        if (found)
            continue;
        diag_error("batch %s is not in the store", name);
        s->status = tsk_exit_worse(s->status, TSK_DATA);
    }
    tsk_settle_list_fini(&list);
    return found < 0 ? -1 : 0;
}

/* Reads a time, or a duration before now. */
static int64_t parse_since(const char *text)
{
    int64_t ms;
    if (!text)
        return -1;
    if (tsk_time_parse(text, &ms) == 0)
        return ms > 0 ? ms : 0;
    if (tsk_parse_duration(text, 0, INT64_C(315360000000), &ms, NULL) < 0)
        return -1;
    int64_t now = tsk_wall_ms();
    return ms < now ? now - ms : 0;
}

static bool settle_wanted(struct settling *s, struct tsk_settle_list *list)
{
    const struct options *opts = s->opts;
    struct wanted wanted = {.opts = opts, .list = list, .since = parse_since(opts->since)};
    bool force = opts->rebuild || opts->since || opts->batches.count;
    int64_t now = tsk_wall_ms();
    s->loud = !opts->rebuild && !opts->dry_run;
    if (!opts->dry_run && !settling_adopt(s, opts->rebuild || opts->batches.count))
        return false;
    if (opts->dry_run)
        tsk_settler_assume(s->settler, now);
    if (!settling_read(s, find_wanted, &wanted) || !settling_run(s, list,
                                                                 opts->dry_run ? TSK_SETTLE_DRY
                                                                 : force       ? TSK_SETTLE_FORCE
                                                                               : 0))
        return false;
    if (opts->batches.count)
        return settling_read(s, report_missing, s);
    return opts->rebuild || settling_overdue(s, now, list);
}

/* ---- Again and again. */

static int find_news(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct tsk_settle_list *list = ctx;
    list->count = 0;
    return tsk_settle_find_news(store, list, err);
}

/* Keeps of list what is in seen, too; both are in order. */
static void keep_seen(struct tsk_settle_list *list, const struct tsk_settle_list *seen)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < list->count; i++) {
        while (at < seen->count && seen->items[at].batch < list->items[i].batch)
            at++;
        if (at < seen->count && seen->items[at].batch == list->items[i].batch)
            list->items[kept++] = list->items[i];
    }
    list->count = kept;
}

/* Leaves in list what had news at the last look, too: lines of the others may be on their way. */
static void drop_fresh(struct look *look, struct tsk_settle_list *list)
{
    struct tsk_settle_list found = TSK_SETTLE_LIST_INIT;
    for (size_t i = 0; i < list->count; i++)
        tsk_settle_list_add(&found, list->items[i].batch, list->items[i].steps);
    keep_seen(list, &look->seen);
    tsk_settle_list_fini(&look->seen);
    look->seen = found;
}

static bool settle_news(struct settling *s, struct look *look, struct tsk_settle_list *list)
{
    if (!settling_adopt(s, false) || !settling_read(s, find_news, list))
        return false;
    if (s->lines)
        drop_fresh(look, list);
    return settling_run(s, list, 0);
}

bool ledger_look(struct settling *s, struct look *look)
{
    struct tsk_settle_list list = TSK_SETTLE_LIST_INIT;
    s->loud = true;
    bool ok = settle_news(s, look, &list);
    int64_t start = tsk_now_ms();
    if (ok && start >= look->overdue_at) {
        ok = settling_overdue(s, tsk_wall_ms(), &list);
        look->overdue_at =
            settling_pause(&look->overdue_took, start, OVERDUE_TIMES, LOOK_MS, OVERDUE_MOST_MS);
    }
    tsk_settle_list_fini(&list);
    s->loud = false;
    look->at = tsk_now_ms() + LOOK_MS;
    return ok;
}

void ledger_look_fini(struct look *look)
{
    tsk_settle_list_fini(&look->seen);
}

/* Waits for the next look. Returns false if it is time to end. */
static bool wait_look(struct settling *s, const struct look *look)
{
    struct pollfd fds[] = {{.fd = signals_fd(), .events = POLLIN},
                           {.fd = STDOUT_FILENO, .events = 0}};
    while (look->at > tsk_now_ms()) {
        int ready = poll(fds, 2, tsk_left_ms(look->at));
        if (ready > 0 && fds[0].revents && signals_read(NULL) & SIGNALS_STOP)
            return false;
        if (ready > 0 && fds[1].revents & POLLERR) {
            diag_error("standard output: the reader went away");
            s->status = tsk_exit_worse(s->status, TSK_IO);
            return false;
        }
    }
    return true;
}

void ledger_settle(struct settling *s)
{
    struct look look = {.seen = TSK_SETTLE_LIST_INIT};
    struct tsk_settle_list list = TSK_SETTLE_LIST_INIT;
    if (!s->opts->follow)
        settle_wanted(s, &list);
    else
        while (ledger_look(s, &look) && out_flush() == 0 && wait_look(s, &look))
            ;
    tsk_settle_list_fini(&list);
    ledger_look_fini(&look);
}
