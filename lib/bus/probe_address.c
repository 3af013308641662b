/* From an endpoint to addresses that can be tried, and to a plain connection.
 *
 * Names are looked up here and not by libzmq, whose I/O thread would do it out of reach of any time
 * limit, and so that it is known which address of several was tried. libzmq's events hold no
 * reason for a failed connection; a plain connect(2) does. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tasker/clock.h"
#include "tasker/parse.h"

#include "bus/lookup.h"
#include "bus/probe_private.h"

#define TCP "tcp://"
#define IPC "ipc://"

struct place {
    char host[256];
    char port[8];
};

/* Splits "HOST:PORT"; an address that means "all of this machine" becomes the loopback one. */
static int split_tcp(const char *endpoint, struct place *place, struct tsk_err *err)
{
    const char *host = endpoint + strlen(TCP), *colon = strrchr(host, ':');
    size_t len = colon ? (size_t)(colon - host) : 0;
    if (!colon || strlen(colon + 1) >= sizeof place->port || len >= sizeof place->host)
        return tsk_err_set(err, TSK_USAGE, "\"%s\" is not an endpoint", endpoint);
    strcpy(place->port, colon + 1);
    if (strcmp(place->port, "*") == 0)
        return tsk_err_set(err, TSK_USAGE,
                           "%s: its port is chosen when it is bound, so there is "
                           "nothing to look at; name the true port",
                           endpoint);
    bool bracket = len >= 2 && host[0] == '[' && host[len - 1] == ']';
    snprintf(place->host, sizeof place->host, "%.*s", (int)(len - (bracket ? 2 : 0)),
             host + (bracket ? 1 : 0));
    if (strcmp(place->host, "*") == 0 || strcmp(place->host, "0.0.0.0") == 0)
        strcpy(place->host, "127.0.0.1");
    else if (strcmp(place->host, "::") == 0)
        strcpy(place->host, "::1");
    return 0;
}

/* Writes one looked-up address as a numeric endpoint. */
static void add_address(struct tsk_probe_target *target, const struct addrinfo *info)
{
    char host[128], port[8];
    if (target->count == PROBE_ADDRESSES ||
        getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    bool v6 = info->ai_family == AF_INET6;
    snprintf(target->addresses[target->count++], sizeof target->addresses[0], TCP "%s%s%s:%s",
             v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static struct addrinfo hints_for(int flags)
{
    return (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
}

/* Of a host that is an address. Returns 0, or what getaddrinfo does. */
static int look_up(const struct place *place, struct addrinfo **list)
{
    struct addrinfo hints = hints_for(AI_NUMERICHOST);
    return getaddrinfo(place->host, place->port, &hints, list);
}

/* Takes what a lookup has found. */
static void take_found(struct tsk_probe_target *target, const struct place *place,
                       struct tsk_lookup *lookup)
{
    const char *why = tsk_lookup_why_not(lookup);
    const struct addrinfo *info = tsk_lookup_found(lookup);
    if (why) {
        target->state = tsk_lookup_unknown(lookup) ? TSK_PROBE_NO_HOST : TSK_PROBE_TIMEOUT;
        snprintf(target->reason, sizeof target->reason, "host \"%.120s\" %.120s", place->host, why);
    }
    for (; info; info = info->ai_next)
        add_address(target, info);
}

static int resolve_tcp(const char *endpoint, int64_t deadline, struct tsk_probe_target *target,
                       struct tsk_err *err)
{
    struct place place;
    if (split_tcp(endpoint, &place, err))
        return -1;
    struct addrinfo hints = hints_for(0);
    struct tsk_lookup *lookup = tsk_lookup_start(place.host, place.port, &hints);
    if (tsk_lookup_wait(lookup, deadline)) {
        take_found(target, &place, lookup);
    } else {
        target->state = TSK_PROBE_TIMEOUT;
        snprintf(target->reason, sizeof target->reason,
                 "host \"%.120s\" is not known in time: its lookup has no answer", place.host);
    }
    tsk_lookup_end(lookup);
    return 0;
}

int tsk_probe_resolve(const char *endpoint, int64_t deadline, struct tsk_probe_target *target,
                      struct tsk_err *err)
{
    memset(target, 0, sizeof *target);
    target->state = TSK_PROBE_NO_HOST;
    if (tsk_parse_endpoint(endpoint, err))
        return -1;
    if (strncmp(endpoint, TCP, strlen(TCP)) == 0)
        return resolve_tcp(endpoint, deadline, target, err);
    snprintf(target->addresses[target->count++], sizeof target->addresses[0], "%s", endpoint);
    return 0;
}

static socklen_t unix_address(const char *path, struct sockaddr_un *address)
{
    size_t len = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len);
    if (path[0] == '@') /* a Linux socket without a file, as libzmq writes it */
        address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '@' ? 0 : 1));
}

/* Writes the socket address of a numeric endpoint. Returns its length, or 0. */
static socklen_t socket_address(const char *address, struct sockaddr_storage *out)
{
    if (strncmp(address, IPC, strlen(IPC)) == 0)
        return unix_address(address + strlen(IPC), (struct sockaddr_un *)out);
    struct place place;
    struct addrinfo *list = NULL;
    if (split_tcp(address, &place, NULL) || look_up(&place, &list))
        return 0;
    socklen_t len = list->ai_addrlen;
    memcpy(out, list->ai_addr, len);
    freeaddrinfo(list);
    return len;
}

/* Tells of a connection that failed with code. */
static void set_failure(struct tsk_probe *probe, const char *address, int code)
{
    struct stat info;
    const char *path = strncmp(address, IPC, strlen(IPC)) ? NULL : address + strlen(IPC);
    bool nothing = code == ECONNREFUSED || code == ENOENT || code == ECONNRESET;
    probe->state = nothing ? TSK_PROBE_REFUSED : TSK_PROBE_TIMEOUT;
    const char *why = strerror(code);
    if (code == ECONNREFUSED)
        why = "connection refused";
    else if (code == EHOSTUNREACH || code == ENETUNREACH)
        why = "there is no route to it";
    else if (code == ECONNRESET)
        why = "connection reset";
    if (code == ECONNREFUSED && path && stat(path, &info) == 0)
        why = S_ISSOCK(info.st_mode) ? "its process is gone, the socket file is a leftover"
                                     : "there is a file of that name which is no socket";
    else if (code == ETIMEDOUT)
        why = "no connection in time: packets are dropped, or the host is down";
    else if (code == ENOENT)
        why = "no such socket";
    snprintf(probe->reason, sizeof probe->reason, "%s", why);
}

/* Waits until a connection under way is made. Returns 0 or an errno. */
static int finish_connect(int fd, int64_t deadline)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int rc, code = 0;
    do
        rc = poll(&wait, 1, tsk_left_ms(deadline));
    while (rc < 0 && errno == EINTR);
    socklen_t len = sizeof code;
    if (rc <= 0)
        return rc ? errno : ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) ? errno : code;
}

int tsk_probe_connect(const char *address, int64_t deadline, struct tsk_probe *probe,
                      struct tsk_err *err)
{
    struct sockaddr_storage to;
    socklen_t len = socket_address(address, &to);
    int fd = len ? socket(to.ss_family, SOCK_STREAM, 0) : -1;
    if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK)) {
        tsk_err_sys(err, TSK_IO, "cannot open a socket to %s", address);
        if (fd >= 0)
            close(fd);
        return -2;
    }
    int code = connect(fd, (struct sockaddr *)&to, len) ? errno : 0;
    if (code == EINPROGRESS || code == EINTR)
        code = finish_connect(fd, deadline);
    if (!code)
        return fd;
    set_failure(probe, address, code);
    close(fd);
    return -1;
}

/* Whether address is the numeric address of this machine itself: one it could bind. */
static bool is_own(const struct addrinfo *info)
{
    struct sockaddr_storage address;
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    if (address.ss_family == AF_INET)
        ((struct sockaddr_in *)&address)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)&address)->sin6_port = 0;
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    bool own = fd >= 0 && bind(fd, (struct sockaddr *)&address, info->ai_addrlen) == 0;
    if (fd >= 0)
        close(fd);
    return own;
}

int tsk_probe_local_port(const char *endpoint)
{
    struct place place;
    struct addrinfo *list = NULL;
    if (strncmp(endpoint, TCP, strlen(TCP)) || split_tcp(endpoint, &place, NULL))
        return 0;
    if (strcmp(place.host, "localhost") == 0)
        return atoi(place.port);
    if (look_up(&place, &list))
        return 0;
    int port = is_own(list) ? atoi(place.port) : 0;
    freeaddrinfo(list);
    return port;
}
