/* How many tasks, batches and steps are in which state. */
#ifndef STATUS_COUNTS_H
#define STATUS_COUNTS_H

#include "tasker/store.h"

enum { STATES_MOST = 8 };

/* A table whose rows are counted by state; done is the state that nearly all have. */
struct counted {
    const char *table, *metric, *help;
    const char *states[STATES_MOST];
    const char *done;
    const char *all, *rest;
};
extern const struct counted counted_tasks, counted_batches, counted_steps;

struct tally {
    const struct counted *what;
    int64_t all, by_state[STATES_MOST];
    int64_t others; /* private */
};

/* Counts, within a transaction that reads. */
int counts_get(struct tsk_store *store, const struct counted *what, struct tally *tally,
               struct tsk_err *err);

#endif
