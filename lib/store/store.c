/* The store in front of its back ends: which one a url names, connecting when it is needed, and
 * transactions that are tried again when what stopped them will pass. */
#include "tasker/store.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "store/ops.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/os.h"

/* Databases with their journals, and the threads of a ledger. */
enum { ROOM_FDS = 12, ROOM_THREADS = 3 };
enum { PAUSE_LEAST_MS = 10, PAUSE_MOST_MS = 1000 };

static const struct tsk_store_ops *ops_of(const char *url)
{
    int kind = tsk_store_kind_of(url);
    if (kind == TSK_STORE_SQLITE)
        return &tsk_store_sqlite;
    return kind == TSK_STORE_POSTGRESQL ? &tsk_store_postgresql : NULL;
}

struct tsk_store *tsk_store_new(const struct tsk_conf *conf, int stop_fd, struct tsk_err *err)
{
    const char *url = tsk_conf_str(conf, TSK_STORE_URL);
    const struct tsk_store_ops *ops = ops_of(url);
    char shown[1024];
    if (!ops) {
        tsk_err_set(err, TSK_OK, "there is no store (store.url is none, %s)",
                    tsk_conf_origin(conf, TSK_STORE_URL));
        return NULL;
    }
    if (tsk_os_room(ROOM_FDS, ROOM_THREADS, err) < 0)
        return NULL;
    char *path = ops->kind == TSK_STORE_SQLITE ? tsk_store_sqlite_path(url, err) : NULL;
    if (ops->kind == TSK_STORE_SQLITE && !path)
        return NULL;
    struct tsk_store *store = tsk_alloc(sizeof *store);
    tsk_store_url_shown(url, shown, sizeof shown);
    store->ops = ops;
    store->watch = -1;
    store->name = tsk_strdup(path ? path : shown);
    store->url = path ? path : tsk_strdup(url);
    store->opts = (struct tsk_store_opts){.url = store->url,
                                          .make = true,
                                          .timeout_ms = tsk_conf_int(conf, TSK_STORE_TIMEOUT),
                                          .stop_fd = stop_fd};
    store->opts.lock_ms = store->opts.timeout_ms;
    store->version_seen = -1;
    return store;
}

static void disconnect(struct tsk_store *store)
{
    if (store->db)
        store->ops->close(store->db);
    store->db = NULL;
}

void tsk_store_free(struct tsk_store *store)
{
    if (!store)
        return;
    disconnect(store);
    if (store->watch >= 0)
        close(store->watch);
    free(store->url);
    free(store->name);
    free(store);
}

enum tsk_store_kind tsk_store_kind(const struct tsk_store *store)
{
    return store->ops->kind;
}

const char *tsk_store_name(const struct tsk_store *store)
{
    return store->name;
}

void tsk_store_set_use(struct tsk_store *store, enum tsk_store_use use)
{
    store->opts.make = use == TSK_STORE_MAKE;
}

void tsk_store_set_lock_wait(struct tsk_store *store, int64_t ms)
{
    store->opts.lock_ms = ms;
}

/* ---- The schema: made at first use and brought up to date by numbered steps, each in a
 * transaction of its own that holds off all others who would do the same. */

#define TABLE "schema_migrations"

static const char make_table[] =
    "CREATE TABLE IF NOT EXISTS " TABLE " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, "
    "applied_at BIGINT NOT NULL)";
static const char get_version[] = "SELECT max(version) FROM " TABLE;
static const char add_version[] =
    "INSERT INTO " TABLE " (version, name, applied_at) VALUES ($1, $2, $3)";

/* SQLite plans by figures that only ANALYZE brings. Without them it takes rows of one state for
 * few, and looks up the ten steps of a task by going through all that are complete. So it is told
 * once how tables of ours grow: many rows a state, few that are ready. Those of ANALYZE, if
 * somebody runs that, take their place. */
static const char figures_sqlite[] =
    "ANALYZE step_dependencies;"
    "DELETE FROM sqlite_stat1;"
    "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES"
    " ('tasks', 'tasks_by_state', '1000000 200000 2'),"
    " ('batches', 'batches_by_state', '1000000 200000 2'),"
    " ('steps', 'steps_by_state', '10000000 2000000 2');"
    "INSERT INTO sqlite_stat1 (tbl, idx, stat) SELECT tbl_name, name, '1000 300 2 1 1'"
    " FROM sqlite_master WHERE name = 'steps_ready';"
    "ANALYZE sqlite_master"; /* reads them */

int tsk_store_version_known(void)
{
    return tsk_migrations[tsk_migration_count - 1].version;
}

static int take_version(void *ctx, const struct tsk_value *row, size_t columns)
{
    if (columns && row[0].type == TSK_INT)
        *(int64_t *)ctx = row[0].number;
    return 1;
}

static int read_version(struct tsk_store *store, int64_t *version, struct tsk_err *err)
{
    *version = 0;
    int there = store->ops->has_table(store->db, TABLE, err);
    if (there <= 0)
        return there;
    return store->ops->run(store->db, get_version, NULL, 0, take_version, version, err) < 0 ? -1
                                                                                            : 0;
}

int tsk_store_version(struct tsk_store *store, int64_t *version, struct tsk_err *err)
{
    if (tsk_store_connect(store, err) < 0)
        return -1;
    return read_version(store, version, err);
}

/* The text of a migration with the words of the back end put in (the caller's). */
static char *fill_in(const struct tsk_store_ops *ops, const char *text)
{
    struct tsk_buf out = TSK_BUF_INIT;
    while (*text) {
        size_t i = 0;
        while (ops->words[i][0] && strncmp(text, ops->words[i][0], strlen(ops->words[i][0])) != 0)
            i++;
        if (ops->words[i][0]) {
            tsk_buf_str(&out, ops->words[i][1]);
            text += strlen(ops->words[i][0]);
        } else {
            tsk_buf_char(&out, *text++);
        }
    }
    return out.data;
}

static int apply(struct tsk_store *store, const struct tsk_migration *step, struct tsk_err *err)
{
    char *text = fill_in(store->ops, step->text);
    struct tsk_value values[] = {tsk_value_int(step->version), tsk_value_text(step->name),
                                 tsk_value_int(tsk_wall_ms())};
    int rc = store->ops->script(store->db, text, err);
    free(text);
    if (rc == 0 && store->ops->kind == TSK_STORE_SQLITE)
        rc = store->ops->script(store->db, figures_sqlite, err);
    if (rc == 0 && store->ops->run(store->db, add_version, values, 3, NULL, NULL, err) < 0)
        rc = -1;
    return rc < 0 ? tsk_err_prefix(err, "schema step %d (%s): ", step->version, step->name) : 0;
}

/* Applies the next step that is missing, in the transaction that is open; a step that another
 * process has just made is seen here. *version becomes what the store then has. */
static int next_step(struct tsk_store *store, int64_t *version, bool *made, struct tsk_err *err)
{
    if (store->ops->lock_schema(store->db, err) < 0 ||
        store->ops->run(store->db, make_table, NULL, 0, NULL, NULL, err) < 0 ||
        read_version(store, version, err) < 0)
        return -1;
    if (!store->steps_made)
        store->version_seen = *version; /* another may have made steps meanwhile */
    for (size_t i = 0; i < tsk_migration_count; i++) {
        if (tsk_migrations[i].version <= *version)
            continue;
        *version = tsk_migrations[i].version;
        *made = true;
        return apply(store, &tsk_migrations[i], err);
    }
    return 0;
}

static int step_up(struct tsk_store *store, int64_t *version, struct tsk_err *err)
{
    if (store->ops->begin(store->db, true, err) < 0)
        return -1;
    bool made = false;
    int rc = next_step(store, version, &made, err);
    if (rc == 0)
        rc = store->ops->commit(store->db, err);
    store->steps_made += rc == 0 && made;
    if (rc < 0)
        store->ops->rollback(store->db);
    return rc;
}

static int migrate(struct tsk_store *store, bool make, struct tsk_err *err)
{
    int64_t version, known = tsk_store_version_known();
    if (read_version(store, &version, err) < 0)
        return -1;
    store->version_seen = version;
    if (version < known && !make)
        return tsk_err_set(err, TSK_UNAVAILABLE,
                           version ? "the store %s has schema %d, this program needs %d: "
                                     "\"tasker-status store --init\" brings it up to date"
                                   : "the store %s is empty (schema %d of %d): \"tasker-status "
                                     "store --init\" makes it",
                           store->name, (int)version, (int)known);
    while (version < known) {
        if (step_up(store, &version, err) < 0)
            return -1;
    }
    if (version > known)
        return tsk_err_set(err, TSK_CONFIG,
                           "the store %s has schema %d, newer than this program knows (%d): use a "
                           "newer tasker",
                           store->name, (int)version, (int)known);
    return 0;
}

/* ---- connecting */

static int open_store(struct tsk_store *store, struct tsk_err *err)
{
    store->version_seen = -1;
    store->db = store->ops->open(&store->opts, err);
    if (!store->db)
        return -1;
    if (migrate(store, store->opts.make && !store->opts.had, err) == 0) {
        store->opts.had = true;
        return 0;
    }
    disconnect(store);
    return -1;
}

int tsk_store_connect(struct tsk_store *store, struct tsk_err *err)
{
    struct tsk_err own = TSK_ERR_INIT;
    if (!err)
        err = &own;
    if (store->db && (store->within || !store->ops->broken(store->db)))
        return 0;
    disconnect(store);
    if (open_store(store, err) == 0)
        return 0;
    if (store->opts.had && err->kind == TSK_UNAVAILABLE)
        err->kind = TSK_TEMPFAIL; /* what was there may be put back */
    return -1;
}

/* The databases differ in what they take for a text, so what only one would take is refused. */
static int check_texts(const struct tsk_value *values, size_t count, struct tsk_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i].type == TSK_TEXT && !tsk_json_is_text(values[i].data, values[i].len))
            return tsk_err_set(err, TSK_DATA, "a text for the store is not UTF-8, or has a NUL");
    }
    return 0;
}

bool tsk_store_in_doubt(const struct tsk_store *store)
{
    return store->in_doubt;
}

int64_t tsk_store_version_seen(const struct tsk_store *store)
{
    return store->version_seen;
}

int tsk_store_steps_made(const struct tsk_store *store)
{
    return store->steps_made;
}

int64_t tsk_store_run(struct tsk_store *store, const char *sql, const struct tsk_value *values,
                      size_t count, tsk_row_fn *row, void *ctx, struct tsk_err *err)
{
    if (check_texts(values, count, err) < 0 || tsk_store_connect(store, err) < 0)
        return -1;
    return store->ops->run(store->db, sql, values, count, row, ctx, err);
}

int tsk_store_send(struct tsk_store *store, const char *sql, const struct tsk_value *values,
                   size_t count, struct tsk_err *err)
{
    if (check_texts(values, count, err) < 0 || tsk_store_connect(store, err) < 0)
        return -1;
    return store->ops->send(store->db, sql, values, count, err);
}

struct one_int {
    int64_t value;
    bool there;
};

static int take_int(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct one_int *one = ctx;
    one->there = columns && row[0].type == TSK_INT;
    one->value = one->there ? row[0].number : 0;
    return 1;
}

int tsk_store_get_int(struct tsk_store *store, const char *sql, const struct tsk_value *values,
                      size_t count, int64_t *out, struct tsk_err *err)
{
    struct one_int one = {0, false};
    if (tsk_store_run(store, sql, values, count, take_int, &one, err) < 0)
        return -1;
    if (one.there)
        *out = one.value;
    return one.there;
}

/* A commit that fails as the connection does may have happened. */
static int commit(struct tsk_store *store, struct tsk_err *err)
{
    int rc = store->ops->commit(store->db, err);
    store->in_doubt = rc < 0 && store->ops->broken(store->db);
    return rc;
}

/* One try of a transaction. */
static int try_once(struct tsk_store *store, bool write, tsk_store_fn *fn, void *ctx,
                    struct tsk_err *err)
{
    if (tsk_store_connect(store, err) < 0)
        return -1;
    int rc = store->ops->begin(store->db, write, err);
    if (rc == 0) {
        store->within = true;
        rc = fn(store, ctx, err);
        if (rc == 0)
            rc = commit(store, err);
        if (rc < 0 && store->db)
            store->ops->rollback(store->db);
        store->within = false;
    }
    if (rc < 0 && store->db && store->ops->broken(store->db))
        disconnect(store);
    return rc < 0 ? -1 : 0;
}

/* Waits; returns false if the wait was ended by stop_fd. */
static bool wait_for(const struct tsk_store *store, int64_t ms)
{
    struct pollfd stop = {.fd = store->opts.stop_fd, .events = POLLIN};
    int64_t until = tsk_now_ms() + ms;
    int ready;
    while ((ready = poll(&stop, 1, tsk_left_ms(until))) < 0 && errno == EINTR)
        ;
    return ready <= 0;
}

static int transact(struct tsk_store *store, bool write, tsk_store_fn *fn, void *ctx,
                    int64_t patience, struct tsk_err *err)
{
    struct tsk_err own = TSK_ERR_INIT;
    int64_t start = tsk_now_ms(), pause = PAUSE_LEAST_MS;
    if (!err)
        err = &own;
    if (store->within)
        return tsk_err_set(err, TSK_BUG, "a transaction within a transaction");
    store->in_doubt = false;
    while (try_once(store, write, fn, ctx, err) < 0) {
        int64_t left = patience < 0 ? pause : start + patience - tsk_now_ms();
        if (err->kind != TSK_TEMPFAIL || left <= 0)
            return -1;
        if (!wait_for(store, pause < left ? pause : left))
            return -1;
        pause = pause * 2 < PAUSE_MOST_MS ? pause * 2 : PAUSE_MOST_MS;
    }
    return 0;
}

int tsk_store_write(struct tsk_store *store, tsk_store_fn *fn, void *ctx, int64_t patience,
                    struct tsk_err *err)
{
    return transact(store, true, fn, ctx, patience, err);
}

int tsk_store_read(struct tsk_store *store, tsk_store_fn *fn, void *ctx, int64_t patience,
                   struct tsk_err *err)
{
    return transact(store, false, fn, ctx, patience, err);
}

int tsk_store_size(struct tsk_store *store, int64_t *bytes, struct tsk_err *err)
{
    if (tsk_store_connect(store, err) < 0)
        return -1;
    return store->ops->size(store->db, bytes, err);
}

void tsk_store_ids(struct tsk_buf *ids, int64_t id)
{
    if (ids->len)
        ids->data[ids->len - 1] = ','; /* the bracket */
    tsk_buf_printf(ids, "%s%" PRId64 "]", ids->len ? "" : "[", id);
}

/* ---- Being woken by the store. SQLite has nothing of the kind between processes, but every commit
 * writes the file or its write-ahead log: so the folder is watched. Writes of our own wake us too,
 * once. */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int watch_file(struct tsk_store *store, struct tsk_err *err)
{
    const char *path = store->opts.url, *base = base_of(path);
    char *folder = tsk_strdup(base == path ? "." : path);
    if (base != path)
        folder[base - path > 1 ? base - path - 1 : 1] = '\0';
    int fd = tsk_os_watch(folder);
    if (fd < 0 && errno == ENOSYS)
        tsk_err_set(err, TSK_OK, "this system cannot tell when a file changes");
    else if (fd < 0)
        tsk_err_sys(err, TSK_UNAVAILABLE, "%s: cannot be watched", folder);
    free(folder);
    return fd;
}

int tsk_store_watch(struct tsk_store *store, struct tsk_err *err)
{
    if (tsk_store_connect(store, err) < 0)
        return -1;
    if (store->ops->watch)
        return store->ops->watch(store->db, err);
    if (store->watch < 0)
        store->watch = watch_file(store, err);
    return store->watch;
}

bool tsk_store_watch_read(struct tsk_store *store)
{
    if (store->ops->watch_read)
        return !store->db || store->ops->watch_read(store->db);
    return store->watch >= 0 && tsk_os_watch_read(store->watch, base_of(store->opts.url));
}

int tsk_store_notify(struct tsk_store *store, struct tsk_err *err)
{
    static const char sql[] = "SELECT pg_notify('tasker', '')";
    if (!store->ops->watch)
        return 0;
    return tsk_store_run(store, sql, NULL, 0, NULL, NULL, err) < 0 ? -1 : 0;
}

/* ---- Globs of * and ? as the two databases have them: GLOB has [ besides, and LIKE other
 * characters that stand for any. */

static void add_glob(struct tsk_buf *out, char c)
{
    if (c == '[')
        tsk_buf_str(out, "[[]");
    else
        tsk_buf_char(out, c);
}

static void add_like(struct tsk_buf *out, char c)
{
    if (strchr("%_\\", c))
        tsk_buf_char(out, '\\');
    tsk_buf_char(out, (char)(c == '*' ? '%' : c == '?' ? '_' : c));
}

void tsk_store_glob(enum tsk_store_kind kind, const char *glob, struct tsk_buf *out)
{
    tsk_buf_str(out, "");
    for (const char *c = glob; *c; c++) {
        if (kind == TSK_STORE_SQLITE)
            add_glob(out, *c);
        else
            add_like(out, *c);
    }
}
