/* ledger_loop URL COUNT GROUP: the rows that tasker-collect would add to the ledger for COUNT
 * results of outbox_send, added by a bare loop: prepared statements, GROUP rows a transaction with
 * a mark for each batch in it, the durability that the store asks for, and nothing else. URL is a
 * store with the schema. Prints
 *
 *     rows=COUNT seconds=S rate=R */
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

#include "bench.h"
#include "result_line.h"
#include "tasker/tasker.h"

#define COLUMNS                                                                                    \
    "(received_at, collector_id, topic, message_type, batch_id, step_id, source, stream_offset, "  \
    "raw_message, reason)"
#define ADD_ROW                                                                                    \
    "INSERT INTO received_results " COLUMNS " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL) "  \
    "ON CONFLICT DO NOTHING"
#define ADD_MARK "INSERT INTO unsettled (batch_id) VALUES ($1)"

struct row {
    char raw[RESULT_LINE_SIZE], source[TSK_UUID_SIZE], batch[TSK_ID_SIZE];
    const char *topic;
    size_t len;
    int64_t step, offset;
    bool first; /* of its batch in its group */
};

/* The row of an offset, from 1. */
static void make_row(struct row *row, long offset, long group)
{
    long batch = (offset - 1) / RESULT_BATCH, place = (offset - 1) % RESULT_BATCH;
    row->topic = result_line_topic(offset);
    row->len = result_line(row->raw, row->source, offset);
    snprintf(row->batch, sizeof row->batch, "%s.%ld", row->source, batch);
    row->step = place == RESULT_BATCH - 1 ? 0 : offset;
    row->offset = offset;
    row->first = place == 0 || (offset - 1) % group == 0;
}

/* ---- SQLite */

static void lite_try(sqlite3 *db, int rc)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        bench_die("%s", sqlite3_errmsg(db));
}

static void lite_run(sqlite3 *db, sqlite3_stmt *stmt)
{
    lite_try(db, sqlite3_step(stmt));
    sqlite3_reset(stmt);
}

static void lite_row(sqlite3 *db, sqlite3_stmt *add, sqlite3_stmt *mark, const struct row *row)
{
    sqlite3_bind_int64(add, 1, tsk_wall_ms());
    sqlite3_bind_text(add, 2, "bench", -1, SQLITE_STATIC);
    sqlite3_bind_text(add, 3, row->topic, -1, SQLITE_STATIC);
    sqlite3_bind_text(add, 4, row->topic, -1, SQLITE_STATIC);
    sqlite3_bind_text(add, 5, row->batch, -1, SQLITE_STATIC);
    if (row->step)
        sqlite3_bind_int64(add, 6, row->step);
    else
        sqlite3_bind_null(add, 6);
    sqlite3_bind_text(add, 7, row->source, -1, SQLITE_STATIC);
    sqlite3_bind_int64(add, 8, row->offset);
    sqlite3_bind_blob(add, 9, row->raw, (int)row->len, SQLITE_STATIC);
    lite_run(db, add);
    if (!row->first)
        return;
    sqlite3_bind_text(mark, 1, row->batch, -1, SQLITE_STATIC);
    lite_run(db, mark);
}

static void lite_loop(const char *path, struct row *row, long count, long group)
{
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *add, *mark;
    lite_try(NULL, sqlite3_open(path, &db));
    lite_try(db, sqlite3_exec(db,
                              "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; "
                              "PRAGMA temp_store = MEMORY; PRAGMA journal_mode = WAL",
                              NULL, NULL, NULL));
    lite_try(db, sqlite3_prepare_v2(db, "BEGIN IMMEDIATE", -1, &begin, NULL));
    lite_try(db, sqlite3_prepare_v2(db, "COMMIT", -1, &commit, NULL));
    lite_try(db, sqlite3_prepare_v2(db, ADD_ROW, -1, &add, NULL));
    lite_try(db, sqlite3_prepare_v2(db, ADD_MARK, -1, &mark, NULL));
    for (long i = 1; i <= count; i++) {
        if ((i - 1) % group == 0)
            lite_run(db, begin);
        make_row(row, i, group);
        lite_row(db, add, mark, row);
        if (i % group == 0 || i == count)
            lite_run(db, commit);
    }
    sqlite3_finalize(begin);
    sqlite3_finalize(commit);
    sqlite3_finalize(add);
    sqlite3_finalize(mark);
    sqlite3_close(db);
}

/* ---- PostgreSQL, many statements a round trip */

static void pg_sent(PGconn *db, int ok)
{
    if (!ok)
        bench_die("%s", PQerrorMessage(db));
}

/* Reads the results up to that of the last sync. */
static void pg_results(PGconn *db)
{
    for (;;) {
        PGresult *result = PQgetResult(db);
        ExecStatusType status = result ? PQresultStatus(result) : PGRES_COMMAND_OK;
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC)
            return;
        if (status != PGRES_COMMAND_OK)
            bench_die("%s", PQerrorMessage(db));
    }
}

static void put_64(char out[8], int64_t value)
{
    uint32_t high = htonl((uint32_t)((uint64_t)value >> 32)), low = htonl((uint32_t)value);
    memcpy(out, &high, 4);
    memcpy(out + 4, &low, 4);
}

static void pg_row(PGconn *db, const struct row *row)
{
    char at[8], step[8], offset[8];
    put_64(at, tsk_wall_ms());
    put_64(step, row->step);
    put_64(offset, row->offset);
    const char *values[] = {at,          "bench",    row->topic,
                            row->topic,  row->batch, row->step ? step : NULL,
                            row->source, offset,     row->raw};
    int lengths[] = {8, 0, 0, 0, 0, 8, 0, 8, (int)row->len},
        formats[] = {1, 0, 0, 0, 0, 1, 0, 1, 1};
    pg_sent(db, PQsendQueryPrepared(db, "add", 9, values, lengths, formats, 0));
    if (row->first)
        pg_sent(db, PQsendQueryPrepared(db, "mark", 1, &values[4], NULL, NULL, 0));
}

static void pg_loop(const char *url, struct row *row, long count, long group)
{
    PGconn *db = PQconnectdb(url);
    pg_sent(db, PQstatus(db) == CONNECTION_OK);
    pg_sent(db, PQenterPipelineMode(db));
    pg_sent(db, PQsendPrepare(db, "add", ADD_ROW, 0, NULL));
    pg_sent(db, PQsendPrepare(db, "mark", ADD_MARK, 0, NULL));
    pg_sent(db, PQsendPrepare(db, "begin", "BEGIN", 0, NULL));
    pg_sent(db, PQsendPrepare(db, "commit", "COMMIT", 0, NULL));
    pg_sent(db, PQpipelineSync(db));
    pg_results(db);
    for (long i = 1; i <= count; i++) {
        if ((i - 1) % group == 0)
            pg_sent(db, PQsendQueryPrepared(db, "begin", 0, NULL, NULL, NULL, 0));
        make_row(row, i, group);
        pg_row(db, row);
        if (i % group && i != count)
            continue;
        pg_sent(db, PQsendQueryPrepared(db, "commit", 0, NULL, NULL, NULL, 0));
        pg_sent(db, PQpipelineSync(db));
        pg_results(db);
    }
    PQfinish(db);
}

int main(int argc, char **argv)
{
    static struct row row;
    if (argc != 4)
        bench_die("usage: ledger_loop URL COUNT GROUP");
    long count = bench_number(argv[2]), group = bench_number(argv[3]);
    tsk_uuid(row.source);
    int64_t begin = bench_now();
    if (!strncmp(argv[1], "sqlite:", 7))
        lite_loop(argv[1] + 7, &row, count, group);
    else
        pg_loop(argv[1], &row, count, group);
    double seconds = bench_seconds(bench_now() - begin);
    printf("rows=%ld seconds=%.3f rate=%.1f\n", count, seconds, (double)count / seconds);
    return 0;
}
