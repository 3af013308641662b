/* Steps as processes: start, time limits, the end of the leader and of what it left behind. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/signals.h"
#include "work/work.h"

#define STARTS_AT_ONCE 16 /* then the loop looks at everything else */
#define PIPE_GRACE_MS 100 /* after the leader's end, while others of its group hold the pipes */
#define ORPHAN_ROUNDS 100
#define ORPHAN_MS 50 /* a round */
#define DEAD_MS 1000 /* after KILL only a zombie is left, which its own parent must bury */

void run_list_add(struct run_list *list, struct run *run)
{
    run->next = NULL;
    run->prev = list->last;
    *(list->last ? &list->last->next : &list->first) = run;
    list->last = run;
    list->count++;
}

void run_list_remove(struct run_list *list, struct run *run)
{
    *(run->prev ? &run->prev->next : &list->first) = run->next;
    *(run->next ? &run->next->prev : &list->last) = run->prev;
    list->count--;
}

int64_t run_count(const struct work *work)
{
    return (int64_t)(work->live.count - work->exited);
}

void run_put_load(const struct work *work, struct json_object *message)
{
    int64_t queued = (int64_t)work->queue.count;
    int64_t free_slots = work->max_workers - run_count(work) - queued;
    tsk_json_put_int(message, "queued", queued);
    tsk_json_put_int(message, "free_slots", free_slots > 0 ? free_slots : 0);
}

static struct run **bucket(struct work *work, pid_t pid)
{
    return &work->by_pid[(unsigned)pid % PID_BUCKETS];
}

/* What the handler reads: a pipe that holds it all, where it fits one for sure, else a file. Nobody
 * has to write while it reads, nor does anybody mind if it does not. */
static int open_input(const char *input, size_t len)
{
    int ends[2];
    if (len > PIPE_BUF)
        return tsk_os_memory_file(input, len);
    if (pipe(ends) < 0)
        return -1;
    ssize_t n = write(ends[1], input, len);
    close(ends[1]);
    if (n == (ssize_t)len)
        return ends[0];
    close(ends[0]);
    errno = EIO;
    return -1;
}

/* Makes the handler's four descriptors and the worker's three. Returns 0, or -1 with errno. */
static int open_pipes(const char *input, size_t len, int theirs[4], int ours[3])
{
    int ends[2], made = 0;
    theirs[0] = open_input(input, len);
    while (theirs[0] >= 0 && made < 3 && pipe(ends) == 0) {
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        fcntl(ends[0], F_SETFD, FD_CLOEXEC);
        ours[made] = ends[0];
        theirs[++made] = ends[1];
    }
    if (made == 3)
        return 0;
    int code = errno;
    for (int i = 0; i < made; i++) {
        close(ours[i]);
        close(theirs[i + 1]);
    }
    if (theirs[0] >= 0)
        close(theirs[0]);
    errno = code;
    return -1;
}

static pid_t spawn(const struct work *work, const struct run *run, const int fds[4])
{
    struct tsk_buf arena = TSK_BUF_INIT;
    char **environment = input_environment_of(work, run, &arena);
    struct tsk_spawn spawn = {run->handler->argv,
                              environment,
                              tsk_handlers_dir(work->handlers),
                              {fds[0], fds[1], fds[2], fds[3]},
                              &work->changed};
    pid_t pid = tsk_os_spawn(&spawn);
    int code = errno;
    free(environment);
    tsk_buf_fini(&arena);
    errno = code;
    return pid;
}

int64_t run_time_limit(const struct work *work, const struct run *run)
{
    if (run->step->timeout_ms)
        return run->step->timeout_ms;
    return run->handler->timeout_ms ? run->handler->timeout_ms : work->step_timeout;
}

/* The child is there: from now on it has a place in all the tables. */
static void enter(struct work *work, struct run *run, pid_t pid, int64_t started_us)
{
    struct process *process = tsk_alloc(sizeof *process);
    run->process = process;
    process->pid = pid;
    process->slot = keeper_add(work->keeper, pid);
    process->started_us = started_us;
    process->started_wall = tsk_wall_ms();
    process->deadline = (started_us + 999) / 1000 + run_time_limit(work, run); /* never early */
    work->next_check = tsk_earlier(work->next_check, process->deadline);
    process->by_pid = *bucket(work, pid);
    *bucket(work, pid) = run;
    run_list_add(&work->live, run);
}

static void start(struct work *work, struct run *run)
{
    int theirs[4], ours[3];
    size_t len;
    struct json_object *input = input_object(run);
    const char *text = tsk_json_text(input, &len);
    pid_t pid = -1;
    int64_t now = tsk_now_us();
    if ((int64_t)len > work->max_input) {
        errno = E2BIG;
    } else if (open_pipes(text, len, theirs, ours) == 0) {
        pid = spawn(work, run, theirs);
        int code = errno;
        for (int i = 0; i < 4; i++)
            close(theirs[i]);
        for (int i = 0; pid < 0 && i < 3; i++)
            close(ours[i]);
        errno = code;
    }
    int code = errno;
    json_object_put(input);
    if (pid < 0) {
        finish_not_started(work, run, code);
        return;
    }
    enter(work, run, pid, now);
    pipes_open(work, run, ours);
    finish_started(work, run);
}

bool run_start_some(struct work *work)
{
    int started = 0;
    while (work->queue.first && run_count(work) < work->max_workers && started++ < STARTS_AT_ONCE) {
        struct run *run = work->queue.first;
        run_list_remove(&work->queue, run);
        if (breaker_lets(work, run))
            start(work, run);
    }
    if (started)
        accept_deferred(work);
    return started > 0;
}

static bool group_is_empty(pid_t group)
{
    return kill(-group, 0) < 0 && errno == ESRCH;
}

/* The leader has ended and its step with it; what is left of its group must go too. */
static void leave_group(struct work *work, const struct process *process)
{
    if (group_is_empty(process->pid)) {
        keeper_remove(work->keeper, process->slot);
        return;
    }
    int64_t due = tsk_now_ms() + (process->killed ? DEAD_MS : work->kill_grace);
    kill(-process->pid, process->killed ? SIGKILL : SIGTERM);
    work->leftovers = tsk_grow(work->leftovers, &work->leftover_cap, work->leftover_count + 1,
                               sizeof *work->leftovers);
    work->leftovers[work->leftover_count++] =
        (struct leftover){process->pid, process->slot, due, process->killed};
    work->next_check = tsk_earlier(work->next_check, due);
}

void run_release(struct work *work, struct run *run)
{
    struct process *process = run->process;
    struct run **at = bucket(work, process->pid);
    while (*at && *at != run)
        at = &(*at)->process->by_pid;
    if (*at)
        *at = process->by_pid;
    pipes_close(work, &process->out);
    pipes_close(work, &process->err);
    pipes_close(work, &process->note);
    leave_group(work, process);
    run_list_remove(&work->live, run);
    work->exited -= process->exited;
    run->process = NULL;
    process->next_ended = work->ended;
    work->ended = process;
}

void run_free_ended(struct work *work)
{
    for (struct process *process; (process = work->ended);) {
        work->ended = process->next_ended;
        tsk_buf_fini(&process->out_text);
        tsk_buf_fini(&process->err_text);
        tsk_buf_fini(&process->note_text);
        json_object_put(process->error);
        json_object_put(process->progress);
        free(process);
    }
}

static void check_leftovers(struct work *work, int64_t now)
{
    size_t kept = 0;
    for (size_t i = 0; i < work->leftover_count; i++) {
        struct leftover *left = &work->leftovers[i];
        if (group_is_empty(left->group) || (left->killed && now >= left->due)) {
            keeper_remove(work->keeper, left->slot);
            continue;
        }
        if (now >= left->due) {
            kill(-left->group, SIGKILL);
            left->killed = true;
            left->due = now + DEAD_MS;
        }
        work->next_check = tsk_earlier(work->next_check, left->due);
        work->leftovers[kept++] = *left;
    }
    work->leftover_count = kept;
}

/* Reads out what run has written and, if nobody else holds its pipes, ends the step. */
static void look_at_ended(struct work *work, struct run *run)
{
    struct process *process = run->process;
    if (pipes_drain(work, run) || group_is_empty(process->pid)) {
        finish_ended(work, run);
        return;
    }
    pipes_watch(work, run);
    process->linger_until = tsk_now_ms() + PIPE_GRACE_MS;
    process->deadline = -1;
    work->next_check = tsk_earlier(work->next_check, process->linger_until);
}

static void leader_ended(struct work *work, struct run *run, int status, const struct rusage *usage)
{
    run->process->exited = true;
    run->process->status = status;
    run->process->usage = *usage;
    work->exited++;
}

/* Takes note of all children that have ended. Returns the runs among them, the first one first. */
static struct run *reap_all(struct work *work)
{
    int status;
    struct rusage usage;
    struct run *first = NULL, **end = &first;
    for (pid_t pid; (pid = tsk_os_reap(&status, &usage)) > 0;) {
        struct run *run = *bucket(work, pid);
        while (run && run->process->pid != pid)
            run = run->process->by_pid;
        if (!run || run->process->exited)
            continue;
        leader_ended(work, run, status, &usage);
        *end = run;
        end = &run->process->next_reaped;
    }
    return first;
}

void run_reap(struct work *work)
{
    struct run *reaped = reap_all(work);
    if (reaped)
        run_start_some(work); /* they run while the others are reported */
    for (struct run *run = reaped, *next; run; run = next) {
        next = run->process->next_reaped;
        look_at_ended(work, run);
    }
    if (reaped)
        accept_deferred(work);
    if (work->leftover_count)
        check_leftovers(work, tsk_now_ms());
}

/* Signals the group, and its leader also where that went into another group. Until it is waited for
 * its number is its own. */
static void signal_all(const struct process *process, int sig)
{
    kill(-process->pid, sig);
    if (!process->exited && getpgid(process->pid) != process->pid)
        kill(process->pid, sig);
}

static void ask_to_end(struct work *work, struct run *run, int64_t now)
{
    signal_all(run->process, SIGTERM);
    signal_all(run->process, SIGCONT); /* a stopped process would not see it */
    run->process->deadline = now + work->kill_grace;
}

static void limit_reached(struct work *work, struct run *run, int64_t now)
{
    struct process *process = run->process;
    if (process->stop == STOP_NONE) {
        process->stop = STOP_TIMEOUT;
        ask_to_end(work, run, now);
    } else {
        signal_all(process, SIGKILL);
        process->killed = true;
        process->deadline = -1;
    }
}

void run_check_limits(struct work *work, int64_t now)
{
    if (work->next_check < 0 || now < work->next_check)
        return;
    work->next_check = -1;
    for (struct run *run = work->live.first, *next; run; run = next) {
        struct process *process = run->process;
        next = run->next;
        if (process->exited && now >= process->linger_until) {
            pipes_drain(work, run);
            finish_ended(work, run);
            continue;
        }
        if (!process->exited && process->deadline >= 0 && now >= process->deadline)
            limit_reached(work, run, now);
        if (process->watch_at >= 0 && now >= process->watch_at)
            pipes_watch(work, run);
        work->next_check = tsk_earlier(work->next_check, process->watch_at);
        pipes_progress(work, run, now);
        work->next_check = tsk_earlier(work->next_check,
                                       process->exited ? process->linger_until : process->deadline);
    }
    check_leftovers(work, now);
}

void run_stop_all(struct work *work, int64_t now)
{
    for (struct run *run = work->live.first; run; run = run->next) {
        if (run->process->stop != STOP_NONE || run->process->exited)
            continue;
        run->process->stop = STOP_WORKER;
        ask_to_end(work, run, now);
    }
    work->next_check = now;
}

void run_kill_all(struct work *work)
{
    for (struct run *run = work->live.first; run; run = run->next)
        signal_all(run->process, SIGKILL);
    for (size_t i = 0; i < work->leftover_count; i++)
        kill(-work->leftovers[i].group, SIGKILL);
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
