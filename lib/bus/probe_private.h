/* What the files of the probe share. */
#ifndef LIB_PROBE_PRIVATE_H
#define LIB_PROBE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"
#include "tasker/bus.h"

#define PROBE_ADDRESSES 8
#define PROBE_WHY_MS 300 /* to find out why a handshake failed */

/* The numeric endpoints that one stands for, in the order to try them. */
struct tsk_probe_target {
    char addresses[PROBE_ADDRESSES][sizeof((struct tsk_probe *)0)->address];
    size_t count;               /* 0: the host is not known, or not in time, and reason says so */
    enum tsk_probe_state state; /* where count is 0 */
    char reason[256];
};

/* Splits endpoint and looks it up, until deadline at most. Returns 0, or -1 with kind TSK_USAGE. */
int tsk_probe_resolve(const char *endpoint, int64_t deadline, struct tsk_probe_target *target,
                      struct tsk_err *err);

/* Connects to a numeric endpoint by a plain socket. Returns it (to be closed), or -1 with state and
 * reason in *probe; or -2 with kind TSK_IO. */
int tsk_probe_connect(const char *address, int64_t deadline, struct tsk_probe *probe,
                      struct tsk_err *err);

/* Finds out by a plain socket why probe->address made no handshake, until deadline (tsk_now_ms):
 * sets state, reason, peer_type. Returns 0, or -1 with kind TSK_IO. */
int tsk_probe_explain(struct tsk_probe *probe, int64_t deadline, struct tsk_err *err);

#endif
