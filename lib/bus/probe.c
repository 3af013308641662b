/* A look at an endpoint: a real libzmq socket connects and its monitor tells what came of it.
 *
 * Only a handshake by the library that the programs use proves that they could talk there. The
 * context is made for one attempt, so a slow peer of one look cannot reach into the next. Where
 * the attempt fails, a plain socket finds out why (probe_explain.c); where all is well the peer
 * sees one ordinary connection and nothing else, so a health check does not fill its log. */
#include "tasker/bus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/apart.h"
#include "bus/probe_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/os.h"

/* Of a context with a socket and its monitor. */
enum { ROOM_FDS = 16, ROOM_THREADS = 4 };
#define MONITOR "inproc://monitor"

struct look {
    void *ctx, *sock, *monitor;
    int64_t start_us, deadline; /* deadline in ms of tsk_now_ms */
};

static void look_close(struct look *look)
{
    if (look->sock)
        zmq_socket_monitor(look->sock, NULL, 0);
    if (look->monitor)
        zmq_close(look->monitor);
    if (look->sock)
        zmq_close(look->sock);
    if (look->ctx)
        while (zmq_ctx_term(look->ctx) && errno == EINTR)
            ;
}

/* No second try by libzmq itself: each look is one connection. */
static int look_options(struct look *look)
{
    int off = 0, never = -1, on = 1, left = tsk_left_ms(look->deadline);
    if (left < 1)
        left = 1;
    return zmq_setsockopt(look->sock, ZMQ_LINGER, &off, sizeof off) ||
           zmq_setsockopt(look->sock, ZMQ_RECONNECT_IVL, &never, sizeof never) ||
           zmq_setsockopt(look->sock, ZMQ_IPV6, &on, sizeof on) ||
           zmq_setsockopt(look->sock, ZMQ_CONNECT_TIMEOUT, &left, sizeof left) ||
           zmq_setsockopt(look->monitor, ZMQ_LINGER, &off, sizeof off);
}

static int look_open(struct look *look, const char *address, enum tsk_side side,
                     struct tsk_err *err)
{
    if (tsk_os_room(ROOM_FDS, ROOM_THREADS, err) < 0)
        return -1;
    look->ctx = zmq_ctx_new();
    look->sock =
        look->ctx ? zmq_socket(look->ctx, side == TSK_RECEIVER ? ZMQ_XSUB : ZMQ_XPUB) : NULL;
    look->monitor = look->sock ? zmq_socket(look->ctx, ZMQ_PAIR) : NULL;
    if (!look->monitor || look_options(look) ||
        zmq_socket_monitor(look->sock, MONITOR, ZMQ_EVENT_ALL) ||
        zmq_connect(look->monitor, MONITOR))
        return tsk_err_set(err, TSK_IO, "cannot open a socket: %s", zmq_strerror(errno));
    look->start_us = tsk_now_us();
    if (zmq_connect(look->sock, address))
        return tsk_err_set(err, TSK_USAGE, "%s: %s", address, zmq_strerror(errno));
    return 0;
}

/* Waits for the next event. Returns its number, or 0 when the time is over. */
static int next_event(struct look *look)
{
    zmq_pollitem_t item = {.socket = look->monitor, .events = ZMQ_POLLIN};
    for (;;) {
        int rc = zmq_poll(&item, 1, tsk_left_ms(look->deadline));
        if (rc == 0 || (rc < 0 && errno != EINTR))
            return 0;
        unsigned char event[6];
        char address[300];
        uint16_t number;
        if (zmq_recv(look->monitor, event, sizeof event, ZMQ_DONTWAIT) != sizeof event)
            continue;
        zmq_recv(look->monitor, address, sizeof address, ZMQ_DONTWAIT);
        memcpy(&number, event, sizeof number);
        return number;
    }
}

/* Follows the events of one connection to its end. Sets the times. Returns whether a handshake
 * was made. */
static bool follow(struct look *look, struct tsk_probe *probe)
{
    for (;;) {
        switch (next_event(look)) {
        case ZMQ_EVENT_CONNECTED:
            probe->connect_us = tsk_now_us() - look->start_us;
            break;
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            probe->handshake_us = tsk_now_us() - look->start_us;
            return true;
        case ZMQ_EVENT_CONNECT_DELAYED: /* under way */
            break;
        case 0: /* out of time; all others end the connection */
        default:
            return false;
        }
    }
}

/* One connection to probe->address. Returns 1 for a handshake, 0 for none, -1 with err. */
static int attempt(struct tsk_probe *probe, enum tsk_side side, int64_t deadline,
                   struct tsk_err *err)
{
    struct look look = {.deadline = deadline};
    probe->side = side;
    probe->connect_us = probe->handshake_us = -1;
    int rc = look_open(&look, probe->address, side, err);
    if (rc == 0 && follow(&look, probe)) {
        probe->state = TSK_PROBE_OK;
        probe->reason[0] = probe->peer_type[0] = '\0';
        rc = 1;
    }
    look_close(&look);
    return rc;
}

/* The role that has a socket of this type for its peer. Returns 0 and it, or -1. */
static int side_for(const char *peer_type, enum tsk_side *side)
{
    if (strcmp(peer_type, "PUB") == 0 || strcmp(peer_type, "XPUB") == 0)
        *side = TSK_RECEIVER;
    else if (strcmp(peer_type, "SUB") == 0 || strcmp(peer_type, "XSUB") == 0)
        *side = TSK_SENDER;
    else
        return -1;
    return 0;
}

/* The deadline, or so much later that it can be found out why a handshake failed. */
static int64_t at_least_why(int64_t deadline)
{
    int64_t why = tsk_now_ms() + PROBE_WHY_MS;
    return deadline > why ? deadline : why;
}

/* Tries one address: as asked, then, told by the peer's type, as it needs. Returns 0 or -1. */
static int try_address(struct tsk_probe *probe, enum tsk_side side, int64_t timeout_ms,
                       int64_t deadline, struct tsk_err *err)
{
    int rc = attempt(probe, side, deadline, err);
    if (rc)
        return rc > 0 ? 0 : -1;
    if (tsk_left_ms(deadline) == 0 && probe->connect_us < 0) {
        probe->state = TSK_PROBE_TIMEOUT;
        snprintf(probe->reason, sizeof probe->reason,
                 "no connection within %lld ms: packets are dropped, or the host is down",
                 (long long)timeout_ms);
        return 0;
    }
    if (tsk_probe_explain(probe, at_least_why(deadline), err))
        return -1;
    if (probe->state != TSK_PROBE_HANDSHAKE || side_for(probe->peer_type, &side))
        return 0;
    /* The peer is of a kind to talk to: the other role is the right one, or it came up just now. */
    return attempt(probe, side, at_least_why(deadline), err) < 0 ? -1 : 0;
}

int tsk_probe_endpoint(const char *endpoint, enum tsk_side side, int64_t timeout_ms,
                       struct tsk_probe *probe, struct tsk_err *err)
{
    struct tsk_probe_target target;
    memset(probe, 0, sizeof *probe);
    probe->connect_us = probe->handshake_us = -1;
    int64_t deadline = tsk_now_ms() + timeout_ms;
    if (tsk_probe_resolve(endpoint, deadline, &target, err))
        return -1;
    probe->state = target.state;
    strcpy(probe->reason, target.reason);
    for (size_t i = 0; i < target.count; i++) {
        struct tsk_probe one = {.state = TSK_PROBE_REFUSED};
        strcpy(one.address, target.addresses[i]);
        if (try_address(&one, side, timeout_ms, deadline, err))
            return -1;
        /* Of several addresses that fail, the one that at least took a connection tells most. */
        if (i == 0 || one.state == TSK_PROBE_OK || one.connect_us >= 0)
            *probe = one;
        if (probe->state == TSK_PROBE_OK)
            break;
    }
    return 0;
}

struct tsk_probing {
    struct tsk_apart *apart;
    char *endpoint;
    enum tsk_side side;
    int64_t timeout_ms;
    struct tsk_probe probe;
};

static void look_apart(void *ctx)
{
    struct tsk_probing *probing = ctx;
    struct tsk_err err = TSK_ERR_INIT;
    if (tsk_probe_endpoint(probing->endpoint, probing->side, probing->timeout_ms, &probing->probe,
                           &err) == 0)
        return;
    probing->probe.state = TSK_PROBE_STATES;
    snprintf(probing->probe.reason, sizeof probing->probe.reason, "%.240s", err.text);
}

static void done_apart(void *ctx)
{
    struct tsk_probing *probing = ctx;
    free(probing->endpoint);
    free(probing);
}

struct tsk_probing *tsk_probe_start(const char *endpoint, enum tsk_side side, int64_t timeout_ms)
{
    struct tsk_probing *probing = tsk_alloc(sizeof *probing);
    probing->endpoint = tsk_strdup(endpoint);
    probing->side = side;
    probing->timeout_ms = timeout_ms;
    probing->apart = tsk_apart_start(look_apart, done_apart, probing);
    return probing;
}

const struct tsk_probe *tsk_probe_result(struct tsk_probing *probing)
{
    int failed = tsk_apart_failed(probing->apart);
    if (!tsk_apart_wait(probing->apart, 0))
        return NULL;
    if (failed) {
        probing->probe.state = TSK_PROBE_STATES;
        snprintf(probing->probe.reason, sizeof probing->probe.reason,
                 "cannot look why: no thread can start (%.100s); see ulimit -u", strerror(failed));
    }
    return &probing->probe;
}

void tsk_probe_end(struct tsk_probing *probing)
{
    if (probing)
        tsk_apart_end(probing->apart);
}

const char *tsk_probe_state_name(enum tsk_probe_state state)
{
    static const char *const names[TSK_PROBE_STATES] = {
        "ok", "no_host", "refused", "timeout", "silent", "closed", "foreign", "handshake"};
    return (unsigned)state < TSK_PROBE_STATES ? names[state] : "unknown";
}
