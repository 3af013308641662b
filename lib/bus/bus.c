/* Sockets. One libzmq context a bus, so that closing one waits for nobody else. Nothing here blocks
 * but the close, for as long as linger allows. Sending is in bus_send.c, receiving in bus_recv.c.
 */
#include "tasker/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus/bus_private.h"
#include "tasker/clock.h"
#include "tasker/os.h"

/* What libzmq takes for a context, a socket with its monitor and one connection, and what looks
 * addresses up (seen: 18 descriptors, 4 threads). */
enum { ROOM_FDS = 24, ROOM_THREADS = 6 };

enum {
    ENDPOINT_SIZE = 1024,
    TERM_GRACE_MS = 2000 /* beyond linger; it takes less than one, unless libzmq is stuck */
};

int tsk_bus_zmq_err(struct tsk_err *err, enum tsk_exit kind, const char *what, const char *on)
{
    int code = zmq_errno();
    tsk_err_set(err, kind, "cannot %s%s%s: %s", what, on ? " " : "", on ? on : "",
                zmq_strerror(code));
    if (err)
        err->code = code;
    return -1;
}

static int set_taken_err(struct tsk_err *err, const char *endpoint)
{
    char holder[64];
    int port = tsk_bus_port(endpoint);
    if (port && tsk_os_port_holder(port, holder, sizeof holder))
        tsk_err_set(err, TSK_TEMPFAIL, "cannot bind %s: port %d is held by %s", endpoint, port,
                    holder);
    else
        tsk_err_set(err, TSK_TEMPFAIL, "cannot bind %s: another process listens there", endpoint);
    if (err)
        err->code = EADDRINUSE;
    return -1;
}

/* Why zmq_bind failed. ENODEV is for a host that is a name: libzmq looks none up to bind. */
static int set_bind_err(struct tsk_err *err, const char *endpoint)
{
    if (zmq_errno() == EADDRINUSE)
        return set_taken_err(err, endpoint);
    if (zmq_errno() == EADDRNOTAVAIL)
        return tsk_err_set(err, TSK_UNAVAILABLE,
                           "cannot bind %s: this machine has no such address; * is all it has",
                           endpoint);
    if (zmq_errno() == EACCES)
        return tsk_err_set(
            err, TSK_UNAVAILABLE,
            "cannot bind %s: permission denied; a port below 1024 needs a privilege, "
            "a path the right to write its folder",
            endpoint);
    if (zmq_errno() != ENODEV)
        return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "bind", endpoint);
    return tsk_err_set(err, TSK_UNAVAILABLE,
                       "cannot bind %s: its host is neither an address nor an interface of this "
                       "machine; * is all addresses",
                       endpoint);
}

/* Returns where it stands among the places; their count if it does not. */
static size_t find_place(const struct tsk_bus *bus, const char *place)
{
    size_t i = 0;
    while (i < bus->count && strcmp(bus->places[i], place) != 0)
        i++;
    return i;
}

/* Notes a place that the bus is bound or connected to; the first is what it tells of itself. */
static void add_place(struct tsk_bus *bus, const char *endpoint, const char *place)
{
    bus->places = tsk_grow(bus->places, &bus->cap, bus->count + 1, sizeof *bus->places);
    bus->places[bus->count++] = tsk_strdup(place);
    tsk_bus_awaits_add(bus, place);
    if (!bus->endpoint)
        bus->endpoint = tsk_strdup(endpoint);
}

static int bind_to(struct tsk_bus *bus, const char *endpoint, struct tsk_err *err)
{
    char bound[ENDPOINT_SIZE], place[ENDPOINT_SIZE];
    size_t size = sizeof bound;
    if (bus->count)
        return tsk_err_set(err, TSK_CONFIG,
                           "cannot bind %s besides %s: the side that binds has one endpoint",
                           endpoint, bus->endpoint);
    if (tsk_bus_ipc_taken(endpoint))
        return set_taken_err(err, endpoint);
    if (tsk_bus_ipc_blocked(endpoint))
        return tsk_err_set(err, TSK_UNAVAILABLE,
                           "cannot bind %s: there is a file of that name which is no socket",
                           endpoint);
    tsk_bus_options_for(bus, endpoint);
    /* libzmq takes only addresses and interfaces here; localhost is known without a lookup */
    tsk_bus_canonical(endpoint, place, sizeof place);
    if (zmq_bind(bus->socket, tsk_bus_any_host(endpoint) ? endpoint : place) != 0)
        return set_bind_err(err, endpoint);
    if (zmq_getsockopt(bus->socket, ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "tell where it is bound:", endpoint);
    tsk_bus_canonical(bound, place, sizeof place);
    add_place(bus, bound, place);
    return 0;
}

int tsk_bus_reach(struct tsk_bus *bus, const char *place)
{
    tsk_bus_options_for(bus, place);
    bus->touched = true;
    return zmq_connect(bus->socket, place);
}

int tsk_bus_connect(struct tsk_bus *bus, const char *endpoint, struct tsk_err *err)
{
    char place[ENDPOINT_SIZE];
    tsk_bus_canonical(endpoint, place, sizeof place);
    if (find_place(bus, place) < bus->count)
        return 0;
    if (!tsk_bus_gate_add(bus, place) && tsk_bus_reach(bus, place) != 0)
        return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "connect to", endpoint);
    add_place(bus, endpoint, place);
    return 1;
}

void tsk_bus_disconnect(struct tsk_bus *bus, const char *endpoint)
{
    char place[ENDPOINT_SIZE];
    tsk_bus_canonical(endpoint, place, sizeof place);
    size_t i = find_place(bus, place);
    if (i == bus->count || bus->binds)
        return;
    bus->touched = true;
    if (!tsk_bus_gate_remove(bus, place))
        zmq_disconnect(bus->socket, place); /* it fails where libzmq gave up by itself */
    tsk_bus_life_forget(bus->life, place);
    tsk_map_remove(bus->awaits.all, place);
    free(bus->places[i]);
    bus->places[i] = bus->places[--bus->count];
}

/* Binds or connects to each of a list by commas. */
static int attach(struct tsk_bus *bus, const char *endpoints, struct tsk_err *err)
{
    char *list = tsk_strdup(endpoints), *rest = NULL;
    int rc = 0;
    for (char *one = strtok_r(list, ", ", &rest); one && rc >= 0; one = strtok_r(NULL, ", ", &rest))
        rc = bus->binds ? bind_to(bus, one, err) : tsk_bus_connect(bus, one, err);
    if (rc >= 0 && bus->count == 0)
        rc = tsk_err_set(err, TSK_CONFIG, "no endpoint is named");
    free(list);
    return rc;
}

static int open_socket(struct tsk_bus *bus, const struct tsk_conf *conf, struct tsk_err *err)
{
    size_t size = sizeof bus->fd;
    bus->ctx = zmq_ctx_new();
    if (!bus->ctx)
        return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "start libzmq", NULL);
    if (!bus->binds)
        zmq_ctx_set(bus->ctx, ZMQ_IO_THREADS, TSK_BUS_THREADS);
    bus->socket = zmq_socket(bus->ctx, bus->side == TSK_SENDER ? ZMQ_XPUB : ZMQ_XSUB);
    if (!bus->socket)
        return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "make a socket", NULL);
    if (zmq_getsockopt(bus->socket, ZMQ_FD, &bus->fd, &size) != 0)
        return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "poll a socket", NULL);
    bus->life = tsk_bus_life_open(bus, conf, err);
    if (!bus->life)
        return -1;
    return tsk_bus_options(bus->socket, conf, bus->channel, bus->side, bus->binds, err);
}

struct tsk_bus *tsk_bus_open_at(const struct tsk_conf *conf, enum tsk_channel channel,
                                enum tsk_side side, bool bind, const char *endpoints,
                                struct tsk_err *err)
{
    if (!tsk_conf_int(conf, TSK_ZEROMQ_ENABLED)) {
        tsk_err_set(err, TSK_CONFIG, "sockets are switched off (zeromq.enabled is false, %s)",
                    tsk_conf_origin(conf, TSK_ZEROMQ_ENABLED));
        return NULL;
    }
    if (tsk_os_room(ROOM_FDS, ROOM_THREADS, err) < 0)
        return NULL;
    struct tsk_bus *bus = tsk_alloc(sizeof *bus);
    bus->channel = channel;
    bus->side = side;
    bus->binds = bind;
    bus->touched = true;
    bus->longest = (size_t)tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES) + TSK_TOPIC_SIZE;
    bus->reconnect_max = tsk_conf_int(conf, TSK_ZEROMQ_RECONNECT_MAX);
    bus->alive = tsk_bus_alive_new(tsk_conf_int(conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL));
    bus->backlog = tsk_bus_backlog_new();
    bus->gate = tsk_bus_gate();
    bus->awaits = tsk_bus_awaits();
    zmq_msg_init(&bus->part);
    if (open_socket(bus, conf, err) != 0 || attach(bus, endpoints, err) < 0) {
        tsk_bus_close(bus);
        return NULL;
    }
    return bus;
}

struct tsk_bus *tsk_bus_open(const struct tsk_conf *conf, enum tsk_channel channel,
                             enum tsk_side side, struct tsk_err *err)
{
    bool steps = channel == TSK_STEPS;
    /* the first choice of both keys is the sender */
    bool sender_binds =
        tsk_conf_int(conf, steps ? TSK_ZEROMQ_BATCH_BIND : TSK_ZEROMQ_RESULT_BIND) == 0;
    const char *endpoints =
        tsk_conf_str(conf, steps ? TSK_ZEROMQ_BATCH_ENDPOINT : TSK_ZEROMQ_RESULT_ENDPOINT);
    struct tsk_bus *bus = tsk_bus_open_at(conf, channel, side, sender_binds == (side == TSK_SENDER),
                                          endpoints, err);
    if (bus)
        tsk_bus_alive_say(bus);
    return bus;
}

/* libzmq leaves the path of an ipc socket behind. It goes before the socket does: after that it
 * might be another's. */
static void remove_path(const struct tsk_bus *bus)
{
    const char *path = bus->binds && bus->endpoint ? tsk_bus_ipc_path(bus->endpoint) : NULL;
    if (path)
        unlink(path);
}

/* Closes the socket and its context. Returns false if the time to linger was over before libzmq had
 * given all to the system; there is no other sign of that. */
static bool close_socket(struct tsk_bus *bus)
{
    int linger = 0;
    size_t size = sizeof linger;
    int64_t start = tsk_now_ms();
    tsk_map_free(bus->gate.all);
    tsk_map_free(bus->awaits.all);
    tsk_bus_life_close(bus->life, bus->socket);
    if (bus->socket) {
        /* subscriptions that wait for a peer which never came are no reason to linger */
        if (!bus->sent)
            zmq_setsockopt(bus->socket, ZMQ_LINGER, &linger, sizeof linger);
        zmq_getsockopt(bus->socket, ZMQ_LINGER, &linger, &size);
        remove_path(bus);
        zmq_close(bus->socket);
    }
    bool ended = !bus->ctx || tsk_bus_term(bus->ctx, linger + TERM_GRACE_MS);
    if (ended) /* else libzmq still counts on it */
        free(bus->backlog);
    return ended && (linger <= 0 || tsk_now_ms() - start < linger);
}

bool tsk_bus_close(struct tsk_bus *bus)
{
    if (!bus)
        return true;
    zmq_msg_close(&bus->part);
    bool all_left = close_socket(bus);
    for (size_t i = 0; i < bus->count; i++)
        free(bus->places[i]);
    free(bus->places);
    free(bus->endpoint);
    tsk_buf_fini(&bus->text);
    tsk_buf_fini(&bus->head);
    tsk_bus_alive_free(bus->alive);
    free(bus);
    return all_left;
}

bool tsk_bus_binds(const struct tsk_bus *bus)
{
    return bus->binds;
}

const char *tsk_bus_endpoint(const struct tsk_bus *bus)
{
    return bus->endpoint;
}

bool tsk_bus_quiet(const struct tsk_bus *bus)
{
    return !bus->touched;
}

int tsk_bus_fd(const struct tsk_bus *bus)
{
    return bus->fd;
}
