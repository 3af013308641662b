/* The store: one small table of operations with two back ends, SQLite (embedded) and PostgreSQL
 * (tasker(7), STORE). Here are connections, transactions and statements; what is stored is
 * in config/schema, and who stores it in the modules on top (task.h, claim.h, outbound.h,
 * store.h, settle.h).
 *
 * Statements are static texts with parameters $1, $2, …; each is prepared once a connection and
 * found again by its address. Whatever the two databases say alike is one text; where they differ
 * the caller has one for each (TSK_SQL).
 *
 * A store belongs to one thread. It connects when it is first needed, makes or migrates the schema
 * then, and connects again after a loss. No text of an error ever has a password. */
#ifndef TASKER_STORE_H
#define TASKER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/conf.h"
#include "tasker/err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tsk_store;

/* Returns the store that store.url names, not connected yet; it needs nothing but memory. NULL with
 * TSK_OK in err->kind if that is "none", NULL with kind TSK_CONFIG if it cannot be, and NULL with
 * kind TSK_UNAVAILABLE if too few descriptors or threads are allowed. stop_fd
 * (or -1) is a descriptor that ends every wait when it can be read: a program's signals. */
struct tsk_store *tsk_store_new(const struct tsk_conf *conf, int stop_fd, struct tsk_err *err);

/* Disconnects. An open transaction is rolled back. NULL is fine. */
void tsk_store_free(struct tsk_store *store);

enum tsk_store_kind tsk_store_kind(const struct tsk_store *store);

/* For people: the path, or the url without a password. Borrowed. */
const char *tsk_store_name(const struct tsk_store *store);

/* What a store is asked to do when it connects. */
enum tsk_store_use {
    TSK_STORE_MAKE, /* make what is missing: file, folder and schema; the default */
    TSK_STORE_LOOK, /* change nothing: no store or no schema is an error, TSK_UNAVAILABLE */
};
void tsk_store_set_use(struct tsk_store *store, enum tsk_store_use use);

/* How long another's lock is waited for at once (by default store.timeout); to be told before it
 * connects. */
void tsk_store_set_lock_wait(struct tsk_store *store, int64_t ms);

/* Connects now, if it is not. What was there once is not made anew: it was taken away. Returns 0,
 * or -1 with
 * TSK_TEMPFAIL     away for now, taken away, or locked: worth another try
 * TSK_UNAVAILABLE  no database, not readable, not writable, refused
 * TSK_IO           the disk is full or fails
 * TSK_CONFIG       the schema is newer than this program knows, or the url is wrong
 * All functions below connect by themselves and fail with the same kinds, and with
 * TSK_DATA         a value that cannot be stored: a constraint, a text with a NUL or not in UTF-8
 * TSK_BUG          a statement that is wrong */
int tsk_store_connect(struct tsk_store *store, struct tsk_err *err);

/* A value of a parameter or a column; data is borrowed (for a column: until the row function
 * returns). */
enum tsk_value_type { TSK_NULL, TSK_INT, TSK_TEXT, TSK_BYTES };
struct tsk_value {
    enum tsk_value_type type;
    int64_t number;   /* TSK_INT */
    const char *data; /* TSK_TEXT, in a column followed by a NUL; TSK_BYTES */
    size_t len;
};

static inline struct tsk_value tsk_value_null(void)
{
    struct tsk_value value = {TSK_NULL, 0, NULL, 0};
    return value;
}

static inline struct tsk_value tsk_value_int(int64_t number)
{
    struct tsk_value value = {TSK_INT, number, NULL, 0};
    return value;
}

/* A text of len bytes; NULL gives a null value. */
static inline struct tsk_value tsk_value_chars(const char *text, size_t len)
{
    struct tsk_value value = {text ? TSK_TEXT : TSK_NULL, 0, text, text ? len : 0};
    return value;
}

static inline struct tsk_value tsk_value_text(const char *text)
{
    return tsk_value_chars(text, text ? strlen(text) : 0);
}

static inline struct tsk_value tsk_value_bytes(const char *data, size_t len)
{
    struct tsk_value value = {TSK_BYTES, 0, data, len};
    return value;
}

/* An integer, or null for the number that stands for "not told" (often -1 or 0). */
static inline struct tsk_value tsk_value_told(int64_t number, int64_t untold)
{
    return number == untold ? tsk_value_null() : tsk_value_int(number);
}

/* The text of a column, "" where it has none. */
static inline const char *tsk_value_str(const struct tsk_value *value)
{
    return value->type == TSK_TEXT ? value->data : "";
}

/* Whether a condition that SQL gave is true: PostgreSQL says "t", SQLite 1. */
static inline bool tsk_value_true(const struct tsk_value *value)
{
    if (value->type == TSK_INT)
        return value->number != 0;
    return value->type == TSK_TEXT && value->data[0] == 't';
}

/* Gets a row. Returns 0, or anything else to stop. It must not use the store. */
typedef int tsk_row_fn(void *ctx, const struct tsk_value *row, size_t columns);

/* Runs a statement; each row (if any, and if row is not NULL) is given to row. Returns how many
 * rows it gave or, if it gives none, changed; or -1 with err. After an error the transaction is
 * lost: end it. The rows of a large answer are not all in memory at once. */
int64_t tsk_store_run(struct tsk_store *store, const char *sql, const struct tsk_value *values,
                      size_t count, tsk_row_fn *row, void *ctx, struct tsk_err *err);

/* As tsk_store_run for one that gives no rows and whose count nobody needs. PostgreSQL is not
 * waited for: many go in one round trip, and an error comes with the next tsk_store_run or the
 * commit. */
int tsk_store_send(struct tsk_store *store, const char *sql, const struct tsk_value *values,
                   size_t count, struct tsk_err *err);

/* The same with one integer, or one text, as the answer: column 1 of row 1. Returns 1, 0 if there
 * is no row or it is null, or -1. */
int tsk_store_get_int(struct tsk_store *store, const char *sql, const struct tsk_value *values,
                      size_t count, int64_t *out, struct tsk_err *err);

/* Picks the text for the store's kind. Both must be static. */
#define TSK_SQL(store, sqlite, postgresql)                                                         \
    (tsk_store_kind(store) == TSK_STORE_SQLITE ? (sqlite) : (postgresql))

/* Joins the rows of a table for which condition, which names rows before it, holds. PostgreSQL then
 * has one plan: for each row before it, it looks into the index. With a plain JOIN it may read the
 * whole table, if its statistics are missing or old. For the same reason "EXISTS (…)" is written as
 * "(SELECT count(*) …) > 0", and the steps of a locking statement are found by
 * "s.id = ANY (ARRAY[p.step])". */
#define TSK_JOIN_SQLITE(table, alias, condition) " JOIN " table " " alias " ON " condition
#define TSK_JOIN_POSTGRESQL(table, alias, condition)                                               \
    " CROSS JOIN LATERAL (SELECT * FROM " table " " alias " WHERE " condition " OFFSET 0) " alias
#define TSK_LEFT_JOIN_SQLITE(table, alias, condition)                                              \
    " LEFT" TSK_JOIN_SQLITE(table, alias, condition)
#define TSK_LEFT_JOIN_POSTGRESQL(table, alias, condition)                                          \
    " LEFT JOIN LATERAL (SELECT * FROM " table " " alias " WHERE " condition " OFFSET 0) " alias   \
    " ON TRUE"

/* A column of texts in a condition that is to choose no index. */
#define TSK_UNINDEXED(column) "coalesce(" column ", '')"

/* A parameter that is a list of ids, as the rows w of the column id; tsk_store_ids makes its text:
 * it adds an id. */
#define TSK_IDS_SQLITE "(SELECT value AS id FROM json_each($1)) w"
#define TSK_IDS_POSTGRESQL                                                                         \
    "(SELECT CAST(json_array_elements_text(CAST($1 AS json)) AS BIGINT) AS id) w"
void tsk_store_ids(struct tsk_buf *ids, int64_t id);

/* Adds a glob of * and ? as what stands, as a parameter, in TSK_GLOB_ of that kind. */
void tsk_store_glob(enum tsk_store_kind kind, const char *glob, struct tsk_buf *out);
#define TSK_GLOB_SQLITE(value) "GLOB " value
#define TSK_GLOB_POSTGRESQL(value) "LIKE " value " ESCAPE '\\'"

/* The work of a transaction. It may be called again from its start, after a rollback: also when a
 * commit was cut off and nobody can tell whether it happened. So doing it twice must be the same as
 * doing it once. Returns 0, or -1 with err to roll back. */
typedef int tsk_store_fn(struct tsk_store *store, void *ctx, struct tsk_err *err);

/* Does fn in one transaction, durable when this returns 0. While that fails with TSK_TEMPFAIL
 * (locked, a deadlock, the connection lost) it is tried again, with pauses that grow from 10 ms to
 * 1 s, for at most patience ms (0: once; -1: until stop_fd says so). Returns 0, or -1 with the last
 * error, and nothing done. fn may be called within a transaction only by this function: they do not
 * nest. */
int tsk_store_write(struct tsk_store *store, tsk_store_fn *fn, void *ctx, int64_t patience,
                    struct tsk_err *err);

/* For fn: whether it was called before for the same transaction, and the connection was lost in its
 * commit, so that it may have happened. Where the two would tell the user different things, fn
 * looks at which it was. */
bool tsk_store_in_doubt(const struct tsk_store *store);

/* tsk_store_write for reading alone: all statements of fn see one state of the store. */
int tsk_store_read(struct tsk_store *store, tsk_store_fn *fn, void *ctx, int64_t patience,
                   struct tsk_err *err);

/* Being told when the store has changed. tsk_store_watch starts that, where it has not started, and
 * returns a descriptor, the store's, that can be read when something was committed, by whomever.
 * tsk_store_watch_read takes note of that and returns whether there was anything since it was last
 * called: ask it once more before a wait, as news can also come along with other answers. (It may
 * say so when nothing of interest was.) PostgreSQL tells of the commits in which tsk_store_notify
 * was called; of an SQLite file all are seen. Returns -1 with kind TSK_OK where the system cannot
 * tell: look again every TSK_STORE_WATCH_MS; or -1 with another kind. The descriptor may be another
 * after a loss of the connection: call it before each wait. */
#define TSK_STORE_WATCH_MS 50
int tsk_store_watch(struct tsk_store *store, struct tsk_err *err);
bool tsk_store_watch_read(struct tsk_store *store);

/* Within a transaction for writing: has its commit wake all who watch. */
int tsk_store_notify(struct tsk_store *store, struct tsk_err *err);

/* The version of the schema that this program makes, and that which the store has (0: none). */
int tsk_store_version_known(void);
int tsk_store_version(struct tsk_store *store, int64_t *version, struct tsk_err *err);

/* What the last attempt to connect saw of the schema, also where it failed: the version that was
 * there (0: none; -1: it did not get so far), and how many steps of it this store has made since it
 * is open (0: nothing was missing). */
int64_t tsk_store_version_seen(const struct tsk_store *store);
int tsk_store_steps_made(const struct tsk_store *store);

/* Bytes that the store takes on disk. */
int tsk_store_size(struct tsk_store *store, int64_t *bytes, struct tsk_err *err);

/* ---- Many rows by one statement. To PostgreSQL they go as arrays, one a column, hundreds at a
 * time: a statement costs the server more than a row does, above all at a table with checks, which
 * it reads anew for each. SQLite, to which a statement is a function call, gets them one by one.
 *
 * Rows of one tsk_rows are done in their order; with regard to other statements of the transaction
 * they are done at some time before tsk_rows_end returns. */

enum { TSK_ROWS_COLUMNS = 24 };

/* Static texts. one has the values of a row as $1, $2, …; many has the same as arrays:
 * "… FROM unnest($1::bigint[], $2::text[])". types has a letter a column: i (BIGINT), t (TEXT), b
 * (BYTEA). A row that is changed is named by "id = ANY (ARRAY[v1])": see TSK_JOIN_POSTGRESQL. */
struct tsk_rows_sql {
    const char *one, *many, *types;
};

struct tsk_rows {
    struct tsk_store *store;
    const struct tsk_rows_sql *sql;
    size_t count; /* rows that wait */
    size_t bytes; /* of these */
    struct tsk_buf columns[TSK_ROWS_COLUMNS];
};

/* Begins; store and sql are borrowed until tsk_rows_fini. */
void tsk_rows_init(struct tsk_rows *rows, struct tsk_store *store, const struct tsk_rows_sql *sql);

/* Drops what waits. */
void tsk_rows_fini(struct tsk_rows *rows);

/* Adds a row, of which nothing is kept. Returns 0, or -1 as tsk_store_send. */
int tsk_rows_add(struct tsk_rows *rows, const struct tsk_value *values, struct tsk_err *err);

/* Sends what waits; more can be added after that. Returns 0, or -1 as tsk_store_send. */
int tsk_rows_end(struct tsk_rows *rows, struct tsk_err *err);

/* ---- Rows of the ledger: each message that a collector received, once, as it came. They are added
 * within a transaction of the caller's; cmd/collect/ledger.h writes them in a thread. A message is
 * in the ledger once, however often it is added and by whom: source and offset identify it. */

/* A message that the ledger had. */
struct tsk_ledger_found {
    const char *topic, *raw; /* a NUL follows raw */
    size_t len;
};

struct tsk_ledger_entry {
    const char *topic; /* printable ASCII, "" if it has none */
    const char *raw;   /* the message as it came, without topic and space */
    size_t len;
    const char *message_type; /* as tasker(7) lists them; NULL: not known */
    const char *batch_id;     /* NULL: none that is a name */
    int64_t step_id;          /* 0: none */
    const char *source;       /* NULL: of no stream; it then gets a place in the writer's own */
    int64_t offset;
    const char *reason; /* why it could not be read; NULL: it was */
    int64_t at;         /* tsk_now_ms when it came */
    void *ctx;          /* the caller's */
    /* of tsk_ledger_look and tsk_ledger_look_open, when it is taken */
    bool look;
    const struct tsk_ledger_found *found;
    size_t found_count;
};

/* For a transaction of the caller's (tsk_store_write), without a writer: adds a message, unless its
 * source and offset are there, and marks a batch as one with news. source must be given; at and ctx
 * are not used. received_at is of the calendar, in ms. tsk_ledger_insert returns whether it was
 * added, where the store can tell at no cost (PostgreSQL: 1), or -1. tsk_ledger_add adds it to
 * rows, which were begun with tsk_ledger_rows; it returns 0, or -1. */
extern const struct tsk_rows_sql tsk_ledger_rows;
int tsk_ledger_add(struct tsk_rows *rows, const struct tsk_ledger_entry *entry,
                   const char *collector_id, int64_t received_at, struct tsk_err *err);
int tsk_ledger_insert(struct tsk_store *store, const struct tsk_ledger_entry *entry,
                      const char *collector_id, int64_t received_at, struct tsk_err *err);
int tsk_ledger_mark(struct tsk_store *store, const char *batch_id, struct tsk_err *err);

/* What a program of tasker itself has to say of a batch: a batch_error, at a place of its own. */
struct tsk_ledger_own {
    const char *source; /* how the source begins, "reconcile:"; the batch_id follows */
    int64_t offset;
    const char *batch_id;
    const char *text; /* of the message */
    size_t len;
};

/* Within such a transaction too: adds it, unless it is there, and marks the batch. The name before
 * the colon is noted as who received it. Returns 0, or -1. */
int tsk_ledger_put_own(struct tsk_store *store, const struct tsk_ledger_own *own,
                       int64_t received_at, struct tsk_err *err);

#ifdef __cplusplus
}
#endif

#endif
