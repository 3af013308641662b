/* The subcommands of tasker-status. Each returns the status to end with. */
#ifndef STATUS_STATUS_H
#define STATUS_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/conf.h"
#include "tasker/err.h"

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_PROMETHEUS };

/* What was not given is NULL, false, or -1 (0 for task, which no id is). */
struct options {
    int format;      /* enum format */
    int64_t timeout; /* ms */
    bool listen;
    const char *state;              /* words by commas */
    int64_t older_than, newer_than; /* ms */
    const char *handler;            /* a class, or a glob of * and ? */
    int64_t task;
    const char *batch, *category;
    int64_t limit; /* 0: all */
    bool raw;
    bool init, prune, dry_run;
};

typedef enum tsk_exit status_fn(const struct options *opts, const struct tsk_conf *conf,
                                char *const *operands, size_t count);

status_fn status_config;    /* config [SECTION | SECTION.KEY ...] */
status_fn status_endpoints; /* endpoints [ENDPOINT | batch_endpoint | result_endpoint ...] */
status_fn status_workers;   /* workers [ENDPOINT ...] */
status_fn status_tasks, status_batches, status_steps;
status_fn status_show; /* show [task | batch | step] ID */
status_fn status_errors, status_slow, status_orphans, status_metrics;
status_fn status_store;

/* store --prune, with a store that is not connected yet. Returns the status to end with. */
struct tsk_store;
enum tsk_exit store_prune(const struct options *opts, struct tsk_store *store);

#endif
