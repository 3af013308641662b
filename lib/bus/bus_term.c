/* The end of a libzmq context, within a time. zmq_ctx_term waits until all sockets are gone, for
 * the linger that they have; no error of libzmq may make it wait longer, since a program that has
 * done its work and hangs at the end is the worst of all: so a thread waits for it.
 *
 * Nor may an error of libzmq take the program's status away. Where a socket is closed with much
 * unread, and a peer is gone before it has taken all that was for it, the next heartbeat says
 * "Assertion failed: !_io_error" and calls abort (4.3.4, stream_engine_base.cpp). Nobody waits for
 * that connection any more: the thread that aborts is held, and the context left behind. One of
 * ours is not (it is out of memory), since others may wait for it. (Where abort() does not call a
 * handler in a thread that blocks signals, it ends the program as ever.) */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

#include "bus/bus_private.h"
#include "base/os_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/os.h"

enum { READ, WRITE, ENDED = 'e', ABORTED = 'a' };

struct ending {
    void *ctx;
    int pipe[2]; /* on which comes how it went */
};

static volatile sig_atomic_t waiting = -1; /* the pipe of the ending that is waited for */
static pthread_t waiter;                   /* the thread that waits */

static void tell(int fd, char how)
{
    while (write(fd, &how, 1) < 0 && errno == EINTR)
        ;
}

/* The one that waits is not held either: somebody wants the program to end, by a signal. Where the
 * names of threads are not known, all others are. */
static void hold(int sig)
{
    if (pthread_equal(pthread_self(), waiter) || !tsk_os_thread_named("ZMQbg/")) {
        signal(sig, SIG_DFL);
        raise(sig);
        return;
    }
    tell(waiting, ABORTED);
    for (;;)
        pause();
}

static void *run(void *arg)
{
    struct ending *ending = arg;
    while (zmq_ctx_term(ending->ctx) != 0 && zmq_errno() == EINTR)
        ;
    if (ending->pipe[WRITE] >= 0)
        tell(ending->pipe[WRITE], ENDED);
    return NULL;
}

/* Waits for the end until deadline. Returns whether it came; else libzmq lives on, and what it does
 * with an abort stays as it is. */
static bool wait_for(const struct ending *ending, int64_t deadline)
{
    struct pollfd fd = {.fd = ending->pipe[READ], .events = POLLIN};
    struct sigaction held = {.sa_handler = hold}, old;
    char how = 0;
    int before = waiting; /* one that was left behind is held as it was */
    sigemptyset(&held.sa_mask);
    waiter = pthread_self();
    waiting = ending->pipe[WRITE];
    sigaction(SIGABRT, &held, &old);
    while (poll(&fd, 1, tsk_left_ms(deadline)) < 0 && errno == EINTR)
        ;
    if (fd.revents && read(fd.fd, &how, 1) < 0)
        how = 0;
    if (how != ENDED)
        return false;
    sigaction(SIGABRT, &old, NULL);
    waiting = before;
    return true;
}

/* Starts run in a thread. Returns false if it cannot: out of descriptors, or of threads. */
static bool start(pthread_t *thread, struct ending *ending)
{
    sigset_t old;
    if (tsk_os_pipe(ending->pipe) != 0)
        return false;
    tsk_os_signals_block(&old);
    int rc = pthread_create(thread, NULL, run, ending);
    tsk_os_signals_restore(&old);
    return rc == 0;
}

bool tsk_bus_term(void *ctx, int64_t most)
{
    struct ending *ending = tsk_alloc(sizeof *ending);
    int64_t deadline = tsk_now_ms() + most;
    pthread_t thread;
    *ending = (struct ending){ctx, {-1, -1}};
    if (!start(&thread, ending)) {
        run(ending); /* without a limit */
    } else if (wait_for(ending, deadline)) {
        pthread_join(thread, NULL);
    } else {
        pthread_detach(thread); /* ending is the thread's for as long as the program lives */
        return false;
    }
    for (int i = READ; i <= WRITE; i++) {
        if (ending->pipe[i] >= 0)
            close(ending->pipe[i]);
    }
    free(ending);
    return true;
}
