/* Asks many endpoints at once who is there. */
#ifndef STATUS_GATHER_H
#define STATUS_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/bus.h"
#include "tasker/conf.h"
#include "tasker/err.h"
#include "tasker/json.h"

/* One endpoint to ask. */
struct place {
    char *endpoint;      /* owned */
    bool wanted;         /* it was named on the command line */
    bool there;          /* somebody is: it answered, or made a handshake */
    bool answered;       /* somebody there told their status */
    bool probed;         /* private */
    char reason[256];    /* not there, or cannot be asked: why */
    struct tsk_bus *bus; /* private */
};

/* A worker that was heard, or that a publisher knows of. */
struct seen {
    struct json_object *status; /* its worker_status; or what the publisher said; owned */
    char *endpoint;             /* where it was heard, or the publisher's; owned */
    bool heard;                 /* from itself */
    int64_t at;                 /* wall ms */
};

struct gather {
    struct place *places;
    size_t place_count, place_cap;
    struct seen *seen;
    size_t seen_count, seen_cap;
    size_t publishers; /* that answered */
    const struct tsk_conf *conf;
    struct tsk_json *parser;
    char topic[64]; /* "status.UUID" */
    int64_t deadline, quiet_at, probe_at;
    size_t opened;
};

void gather_init(struct gather *gather, const struct tsk_conf *conf);
void gather_fini(struct gather *gather);

/* Adds an endpoint of so many bytes (copied), unless it is there already. */
void gather_add(struct gather *gather, const char *endpoint, size_t len, bool wanted);

/* Asks all of them, and those that a publisher among them tells of, for at most timeout ms. Whoever
 * answers is asked at a topic of its own; of those that do not know it the next worker_status
 * counts. Returns 0, or -1 with kind TSK_USAGE or TSK_IO. */
int gather_run(struct gather *gather, int64_t timeout, struct tsk_err *err);

#endif
