/* Endpoints as text: when two of them are the same place, and who is already there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus_parts.h"

void tsk_bus_canonical(const char *endpoint, char *out, size_t size)
{
    static const char *const hosts[][2] = {
        {"*", "127.0.0.1"},
        {"0.0.0.0", "127.0.0.1"},
        {"localhost", "127.0.0.1"},
        {"[::]", "[::1]"},
    };
    const char *colon = strrchr(endpoint, ':');
    snprintf(out, size, "%s", endpoint);
    if (strncmp(endpoint, "tcp://", 6) != 0 || colon < endpoint + 6)
        return;
    const char *host = endpoint + 6;
    size_t len = (size_t)(colon - host);
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        if (len == strlen(hosts[i][0]) && strncmp(host, hosts[i][0], len) == 0)
            snprintf(out, size, "tcp://%s%s", hosts[i][1], colon);
    }
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
