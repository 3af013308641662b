/* The self-pipe: a handler may do little more than write a byte, and the loop reads it. */
#include "common/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static int pipe_fds[2] = {-1, -1};
static volatile sig_atomic_t stopped;
static const int stop_signals[] = {SIGTERM, SIGINT, SIGHUP};
#define STOP_COUNT (sizeof stop_signals / sizeof *stop_signals)

static void on_signal(int sig)
{
    int saved = errno;
    char byte = sig == SIGCHLD ? 'c' : 's';
    if (sig != SIGCHLD)
        stopped = 1;
    ssize_t n = write(pipe_fds[1], &byte, 1); /* a full pipe has told it already */
    (void)n;
    errno = saved;
}

/* Whether the signal is left alone, since the caller of this program ignores it: nohup does so with
 * HUP, a shell without job control with INT for what it starts by "&". */
static bool is_ignored(int sig)
{
    struct sigaction action;
    return sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static void set_action(int sig, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    if (sig == SIGCHLD)
        action.sa_flags |= SA_NOCLDSTOP;
    sigemptyset(&action.sa_mask);
    sigaction(sig, &action, NULL);
}

int signals_open(bool children, struct tsk_err *err)
{
    if (pipe(pipe_fds) < 0)
        return tsk_err_sys(err, TSK_IO, "cannot make a pipe");
    for (int i = 0; i < 2; i++) {
        fcntl(pipe_fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(pipe_fds[i], F_SETFL, O_NONBLOCK);
    }
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    for (size_t i = 0; i < STOP_COUNT; i++) {
        sigaddset(&wanted, stop_signals[i]);
        if (!is_ignored(stop_signals[i]))
            set_action(stop_signals[i], on_signal);
    }
    if (children)
        set_action(SIGCHLD, on_signal);
    pthread_sigmask(SIG_UNBLOCK, &wanted, NULL); /* the caller may have blocked them */
    return pipe_fds[0];
}

int signals_read(int *stops)
{
    char bytes[256];
    int seen = 0;
    for (ssize_t n; (n = read(pipe_fds[0], bytes, sizeof bytes)) > 0;) {
        for (ssize_t i = 0; i < n; i++) {
            seen |= bytes[i] == 'c' ? SIGNALS_CHILD : SIGNALS_STOP;
            if (bytes[i] == 's' && stops)
                ++*stops;
        }
    }
    return seen;
}

bool signals_stopped(void)
{
    return stopped;
}

int signals_fd(void)
{
    return pipe_fds[0];
}

void signals_close(void)
{
    for (size_t i = 0; i < STOP_COUNT; i++) {
        if (!is_ignored(stop_signals[i]))
            set_action(stop_signals[i], SIG_DFL);
    }
    set_action(SIGCHLD, SIG_DFL);
    for (int i = 0; i < 2; i++) {
        close(pipe_fds[i]);
        pipe_fds[i] = -1;
    }
}
