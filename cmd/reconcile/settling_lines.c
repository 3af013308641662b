/* Lines that are read, and the store. A batch is settled from the ledger when there was a line of
 * it: collect prints no line before the ledger has it. What no collector put there (it ran without
 * a store, or the line comes from a file) is put there first.
 *
 * A batch of many steps is not settled with each of its lines, since that looks at all of its
 * ledger each time: the pauses grow with what the last time took. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reconcile/settling.h"
#include "tasker/clock.h"
#include "tasker/store.h"
#include "tasker/message.h"

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

void settling_forget_lines(struct settling *s)
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
    if (!settling_do(s, true, add_lines, &adding))
        return false;
    settling_forget_lines(s);
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
                settling_pause(&touched->took, start, PAUSE_TIMES, PAUSE_MS, PAUSE_MOST_MS);
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
    bool ok = settling_adopt(s, false) && settling_do(s, false, look_up, &lookup) &&
              settling_run(s, &lookup.list, 0);
    if (ok)
        clean(&lookup, start);
    tsk_settle_list_fini(&lookup.list);
    return ok;
}

bool settling_turn(struct settling *s, int64_t now, bool all)
{
    bool due = s && s->due >= 0 && (all || s->due <= now);
    if (due && !(flush_lines(s) && settle_touched(s, now, all)))
        return false;
    if (s && s->opts->follow && !all && now >= s->look_at)
        return settling_look(s);
    return true;
}

int64_t settling_due(const struct settling *s)
{
    if (!s)
        return -1;
    return s->opts->follow ? tsk_earlier(s->due, s->look_at) : s->due;
}
