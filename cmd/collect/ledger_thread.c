/* The thread of the ledger writer: waits for a group, writes it, tells the caller. Whatever fails
 * is tried again until it succeeds or the end comes. */
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "collect/ledger_private.h"
#include "tasker/clock.h"

enum {
    PAUSE_LEAST_MS = 10,
    PAUSE_MOST_MS = 1000,
    TELL_AFTER_MS = 1000, /* of what may be just another's lock */
};

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

/* One try, without the lock: to connect (count 0), to look, or to write a group. */
static int try_it(struct tsk_ledger *ledger, size_t count, struct tsk_err *err)
{
    if (!count)
        return tsk_store_connect(ledger->store, err);
    if (ledger->group[0]->entry.look)
        return tsk_ledger_find(ledger->store, ledger->group[0], err);
    return tsk_ledger_write(ledger->store, ledger->collector_id, ledger->group, count, err);
}

/* Does it until it succeeds. Returns false at the end. Under the lock, which it lets go meanwhile.
 */
static bool do_it(struct tsk_ledger *ledger, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    for (int64_t pause = PAUSE_LEAST_MS; !ledger->ending;) {
        pthread_mutex_unlock(&ledger->lock);
        int rc = try_it(ledger, count, &err);
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

/* Gathers up to most of what waits: messages, or something to look for. Returns the last; *count
 * becomes their number. Under the lock. */
static struct tsk_ledger_node *gather(struct tsk_ledger *ledger, size_t most, size_t *count)
{
    struct tsk_ledger_node *node = ledger->next, *last = node;
    size_t n = 0;
    while (n < most && !node->entry.look) {
        ledger->group[n++] = last = node;
        node = node->next;
    }
    if (!n)
        ledger->group[n++] = node;
    *count = n;
    return last;
}

void *tsk_ledger_run(void *ctx)
{
    struct tsk_ledger *ledger = ctx;
    pthread_mutex_lock(&ledger->lock);
    bool going = do_it(ledger, 0);
    size_t count;
    while (going && (count = wait_group(ledger)) > 0) {
        struct tsk_ledger_node *last = gather(ledger, count, &count);
        going = do_it(ledger, count);
        if (!going)
            break;
        ledger->next = last->next;
        ledger->waiting -= (int64_t)count;
        ledger->state.written += last->entry.look ? 0 : (int64_t)count;
        ledger->state.groups += !last->entry.look;
        tell(ledger);
    }
    pthread_mutex_unlock(&ledger->lock);
    return NULL;
}
