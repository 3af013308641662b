/* The end of a libzmq context, within a time. zmq_ctx_term waits until all sockets are gone, for
 * the linger that they have; no error of libzmq may make it wait longer, since a program that has
 * done its work and hangs at the end is the worst of all: so a thread waits for it. */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <zmq.h>

#include "bus_private.h"
#include "os_private.h"
#include "tasker/buf.h"

struct ending {
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over; /* the context is gone */
    bool left; /* nobody waits any more: the thread frees this */
};

static void end_free(struct ending *ending)
{
    pthread_mutex_destroy(&ending->lock);
    pthread_cond_destroy(&ending->ended);
    free(ending);
}

static void *run(void *arg)
{
    struct ending *ending = arg;
    while (zmq_ctx_term(ending->ctx) != 0 && zmq_errno() == EINTR)
        ;
    pthread_mutex_lock(&ending->lock);
    ending->over = true;
    bool left = ending->left;
    pthread_cond_signal(&ending->ended);
    pthread_mutex_unlock(&ending->lock);
    if (left)
        end_free(ending);
    return NULL;
}

/* Waits for the end until deadline. Returns whether it came. */
static bool wait_for(struct ending *ending, const struct timespec *deadline)
{
    int rc = 0;
    pthread_mutex_lock(&ending->lock);
    while (!ending->over && rc == 0)
        rc = pthread_cond_timedwait(&ending->ended, &ending->lock, deadline);
    bool over = ending->over;
    ending->left = !over;
    pthread_mutex_unlock(&ending->lock);
    return over;
}

bool tsk_bus_term(void *ctx, int64_t most)
{
    struct ending *ending = tsk_alloc(sizeof *ending);
    struct timespec deadline;
    sigset_t old;
    pthread_t thread;
    *ending = (struct ending){.ctx = ctx};
    pthread_mutex_init(&ending->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ending->ended, &attr);
    pthread_condattr_destroy(&attr);
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += (time_t)(most / 1000 + 1);
    tsk_os_signals_block(&old);
    int rc = pthread_create(&thread, NULL, run, ending);
    tsk_os_signals_restore(&old);
    if (rc != 0) {
        run(ending);
        end_free(ending);
        return true;
    }
    bool over = wait_for(ending, &deadline);
    if (!over) {
        pthread_detach(thread);
        return false;
    }
    pthread_join(thread, NULL);
    end_free(ending);
    return true;
}
