/* The event loop. Each turn first does all that can be done without waiting; only when nothing was
 * left does it sleep, since the descriptors of libzmq tell of a change and not of a state. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "common/life.h"
#include "common/signals.h"
#include "work/work.h"

#define PAUSE_MS 400     /* a shorter one is no pause: the machine has more to do */
#define SAME_STOP_MS 200 /* signals so close together are one: Ctrl-C and a kill of the group */

static void stop_queued(struct work *work)
{
    run_take_back(work, true);
    while (work->queue.first) {
        struct run *run = work->queue.first;
        run_list_remove(&work->queue, run);
        finish_stopped(work, run);
    }
}

static void begin_draining(struct work *work, int64_t now)
{
    work->state = WORK_DRAINING;
    answer_again(work);
    answer_send(work);
    accept_none(work);
    diag_info("stopping: %zu step%s running, %zu will not be run", work->live.count,
              work->live.count == 1 ? " is" : "s are", run_queued(work));
    stop_queued(work);
    work->drain_until = now + tsk_conf_int(work->conf, TSK_WORKER_DRAIN_TIMEOUT);
    feed_status(work, NULL);
}

static void on_signal(struct work *work, struct watch *watch)
{
    int stops = 0;
    (void)watch;
    signals_read(&stops);
    if (!stops)
        return;
    int64_t now = tsk_now_ms();
    if (work->state == WORK_READY) {
        begin_draining(work, now);
        work->stop_at = now + SAME_STOP_MS;
        work->stops = 1;
    } else if (now > work->stop_at) {
        work->stops = 2;
    }
}

static void on_launch(struct work *work, struct watch *watch)
{
    (void)watch;
    launch_heard(work->launch);
    run_news(work);
}

static void on_bus(struct work *work, struct watch *watch)
{
    (void)work; /* the next turn drains it */
    watch->fired = true;
}

/* Drains a socket if anything may be there. Returns whether there was. */
static bool drain(struct work *work, struct tsk_bus *bus, struct watch *watch,
                  bool (*read_all)(struct work *work))
{
    int64_t due = life_deadline(bus);
    if (watch->fired || (due >= 0 && tsk_now_ms() >= due))
        life_tell(bus);
    if (!watch->fired && tsk_bus_quiet(bus))
        return false;
    watch->fired = false;
    return read_all(work);
}

static void add_watch(struct work *work, struct watch *watch, int fd,
                      void (*ready)(struct work *, struct watch *))
{
    *watch = (struct watch){.fd = fd, .ready = ready, .fired = true};
    tsk_poller_set(work->poller, fd, TSK_READ, watch);
}

/* The keeper has ended: somebody killed it. */
static void on_keeper(struct work *work, struct watch *watch)
{
    tsk_poller_set(work->poller, watch->fd, 0, watch);
    bool guarded = launch_keeper(work->launch, work->keeper);
    if (guarded)
        add_watch(work, watch, keeper_fd(work->keeper), on_keeper);
    diag_warn(guarded ? "the keeper process was killed: another one is started"
                      : "the keeper process was killed, and no other one can be started: if this "
                        "worker is killed now, handlers may outlive it");
}

static void do_timers(struct work *work, int64_t now)
{
    run_check_limits(work, now);
    if (now >= work->status_at) {
        if (now >= work->stale_until) /* else what confirms it may still be in the sockets */
            feed_expire(work, now);
        feed_status(work, NULL);
        work->status_at = now + tsk_conf_int(work->conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL);
    }
    if (work->state == WORK_DRAINING && !work->hurry && now >= work->drain_until) {
        if (work->live.count)
            diag_warn("%zu step%s stopped", work->live.count,
                      work->live.count == 1 ? " did not end in time and is"
                                            : "s did not end in time and are");
        work->hurry = true;
        run_stop_all(work, now);
    }
}

/* Whether the end has come: all steps have ended and their results are in safe hands, or the time
 * for that is over. */
static bool is_over(struct work *work, int64_t now)
{
    if (work->stops > 1)
        return true;
    if (work->state != WORK_DRAINING || work->live.count || run_queued(work))
        return false;
    if (!work->confirm_until)
        work->confirm_until = now + tsk_conf_int(work->conf, TSK_WORKER_CONFIRM_TIMEOUT);
    if (feed_is_done(work))
        return true;
    return tsk_limit_over(work->confirm_until, now, &work->limit_at);
}

static int64_t next_timer(const struct work *work)
{
    int64_t next = tsk_earlier(work->next_check, work->status_at);
    next = tsk_earlier(next, feed_flush_at(work));
    next = tsk_earlier(next, life_deadline(work->steps));
    next = tsk_earlier(next, life_deadline(work->results));
    if (work->state == WORK_DRAINING && !work->hurry)
        next = tsk_earlier(next, work->drain_until);
    return work->confirm_until
               ? tsk_earlier(next, tsk_limit_next(work->confirm_until, work->limit_at))
               : next;
}

/* One turn. Returns whether something was done, so that there may be more to do at once. */
static bool turn(struct work *work)
{
    int64_t status_at = work->status_at;
    do_timers(work, tsk_now_ms());
    bool busy = status_at != work->status_at;
    busy |= drain(work, work->steps, &work->steps_watch, accept_drain);
    busy |= run_start_some(work);
    busy |= feed_flush(work);
    launch_go(work->launch); /* only now: what is said of steps leaves before they need the time */
    busy |= answer_send(work); /* only now: it wakes a publisher, which is in no hurry */
    busy |= feed_replay(work);
    busy |= drain(work, work->results, &work->results_watch, feed_drain);
    return busy;
}

/* Sees whether this process was held up (SIGSTOP, a machine asleep) for so long that others may
 * take it for dead: from since, when it was to sleep for timeout ms. */
static void look_at_clock(struct work *work, int64_t since, int timeout)
{
    int64_t now = tsk_now_ms();
    int64_t pause = now - since - (timeout > 0 ? timeout : 0);
    if (pause < PAUSE_MS || pause < tsk_conf_int(work->conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL))
        return;
    diag_info("held up for %lld ms", (long long)pause);
    accept_paused(work, now);
}

static enum tsk_exit ending(struct work *work)
{
    int64_t unconfirmed = feed_unconfirmed(work);
    bool done = feed_is_done(work);
    diag_progress_end();
    launch_stop(work->launch);
    run_news(work);
    if (work->stops > 1) {
        diag_warn("stopped at once: %zu running steps are killed", work->live.count);
        run_kill_all(work);
        run_end_orphans(work);
        work->state = WORK_STOPPED;
        feed_status(work, NULL); /* so that what was killed is known as lost at once */
        return TSK_TEMPFAIL;
    }
    run_end_orphans(work);
    work->state = WORK_STOPPED;
    feed_status(work, NULL);
    if (done)
        return TSK_OK;
    diag_error("%lld result%s not confirmed by %s and may be lost with this worker",
               (long long)unconfirmed, unconfirmed == 1 ? " is" : "s are",
               feed_has_collector(work) ? "all collectors" : "a collector");
    return TSK_TEMPFAIL;
}

enum tsk_exit work_loop(struct work *work)
{
    struct tsk_event events[64];
    add_watch(work, &work->steps_watch, tsk_bus_fd(work->steps), on_bus);
    add_watch(work, &work->results_watch, tsk_bus_fd(work->results), on_bus);
    life_watch(work->steps, work->poller, &work->steps_watch);
    life_watch(work->results, work->poller, &work->results_watch);
    add_watch(work, &work->signal_watch, work->signal_watch.fd, on_signal);
    add_watch(work, &work->keeper_watch, keeper_fd(work->keeper), on_keeper);
    add_watch(work, &work->launch_watch, launch_fd(work->launch), on_launch);
    while (!is_over(work, tsk_now_ms())) {
        int64_t since = tsk_now_ms();
        bool busy = turn(work);
        int timeout = busy ? 0 : tsk_left_ms(next_timer(work));
        size_t count = tsk_poller_wait(work->poller, timeout, events, 64);
        look_at_clock(work, since, timeout);
        for (size_t i = 0; i < count; i++) {
            struct watch *watch = events[i].tag;
            watch->ready(work, watch);
        }
        run_free_ended(work);
        diag_progress("%s%zu step%s running, %zu waiting, %lld done, %lld failed",
                      work->state == WORK_READY ? "" : "stopping: ", work->live.count,
                      tsk_plural((int64_t)work->live.count), run_queued(work),
                      (long long)work->completed, (long long)work->failed);
    }
    return ending(work);
}
