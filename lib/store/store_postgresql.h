/* Private to lib/store_postgresql*.c: one connection to PostgreSQL. */
#ifndef LIB_STORE_POSTGRESQL_H
#define LIB_STORE_POSTGRESQL_H

#include <libpq-fe.h>

#include "store/store_ops.h"
#include "tasker/buf.h"

/* libpq, of which tsk_pq.NAME is PQNAME. It is loaded by the first who opens such a store: with all
 * that it needs itself it would take most of the time that a program takes to start. */
/* clang-format off */
#define TSK_PQ_FUNCTIONS(X)                                                                        \
    X(clear) X(cmdTuples) X(connectPoll) X(connectStartParams) X(connectionNeedsPassword)          \
    X(conninfoFree) X(conninfoParse) X(consumeInput) X(enterPipelineMode) X(errorMessage)          \
    X(exitPipelineMode) X(finish) X(flush) X(freemem) X(ftype) X(getResult) X(getisnull)           \
    X(getlength) X(getvalue) X(isBusy) X(nfields) X(notifies) X(ntuples) X(pipelineSync)           \
    X(resultErrorField) X(resultStatus) X(sendPrepare) X(sendQuery) X(sendQueryPrepared)           \
    X(setErrorVerbosity) X(setNoticeReceiver) X(setSingleRowMode) X(setnonblocking) X(socket)      \
    X(status) X(transactionStatus)
/* clang-format on */

struct tsk_pq {
#define TSK_PQ_MEMBER(name) __typeof__(&PQ##name) name;
    TSK_PQ_FUNCTIONS(TSK_PQ_MEMBER)
#undef TSK_PQ_MEMBER
};
extern struct tsk_pq tsk_pq;

/* store_postgresql_lib.c: loads it, once. Returns 0, or -1 with err. */
int tsk_pg_load(struct tsk_err *err);

struct pg_statement {
    const char *sql; /* its address is the key; "sN" with its place N the name */
    bool prepared;   /* or asked for, with the answer under way */
};

/* What was sent and has not been answered: to prepare a statement, or to run it. */
struct pg_command {
    size_t statement;
    bool prepares;
};

struct tsk_store_db {
    PGconn *conn;
    const struct tsk_store_opts *opts;
    char name[512]; /* for people: the url without a password */
    struct pg_statement *statements;
    size_t count, cap;
    struct pg_command *commands; /* from first to last are unanswered */
    size_t first, last, command_cap;
    size_t held;           /* bytes, about, that went out since the last flush */
    bool ready;            /* the session is set up */
    bool unsynced;         /* commands went out after the last synchronisation */
    bool within;           /* a transaction */
    bool listens;          /* for notifications */
    bool broken;           /* nothing more can be done with it */
    struct tsk_err failed; /* the first error since the last synchronisation; TSK_OK: none */
};

/* store_postgresql_connect.c */

/* Waits until the socket can do events (POLLIN, POLLOUT) or until tsk_now_ms() is deadline; a stop
 * (opts.stop_fd) leaves it a second. Returns what it can do, or -1 with err and db broken. */
int tsk_pg_wait(struct tsk_store_db *db, short events, int64_t deadline, struct tsk_err *err);

/* Connects and sets the session up, or returns NULL. */
struct tsk_store_db *tsk_pg_open(const struct tsk_store_opts *opts, struct tsk_err *err);
void tsk_pg_close(struct tsk_store_db *db);

/* store_postgresql_error.c: fill err and return -1; a connection that is lost becomes broken. */

/* result says what went wrong (not what to do, which is what). */
int tsk_pg_fail(struct tsk_store_db *db, const char *what, const PGresult *result,
                struct tsk_err *err);

/* The connection itself could not be used or made; its message tells why. */
int tsk_pg_fail_conn(struct tsk_store_db *db, const char *what, struct tsk_err *err);

/* store_postgresql_value.c */

/* store_postgresql_watch.c: as tsk_store_watch and tsk_store_watch_read. */
int tsk_pg_watch(struct tsk_store_db *db, struct tsk_err *err);
bool tsk_pg_watch_read(struct tsk_store_db *db);

enum { PG_VALUES_MOST = 64 };

/* Parameters as libpq wants them; numbers are written into text. */
struct pg_params {
    const char *values[PG_VALUES_MOST];
    int lengths[PG_VALUES_MOST], formats[PG_VALUES_MOST];
    char text[PG_VALUES_MOST][24];
};

/* Returns 0, or -1 with err for too many or too long ones. */
int tsk_pg_params(struct pg_params *params, const struct tsk_value *values, size_t count,
                  struct tsk_err *err);

/* Reads row number i of a result in binary form into row, borrowed from it. Returns 0, or -1 with
 * err for a type that the store does not use. */
int tsk_pg_row(const PGresult *result, int i, struct tsk_value row[PG_VALUES_MOST],
               struct tsk_err *err);

#endif
