/* A look at an endpoint: a real libzmq socket connects and its monitor tells what came of it.
 *
 * Only a handshake by the library that the programs use proves that they could talk there. The
 * context is made for one attempt, so a slow peer of one look cannot reach into the next. Where
 * the attempt fails, a plain socket finds out why; where all is well the peer
 * sees one ordinary connection and nothing else, so a health check does not fill its log. */
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
#include <zmq.h>

#include "base/apart.h"
#include "bus/bus_private.h"
#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/os.h"
#include "tasker/parse.h"

enum {
    ADDRESSES = 8,
    WHY_MS = 300, /* to find out why a handshake failed */
};

/* The numeric endpoints that one stands for, in the order to try them. */
struct target {
    char addresses[ADDRESSES][sizeof((struct tsk_probe *)0)->address];
    size_t count;               /* 0: the host is not known, or not in time, and reason says so */
    enum tsk_probe_state state; /* where count is 0 */
    char reason[256];
};

/* ---- From an endpoint to addresses that can be tried, and to a plain connection.
 *
 * Names are looked up here and not by libzmq, whose I/O thread would do it out of reach of any time
 * limit, and so that it is known which address of several was tried. libzmq's events hold no
 * reason for a failed connection; a plain connect(2) does. */

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
static void add_address(struct target *target, const struct addrinfo *info)
{
    char host[128], port[8];
    if (target->count == ADDRESSES ||
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
static void take_found(struct target *target, const struct place *place, struct tsk_lookup *lookup)
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

static int resolve_tcp(const char *endpoint, int64_t deadline, struct target *target,
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

/* Splits endpoint and looks it up, until deadline at most. Returns 0, or -1 with kind TSK_USAGE. */
static int resolve(const char *endpoint, int64_t deadline, struct target *target,
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

/* Connects to a numeric endpoint by a plain socket. Returns it (to be closed), or -1 with state and
 * reason in *probe; or -2 with kind TSK_IO. */
static int connect_to(const char *address, int64_t deadline, struct tsk_probe *probe,
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

/* ---- Why a handshake failed, found out by reading what the peer says to a plain connection.
 *
 * libzmq tells only that a handshake failed, and of a peer that is no ZMTP peer at all often
 * nothing (it takes the first byte of "HTTP/1.1 400" for the length of a ZMTP 1.0 frame and waits).
 * A ZMTP 3 peer opens with a greeting of 64 bytes that names its security mechanism, then a READY
 * command that names its socket type; both come without our saying more than our own greeting.
 * Anything else is shown by its first line. */

#define GREETING 64
#define SIGNATURE 10
#define MECHANISM 12 /* its place in the greeting, 20 bytes */

struct talk {
    unsigned char data[512];
    size_t len;
    bool closed;
};

/* Sends bytes from to to of a ZMTP 3.0 greeting with mechanism NULL. The first part makes the peer
 * send all of its own; a peer of another mechanism hangs up at the second, with its own perhaps
 * unsent. A peer that is gone is seen when reading. */
static void send_greeting(int fd, size_t from, size_t to)
{
    unsigned char greeting[GREETING] = {0xFF};
    greeting[9] = 0x7F;
    greeting[10] = 3;
    memcpy(greeting + MECHANISM, "NULL", 4);
    (void)!send(fd, greeting + from, to - from, MSG_NOSIGNAL);
}

/* Whether enough has come to tell what the peer is. */
static bool told_enough(const struct talk *talk)
{
    if (talk->len == sizeof talk->data)
        return true;
    if (talk->len && talk->data[0] != 0xFF)
        return memchr(talk->data, '\n', talk->len) != NULL;
    if (talk->len > SIGNATURE && talk->data[SIGNATURE] < 3)
        return true;
    if (talk->len >= MECHANISM + 4 && memcmp(talk->data + MECHANISM, "NULL", 4))
        return talk->len >= MECHANISM + 20;
    return talk->len >= GREETING + 2 && talk->len >= GREETING + 2u + talk->data[GREETING + 1];
}

/* Greets and reads until that is so, the peer closes, or the time is over. */
static void hold_talk(int fd, struct talk *talk, int64_t deadline)
{
    size_t sent = MECHANISM;
    send_greeting(fd, 0, sent);
    while (!told_enough(talk) && !talk->closed) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int rc = poll(&wait, 1, tsk_left_ms(deadline));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return;
        ssize_t n = recv(fd, talk->data + talk->len, sizeof talk->data - talk->len, 0);
        if (n > 0)
            talk->len += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR))
            talk->closed = true;
        if (talk->len >= GREETING && sent < GREETING) {
            send_greeting(fd, sent, GREETING);
            sent = GREETING;
        }
    }
}

/* Copies the Socket-Type of a READY command of len bytes. */
static void copy_type(const unsigned char *command, size_t len, char *out, size_t size)
{
    static const char name[] = "Socket-Type";
    const size_t head = sizeof name - 1, skip = head + 4; /* a length of 4 bytes follows */
    for (size_t i = 0; i + skip < len; i++) {
        if (memcmp(command + i, name, head))
            continue;
        size_t n = command[i + skip - 1];
        if (n < size && i + skip + n <= len)
            snprintf(out, size, "%.*s", (int)n, (const char *)command + i + skip);
        return;
    }
}

/* Makes text that came from a peer fit for a terminal. */
static void only_printable(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7E)
            *text = '.';
}

/* Shows the first line of what a foreign peer said. */
static void show_foreign(const struct talk *talk, struct tsk_probe *probe)
{
    char line[64];
    size_t n = 0;
    for (; n < talk->len && n < sizeof line - 1; n++) {
        line[n] = talk->data[n] ? (char)talk->data[n] : '.';
        if (line[n] == '\r' || line[n] == '\n')
            break;
    }
    line[n] = '\0';
    only_printable(line);
    snprintf(probe->reason, sizeof probe->reason, "what answers is not ZeroMQ; it says \"%s\"",
             line);
}

/* What a peer is that sent a ZMTP greeting, whole or in part. */
static void judge_zmtp(const struct talk *talk, struct tsk_probe *probe)
{
    const char *data = (const char *)talk->data;
    char *why = probe->reason;
    size_t size = sizeof probe->reason;
    if (talk->len > SIGNATURE && talk->data[SIGNATURE] < 3)
        snprintf(why, size, "the peer speaks ZMTP %d; 3 is needed", talk->data[SIGNATURE]);
    else if (talk->len >= MECHANISM + 20 && strncmp(data + MECHANISM, "NULL", 20))
        snprintf(why, size, "the peer asks for %.20s security, which tasker does not speak",
                 data + MECHANISM);
    else if (talk->len >= GREETING + 2)
        copy_type(talk->data + GREETING, talk->len - GREETING, probe->peer_type,
                  sizeof probe->peer_type);
    else
        snprintf(why, size, "the peer %s in the middle of the handshake",
                 talk->closed ? "closes the connection (access denied?)" : "stops");
    only_printable(why);
    only_printable(probe->peer_type);
    if (probe->peer_type[0])
        snprintf(why, size, "the peer is a %s socket", probe->peer_type);
}

static void judge(const struct talk *talk, struct tsk_probe *probe)
{
    if (talk->len && (talk->data[0] != 0xFF || (talk->len >= SIGNATURE && !(talk->data[9] & 1)))) {
        probe->state = TSK_PROBE_FOREIGN;
        show_foreign(talk, probe);
    } else if (talk->len) {
        probe->state = TSK_PROBE_HANDSHAKE;
        judge_zmtp(talk, probe);
    } else {
        probe->state = talk->closed ? TSK_PROBE_CLOSED : TSK_PROBE_SILENT;
        snprintf(probe->reason, sizeof probe->reason, "%s",
                 talk->closed ? "it closes the connection at once, without a word"
                              : "it takes the connection and says nothing; ZeroMQ would greet");
    }
}

/* Finds out by a plain socket why probe->address made no handshake, until deadline (tsk_now_ms):
 * sets state, reason, peer_type. Returns 0, or -1 with kind TSK_IO. */
static int explain(struct tsk_probe *probe, int64_t deadline, struct tsk_err *err)
{
    int fd = connect_to(probe->address, deadline, probe, err);
    if (fd < 0)
        return fd == -1 ? 0 : -1;
    struct talk talk = {.len = 0};
    probe->peer_type[0] = probe->reason[0] = '\0';
    hold_talk(fd, &talk, deadline);
    close(fd);
    judge(&talk, probe);
    return 0;
}

/* ---- the look itself */

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
    int64_t why = tsk_now_ms() + WHY_MS;
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
    if (explain(probe, at_least_why(deadline), err))
        return -1;
    if (probe->state != TSK_PROBE_HANDSHAKE || side_for(probe->peer_type, &side))
        return 0;
    /* The peer is of a kind to talk to: the other role is the right one, or it came up just now. */
    return attempt(probe, side, at_least_why(deadline), err) < 0 ? -1 : 0;
}

int tsk_probe_endpoint(const char *endpoint, enum tsk_side side, int64_t timeout_ms,
                       struct tsk_probe *probe, struct tsk_err *err)
{
    struct target target;
    memset(probe, 0, sizeof *probe);
    probe->connect_us = probe->handshake_us = -1;
    int64_t deadline = tsk_now_ms() + timeout_ms;
    if (resolve(endpoint, deadline, &target, err))
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
