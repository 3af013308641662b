/* Linux: files that change, by inotify. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "tasker/os.h"

int tsk_os_watch(const char *folder)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd >= 0 &&
        inotify_add_watch(fd, folder, IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO) < 0) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

bool tsk_os_watch_read(int fd, const char *prefix)
{
    _Alignas(struct inotify_event) char data[4096];
    bool any = false;
    ssize_t got;
    while ((got = read(fd, data, sizeof data)) > 0) {
        for (char *at = data; at < data + got;) {
            const struct inotify_event *event = (const struct inotify_event *)(void *)at;
            any |= event->mask & IN_Q_OVERFLOW ||
                   (event->len && strncmp(event->name, prefix, strlen(prefix)) == 0);
            at += sizeof *event + event->len;
        }
    }
    return any;
}
