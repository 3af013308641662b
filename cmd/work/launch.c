/* The launcher: a thread that starts the programs of steps and waits for their ends, while the loop
 * reads and writes messages. A start holds the thread that does it up until the child runs its
 * program, about as long as all else that a step needs; and as soon as one step has ended the next
 * one can begin, without the loop. It does nothing else: it makes pipes, starts, reaps, and leaves
 * news of it.
 *
 * All that changes hands does so under one lock. What the launcher notes of a child (struct child)
 * is its own until the news is taken. The thread lives as long as the worker. It alone takes
 * SIGCHLD, from the system and, as a wake-up, from the loop; so nothing is lost between looking and
 * sleeping.
 *
 * Orphans: a handler adopts the orphans among its descendants (os_linux.c), and when it ends the
 * worker adopts them all at that moment. So what the worker has adopted is left over from a handler
 * that has ended, and what is new there since the last look is from one of those that ended since
 * then: the step is not over before these have ended too. Which session they are in, and what is in
 * their environment, does not matter. */
#include "work/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "work/work.h"

/* ---- One start, in the launcher's thread: pipes, and the program. */

/* Half of the descriptors that a child takes over at the least, which are left free. */
#define LOW_FDS 32

/* What the handler reads: a pipe that holds it all, where it fits one for sure, else a file. Nobody
 * has to write while it reads, nor does anybody mind if it does not. */
static int open_input(const struct tsk_buf *input)
{
    int ends[2];
    if (input->len > PIPE_BUF)
        return tsk_os_memory_file(input->data, input->len);
    if (tsk_os_pipe(ends) < 0)
        return -1;
    ssize_t n = write(ends[1], input->data, input->len);
    close(ends[1]);
    if (n == (ssize_t)input->len)
        return ends[0];
    close(ends[0]);
    errno = EIO;
    return -1;
}

/* Where many are open, ours do not take the low numbers: see tsk_spawn.crowded. */
static int make_ours(int fd)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (fd < LOW_FDS || fd >= 2 * LOW_FDS)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 2 * LOW_FDS);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

/* Makes the handler's four descriptors and the worker's three. Returns 0, or -1 with errno. */
static int open_pipes(const struct tsk_buf *input, int theirs[4], int ours[3])
{
    int ends[2], made = 0;
    theirs[0] = open_input(input);
    while (theirs[0] >= 0 && made < 3 && tsk_os_pipe(ends) == 0) {
        ours[made] = make_ours(ends[0]);
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

/* Starts the program of child, of work looking only at what does not change.
 * guarded: the keeper ends it if this process dies. Returns its pid, or -1 with child->code. */
static pid_t launch_begin(const struct work *work, struct child *child, bool guarded, bool crowded)
{
    int theirs[4];
    child->started_us = tsk_now_us();
    if (open_pipes(&child->input, theirs, child->fds) < 0) {
        child->code = errno;
        return -1;
    }
    struct tsk_spawn spawn = {.argv = child->argv,
                              .envp = child->environment,
                              .dir = tsk_handlers_dir(work->handlers),
                              .fds = {theirs[0], theirs[1], theirs[2], theirs[3]},
                              .changed = &work->changed,
                              .path = child->path,
                              .outlives = guarded,
                              .files = &work->files,
                              .session = work->terminal,
                              .crowded = crowded};
    pid_t pid = tsk_os_spawn(&spawn);
    child->code = pid < 0 ? errno : 0;
    if (pid > 0)
        keeper_set(work->keeper, child->slot, pid);
    for (int i = 0; i < 4; i++)
        close(theirs[i]);
    for (int i = 0; pid < 0 && i < 3; i++)
        close(child->fds[i]);
    return pid;
}

enum {
    BUCKETS = 1024,
    CROWD = 16,      /* children, beyond which there are many descriptors */
    QUICK_US = 5000, /* so long the loop does not read the pipes of a child; see pipes_open */
    GIVE_WAY_NS = 100000,
    ROOM_MS = 2000, /* between two looks whether the system has room again */
};

/* A process that was left over. Where several handlers ended at the same moment each of them has an
 * entry of it. */
struct orphan {
    pid_t pid;
    struct child *child; /* whose it is; NULL: nobody waits for it any more */
};

struct launch {
    pthread_t thread;
    pthread_mutex_t lock;       /* for all that follows */
    const struct work *work;    /* what was there before the thread, and does not change */
    int64_t running, most;      /* most: max_workers, or fewer until room_at */
    int64_t room_at;            /* tsk_now_ms */
    int64_t short_at;           /* beyond so many no start has succeeded; 0: room enough */
    struct child *first, **end; /* given and not begun */
    struct child *first_news, **end_news; /* with news that are not taken */
    struct child *by_pid[BUCKETS];        /* begun, and not waited for */
    int tell, told;                       /* a pipe to the loop */
    bool was_told;                        /* there is something in it */
    bool sleeping;                        /* it must be woken to see what was given */
    struct orphan *orphans;
    size_t orphan_count, orphan_cap;
    struct child **suspects; /* of which something has ended since orphans were looked for */
    size_t suspect_count, suspect_cap;
    pid_t *adopted; /* for tsk_os_adopted */
    size_t adopted_cap;
    pid_t keeper; /* it is no orphan; 0: it has ended */
    bool held;    /* a child may have failed: none begins before the loop has seen it */
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
    if (launch->was_told || !launch->first_news)
        return;
    ssize_t n = write(launch->tell, "", 1); /* it is empty, and so has room */
    launch->was_told = n == 1;
}

/* Whether the system has no room for another process: when one has ended it has. */
static bool lacks_room(int code)
{
    return code == EAGAIN || code == EMFILE || code == ENFILE || code == ENOMEM;
}

static void begin_one_locked(struct launch *launch)
{
    struct child *child = launch->first;
    if (!(launch->first = child->next))
        launch->end = &launch->first;
    bool crowded = launch->running >= CROWD;
    bool guarded = launch->keeper > 0;
    launch->running++;
    pthread_mutex_unlock(&launch->lock);
    pid_t pid = launch_begin(launch->work, child, guarded, crowded);
    pthread_mutex_lock(&launch->lock);
    if (pid < 0 && lacks_room(child->code) && launch->running > 1) {
        launch->most = launch->short_at = --launch->running;
        launch->room_at = tsk_now_ms() + ROOM_MS;
        if (!(child->next = launch->first))
            launch->end = &child->next;
        launch->first = child;
        return;
    }
    if (pid < 0) {
        launch->running--;
        add_news_locked(launch, child, LAUNCH_FAILED);
    } else {
        if (launch->running > launch->short_at)
            launch->short_at = 0;
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
    return child->status == 0 && !child->last_signal &&
           tsk_now_us() - child->started_us < QUICK_US && poll(&note, 1, 0) >= 0 &&
           !(note.revents & POLLIN);
}

static void suspect_locked(struct launch *launch, struct child *child)
{
    for (size_t i = 0; i < launch->suspect_count; i++) {
        if (launch->suspects[i] == child)
            return;
    }
    launch->suspects = tsk_grow(launch->suspects, &launch->suspect_cap, launch->suspect_count + 1,
                                sizeof *launch->suspects);
    launch->suspects[launch->suspect_count++] = child;
}

/* Takes child out of by_pid: its number may be another's from now on. */
static void reaped_locked(struct launch *launch, struct child *child)
{
    struct child **at = bucket(launch, child->pid);
    while (*at != child)
        at = &(*at)->next;
    *at = child->next;
    child->reaped = true;
    launch->running--;
    launch->held |= !went_well(child);
    add_news_locked(launch, child, LAUNCH_ENDED);
    suspect_locked(launch, child);
}

/* Removes the entries of pid, which has ended. */
static void remove_orphans_locked(struct launch *launch, pid_t pid)
{
    for (size_t i = 0; i < launch->orphan_count;) {
        struct child *child = launch->orphans[i].child;
        if (launch->orphans[i].pid != pid) {
            i++;
            continue;
        }
        if (child) {
            child->orphans--;
            suspect_locked(launch, child);
        }
        launch->orphans[i] = launch->orphans[--launch->orphan_count];
        keeper_set_orphan(launch->work->keeper, i, launch->orphans[i].pid);
        keeper_set_orphan(launch->work->keeper, launch->orphan_count, 0);
    }
}

/* Waits for all that has ended; returns whether there was anything. Under the lock, so that nobody
 * signals a number that has just become another's. */
static bool wait_locked(struct launch *launch)
{
    int status;
    struct rusage usage;
    bool any = false;
    for (pid_t pid; (pid = tsk_os_reap(&status, &usage)) > 0; any = true) {
        struct child *child = *bucket(launch, pid);
        while (child && child->pid != pid)
            child = child->next;
        if (!child) {
            launch->keeper = pid == launch->keeper ? 0 : launch->keeper;
            remove_orphans_locked(launch, pid);
            continue;
        }
        child->status = status;
        child->usage = usage;
        reaped_locked(launch, child);
    }
    return any;
}

static bool is_orphan(const struct launch *launch, pid_t pid)
{
    for (size_t i = 0; i < launch->orphan_count; i++) {
        if (launch->orphans[i].pid == pid)
            return true;
    }
    return pid == launch->keeper;
}

/* Finds the processes that were adopted since the last look: the first so many of launch->adopted.
 */
static size_t find_adopted_locked(struct launch *launch)
{
    size_t count = tsk_os_adopted(&launch->adopted, &launch->adopted_cap), fresh = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_orphan(launch, launch->adopted[i]))
            launch->adopted[fresh++] = launch->adopted[i];
    }
    return fresh;
}

/* Adds an orphan of child, which gets no chance where the child itself has none any more. */
static void add_orphan_locked(struct launch *launch, struct child *child, pid_t pid)
{
    launch->orphans = tsk_grow(launch->orphans, &launch->orphan_cap, launch->orphan_count + 1,
                               sizeof *launch->orphans);
    keeper_set_orphan(launch->work->keeper, launch->orphan_count, pid);
    launch->orphans[launch->orphan_count++] = (struct orphan){pid, child};
    child->orphans++;
    if (child->last_signal == SIGKILL)
        tsk_os_signal_tree(pid, SIGKILL);
}

static bool all_ended(const struct child *child)
{
    return child->reaped && !child->orphans && kill(-child->pid, 0) < 0 && errno == ESRCH;
}

/* Waits for all that has ended, and finds what it has left. Of an orphan that is found the handler
 * may have ended after the wait: then it is waited for, and looked again. */
static void reap_locked(struct launch *launch)
{
    size_t fresh = 0;
    launch->suspect_count = 0;
    wait_locked(launch);
    while (launch->suspect_count && (fresh = find_adopted_locked(launch)) && wait_locked(launch))
        ;
    for (size_t i = 0; i < launch->suspect_count; i++) {
        struct child *child = launch->suspects[i];
        for (size_t j = 0; j < fresh; j++)
            add_orphan_locked(launch, child, launch->adopted[j]);
        if (!all_ended(child))
            continue;
        keeper_set(launch->work->keeper, child->slot, 0);
        add_news_locked(launch, child, LAUNCH_ALL_ENDED);
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

/* Sleeps until a child ends, the loop has something, or it is until (-1: never). Returns whether
 * something came. */
static bool sleep_until(const sigset_t *wake, int64_t until)
{
    int sig, ms = until < 0 ? -1 : tsk_left_ms(until);
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    return ms < 0 ? sigwait(wake, &sig) == 0 : sigtimedwait(wake, NULL, &left) > 0;
}

/* Tries again, from time to time, whether the system has room for max_workers. Returns when to look
 * next; -1: it is all there. */
static int64_t look_for_room_locked(struct launch *launch)
{
    if (launch->most < launch->work->max_workers && tsk_now_ms() >= launch->room_at)
        launch->most = launch->work->max_workers;
    return launch->most < launch->work->max_workers && launch->first ? launch->room_at : -1;
}

static void *run_launcher(void *ctx)
{
    struct launch *launch = ctx;
    sigset_t wake;
    bool woken = true;
    sigemptyset(&wake);
    sigaddset(&wake, SIGCHLD);
    pthread_mutex_lock(&launch->lock);
    while (!launch->stop) {
        if (woken || has_ended(&wake))
            reap_locked(launch);
        woken = false;
        int64_t until = look_for_room_locked(launch);
        if (launch->first && !launch->held && launch->running < launch->most) {
            begin_one_locked(launch);
            continue;
        }
        tell_locked(launch);
        launch->sleeping = true;
        bool idle = !launch->running;
        pthread_mutex_unlock(&launch->lock);
        woken = sleep_until(&wake, until);
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
    launch->keeper = keeper_pid(work->keeper);
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

int64_t launch_most(struct launch *launch)
{
    pthread_mutex_lock(&launch->lock);
    int64_t most = launch->short_at ? launch->short_at : launch->work->max_workers;
    pthread_mutex_unlock(&launch->lock);
    return most;
}

bool launch_all_ended(struct launch *launch, const struct child *child)
{
    pthread_mutex_lock(&launch->lock);
    bool result = !child->news && all_ended(child);
    pthread_mutex_unlock(&launch->lock);
    return result;
}

void launch_left(struct launch *launch, const struct child *child, struct tsk_buf *text)
{
    enum { MOST = 3 };
    size_t count = 0;
    char name[64];
    pthread_mutex_lock(&launch->lock);
    for (size_t i = 0; i < launch->orphan_count; i++) {
        pid_t pid = launch->orphans[i].pid;
        if (launch->orphans[i].child != child || ++count > MOST ||
            !tsk_os_process_name(pid, name, sizeof name))
            continue;
        tsk_buf_printf(text, "%s%s (pid %ld)", text->len ? ", " : "", name, (long)pid);
    }
    pthread_mutex_unlock(&launch->lock);
    if (count > MOST)
        tsk_buf_printf(text, " and %zu more", count - MOST);
    else if (!text->len)
        tsk_buf_str(text, "processes");
}

/* Whether child, which is not waited for yet, has ended. */
static bool has_died(const struct child *child)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child->pid;
}

/* Until a child is waited for its number is its own. */
static bool signal_locked(struct launch *launch, struct child *child, int sig)
{
    if (child->pid <= 1)
        return true;
    if (child->news & (LAUNCH_ENDED | LAUNCH_ALL_ENDED) || (!child->reaped && has_died(child)))
        return false;
    child->last_signal = sig;
    if (!child->reaped)
        tsk_os_signal_tree(child->pid, sig);
    else if (!child->orphans)
        kill(-child->pid, sig);
    for (size_t i = 0; i < launch->orphan_count; i++) {
        if (launch->orphans[i].child == child)
            tsk_os_signal_tree(launch->orphans[i].pid, sig);
    }
    return true;
}

bool launch_signal(struct launch *launch, struct child *child, int sig)
{
    pthread_mutex_lock(&launch->lock);
    bool result = signal_locked(launch, child, sig);
    pthread_mutex_unlock(&launch->lock);
    return result;
}

bool launch_forget(struct launch *launch, struct child *child)
{
    pthread_mutex_lock(&launch->lock);
    bool quiet = !child->news;
    for (size_t i = 0; quiet && i < launch->orphan_count; i++) {
        if (launch->orphans[i].child == child)
            launch->orphans[i].child = NULL;
    }
    pthread_mutex_unlock(&launch->lock);
    return quiet;
}

bool launch_keeper(struct launch *launch, struct keeper *keeper)
{
    pthread_mutex_lock(&launch->lock); /* else a new keeper may be taken for an orphan */
    bool started = keeper_restart(keeper) == 0;
    launch->keeper = keeper_pid(keeper);
    pthread_mutex_unlock(&launch->lock);
    return started;
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
    free(launch->orphans);
    free(launch->suspects);
    free(launch->adopted);
    free(launch);
}
