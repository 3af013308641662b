/* Ending the connections of peers that take nothing. libzmq has no call for that, and its mark
 * cannot do it: a mark lowered while it is in use (ZMQ_SNDHWM, 4.3.4) shuts off for good each peer
 * that has read, but not yet acknowledged, more messages than the new one. So the connections are
 * found among this process's descriptors, and libzmq sees them broken as if by the network. */
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus/bus_private.h"

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
