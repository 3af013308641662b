/* The life of the sockets of a bus: what its monitor says, at a pace that a person can read.
 *
 * What fails is tried again up to fifty times a second, and so is the story of it. Each kind of
 * event at each endpoint therefore has a pace: some at once, then pauses of 1 s, 2 s, 4 s and so on
 * to a minute. A handshake that succeeds, or a minute without that event, begins anew.
 *
 * Where we connect there is a second use, so that a monitor is always there: libzmq never again
 * connects to what answered with a handshake that made no sense. But that may be a program which
 * had taken the port by mistake, and the true peer may have it a minute later. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bus/bus_private.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/map.h"

/* ---- The monitor of a socket: libzmq tells what happens to it on a PAIR socket within the
 * process.
 *
 * It is libzmq's own thread that writes there, and it would wait for room. So the pipe has no
 * limit, is read to its end each turn, and monitoring ends before its reader is closed. */

enum { FDS_MOST = 1 << 16 };

/* A connection. */
struct link {
    char peer[TSK_LIFE_ENDPOINT_SIZE]; /* its address; where we connect, the endpoint */
    bool opening;                      /* its handshake is not over */
};

struct monitor {
    void *socket;
    int fd;
    bool binds;
    bool final;         /* of the event being read: see read_event */
    struct link *links; /* by descriptor */
    size_t link_cap;
};

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
static int start_monitor(struct monitor *monitor, const struct tsk_bus *bus, bool told)
{
    static const char address[] = "inproc://life"; /* each bus has a context of its own */
    size_t size = sizeof monitor->fd;
    int wanted = 0, none = 0;
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        if (told || events[i].kind != TSK_LIFE_RETRYING)
            wanted |= events[i].event;
    }
    if (zmq_socket_monitor(bus->socket, address, wanted) != 0)
        return -1;
    monitor->socket = zmq_socket(bus->ctx, ZMQ_PAIR);
    if (!monitor->socket || zmq_setsockopt(monitor->socket, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(monitor->socket, ZMQ_RCVHWM, &none, sizeof none) != 0 ||
        zmq_connect(monitor->socket, address) != 0)
        return -1;
    return zmq_getsockopt(monitor->socket, ZMQ_FD, &monitor->fd, &size);
}

/* Ends that, while the socket is still open. NULL is fine. */
static void close_monitor(struct monitor *monitor, void *socket)
{
    if (!monitor)
        return;
    zmq_socket_monitor(socket, NULL, 0); /* or libzmq would wait for a reader that is gone */
    if (monitor->socket)
        zmq_close(monitor->socket);
    free(monitor->links);
    free(monitor);
}

/* Begins to watch the socket of bus, before it binds or connects; with told false only for what
 * tsk_bus_life needs itself. Returns NULL with err if it cannot. */
static struct monitor *open_monitor(const struct tsk_bus *bus, bool told, struct tsk_err *err)
{
    struct monitor *monitor = tsk_alloc(sizeof *monitor);
    monitor->binds = bus->binds;
    if (start_monitor(monitor, bus, told) == 0)
        return monitor;
    tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "watch a socket", NULL);
    close_monitor(monitor, bus->socket);
    return NULL;
}

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
static void note_begin(struct monitor *monitor, uint32_t fd, struct tsk_life *event)
{
    if (fd >= FDS_MOST)
        return;
    monitor->links = tsk_grow(monitor->links, &monitor->link_cap, fd + 1, sizeof *monitor->links);
    struct link *link = &monitor->links[fd];
    link->opening = true;
    if (monitor->binds)
        read_peer((int)fd, link->peer, sizeof event->peer);
    else
        snprintf(link->peer, sizeof link->peer, "%s", event->endpoint);
    if (monitor->binds)
        memcpy(event->peer, link->peer, sizeof event->peer);
}

/* A handshake is over. libzmq does not say whose; where it can be that of several, none of them is
 * taken to be still at it, and none is named. */
static void note_handshake(struct monitor *monitor, struct tsk_life *event)
{
    int count = 0;
    for (size_t fd = 0; fd < monitor->link_cap; fd++) {
        struct link *link = &monitor->links[fd];
        if (!link->opening || (!monitor->binds && strcmp(link->peer, event->endpoint) != 0))
            continue;
        link->opening = false;
        count++;
        if (monitor->binds && event->kind == TSK_LIFE_REFUSED)
            memcpy(event->peer, link->peer, sizeof event->peer);
    }
    if (count != 1)
        event->peer[0] = '\0';
}

/* A connection ends. Before the end of its handshake that is a failure of it: of what makes no
 * sense libzmq tells only so, and does not make such a connection again. */
static void note_end(struct monitor *monitor, uint32_t fd, struct tsk_life *event)
{
    if (fd >= monitor->link_cap)
        return;
    struct link *link = &monitor->links[fd];
    if (monitor->binds)
        memcpy(event->peer, link->peer, sizeof event->peer);
    if (link->opening) {
        event->kind = TSK_LIFE_REFUSED;
        snprintf(event->reason, sizeof event->reason, "it is no PUB or SUB, or no ZeroMQ at all");
        monitor->final = !monitor->binds;
    }
    *link = (struct link){0};
}

static void read_value(struct monitor *monitor, int event, uint32_t value, struct tsk_life *out)
{
    switch (event) {
    case ZMQ_EVENT_ACCEPTED:
    case ZMQ_EVENT_CONNECTED:
        note_begin(monitor, value, out);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        note_end(monitor, value, out);
        break;
    case ZMQ_EVENT_CONNECT_RETRIED:
        out->interval = value;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        explain_protocol(value, out->reason, sizeof out->reason);
        monitor->final = !monitor->binds;
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
static int recv_frame(void *socket, void *data, size_t size)
{
    int rc;
    while ((rc = zmq_recv(socket, data, size, ZMQ_DONTWAIT)) < 0 && zmq_errno() == EINTR)
        ;
    return rc > (int)size ? (int)size : rc;
}

/* Reads one event, all but its field hidden. *final: libzmq will not connect there again. Returns
 * false if there is none. */
static bool read_event(struct monitor *monitor, struct tsk_life *out, bool *final)
{
    unsigned char head[6];
    uint16_t event;
    uint32_t value;
    while (recv_frame(monitor->socket, head, sizeof head) == (int)sizeof head) {
        *out = (struct tsk_life){.kind = TSK_LIFE_KINDS};
        monitor->final = false;
        recv_frame(monitor->socket, out->endpoint, sizeof out->endpoint - 1);
        memcpy(&event, head, sizeof event);
        memcpy(&value, head + sizeof event, sizeof value);
        for (size_t i = 0; i < EVENT_COUNT; i++) {
            if (events[i].event == event)
                out->kind = events[i].kind;
        }
        if (out->kind == TSK_LIFE_KINDS)
            continue;
        if (out->kind == TSK_LIFE_READY || out->kind == TSK_LIFE_REFUSED)
            note_handshake(monitor, out);
        read_value(monitor, event, value, out);
        *final = monitor->final;
        return true;
    }
    return false;
}

/* ---- what of it is told, and when */

enum {
    FIRST_PAUSE_MS = 1000,
    LONGEST_PAUSE_MS = 60000,
    FREE_PEERS = 100, /* events of those that come to us: a fleet may start at once */
    FREE_OWN = 3,
    PLACES_MOST = 1000,
    STRANGER_PAUSES = 10, /* of reconnect_max, before connecting to what is none of ours */
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
    int64_t again; /* when to connect once more, since libzmq does not; 0: it does */
};

struct tsk_bus_life {
    struct monitor *monitor;
    bool binds, told;       /* told: somebody wants to know, beyond what we need ourselves */
    int64_t pause;          /* before connecting again, ms */
    int64_t again;          /* the earliest of the places, or -1 */
    struct tsk_map *places; /* endpoint to struct place */
};

const char *tsk_life_name(enum tsk_life_kind kind)
{
    static const char *const names[] = {"listening",  "accepted",     "connected", "ready",
                                        "refused",    "disconnected", "retrying",  "failed",
                                        "looking_up", "slow_lookup",  "unreached", "reached"};
    return names[kind];
}

struct tsk_bus_life *tsk_bus_life_open(const struct tsk_bus *bus, const struct tsk_conf *conf,
                                       struct tsk_err *err)
{
    struct tsk_bus_life *life = tsk_alloc(sizeof *life);
    life->binds = bus->binds;
    life->told = tsk_conf_int(conf, TSK_LOG_LEVEL) >= TSK_LEVEL_INFO;
    life->pause = STRANGER_PAUSES * tsk_conf_int(conf, TSK_ZEROMQ_RECONNECT_MAX);
    life->again = -1;
    life->places = tsk_map_new(free);
    life->monitor = open_monitor(bus, life->told, err);
    if (life->monitor)
        return life;
    tsk_bus_life_close(life, bus->socket);
    return NULL;
}

void tsk_bus_life_close(struct tsk_bus_life *life, void *socket)
{
    if (!life)
        return;
    close_monitor(life->monitor, socket);
    tsk_map_free(life->places);
    free(life);
}

void tsk_bus_life_forget(struct tsk_bus_life *life, const char *place)
{
    tsk_map_remove(life->places, place);
}

static struct place *place_of(struct tsk_bus_life *life, const char *endpoint)
{
    struct place *place = tsk_map_get(life->places, endpoint);
    if (place)
        return place;
    if (tsk_map_count(life->places) >= PLACES_MOST)
        tsk_map_remove(life->places, tsk_map_key(tsk_map_first(life->places)));
    place = tsk_alloc(sizeof *place);
    tsk_map_put(life->places, endpoint, place);
    return place;
}

/* Takes note that libzmq will not connect there again. */
static void connect_again(struct tsk_bus_life *life, struct tsk_life *event)
{
    event->interval = life->pause;
    struct place *place = place_of(life, event->endpoint);
    place->again = tsk_now_ms() + life->pause;
    life->again = tsk_earlier(life->again, place->again);
}

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
    struct place *place = place_of(life, event->endpoint);
    if (!may_tell(&place->paces[event->kind], told_at_once(life, event->kind), now, &event->hidden))
        return false;
    if (event->kind == TSK_LIFE_READY)
        begin_anew(place);
    return true;
}

int tsk_bus_life_fd(const struct tsk_bus *bus)
{
    return bus->life->monitor->fd;
}

int64_t tsk_bus_life_deadline(const struct tsk_bus *bus)
{
    int64_t due = tsk_bus_alive_deadline(bus);
    due = tsk_earlier(due, bus->life->again);
    due = tsk_earlier(due, bus->awaits.next);
    return tsk_earlier(due, bus->gate.next);
}

static void connect_due(struct tsk_bus *bus, int64_t now)
{
    struct tsk_bus_life *life = bus->life;
    struct tsk_map_entry *entry = tsk_map_first(life->places);
    life->again = -1;
    for (; entry; entry = tsk_map_next(entry)) {
        struct place *place = tsk_map_value(entry);
        if (place->again && place->again <= now) {
            place->again = 0;
            if (!tsk_bus_gate_add(bus, tsk_map_key(entry)))
                tsk_bus_reach(bus, tsk_map_key(entry)); /* it was right the first time */
        }
        if (place->again)
            life->again = tsk_earlier(life->again, place->again);
    }
}

bool tsk_bus_life(struct tsk_bus *bus, struct tsk_life *out)
{
    struct tsk_bus_life *life = bus->life;
    bool final;
    tsk_bus_alive_turn(bus);
    while (read_event(life->monitor, out, &final)) {
        tsk_bus_awaits_note(bus, out);
        if (final)
            connect_again(life, out);
        if (life->told && is_told(life, out, tsk_now_ms()))
            return true;
    }
    if (life->again >= 0 && life->again <= tsk_now_ms())
        connect_due(bus, tsk_now_ms());
    while (tsk_bus_gate_next(bus, out)) {
        tsk_bus_awaits_note(bus, out);
        if (out->kind == TSK_LIFE_SLOW || (life->told && is_told(life, out, tsk_now_ms())))
            return true;
    }
    return tsk_bus_awaits_next(bus, out);
}
