/* Linux: starting programs, the poller, what /proc and inotify tell, and the small things. A
 * program is started with vfork: no page table is copied, so a start costs the same however much
 * memory the worker has, and since the parent's thread stands still until the exec, the child can
 * leave its errno in the parent's memory and is in its own process group before tsk_os_spawn
 * returns. All signals are blocked meanwhile: a handler that ran in the child would do so in the
 * parent's memory.
 *
 * vfork copies the table of descriptors, and exec closes each of the copies: with a thousand
 * handlers running that is most of the cost of a start. Then the child shares the table at first
 * and takes a copy of its lowest part alone, where those stand that it gets. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/os.h"

/* What the address sanitizer notes of a function it forgets when that returns. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define forget_frames(stack, size) __asan_unpoison_memory_region(stack, size)
#else
#define forget_frames(stack, size) ((void)(stack))
#endif

enum { CHILD_STACK = 64 * 1024 };

/* Leaves the closing to exec, which does it when the parent no longer stands still. */
static void close_from(int low)
{
    if (syscall(SYS_close_range, (unsigned)low, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        tsk_os_close_from(low); /* before Linux 5.11 */
}

/* What the child knows. */
struct birth {
    const struct tsk_spawn *spawn;
    const char *path;
    pid_t parent;
    volatile int failed; /* out: an errno */
};

/* The child. It must leave by exec or _exit: the memory is the parent's. */
static _Noreturn void run_child(struct birth *birth)
{
    int sig = birth->spawn->outlives ? 0 : SIGKILL;
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* exec keeps it */
    /* The signal comes when the thread that called vfork ends; it may have been killed already. */
    if (prctl(PR_SET_PDEATHSIG, sig) == 0 && getppid() == birth->parent)
        tsk_os_become(birth->spawn, birth->path, NULL, close_from);
    birth->failed = errno ? errno : ESRCH;
    _exit(127);
}

/* The child that still has the parent's table: takes of it what is below the first descriptor that
 * it does not get. */
static int run_crowded(void *ctx)
{
    struct birth *birth = ctx;
    int low = 3;
    for (int i = 0; i < 4; i++)
        low = birth->spawn->fds[i] > low ? birth->spawn->fds[i] : low;
    if (syscall(SYS_close_range, (unsigned)low + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0 ||
        unshare(CLONE_FILES) == 0) /* before Linux 5.9 */
        run_child(birth);
    birth->failed = errno;
    _exit(127);
}

/* vfork, but that the table is shared. The child's stack is a part of this one, and its functions
 * never return. */
static pid_t fork_crowded(struct birth *birth)
{
    _Alignas(64) char stack[CHILD_STACK];
    int flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD;
    pid_t pid = clone(run_crowded, stack + sizeof stack, flags, birth);
    forget_frames(stack, sizeof stack);
    return pid;
}

static pid_t fork_plain(struct birth *birth)
{
    pid_t pid = vfork();
    if (pid == 0)
        run_child(birth);
    return pid;
}

/* Starts the program at path. */
static pid_t start(const struct tsk_spawn *spawn, const char *path)
{
    struct birth birth = {spawn, path, getpid(), 0};
    sigset_t old;
    tsk_os_signals_block(&old);
    pid_t pid = spawn->crowded ? fork_crowded(&birth) : fork_plain(&birth);
    int code = pid < 0 ? errno : birth.failed;
    tsk_os_signals_restore(&old);
    if (pid > 0 && code) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        pid = -1;
    }
    errno = code;
    return pid;
}

pid_t tsk_os_spawn(const struct tsk_spawn *spawn)
{
    char path[PATH_MAX];
    if (spawn->path)
        return start(spawn, spawn->path);
    return tsk_os_find(spawn, path, sizeof path) == 0 ? start(spawn, path) : -1;
}

int tsk_os_pipe(int ends[2])
{
    return pipe2(ends, O_CLOEXEC);
}

int tsk_os_memory_file(const void *data, size_t len)
{
    int fd = memfd_create("tasker", MFD_CLOEXEC);
    const char *from = data;
    for (size_t done = 0; fd >= 0 && done < len;) {
        /* pwrite leaves the place to read from at the start */
        ssize_t n = pwrite(fd, from + done, len - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int code = errno;
            close(fd);
            errno = code;
            return -1;
        }
        done += (size_t)n;
    }
    return fd;
}

bool tsk_os_adopt_orphans(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
}

pid_t tsk_os_reap(int *status, struct rusage *usage)
{
    return wait4(-1, status, WNOHANG, usage);
}

/* The command line that ps and pkill -f see is the memory in which the arguments were given, from
 * the first one on. */
static void set_command_line(const char *name)
{
    char text[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    for (ssize_t n; fd >= 0 && (n = read(fd, text, sizeof text)) > 0;)
        size += (size_t)n;
    if (fd >= 0)
        close(fd);
    if (!size)
        return;
    memset(program_invocation_name, 0, size);
    memccpy(program_invocation_name, name, 0, size - 1);
}

void tsk_os_set_name(const char *name)
{
    prctl(PR_SET_NAME, name);
    set_command_line(name);
}

bool tsk_os_thread_named(const char *beginning)
{
    char name[16] = "";
    return prctl(PR_GET_NAME, name) != 0 || !strncmp(name, beginning, strlen(beginning));
}

/* ---- Linux: the poller on epoll. What epoll refuses (regular files, /dev/null) can always be read
 * and written. Such descriptors stand in a list of their own, and one eventfd that is always
 * readable stands for all of them among the others: so the kernel keeps them from starving each
 * other. */

enum { WAIT_MAX = 64 }; /* events taken from the kernel at a time */

struct entry {
    void *tag;
    int events;
    bool always; /* in the list of those always ready */
};

struct tsk_poller {
    int epoll, always_fd;
    struct entry *entries; /* by descriptor */
    size_t cap;
    int *always;
    size_t always_count, always_cap, always_next;
};

struct tsk_poller *tsk_poller_new(void)
{
    struct tsk_poller *poller = tsk_alloc(sizeof *poller);
    poller->epoll = epoll_create1(EPOLL_CLOEXEC);
    poller->always_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (poller->epoll < 0 || poller->always_fd < 0) {
        int code = errno;
        tsk_poller_free(poller);
        errno = code;
        return NULL;
    }
    return poller;
}

void tsk_poller_free(struct tsk_poller *poller)
{
    if (!poller)
        return;
    if (poller->epoll >= 0)
        close(poller->epoll);
    if (poller->always_fd >= 0)
        close(poller->always_fd);
    free(poller->entries);
    free(poller->always);
    free(poller);
}

/* Adds or changes fd in the kernel's set. Returns 0 or -1. */
static int control(struct tsk_poller *poller, int fd, int events, bool known)
{
    struct epoll_event event = {.data.fd = fd};
    if (events & TSK_READ)
        event.events |= EPOLLIN;
    if (events & TSK_WRITE)
        event.events |= EPOLLOUT;
    int op = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(poller->epoll, op, fd, &event) == 0)
        return 0;
    /* closed and opened again behind our back */
    if (errno != ENOENT && errno != EEXIST)
        return -1;
    op = known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    return epoll_ctl(poller->epoll, op, fd, &event);
}

static void always_add(struct tsk_poller *poller, int fd)
{
    poller->always =
        tsk_grow(poller->always, &poller->always_cap, poller->always_count + 1, sizeof(int));
    poller->always[poller->always_count++] = fd;
    poller->entries[fd].always = true;
    if (poller->always_count == 1)
        control(poller, poller->always_fd, TSK_READ, false);
}

static void always_remove(struct tsk_poller *poller, int fd)
{
    size_t i = 0;
    while (poller->always[i] != fd)
        i++;
    poller->always[i] = poller->always[--poller->always_count];
    poller->entries[fd].always = false;
    if (poller->always_count == 0)
        epoll_ctl(poller->epoll, EPOLL_CTL_DEL, poller->always_fd, NULL);
}

void tsk_poller_set(struct tsk_poller *poller, int fd, int events, void *tag)
{
    if (fd < 0)
        return;
    poller->entries = tsk_grow(poller->entries, &poller->cap, (size_t)fd + 1, sizeof(struct entry));
    struct entry *entry = &poller->entries[fd];
    int before = entry->events;
    entry->tag = tag;
    entry->events = events;
    if (events == before)
        return;
    if (events == 0 && entry->always)
        always_remove(poller, fd);
    else if (events == 0)
        epoll_ctl(poller->epoll, EPOLL_CTL_DEL, fd, NULL);
    else if (!entry->always && control(poller, fd, events, before != 0) != 0)
        always_add(poller, fd); /* no waiting for it: the next read or write tells what is wrong */
}

/* The next of those that are always ready, in turn. */
static int always_turn(struct tsk_poller *poller)
{
    return poller->always[poller->always_next++ % poller->always_count];
}

/* What of the events asked for has happened. An error wakes reader and writer alike. */
static int happened(const struct entry *entry, uint32_t events)
{
    int seen = 0;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        seen |= TSK_READ;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        seen |= TSK_WRITE;
    return seen & entry->events;
}

size_t tsk_poller_wait(struct tsk_poller *poller, int timeout, struct tsk_event *events, size_t max)
{
    struct epoll_event found[WAIT_MAX];
    int n = epoll_wait(poller->epoll, found, max < WAIT_MAX ? (int)max : WAIT_MAX, timeout);
    size_t count = 0;
    for (int i = 0; i < n; i++) {
        bool always = found[i].data.fd == poller->always_fd;
        struct entry *entry = &poller->entries[always ? always_turn(poller) : found[i].data.fd];
        int seen = always ? entry->events : happened(entry, found[i].events);
        if (seen)
            events[count++] = (struct tsk_event){entry->tag, seen};
    }
    return count;
}

/* ---- Linux: what /proc knows of other processes: children and theirs, who carries a mark in the
 * environment, who listens on a port. Processes come and go while it is read, so whatever cannot be
 * opened any more is passed over. */

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

/* ---- Linux: files that change, by inotify. */

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
