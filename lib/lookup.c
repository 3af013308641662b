/* A name looked up in a thread. getaddrinfo cannot be called off, so the thread is detached, and
 * what it works on belongs to both sides: the one that lets go last frees it. A program may end
 * while a thread is still at it. */
#include "lookup.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "os_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

struct tsk_lookup {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int holders; /* the caller, the thread */
    bool over;
    char *host, *port; /* port may be NULL */
    struct addrinfo hints;
    struct addrinfo *found; /* as the next, written by the thread before over */
    char why_not[160];
};

/* Under the lock, which is gone with the last. */
static void let_go(struct tsk_lookup *lookup)
{
    bool last = --lookup->holders == 0;
    pthread_mutex_unlock(&lookup->lock);
    if (!last)
        return;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    pthread_cond_destroy(&lookup->wake);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup->host);
    free(lookup->port);
    free(lookup);
}

static void *run(void *ctx)
{
    struct tsk_lookup *lookup = ctx;
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &found), code = errno;
    pthread_mutex_lock(&lookup->lock);
    if (rc == 0)
        lookup->found = found;
    else if (rc == EAI_SYSTEM)
        strerror_r(code, lookup->why_not, sizeof lookup->why_not);
    else
        snprintf(lookup->why_not, sizeof lookup->why_not, "%s", gai_strerror(rc));
    lookup->over = true;
    pthread_cond_signal(&lookup->wake);
    let_go(lookup);
    return NULL;
}

static struct tsk_lookup *make(const char *host, const char *port, const struct addrinfo *hints)
{
    struct tsk_lookup *lookup = tsk_alloc(sizeof *lookup);
    pthread_condattr_t attr;
    lookup->host = tsk_strdup(host);
    lookup->port = port ? tsk_strdup(port) : NULL;
    lookup->hints = *hints;
    lookup->holders = 2;
    pthread_mutex_init(&lookup->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lookup->wake, &attr);
    pthread_condattr_destroy(&attr);
    return lookup;
}

struct tsk_lookup *tsk_lookup_start(const char *host, const char *port,
                                    const struct addrinfo *hints)
{
    struct tsk_lookup *lookup = make(host, port, hints);
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t old;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    tsk_os_signals_block(&old);
    int rc = pthread_create(&thread, &attr, run, lookup);
    tsk_os_signals_restore(&old);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        lookup->holders = 1;
        lookup->over = true;
        snprintf(lookup->why_not, sizeof lookup->why_not, "no thread for it: ");
        size_t len = strlen(lookup->why_not);
        strerror_r(rc, lookup->why_not + len, sizeof lookup->why_not - len);
    }
    return lookup;
}

bool tsk_lookup_wait(struct tsk_lookup *lookup, int64_t deadline)
{
    struct timespec at = {.tv_sec = (time_t)(deadline / 1000),
                          .tv_nsec = deadline % 1000 * 1000000};
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->over && tsk_now_ms() < deadline)
        pthread_cond_timedwait(&lookup->wake, &lookup->lock, &at);
    bool over = lookup->over;
    pthread_mutex_unlock(&lookup->lock);
    return over;
}

const char *tsk_lookup_why_not(const struct tsk_lookup *lookup)
{
    return lookup->found ? NULL : lookup->why_not;
}

const struct addrinfo *tsk_lookup_found(const struct tsk_lookup *lookup)
{
    return lookup->found;
}

void tsk_lookup_end(struct tsk_lookup *lookup)
{
    if (!lookup)
        return;
    pthread_mutex_lock(&lookup->lock);
    let_go(lookup);
}
