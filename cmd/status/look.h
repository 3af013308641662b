/* One endpoint: where it comes from, what was found there, and what is the likely cause. */
#ifndef STATUS_LOOK_H
#define STATUS_LOOK_H

#include "status/peer.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/bus.h"

struct look {
    const char *name; /* "batch_endpoint", "result_endpoint"; NULL: not a configured one */
    char *endpoint;   /* owned */
    enum tsk_channel channel;
    struct tsk_probe probe;
    const char *state; /* the probe's, or "both_bind", "wrong_peer", "any_port" */
    bool ok;
    char holder[160];     /* who listens, where the system can tell; or "" */
    struct tsk_buf cause; /* not ok: the likely cause; ok: empty */
    struct peer peer;
};

void look_init(struct look *look, const char *name, enum tsk_channel channel, const char *endpoint,
               size_t len);
void look_fini(struct look *look);

/* Looks. stop_fd ends --listen. Returns 0, or -1 with kind TSK_USAGE or TSK_IO. */
int look_run(struct look *look, const struct tsk_conf *conf, const struct options *opts,
             int stop_fd, struct tsk_err *err);

#endif
