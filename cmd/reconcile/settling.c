/* The store and the settler, with what is told of them. A service outlives a store that is away; a
 * filter ends, with nothing lost: the ledger has what it had, and settling can be done again. */
#include "reconcile/settling.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "tasker/clock.h"
#include "tasker/message.h"
#include "tasker/parse.h"
#include "tasker/store.h"

/* A result that was read and that the ledger may not have. */
struct read_line {
    char *raw, *batch_id, *source; /* owned */
    size_t len;
    const char *type; /* static; NULL: several */
    int64_t step_id, offset;
    char *told; /* owned: a reserved source that it tells, at told_offset; NULL: it tells none */
    int64_t told_offset;
};

struct settling {
    const struct options *opts;
    struct told *told;
    struct tsk_store *store;
    struct tsk_settler *settler;
    struct tsk_adopt adopt;
    int64_t patience, claim_timeout;
    bool away;               /* it was told that the store is */
    bool loud;               /* verdicts from the store are printed */
    int64_t told_before;     /* revision of the verdict that the batch at hand had at its end; 0 */
    size_t done, total;      /* batches */
    struct tsk_map *refused; /* ids of batches that the store does not take; told already */
    enum tsk_exit status;
    /* of the lines that are read: */
    struct tsk_map *touched; /* struct touched by batch_id */
    struct read_line *lines; /* not in the ledger yet */
    size_t count, cap, bytes;
    int64_t due; /* -1: nothing is to be done */
    /* of the ledger: */
    struct tsk_settle_list seen; /* batches that had news at the last look */
    int64_t look_at;
    int64_t overdue_at, overdue_took; /* the same for overdue batches; what the last look took */
};

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

/* Whether a service waits for the store that failed with err: it is unavailable, locked or full. */
static bool waits(const struct options *opts, const struct tsk_err *err)
{
    return opts->follow && (err->kind == TSK_TEMPFAIL || err->kind == TSK_IO);
}

/* Whether to try again what failed with err. */
static bool again(struct settling *s, const struct tsk_err *err)
{
    if (waits(s->opts, err) && !signals_stopped()) {
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

/* Does fn in a transaction (write or read). While following, a store that is away is waited for.
 * Returns false if it failed, which is told and noted in status. */
static bool in_transaction(struct settling *s, bool write, tsk_store_fn *fn, void *ctx)
{
    struct tsk_err err = TSK_ERR_INIT;
    while ((write ? tsk_store_write(s->store, fn, ctx, s->patience, &err)
                  : tsk_store_read(s->store, fn, ctx, s->patience, &err)) < 0) {
        if (!again(s, &err))
            return false;
    }
    return back(s);
}

/* Settles the batches of list. The same. */
static bool settle_list(struct settling *s, const struct tsk_settle_list *list, unsigned how)
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

/* Ends the batches of list that are out of time at now (wall ms), in the ledger. The same. */
static bool time_out(struct settling *s, int64_t now, const struct tsk_settle_list *list)
{
    struct tsk_err err = TSK_ERR_INIT;
    while (tsk_settler_time_out(s->settler, list, now, s->patience, &err) < 0) {
        if (!again(s, &err))
            return false;
    }
    return back(s);
}

/* Returns when to do again what began at start: its cost times times later, and at least least and
 * at most most ms later. *took is what it took the time before, and is replaced. The smaller of
 * both is its cost, since the store may have been locked meanwhile, and waiting is no work. */
static int64_t pause_after(int64_t *took, int64_t start, int64_t times, int64_t least, int64_t most)
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

/* Gives rows to batches that only the ledger knows: those with news, or all. The same. */
static bool adopt(struct settling *s, bool all)
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

/* Finds batches, replacing list: all that have news, or are out of time at now. The same. */
static bool find_news_of_ledger(struct settling *s, struct tsk_settle_list *list)
{
    struct search search = {list, 0, 0};
    return adopt(s, false) && in_transaction(s, false, find_news, &search);
}

static int find_overdue(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list->count = 0;
    return tsk_settle_find_overdue(store, search->now, search->list, err);
}

static bool find_overdue_of_ledger(struct settling *s, int64_t now, struct tsk_settle_list *list)
{
    struct search search = {list, now, 0};
    return in_transaction(s, false, find_overdue, &search);
}

static int find_unsent(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list->count = 0;
    return tsk_settle_find_unsent(store, search->now, search->timeout, search->list, err);
}

/* Finds those that were claimed and that nobody has accepted in time, into list, and gives them
 * back or ends them. The same. */
static bool give_back(struct settling *s, int64_t now, struct tsk_settle_list *list)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct search search = {list, now, s->claim_timeout};
    if (!in_transaction(s, false, find_unsent, &search))
        return false;
    while (tsk_settler_give_back(s->settler, list, now, s->claim_timeout, s->patience, &err) < 0) {
        if (!again(s, &err))
            return false;
    }
    return back(s) && settle_list(s, list, 0);
}

/* ---- Lines that are read, and the store. A batch is settled from the ledger when there was a line
 * of it: collect prints no line before the ledger has it. What no collector put there (it ran
 * without a store, or the line comes from a file) is put there first.
 *
 * A batch of many steps is not settled with each of its lines, since that looks at all of its
 * ledger each time: the pauses grow with what the last time took. */

enum {
    PAUSE_MS = 100,
    PAUSE_MOST_MS = 10000,
    PAUSE_TIMES = 4,
    LINES_MOST = 1000,
    BYTES_MOST = 1 << 20
};

#define COLLECTOR "reconcile"

struct touched {
    int64_t batch;                         /* batches.id; 0: not known yet */
    int64_t next, took;                    /* not before that; what the last time took, in ms */
    bool news;                             /* a line came since it was settled last */
    bool told;                             /* it had its verdict */
    enum { UNKNOWN, OTHERS, OURS } ledger; /* who puts its lines there that have no source */
};

static struct touched *touch(struct settling *s, const char *batch_id)
{
    struct touched *touched = tsk_map_get(s->touched, batch_id);
    if (!touched) {
        touched = tsk_alloc(sizeof *touched);
        touched->next = tsk_now_ms() + PAUSE_MS;
        tsk_map_put(s->touched, batch_id, touched);
    }
    touched->news = true;
    s->due = tsk_earlier(s->due, touched->next);
    return touched;
}

void settling_verdict(struct settling *s, const char *batch_id)
{
    if (!s || !*batch_id)
        return;
    struct touched *touched = touch(s, batch_id);
    touched->told = true;
    touched->next = 0;
    s->due = 0;
}

/* FNV-1a, within 63 bits. */
static int64_t hash_of(const char *data, size_t len)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)data[i]) * 1099511628211u;
    return (int64_t)(hash >> 1);
}

static bool is_timeout(struct json_object *message)
{
    const char *category = tsk_json_str(tsk_json_get(message, "error"), "error_category");
    return category && strcmp(category, "timeout") == 0;
}

static char *own_source(const char *batch_id)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text, TSK_SOURCE_LINES "%s", batch_id);
    return text.data;
}

/* Keeps a line, of which source is NULL or "" if it has none. One that tells a reserved source may
 * be in the ledger in that place, but is put in no other than that of lines that have none. */
static void keep_line(struct settling *s, struct read_line line, const char *batch_id,
                      const char *source, const char *raw)
{
    bool told = source && *source && line.offset > 0;
    bool reserved = told && tsk_source_reserved(source), placed = told && !reserved;
    line.told = reserved ? tsk_strdup(source) : NULL;
    line.told_offset = line.offset;
    if (!placed)
        line.offset = hash_of(raw, line.len);
    line.source = placed ? tsk_strdup(source) : own_source(batch_id);
    line.batch_id = tsk_strdup(batch_id);
    line.raw = tsk_alloc(line.len + 1);
    memcpy(line.raw, raw, line.len);
    s->lines = tsk_grow(s->lines, &s->cap, s->count + 1, sizeof *s->lines);
    s->lines[s->count++] = line;
    s->bytes += line.len;
    if (s->count >= LINES_MOST || s->bytes >= BYTES_MOST)
        s->due = 0;
}

void settling_line(struct settling *s, struct json_object *message, const char *raw, size_t len)
{
    const char *batch_id = tsk_json_str(message, "batch_id");
    const char *source = tsk_json_str(message, "source");
    enum tsk_type type = tsk_type_of(message);
    struct read_line line = {.len = len, .type = tsk_type_name(type)};
    if (!s || !batch_id)
        return;
    bool own = !source || tsk_source_reserved(source);
    touch(s, batch_id);
    if (type == TSK_TYPE_PUBLISHED || (own && type == TSK_TYPE_ERROR && is_timeout(message)))
        return; /* that a collector waits no longer is its own business; the clock is the store's */
    if (type == TSK_TYPE_PARTIAL)
        tsk_json_int(message, "step_id", &line.step_id);
    tsk_json_int(message, "offset", &line.offset);
    keep_line(s, line, batch_id, source, raw);
}

/* --- Putting lines into the ledger. */

struct adding {
    struct settling *s;
    int64_t now;  /* wall ms */
    int64_t last; /* the last row there was */
    struct tsk_rows rows;
};

/* Whether the ledger has its lines from a collector; asked once a batch. */
static int has_others(struct settling *s, const char *batch_id, struct tsk_err *err)
{
    static const char sql[] = "SELECT count(*) FROM received_results WHERE batch_id = $1"
                              " AND collector_id NOT IN ('reconcile', 'publish', 'ready')";
    struct touched *touched = tsk_map_get(s->touched, batch_id);
    struct tsk_value value = tsk_value_text(batch_id);
    int64_t count = 0;
    if (touched && touched->ledger != UNKNOWN)
        return touched->ledger == OTHERS;
    if (tsk_store_get_int(s->store, sql, &value, 1, &count, err) < 0)
        return -1;
    if (touched)
        touched->ledger = count ? OTHERS : OURS;
    return count > 0;
}

/* Whether the ledger has a line in the reserved place that it tells. */
static int is_there(struct settling *s, const struct read_line *line, struct tsk_err *err)
{
    static const char sql[] = "SELECT 1 FROM received_results WHERE source = $1 AND stream_offset ="
                              " $2 AND batch_id = $3";
    struct tsk_value values[] = {tsk_value_text(line->told), tsk_value_int(line->told_offset),
                                 tsk_value_text(line->batch_id)};
    int64_t one;
    return tsk_store_get_int(s->store, sql, values, 3, &one, err);
}

static int add_line(struct adding *adding, const struct read_line *line, struct tsk_err *err)
{
    struct tsk_ledger_entry entry = {.topic = line->type ? line->type : "results",
                                     .raw = line->raw,
                                     .len = line->len,
                                     .message_type = line->type,
                                     .batch_id = line->batch_id,
                                     .step_id = line->step_id,
                                     .source = line->source,
                                     .offset = line->offset};
    if (strncmp(line->source, TSK_SOURCE_LINES, strlen(TSK_SOURCE_LINES)) == 0) {
        int others = line->told ? tsk_rows_end(&adding->rows, err) : 0;
        if (others == 0 && line->told)
            others = is_there(adding->s, line, err);
        if (others == 0)
            others = has_others(adding->s, line->batch_id, err);
        if (others)
            return others < 0 ? -1 : 0;
    }
    return tsk_ledger_add(&adding->rows, &entry, COLLECTOR, adding->now, err);
}

/* Marks a batch, if any line of it was new. */
static int mark(struct adding *adding, const char *batch_id, struct tsk_err *err)
{
    static const char sql[] =
        "INSERT INTO unsettled (batch_id) SELECT $1 WHERE EXISTS (SELECT 1 FROM received_results"
        " WHERE batch_id = $1 AND id > $2 AND collector_id = '" COLLECTOR "')";
    struct tsk_value values[] = {tsk_value_text(batch_id), tsk_value_int(adding->last)};
    return tsk_store_send(adding->s->store, sql, values, 2, err);
}

static int mark_all(struct adding *adding, struct tsk_err *err)
{
    static char marked;
    struct tsk_map *done = tsk_map_new(NULL);
    int rc = 0;
    for (size_t i = 0; i < adding->s->count && rc == 0; i++) {
        const char *batch_id = adding->s->lines[i].batch_id;
        if (tsk_map_get(done, batch_id))
            continue;
        tsk_map_put(done, batch_id, &marked);
        rc = mark(adding, batch_id, err);
    }
    tsk_map_free(done);
    return rc;
}

static int add_lines(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char last[] = "SELECT max(id) FROM received_results";
    struct adding *adding = ctx;
    adding->last = 0;
    if (tsk_store_get_int(store, last, NULL, 0, &adding->last, err) < 0)
        return -1;
    int rc = 0;
    tsk_rows_init(&adding->rows, store, &tsk_ledger_rows);
    for (size_t i = 0; i < adding->s->count && rc == 0; i++)
        rc = add_line(adding, &adding->s->lines[i], err);
    if (rc == 0)
        rc = tsk_rows_end(&adding->rows, err);
    tsk_rows_fini(&adding->rows);
    return rc < 0 ? -1 : mark_all(adding, err);
}

static void forget_lines(struct settling *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->lines[i].raw);
        free(s->lines[i].batch_id);
        free(s->lines[i].source);
        free(s->lines[i].told);
    }
    s->count = s->bytes = 0;
}

static bool flush_lines(struct settling *s)
{
    struct adding adding = {.s = s, .now = tsk_wall_ms()};
    if (!s->count)
        return true;
    if (!in_transaction(s, true, add_lines, &adding))
        return false;
    forget_lines(s);
    return true;
}

/* --- Settling what was touched. */

struct lookup {
    struct settling *s;
    struct tsk_settle_list list;
    int64_t now;
    bool all;
};

static bool is_due(const struct lookup *lookup, const struct touched *touched)
{
    return touched->news && (lookup->all || touched->next <= lookup->now);
}

static int look_up(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct lookup *lookup = ctx;
    lookup->list.count = 0;
    for (struct tsk_map_entry *e = tsk_map_first(lookup->s->touched); e; e = tsk_map_next(e)) {
        struct touched *touched = tsk_map_value(e);
        if (!is_due(lookup, touched))
            continue;
        int found = tsk_settle_find_id(store, tsk_map_key(e), &lookup->list, err);
        if (found < 0)
            return -1;
        touched->batch = found ? lookup->list.items[lookup->list.count - 1].batch : 0;
    }
    return 0;
}

/* What is settled is clean, until there is another line; what is over is forgotten. */
static void clean(struct lookup *lookup, int64_t start)
{
    struct settling *s = lookup->s;
    struct tsk_map_entry *next;
    s->due = -1;
    for (struct tsk_map_entry *e = tsk_map_first(s->touched); e; e = next) {
        struct touched *touched = tsk_map_value(e);
        next = tsk_map_next(e);
        if (is_due(lookup, touched)) {
            touched->news = false;
            touched->next =
                pause_after(&touched->took, start, PAUSE_TIMES, PAUSE_MS, PAUSE_MOST_MS);
        }
        if (touched->news)
            s->due = tsk_earlier(s->due, touched->next);
        else if (touched->told)
            tsk_map_remove(s->touched, tsk_map_key(e));
    }
}

static bool settle_touched(struct settling *s, int64_t now, bool all)
{
    struct lookup lookup = {s, TSK_SETTLE_LIST_INIT, now, all};
    int64_t start = tsk_now_ms();
    s->loud = false;
    bool ok = adopt(s, false) && in_transaction(s, false, look_up, &lookup) &&
              settle_list(s, &lookup.list, 0);
    if (ok)
        clean(&lookup, start);
    tsk_settle_list_fini(&lookup.list);
    return ok;
}

/* ---- Looking at the ledger: what has news that nobody settled, and what is out of time. */

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
static bool find_fresh(struct settling *s, struct tsk_settle_list *list)
{
    struct tsk_settle_list found = TSK_SETTLE_LIST_INIT;
    if (!find_news_of_ledger(s, list))
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
    return find_overdue_of_ledger(s, now, list) && time_out(s, now, list) &&
           settle_list(s, list, 0) && give_back(s, now, list);
}

/* Settles what the ledger has news of (with lines that are read: what it had news of a look ago,
 * too, since those lines may be on their way), and what is out of time. */
static bool look(struct settling *s)
{
    struct tsk_settle_list list = TSK_SETTLE_LIST_INIT;
    s->loud = true;
    bool ok = find_fresh(s, &list) && settle_list(s, &list, 0);
    int64_t start = tsk_now_ms();
    if (ok && start >= s->overdue_at) {
        ok = settle_overdue(s, &list);
        s->overdue_at =
            pause_after(&s->overdue_took, start, OVERDUE_TIMES, LOOK_MS, OVERDUE_MOST_MS);
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
    bool ok = settle_list(s, list, TSK_SETTLE_DRY);
    if (ok && !s->opts->batches.count)
        ok = find_overdue_of_ledger(s, now, &overdue) && settle_list(s, &overdue, TSK_SETTLE_DRY);
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
    bool ok = (opts->dry_run || adopt(s, opts->rebuild || opts->batches.count)) &&
              in_transaction(s, false, find_wanted, &wanted);
    if (ok && opts->dry_run)
        ok = run_dry(s, &list);
    else if (ok)
        ok = settle_list(s, &list, how);
    if (ok && !opts->dry_run && !opts->rebuild && !opts->batches.count)
        ok = settle_overdue(s, &list);
    tsk_settle_list_fini(&list);
    if (ok && opts->batches.count)
        ok = in_transaction(s, false, tell_missing, s);
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
    while (look(s) && out_flush() == 0 && wait_look(s))
        ;
    return s->status;
}

bool settling_turn(struct settling *s, int64_t now, bool all)
{
    bool due = s && s->due >= 0 && (all || s->due <= now);
    if (due && !(flush_lines(s) && settle_touched(s, now, all)))
        return false;
    if (s && s->opts->follow && !all && now >= s->look_at)
        return look(s);
    return true;
}

int64_t settling_due(const struct settling *s)
{
    if (!s)
        return -1;
    return s->opts->follow ? tsk_earlier(s->due, s->look_at) : s->due;
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
    bool failed = err.kind != TSK_OK;
    if (!failed && store) /* a service connects again at its first look */
        failed = tsk_store_connect(store, &err) < 0 && !waits(opts, &err);
    if (failed) {
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
                                  false, on_refused, s};
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
    forget_lines(s);
    free(s->lines);
    tsk_map_free(s->touched);
    tsk_map_free(s->refused);
    tsk_settle_list_fini(&s->seen);
    tsk_settler_free(s->settler);
    tsk_store_free(s->store);
    free(s);
}

enum tsk_exit settling_status(const struct settling *s)
{
    return s->status;
}
