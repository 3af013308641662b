/* The store in PostgreSQL, by libpq in its pipeline mode: statements go out one after the other,
 * and only a synchronisation, which a run and a commit end with, waits for their answers. So many
 * rows are one round trip. What failed is kept until then; the server passes over all that comes
 * after it. Answers that come meanwhile are taken, so that neither side can fill the other's
 * buffers and both stand still. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/postgresql.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

enum { HELD_MOST = 65536, HELD_EACH = 64, STOP_MS = 1000, VALUES_MOST = 64 };

/* ---- values
 *
 * Values to PostgreSQL and back. Numbers go out as text, since the type that the server gives a
 * parameter is its own affair; texts and bytes go with their length. All columns come in binary
 * form, where bytes are themselves and not twice as many digits. */

/* Parameters as libpq wants them; numbers are written into text. */
struct params {
    const char *values[VALUES_MOST];
    int lengths[VALUES_MOST], formats[VALUES_MOST];
    char text[VALUES_MOST][24];
};

/* The types that the store's statements give, as pg_type has them. */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_CHAR = 18,
    TYPE_NAME = 19,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_OID = 26,
    TYPE_UNKNOWN = 705,
    TYPE_VARCHAR = 1043,
    TYPE_NUMERIC = 1700,
    TYPE_VOID = 2278,
};

static int fill_params(struct params *params, const struct tsk_value *values, size_t count,
                       struct tsk_err *err)
{
    if (count > VALUES_MOST)
        return tsk_err_set(err, TSK_BUG, "a statement has too many parameters");
    for (size_t i = 0; i < count; i++) {
        if (values[i].len > INT_MAX / 2)
            return tsk_err_set(err, TSK_DATA, "a value of %zu bytes is too long", values[i].len);
        params->lengths[i] = (int)values[i].len;
        params->formats[i] = values[i].type != TSK_INT;
        params->values[i] = NULL;
        if (values[i].type == TSK_INT) {
            snprintf(params->text[i], sizeof params->text[i], "%" PRId64, values[i].number);
            params->values[i] = params->text[i];
        } else if (values[i].type != TSK_NULL) {
            params->values[i] = values[i].data ? values[i].data : "";
        }
    }
    return 0;
}

/* A big-endian integer of so many bytes, with its sign. */
static int64_t integer(const char *data, int len)
{
    uint64_t bits = (unsigned char)data[0] & 0x80 ? UINT64_MAX : 0;
    for (int i = 0; i < len; i++)
        bits = bits << 8 | (unsigned char)data[i];
    return (int64_t)bits;
}

/* A numeric without a fraction, as sum() of BIGINT gives: a head of four (digits, weight, sign,
 * scale), then digits to the base 10000. Returns false for one that is none. */
static bool whole_numeric(const char *data, int len, int64_t *out)
{
    enum { NEGATIVE = 0x4000 };
    if (len < 8)
        return false;
    int64_t digits = integer(data, 2), weight = integer(data + 2, 2);
    int64_t sign = integer(data + 4, 2), scale = integer(data + 6, 2), number = 0;
    if ((sign && sign != NEGATIVE) || scale || digits > weight + 1 || len < 8 + 2 * digits)
        return false;
    for (int64_t i = 0; i <= weight && digits; i++) {
        int64_t digit = i < digits ? integer(data + 8 + 2 * i, 2) : 0;
        if (number > (INT64_MAX - digit) / 10000)
            return false;
        number = number * 10000 + digit;
    }
    *out = sign ? -number : number;
    return true;
}

static int column(const PGresult *result, int row, int i, struct tsk_value *value,
                  struct tsk_err *err)
{
    const char *data = PQgetvalue(result, row, i);
    int len = PQgetlength(result, row, i);
    Oid type = PQftype(result, i);
    int64_t number;
    *value = tsk_value_null();
    if (PQgetisnull(result, row, i))
        return 0;
    switch (type) {
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
        *value = tsk_value_int(integer(data, len));
        return 0;
    case TYPE_BOOL:
        *value = tsk_value_int(data[0] != 0);
        return 0;
    case TYPE_OID:
        *value = tsk_value_int(integer(data, len) & UINT32_MAX);
        return 0;
    case TYPE_NUMERIC:
        if (!whole_numeric(data, len, &number))
            return tsk_err_set(err, TSK_BUG, "a column has a number with a fraction");
        *value = tsk_value_int(number);
        return 0;
    case TYPE_BYTEA:
        *value = tsk_value_bytes(data, (size_t)len);
        return 0;
    case TYPE_CHAR:
    case TYPE_NAME:
    case TYPE_TEXT:
    case TYPE_UNKNOWN:
    case TYPE_VARCHAR:
    case TYPE_VOID:
        *value = tsk_value_chars(data, (size_t)len);
        return 0;
    default:
        return tsk_err_set(err, TSK_BUG, "a column is of a type (%u) that is not used here", type);
    }
}

static int read_row(const PGresult *result, int i, struct tsk_value row[VALUES_MOST],
                    struct tsk_err *err)
{
    int columns = PQnfields(result);
    if (columns > VALUES_MOST)
        return tsk_err_set(err, TSK_BUG, "a statement has too many columns");
    for (int c = 0; c < columns; c++) {
        if (column(result, i, c, &row[c], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- waiting
 *
 * libpq waits by itself, without a limit, in all its simple calls; so only those that do not wait
 * are used. A wait here is never longer than opts.timeout_ms without a sign of the server, and
 * shorter when the program is to stop. The one wait that is libpq's own is that for the name of a
 * host. */

/* One poll; a signal is no end. Returns as poll(2). */
static int poll_once(struct pollfd fds[2], int64_t deadline)
{
    int ready;
    while ((ready = poll(fds, 2, tsk_left_ms(deadline))) < 0 && errno == EINTR)
        ;
    return ready;
}

static int wait_for(struct tsk_store_db *db, short events, int64_t deadline, struct tsk_err *err)
{
    struct pollfd fds[2] = {{.fd = PQsocket(db->conn), .events = events},
                            {.fd = db->opts->stop_fd, .events = POLLIN}};
    int ready = poll_once(fds, deadline);
    if (ready > 0 && !fds[0].revents) {
        fds[1].fd = -1; /* told once; now only for a short while */
        ready = poll_once(fds, tsk_earlier(deadline, tsk_now_ms() + STOP_MS));
    }
    if (ready > 0)
        return fds[0].revents;
    db->broken = true;
    if (ready < 0)
        return tsk_err_sys(err, TSK_BUG, "%s: cannot wait", db->name);
    return tsk_err_set(err, TSK_TEMPFAIL, "%s: no answer within %" PRId64 " ms", db->name,
                       fds[1].fd < 0 && db->opts->stop_fd >= 0 ? STOP_MS : db->opts->timeout_ms);
}

/* ---- the pipeline */

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
    switch (PQresultStatus(result)) {
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
    while (PQisBusy(db->conn)) {
        int unsent = PQflush(db->conn);
        if (unsent < 0)
            return lost(db, err);
        short events = unsent ? POLLIN | POLLOUT : POLLIN;
        int ready = wait_for(db, events, tsk_now_ms() + db->opts->timeout_ms, err);
        if (ready < 0)
            return -1;
        if (ready & ~POLLOUT && !PQconsumeInput(db->conn))
            return lost(db, err);
    }
    return 0;
}

static void next_command(struct tsk_store_db *db)
{
    if (++db->first == db->last)
        db->first = db->last = 0;
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
    struct tsk_value values[VALUES_MOST];
    struct tsk_err err;
    for (int i = 0; i < PQntuples(result) && !rows->stopped; i++) {
        rows->count++;
        if (!rows->row)
            continue;
        if (read_row(result, i, values, &err) < 0) {
            keep_error(db, &err);
            rows->stopped = true;
        } else {
            rows->stopped = rows->row(rows->ctx, values, (size_t)PQnfields(result)) != 0;
        }
    }
}

/* Takes all results of the oldest command. Where rows are wanted they come one by one, and all are
 * taken even if nobody wants more. */
static int take_results(struct tsk_store_db *db, struct rows *rows, struct tsk_err *err)
{
    if (rows)
        PQsetSingleRowMode(db->conn);
    for (;;) {
        if (wait_result(db, err) < 0)
            return -1;
        PGresult *result = PQgetResult(db->conn);
        if (!result)
            break;
        note_result(db, result);
        if (rows && PQntuples(result) > 0)
            give_rows(db, rows, result);
        else if (rows && PQresultStatus(result) == PGRES_COMMAND_OK)
            rows->count = strtoll(PQcmdTuples(result), NULL, 10);
        PQclear(result);
        if (PQstatus(db->conn) == CONNECTION_BAD)
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
    while ((unsent = PQflush(db->conn)) > 0) {
        int ready = wait_for(db, POLLIN | POLLOUT, tsk_now_ms() + db->opts->timeout_ms, err);
        if (ready < 0)
            return -1;
        if (ready & ~POLLOUT && !PQconsumeInput(db->conn))
            return lost(db, err);
        while (db->first < db->last && !PQisBusy(db->conn)) {
            if (take_results(db, NULL, err) < 0)
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
    if (!PQsendPrepare(db->conn, name, sql, 0, NULL))
        return lost(db, err);
    db->statements[i].prepared = true;
    add_command(db, i, true);
    return (int64_t)i;
}

/* Puts a statement into the pipeline. */
static int put(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
               size_t count, struct tsk_err *err)
{
    struct params params;
    char name[24];
    if (db->broken)
        return tsk_err_set(err, TSK_TEMPFAIL, "%s: the connection is lost", db->name);
    if (fill_params(&params, values, count, err) < 0)
        return -1;
    int64_t place = prepare(db, sql, name, err);
    if (place < 0)
        return -1;
    if (!PQsendQueryPrepared(db->conn, name, (int)count, params.values, params.lengths,
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
        if (take_results(db, NULL, err) < 0)
            return -1;
    }
    if (wait_result(db, err) < 0)
        return -1;
    PGresult *result = PQgetResult(db->conn);
    bool ok = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    PQclear(result);
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
    if (!PQpipelineSync(db->conn))
        return lost(db, err);
    return take_sync(db, err);
}

static int64_t run(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
                   size_t count, tsk_row_fn *row, void *ctx, struct tsk_err *err)
{
    struct rows rows = {row, ctx, 0, false};
    if (put(db, sql, values, count, err) < 0)
        return -1;
    if (!PQpipelineSync(db->conn))
        return lost(db, err);
    while (db->first + 1 < db->last) {
        if (take_results(db, NULL, err) < 0)
            return -1;
    }
    if (take_results(db, &rows, err) < 0 || take_sync(db, err) < 0 || take_error(db, err) < 0)
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
    if (!db->unsynced && PQtransactionStatus(db->conn) == PQTRANS_INERROR)
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
    if (!db->broken && PQtransactionStatus(db->conn) != PQTRANS_IDLE)
        run(db, sql, NULL, 0, NULL, NULL, NULL);
}

/* A connection that waits for nothing and can be read has ended, or has something to say of its
 * end. */
static bool broken(struct tsk_store_db *db)
{
    struct pollfd fd = {.fd = PQsocket(db->conn), .events = POLLIN};
    while (!db->broken && poll(&fd, 1, 0) > 0) {
        if (!PQconsumeInput(db->conn) || PQstatus(db->conn) == CONNECTION_BAD)
            db->broken = true;
        PQisBusy(db->conn); /* looks at what has come */
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
    if (!PQexitPipelineMode(db->conn) || !PQsendQuery(db->conn, text))
        return lost(db, err);
    while (rc == 0 && (rc = wait_result(db, err)) == 0 && (result = PQgetResult(db->conn))) {
        if (PQresultStatus(result) == PGRES_FATAL_ERROR)
            tsk_pg_fail(db, "make the schema", result, &db->failed);
        PQclear(result);
    }
    if (rc == 0 && !PQenterPipelineMode(db->conn))
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

/* ---- connecting */

/* What the server says without being asked is for nobody, but that it ends a connection that is
 * idle. */
static void take_notice(void *ctx, const PGresult *result)
{
    struct tsk_store_db *db = ctx;
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state && strncmp(state, "57P", 3) == 0)
        db->broken = true;
}

/* Whether libpq can read the url. What it says of one that it cannot may hold a part of it, so a
 * url with a password is not explained. */
static int check_url(const struct tsk_store_opts *opts, const char *name, bool secret,
                     struct tsk_err *err)
{
    char *text = NULL;
    PQconninfoOption *options = PQconninfoParse(opts->url, &text);
    if (!options) {
        const char *why = text && !secret ? text : "it is not what libpq takes for a url";
        tsk_err_set(err, TSK_CONFIG, "store.url %s: %.*s", name, (int)strcspn(why, "\n"), why);
    }
    PQfreemem(text);
    PQconninfoFree(options);
    return options ? 0 : -1;
}

static int shake_hands(struct tsk_store_db *db, struct tsk_err *err)
{
    int64_t deadline = tsk_now_ms() + db->opts->timeout_ms;
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    if (PQstatus(db->conn) == CONNECTION_BAD)
        return tsk_pg_fail_conn(db, "connect", err);
    while (next != PGRES_POLLING_OK) {
        if (next == PGRES_POLLING_FAILED)
            return tsk_pg_fail_conn(db, "connect", err);
        short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (wait_for(db, events, deadline, err) < 0)
            return -1;
        next = PQconnectPoll(db->conn);
    }
    return 0;
}

/* What a session has to have. Limits on the server's side, a little lower than ours, end what
 * nobody will wait for and say why; a client that has vanished is missed soon, so that its locks
 * go. */
static int set_up(struct tsk_store_db *db, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false), "
        "set_config('jit', 'off', false), set_config('tcp_keepalives_idle', '15', false), "
        "set_config('tcp_keepalives_interval', '5', false), "
        "set_config('tcp_keepalives_count', '3', false)";
    int64_t most = 1 + db->opts->timeout_ms * 9 / 10, lock = db->opts->lock_ms;
    char limit[24], lock_limit[24];
    snprintf(limit, sizeof limit, "%" PRId64, most);
    snprintf(lock_limit, sizeof lock_limit, "%" PRId64, lock < 1 ? 1 : lock < most ? lock : most);
    struct tsk_value values[] = {tsk_value_text(limit), tsk_value_text(lock_limit)};
    PQsetErrorVerbosity(db->conn, PQERRORS_DEFAULT);
    if (PQsetnonblocking(db->conn, 1) < 0 || !PQenterPipelineMode(db->conn))
        return tsk_pg_fail_conn(db, "connect", err);
    return run(db, sql, values, 2, NULL, NULL, err) < 0 ? -1 : 0;
}

static void db_close(struct tsk_store_db *db)
{
    if (db->conn)
        PQfinish(db->conn);
    free(db->statements);
    free(db->commands);
    free(db);
}

static struct tsk_store_db *db_open(const struct tsk_store_opts *opts, struct tsk_err *err)
{
    static const char *const keywords[] = {"fallback_application_name", "dbname", "client_encoding",
                                           NULL};
    const char *values[] = {"tasker", opts->url, "UTF8", NULL};
    struct tsk_store_db *db = tsk_alloc(sizeof *db);
    bool secret = tsk_store_url_shown(opts->url, db->name, sizeof db->name);
    db->opts = opts;
    if (check_url(opts, db->name, secret, err) == 0) {
        db->conn = PQconnectStartParams(keywords, values, 1);
        if (!db->conn)
            abort();
        PQsetErrorVerbosity(db->conn, PQERRORS_VERBOSE);
        PQsetNoticeReceiver(db->conn, take_notice, db);
        db->ready = shake_hands(db, err) == 0 && set_up(db, err) == 0;
        if (db->ready)
            return db;
    }
    db_close(db);
    return NULL;
}

/* ---- notifications
 *
 * Being told of commits by PostgreSQL: whoever changes what others wait for calls
 * tsk_store_notify, and the server tells every session that listens, on its socket. Notifications
 * also come along with answers: what libpq holds of them counts. */

static int watch(struct tsk_store_db *db, struct tsk_err *err)
{
    static const char sql[] = "LISTEN tasker";
    if (!db->listens && run(db, sql, NULL, 0, NULL, NULL, err) < 0)
        return -1;
    db->listens = true;
    return PQsocket(db->conn);
}

static bool watch_read(struct tsk_store_db *db)
{
    PGnotify *notify;
    bool any = !PQconsumeInput(db->conn); /* lost: the next use tells */
    while ((notify = PQnotifies(db->conn))) {
        any = true;
        PQfreemem(notify);
    }
    return any;
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
    .watch = watch,
    .watch_read = watch_read,
};
