/* tasker-status store: what state it is in, what it has, and the namespaces that an operator holds.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "status/metrics.h"
#include "status/rows.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/store.h"

struct held {
    struct held_one {
        char *name, *reason, *by;
        int64_t since; /* wall ms */
    } * items;
    size_t count, cap;
};

static void held_fini(struct held *held)
{
    for (size_t i = 0; i < held->count; i++) {
        free(held->items[i].name);
        free(held->items[i].reason);
        free(held->items[i].by);
    }
    free(held->items);
    *held = (struct held){NULL, 0, 0};
}

static int take_one(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct held *held = ctx;
    (void)columns;
    held->items = tsk_grow(held->items, &held->cap, held->count + 1, sizeof *held->items);
    held->items[held->count++] = (struct held_one){tsk_strdup(row[0].data), tsk_strdup(row[1].data),
                                                   tsk_strdup(row[2].data), row[3].number};
    return 0;
}

static int held_get(struct tsk_store *store, struct held *held, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT namespace, reason, held_by, created_at FROM held_namespaces ORDER BY namespace";
    held_fini(held);
    return tsk_store_run(store, sql, NULL, 0, take_one, held, err) < 0 ? -1 : 0;
}

static void held_show(const struct held *held)
{
    for (size_t i = 0; i < held->count; i++) {
        const struct held_one *one = &held->items[i];
        struct tsk_buf line = TSK_BUF_INIT;
        char since[TSK_TIME_SIZE];
        tsk_time_format(one->since, since);
        tsk_buf_str(&line, "held        ");
        tsk_plain_str(&line, one->name);
        tsk_buf_printf(&line, " since %s by ", since);
        tsk_plain_str(&line, *one->by ? one->by : "somebody");
        tsk_buf_str(&line, ": ");
        tsk_plain_str(&line, one->reason);
        out_line(line.data, line.len);
        tsk_buf_fini(&line);
    }
}

static struct json_object *held_json(const struct held *held)
{
    struct json_object *all = json_object_new_array();
    for (size_t i = 0; i < held->count; i++) {
        struct json_object *one = json_object_new_object();
        tsk_json_put_str(one, "namespace", held->items[i].name);
        tsk_json_put_time(one, "since", held->items[i].since);
        tsk_json_put_str(one, "by", held->items[i].by);
        tsk_json_put_str(one, "reason", held->items[i].reason);
        json_object_array_add(all, one);
    }
    return all;
}

/* tasker-status store: the store as such. Whether it is there and can be used, what it holds, and
 * since when; --init makes it; --prune (prune.c) takes away what ended long ago.
 *
 * How many rows a table has is counted up to a limit. Beyond it, where counting would take longer
 * than anybody wants to wait, the database is asked what it believes: SQLite for its first and its
 * last row, PostgreSQL for its statistics. Such a number is told as one that is about right. */
#define COUNTED_MOST "20000"
enum { COUNTED = 20000 };

/* A table of which rows are told. */
struct told {
    const char *table;
    const char *some;                /* how many, up to one more than the limit */
    const char *sqlite, *postgresql; /* about how many */
};

#define TOLD(name)                                                                                 \
    {                                                                                              \
        name, "SELECT count(*) FROM (SELECT 1 FROM " name " LIMIT 1 + " COUNTED_MOST ") AS part",  \
            "SELECT (SELECT max(rowid) FROM " name ") - (SELECT min(rowid) FROM " name ") + 1",    \
            "SELECT greatest(pg_stat_get_live_tuples(oid), reltuples::bigint) FROM pg_class"       \
            " WHERE oid = to_regclass('" name "')",                                                \
    }

static const struct told told[] = {
    TOLD("tasks"),
    TOLD("steps"),
    TOLD("step_dependencies"),
    TOLD("batches"),
    TOLD("batch_steps"),
    TOLD("received_results"),
    TOLD("unsettled"),
    TOLD("settled_batches"),
    TOLD("settled_steps"),
    TOLD("discrepancies"),
    TOLD("task_transitions"),
    TOLD("step_transitions"),
    TOLD("batch_transitions"),
    TOLD("namespace_transitions"),
};

enum { TABLES = sizeof told / sizeof *told, STATES = 3 };

/* All that is told. */
struct look {
    const char *kind, *name, *health;
    const struct tsk_err *err;
    int64_t version; /* -1: not known */
    int writable;    /* -1: not known */
    bool full;       /* what follows is known */
    int64_t size, rows[TABLES];
    bool about[TABLES];
    struct tally states[STATES];
    int64_t unsettled, oldest_unsettled, newest; /* times; 0: none */
    struct held held;
};

static int count_table(struct tsk_store *store, struct look *look, size_t i, struct tsk_err *err)
{
    int64_t *rows = &look->rows[i], about = 0;
    if (tsk_store_get_int(store, told[i].some, NULL, 0, rows, err) < 0)
        return -1;
    look->about[i] = *rows > COUNTED;
    if (!look->about[i])
        return 0;
    const char *sql = TSK_SQL(store, told[i].sqlite, told[i].postgresql);
    if (tsk_store_get_int(store, sql, NULL, 0, &about, err) < 0)
        return -1;
    if (about > *rows)
        *rows = about;
    return 0;
}

static int get_times(struct tsk_store *store, struct look *look, struct tsk_err *err)
{
    static const char unsettled[] = "SELECT count(DISTINCT batch_id) FROM unsettled";
    static const char oldest[] = "SELECT min(received_at) FROM received_results WHERE batch_id ="
                                 " (SELECT batch_id FROM unsettled ORDER BY id LIMIT 1)";
    static const char newest[] = "SELECT max(received_at) FROM received_results";
    return tsk_store_get_int(store, unsettled, NULL, 0, &look->unsettled, err) < 0 ||
                   tsk_store_get_int(store, oldest, NULL, 0, &look->oldest_unsettled, err) < 0 ||
                   tsk_store_get_int(store, newest, NULL, 0, &look->newest, err) < 0
               ? -1
               : 0;
}

static int look_inside(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const struct counted *const counted[] = {&counted_tasks, &counted_batches,
                                                    &counted_steps};
    struct look *look = ctx;
    if (tsk_store_size(store, &look->size, err) < 0 || held_get(store, &look->held, err) < 0)
        return -1;
    for (size_t i = 0; i < STATES; i++) {
        if (counts_get(store, counted[i], &look->states[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < TABLES; i++) {
        if (count_table(store, look, i, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < TABLES; i++) {
        for (size_t s = 0; s < STATES; s++) {
            if (strcmp(told[i].table, counted[s]->table) != 0)
                continue;
            look->rows[i] = look->states[s].all;
            look->about[i] = false;
        }
    }
    return get_times(store, look, err);
}

/* Fails where the store is not to be written by this user, and writes nothing. PostgreSQL says so
 * of each table alone. */
static int may_write(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char count_denied[] =
        "SELECT count(*) FROM unnest(ARRAY['batches', 'steps', 'received_results', 'unsettled']) AS"
        " t (name), unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) AS p (name)"
        " WHERE NOT has_table_privilege(t.name, p.name)";
    int64_t denied = 0;
    (void)ctx;
    if (tsk_store_kind(store) == TSK_STORE_SQLITE)
        return 0;
    if (tsk_store_get_int(store, count_denied, NULL, 0, &denied, err) < 0)
        return -1;
    return denied ? tsk_err_set(err, TSK_UNAVAILABLE, "%s: this user may only read it",
                                tsk_store_name(store))
                  : 0;
}

/* Looks. Returns the status that its health is. */
static enum tsk_exit look_at(struct tsk_store *store, struct look *look, struct tsk_err *err)
{
    tsk_store_set_use(store, TSK_STORE_LOOK);
    int rc = tsk_store_read(store, look_inside, look, 0, err);
    look->version = tsk_store_version_seen(store);
    if (rc < 0)
        return err->kind;
    look->full = true;
    struct tsk_err cannot = TSK_ERR_INIT;
    rc = tsk_store_write(store, may_write, NULL, 0, &cannot);
    look->writable = rc == 0;
    if (rc == 0 || cannot.kind == TSK_UNAVAILABLE)
        return TSK_OK; /* whoever may only read it has seen what there is to see */
    *err = cannot;
    return err->kind;
}

static const char *health_of(enum tsk_exit status, const struct look *look,
                             const struct tsk_err *err)
{
    switch (status) {
    case TSK_OK:
        return look->writable ? "ok" : "read_only";
    case TSK_TEMPFAIL:
        return "away";
    case TSK_UNAVAILABLE:
        return look->version == 0 ? "empty" : look->version > 0 ? "old_schema" : "unavailable";
    case TSK_CONFIG:
        return look->version > 0 ? "newer_schema" : "wrong";
    default:
        return err->code == ENOSPC ? "full" : err->code == EBADMSG ? "damaged" : "failing";
    }
}

/* ---- as JSON */

static struct json_object *states_json(const struct tally *tally)
{
    struct json_object *states = json_object_new_object();
    for (size_t i = 0; i < STATES_MOST && tally->what->states[i]; i++)
        tsk_json_put_int(states, tally->what->states[i], tally->by_state[i]);
    return states;
}

static void put_time(struct json_object *to, const char *name, int64_t time)
{
    if (time)
        tsk_json_put_time(to, name, time);
    else
        tsk_json_put(to, name, NULL);
}

static void put_inside(struct json_object *to, const struct look *look)
{
    struct json_object *rows = json_object_new_object(), *about = json_object_new_array();
    for (size_t i = 0; i < TABLES; i++) {
        tsk_json_put_int(rows, told[i].table, look->rows[i]);
        if (look->about[i])
            json_object_array_add(about, json_object_new_string(told[i].table));
    }
    tsk_json_put_int(to, "size_bytes", look->size);
    tsk_json_put(to, "rows", rows);
    tsk_json_put(to, "rows_about", about);
    for (size_t i = 0; i < STATES; i++)
        tsk_json_put(to, look->states[i].what->table, states_json(&look->states[i]));
    tsk_json_put_int(to, "unsettled_batches", look->unsettled);
    put_time(to, "oldest_unsettled_at", look->oldest_unsettled);
    put_time(to, "newest_message_at", look->newest);
    tsk_json_put(to, "held_namespaces", held_json(&look->held));
}

static void show_json(const struct look *look)
{
    struct json_object *all = json_object_new_object();
    tsk_json_put_str(all, "message_type", "store");
    tsk_json_put_str(all, "kind", look->kind);
    tsk_json_put(all, "place", tsk_json_lossy(look->name, strlen(look->name)));
    tsk_json_put_str(all, "health", look->health);
    if (look->err->kind)
        tsk_json_put(all, "error", tsk_json_lossy(look->err->text, strlen(look->err->text)));
    if (look->version >= 0)
        tsk_json_put_int(all, "schema", look->version);
    tsk_json_put_int(all, "schema_known", tsk_store_version_known());
    if (look->writable >= 0)
        tsk_json_put_bool(all, "writable", look->writable);
    if (look->full)
        put_inside(all, look);
    out_json(all);
    json_object_put(all);
}

/* ---- as text */

static void show_states(const struct tally *tally)
{
    struct tsk_buf line = TSK_BUF_INIT;
    tsk_buf_printf(&line, "%-10s", tally->what->table);
    for (size_t i = 0; i < STATES_MOST && tally->what->states[i]; i++) {
        if (tally->by_state[i])
            tsk_buf_printf(&line, "  %" PRId64 " %s", tally->by_state[i], tally->what->states[i]);
    }
    if (!tally->all)
        tsk_buf_str(&line, "  none");
    out_printf("%s", line.data);
    tsk_buf_fini(&line);
}

static void show_time(const char *name, int64_t time)
{
    char text[TSK_TIME_SIZE];
    struct tsk_buf ago = TSK_BUF_INIT;
    if (!time)
        return;
    int64_t age = tsk_wall_ms() - time;
    tsk_time_format(time, text);
    report_duration(&ago, age > 0 ? age : 0);
    out_printf("%s%s (%s ago)", name, text, ago.data);
    tsk_buf_fini(&ago);
}

static void show_tables(const struct look *look)
{
    struct table table = {.columns = 2, .right = 2, .indent = "  "};
    table_add(&table, "TABLE");
    table_add(&table, "ROWS");
    for (size_t i = 0; i < TABLES; i++) {
        char rows[32];
        snprintf(rows, sizeof rows, "%s%" PRId64, look->about[i] ? "~" : "", look->rows[i]);
        table_add(&table, told[i].table);
        table_add(&table, rows);
    }
    out_printf("%s", "");
    table_end(&table);
}

static void show_text(const struct look *look)
{
    struct tsk_buf name = TSK_BUF_INIT;
    tsk_plain_str(&name, look->name);
    out_printf("store       %s %s", look->kind, name.data);
    tsk_buf_fini(&name);
    out_printf("health      %s", look->health);
    if (look->version >= 0)
        out_printf("schema      %" PRId64 " (this program knows %d)", look->version,
                   tsk_store_version_known());
    if (!look->full)
        return;
    out_printf("size        %.1f MB", (double)look->size / 1e6);
    for (size_t i = 0; i < STATES; i++)
        show_states(&look->states[i]);
    out_printf("unsettled   %" PRId64 " batch%s", look->unsettled,
               look->unsettled == 1 ? "" : "es");
    show_time("  oldest    ", look->oldest_unsettled);
    show_time("newest      ", look->newest);
    held_show(&look->held);
    show_tables(look);
}

/* ---- the subcommand */

static const char *store_kind_name(const struct tsk_store *store)
{
    return tsk_store_kind(store) == TSK_STORE_SQLITE ? "sqlite" : "postgresql";
}

static enum tsk_exit show(const struct options *opts, struct tsk_store *store)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct look look = {.kind = store_kind_name(store),
                        .name = tsk_store_name(store),
                        .err = &err,
                        .version = -1,
                        .writable = -1};
    enum tsk_exit status = look_at(store, &look, &err);
    look.health = health_of(status, &look, &err);
    if (opts->format == FORMAT_JSON)
        show_json(&look);
    else
        show_text(&look);
    held_fini(&look.held);
    return status ? diag_err(&err) : TSK_OK;
}

static enum tsk_exit init(const struct options *opts, struct tsk_store *store)
{
    struct tsk_err err = TSK_ERR_INIT;
    if (tsk_store_connect(store, &err) < 0)
        return diag_err(&err);
    int64_t seen = tsk_store_version_seen(store);
    const char *how = !tsk_store_steps_made(store) ? "found" : seen ? "brought up to date" : "made";
    if (opts->format == FORMAT_JSON) {
        struct json_object *all = json_object_new_object();
        tsk_json_put_str(all, "message_type", "store_init");
        tsk_json_put_str(all, "kind", store_kind_name(store));
        tsk_json_put(all, "place",
                     tsk_json_lossy(tsk_store_name(store), strlen(tsk_store_name(store))));
        tsk_json_put_str(all, "result", *how == 'b' ? "updated" : how);
        tsk_json_put_int(all, "schema", tsk_store_version_known());
        out_json(all);
        json_object_put(all);
        return TSK_OK;
    }
    struct tsk_buf name = TSK_BUF_INIT;
    tsk_plain_str(&name, tsk_store_name(store));
    out_printf("%s the store %s %s, schema %d", how, store_kind_name(store), name.data,
               tsk_store_version_known());
    tsk_buf_fini(&name);
    return TSK_OK;
}

/* Whether the options fit together; if not, tells so. */
static bool well_used(const struct options *opts)
{
    if (opts->init && opts->prune)
        diag_error("store: --init and --prune are two things: one at a time");
    else if (opts->prune && opts->older_than < 0)
        diag_error("store: --prune needs --older-than DURATION");
    else if (opts->dry_run && !opts->prune)
        diag_error("store: --dry-run is for --prune");
    else if (opts->older_than >= 0 && !opts->prune)
        diag_error("store: --older-than is for --prune");
    else
        return true;
    return false;
}

enum tsk_exit status_store(const struct options *opts, const struct tsk_conf *conf,
                           char *const *operands, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    if (!query_no_operands("store", operands, count) || !well_used(opts))
        return TSK_USAGE;
    int stop_fd = opts->prune ? signals_open(false, &err) : -1;
    if (opts->prune && stop_fd < 0)
        return diag_err(&err);
    struct tsk_store *store = tsk_store_new(conf, stop_fd, &err);
    if (!store) {
        if (err.kind == TSK_OK)
            err.kind = TSK_UNAVAILABLE;
        return diag_err(&err);
    }
    enum tsk_exit status = opts->init    ? init(opts, store)
                           : opts->prune ? store_prune(opts, store)
                                         : show(opts, store);
    tsk_store_free(store);
    return status;
}
