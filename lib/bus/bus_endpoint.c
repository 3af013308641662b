/* Endpoints as text: when two are one place, who is already there; and host names looked up. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/apart.h"
#include "bus/bus_private.h"
#include "tasker/buf.h"

/* Hosts that are this machine, or all of it, and where to connect for them. */
static const struct {
    const char *host, *local;
    bool any;
} local_hosts[] = {
    {"*", "127.0.0.1", true},
    {"0.0.0.0", "127.0.0.1", true},
    {"[::]", "[::1]", true},
    {"localhost", "127.0.0.1", false},
};

enum { LOCAL_HOSTS = sizeof local_hosts / sizeof *local_hosts };

/* Returns the place in local_hosts of a tcp endpoint's host, or LOCAL_HOSTS. */
static size_t find_local(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, "tcp://", 6) != 0 || colon < endpoint + 6)
        return LOCAL_HOSTS;
    const char *host = endpoint + 6;
    size_t len = (size_t)(colon - host), i = 0;
    while (i < LOCAL_HOSTS &&
           (len != strlen(local_hosts[i].host) || strncmp(host, local_hosts[i].host, len) != 0))
        i++;
    return i;
}

void tsk_bus_canonical(const char *endpoint, char *out, size_t size)
{
    size_t i = find_local(endpoint);
    if (i < LOCAL_HOSTS)
        snprintf(out, size, "tcp://%s%s", local_hosts[i].local, strrchr(endpoint, ':'));
    else
        snprintf(out, size, "%s", endpoint);
}

const char *tsk_bus_any_host(const char *endpoint)
{
    size_t i = find_local(endpoint);
    return i < LOCAL_HOSTS && local_hosts[i].any ? local_hosts[i].local : NULL;
}

bool tsk_bus_is_loopback(const char *endpoint)
{
    char place[TSK_LIFE_ENDPOINT_SIZE];
    tsk_bus_canonical(endpoint, place, sizeof place);
    return strncmp(place, "tcp://127.", 10) == 0 || strncmp(place, "tcp://[::1]", 11) == 0;
}

/* An address in any way that it can be written: getaddrinfo asks nobody about these. */
static bool is_numeric(const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *found;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    freeaddrinfo(found);
    return true;
}

/* What is neither a name nor an address is none of it: libzmq says what is wrong with it. */
bool tsk_bus_host_name(const char *endpoint, char *out, size_t size)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *host = endpoint + strlen("tcp://");
    if (strncmp(endpoint, "tcp://", 6) != 0 || !isalnum((unsigned char)*host))
        return false;
    size_t len = strspn(host, letters);
    const char *port = host + len + (host[len] == ':');
    if (len >= size || port == host + len || !*port || port[strspn(port, "0123456789")])
        return false;
    memcpy(out, host, len);
    out[len] = '\0';
    return !is_numeric(out);
}

int tsk_bus_port(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    return strncmp(endpoint, "tcp://", 6) == 0 ? atoi(colon + 1) : 0;
}

const char *tsk_bus_ipc_path(const char *endpoint)
{
    const char *path = endpoint + strlen("ipc://");
    return strncmp(endpoint, "ipc://", 6) == 0 && *path != '@' ? path : NULL;
}

bool tsk_bus_ipc_taken(const char *endpoint)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = tsk_bus_ipc_path(endpoint);
    if (!path || strlen(path) >= sizeof at.sun_path)
        return false;
    strcpy(at.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return false;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    bool taken = connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 || errno == EAGAIN;
    close(fd);
    return taken;
}

bool tsk_bus_ipc_blocked(const char *endpoint)
{
    struct stat info;
    const char *path = tsk_bus_ipc_path(endpoint);
    return path && lstat(path, &info) == 0 && !S_ISSOCK(info.st_mode);
}

/* ---- A name looked up in a thread. */

struct tsk_lookup {
    struct tsk_apart *apart;
    char *host, *port; /* port may be NULL */
    struct addrinfo hints;
    struct addrinfo *found;
    int result; /* of getaddrinfo, and its errno */
    int code;
    char why_not[200];
};

static void run(void *ctx)
{
    struct tsk_lookup *lookup = ctx;
    lookup->result = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &lookup->found);
    lookup->code = errno;
}

static void done(void *ctx)
{
    struct tsk_lookup *lookup = ctx;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    free(lookup->host);
    free(lookup->port);
    free(lookup);
}

struct tsk_lookup *tsk_lookup_start(const char *host, const char *port,
                                    const struct addrinfo *hints)
{
    struct tsk_lookup *lookup = tsk_alloc(sizeof *lookup);
    lookup->host = tsk_strdup(host);
    lookup->port = tsk_strdup(port);
    lookup->hints = *hints;
    lookup->apart = tsk_apart_start(run, done, lookup);
    return lookup;
}

bool tsk_lookup_wait(struct tsk_lookup *lookup, int64_t deadline)
{
    return tsk_apart_wait(lookup->apart, deadline);
}

bool tsk_lookup_unknown(const struct tsk_lookup *lookup)
{
    return !tsk_apart_failed(lookup->apart) && !lookup->found && lookup->result != EAI_AGAIN &&
           lookup->result != EAI_MEMORY && lookup->result != EAI_SYSTEM;
}

const char *tsk_lookup_why_not(struct tsk_lookup *lookup)
{
    char *why = lookup->why_not, text[100];
    int code = tsk_apart_failed(lookup->apart);
    if (lookup->found)
        return NULL;
    if (!code && lookup->result == EAI_SYSTEM)
        code = lookup->code;
    if (code)
        strerror_r(code, text, sizeof text);
    if (tsk_apart_failed(lookup->apart))
        snprintf(why, sizeof lookup->why_not,
                 "cannot be looked up: no thread can start (%s); see ulimit -u", text);
    else if (code)
        snprintf(why, sizeof lookup->why_not, "cannot be looked up: %s", text);
    else
        snprintf(why, sizeof lookup->why_not, "%s: %s",
                 tsk_lookup_unknown(lookup) ? "is not known" : "cannot be looked up now",
                 gai_strerror(lookup->result));
    return why;
}

const struct addrinfo *tsk_lookup_found(const struct tsk_lookup *lookup)
{
    return lookup->found;
}

void tsk_lookup_end(struct tsk_lookup *lookup)
{
    if (lookup)
        tsk_apart_end(lookup->apart);
}
