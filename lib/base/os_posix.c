/* Any POSIX system: poll, fork, a temporary file. What POSIX has no way to ask for is answered as
 * os.h allows ("where the system can"). A child that could not be started says so through a pipe
 * that closes by itself when exec succeeds, which also makes the parent wait until then. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os_private.h"
#include "tasker/buf.h"

struct tsk_poller {
    struct pollfd *fds; /* by descriptor; fd is -1 where none is registered */
    void **tags;
    size_t fds_cap, tags_cap;
    size_t count; /* one beyond the highest descriptor ever registered */
    size_t start; /* where to begin to look, so that none is passed over for ever */
};

struct tsk_poller *tsk_poller_new(void)
{
    return tsk_alloc(sizeof(struct tsk_poller));
}

void tsk_poller_free(struct tsk_poller *poller)
{
    if (!poller)
        return;
    free(poller->fds);
    free(poller->tags);
    free(poller);
}

void tsk_poller_set(struct tsk_poller *poller, int fd, int events, void *tag)
{
    if (fd < 0)
        return;
    size_t need = (size_t)fd + 1;
    poller->fds = tsk_grow(poller->fds, &poller->fds_cap, need, sizeof *poller->fds);
    poller->tags = tsk_grow(poller->tags, &poller->tags_cap, need, sizeof *poller->tags);
    for (; poller->count < need; poller->count++)
        poller->fds[poller->count].fd = -1;
    struct pollfd *entry = &poller->fds[fd];
    entry->fd = events ? fd : -1;
    entry->events = (short)((events & TSK_READ ? POLLIN : 0) | (events & TSK_WRITE ? POLLOUT : 0));
    poller->tags[fd] = tag;
}

/* What of the events asked for has happened. An error wakes reader and writer alike. */
static int happened(const struct pollfd *entry)
{
    int seen = 0;
    if (entry->events & POLLIN && entry->revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL))
        seen |= TSK_READ;
    if (entry->events & POLLOUT && entry->revents & (POLLOUT | POLLHUP | POLLERR | POLLNVAL))
        seen |= TSK_WRITE;
    return seen;
}

size_t tsk_poller_wait(struct tsk_poller *poller, int timeout, struct tsk_event *events, size_t max)
{
    int left = poll(poller->fds, (nfds_t)poller->count, timeout);
    size_t count = 0, i = 0;
    for (; left > 0 && i < poller->count && count < max; i++) {
        size_t fd = (poller->start + i) % poller->count;
        int seen = poller->fds[fd].fd < 0 ? 0 : happened(&poller->fds[fd]);
        if (seen)
            events[count++] = (struct tsk_event){poller->tags[fd], seen};
    }
    if (count == max)
        poller->start = (poller->start + i) % poller->count;
    return count;
}

int tsk_os_pipe(int ends[2])
{
    if (pipe(ends) != 0)
        return -1;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return 0;
}

static _Noreturn void run_child(const struct tsk_spawn *spawn, const char *path, int report)
{
    tsk_os_become(spawn, path, &report, tsk_os_close_from);
    int code = errno;
    while (write(report, &code, sizeof code) < 0 && errno == EINTR)
        ;
    _exit(127);
}

/* Waits until the child runs its program. Returns 0, or the errno of what failed. */
static int await_exec(pid_t pid, int report)
{
    int code = 0;
    ssize_t n;
    while ((n = read(report, &code, sizeof code)) < 0 && errno == EINTR)
        ;
    if (n != sizeof code)
        return 0;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return code;
}

pid_t tsk_os_spawn(const struct tsk_spawn *spawn)
{
    char found[PATH_MAX];
    const char *path = spawn->path ? spawn->path : found;
    int ends[2];
    if (!spawn->path && tsk_os_find(spawn, found, sizeof found) != 0)
        return -1;
    if (tsk_os_pipe(ends) != 0)
        return -1;
    sigset_t old;
    tsk_os_signals_block(&old);
    pid_t pid = fork();
    if (pid == 0)
        run_child(spawn, path, ends[1]);
    int code = pid < 0 ? errno : 0;
    tsk_os_signals_restore(&old);
    close(ends[1]);
    if (pid > 0)
        code = await_exec(pid, ends[0]);
    close(ends[0]);
    errno = code;
    return code ? -1 : pid;
}

/* Writes all of it and goes back to the start. */
static int fill(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return lseek(fd, 0, SEEK_SET) == 0 ? 0 : -1;
}

int tsk_os_memory_file(const void *data, size_t len)
{
    const char *folder = getenv("TMPDIR");
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/tasker.XXXXXX", folder && *folder ? folder : "/tmp");
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    unlink(path);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fill(fd, data, len) != 0) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

bool tsk_os_adopt_orphans(void)
{
    return false;
}

size_t tsk_os_adopted(pid_t **pids, size_t *cap)
{
    (void)pids;
    (void)cap;
    return 0;
}

void tsk_os_signal_tree(pid_t root, int sig)
{
    kill(getpgid(root) == root ? -root : root, sig);
}

bool tsk_os_process_name(pid_t pid, char *name, size_t size)
{
    (void)pid;
    (void)name;
    (void)size;
    return false;
}

int tsk_os_kill_children(pid_t spare)
{
    (void)spare;
    return 0;
}

int tsk_os_kill_marked(const char *mark)
{
    (void)mark;
    return 0;
}

/* POSIX tells the use of all dead children together: the difference is this one's. */
pid_t tsk_os_reap(int *status, struct rusage *usage)
{
    struct rusage before = {0};
    getrusage(RUSAGE_CHILDREN, &before);
    pid_t pid = waitpid(-1, status, WNOHANG);
    if (pid <= 0 || !usage)
        return pid;
    getrusage(RUSAGE_CHILDREN, usage);
    struct timeval *now[] = {&usage->ru_utime, &usage->ru_stime};
    const struct timeval *then[] = {&before.ru_utime, &before.ru_stime};
    for (int i = 0; i < 2; i++) {
        now[i]->tv_sec -= then[i]->tv_sec;
        now[i]->tv_usec -= then[i]->tv_usec;
        if (now[i]->tv_usec < 0) {
            now[i]->tv_sec--;
            now[i]->tv_usec += 1000000;
        }
    }
    return pid;
}

void tsk_os_set_name(const char *name)
{
    (void)name;
}

bool tsk_os_thread_named(const char *beginning)
{
    (void)beginning;
    return true;
}

bool tsk_os_port_holder(int port, char *out, size_t size)
{
    (void)port;
    (void)out;
    (void)size;
    return false;
}

int tsk_os_watch(const char *folder)
{
    (void)folder;
    errno = ENOSYS;
    return -1;
}

bool tsk_os_watch_read(int fd, const char *prefix)
{
    (void)fd;
    (void)prefix;
    return true;
}
