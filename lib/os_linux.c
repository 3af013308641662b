/* Linux: starting programs and the small things (see os_linux_poller.c and os_linux_proc.c for the
 * rest). A program is started with vfork: no page table is copied, so a start costs the same
 * however much memory the worker has, and since the parent's thread stands still until the exec,
 * the child can leave its errno in the parent's memory and is in its own process group before
 * tsk_os_spawn returns. All signals are blocked meanwhile: a handler that ran in the child would do
 * so in the parent's memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os_private.h"

/* Leaves the closing to exec, which does it when the parent no longer stands still. */
static void close_from(int low)
{
    if (syscall(SYS_close_range, (unsigned)low, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
        tsk_os_close_from(low); /* before Linux 5.11 */
}

/* The child. It must leave by exec or _exit: the stack is the parent's. */
static _Noreturn void run_child(const struct tsk_spawn *spawn, const char *path, pid_t parent,
                                volatile int *failed)
{
    /* The signal comes when the thread that called vfork ends; it may have been killed already. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
        tsk_os_become(spawn, path, NULL, close_from);
    *failed = errno ? errno : ESRCH;
    _exit(127);
}

/* Starts the program at path. */
static pid_t start(const struct tsk_spawn *spawn, const char *path)
{
    volatile int failed = 0;
    pid_t parent = getpid();
    sigset_t old;
    tsk_os_signals_block(&old);
    pid_t pid = vfork();
    if (pid == 0)
        run_child(spawn, path, parent, &failed);
    int code = pid < 0 ? errno : failed;
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
    return tsk_os_find(spawn, path, sizeof path) == 0 ? start(spawn, path) : -1;
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

void tsk_os_set_name(const char *name)
{
    prctl(PR_SET_NAME, name);
}
