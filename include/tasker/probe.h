/* Looking at an endpoint from outside, as tasker-status does: does anything listen there, and does
 * it speak ZMTP? It uses a libzmq context of its own for that one look and leaves nothing behind.
 */
#ifndef TASKER_PROBE_H
#define TASKER_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "tasker/bus.h"
#include "tasker/err.h"

enum tsk_probe_state {
    TSK_PROBE_OK,        /* a ZMTP handshake was made */
    TSK_PROBE_NO_HOST,   /* the host name is not known */
    TSK_PROBE_REFUSED,   /* nothing listens: refused, no such socket, a stale socket file */
    TSK_PROBE_TIMEOUT,   /* no connection in time, or no way to that host, or its name not told */
    TSK_PROBE_SILENT,    /* connected, but not a byte came */
    TSK_PROBE_CLOSED,    /* connected, and closed by the peer before it said anything */
    TSK_PROBE_FOREIGN,   /* what answers does not speak ZMTP */
    TSK_PROBE_HANDSHAKE, /* it speaks ZMTP, and the handshake failed */
};

#define TSK_PROBE_STATES (TSK_PROBE_HANDSHAKE + 1)

struct tsk_probe {
    enum tsk_probe_state state;
    enum tsk_side side;   /* OK: the role that the probe played; the peer has the other one */
    char address[300];    /* the endpoint that was tried, numeric where it is tcp; "" for none */
    char peer_type[16];   /* where the handshake failed: the peer's socket type ("REP"), or "" */
    char reason[256];     /* not OK: why, for people; one line of printable ASCII */
    int64_t connect_us;   /* time until there was a connection; -1 for none */
    int64_t handshake_us; /* time until the handshake was made, from the start; -1 for none */
};

/* Connects to endpoint (tcp or ipc; a host of "*", 0.0.0.0 or [::] is the local one) and makes a
 * handshake within timeout_ms, playing side first (TSK_RECEIVER looks at one that sends), then the
 * other if the peer's socket type asks for it. If that fails it takes at most 300 ms more to find
 * out why. Looking up a host name is part of that time. Returns 0 with *probe filled in, whatever
 * was found; or -1 with kind TSK_USAGE (no endpoint, or a port of "*", which names none) or TSK_IO
 * (no sockets left here). */
int tsk_probe_endpoint(const char *endpoint, enum tsk_side side, int64_t timeout_ms,
                       struct tsk_probe *probe, struct tsk_err *err);

/* The same apart, in a thread: begins it. Returns it, to be given to tsk_probe_end. */
struct tsk_probing *tsk_probe_start(const char *endpoint, enum tsk_side side, int64_t timeout_ms);

/* What was found, or NULL while it is not over; never waits. If it could not look (no thread, no
 * socket) the state is TSK_PROBE_STATES, and reason says why. Good until tsk_probe_end. */
const struct tsk_probe *tsk_probe_result(struct tsk_probing *probing);

/* Lets go of it; never waits; NULL is fine. */
void tsk_probe_end(struct tsk_probing *probing);

/* Returns the state's name ("refused"), static storage. */
const char *tsk_probe_state_name(enum tsk_probe_state state);

/* Returns the port of a tcp endpoint that is on this machine by its numeric address or the name
 * localhost, else 0: what tsk_os_port_holder can be asked about. */
int tsk_probe_local_port(const char *endpoint);

#endif
