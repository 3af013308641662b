/* Endpoints as text: when two of them are the same place, and who is already there. */
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

#include "bus/bus_private.h"

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
