/* Whether the limits of the system leave what a part of a program needs. libzmq ends the process
 * where it gets no descriptor or no thread, so both are tried before. */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/os_private.h"
#include "tasker/buf.h"

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

/* Writes "; the limit (ulimit -n) is 24", or nothing if there is no limit. */
static void describe(int resource, const char *option, char *text, size_t size)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        snprintf(text, size, "; the limit (ulimit %s) is %llu", option,
                 (unsigned long long)limit.rlim_cur);
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
    describe(RLIMIT_NOFILE, "-n", text, sizeof text);
    return tsk_err_set(err, TSK_UNAVAILABLE,
                       "%zu more file descriptors are needed, and %zu can be opened: %s%s", count,
                       made, why, text);
}

int tsk_os_room(size_t descriptors, size_t threads, struct tsk_err *err)
{
    char text[64] = "";
    if (check_descriptors(descriptors, err) < 0)
        return -1;
    size_t made = try_threads(threads);
    if (made >= threads)
        return 0;
    const char *why = strerror(errno);
#ifdef RLIMIT_NPROC
    describe(RLIMIT_NPROC, "-u", text, sizeof text);
#endif
    return tsk_err_set(err, TSK_UNAVAILABLE,
                       "%zu more processes or threads are needed, and %zu can be started: %s%s",
                       threads, made, why, text);
}
