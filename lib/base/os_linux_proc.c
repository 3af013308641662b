/* Linux: what /proc knows of other processes: children and theirs, who carries a mark in the
 * environment, who listens on a port. Processes come and go while it is read, so whatever cannot be
 * opened any more is passed over. */
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
    STOP_ROUNDS = 50,    /* a process that cannot be stopped must not hold us for ever */
    STOP_MS = 1,         /* between two of them, while one still runs */
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

/* Processes, parents before their children. */
struct tree {
    pid_t *pids, parent; /* whose children are looked at */
    size_t count, cap;
    struct tsk_buf text;
};

static void tree_fini(struct tree *tree)
{
    free(tree->pids);
    tsk_buf_fini(&tree->text);
}

static void tree_add(struct tree *tree, pid_t pid)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->pids[i] == pid)
            return;
    }
    tree->pids = tsk_grow(tree->pids, &tree->cap, tree->count + 1, sizeof *tree->pids);
    tree->pids[tree->count++] = pid;
}

/* Adds the children of one thread of tree->parent. */
static bool add_children(void *ctx, pid_t thread)
{
    struct tree *tree = ctx;
    char path[PATH_SIZE], *end;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)tree->parent, (int)thread);
    if (slurp(path, &tree->text) != 0)
        return false;
    for (const char *at = tree->text.data;; at = end) {
        pid_t pid = (pid_t)strtol(at, &end, 10);
        if (end == at || pid <= 0)
            return false;
        tree_add(tree, pid);
    }
}

/* Adds the children of a process, of all its threads. */
static void add_process(struct tree *tree, pid_t parent)
{
    char folder[PATH_SIZE];
    tree->parent = parent;
    snprintf(folder, sizeof folder, "/proc/%d/task", (int)parent);
    each_number(folder, add_children, tree);
}

static void add_descendants(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++)
        add_process(tree, tree->pids[i]);
}

size_t tsk_os_adopted(pid_t **pids, size_t *cap)
{
    struct tree tree = {.pids = *pids, .cap = *cap, .parent = getpid()};
    add_children(&tree, tree.parent);
    tsk_buf_fini(&tree.text);
    *pids = tree.pids;
    *cap = tree.cap;
    return tree.count;
}

int tsk_os_kill_children(pid_t spare)
{
    struct tree tree = {.count = 0};
    int seen = 0;
    add_process(&tree, getpid());
    for (size_t i = 0; i < tree.count; i++) {
        if (tree.pids[i] == spare)
            continue;
        kill(tree.pids[i], SIGKILL);
        seen++;
    }
    tree_fini(&tree);
    return seen;
}

/* The letter for the state of a process or thread, by its file in /proc; NUL if it is gone. */
static char state_in(const char *path, struct tsk_buf *text)
{
    const char *name_end = slurp(path, text) == 0 ? strrchr(text->data, ')') : NULL;
    return name_end && name_end[1] == ' ' ? name_end[2] : '\0';
}

/* Whether a thread is neither stopped nor dead. */
static bool thread_runs(void *ctx, pid_t thread)
{
    struct tree *tree = ctx;
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)tree->parent, (int)thread);
    char state = state_in(path, &tree->text);
    return state && !strchr("TtZXx", state);
}

static bool any_runs(struct tree *tree)
{
    char folder[PATH_SIZE];
    for (size_t i = 0; i < tree->count; i++) {
        tree->parent = tree->pids[i];
        snprintf(folder, sizeof folder, "/proc/%d/task", (int)tree->parent);
        if (each_number(folder, thread_runs, tree))
            return true;
    }
    return false;
}

/* Stops (SIGSTOP) the processes of tree and all their descendants, which it adds. A stopped process
 * starts no other and does not end, so once all are stopped and none is new the tree is complete. A
 * number is signalled at once after it was read: until it is another process's the system would
 * have to give out all other numbers first. */
static void stop_tree(struct tree *tree)
{
    size_t stopped = 0;
    for (int round = 0; round < STOP_ROUNDS; round++) {
        for (; stopped < tree->count; stopped++)
            kill(tree->pids[stopped], SIGSTOP);
        bool runs = any_runs(tree);
        add_descendants(tree);
        if (!runs && stopped == tree->count)
            return;
        if (runs)
            poll(NULL, 0, STOP_MS);
    }
}

void tsk_os_signal_tree(pid_t root, int sig)
{
    struct tree tree = {.count = 0};
    bool leads = getpgid(root) == root;
    tree_add(&tree, root);
    if (sig == SIGKILL)
        stop_tree(&tree);
    else
        add_descendants(&tree);
    kill(leads ? -root : root, sig);
    for (size_t i = 1; i < tree.count; i++) {
        if (!leads || getpgid(tree.pids[i]) != root)
            kill(tree.pids[i], sig);
    }
    tree_fini(&tree);
}

bool tsk_os_process_name(pid_t pid, char *name, size_t size)
{
    char path[PATH_SIZE];
    struct tsk_buf text = TSK_BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    bool known = slurp(path, &text) == 0 && text.len > 0;
    if (known)
        snprintf(name, size, "%.*s", (int)strcspn(text.data, "\n"), text.data);
    tsk_buf_fini(&text);
    return known;
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

/* Whether a process was stopped by a signal: it listens, and will not answer. */
static bool is_stopped(pid_t pid)
{
    char path[PATH_SIZE];
    struct tsk_buf text = TSK_BUF_INIT;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char state = state_in(path, &text);
    tsk_buf_fini(&text);
    return state == 'T' || state == 't';
}

bool tsk_os_port_holder(int port, char *out, size_t size)
{
    struct holder holder = {.count = 0};
    note_listeners(&holder, "/proc/net/tcp", port);
    note_listeners(&holder, "/proc/net/tcp6", port);
    if (holder.count == 0 || !each_number("/proc", is_holder, &holder))
        return false;
    char name[PATH_SIZE];
    bool known = tsk_os_process_name(holder.pid, name, sizeof name);
    if (known)
        snprintf(out, size, "%s (pid %d%s)", name, (int)holder.pid,
                 is_stopped(holder.pid) ? ", stopped" : "");
    return known;
}
