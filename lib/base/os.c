/* What every way to start a program shares. The look-up in PATH happens in the parent, where memory
 * may be used freely and most failures are found before there is a child at all. What runs in the
 * child calls only functions that are safe in a signal handler: other threads (libzmq's) may have
 * held any lock at the moment of the fork, and after a vfork the memory is the parent's own. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os_private.h"
#include "tasker/buf.h"

enum { CHILD_FDS = 4 }; /* the descriptors that a child gets: 0 to 3 */

/* Whether path, seen from dir, can be executed. Returns 0 or an errno. */
static int try_program(const char *dir, const char *path)
{
    char full[PATH_MAX];
    if (dir && path[0] != '/') {
        int n = snprintf(full, sizeof full, "%s/%s", dir, path);
        if (n < 0 || (size_t)n >= sizeof full)
            return ENAMETOOLONG;
        path = full;
    }
    if (access(path, X_OK) != 0)
        return errno;
    struct stat st;
    if (stat(path, &st) != 0)
        return errno;
    return S_ISREG(st.st_mode) ? 0 : EACCES;
}

/* Searches name in PATH as execvp does: the first that can be executed, else EACCES if any was
 * there without being executable. An empty entry is the working directory of the child. */
static int search_path(const char *name, const char *dir, char *out, size_t size)
{
    const char *list = getenv("PATH");
    int failed = ENOENT;
    for (const char *entry = list ? list : "/usr/local/bin:/usr/bin:/bin"; entry;) {
        const char *end = strchr(entry, ':');
        int len = end ? (int)(end - entry) : (int)strlen(entry);
        int n = snprintf(out, size, "%.*s%s%s", len, entry, len ? "/" : "./", name);
        int code = n < 0 || (size_t)n >= size ? ENAMETOOLONG : try_program(dir, out);
        if (code == 0)
            return 0;
        if (code == EACCES)
            failed = EACCES;
        entry = end ? end + 1 : NULL;
    }
    return failed;
}

int tsk_os_find(const struct tsk_spawn *spawn, char *path, size_t size)
{
    const char *name = spawn->argv[0];
    if (!name || !name[0]) {
        errno = ENOENT;
        return -1;
    }
    int code;
    if (!strchr(name, '/'))
        code = search_path(name, spawn->dir, path, size);
    else if (strlen(name) >= size)
        code = ENAMETOOLONG;
    else
        code = try_program(spawn->dir, strcpy(path, name));
    errno = code;
    return code ? -1 : 0;
}

bool tsk_os_has_terminal(void)
{
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

void tsk_os_signals_block(sigset_t *old)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
}

void tsk_os_signals_restore(const sigset_t *old)
{
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

void tsk_os_signals_changed(sigset_t *set)
{
    struct sigaction action;
    int last = SIGRTMAX;
    sigemptyset(set);
    for (int sig = 1; sig <= last; sig++) {
        if (sigaction(sig, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
            sigaddset(set, sig);
    }
}

/* exec would reset what is caught, but not what is ignored; and no handler may run in the child
 * once the mask is empty. */
static void reset_signals(const sigset_t *changed)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    int last = SIGRTMAX;
    for (int sig = 1; sig <= last; sig++) {
        if (!changed || sigismember(changed, sig) == 1)
            sigaction(sig, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* Moves *fd out of the way of those that the child gets. */
static int move_up(int *fd)
{
    if (*fd >= 0 && *fd < CHILD_FDS)
        *fd = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_FDS);
    else
        return 0;
    return *fd < 0 ? -1 : 0;
}

static int place_fds(const int fds[CHILD_FDS], int *keep)
{
    int from[CHILD_FDS];
    if (keep && move_up(keep) != 0)
        return -1;
    for (int i = 0; i < CHILD_FDS; i++) {
        from[i] = fds[i];
        if (move_up(&from[i]) != 0)
            return -1;
    }
    for (int i = 0; i < CHILD_FDS; i++) {
        if (from[i] < 0)
            close(i);
        else if (dup2(from[i], i) < 0)
            return -1;
    }
    if (!keep || *keep == CHILD_FDS)
        return 0;
    if (dup2(*keep, CHILD_FDS) < 0)
        return -1;
    *keep = CHILD_FDS;
    return fcntl(CHILD_FDS, F_SETFD, FD_CLOEXEC);
}

void tsk_os_become(const struct tsk_spawn *spawn, const char *path, int *keep,
                   void (*close_from)(int low))
{
    reset_signals(spawn->changed);
    if (spawn->session)
        setsid();
    else
        setpgid(0, 0);
    if (place_fds(spawn->fds, keep) != 0)
        return;
    close_from(keep ? CHILD_FDS + 1 : CHILD_FDS);
    if (spawn->files)
        setrlimit(RLIMIT_NOFILE, spawn->files);
    if (spawn->dir && chdir(spawn->dir) != 0)
        return;
    execve(path, spawn->argv, spawn->envp);
}

void tsk_os_close_from(int low)
{
    enum { CHUNK = 256 };
    struct pollfd fds[CHUNK];
    long limit = sysconf(_SC_OPEN_MAX);
    for (long base = low; base < limit; base += CHUNK) {
        int count = limit - base < CHUNK ? (int)(limit - base) : CHUNK;
        for (int i = 0; i < count; i++)
            fds[i] = (struct pollfd){.fd = (int)base + i};
        /* poll tells which are open at all, for one call instead of hundreds */
        int told = poll(fds, (nfds_t)count, 0);
        for (int i = 0; i < count; i++) {
            if (told < 0 || !(fds[i].revents & POLLNVAL))
                close((int)base + i);
        }
    }
}

/* ---- Whether the limits of the system leave what a part of a program needs. libzmq ends the
 * process where it gets no descriptor or no thread, so both are tried before. */

/* Opens so many descriptors and closes them. Returns how many there were, with errno. */
static size_t try_descriptors(size_t count)
{
    int *fds = tsk_alloc(count * sizeof *fds), code = 0;
    size_t made = 0;
    while (made < count && (fds[made] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        made++;
    code = errno;
    for (size_t i = 0; i < made; i++)
        close(fds[i]);
    free(fds);
    errno = code;
    return made;
}

static void *wait_for_lock(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* Starts so many threads and ends them. Returns how many there were, with errno. */
static size_t try_threads(size_t count)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = tsk_alloc(count * sizeof *threads);
    size_t made = 0;
    sigset_t old;
    int code = 0;
    pthread_mutex_lock(&lock);
    tsk_os_signals_block(&old);
    while (made < count && !(code = pthread_create(&threads[made], NULL, wait_for_lock, &lock)))
        made++;
    tsk_os_signals_restore(&old);
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < made; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    errno = code;
    return made;
}

/* Writes "; the limit (ulimit -n) is 24", counted in unit, or nothing if there is no limit. */
static void describe(int resource, const char *option, unsigned unit, char *text, size_t size)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        snprintf(text, size, "; the limit (ulimit %s) is %llu", option,
                 (unsigned long long)limit.rlim_cur / unit);
}

static int check_descriptors(size_t count, struct tsk_err *err)
{
    struct rlimit limit;
    char text[64] = "";
    size_t made = try_descriptors(count);
    if (made < count && errno == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        made = try_descriptors(count);
    }
    if (made >= count)
        return 0;
    const char *why = strerror(errno);
    describe(RLIMIT_NOFILE, "-n", 1, text, sizeof text);
    return tsk_err_set(err, TSK_UNAVAILABLE,
                       "%zu more file descriptors are needed, and %zu can be opened: %s%s", count,
                       made, why, text);
}

int tsk_os_room(size_t descriptors, size_t threads, struct tsk_err *err)
{
    char text[64] = "", memory[64] = "";
    if (check_descriptors(descriptors, err) < 0)
        return -1;
    size_t made = try_threads(threads);
    if (made >= threads)
        return 0;
    const char *why = strerror(errno);
#ifdef RLIMIT_NPROC
    describe(RLIMIT_NPROC, "-u", 1, text, sizeof text);
#endif
    describe(RLIMIT_AS, "-v", 1024, memory, sizeof memory); /* a thread needs a stack too */
    return tsk_err_set(err, TSK_UNAVAILABLE,
                       "%zu more processes or threads are needed, and %zu can be started: %s%s%s",
                       threads, made, why, text, memory);
}
