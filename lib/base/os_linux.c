/* Linux: starting programs and the small things (see os_linux_poller.c and os_linux_proc.c for the
 * rest). A program is started with vfork: no page table is copied, so a start costs the same
 * however much memory the worker has, and since the parent's thread stands still until the exec,
 * the child can leave its errno in the parent's memory and is in its own process group before
 * tsk_os_spawn returns. All signals are blocked meanwhile: a handler that ran in the child would do
 * so in the parent's memory.
 *
 * vfork copies the table of descriptors, and exec closes each of the copies: with a thousand
 * handlers running that is most of the cost of a start. Then the child shares the table at first
 * and takes a copy of its lowest part alone, where those stand that it gets. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os_private.h"

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
