/* The queue of the ledger writer; its thread is in ledger_thread.c.
 *
 * Entries are a list in the order in which they were given. The thread writes from its front and
 * moves "durable" on; the caller takes what lies before that, and alone frees. So the lock is held
 * for a few instructions only, never while the store is at work.
 *
 * A group is what waits, up to group_rows; it is written when it has that many, when its first
 * entry is group_delay old, or at once when the caller has nothing more at hand. While one is
 * written the next gathers, so that a slow disk makes large groups by itself. */
#include "collect/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "collect/ledger_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/message.h"

enum { LOCK_WAIT_MS = 200 }; /* for another's lock at once, so that the thread can be ended */

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
    int rc = pthread_create(&ledger->thread, NULL, tsk_ledger_run, ledger);
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
        tsk_ledger_node_free(node);
    }
    tsk_ledger_node_free(ledger->taken);
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
    snprintf(ledger->own, sizeof ledger->own, TSK_SOURCE_COLLECTOR "%s", uuid);
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

static void add(struct tsk_ledger *ledger, struct tsk_ledger_node *node)
{
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

void tsk_ledger_append(struct tsk_ledger *ledger, const struct tsk_ledger_entry *entry)
{
    struct tsk_ledger_node *node =
        tsk_ledger_node_new(entry, entry->source ? entry->source : ledger->own);
    if (!entry->source)
        node->entry.offset = ++ledger->own_offset;
    add(ledger, node);
}

void tsk_ledger_look(struct tsk_ledger *ledger, const char *batch_id, const char *except,
                     int64_t at)
{
    struct tsk_ledger_entry entry = {.raw = "", .batch_id = batch_id, .at = at, .look = true};
    add(ledger, tsk_ledger_node_new(&entry, except));
}

void tsk_ledger_look_open(struct tsk_ledger *ledger, int64_t at)
{
    struct tsk_ledger_entry entry = {.raw = "", .at = at, .look = true};
    add(ledger, tsk_ledger_node_new(&entry, NULL));
}

void tsk_ledger_look_known(struct tsk_ledger *ledger, const char *batch_id, int64_t at)
{
    struct tsk_ledger_entry entry = {
        .raw = "", .batch_id = batch_id, .offset = 1, .at = at, .look = true};
    add(ledger, tsk_ledger_node_new(&entry, NULL));
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
    tsk_ledger_node_free(ledger->taken);
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
    tsk_ledger_node_free(ledger->taken);
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

int tsk_ledger_fill(const struct tsk_ledger *ledger)
{
    size_t percent = ledger->bytes / (ledger->bytes_most / 100 + 1);
    return percent < INT_MAX ? (int)percent : INT_MAX;
}

int64_t tsk_ledger_oldest(const struct tsk_ledger *ledger)
{
    return ledger->first ? ledger->first->entry.at : -1;
}
