/* The lists of tasks, batches and steps, and the filters that they share. */
#ifndef STATUS_LISTS_H
#define STATUS_LISTS_H

#include "status/rows.h"

/* A list: a statement up to its WHERE, and how each filter is said there. @ and ? are those of
 * query_and; the column that --handler or --category is held against is that of s, the steps. */
struct list {
    const char *name, *message_type;
    const struct report_column *columns;
    size_t count;
    const char *select;
    const char *join_sqlite, *join_postgresql; /* what goes on with select, or NULL */
    const char *states;                        /* words by commas */
    const char *state, *created, *handler, *task, *batch, *category;
    const char *key;       /* the row of a known key (column 1) */
    const char *order;     /* newest first */
    const char *order_all; /* the same of several statements of it, by the places of the columns */
};

extern const struct list list_tasks, list_batches, list_steps;

/* Starts a statement of a list. */
void list_select(struct query *query, const struct list *list, enum tsk_store_kind kind);

/* Adds the filters of --handler and --category to a statement that has a table s of steps, each
 * within text (with an @). */
void list_handler(struct query *query, enum tsk_store_kind kind, const struct options *opts,
                  const char *text);
void list_category(struct query *query, const struct options *opts, const char *text);

/* Adds those of --older-than and --newer-than; text is a column. */
void list_age(struct query *query, const struct options *opts, const char *column);

/* A report of a list. */
struct report list_report(const struct list *list, const struct options *opts);

#endif
