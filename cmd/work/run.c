/* Steps as processes: start, time limits, the end of the program and of what it left. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/signals.h"
#include "work/work.h"

#define STARTS_AT_ONCE 16 /* then the loop looks at everything else */
#define AHEAD 8           /* steps that the launcher has beyond those that run */
#define LEFT_GRACE_MS 100 /* from the program's end until what it left is asked to end */
#define LEFT_MS 20        /* between two looks at what is left, where no news of it come */
#define ORPHAN_ROUNDS 100
#define ORPHAN_MS 50 /* a round */
#define DEAD_MS 1000 /* from KILL until it is plain that it does not help */

size_t run_queued(const struct work *work)
{
    return work->queue.count + work->given.count;
}

int64_t run_count(const struct work *work)
{
    return (int64_t)(work->live.count - work->exited);
}

void run_put_load(const struct work *work, struct json_object *message)
{
    int64_t queued = (int64_t)run_queued(work);
    int64_t free_slots = work->room - run_count(work) - queued;
    tsk_json_put_int(message, "queued", queued);
    tsk_json_put_int(message, "free_slots", free_slots > 0 ? free_slots : 0);
}

int64_t run_time_limit(const struct work *work, const struct run *run)
{
    if (run->step->timeout_ms)
        return run->step->timeout_ms;
    return run->handler->timeout_ms ? run->handler->timeout_ms : work->step_timeout;
}

static void discard(struct work *work, struct process *process)
{
    keeper_remove(work->keeper, process->child.slot);
    process->next_ended = work->ended;
    work->ended = process;
}

/* Makes what the launcher needs. Returns 0, or an errno: then it cannot be started. */
static int prepare(struct work *work, struct run *run)
{
    struct process *process = run->process = tsk_alloc(sizeof *process);
    process->out.fd = process->err.fd = process->note.fd = -1;
    process->deadline = process->watch_at = -1;
    process->child.run = run;
    process->child.slot = keeper_take(work->keeper);
    return input_prepare(work, run, &process->child);
}

/* The step has its place, as of now. */
static void enter(struct work *work, struct run *run)
{
    run_list_add(&work->live, run);
    run->process->child.told = true;
    run->process->started_wall = tsk_wall_ms();
    finish_started(work, run);
}

/* The run is in no list: it could not be started. */
static void not_started(struct work *work, struct run *run, int code)
{
    discard(work, run->process);
    run->process = NULL;
    finish_not_started(work, run, code);
}

/* Gives a step to the launcher. Where that has nothing else to do the step begins now, and those
 * who wait for it need not wait for its process as well. */
static void give(struct work *work, struct run *run)
{
    int code = prepare(work, run);
    if (code) {
        not_started(work, run, code);
        return;
    }
    if (!work->given.count && !work->beginning && run_count(work) < work->room) {
        work->beginning++;
        enter(work, run);
    } else {
        run_list_add(&work->given, run);
    }
    launch_give(work->launch, &run->process->child);
}

/* Whether a step may be given now. While handlers fail, which of them may be started is known when
 * there is room for one, and not before. */
static bool may_give(const struct work *work)
{
    int64_t most = work->calm ? AHEAD : work->room - run_count(work);
    return (int64_t)work->given.count < most;
}

bool run_start_some(struct work *work)
{
    int starts = 0;
    bool calm = tsk_circuits_calm(work->circuits);
    if (!calm && work->calm)
        run_take_back(work, false);
    work->calm = calm;
    while (work->queue.first && may_give(work) && starts++ < STARTS_AT_ONCE) {
        struct run *run = work->queue.first;
        run_list_remove(&work->queue, run);
        if (run->cancelled)
            finish_cancelled(work, run);
        else if (breaker_lets(work, run))
            give(work, run);
    }
    if (starts)
        accept_deferred(work);
    return starts > 0;
}

void run_take_back(struct work *work, bool told_too)
{
    struct run_list back = {NULL, NULL, 0};
    for (struct child *child; (child = launch_take_back(work->launch, told_too));) {
        struct run *run = child->run;
        run_list_remove(child->told ? &work->live : &work->given, run);
        work->beginning -= child->told;
        run_list_add(&back, run);
        discard(work, run->process);
        run->process = NULL;
    }
    run_list_prepend(&work->queue, &back);
}

void run_release(struct work *work, struct run *run)
{
    struct process *process = run->process;
    pipes_close(work, &process->out);
    pipes_close(work, &process->err);
    pipes_close(work, &process->note);
    keeper_remove(work->keeper, process->child.slot);
    run_list_remove(&work->live, run);
    work->exited -= process->exited;
    run->process = NULL;
    process->next_ended = work->ended;
    work->ended = process;
}

void run_release_all(struct work *work)
{
    if (work->launch)
        run_take_back(work, true);
    while (work->live.first)
        run_release(work, work->live.first);
    run_free_ended(work);
}

void run_free_ended(struct work *work)
{
    for (struct process *process; (process = work->ended);) {
        work->ended = process->next_ended;
        tsk_buf_fini(&process->child.arena);
        tsk_buf_fini(&process->child.input);
        free(process->child.environment);
        free(process->child.path);
        tsk_buf_fini(&process->out_text);
        tsk_buf_fini(&process->err_text);
        tsk_buf_fini(&process->note_text);
        json_object_put(process->error);
        json_object_put(process->progress);
        free(process);
    }
}

/* The program of run has ended. Ends the step, if nothing is left that it started. What is left has
 * a moment to end by itself, as the other end of a pipe does. */
static void look_at_ended(struct work *work, struct run *run)
{
    struct process *process = run->process;
    if (launch_all_ended(work->launch, &process->child)) {
        pipes_drain(work, run);
        finish_ended(work, run);
        return;
    }
    pipes_watch(work, run);
    int64_t now = tsk_now_ms();
    if (!process->asked)
        process->deadline = now + LEFT_GRACE_MS;
    else if (process->deadline < 0)
        process->deadline = now + DEAD_MS;
    work->next_check = tsk_earlier(work->next_check, now + LEFT_MS);
}

/* Asks all processes of run to end. Returns false if its program has ended by itself, and that is
 * not known here yet. */
static bool ask_to_end(struct work *work, struct run *run, int64_t now)
{
    struct process *process = run->process;
    if (!launch_signal(work->launch, &process->child, SIGTERM))
        return false;
    launch_signal(work->launch, &process->child, SIGCONT); /* a stopped process would not see it */
    process->asked = true;
    process->deadline = now + work->kill_grace;
    return true;
}

/* One that has not begun is asked when it has. */
static void stop_one(struct work *work, struct run *run, int64_t now)
{
    struct process *process = run->process;
    if (!process->asked && !process->exited && process->begun && ask_to_end(work, run, now))
        process->stop = run->cancelled ? STOP_OPERATOR : STOP_WORKER;
}

void run_cancel(struct work *work, struct run *run)
{
    stop_one(work, run, tsk_now_ms());
    work->next_check = tsk_earlier(work->next_check, run->process->deadline);
}

/* The process is there: from now on it has a time limit. */
static void on_begun(struct work *work, struct run *run)
{
    struct process *process = run->process;
    int64_t started = (process->child.started_us + 999) / 1000; /* so that it is never early */
    if (process->child.told) {
        work->beginning--;
    } else {
        run_list_remove(&work->given, run);
        enter(work, run);
    }
    process->begun = true;
    process->deadline = started + run_time_limit(work, run);
    work->next_check = tsk_earlier(work->next_check, process->deadline);
    pipes_open(work, run);
    if (work->hurry || run->cancelled)
        stop_one(work, run, tsk_now_ms());
}

static void on_failed(struct work *work, struct run *run)
{
    struct child *child = &run->process->child;
    run_list_remove(child->told ? &work->live : &work->given, run);
    work->beginning -= child->told;
    not_started(work, run, child->code);
}

static void look_at_room(struct work *work)
{
    int64_t most = launch_most(work->launch);
    if (most < work->room)
        diag_warn(
            "max_workers lowered from %lld to %lld: the system has no room for more processes "
            "(see ulimit -u and -n)",
            (long long)work->room, (long long)most);
    if (most > work->room && most == work->max_workers)
        diag_warn("max_workers is %lld again: the system has room", (long long)most);
    if (most < work->room || most == work->max_workers)
        work->room = most;
}

void run_news(struct work *work)
{
    int news;
    for (struct child *child; (child = launch_next(work->launch, &news));) {
        struct run *run = child->run;
        if (news & LAUNCH_FAILED)
            on_failed(work, run);
        if (news & LAUNCH_BEGUN)
            on_begun(work, run);
        if (news & LAUNCH_ENDED) {
            run->process->exited = true;
            run->process->ended_us = tsk_now_us();
            work->exited++;
        }
        if (news & (LAUNCH_ENDED | LAUNCH_ALL_ENDED))
            look_at_ended(work, run);
    }
    if (work->state == WORK_READY)
        run_start_some(work);
    accept_deferred(work);
}

bool run_once(struct work *work, const struct run *run, const char *what)
{
    struct tsk_buf key = TSK_BUF_INIT;
    tsk_buf_printf(&key, "%s %s", what, run->handler->pattern);
    bool first = !tsk_map_get(work->told, key.data);
    if (first)
        tsk_map_put(work->told, key.data, work);
    tsk_buf_fini(&key);
    return first;
}

/* Tells, once a handler, that its program leaves processes. */
static void tell_left(struct work *work, struct run *run)
{
    struct tsk_buf text = TSK_BUF_INIT;
    if (!run_once(work, run, "left"))
        return;
    launch_left(work->launch, &run->process->child, &text);
    diag_warn("handler %s: step %lld: its program ended and left %s, ended now: a step ends with "
              "all that it started (reported once a handler)",
              run->handler->pattern, (long long)run->step->step_id, text.data);
    tsk_buf_fini(&text);
}

/* KILL did not end what is left of run: it hangs in the system, or belongs to another user. */
static void give_up(struct work *work, struct run *run)
{
    struct tsk_buf text = TSK_BUF_INIT;
    launch_left(work->launch, &run->process->child, &text);
    if (launch_forget(work->launch, &run->process->child)) {
        diag_warn("step %lld: cannot end %s, which its program left", (long long)run->step->step_id,
                  text.data);
        pipes_drain(work, run);
        finish_ended(work, run);
    }
    tsk_buf_fini(&text);
}

/* The deadline of run has come, whose program may have ended. */
static void limit_reached(struct work *work, struct run *run, int64_t now)
{
    struct process *process = run->process;
    process->deadline = -1;
    if (!process->asked) {
        if (process->exited)
            tell_left(work, run);
        if (!ask_to_end(work, run, now))
            process->deadline = now + 1; /* the news of its end come first */
        else if (!process->exited)
            process->stop = STOP_TIMEOUT;
    } else if (!process->killed) {
        process->killed = true;
        launch_signal(work->launch, &process->child, SIGKILL);
        process->deadline = now + DEAD_MS;
    } else if (process->exited) {
        give_up(work, run);
    }
}

void run_check_limits(struct work *work, int64_t now)
{
    if (work->next_check < 0 || now < work->next_check)
        return;
    work->next_check = -1;
    look_at_room(work);
    for (struct run *run = work->live.first, *next; run; run = next) {
        struct process *process = run->process;
        next = run->next;
        if (process->exited && launch_all_ended(work->launch, &process->child)) {
            look_at_ended(work, run);
            continue;
        }
        if (process->watch_at >= 0 && now >= process->watch_at)
            pipes_watch(work, run);
        pipes_progress(work, run, now);
        if (process->deadline >= 0 && now >= process->deadline)
            limit_reached(work, run, now); /* run may be gone now, not so process */
        int64_t look_at = process->exited ? now + LEFT_MS : process->watch_at;
        work->next_check = tsk_earlier(work->next_check, look_at);
        work->next_check = tsk_earlier(work->next_check, process->deadline);
    }
}

void run_stop_all(struct work *work, int64_t now)
{
    for (struct run *run = work->live.first; run; run = run->next)
        stop_one(work, run, now);
    work->next_check = now;
}

void run_kill_all(struct work *work)
{
    for (struct run *run = work->live.first; run; run = run->next)
        launch_signal(work->launch, &run->process->child, SIGKILL);
    tsk_os_kill_children(keeper_pid(work->keeper));
}

void run_end_orphans(struct work *work)
{
    struct pollfd child = {.fd = work->signal_watch.fd, .events = POLLIN};
    struct rusage usage;
    int status;
    for (int i = 0; i < ORPHAN_ROUNDS && tsk_os_kill_children(keeper_pid(work->keeper)) > 0; i++) {
        poll(&child, 1, ORPHAN_MS);
        signals_read(NULL);
        while (tsk_os_reap(&status, &usage) > 0)
            ;
    }
}
