/* Statements put together of static texts and parameters, and how their rows are printed. */
#ifndef STATUS_ROWS_H
#define STATUS_ROWS_H

#include "common/table.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/json.h"
#include "tasker/store.h"

/* SQL: the batch_id of the last batch that a step was in, by its id. */
#define QUERY_BATCH_OF(step)                                                                       \
    "(SELECT b.batch_id FROM batch_steps p JOIN batches b ON b.id = p.batch WHERE p.step = " step  \
    " ORDER BY p.attempt DESC, p.batch DESC LIMIT 1)"

/* SQL: begins a statement with the rows each_one, which has each value of an indexed column, key,
 * in the rows r of a table for which condition holds. Looks into the index once for each value, so
 * that both databases have one plan. */
#define QUERY_EACH(key, table, condition)                                                          \
    "WITH RECURSIVE each_one (" key ") AS (SELECT min(r." key ") FROM " table " r WHERE "          \
    condition " UNION ALL SELECT (SELECT min(r." key ") FROM " table " r WHERE " condition         \
    " AND r." key " > e." key ") FROM each_one e WHERE e." key " IS NOT NULL) "

/* A statement that is being written. It must live, where it is, as long as the store that runs it,
 * which knows its statements by their address. */
struct query {
    struct tsk_buf sql;
    struct tsk_value *values;
    size_t count, cap;
    struct tsk_buf pattern; /* of the handler, in the words of the back end */
};

void query_fini(struct query *query);

/* Adds a parameter, and returns its number. */
size_t query_value(struct query *query, struct tsk_value value);

/* Adds text, in which each ? becomes the next parameter, value. */
void query_add(struct query *query, const char *text, struct tsk_value value);

/* Adds text as it is. */
void query_text(struct query *query, const char *text);

/* Adds " AND text", in which @ stands for condition and, in that or in text, ? for the value. */
void query_and(struct query *query, const char *text, const char *condition,
               struct tsk_value value);

/* How a column is held against --handler: exactly, or as a glob in which only * and ? are special.
 * Fills query->pattern, and returns the condition with its ?. */
const char *query_handler(struct query *query, enum tsk_store_kind kind, const char *handler);

int64_t query_run(struct query *query, struct tsk_store *store, tsk_row_fn *row, void *ctx,
                  struct tsk_err *err);

/* Opens the store that is configured, which is only looked at, and does fn in one transaction.
 * Returns the status to end with: TSK_OK, or why not. */
enum tsk_exit query_store(const struct tsk_conf *conf, tsk_store_fn *fn, void *ctx);

/* Ends a statement: room for one row more than limit, if that is not 0. */
void query_limited(struct query *query, int64_t limit);

/* Returns whether there are no operands; else tells of the first. */
bool query_no_operands(const char *subcommand, char *const *operands, size_t count);

/* The limit: the one given, or this one. */
int64_t query_limit(const struct options *opts, int64_t fallback);

enum report_type {
    REPORT_TEXT,
    REPORT_INT,
    REPORT_BOOL,
    REPORT_TIME, /* ms since 1970; shown in UTC */
    REPORT_MS,   /* a duration */
    REPORT_JSON, /* JSON as text; what is none is shown as text */
    REPORT_ERROR /* the same of an error, of which a table shows the message */
};

/* A column of a statement. A stable name in JSON (NULL: for us alone), and a head where it is in
 * the table. */
struct report_column {
    const char *name, *head;
    enum report_type type;
};

struct report {
    const char *message_type; /* of its JSON lines */
    const struct report_column *columns;
    size_t count;
    bool json;
    bool tall;         /* as text: a field a line, with all columns that are told */
    const char *title; /* a line before a table that has rows, or NULL */
    int64_t limit;     /* 0: none; more rows than this are not shown, and more becomes true */
    const char *hint;  /* how to see more, or NULL: not said */
    int64_t rows;
    bool more;
    int64_t key; /* column 1 of the last row, where it is a number */
    struct table table;
    struct tsk_json *parser;
};

/* A tsk_row_fn for struct report: prints a row. */
int report_row(void *ctx, const struct tsk_value *row, size_t columns);

/* Prints what is held back and frees it; rows, more and key stay. */
void report_end(struct report *report);

/* A value as text, added to out. */
void report_text(struct report *report, struct tsk_buf *out, enum report_type type,
                 const struct tsk_value *value);

/* A value as JSON, for the caller to own. */
struct json_object *report_json(struct tsk_json **parser, enum report_type type,
                                const struct tsk_value *value);

/* A duration for people: "12 ms", "3.4 s", "5m 12s", "2h 5m", "3d 4h". */
void report_duration(struct tsk_buf *out, int64_t ms);

#endif
