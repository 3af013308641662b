/* Sockets. One libzmq context a bus, so that closing one waits for nobody else. Nothing here blocks
 * but the close, for as long as linger allows. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "base/os_private.h"
#include "bus/bus_private.h"
#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/os.h"

/* What libzmq takes for a context, a socket with its monitor and one connection, and what looks
 * addresses up (seen: 18 descriptors, 4 threads). */
enum { ROOM_FDS = 24, ROOM_THREADS = 6 };

enum {
    ENDPOINT_SIZE = 1024,
    TERM_GRACE_MS = 2000 /* beyond linger; it takes less than one, unless libzmq is stuck */
};

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
    bus->subscribers = tsk_bus_subscribers_new();
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
    struct tsk_bus *bus =
        tsk_bus_open_at(conf, channel, side, sender_binds == (side == TSK_SENDER), endpoints, err);
    if (bus)
        tsk_bus_alive_say(bus);
    return bus;
}

/* ---- The end of a libzmq context, within a time. zmq_ctx_term waits until all sockets are gone,
 * for the linger that they have; no error of libzmq may make it wait longer, since a program that
 * has done its work and hangs at the end is the worst of all: so a thread waits for it.
 *
 * Nor may an error of libzmq take the program's status away. Where a socket is closed with much
 * unread, and a peer is gone before it has taken all that was for it, the next heartbeat says
 * "Assertion failed: !_io_error" and calls abort (4.3.4, stream_engine_base.cpp). Nobody waits for
 * that connection any more: the thread that aborts is held, and the context left behind. One of
 * ours is not (it is out of memory), since others may wait for it. (Where abort() does not call a
 * handler in a thread that blocks signals, it ends the program as ever.) */

enum { READ, WRITE, ENDED = 'e', ABORTED = 'a' };

struct ending {
    void *ctx;
    int pipe[2]; /* on which comes how it went */
};

static volatile sig_atomic_t waiting = -1; /* the pipe of the ending that is waited for */
static pthread_t waiter;                   /* the thread that waits */

static void tell(int fd, char how)
{
    while (write(fd, &how, 1) < 0 && errno == EINTR)
        ;
}

/* The one that waits is not held either: somebody wants the program to end, by a signal. Where the
 * names of threads are not known, all others are. */
static void hold(int sig)
{
    if (pthread_equal(pthread_self(), waiter) || !tsk_os_thread_named("ZMQbg/")) {
        signal(sig, SIG_DFL);
        raise(sig);
        return;
    }
    tell(waiting, ABORTED);
    for (;;)
        pause();
}

static void *run(void *arg)
{
    struct ending *ending = arg;
    while (zmq_ctx_term(ending->ctx) != 0 && zmq_errno() == EINTR)
        ;
    if (ending->pipe[WRITE] >= 0)
        tell(ending->pipe[WRITE], ENDED);
    return NULL;
}

/* Waits for the end until deadline. Returns whether it came; else libzmq lives on, and what it does
 * with an abort stays as it is. */
static bool wait_for(const struct ending *ending, int64_t deadline)
{
    struct pollfd fd = {.fd = ending->pipe[READ], .events = POLLIN};
    struct sigaction held = {.sa_handler = hold}, old;
    char how = 0;
    int before = waiting; /* one that was left behind is held as it was */
    sigemptyset(&held.sa_mask);
    waiter = pthread_self();
    waiting = ending->pipe[WRITE];
    sigaction(SIGABRT, &held, &old);
    while (poll(&fd, 1, tsk_left_ms(deadline)) < 0 && errno == EINTR)
        ;
    if (fd.revents && read(fd.fd, &how, 1) < 0)
        how = 0;
    if (how != ENDED)
        return false;
    sigaction(SIGABRT, &old, NULL);
    waiting = before;
    return true;
}

/* Starts run in a thread. Returns false if it cannot: out of descriptors, or of threads. */
static bool start(pthread_t *thread, struct ending *ending)
{
    sigset_t old;
    if (tsk_os_pipe(ending->pipe) != 0)
        return false;
    tsk_os_signals_block(&old);
    int rc = pthread_create(thread, NULL, run, ending);
    tsk_os_signals_restore(&old);
    return rc == 0;
}

/* Ends a context whose sockets are closed, waiting for at most that long (ms). Returns false if it
 * would not end, or libzmq gave up at it: it is then left behind. Meanwhile, and for good if it is
 * false, an abort of a thread of libzmq holds that thread. For one thread at a time. */
static bool end_context(void *ctx, int64_t most)
{
    struct ending *ending = tsk_alloc(sizeof *ending);
    int64_t deadline = tsk_now_ms() + most;
    pthread_t thread;
    *ending = (struct ending){ctx, {-1, -1}};
    if (!start(&thread, ending)) {
        run(ending); /* without a limit */
    } else if (wait_for(ending, deadline)) {
        pthread_join(thread, NULL);
    } else {
        pthread_detach(thread); /* ending is the thread's for as long as the program lives */
        return false;
    }
    for (int i = READ; i <= WRITE; i++) {
        if (ending->pipe[i] >= 0)
            close(ending->pipe[i]);
    }
    free(ending);
    return true;
}

/* ---- closing */

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
    bool ended = !bus->ctx || end_context(bus->ctx, linger + TERM_GRACE_MS);
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
    tsk_map_free(bus->subscribers);
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

/* ---- Ending the connections of peers that take nothing. libzmq has no call for that, and its mark
 * cannot do it: a mark lowered while it is in use (ZMQ_SNDHWM, 4.3.4) shuts off for good each peer
 * that has read, but not yet acknowledged, more messages than the new one. So the connections are
 * found among this process's descriptors, and libzmq sees them broken as if by the network. */

enum { FDS_MOST = 1 << 18 }; /* looked at */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage room;
};

/* Whether address is that of an endpoint, as far as it can be told: the host is left out, since it
 * may have many names. */
static bool is_at(const union address *address, const char *endpoint)
{
    const char *path = tsk_bus_ipc_path(endpoint);
    int port = tsk_bus_port(endpoint);
    switch (address->any.sa_family) {
    case AF_INET:
        return port && ntohs(address->v4.sin_port) == port;
    case AF_INET6:
        return port && ntohs(address->v6.sin6_port) == port;
    case AF_UNIX:
        return path && strcmp(address->local.sun_path, path) == 0;
    default:
        return false;
    }
}

/* Whether fd is a connection of bus. */
static bool is_ours(const struct tsk_bus *bus, int fd)
{
    union address own, peer;
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    memset(&own, 0, sizeof own);
    memset(&peer, 0, sizeof peer);
    if (getpeername(fd, &peer.any, &peer_size) != 0 || getsockname(fd, &own.any, &own_size) != 0)
        return false; /* no socket, or one that listens */
    for (size_t i = 0; i < bus->count; i++) {
        if (is_at(bus->binds ? &own : &peer, bus->places[i]))
            return true;
    }
    return false;
}

static bool takes_nothing(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    return poll(&pfd, 1, 0) == 0;
}

/* Counts the connections that take nothing, and breaks them if cut. */
static size_t count_blocked(const struct tsk_bus *bus, bool cut)
{
    long limit = sysconf(_SC_OPEN_MAX);
    int most = limit < 0 || limit > FDS_MOST ? FDS_MOST : (int)limit;
    size_t count = 0;
    for (int fd = 0; fd < most; fd++) {
        if (is_ours(bus, fd) && takes_nothing(fd) && (!cut || shutdown(fd, SHUT_RDWR) == 0))
            count++;
    }
    return count;
}

size_t tsk_bus_cut(struct tsk_bus *bus)
{
    return count_blocked(bus, true);
}

size_t tsk_bus_blocked(const struct tsk_bus *bus)
{
    return count_blocked(bus, false);
}
