/* The subcommands of tasker-status. Each returns the status to end with. */
#ifndef STATUS_STATUS_H
#define STATUS_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/conf.h"
#include "tasker/err.h"

struct options {
    int json;        /* --format */
    int64_t timeout; /* ms; -1: not given */
    bool listen;
};

/* config [SECTION | SECTION.KEY ...] */
enum tsk_exit status_config(const struct options *opts, const struct tsk_conf *conf,
                            char *const *operands, size_t count);

/* endpoints [ENDPOINT | batch_endpoint | result_endpoint ...] */
enum tsk_exit status_endpoints(const struct options *opts, const struct tsk_conf *conf,
                               char *const *operands, size_t count);

/* workers [ENDPOINT ...] */
enum tsk_exit status_workers(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count);

#endif
