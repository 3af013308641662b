/* Looking at the ledger: what has news that nobody settled, and what is out of time. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "reconcile/settling.h"
#include "tasker/clock.h"
#include "tasker/parse.h"

enum { LOOK_MS = 1000, OVERDUE_MOST_MS = 10000, OVERDUE_TIMES = 20 };

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

/* Batches with news, less those whose lines may be on their way to us. */
static bool find_news(struct settling *s, struct tsk_settle_list *list)
{
    struct tsk_settle_list found = TSK_SETTLE_LIST_INIT;
    if (!settling_find_news(s, list))
        return false;
    if (!s->touched)
        return true;
    found.items = tsk_grow(NULL, &found.cap, list->count + 1, sizeof *found.items);
    found.count = list->count;
    if (list->count)
        memcpy(found.items, list->items, list->count * sizeof *found.items);
    keep_seen(list, &s->seen);
    tsk_settle_list_fini(&s->seen);
    s->seen = found;
    return true;
}

static bool settle_overdue(struct settling *s, struct tsk_settle_list *list)
{
    int64_t now = tsk_wall_ms();
    return settling_find_overdue(s, now, list) && settling_time_out(s, now, list) &&
           settling_run(s, list, 0) && settling_give_back(s, now, list);
}

bool settling_look(struct settling *s)
{
    struct tsk_settle_list list = TSK_SETTLE_LIST_INIT;
    s->loud = true;
    bool ok = find_news(s, &list) && settling_run(s, &list, 0);
    int64_t start = tsk_now_ms();
    if (ok && start >= s->overdue_at) {
        ok = settle_overdue(s, &list);
        s->overdue_at =
            settling_pause(&s->overdue_took, start, OVERDUE_TIMES, LOOK_MS, OVERDUE_MOST_MS);
    }
    tsk_settle_list_fini(&list);
    s->look_at = tsk_now_ms() + LOOK_MS;
    return ok;
}

/* --- Without lines. */

static bool run_dry(struct settling *s, struct tsk_settle_list *list)
{
    int64_t now = tsk_wall_ms();
    struct tsk_settle_list overdue = TSK_SETTLE_LIST_INIT;
    tsk_settler_assume(s->settler, now);
    bool ok = settling_run(s, list, TSK_SETTLE_DRY);
    if (ok && !s->opts->batches.count)
        ok = settling_find_overdue(s, now, &overdue) && settling_run(s, &overdue, TSK_SETTLE_DRY);
    tsk_settle_list_fini(&overdue);
    return ok;
}

struct wanted {
    struct settling *s;
    struct tsk_settle_list *list;
    int64_t since; /* -1 */
};

/* Which batches the options name. */
static int find_wanted(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct wanted *wanted = ctx;
    const struct options *opts = wanted->s->opts;
    wanted->list->count = 0;
    if (opts->rebuild)
        return tsk_settle_find_all(store, wanted->list, err);
    if (wanted->since >= 0)
        return tsk_settle_find_since(store, wanted->since, wanted->list, err);
    if (!opts->batches.count)
        return tsk_settle_find_news(store, wanted->list, err);
    for (size_t i = 0; i < opts->batches.count; i++) {
        if (tsk_settle_find_id(store, opts->batches.items[i], wanted->list, err) < 0)
            return -1;
    }
    return 0;
}

/* Batches that are named and not there. */
static int tell_missing(struct tsk_store *store, void *ctx, struct tsk_err *err)
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

/* A moment, or how long ago it was. */
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

static bool settle_wanted(struct settling *s)
{
    const struct options *opts = s->opts;
    struct tsk_settle_list list = TSK_SETTLE_LIST_INIT;
    struct wanted wanted = {s, &list, parse_since(opts->since)};
    unsigned how = opts->rebuild || opts->since || opts->batches.count ? TSK_SETTLE_FORCE : 0;
    s->loud = !opts->rebuild && !opts->dry_run;
    bool ok = (opts->dry_run || settling_adopt(s, opts->rebuild || opts->batches.count)) &&
              settling_do(s, false, find_wanted, &wanted);
    if (ok && opts->dry_run)
        ok = run_dry(s, &list);
    else if (ok)
        ok = settling_run(s, &list, how);
    if (ok && !opts->dry_run && !opts->rebuild && !opts->batches.count)
        ok = settle_overdue(s, &list);
    tsk_settle_list_fini(&list);
    if (ok && opts->batches.count)
        ok = settling_do(s, false, tell_missing, s);
    return ok;
}

/* Waits for the next look. Returns false if it is time to end. */
static bool wait_look(struct settling *s)
{
    struct pollfd fds[] = {{.fd = signals_fd(), .events = POLLIN},
                           {.fd = STDOUT_FILENO, .events = 0}};
    while (s->look_at > tsk_now_ms()) {
        int ready = poll(fds, 2, tsk_left_ms(s->look_at));
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

enum tsk_exit settling_ledger(struct settling *s)
{
    if (!s->opts->follow) {
        settle_wanted(s);
        return s->status;
    }
    while (settling_look(s) && out_flush() == 0 && wait_look(s))
        ;
    return s->status;
}
