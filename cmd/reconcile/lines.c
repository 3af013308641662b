/* Lines with a store. A line says that there is news of its batch; it goes to the ledger, if it is
 * not there (collect prints no line before the ledger has it). Then the batch is settled from the
 * ledger, which gives its verdict.
 *
 * A batch is settled with a pause after its line, since settling reads the whole ledger of the
 * batch: the pauses grow with what the last settlement cost. A completion or a batch_error needs no
 * pause. The verdict is printed when it is consistent; any other waits until nothing was heard of
 * the batch for the settle time or the timeout, or for the end of the input. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "reconcile/reconcile.h"
#include "tasker/clock.h"
#include "tasker/message.h"
#include "tasker/outbound.h"
#include "tasker/parse.h"

enum {
    PAUSE_MS = 100,
    PAUSE_MOST_MS = 10000,
    PAUSE_TIMES = 4,
    LINES_MOST = 1000,
    BYTES_MOST = 1 << 20,
    PAST_MOST = 32768 /* batches whose verdicts are remembered */
};

#define COLLECTOR "reconcile"

/* A line that the ledger may not have. */
struct entry {
    char *raw, *batch_id, *source; /* owned */
    size_t len;
    enum tsk_type type; /* TSK_TYPE_OTHER: results in the older shape */
    int64_t step_id, offset;
    char *named; /* owned: the reserved source that the line names, at named_offset; or NULL */
    int64_t named_offset;
};

/* The verdicts of a batch that were printed. Settling gives at most two, of which the second is
 * about what came late. */
struct printed {
    uint64_t verdicts[2]; /* digests; 0: not printed */
    int64_t revision;
};

/* A batch of which lines were read. */
struct batch {
    char id[TSK_ID_SIZE];
    int64_t heard;          /* when its last line came */
    int64_t next, took;     /* it is not settled before next; duration of the last settlement */
    bool news;              /* it is to be settled: a line came */
    bool open;              /* it waits for a verdict */
    bool ended;             /* a completion or a batch_error came */
    bool final, timed_out;  /* in this turn: any verdict is printed; by --timeout */
    bool unprinted;         /* after this turn: there is a verdict to be printed */
    bool in_turn, in_store; /* it is settled in this turn; the store has it */
    struct json_object *gave_up; /* owned: the error of a collector that waits no longer; or NULL */
    enum { UNKNOWN, OTHERS, OURS } ledger; /* who records its lines that have no source */
    struct printed printed, pending;       /* pending: with the transaction at hand */
};

struct lines {
    struct settling *settling;
    int64_t settle_ms, timeout_ms; /* -1: none */
    struct tsk_map *open,
        *past;             /* struct batch by batch_id: with and without news or a verdict due */
    struct entry *entries; /* lines that are not in the ledger yet */
    size_t count, cap, bytes;
    int64_t due;         /* -1: nothing is to be done */
    struct batch **turn; /* the batches of this turn */
    size_t turn_count, turn_cap;
};

static void free_batch(void *batch)
{
    json_object_put(((struct batch *)batch)->gave_up);
    free(batch);
}

struct lines *lines_new(struct settling *settling, const struct tsk_reconcile_opts *rules)
{
    struct lines *l = tsk_alloc(sizeof *l);
    *l = (struct lines){.settling = settling,
                        .settle_ms = rules->settle_ms,
                        .timeout_ms = rules->timeout_ms,
                        .open = tsk_map_new(free_batch),
                        .past = tsk_map_new(free_batch),
                        .due = -1};
    return l;
}

static void forget_entries(struct lines *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->entries[i].raw);
        free(l->entries[i].batch_id);
        free(l->entries[i].source);
        free(l->entries[i].named);
    }
    l->count = l->bytes = 0;
}

void lines_free(struct lines *l)
{
    if (!l)
        return;
    forget_entries(l);
    free(l->entries);
    free(l->turn);
    tsk_map_free(l->open);
    tsk_map_free(l->past);
    free(l);
}

/* ---- Taking lines. */

/* When the verdict of batch is due whatever it is; -1: at the end of the input. */
static int64_t final_at(const struct lines *l, const struct batch *batch)
{
    int64_t settle = batch->ended && l->settle_ms >= 0 ? batch->heard + l->settle_ms : -1;
    int64_t timeout = l->timeout_ms >= 0 ? batch->heard + l->timeout_ms : -1;
    return batch->open ? tsk_earlier(settle, timeout) : -1;
}

static int64_t due_of(const struct lines *l, const struct batch *batch)
{
    return tsk_earlier(batch->news ? batch->next : -1, final_at(l, batch));
}

static struct batch *get_batch(struct lines *l, const char *batch_id)
{
    struct batch *batch = tsk_map_get(l->open, batch_id);
    if (batch)
        return batch;
    batch = tsk_map_take(l->past, batch_id);
    if (!batch) {
        batch = tsk_alloc(sizeof *batch);
        strncpy(batch->id, batch_id, sizeof batch->id - 1);
        batch->next = tsk_now_ms() + PAUSE_MS;
    }
    tsk_map_put(l->open, batch_id, batch);
    return batch;
}

/* FNV-1a, within 63 bits. */
static int64_t hash_of(const char *data, size_t len)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)data[i]) * 1099511628211u;
    return (int64_t)(hash >> 1);
}

/* Keeps a line for the ledger. A line that names a reserved source may be in the ledger there, but
 * is recorded only at the position of a line without a source. */
static void keep_line(struct lines *l, enum tsk_type type, struct json_object *message,
                      const char *batch_id, const struct tsk_line *line)
{
    struct entry entry = {.type = type, .len = line->len};
    const char *source = tsk_json_str(message, "source");
    int64_t offset = 0;
    tsk_json_int(message, "offset", &offset);
    if (type == TSK_TYPE_PARTIAL)
        tsk_json_int(message, "step_id", &entry.step_id);
    bool reserved = source && tsk_source_reserved(source);
    if (source && *source && offset > 0 && !reserved) {
        entry.source = tsk_strdup(source);
        entry.offset = offset;
    } else {
        struct tsk_buf own = TSK_BUF_INIT;
        tsk_buf_printf(&own, TSK_SOURCE_LINES "%s", batch_id);
        entry.source = own.data;
        entry.offset = hash_of(line->data, line->len);
    }
    if (reserved && offset > 0) {
        entry.named = tsk_strdup(source);
        entry.named_offset = offset;
    }
    entry.batch_id = tsk_strdup(batch_id);
    entry.raw = tsk_alloc(line->len + 1);
    memcpy(entry.raw, line->data, line->len);
    l->entries = tsk_grow(l->entries, &l->cap, l->count + 1, sizeof *l->entries);
    l->entries[l->count++] = entry;
    l->bytes += line->len;
}

static bool is_timeout(struct json_object *message)
{
    const char *category = tsk_json_str(tsk_json_get(message, "error"), "error_category");
    return category && strcmp(category, "timeout") == 0;
}

/* Whether a collector says that it waits no longer: that is its own matter, and no end of the
 * batch. The store has a clock of its own. */
static bool gives_up(enum tsk_type type, struct json_object *message)
{
    const char *source = tsk_json_str(message, "source");
    return type == TSK_TYPE_ERROR && (!source || tsk_source_reserved(source)) &&
           is_timeout(message);
}

/* Adds what the line says to its batch. A receipt is news only if the store does not know the
 * batch (see add_entry). */
static void touch(struct lines *l, struct batch *batch, enum tsk_type type,
                  struct json_object *message)
{
    batch->heard = tsk_now_ms();
    batch->open = true;
    batch->ended |= type == TSK_TYPE_COMPLETION || type == TSK_TYPE_ERROR;
    if (gives_up(type, message)) {
        json_object_put(batch->gave_up);
        batch->gave_up = json_object_get(tsk_json_get(message, "error"));
    }
    batch->news |= type != TSK_TYPE_PUBLISHED;
    if (type == TSK_TYPE_COMPLETION || type == TSK_TYPE_ERROR)
        batch->next = 0;
    int64_t due = due_of(l, batch);
    if (l->count) /* and without news, the line is to be recorded */
        due = tsk_earlier(due, batch->heard + PAUSE_MS);
    l->due = tsk_earlier(l->due, l->count < LINES_MOST && l->bytes < BYTES_MOST ? due : 0);
}

static int ignore(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    (void)ctx, (void)type, (void)message, (void)changed;
    return 0;
}

int lines_take(struct lines *l, struct json_object *message, const struct tsk_line *line,
               struct tsk_err *err)
{
    enum tsk_type type = tsk_type_of(message);
    int taken = tsk_reconcile_read(message, ignore, NULL, err);
    const char *batch_id = tsk_json_str(message, "batch_id");
    if (taken <= 0 || !batch_id)
        return taken < 0 ? -1 : 0;
    struct batch *batch = get_batch(l, batch_id);
    if (!gives_up(type, message))
        keep_line(l, type, message, batch_id, line);
    touch(l, batch, type, message);
    return 1;
}

/* ---- Recording lines in the ledger. */

struct adding {
    struct lines *lines;
    struct tsk_store *store;
    int64_t now;  /* wall ms */
    int64_t last; /* the last row there was */
    struct tsk_rows rows;
};

/* Returns whether a collector records the lines of a batch, which is asked once a batch; or -1. */
static int has_collector(struct adding *adding, const char *batch_id, struct tsk_err *err)
{
    static const char sql[] = "SELECT count(*) FROM received_results WHERE batch_id = $1"
                              " AND collector_id NOT IN ('reconcile', 'publish', 'ready')";
    struct batch *batch = tsk_map_get(adding->lines->open, batch_id);
    struct tsk_value value = tsk_value_text(batch_id);
    int64_t count = 0;
    if (batch->ledger == UNKNOWN) {
        if (tsk_store_get_int(adding->store, sql, &value, 1, &count, err) < 0)
            return -1;
        batch->ledger = count ? OTHERS : OURS;
    }
    return batch->ledger == OTHERS;
}

/* Returns whether the store has a batch of its own publishers, so that a receipt tells nothing. */
static int is_published(struct adding *adding, const char *batch_id, struct tsk_err *err)
{
    static const char sql[] = "SELECT count(*) FROM batches WHERE batch_id = $1 AND"
                              " (publisher IS NULL OR publisher <> '" TSK_OUTBOUND_LEDGER "')";
    struct tsk_value value = tsk_value_text(batch_id);
    int64_t count = 0;
    return tsk_store_get_int(adding->store, sql, &value, 1, &count, err) < 0 ? -1 : count > 0;
}

/* Returns whether the ledger has a line at the reserved position that the line names. */
static int is_there(struct adding *adding, const struct entry *entry, struct tsk_err *err)
{
    static const char sql[] = "SELECT 1 FROM received_results WHERE source = $1 AND stream_offset ="
                              " $2 AND batch_id = $3";
    struct tsk_value values[] = {tsk_value_text(entry->named), tsk_value_int(entry->named_offset),
                                 tsk_value_text(entry->batch_id)};
    int64_t one;
    if (tsk_rows_end(&adding->rows, err) < 0)
        return -1;
    return tsk_store_get_int(adding->store, sql, values, 3, &one, err);
}

/* Returns whether the ledger has a line already, or does without it; or -1. */
static int is_known(struct adding *adding, const struct entry *entry, struct tsk_err *err)
{
    if (strncmp(entry->source, TSK_SOURCE_LINES, strlen(TSK_SOURCE_LINES)) != 0)
        return 0; /* that is for the ledger to find out */
    if (entry->type == TSK_TYPE_PUBLISHED)
        return is_published(adding, entry->batch_id, err);
    int known = entry->named ? is_there(adding, entry, err) : 0;
    return known ? known : has_collector(adding, entry->batch_id, err);
}

static int add_entry(struct adding *adding, const struct entry *entry, struct tsk_err *err)
{
    const char *type = tsk_type_name(entry->type);
    struct tsk_ledger_entry row = {.topic = type ? type : "results",
                                   .raw = entry->raw,
                                   .len = entry->len,
                                   .message_type = type,
                                   .batch_id = entry->batch_id,
                                   .step_id = entry->step_id,
                                   .source = entry->source,
                                   .offset = entry->offset};
    int known = is_known(adding, entry, err);
    if (known)
        return known < 0 ? -1 : 0;
    return tsk_ledger_add(&adding->rows, &row, COLLECTOR, adding->now, err);
}

/* Marks a batch, if any line of it was new. */
static int mark(struct adding *adding, const char *batch_id, struct tsk_err *err)
{
    static const char sql[] =
        "INSERT INTO unsettled (batch_id) SELECT $1 WHERE EXISTS (SELECT 1 FROM received_results"
        " WHERE batch_id = $1 AND id > $2 AND collector_id = '" COLLECTOR "')";
    struct tsk_value values[] = {tsk_value_text(batch_id), tsk_value_int(adding->last)};
    return tsk_store_send(adding->store, sql, values, 2, err);
}

static int mark_all(struct adding *adding, struct tsk_err *err)
{
    static char marked;
    struct tsk_map *done = tsk_map_new(NULL);
    int rc = 0;
    for (size_t i = 0; i < adding->lines->count && rc == 0; i++) {
        const char *batch_id = adding->lines->entries[i].batch_id;
        if (tsk_map_get(done, batch_id))
            continue;
        tsk_map_put(done, batch_id, &marked);
        rc = mark(adding, batch_id, err);
    }
    tsk_map_free(done);
    return rc;
}

static int add_entries(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char last[] = "SELECT max(id) FROM received_results";
    struct lines *l = ctx;
    struct adding adding = {.lines = l, .store = store, .now = tsk_wall_ms()};
    if (tsk_store_get_int(store, last, NULL, 0, &adding.last, err) < 0)
        return -1;
    int rc = 0;
    tsk_rows_init(&adding.rows, store, &tsk_ledger_rows);
    for (size_t i = 0; i < l->count && rc == 0; i++)
        rc = add_entry(&adding, &l->entries[i], err);
    if (rc == 0)
        rc = tsk_rows_end(&adding.rows, err);
    tsk_rows_fini(&adding.rows);
    return rc < 0 ? -1 : mark_all(&adding, err);
}

static bool record(struct lines *l)
{
    if (l->count && !settling_write(l->settling, add_entries, l))
        return false;
    forget_entries(l);
    return true;
}

/* ---- Printing verdicts. */

/* What is told by a verdict, so that the same one is printed once. */
static uint64_t digest_of(const struct tsk_verdict *verdict)
{
    const int64_t facts[] = {verdict->kind,   (int64_t)verdict->discrepancy_count,
                             verdict->total,  verdict->completed,
                             verdict->failed, verdict->in_progress};
    return (uint64_t)hash_of((const char *)facts, sizeof facts) | 1;
}

/* Prints a verdict of batch with the next revision. A collector that gave up, or --timeout, turns
 * an incomplete batch into one that has timed out. */
static void print_verdict(struct lines *l, struct batch *batch, const struct tsk_verdict *verdict)
{
    struct tsk_verdict out = *verdict;
    if (out.revision <= batch->pending.revision)
        out.revision = batch->pending.revision + 1;
    if (out.kind == TSK_INCOMPLETE && (batch->gave_up || batch->timed_out)) {
        out.kind = TSK_TIMED_OUT;
        out.error = batch->gave_up;
    }
    batch->pending.revision = out.revision;
    told_hold(l->settling->told, &out);
}

bool lines_verdict(struct lines *l, const struct tsk_verdict *verdict)
{
    struct batch *batch = l ? tsk_map_get(l->open, verdict->batch_id) : NULL;
    if (!batch || !batch->in_turn)
        return batch != NULL;
    uint64_t digest = digest_of(verdict);
    uint64_t *printed = &batch->pending.verdicts[verdict->revision > 1];
    bool clear = verdict->kind == TSK_CONSISTENT || batch->final;
    if (clear && *printed != digest) {
        *printed = digest;
        print_verdict(l, batch, verdict);
    }
    batch->unprinted = *printed != digest || (verdict->revision > 1 && batch->unprinted);
    return true;
}

/* Another program's lines may have brought the news, or ours come later. */
bool lines_settled(struct lines *l, const char *batch_id)
{
    struct batch *batch = l ? tsk_map_get(l->open, batch_id) : NULL;
    if (batch && !batch->in_turn) {
        batch->news = true;
        batch->next = 0;
        l->due = 0;
    }
    return batch != NULL;
}

void lines_restart(struct lines *l)
{
    for (size_t i = 0; l && i < l->turn_count; i++)
        l->turn[i]->pending = l->turn[i]->printed;
}

void lines_commit(struct lines *l)
{
    for (size_t i = 0; l && i < l->turn_count; i++)
        l->turn[i]->printed = l->turn[i]->pending;
}

/* ---- Settling the batches of a turn. */

static void begin_turn(struct lines *l, int64_t now, bool all)
{
    l->turn_count = 0;
    for (struct tsk_map_entry *e = tsk_map_first(l->open); e; e = tsk_map_next(e)) {
        struct batch *batch = tsk_map_value(e);
        int64_t final = final_at(l, batch);
        batch->final = batch->open && (all || (final >= 0 && final <= now));
        batch->timed_out = l->timeout_ms >= 0 && now - batch->heard >= l->timeout_ms;
        batch->in_turn = batch->final || (batch->news && (all || batch->next <= now));
        if (!batch->in_turn)
            continue;
        batch->unprinted = true;
        l->turn = tsk_grow(l->turn, &l->turn_cap, l->turn_count + 1, sizeof(struct batch *));
        l->turn[l->turn_count++] = batch;
    }
}

struct search {
    struct lines *lines;
    struct tsk_settle_list list;
};

static int find_turn(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct search *search = ctx;
    search->list.count = 0;
    for (size_t i = 0; i < search->lines->turn_count; i++) {
        struct batch *batch = search->lines->turn[i];
        int found = tsk_settle_find_id(store, batch->id, &search->list, err);
        if (found < 0)
            return -1;
        batch->in_store = found;
    }
    return 0;
}

/* A batch of which nothing but the error of a collector is known gets a verdict by that alone. */
static void print_unknown(struct lines *l, struct batch *batch)
{
    static const struct tsk_discrepancy missing = {.type = TSK_MISSING_COMPLETION,
                                                   .detail = "there is no batch_completion"};
    struct tsk_verdict verdict = {.batch_id = batch->id,
                                  .kind = TSK_TIMED_OUT,
                                  .revision = 1,
                                  .error = batch->gave_up,
                                  .published_at = -1,
                                  .completed_at = -1,
                                  .time_ms = -1,
                                  .discrepancies = &missing,
                                  .discrepancy_count = 1};
    if (!batch->printed.revision)
        told_verdict(l->settling->told, &verdict);
    batch->printed.revision = 1;
}

/* Moves a batch that waits for nothing to the past, and forgets the oldest ones there. */
static void put_by(struct lines *l, struct batch *batch)
{
    tsk_map_take(l->open, batch->id);
    tsk_map_put(l->past, batch->id, batch);
    while (tsk_map_count(l->past) > PAST_MOST)
        tsk_map_remove(l->past, tsk_map_key(tsk_map_first(l->past)));
}

static void end_turn(struct lines *l, int64_t start)
{
    for (size_t i = 0; i < l->turn_count; i++) {
        struct batch *batch = l->turn[i];
        if (batch->final && !batch->in_store && batch->gave_up)
            print_unknown(l, batch);
        batch->news = batch->in_turn = false;
        batch->next = settling_pause(&batch->took, start, PAUSE_TIMES, PAUSE_MS, PAUSE_MOST_MS);
        batch->open &= !batch->final && batch->unprinted;
        batch->final = false;
        if (!batch->open)
            put_by(l, batch);
    }
    l->turn_count = 0;
    l->due = -1;
    for (struct tsk_map_entry *e = tsk_map_first(l->open); e; e = tsk_map_next(e))
        l->due = tsk_earlier(l->due, due_of(l, tsk_map_value(e)));
}

static bool settle_turn(struct lines *l)
{
    struct search search = {l, TSK_SETTLE_LIST_INIT};
    bool ok = settling_adopt(l->settling, false) &&
              settling_read(l->settling, find_turn, &search) &&
              settling_run(l->settling, &search.list, TSK_SETTLE_TELL);
    tsk_settle_list_fini(&search.list);
    return ok;
}

bool lines_turn(struct lines *l, int64_t now, bool all)
{
    if (!all && (l->due < 0 || l->due > now))
        return true;
    int64_t start = tsk_now_ms();
    if (!record(l))
        return false;
    begin_turn(l, now, all);
    bool ok = !l->turn_count || settle_turn(l);
    if (ok)
        end_turn(l, start);
    return ok;
}

int64_t lines_due(const struct lines *l)
{
    return l->due;
}
