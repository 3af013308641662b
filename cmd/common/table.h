/* A table of text with aligned columns, for people. */
#ifndef COMMON_TABLE_H
#define COMMON_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "tasker/buf.h"

enum { TABLE_COLUMNS = 16 };

struct table {
    size_t columns;       /* at most TABLE_COLUMNS; the first row is their heads */
    unsigned right;       /* bit n: column n stands to the right, as numbers do */
    bool sparse;          /* leave out columns in which nothing stands but the head */
    const char *indent;   /* before each row, or NULL */
    struct tsk_buf cells; /* private, as is count: row by row, each with its NUL */
    size_t count;
};

/* Adds the next cell (NULL or "" is shown as "-"), left to right, row by row. What a terminal would
 * act on is made visible. */
void table_add(struct table *table, const char *text);

/* Prints all rows on stdout and frees them. */
void table_end(struct table *table);

#endif
