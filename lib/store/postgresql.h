/* One connection to PostgreSQL, for postgresql.c and postgresql_error.c. */
#ifndef STORE_POSTGRESQL_H
#define STORE_POSTGRESQL_H

#include <libpq-fe.h>

#include "store/ops.h"

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

/* postgresql_error.c: these fill err and return -1; a connection that is lost becomes broken. */

/* result says what went wrong (not what to do, which is what). */
int tsk_pg_fail(struct tsk_store_db *db, const char *what, const PGresult *result,
                struct tsk_err *err);

/* The connection itself could not be used or made; its message tells why. */
int tsk_pg_fail_conn(struct tsk_store_db *db, const char *what, struct tsk_err *err);

#endif
