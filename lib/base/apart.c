/* One lock guards who holds it and whether it is over; ctx is the thread's until then, and the
 * caller's after it. */
#include "base/apart.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/os_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

struct tsk_apart {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int holders; /* the caller, the thread */
    bool over;
    int failed;
    tsk_apart_fn *run, *done;
    void *ctx;
};

/* Under the lock, which is gone with the last. */
static void let_go(struct tsk_apart *apart)
{
    bool last = --apart->holders == 0;
    pthread_mutex_unlock(&apart->lock);
    if (!last)
        return;
    apart->done(apart->ctx);
    pthread_cond_destroy(&apart->wake);
    pthread_mutex_destroy(&apart->lock);
    free(apart);
}

static void *run_apart(void *ctx)
{
    struct tsk_apart *apart = ctx;
    apart->run(apart->ctx);
    pthread_mutex_lock(&apart->lock);
    apart->over = true;
    pthread_cond_signal(&apart->wake);
    let_go(apart);
    return NULL;
}

static void init_locks(struct tsk_apart *apart)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&apart->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&apart->wake, &attr);
    pthread_condattr_destroy(&attr);
}

struct tsk_apart *tsk_apart_start(tsk_apart_fn *run, tsk_apart_fn *done, void *ctx)
{
    struct tsk_apart *apart = tsk_alloc(sizeof *apart);
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t old;
    init_locks(apart);
    apart->run = run;
    apart->done = done;
    apart->ctx = ctx;
    apart->holders = 2;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    tsk_os_signals_block(&old);
    int rc = pthread_create(&thread, &attr, run_apart, apart);
    tsk_os_signals_restore(&old);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        apart->holders = 1;
        apart->over = true;
        apart->failed = rc;
    }
    return apart;
}

bool tsk_apart_wait(struct tsk_apart *apart, int64_t deadline)
{
    struct timespec at = {.tv_sec = (time_t)(deadline / 1000),
                          .tv_nsec = deadline % 1000 * 1000000};
    pthread_mutex_lock(&apart->lock);
    while (!apart->over && tsk_now_ms() < deadline)
        pthread_cond_timedwait(&apart->wake, &apart->lock, &at);
    bool over = apart->over;
    pthread_mutex_unlock(&apart->lock);
    return over;
}

int tsk_apart_failed(const struct tsk_apart *apart)
{
    return apart->failed;
}

void tsk_apart_end(struct tsk_apart *apart)
{
    if (!apart)
        return;
    pthread_mutex_lock(&apart->lock);
    let_go(apart);
}
