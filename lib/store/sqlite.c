/* The store in a file, by SQLite: write-ahead log, so that readers and the one writer do not wait
 * for each other, a full sync a commit, so that what was committed is there after a power cut, and
 * foreign keys. A writer takes its lock at the begin of a transaction and not in its midst, where
 * waiting for it would be a deadlock. */
#include <errno.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "store/ops.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

#define DEFAULT_PATH "tasker/tasker.db"

enum { COLUMNS_MOST = 64, PAUSE_MOST_MS = 25, STOP_MS = 1000 };

struct statement {
    const char *sql; /* its address is the key */
    sqlite3_stmt *stmt;
    bool in_order; /* its parameters are met in the order of their numbers */
};

struct tsk_store_db {
    sqlite3 *db;
    struct statement *statements;
    size_t count, cap;
    char *path;
    const struct tsk_store_opts *opts;
    int64_t locked_since;
    bool moved; /* its file is not at path any more */
};

/* ---- the path: SQLite says little of what is wrong with it */

static int make_folders(const char *path, struct tsk_err *err)
{
    char *folder = tsk_strdup(path);
    int rc = 0;
    for (char *slash = strchr(folder + 1, '/'); slash && rc == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0700) < 0 && errno != EEXIST && errno != EISDIR && errno != EROFS)
            rc = tsk_err_sys(err, TSK_UNAVAILABLE, "%s: cannot make the folder of the store",
                             folder);
        *slash = '/';
    }
    free(folder);
    return rc;
}

static int check_path(const char *path, bool make, struct tsk_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return S_ISREG(st.st_mode)
                   ? 0
                   : tsk_err_set(err, TSK_UNAVAILABLE, "%s: the store cannot be here: %s", path,
                                 S_ISDIR(st.st_mode) ? "it is a folder" : "it is not a file");
    if (errno != ENOENT)
        return tsk_err_sys(err, TSK_UNAVAILABLE, "%s: the store cannot be opened", path);
    return make
               ? 0
               : tsk_err_set(err, TSK_UNAVAILABLE,
                             "there is no store at %s yet: \"tasker-status store --init\" makes it",
                             path);
}

static const char *mounted_read_only(const char *path)
{
    char *place = tsk_strdup(path), *slash;
    struct statvfs fs;
    int rc;
    while ((rc = statvfs(*place ? place : "/", &fs)) < 0 && errno == ENOENT &&
           (slash = strrchr(place, '/')) != NULL)
        *slash = '\0';
    if (rc < 0 && errno == ENOENT)
        rc = statvfs(".", &fs);
    free(place);
    return rc == 0 && fs.f_flag & ST_RDONLY ? "its file system is read-only" : NULL;
}

char *tsk_store_sqlite_path(const char *url, struct tsk_err *err)
{
    const char *path = url[strlen("sqlite")] ? url + strlen("sqlite:") : "";
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct tsk_buf text = TSK_BUF_INIT;
    if (*path)
        return tsk_strdup(path);
    if (state && *state == '/') {
        tsk_buf_printf(&text, "%s/" DEFAULT_PATH, state);
    } else if (home && *home) {
        tsk_buf_printf(&text, "%s/.local/state/" DEFAULT_PATH, home);
    } else {
        tsk_err_set(err, TSK_CONFIG,
                    "no place for the store: neither XDG_STATE_HOME nor HOME is set; set store.url "
                    "to sqlite:PATH, to postgresql://HOST/NAME, or to none");
        return NULL;
    }
    return text.data;
}

/* ---- errors */

/* What an SQLite result means to the caller of a program. */
static enum tsk_exit kind_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return TSK_TEMPFAIL;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
        return TSK_IO;
    case SQLITE_CANTOPEN:
    case SQLITE_NOTADB:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return TSK_UNAVAILABLE;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
        return TSK_DATA;
    default:
        return TSK_BUG;
    }
}

/* Whether there is no room: on the disk, in a quota, or within the limit of a file's size. */
static bool is_full(int kind, int system)
{
    return kind == SQLITE_FULL ||
           (kind == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT || system == EFBIG));
}

/* What it is and what to do, or NULL where SQLite's own words do. */
static const char *words_for(int kind, int system)
{
    if (is_full(kind, system))
        return "its disk is full: make room, what is in it is safe";
    switch (kind) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another process holds its lock";
    case SQLITE_READONLY:
        return "this user may only read it, or its folder";
    case SQLITE_CORRUPT:
        return "it is damaged: restore a copy, or try .recover of sqlite3(1) (its image is "
               "malformed)";
    case SQLITE_IOERR:
        return "the system fails to read or write it: look at its disk (I/O error)";
    case SQLITE_NOTADB:
        return "file is not a database: is store.url right?";
    default:
        return NULL;
    }
}

static int fail(const struct tsk_store_db *db, const char *what, struct tsk_err *err)
{
    int code = sqlite3_extended_errcode(db->db), system = sqlite3_system_errno(db->db);
    int kind = code & 0xff;
    const char *text = words_for(kind, system), *read_only = NULL;
    if (!text)
        text = sqlite3_errmsg(db->db);
    if (kind == SQLITE_READONLY || kind == SQLITE_CANTOPEN)
        read_only = mounted_read_only(db->path);
    bool of_system = system && !read_only && (kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN);
    tsk_err_set(err, kind_of(code), "%s: cannot %s: %s%s%s", db->path, what,
                read_only ? read_only : text, of_system ? ": " : "",
                of_system ? strerror(system) : "");
    if (err)
        err->code = is_full(kind, system) ? ENOSPC : kind == SQLITE_CORRUPT ? EBADMSG : 0;
    return -1;
}

static void db_close(struct tsk_store_db *db)
{
    for (size_t i = 0; i < db->count; i++)
        sqlite3_finalize(db->statements[i].stmt);
    sqlite3_close(db->db);
    free(db->statements);
    free(db->path);
    free(db);
}

static int script(struct tsk_store_db *db, const char *text, struct tsk_err *err)
{
    return sqlite3_exec(db->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, "be used", err);
}

/* Waits a little for another's lock, if there is time. A program that is to stop has a second. */
static int wait_for_lock(void *ctx, int tries)
{
    struct tsk_store_db *db = ctx;
    struct pollfd stop = {.fd = db->opts->stop_fd, .events = POLLIN};
    int64_t now = tsk_now_ms(), limit = db->opts->lock_ms;
    if (tries == 0)
        db->locked_since = now;
    if (limit > STOP_MS && stop.fd >= 0 && poll(&stop, 1, 0) > 0)
        limit = STOP_MS;
    int64_t left = db->locked_since + limit - now, pause = tries + 1;
    if (left <= 0)
        return 0;
    if (pause > PAUSE_MOST_MS)
        pause = PAUSE_MOST_MS;
    poll(NULL, 0, (int)(pause < left ? pause : left));
    return 1;
}

/* Changes the file to a write-ahead log. Where several do that to a new file at once, SQLite would
 * wait for none of them: to it that is a deadlock, though beginning anew is all that it takes. */
static int use_log(struct tsk_store_db *db, struct tsk_err *err)
{
    int64_t start = tsk_now_ms();
    for (int tries = 1;; tries++) {
        int rc = sqlite3_exec(db->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            return 0;
        db->locked_since = start;
        if (kind_of(rc) != TSK_TEMPFAIL || !wait_for_lock(db, tries))
            return fail(db, "be used", err);
    }
}

/* Sets what a connection has to have. The log is asked for only where the file may be changed. */
static int set_up(struct tsk_store_db *db, const struct tsk_store_opts *opts, struct tsk_err *err)
{
    sqlite3_busy_handler(db->db, wait_for_lock, db);
    sqlite3_extended_result_codes(db->db, 1);
    if (script(db,
               "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY",
               err) < 0)
        return -1;
    return opts->make ? use_log(db, err) : script(db, "SELECT count(*) FROM sqlite_master", err);
}

/* A new one in the place of one that was taken away would hide that. */
static bool may_make(const struct tsk_store_opts *opts)
{
    return opts->make && !opts->had;
}

/* Opens the file. What looks like a URI to SQLite is a path here like any other. */
static int open_file(struct tsk_store_db *db, struct tsk_err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    struct tsk_buf path = TSK_BUF_INIT;
    if (may_make(db->opts))
        flags |= SQLITE_OPEN_CREATE;
    tsk_buf_printf(&path, "%s%s", *db->path == '/' ? "" : "./", db->path);
    int rc = sqlite3_open_v2(path.data, &db->db, flags, NULL);
    tsk_buf_fini(&path);
    if (!db->db)
        abort(); /* it had no memory for itself */
    return rc == SQLITE_OK ? 0 : fail(db, "be opened", err);
}

static struct tsk_store_db *db_open(const struct tsk_store_opts *opts, struct tsk_err *err)
{
    if (may_make(opts) && make_folders(opts->url, err) < 0)
        return NULL;
    if (check_path(opts->url, may_make(opts), err) < 0)
        return NULL;
    struct tsk_store_db *db = tsk_alloc(sizeof *db);
    db->path = tsk_strdup(opts->url);
    db->opts = opts;
    if (open_file(db, err) == 0 && set_up(db, opts, err) == 0)
        return db;
    db_close(db);
    return NULL;
}

static bool is_in_order(sqlite3_stmt *stmt)
{
    char name[24];
    for (int i = 1; i <= sqlite3_bind_parameter_count(stmt); i++) {
        snprintf(name, sizeof name, "$%d", i);
        if (strcmp(name, sqlite3_bind_parameter_name(stmt, i)) != 0)
            return false;
    }
    return true;
}

static const struct statement *prepare(struct tsk_store_db *db, const char *sql,
                                       struct tsk_err *err)
{
    for (size_t i = 0; i < db->count; i++) {
        if (db->statements[i].sql == sql)
            return &db->statements[i];
    }
    sqlite3_stmt *stmt;
    if (sqlite3_prepare_v3(db->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK) {
        fail(db, "prepare a statement", err);
        return NULL;
    }
    db->statements = tsk_grow(db->statements, &db->cap, db->count + 1, sizeof *db->statements);
    db->statements[db->count] = (struct statement){sql, stmt, is_in_order(stmt)};
    return &db->statements[db->count++];
}

/* Parameters are named $1, $2 …: SQLite numbers names in the order in which it meets them. */
static int place_of(const struct statement *statement, size_t number)
{
    char name[24];
    if (statement->in_order)
        return (int)number;
    snprintf(name, sizeof name, "$%zu", number);
    return sqlite3_bind_parameter_index(statement->stmt, name);
}

static int bind(sqlite3_stmt *stmt, int place, const struct tsk_value *value)
{
    switch (value->type) {
    case TSK_INT:
        return sqlite3_bind_int64(stmt, place, value->number);
    case TSK_TEXT:
        return sqlite3_bind_text64(stmt, place, value->data, value->len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    case TSK_BYTES:
        return value->len ? sqlite3_bind_blob64(stmt, place, value->data, value->len, SQLITE_STATIC)
                          : sqlite3_bind_zeroblob(stmt, place, 0);
    default:
        return sqlite3_bind_null(stmt, place);
    }
}

static struct tsk_value column(sqlite3_stmt *stmt, int i)
{
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_INTEGER:
        return tsk_value_int(sqlite3_column_int64(stmt, i));
    case SQLITE_NULL:
        return tsk_value_null();
    case SQLITE_BLOB: {
        const char *data = sqlite3_column_blob(stmt, i);
        return tsk_value_bytes(data ? data : "", (size_t)sqlite3_column_bytes(stmt, i));
    }
    default: {
        const char *text = (const char *)sqlite3_column_text(stmt, i);
        return tsk_value_chars(text ? text : "", (size_t)sqlite3_column_bytes(stmt, i));
    }
    }
}

/* Steps through all rows. Returns how many were given, or -1 (and then the error is the store's).
 */
static int64_t step_through(sqlite3_stmt *stmt, tsk_row_fn *row, void *ctx)
{
    struct tsk_value values[COLUMNS_MOST];
    int columns = sqlite3_column_count(stmt);
    int64_t rows = 0;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        rows++;
        if (!row)
            continue;
        for (int i = 0; i < columns; i++)
            values[i] = column(stmt, i);
        if (row(ctx, values, (size_t)columns) != 0)
            return rows;
    }
    return rc == SQLITE_DONE ? rows : -1;
}

static int64_t run(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
                   size_t count, tsk_row_fn *row, void *ctx, struct tsk_err *err)
{
    const struct statement *statement = prepare(db, sql, err);
    if (!statement)
        return -1;
    sqlite3_stmt *stmt = statement->stmt;
    if (sqlite3_column_count(stmt) > COLUMNS_MOST)
        return tsk_err_set(err, TSK_BUG, "a statement has too many columns");
    int rc = SQLITE_OK;
    for (size_t i = 0; i < count && rc == SQLITE_OK; i++)
        rc = bind(stmt, place_of(statement, i + 1), &values[i]);
    int64_t rows = rc == SQLITE_OK ? step_through(stmt, row, ctx) : -1;
    if (rows < 0)
        fail(db, "run a statement", err);
    else if (sqlite3_column_count(stmt) == 0)
        rows = sqlite3_changes64(db->db);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return rows;
}

static int db_send(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
                   size_t count, struct tsk_err *err)
{
    return run(db, sql, values, count, NULL, NULL, err) < 0 ? -1 : 0;
}

static int simple(struct tsk_store_db *db, const char *sql, struct tsk_err *err)
{
    return db_send(db, sql, NULL, 0, err);
}

static int begin(struct tsk_store_db *db, bool write, struct tsk_err *err)
{
    static const char writing[] = "BEGIN IMMEDIATE", reading[] = "BEGIN";
    int moved = 0;
    if (sqlite3_file_control(db->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
        moved) {
        db->moved = true; /* what is written now would be in no store */
        return tsk_err_set(err, TSK_TEMPFAIL, "%s: the file of the store was moved or taken away",
                           db->path);
    }
    if (write && sqlite3_db_readonly(db->db, "main") == 1)
        return tsk_err_set(err, TSK_UNAVAILABLE, "%s: this user may only read it", db->path);
    return simple(db, write ? writing : reading, err);
}

static int commit(struct tsk_store_db *db, struct tsk_err *err)
{
    static const char sql[] = "COMMIT";
    return simple(db, sql, err);
}

static void rollback(struct tsk_store_db *db)
{
    static const char sql[] = "ROLLBACK";
    if (!sqlite3_get_autocommit(db->db)) /* some errors have rolled back already */
        simple(db, sql, NULL);
}

/* After an I/O error or a full disk the next try had better begin anew. */
static bool broken(struct tsk_store_db *db)
{
    return db->moved || kind_of(sqlite3_errcode(db->db)) == TSK_IO;
}

static int lock_schema(struct tsk_store_db *db, struct tsk_err *err)
{
    (void)db;
    (void)err;
    return 0; /* the transaction is the only writer there is */
}

static int take_one(void *ctx, const struct tsk_value *row, size_t columns)
{
    if (columns)
        *(int64_t *)ctx = row[0].number;
    return 1;
}

static int has_table(struct tsk_store_db *db, const char *name, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1";
    struct tsk_value value = tsk_value_text(name);
    int64_t count = 0;
    return run(db, sql, &value, 1, take_one, &count, err) < 0 ? -1 : count > 0;
}

static int db_size(struct tsk_store_db *db, int64_t *bytes, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
    return run(db, sql, NULL, 0, take_one, bytes, err) < 0 ? -1 : 0;
}

static const char *const words[][2] = {
    {"@ID@", "INTEGER PRIMARY KEY AUTOINCREMENT"},
    {"@BYTES@", "BLOB"},
    {"@NOW@", "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"},
    {"@UTC(@", "strftime('%Y-%m-%dT%H:%M:%fZ', ("},
    {"@)UTC@", ") / 1000.0, 'unixepoch')"},
    {"@TEXT(@", "CAST("},
    {"@)TEXT@", " AS TEXT)"},
    {NULL, NULL},
};

const struct tsk_store_ops tsk_store_sqlite = {
    .kind = TSK_STORE_SQLITE,
    .words = words,
    .open = db_open,
    .close = db_close,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .broken = broken,
    .run = run,
    .send = db_send,
    .script = script,
    .lock_schema = lock_schema,
    .has_table = has_table,
    .size = db_size,
};
