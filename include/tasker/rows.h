/* Many rows by one statement. To PostgreSQL they go as arrays, one a column, hundreds at a time: a
 * statement costs the server more than a row does, above all at a table with checks, which it reads
 * anew for each. SQLite, to which a statement is a function call, gets them one by one.
 *
 * Rows of one tsk_rows are done in their order; with regard to other statements of the transaction
 * they are done at some time before tsk_rows_end returns. */
#ifndef TASKER_ROWS_H
#define TASKER_ROWS_H

#include "tasker/buf.h"
#include "tasker/store.h"

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

#endif
