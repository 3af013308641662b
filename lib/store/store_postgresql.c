/* The store in PostgreSQL, by libpq in its pipeline mode: statements go out one after the other,
 * and only a synchronisation, which a run and a commit end with, waits for their answers. So many
 * rows are one round trip. What failed is kept until then; the server passes over all that comes
 * after it. Answers that come meanwhile are taken, so that neither side can fill the other's
 * buffers and both stand still. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_postgresql.h"
#include "tasker/clock.h"

enum { HELD_MOST = 65536, HELD_EACH = 64 };

static int lost(struct tsk_store_db *db, struct tsk_err *err)
{
    return tsk_pg_fail_conn(db, "go on", err);
}

/* Keeps an error of the pipeline, if it is the first. */
static void keep_error(struct tsk_store_db *db, const struct tsk_err *err)
{
    if (!db->failed.kind)
        db->failed = *err;
}

/* Notes how a command ended, by one of its results. */
static void note_result(struct tsk_store_db *db, const PGresult *result)
{
    const struct pg_command *command = &db->commands[db->first];
    struct tsk_err err;
    switch (tsk_pq.resultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
        return;
    case PGRES_PIPELINE_ABORTED:
        tsk_err_set(&err, TSK_BUG, "%s: a statement was passed over", db->name);
        break;
    default:
        tsk_pg_fail(db, "run a statement", result, &err);
    }
    if (command->prepares)
        db->statements[command->statement].prepared = false;
    keep_error(db, &err);
}

/* Waits until the next result can be taken, sending what is still to be sent. */
static int wait_result(struct tsk_store_db *db, struct tsk_err *err)
{
    while (tsk_pq.isBusy(db->conn)) {
        int unsent = tsk_pq.flush(db->conn);
        if (unsent < 0)
            return lost(db, err);
        short events = unsent ? POLLIN | POLLOUT : POLLIN;
        int ready = tsk_pg_wait(db, events, tsk_now_ms() + db->opts->timeout_ms, err);
        if (ready < 0)
            return -1;
        if (ready & ~POLLOUT && !tsk_pq.consumeInput(db->conn))
            return lost(db, err);
    }
    return 0;
}

static void next_command(struct tsk_store_db *db)
{
    if (++db->first == db->last)
        db->first = db->last = 0;
}

/* Takes all results of the oldest command. */
static int take_command(struct tsk_store_db *db, struct tsk_err *err)
{
    for (;;) {
        if (wait_result(db, err) < 0)
            return -1;
        PGresult *result = tsk_pq.getResult(db->conn);
        if (!result)
            break;
        note_result(db, result);
        tsk_pq.clear(result);
        if (tsk_pq.status(db->conn) == CONNECTION_BAD)
            return lost(db, err);
    }
    next_command(db);
    return 0;
}

/* Sends what libpq holds once it is much, and takes what has been answered meanwhile. */
static int keep_moving(struct tsk_store_db *db, struct tsk_err *err)
{
    int unsent;
    if (db->held < HELD_MOST)
        return 0;
    db->held = 0;
    while ((unsent = tsk_pq.flush(db->conn)) > 0) {
        int ready = tsk_pg_wait(db, POLLIN | POLLOUT, tsk_now_ms() + db->opts->timeout_ms, err);
        if (ready < 0)
            return -1;
        if (ready & ~POLLOUT && !tsk_pq.consumeInput(db->conn))
            return lost(db, err);
        while (db->first < db->last && !tsk_pq.isBusy(db->conn)) {
            if (take_command(db, err) < 0)
                return -1;
        }
    }
    return unsent < 0 ? lost(db, err) : 0;
}

static void add_command(struct tsk_store_db *db, size_t statement, bool prepares)
{
    db->commands = tsk_grow(db->commands, &db->command_cap, db->last + 1, sizeof *db->commands);
    db->commands[db->last++] = (struct pg_command){statement, prepares};
    db->unsynced = true;
}

/* Returns the place of the statement, which is prepared or about to be; or -1. */
static int64_t prepare(struct tsk_store_db *db, const char *sql, char name[24], struct tsk_err *err)
{
    size_t i = 0;
    while (i < db->count && db->statements[i].sql != sql)
        i++;
    if (i == db->count) {
        db->statements = tsk_grow(db->statements, &db->cap, db->count + 1, sizeof *db->statements);
        db->statements[db->count++] = (struct pg_statement){sql, false};
    }
    snprintf(name, 24, "s%zu", i);
    if (db->statements[i].prepared)
        return (int64_t)i;
    if (!tsk_pq.sendPrepare(db->conn, name, sql, 0, NULL))
        return lost(db, err);
    db->statements[i].prepared = true;
    add_command(db, i, true);
    return (int64_t)i;
}

/* Puts a statement into the pipeline. */
static int put(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
               size_t count, struct tsk_err *err)
{
    struct pg_params params;
    char name[24];
    if (db->broken)
        return tsk_err_set(err, TSK_TEMPFAIL, "%s: the connection is lost", db->name);
    if (tsk_pg_params(&params, values, count, err) < 0)
        return -1;
    int64_t place = prepare(db, sql, name, err);
    if (place < 0)
        return -1;
    if (!tsk_pq.sendQueryPrepared(db->conn, name, (int)count, params.values, params.lengths,
                                  params.formats, 1))
        return lost(db, err);
    add_command(db, (size_t)place, false);
    db->held += HELD_EACH;
    for (size_t i = 0; i < count; i++)
        db->held += values[i].len;
    return 0;
}

/* Takes the answer to a synchronisation, after those of all commands before it. */
static int take_sync(struct tsk_store_db *db, struct tsk_err *err)
{
    while (db->first < db->last) {
        if (take_command(db, err) < 0)
            return -1;
    }
    if (wait_result(db, err) < 0)
        return -1;
    PGresult *result = tsk_pq.getResult(db->conn);
    bool ok = tsk_pq.resultStatus(result) == PGRES_PIPELINE_SYNC;
    tsk_pq.clear(result);
    db->unsynced = false;
    return ok ? 0 : lost(db, err);
}

/* Fails with what the pipeline has failed with, if it has. */
static int take_error(struct tsk_store_db *db, struct tsk_err *err)
{
    if (!db->failed.kind)
        return 0;
    if (err)
        *err = db->failed;
    db->failed.kind = TSK_OK;
    return -1;
}

static int synchronise(struct tsk_store_db *db, struct tsk_err *err)
{
    if (db->broken)
        return tsk_err_set(err, TSK_TEMPFAIL, "%s: the connection is lost", db->name);
    if (!tsk_pq.pipelineSync(db->conn))
        return lost(db, err);
    return take_sync(db, err);
}

/* The rows of one statement, on their way to whoever wants them. */
struct rows {
    tsk_row_fn *row;
    void *ctx;
    int64_t count;
    bool stopped;
};

/* Gives those of a result: one, or all where libpq did not want to part them. */
static void give_rows(struct tsk_store_db *db, struct rows *rows, const PGresult *result)
{
    struct tsk_value values[PG_VALUES_MOST];
    struct tsk_err err;
    for (int i = 0; i < tsk_pq.ntuples(result) && !rows->stopped; i++) {
        rows->count++;
        if (!rows->row)
            continue;
        if (tsk_pg_row(result, i, values, &err) < 0) {
            keep_error(db, &err);
            rows->stopped = true;
        } else {
            rows->stopped = rows->row(rows->ctx, values, (size_t)tsk_pq.nfields(result)) != 0;
        }
    }
}

/* As take_command for the one whose rows are wanted. They come one by one, and all have to be taken
 * even if nobody wants more. */
static int take_rows(struct tsk_store_db *db, struct rows *rows, struct tsk_err *err)
{
    tsk_pq.setSingleRowMode(db->conn);
    for (;;) {
        if (wait_result(db, err) < 0)
            return -1;
        PGresult *result = tsk_pq.getResult(db->conn);
        if (!result)
            break;
        note_result(db, result);
        if (tsk_pq.ntuples(result) > 0)
            give_rows(db, rows, result);
        else if (tsk_pq.resultStatus(result) == PGRES_COMMAND_OK)
            rows->count = strtoll(tsk_pq.cmdTuples(result), NULL, 10);
        tsk_pq.clear(result);
        if (tsk_pq.status(db->conn) == CONNECTION_BAD)
            return lost(db, err);
    }
    next_command(db);
    return 0;
}

static int64_t run(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
                   size_t count, tsk_row_fn *row, void *ctx, struct tsk_err *err)
{
    struct rows rows = {row, ctx, 0, false};
    if (put(db, sql, values, count, err) < 0)
        return -1;
    if (!tsk_pq.pipelineSync(db->conn))
        return lost(db, err);
    while (db->first + 1 < db->last) {
        if (take_command(db, err) < 0)
            return -1;
    }
    if (take_rows(db, &rows, err) < 0 || take_sync(db, err) < 0 || take_error(db, err) < 0)
        return -1;
    return rows.count;
}

static int db_send(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
                   size_t count, struct tsk_err *err)
{
    if (!db->within) /* nothing else would ever wait for it */
        return run(db, sql, values, count, NULL, NULL, err) < 0 ? -1 : 0;
    return put(db, sql, values, count, err) < 0 ? -1 : keep_moving(db, err);
}

static int begin(struct tsk_store_db *db, bool write, struct tsk_err *err)
{
    static const char writing[] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    static const char reading[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    static const char no_hurry[] = "SET LOCAL statement_timeout = 0"; /* a pager may read */
    db->within = true;
    if (put(db, write ? writing : reading, NULL, 0, err) < 0)
        return -1;
    return write ? 0 : put(db, no_hurry, NULL, 0, err);
}

/* A transaction in which something failed is not committed, even by a server that is asked to: it
 * answers ROLLBACK. So what was overlooked is found here at the latest. */
static int commit(struct tsk_store_db *db, struct tsk_err *err)
{
    static const char sql[] = "COMMIT";
    if (!db->unsynced && tsk_pq.transactionStatus(db->conn) == PQTRANS_INERROR)
        return tsk_err_set(err, TSK_BUG, "%s: a transaction that has failed is to be committed",
                           db->name);
    if (run(db, sql, NULL, 0, NULL, NULL, err) < 0)
        return -1;
    db->within = false;
    return 0;
}

static void rollback(struct tsk_store_db *db)
{
    static const char sql[] = "ROLLBACK";
    db->within = false;
    if (db->broken)
        return;
    if (db->unsynced)
        synchronise(db, NULL);
    db->failed.kind = TSK_OK;
    if (!db->broken && tsk_pq.transactionStatus(db->conn) != PQTRANS_IDLE)
        run(db, sql, NULL, 0, NULL, NULL, NULL);
}

/* A connection that waits for nothing and can be read has ended, or has something to say of its
 * end. */
static bool broken(struct tsk_store_db *db)
{
    struct pollfd fd = {.fd = tsk_pq.socket(db->conn), .events = POLLIN};
    while (!db->broken && poll(&fd, 1, 0) > 0) {
        if (!tsk_pq.consumeInput(db->conn) || tsk_pq.status(db->conn) == CONNECTION_BAD)
            db->broken = true;
        tsk_pq.isBusy(db->conn); /* looks at what has come */
    }
    return db->broken;
}

/* Several statements are only taken outside of the pipeline. */
static int script(struct tsk_store_db *db, const char *text, struct tsk_err *err)
{
    PGresult *result = NULL;
    int rc = synchronise(db, err);
    if (rc < 0 || (rc = take_error(db, err)) < 0)
        return -1;
    if (!tsk_pq.exitPipelineMode(db->conn) || !tsk_pq.sendQuery(db->conn, text))
        return lost(db, err);
    while (rc == 0 && (rc = wait_result(db, err)) == 0 && (result = tsk_pq.getResult(db->conn))) {
        if (tsk_pq.resultStatus(result) == PGRES_FATAL_ERROR)
            tsk_pg_fail(db, "make the schema", result, &db->failed);
        tsk_pq.clear(result);
    }
    if (rc == 0 && !tsk_pq.enterPipelineMode(db->conn))
        return lost(db, err);
    return rc < 0 ? -1 : take_error(db, err);
}

static int lock_schema(struct tsk_store_db *db, struct tsk_err *err)
{
    static const char sql[] = "SELECT pg_advisory_xact_lock(7310579600471623026)";
    return run(db, sql, NULL, 0, NULL, NULL, err) < 0 ? -1 : 0;
}

static int take_one(void *ctx, const struct tsk_value *row, size_t columns)
{
    if (columns)
        *(int64_t *)ctx = row[0].number;
    return 0;
}

static int has_table(struct tsk_store_db *db, const char *name, struct tsk_err *err)
{
    static const char sql[] = "SELECT to_regclass($1) IS NOT NULL";
    struct tsk_value value = tsk_value_text(name);
    int64_t there = 0;
    return run(db, sql, &value, 1, take_one, &there, err) < 0 ? -1 : there > 0;
}

/* All tables beside the schema's own, with their indexes. */
static int db_size(struct tsk_store_db *db, int64_t *bytes, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class "
        "WHERE oid = to_regclass('schema_migrations'))";
    return run(db, sql, NULL, 0, take_one, bytes, err) < 0 ? -1 : 0;
}

static const char *const words[][2] = {
    {"@ID@", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"},
    {"@BYTES@", "BYTEA"},
    {"@NOW@", "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"},
    {"@UTC(@", "to_char(to_timestamp(("},
    {"@)UTC@", ") / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"},
    {"@TEXT(@", "convert_from("},
    {"@)TEXT@", ", 'UTF8')"},
    {NULL, NULL},
};

const struct tsk_store_ops tsk_store_postgresql = {
    .kind = TSK_STORE_POSTGRESQL,
    .words = words,
    .open = tsk_pg_open,
    .close = tsk_pg_close,
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
    .watch = tsk_pg_watch,
    .watch_read = tsk_pg_watch_read,
};
