/* One start, in the launcher's thread: pipes, and the program. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "work/work.h"

/* Half of the descriptors that a child takes over at the least, which are left free. */
#define LOW_FDS 32

/* What the handler reads: a pipe that holds it all, where it fits one for sure, else a file. Nobody
 * has to write while it reads, nor does anybody mind if it does not. */
static int open_input(const struct tsk_buf *input)
{
    int ends[2];
    if (input->len > PIPE_BUF)
        return tsk_os_memory_file(input->data, input->len);
    if (tsk_os_pipe(ends) < 0)
        return -1;
    ssize_t n = write(ends[1], input->data, input->len);
    close(ends[1]);
    if (n == (ssize_t)input->len)
        return ends[0];
    close(ends[0]);
    errno = EIO;
    return -1;
}

/* Where many are open, ours do not take the low numbers: see tsk_spawn.crowded. */
static int make_ours(int fd)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (fd < LOW_FDS || fd >= 2 * LOW_FDS)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 2 * LOW_FDS);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

/* Makes the handler's four descriptors and the worker's three. Returns 0, or -1 with errno. */
static int open_pipes(const struct tsk_buf *input, int theirs[4], int ours[3])
{
    int ends[2], made = 0;
    theirs[0] = open_input(input);
    while (theirs[0] >= 0 && made < 3 && tsk_os_pipe(ends) == 0) {
        ours[made] = make_ours(ends[0]);
        theirs[++made] = ends[1];
    }
    if (made == 3)
        return 0;
    int code = errno;
    for (int i = 0; i < made; i++) {
        close(ours[i]);
        close(theirs[i + 1]);
    }
    if (theirs[0] >= 0)
        close(theirs[0]);
    errno = code;
    return -1;
}

pid_t launch_begin(const struct work *work, struct child *child, bool guarded, bool crowded)
{
    int theirs[4];
    child->started_us = tsk_now_us();
    if (open_pipes(&child->input, theirs, child->fds) < 0) {
        child->code = errno;
        return -1;
    }
    struct tsk_spawn spawn = {.argv = child->argv,
                              .envp = child->environment,
                              .dir = tsk_handlers_dir(work->handlers),
                              .fds = {theirs[0], theirs[1], theirs[2], theirs[3]},
                              .changed = &work->changed,
                              .path = child->path,
                              .outlives = guarded,
                              .files = &work->files,
                              .session = work->terminal,
                              .crowded = crowded};
    pid_t pid = tsk_os_spawn(&spawn);
    child->code = pid < 0 ? errno : 0;
    if (pid > 0)
        keeper_set(work->keeper, child->slot, pid);
    for (int i = 0; i < 4; i++)
        close(theirs[i]);
    for (int i = 0; pid < 0 && i < 3; i++)
        close(child->fds[i]);
    return pid;
}
