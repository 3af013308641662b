/* Rows of the store as a table, as a list of fields, or as JSON lines. */
#ifndef STATUS_REPORT_H
#define STATUS_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/table.h"
#include "tasker/json.h"
#include "tasker/store.h"

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
