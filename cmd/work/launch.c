/* The launcher: a thread that starts the programs of steps and waits for their ends, while the loop
 * reads and writes messages. A start holds the thread that does it up until the child runs its
 * program, about as long as all else that a step needs; and as soon as one step has ended the next
 * one can begin, without the loop. It does nothing else: it makes pipes, starts, reaps, and leaves
 * news of it.
 *
 * All that changes hands does so under one lock. What the launcher notes of a child (struct child)
 * is its own until the news is taken. The thread lives as long as the worker: at its end the system
 * would kill all that it has started. It alone takes SIGCHLD, from the system and, as a wake-up,
 * from the loop; so nothing is lost between looking and sleeping. */
#include "work/launch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "work/work.h"

enum {
    BUCKETS = 1024,
    CROWD = 16,      /* children, beyond which there are many descriptors */
    QUICK_US = 5000, /* so long the loop does not read the pipes of a child; see pipes_open */
    GIVE_WAY_NS = 100000,
};

struct launch {
    pthread_t thread;
    pthread_mutex_t lock;    /* for all that follows */
    const struct work *work; /* what was there before the thread, and does not change */
    int64_t running, most;
    struct child *first, **end;           /* given and not begun */
    struct child *first_news, **end_news; /* with news that are not taken */
    struct child *by_pid[BUCKETS];        /* begun, and not waited for */
    int tell, told;                       /* a pipe to the loop */
    bool was_told;                        /* there is something in it */
    bool sleeping;                        /* it must be woken to see what was given */
    bool others;                          /* somebody else's child has ended */
    bool held; /* a child may have failed: none begins before the loop has seen it */
    bool stop;
};

static struct child **bucket(struct launch *launch, pid_t pid)
{
    return &launch->by_pid[(unsigned)pid % BUCKETS];
}

/* ---- the thread; "locked" functions are called with the lock held */

static void add_news_locked(struct launch *launch, struct child *child, int news)
{
    if (!child->news) {
        child->next_news = NULL;
        *launch->end_news = child;
        launch->end_news = &child->next_news;
    }
    child->news |= news;
}

/* Tells the loop that there are news. */
static void tell_locked(struct launch *launch)
{
    if (launch->was_told || (!launch->first_news && !launch->others))
        return;
    ssize_t n = write(launch->tell, "", 1); /* it is empty, and so has room */
    launch->was_told = n == 1;
}

static void begin_one_locked(struct launch *launch)
{
    struct child *child = launch->first;
    if (!(launch->first = child->next))
        launch->end = &launch->first;
    bool crowded = launch->running >= CROWD;
    launch->running++;
    pthread_mutex_unlock(&launch->lock);
    pid_t pid = launch_begin(launch->work, child, crowded);
    pthread_mutex_lock(&launch->lock);
    if (pid < 0) {
        launch->running--;
        add_news_locked(launch, child, LAUNCH_FAILED);
    } else {
        child->pid = pid;
        child->next = *bucket(launch, child->pid);
        *bucket(launch, child->pid) = child;
        add_news_locked(launch, child, LAUNCH_BEGUN);
    }
    tell_locked(launch); /* together with what ended before it */
}

/* Whether the end of child is no failure for sure. Where that is not quickly told the loop is
 * asked, which costs a long step nothing. */
static bool went_well(const struct child *child)
{
    struct pollfd note = {.fd = child->fds[2], .events = POLLIN};
    return child->status == 0 && !child->signalled && tsk_now_us() - child->started_us < QUICK_US &&
           poll(&note, 1, 0) >= 0 && !(note.revents & POLLIN);
}

/* Takes child out of by_pid: its number may be another's from now on, unless others are left in its
 * group. */
static void reaped_locked(struct launch *launch, struct child *child)
{
    struct child **at = bucket(launch, child->pid);
    while (*at != child)
        at = &(*at)->next;
    *at = child->next;
    child->reaped = true;
    child->group_empty = kill(-child->pid, 0) < 0 && errno == ESRCH;
    if (child->group_empty)
        keeper_set(launch->work->keeper, child->slot, 0);
    launch->running--;
    launch->held |= !went_well(child);
    add_news_locked(launch, child, LAUNCH_ENDED);
}

/* Under the lock, so that nobody signals a number that has just become another's. */
static void reap_locked(struct launch *launch)
{
    int status;
    struct rusage usage;
    for (pid_t pid; (pid = tsk_os_reap(&status, &usage)) > 0;) {
        struct child *child = *bucket(launch, pid);
        while (child && child->pid != pid)
            child = child->next;
        if (!child) {
            launch->others = true;
            continue;
        }
        child->status = status;
        child->usage = usage;
        reaped_locked(launch, child);
    }
}

/* Whether a child has ended since the last call. To ask wait would have the system look at all of
 * them. */
static bool has_ended(const sigset_t *wake)
{
    sigset_t pending;
    int sig;
    sigpending(&pending);
    return sigismember(&pending, SIGCHLD) == 1 && sigwait(wake, &sig) == 0;
}

/* To start a program takes a processor for most of a millisecond. Where there are two, the
 * in_progress of one step in ten would wait that long, in this process or in those that receive it.
 * So a start from rest comes 0.1 ms later, and the message is on its way by then. */
static void give_way(void)
{
    struct timespec pause = {.tv_nsec = GIVE_WAY_NS};
    nanosleep(&pause, NULL);
}

static void *run_launcher(void *ctx)
{
    struct launch *launch = ctx;
    sigset_t wake;
    int sig;
    bool woken = true;
    sigemptyset(&wake);
    sigaddset(&wake, SIGCHLD);
    pthread_mutex_lock(&launch->lock);
    while (!launch->stop) {
        if (woken || has_ended(&wake))
            reap_locked(launch);
        woken = false;
        if (launch->first && !launch->held && launch->running < launch->most) {
            begin_one_locked(launch);
            continue;
        }
        tell_locked(launch);
        launch->sleeping = true;
        bool idle = !launch->running;
        pthread_mutex_unlock(&launch->lock);
        woken = sigwait(&wake, &sig) == 0;
        if (idle)
            give_way();
        pthread_mutex_lock(&launch->lock);
        launch->sleeping = false;
    }
    pthread_mutex_unlock(&launch->lock);
    return NULL;
}

/* ---- what the loop calls */

/* Blocks SIGCHLD for this thread and those that it will start, or ends that. */
static void block_child_signal(bool block)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* A thread that no signal interrupts. Returns 0 or an errno. */
static int start_thread(struct launch *launch)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int code = pthread_create(&launch->thread, NULL, run_launcher, launch);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return code;
}

struct launch *launch_start(const struct work *work, struct tsk_err *err)
{
    struct launch *launch = tsk_alloc(sizeof *launch);
    int ends[2], code;
    launch->work = work;
    launch->most = work->max_workers;
    launch->end = &launch->first;
    launch->end_news = &launch->first_news;
    pthread_mutex_init(&launch->lock, NULL);
    if (tsk_os_pipe(ends) < 0) {
        tsk_err_sys(err, TSK_UNAVAILABLE, "cannot make a pipe");
        free(launch);
        return NULL;
    }
    launch->told = ends[0];
    launch->tell = ends[1];
    block_child_signal(true);
    if ((code = start_thread(launch))) {
        errno = code;
        tsk_err_sys(err, TSK_UNAVAILABLE, "cannot start a thread");
        close(ends[0]);
        close(ends[1]);
        free(launch);
        return NULL;
    }
    return launch;
}

int launch_fd(const struct launch *launch)
{
    return launch->told;
}

void launch_give(struct launch *launch, struct child *child)
{
    pthread_mutex_lock(&launch->lock);
    child->next = NULL;
    *launch->end = child;
    launch->end = &child->next;
    pthread_mutex_unlock(&launch->lock);
}

void launch_go(struct launch *launch)
{
    pthread_mutex_lock(&launch->lock);
    launch->held &= launch->first_news != NULL;
    bool wake =
        !launch->held && launch->sleeping && launch->first && launch->running < launch->most;
    if (wake)
        launch->sleeping = false;
    pthread_mutex_unlock(&launch->lock);
    if (wake)
        pthread_kill(launch->thread, SIGCHLD); /* it could not have the lock before */
}

struct child *launch_take_back(struct launch *launch, bool told_too)
{
    pthread_mutex_lock(&launch->lock);
    struct child *child, **at = &launch->first;
    while ((child = *at) && child->told && !told_too)
        at = &child->next;
    if (child && !(*at = child->next))
        launch->end = at;
    pthread_mutex_unlock(&launch->lock);
    return child;
}

void launch_heard(struct launch *launch)
{
    char byte;
    pthread_mutex_lock(&launch->lock);
    if (launch->was_told && read(launch->told, &byte, 1) == 1)
        launch->was_told = false;
    pthread_mutex_unlock(&launch->lock);
}

struct child *launch_next(struct launch *launch, int *news)
{
    pthread_mutex_lock(&launch->lock);
    struct child *child = launch->first_news;
    if (child) {
        if (!(launch->first_news = child->next_news))
            launch->end_news = &launch->first_news;
        *news = child->news;
        child->news = 0;
    }
    pthread_mutex_unlock(&launch->lock);
    return child;
}

bool launch_others(struct launch *launch)
{
    pthread_mutex_lock(&launch->lock);
    bool others = launch->others;
    launch->others = false;
    pthread_mutex_unlock(&launch->lock);
    return others;
}

/* The group, and its leader also where that went into another group. Until it is waited for its
 * number is its own. */
static void signal_locked(struct child *child, int sig)
{
    if (child->pid <= 1)
        return;
    child->signalled = true;
    if (!child->group_empty)
        kill(-child->pid, sig);
    if (!child->reaped && getpgid(child->pid) != child->pid)
        kill(child->pid, sig);
}

void launch_signal(struct launch *launch, struct child *child, int sig)
{
    pthread_mutex_lock(&launch->lock);
    signal_locked(child, sig);
    pthread_mutex_unlock(&launch->lock);
}

void launch_stop(struct launch *launch)
{
    if (!launch || launch->stop)
        return;
    pthread_mutex_lock(&launch->lock);
    launch->stop = true;
    pthread_mutex_unlock(&launch->lock);
    pthread_kill(launch->thread, SIGCHLD);
    pthread_join(launch->thread, NULL);
    block_child_signal(false);
}

void launch_free(struct launch *launch)
{
    if (!launch)
        return;
    launch_stop(launch);
    close(launch->tell);
    close(launch->told);
    pthread_mutex_destroy(&launch->lock);
    free(launch);
}
