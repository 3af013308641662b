/* The state of the store as metrics, in the text format of Prometheus. */
#ifndef STATUS_METRICS_H
#define STATUS_METRICS_H

#include "status/status.h"
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

enum metrics {
    METRICS_STORE = 1,
    METRICS_TASKS = 2,
    METRICS_BATCHES = 4,
    METRICS_STEPS = 8,
    METRICS_ERRORS = 16,
    METRICS_SLOW = 32,
    METRICS_ORPHANS = 64,
    METRICS_ALL = 127,
};

/* Prints those of the families that are asked for, of the store that is configured. Filters are
 * refused, since a metric is about all that there is; only METRICS_ORPHANS has an age. */
enum tsk_exit metrics_print(unsigned which, const char *subcommand, const struct options *opts,
                            const struct tsk_conf *conf, char *const *operands, size_t count);

#endif
