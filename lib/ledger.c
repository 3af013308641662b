/* The queue of the ledger writer, and its thread.
 *
 * Entries are a list in the order in which they were given. The thread writes from its front and
 * moves "durable" on; the caller takes what lies before that, and alone frees. So the lock is held
 * for a few instructions only, never while the store is at work.
 *
 * A group is what waits, up to group_rows; it is written when it has that many, when its first
 * entry is group_delay old, or at once when the caller has nothing more at hand. While one is
 * written the next gathers, so that a slow disk makes large groups by itself. */
#include "tasker/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ledger_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

enum {
    PAUSE_LEAST_MS = 10,
    PAUSE_MOST_MS = 1000,
    TELL_AFTER_MS = 1000, /* of what may be just another's lock */
    LOCK_WAIT_MS = 200,   /* for another's lock at once, so that the thread can be ended */
};

struct tsk_ledger {
    /* the caller's alone */
    struct tsk_ledger_node *first,
        *last;                     /* last is the thread's to read its next, under the lock */
    struct tsk_ledger_node *taken; /* the one given out last */
    int64_t given, seen;           /* entries given; of these known to be durable */
    size_t bytes, bytes_most;
    char own[TSK_UUID_SIZE + 16]; /* source of messages that have none */
    int64_t own_offset;
    /* the thread's alone */
    struct tsk_store *store;
    struct tsk_ledger_node **group;
    size_t group_most;
    int64_t delay;
    char *collector_id;
    /* of both, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct tsk_ledger_node *next; /* the first that is not durable */
    int64_t waiting;              /* so many from there on */
    int64_t flushed;              /* up to this one nothing more is to be waited for */
    bool ending, told;            /* told: the pipe has its byte */
    struct tsk_ledger_state state;
    /* set once */
    pthread_t thread;
    int tell[2], stop[2];
};

/* ---- the thread */

/* Makes the descriptor readable. Under the lock. */
static void tell(struct tsk_ledger *ledger)
{
    if (ledger->told)
        return;
    ledger->told = true;
    while (write(ledger->tell[1], "", 1) < 0 && errno == EINTR)
        ;
}

/* Waits until something changes or until that time (tsk_now_ms; -1: any). Under the lock. */
static void wait_until(struct tsk_ledger *ledger, int64_t until)
{
    if (until < 0) {
        pthread_cond_wait(&ledger->wake, &ledger->lock);
        return;
    }
    struct timespec at = {.tv_sec = (time_t)(until / 1000), .tv_nsec = until % 1000 * 1000000};
    pthread_cond_timedwait(&ledger->wake, &ledger->lock, &at);
}

/* Waits for a group to be there. Returns its size, or 0 at the end. Under the lock. */
static size_t wait_group(struct tsk_ledger *ledger)
{
    while (!ledger->ending) {
        if (!ledger->waiting) {
            wait_until(ledger, -1);
            continue;
        }
        size_t waiting = (size_t)ledger->waiting;
        if (waiting >= ledger->group_most)
            return ledger->group_most;
        int64_t due = ledger->next->entry.at + ledger->delay;
        if (ledger->flushed >= ledger->next->number || due <= tsk_now_ms())
            return waiting;
        wait_until(ledger, due);
    }
    return 0;
}

static void note_failure(struct tsk_ledger *ledger, const struct tsk_err *err)
{
    struct tsk_ledger_state *state = &ledger->state;
    int64_t now = tsk_now_ms();
    if (!state->since)
        state->since = now;
    if (state->failing || (err->kind == TSK_TEMPFAIL && now - state->since < TELL_AFTER_MS))
        return;
    state->failing = true;
    state->err = *err;
    tell(ledger);
}

static void note_success(struct tsk_ledger *ledger)
{
    struct tsk_ledger_state *state = &ledger->state;
    if (state->failing || !state->ever)
        tell(ledger);
    state->ever = true;
    state->failing = false;
    state->since = 0;
    state->err = (struct tsk_err)TSK_ERR_INIT;
}

/* Connects, or writes a group of count, until that succeeds. Returns false at the end. Under the
 * lock, which it lets go meanwhile. */
static bool do_it(struct tsk_ledger *ledger, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    for (int64_t pause = PAUSE_LEAST_MS; !ledger->ending;) {
        pthread_mutex_unlock(&ledger->lock);
        int rc = count ? tsk_ledger_write(ledger->store, ledger->collector_id, ledger->group, count,
                                          &err)
                       : tsk_store_connect(ledger->store, &err);
        pthread_mutex_lock(&ledger->lock);
        if (rc == 0) {
            note_success(ledger);
            return true;
        }
        note_failure(ledger, &err);
        for (int64_t until = tsk_now_ms() + pause; !ledger->ending && tsk_now_ms() < until;)
            wait_until(ledger, until);
        pause = pause * 2 < PAUSE_MOST_MS ? pause * 2 : PAUSE_MOST_MS;
    }
    return false;
}

static void *run(void *ctx)
{
    struct tsk_ledger *ledger = ctx;
    pthread_mutex_lock(&ledger->lock);
    bool going = do_it(ledger, 0);
    size_t count;
    while (going && (count = wait_group(ledger)) > 0) {
        struct tsk_ledger_node *last = NULL;
        for (size_t i = 0; i < count; i++)
            ledger->group[i] = last = last ? last->next : ledger->next;
        going = do_it(ledger, count);
        if (!going)
            break;
        ledger->next = last->next;
        ledger->waiting -= (int64_t)count;
        ledger->state.written += (int64_t)count;
        ledger->state.groups++;
        tell(ledger);
    }
    pthread_mutex_unlock(&ledger->lock);
    return NULL;
}

/* ---- the caller */

static int open_pipe(int fds[2], struct tsk_err *err)
{
    if (pipe(fds) < 0) {
        fds[0] = fds[1] = -1;
        return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot make a pipe");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

static void close_pipe(int fds[2])
{
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* Starts the thread, which gets no signals: they are the caller's. */
static int start(struct tsk_ledger *ledger, struct tsk_err *err)
{
    pthread_condattr_t attr;
    sigset_t all, before;
    pthread_mutex_init(&ledger->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ledger->wake, &attr);
    pthread_condattr_destroy(&attr);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&ledger->thread, NULL, run, ledger);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        return 0;
    errno = rc;
    return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot start a thread");
}

static void release(struct tsk_ledger *ledger)
{
    for (struct tsk_ledger_node *node = ledger->first, *next; node; node = next) {
        next = node->next;
        free(node);
    }
    free(ledger->taken);
    tsk_store_free(ledger->store);
    close_pipe(ledger->tell);
    close_pipe(ledger->stop);
    free(ledger->group);
    free(ledger->collector_id);
    free(ledger);
}

struct tsk_ledger *tsk_ledger_new(const struct tsk_conf *conf, const char *collector_id,
                                  struct tsk_err *err)
{
    struct tsk_ledger *ledger = tsk_alloc(sizeof *ledger);
    char uuid[TSK_UUID_SIZE];
    ledger->tell[0] = ledger->tell[1] = ledger->stop[0] = ledger->stop[1] = -1;
    ledger->bytes_most = (size_t)tsk_conf_int(conf, TSK_STORE_QUEUE_BYTES);
    ledger->delay = tsk_conf_int(conf, TSK_STORE_GROUP_DELAY);
    ledger->group_most = (size_t)tsk_conf_int(conf, TSK_STORE_GROUP_ROWS);
    ledger->group = tsk_alloc(ledger->group_most * sizeof *ledger->group);
    ledger->collector_id = tsk_strdup(collector_id);
    tsk_uuid(uuid);
    snprintf(ledger->own, sizeof ledger->own, "collector:%s", uuid);
    if (open_pipe(ledger->tell, err) == 0 && open_pipe(ledger->stop, err) == 0) {
        ledger->store = tsk_store_new(conf, ledger->stop[0], err);
        if (ledger->store)
            tsk_store_set_lock_wait(ledger->store, LOCK_WAIT_MS);
        if (ledger->store && start(ledger, err) == 0)
            return ledger;
    }
    release(ledger);
    return NULL;
}

void tsk_ledger_free(struct tsk_ledger *ledger)
{
    if (!ledger)
        return;
    while (write(ledger->stop[1], "", 1) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&ledger->lock);
    ledger->ending = true;
    pthread_cond_signal(&ledger->wake);
    pthread_mutex_unlock(&ledger->lock);
    pthread_join(ledger->thread, NULL);
    pthread_cond_destroy(&ledger->wake);
    pthread_mutex_destroy(&ledger->lock);
    release(ledger);
}

const char *tsk_ledger_name(const struct tsk_ledger *ledger)
{
    return tsk_store_name(ledger->store);
}

void tsk_ledger_append(struct tsk_ledger *ledger, const struct tsk_ledger_entry *entry)
{
    struct tsk_ledger_node *node =
        tsk_ledger_node_new(entry, entry->source ? entry->source : ledger->own);
    if (!entry->source)
        node->entry.offset = ++ledger->own_offset;
    node->number = ++ledger->given;
    ledger->bytes += node->size;
    pthread_mutex_lock(&ledger->lock);
    if (ledger->last)
        ledger->last->next = node;
    else
        ledger->first = node;
    ledger->last = node;
    if (!ledger->next)
        ledger->next = node;
    ledger->waiting++;
    bool wake = ledger->waiting == 1 || ledger->waiting == (int64_t)ledger->group_most;
    pthread_mutex_unlock(&ledger->lock);
    if (wake)
        pthread_cond_signal(&ledger->wake);
}

void tsk_ledger_flush(struct tsk_ledger *ledger)
{
    if (ledger->given == ledger->seen)
        return;
    pthread_mutex_lock(&ledger->lock);
    bool wake = ledger->waiting && ledger->flushed < ledger->given;
    ledger->flushed = ledger->given;
    pthread_mutex_unlock(&ledger->lock);
    if (wake)
        pthread_cond_signal(&ledger->wake);
}

static const struct tsk_ledger_entry *take_first(struct tsk_ledger *ledger)
{
    struct tsk_ledger_node *node = ledger->first;
    ledger->first = node->next;
    if (!node->next)
        ledger->last = NULL;
    ledger->bytes -= node->size;
    ledger->taken = node;
    return &node->entry;
}

const struct tsk_ledger_entry *tsk_ledger_take(struct tsk_ledger *ledger)
{
    free(ledger->taken);
    ledger->taken = NULL;
    if (!ledger->first)
        return NULL;
    if (ledger->first->number > ledger->seen) {
        pthread_mutex_lock(&ledger->lock);
        ledger->seen = ledger->given - ledger->waiting;
        pthread_mutex_unlock(&ledger->lock);
    }
    return ledger->first->number <= ledger->seen ? take_first(ledger) : NULL;
}

const struct tsk_ledger_entry *tsk_ledger_drop(struct tsk_ledger *ledger)
{
    free(ledger->taken);
    ledger->taken = NULL;
    return ledger->first ? take_first(ledger) : NULL;
}

int tsk_ledger_fd(const struct tsk_ledger *ledger)
{
    return ledger->tell[0];
}

void tsk_ledger_state(struct tsk_ledger *ledger, struct tsk_ledger_state *state)
{
    char byte;
    pthread_mutex_lock(&ledger->lock);
    if (ledger->told) {
        ledger->told = false;
        while (read(ledger->tell[0], &byte, 1) < 0 && errno == EINTR)
            ;
    }
    *state = ledger->state;
    pthread_mutex_unlock(&ledger->lock);
}

int64_t tsk_ledger_waiting(struct tsk_ledger *ledger)
{
    pthread_mutex_lock(&ledger->lock);
    int64_t waiting = ledger->waiting;
    pthread_mutex_unlock(&ledger->lock);
    return waiting;
}

bool tsk_ledger_full(const struct tsk_ledger *ledger)
{
    return ledger->bytes >= ledger->bytes_most;
}

int64_t tsk_ledger_oldest(const struct tsk_ledger *ledger)
{
    return ledger->first ? ledger->first->entry.at : -1;
}
