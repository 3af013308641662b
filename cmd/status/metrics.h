/* The state of the store as metrics. */
#ifndef STATUS_METRICS_H
#define STATUS_METRICS_H

#include "status/status.h"
#include "tasker/store.h"

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

/* errors.c and orphans.c: their families, in the transaction that is open. */
int errors_metrics(struct tsk_store *store, const struct options *opts, struct tsk_err *err);
int orphans_metrics(struct tsk_store *store, const struct options *opts, struct tsk_err *err);

#endif
