/* Linux: what /proc knows of other processes: children, who carries a mark in the environment, who
 * listens on a port. Processes come and go while it is read, so whatever cannot be opened any more
 * is passed over. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/os.h"

enum {
    PATH_SIZE = 64,      /* of the paths below /proc that are made here */
    KILL_ROUNDS = 100,   /* a process that forks for ever must not hold us for ever */
    KILL_WAIT_MS = 2000, /* in all, for the death of what was killed */
    INODES_MAX = 32,     /* sockets that listen on one port */
};

/* Replaces the contents of buf by those of a file of /proc. Returns 0 or -1. */
static int slurp(const char *path, struct tsk_buf *buf)
{
    tsk_buf_reset(buf);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n;
    while ((n = read(fd, tsk_buf_reserve(buf, 4096), 4096)) > 0)
        buf->len += (size_t)n;
    buf->data[buf->len] = '\0';
    close(fd);
    return n < 0 ? -1 : 0;
}

/* Calls found for each entry of the folder that is a number, until it returns true. Returns
 * whether it did. */
static bool each_number(const char *folder, bool (*found)(void *ctx, pid_t number), void *ctx)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return false;
    bool ended = false;
    const struct dirent *entry;
    while (!ended && (entry = readdir(dir))) {
        if (isdigit((unsigned char)entry->d_name[0]))
            ended = found(ctx, (pid_t)strtol(entry->d_name, NULL, 10));
    }
    closedir(dir);
    return ended;
}

struct children {
    struct tsk_buf text;
    pid_t spare;
    int seen;
};

/* Kills the children of one thread of ours. */
static bool kill_thread_children(void *ctx, pid_t thread)
{
    struct children *children = ctx;
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)thread);
    if (slurp(path, &children->text) != 0)
        return false;
    char *end;
    for (const char *at = children->text.data;; at = end) {
        pid_t pid = (pid_t)strtol(at, &end, 10);
        if (end == at || pid <= 0)
            return false;
        if (pid == children->spare)
            continue;
        kill(pid, SIGKILL);
        children->seen++;
    }
}

int tsk_os_kill_children(pid_t spare)
{
    struct children children = {.spare = spare};
    each_number("/proc/self/task", kill_thread_children, &children);
    tsk_buf_fini(&children.text);
    return children.seen;
}

struct marked {
    const char *mark;
    size_t len;
    struct tsk_buf text;
    struct pollfd *dying; /* pidfds of what was killed in this round */
    size_t count, cap;
    int seen; /* in this round */
};

/* Whether the environment of a process has the mark as one whole entry. */
static bool has_mark(struct marked *marked, pid_t pid)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    if (slurp(path, &marked->text) != 0)
        return false;
    const char *at = marked->text.data, *end = at + marked->text.len;
    while (at < end) {
        size_t len = strlen(at);
        if (len == marked->len && memcmp(at, marked->mark, len) == 0)
            return true;
        at += len + 1;
    }
    return false;
}

static bool kill_if_marked(void *ctx, pid_t pid)
{
    struct marked *marked = ctx;
    if (pid == getpid() || !has_mark(marked, pid))
        return false;
    marked->seen++;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0U);
    if (fd < 0) {
        if (errno == ENOSYS) /* before Linux 5.3 */
            kill(pid, SIGKILL);
        return false;
    }
    if (!has_mark(marked, pid)) { /* gone, and the number is another's by now */
        close(fd);
        return false;
    }
    syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0U);
    marked->dying = tsk_grow(marked->dying, &marked->cap, marked->count + 1, sizeof *marked->dying);
    marked->dying[marked->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    return false;
}

/* Waits until all of this round are dead, so that the next one does not see them again. */
static void await_deaths(struct marked *marked, int64_t deadline)
{
    for (size_t i = 0; i < marked->count; i++) {
        poll(&marked->dying[i], 1, tsk_left_ms(deadline));
        close(marked->dying[i].fd);
    }
    marked->count = 0;
}

int tsk_os_kill_marked(const char *mark)
{
    struct marked marked = {.mark = mark, .len = strlen(mark)};
    int64_t deadline = tsk_now_ms() + KILL_WAIT_MS;
    int total = 0;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        marked.seen = 0;
        each_number("/proc", kill_if_marked, &marked);
        await_deaths(&marked, deadline);
        total += marked.seen;
        if (marked.seen == 0)
            break;
    }
    tsk_buf_fini(&marked.text);
    free(marked.dying);
    return total;
}

struct holder {
    unsigned long inodes[INODES_MAX];
    size_t count;
    char folder[PATH_SIZE]; /* of the descriptors of the process looked at */
    pid_t pid;
};

/* Notes the inodes of the sockets that listen on port, of one table of /proc/net. */
static void note_listeners(struct holder *holder, const char *path, int port)
{
    enum { LISTENING = 0x0A }; /* TCP_LISTEN in this table */
    FILE *table = fopen(path, "re");
    if (!table)
        return;
    char line[512];
    while (fgets(line, sizeof line, table) && holder->count < INODES_MAX) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*s %*s %lu", &local, &state,
                   &inode) == 3 &&
            local == (unsigned)port && state == LISTENING && inode)
            holder->inodes[holder->count++] = inode;
    }
    fclose(table);
}

static bool is_listener(void *ctx, pid_t fd)
{
    const struct holder *holder = ctx;
    char path[2 * PATH_SIZE], target[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%d", holder->folder, (int)fd);
    ssize_t n = readlink(path, target, sizeof target - 1);
    unsigned long inode;
    if (n < 0)
        return false;
    target[n] = '\0';
    if (sscanf(target, "socket:[%lu]", &inode) != 1)
        return false;
    for (size_t i = 0; i < holder->count; i++) {
        if (holder->inodes[i] == inode)
            return true;
    }
    return false;
}

static bool is_holder(void *ctx, pid_t pid)
{
    struct holder *holder = ctx;
    holder->pid = pid;
    snprintf(holder->folder, sizeof holder->folder, "/proc/%d/fd", (int)pid);
    return each_number(holder->folder, is_listener, holder);
}

bool tsk_os_port_holder(int port, char *out, size_t size)
{
    struct holder holder = {.count = 0};
    note_listeners(&holder, "/proc/net/tcp", port);
    note_listeners(&holder, "/proc/net/tcp6", port);
    if (holder.count == 0 || !each_number("/proc", is_holder, &holder))
        return false;
    char path[PATH_SIZE];
    struct tsk_buf name = TSK_BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/comm", (int)holder.pid);
    bool known = slurp(path, &name) == 0 && name.len > 0;
    if (known)
        snprintf(out, size, "%.*s (pid %d)", (int)strcspn(name.data, "\n"), name.data,
                 (int)holder.pid);
    tsk_buf_fini(&name);
    return known;
}
