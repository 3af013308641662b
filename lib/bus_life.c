/* The monitor of a socket: libzmq tells what happens to it on a PAIR socket within the process.
 *
 * It is libzmq's own thread that writes there, and it would wait for room. So the pipe has no
 * limit, is read to its end each turn, and monitoring ends before its reader is closed.
 *
 * What fails is tried again up to fifty times a second, and so is the story of it. Each kind of
 * event at each endpoint therefore has a pace: some at once, then pauses of 1 s, 2 s, 4 s and so on
 * to a minute. A handshake that succeeds, or a minute without that event, begins anew. */
#include "tasker/bus_life.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

#include "bus_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/map.h"

enum {
    FIRST_PAUSE_MS = 1000,
    LONGEST_PAUSE_MS = 60000,
    FREE_PEERS = 100, /* events of those that come to us: a fleet may start at once */
    FREE_OWN = 3,
    PLACES_MOST = 1000,
    FDS_MOST = 1 << 16,
};

/* How often one kind of event is told. */
struct pace {
    int64_t seen, next; /* when the last one came, when the next one may be told */
    int64_t pause;      /* ms */
    int64_t hidden;
    int told;
};

struct place {
    struct pace paces[TSK_LIFE_KINDS];
};

/* A connection. */
struct link {
    char peer[TSK_LIFE_ENDPOINT_SIZE]; /* its address; where we connect, the endpoint */
    bool opening;                      /* its handshake is not over */
};

struct tsk_bus_life {
    void *monitor;
    int fd;
    bool binds;
    struct tsk_map *places; /* endpoint to struct place */
    struct link *links;     /* by descriptor */
    size_t link_cap;
};

const char *tsk_life_name(enum tsk_life_kind kind)
{
    static const char *const names[] = {"listening", "accepted",     "connected", "ready",
                                        "refused",   "disconnected", "retrying",  "failed"};
    return names[kind];
}

/* The events that are told, and as what. libzmq has others, that only repeat these. */
static const struct event {
    int event;
    enum tsk_life_kind kind;
} events[] = {
    {ZMQ_EVENT_LISTENING, TSK_LIFE_LISTENING},
    {ZMQ_EVENT_ACCEPTED, TSK_LIFE_ACCEPTED},
    {ZMQ_EVENT_CONNECTED, TSK_LIFE_CONNECTED},
    {ZMQ_EVENT_HANDSHAKE_SUCCEEDED, TSK_LIFE_READY},
    {ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL, TSK_LIFE_REFUSED},
    {ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL, TSK_LIFE_REFUSED},
    {ZMQ_EVENT_HANDSHAKE_FAILED_AUTH, TSK_LIFE_REFUSED},
    {ZMQ_EVENT_DISCONNECTED, TSK_LIFE_DISCONNECTED},
    {ZMQ_EVENT_CONNECT_RETRIED, TSK_LIFE_RETRYING},
    {ZMQ_EVENT_ACCEPT_FAILED, TSK_LIFE_FAILED},
    {ZMQ_EVENT_CLOSE_FAILED, TSK_LIFE_FAILED},
};

enum { EVENT_COUNT = sizeof events / sizeof *events };

/* Makes the reader of the monitor. Returns 0 or -1 with zmq_errno. */
static int open_monitor(struct tsk_bus_life *life, void *ctx, void *socket)
{
    static const char address[] = "inproc://life"; /* each bus has a context of its own */
    size_t size = sizeof life->fd;
    int wanted = 0, none = 0;
    for (size_t i = 0; i < EVENT_COUNT; i++)
        wanted |= events[i].event;
    if (zmq_socket_monitor(socket, address, wanted) != 0)
        return -1;
    life->monitor = zmq_socket(ctx, ZMQ_PAIR);
    if (!life->monitor || zmq_setsockopt(life->monitor, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(life->monitor, ZMQ_RCVHWM, &none, sizeof none) != 0 ||
        zmq_connect(life->monitor, address) != 0)
        return -1;
    return zmq_getsockopt(life->monitor, ZMQ_FD, &life->fd, &size);
}

struct tsk_bus_life *tsk_bus_life_open(void *ctx, void *socket, bool binds, struct tsk_err *err)
{
    struct tsk_bus_life *life = tsk_alloc(sizeof *life);
    life->binds = binds;
    life->places = tsk_map_new(free);
    if (open_monitor(life, ctx, socket) == 0)
        return life;
    tsk_err_set(err, TSK_UNAVAILABLE, "cannot watch a socket: %s", zmq_strerror(zmq_errno()));
    tsk_bus_life_close(life, socket);
    return NULL;
}

void tsk_bus_life_close(struct tsk_bus_life *life, void *socket)
{
    if (!life)
        return;
    zmq_socket_monitor(socket, NULL, 0); /* or libzmq would wait for a reader that is gone */
    if (life->monitor)
        zmq_close(life->monitor);
    tsk_map_free(life->places);
    free(life->links);
    free(life);
}

/* ---- reading */

static void explain_protocol(uint32_t value, char *reason, size_t size)
{
    static const struct {
        uint32_t value;
        const char *text;
    } table[] = {
        {ZMQ_PROTOCOL_ERROR_ZMTP_INVALID_METADATA, "it is no PUB or SUB, or its metadata is bad"},
        {ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, "it wants another security mechanism"},
        {ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC, "its keys do not fit"},
        {ZMQ_PROTOCOL_ERROR_ZMTP_UNEXPECTED_COMMAND, "an unexpected command"},
        {ZMQ_PROTOCOL_ERROR_ZMTP_INVALID_SEQUENCE, "commands in a wrong order"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].value == value) {
            snprintf(reason, size, "%s", table[i].text);
            return;
        }
    }
    snprintf(reason, size, "what it says is no ZMTP (libzmq error 0x%08lx)", (unsigned long)value);
}

/* Writes the address of the peer of a socket, "" where there is none. The socket is libzmq's and
 * may be closed, or its number another's by now: that is told of at worst. */
static void read_peer(int fd, char *out, size_t size)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;
    char host[INET6_ADDRSTRLEN] = "";
    *out = '\0';
    if (getpeername(fd, (struct sockaddr *)&at, &len) != 0)
        return;
    if (at.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&at;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, size, "tcp://%s:%d", host, ntohs(in->sin_port));
    } else if (at.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&at;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(out, size, "tcp://[%s]:%d", host, ntohs(in->sin6_port));
    }
}

/* A connection begins: looks its peer up, which can no longer be asked when it goes. */
static void note_begin(struct tsk_bus_life *life, uint32_t fd, struct tsk_life *event)
{
    if (fd >= FDS_MOST)
        return;
    life->links = tsk_grow(life->links, &life->link_cap, fd + 1, sizeof *life->links);
    struct link *link = &life->links[fd];
    link->opening = true;
    if (life->binds)
        read_peer((int)fd, link->peer, sizeof event->peer);
    else
        snprintf(link->peer, sizeof link->peer, "%s", event->endpoint);
    if (life->binds)
        memcpy(event->peer, link->peer, sizeof event->peer);
}

/* A handshake is over. libzmq does not say whose; where it can be that of several, none of them is
 * taken to be still at it, and none is named. */
static void note_handshake(struct tsk_bus_life *life, struct tsk_life *event)
{
    int count = 0;
    for (size_t fd = 0; fd < life->link_cap; fd++) {
        struct link *link = &life->links[fd];
        if (!link->opening || (!life->binds && strcmp(link->peer, event->endpoint) != 0))
            continue;
        link->opening = false;
        count++;
        if (life->binds && event->kind == TSK_LIFE_REFUSED)
            memcpy(event->peer, link->peer, sizeof event->peer);
    }
    if (count != 1)
        event->peer[0] = '\0';
}

/* A connection ends. Before the end of its handshake that is a failure of it: libzmq tells of some
 * failures only so, and does not make such a connection again. */
static void note_end(struct tsk_bus_life *life, uint32_t fd, struct tsk_life *event)
{
    if (fd >= life->link_cap)
        return;
    struct link *link = &life->links[fd];
    if (life->binds)
        memcpy(event->peer, link->peer, sizeof event->peer);
    if (link->opening) {
        event->kind = TSK_LIFE_REFUSED;
        snprintf(event->reason, sizeof event->reason, "it is no PUB or SUB, or no ZeroMQ at all%s",
                 life->binds ? "" : "; this endpoint is not tried again");
    }
    *link = (struct link){0};
}

static void read_value(struct tsk_bus_life *life, int event, uint32_t value, struct tsk_life *out)
{
    switch (event) {
    case ZMQ_EVENT_ACCEPTED:
    case ZMQ_EVENT_CONNECTED:
        note_begin(life, value, out);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        note_end(life, value, out);
        break;
    case ZMQ_EVENT_CONNECT_RETRIED:
        out->interval = value;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        explain_protocol(value, out->reason, sizeof out->reason);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        snprintf(out->reason, sizeof out->reason, "not authorised (status %lu)",
                 (unsigned long)value);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        /* the errno that comes along may be of anything before it */
        snprintf(out->reason, sizeof out->reason,
                 "the peer ended the connection (no PUB or SUB?), or was silent for too long");
        break;
    case ZMQ_EVENT_ACCEPT_FAILED:
    case ZMQ_EVENT_CLOSE_FAILED:
        snprintf(out->reason, sizeof out->reason, "cannot %s: %s",
                 event == ZMQ_EVENT_ACCEPT_FAILED ? "accept a connection" : "close",
                 zmq_strerror((int)value));
        break;
    default:
        break;
    }
}

/* Receives one frame into data, cut to size. Returns its length, or -1 if there is none. */
static int recv_frame(void *monitor, void *data, size_t size)
{
    int rc;
    while ((rc = zmq_recv(monitor, data, size, ZMQ_DONTWAIT)) < 0 && zmq_errno() == EINTR)
        ;
    return rc > (int)size ? (int)size : rc;
}

/* Reads one event. Returns false if there is none. */
static bool read_event(struct tsk_bus_life *life, struct tsk_life *out)
{
    unsigned char head[6];
    uint16_t event;
    uint32_t value;
    while (recv_frame(life->monitor, head, sizeof head) == (int)sizeof head) {
        *out = (struct tsk_life){.kind = TSK_LIFE_KINDS};
        recv_frame(life->monitor, out->endpoint, sizeof out->endpoint - 1);
        memcpy(&event, head, sizeof event);
        memcpy(&value, head + sizeof event, sizeof value);
        for (size_t i = 0; i < EVENT_COUNT; i++) {
            if (events[i].event == event)
                out->kind = events[i].kind;
        }
        if (out->kind == TSK_LIFE_KINDS)
            continue;
        if (out->kind == TSK_LIFE_READY || out->kind == TSK_LIFE_REFUSED)
            note_handshake(life, out);
        read_value(life, event, value, out);
        return true;
    }
    return false;
}

/* ---- pace */

/* Whether one more event may be told now. */
static bool may_tell(struct pace *pace, int at_once, int64_t now, int64_t *hidden)
{
    if (now - pace->seen > LONGEST_PAUSE_MS)
        *pace = (struct pace){0};
    pace->seen = now;
    if (now < pace->next) {
        pace->hidden++;
        return false;
    }
    if (++pace->told >= at_once) {
        pace->pause = pace->pause ? pace->pause * 2 : FIRST_PAUSE_MS;
        if (pace->pause > LONGEST_PAUSE_MS)
            pace->pause = LONGEST_PAUSE_MS;
        pace->next = now + pace->pause;
    }
    *hidden = pace->hidden;
    pace->hidden = 0;
    return true;
}

static int told_at_once(const struct tsk_bus_life *life, enum tsk_life_kind kind)
{
    if (kind == TSK_LIFE_RETRYING)
        return 1;
    return life->binds && kind != TSK_LIFE_REFUSED && kind != TSK_LIFE_FAILED ? FREE_PEERS
                                                                              : FREE_OWN;
}

/* A connection is there: what goes wrong with it later is new. But one that comes and goes again
 * and again keeps its pace. */
static void begin_anew(struct place *place)
{
    for (int kind = 0; kind < TSK_LIFE_KINDS; kind++) {
        if (kind != TSK_LIFE_READY)
            place->paces[kind] = (struct pace){0};
    }
}

static bool is_told(struct tsk_bus_life *life, struct tsk_life *event, int64_t now)
{
    struct place *place = tsk_map_get(life->places, event->endpoint);
    if (!place) {
        if (tsk_map_count(life->places) >= PLACES_MOST)
            tsk_map_remove(life->places, tsk_map_key(tsk_map_first(life->places)));
        place = tsk_alloc(sizeof *place);
        tsk_map_put(life->places, event->endpoint, place);
    }
    if (!may_tell(&place->paces[event->kind], told_at_once(life, event->kind), now, &event->hidden))
        return false;
    if (event->kind == TSK_LIFE_READY)
        begin_anew(place);
    return true;
}

int tsk_bus_life_fd(const struct tsk_bus *bus)
{
    return bus->life ? bus->life->fd : -1;
}

bool tsk_bus_life(struct tsk_bus *bus, struct tsk_life *out)
{
    struct tsk_bus_life *life = bus->life;
    if (!life)
        return false;
    while (read_event(life, out)) {
        if (is_told(life, out, tsk_now_ms()))
            return true;
    }
    return false;
}
