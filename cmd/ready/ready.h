/* What the parts of tasker-ready share. */
#ifndef READY_READY_H
#define READY_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ready/claim.h"
#include "tasker/conf.h"

struct options {
    bool follow, dry_run, explain;
    int64_t batch_size, limit, task; /* limit 0: all; task 0: any */
    int group;                       /* enum tsk_claim_group */
    const char *namespace_name;
};

/* loop.c: claims and prints. */
enum tsk_exit ready_run(const struct options *opts, const struct tsk_conf *conf);

/* explain.c: says in words why a step, or each step of a task, does not run. */
enum tsk_exit ready_explain(const struct tsk_conf *conf, char *const *operands, size_t count);

#endif
