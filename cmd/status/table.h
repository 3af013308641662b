/* A table of text with aligned columns, for people. */
#ifndef STATUS_TABLE_H
#define STATUS_TABLE_H

#include <stddef.h>

#define TABLE_COLUMNS 6

struct table {
    char **cells; /* row by row */
    size_t count, cap;
    size_t columns; /* at most TABLE_COLUMNS */
};

/* Adds the next cell (copied; NULL or "" is shown as "-"), left to right, row by row. */
void table_add(struct table *table, const char *text);

/* Prints all rows on stdout and frees them. */
void table_end(struct table *table);

/* Makes a copy of text (to be freed) in which nothing is left that a terminal would act on: what a
 * peer says is printed only through this. */
char *text_plain(const char *text);

#endif
