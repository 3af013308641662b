/* What the files explain*.c share: a step that is explained, and the line that is written. */
#ifndef READY_EXPLAIN_H
#define READY_EXPLAIN_H

#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/conf.h"
#include "tasker/flow.h"
#include "tasker/store.h"

struct explain {
    struct tsk_store *store;
    const struct tsk_conf *conf;
    int64_t now, claim_timeout; /* wall ms; how long a claimed batch may wait to be sent */
    struct tsk_buf line;
    int64_t *ids; /* of the steps of a task */
    size_t count, cap;
    char silent[TSK_TOPIC_SIZE]; /* the endpoint that did not answer last: asked once */
    /* the step at hand */
    bool found, waits, held_up; /* held_up: by something else than what it waits for */
    int64_t id;
    char state[24];
    struct tsk_flow_step flow;
    /* what it waits for, explain_wait.c */
    struct tsk_flow_step *before;
    size_t before_count, before_cap;
    struct tsk_flow_edge *edges;
    size_t edge_cap;
};

/* Begin, fill and print a line. Hidden characters of a name are escaped; a time is printed with its
 * distance from now. */
void explain_begin(struct explain *explain);
void explain_add(struct explain *explain, const char *name);
void explain_add_time(struct explain *explain, int64_t wall);
void explain_end(struct explain *explain);

/* explain_wait.c: prints what a pending step waits for, and whether that can come. Returns 0 or -1.
 */
int explain_waits(struct explain *explain, struct tsk_err *err);

/* A batch that a worker has accepted. Texts are "" where they are not known. */
struct explain_accepted {
    const char *batch, *worker, *source, *endpoint;
    bool unsettled;                 /* the ledger has news of it */
    const struct tsk_value *result; /* the last message about the step there, or null */
    int64_t heard;  /* wall ms: the newest message of the worker in the ledger; -1: none */
};

/* explain_worker.c: prints what the ledger or, asked, the worker has of it. */
void explain_worker(struct explain *explain, const struct explain_accepted *accepted);

/* explain_batch.c: prints where the batch is that has claimed a step. Returns 0 or -1. */
int explain_batch(struct explain *explain, struct tsk_err *err);

#endif
