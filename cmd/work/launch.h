/* The launcher: a thread that starts programs and waits for their ends. */
#ifndef WORK_LAUNCH_H
#define WORK_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "tasker/tasker.h"

struct work;
struct launch;
struct run;

enum { LAUNCH_FAILED = 1, LAUNCH_BEGUN = 2, LAUNCH_ENDED = 4 };

/* A program that is started, runs, or has ended. */
struct child {
    /* set before it is given to the launcher */
    struct run *run;      /* whose it is; the launcher does not look at it */
    char *const *argv;    /* borrowed */
    char **environment;   /* its strings are elsewhere, or in arena */
    struct tsk_buf arena; /* of these */
    struct tsk_buf input; /* what it reads on stdin */
    char *path;           /* as tsk_os_find found it */
    size_t slot;          /* in the keeper's table */
    bool told;            /* that it is in progress; the launcher does not look at it either */

    /* set by the launcher, to be read once the news of it was taken: LAUNCH_FAILED */
    int code; /* an errno */
    /* LAUNCH_BEGUN */
    pid_t pid;
    int fds[3]; /* where its stdout, stderr and descriptor 3 are read, not to wait */
    int64_t started_us;
    /* LAUNCH_ENDED */
    int status; /* as wait(2) gives it */
    struct rusage usage;
    bool group_empty; /* nobody was left in its process group */

    /* the launcher's own */
    struct child *next, *next_news;
    int news;
    bool signalled, reaped;
};

/* Starts the thread, for what work has set up (borrowed). From now on SIGCHLD is blocked in the
 * calling thread and those that it starts. Returns NULL with err if it cannot. */
struct launch *launch_start(const struct work *work, struct tsk_err *err);

/* Becomes readable when there is something for launch_next or launch_others; launch_heard empties
 * it, and is to be called before them. */
int launch_fd(const struct launch *launch);
void launch_heard(struct launch *launch);

/* Gives it a child to be started, after those that were given before, as soon as there is room. The
 * child belongs to the launcher until it has ended or failed, and the news of that are taken. */
void launch_give(struct launch *launch, struct child *child);

/* Has it look at what it was given, if it does not anyway. After the end of a child that may be a
 * failure it begins no other one before that is called and all news are taken: what is known of the
 * failure by then may change what is to be begun. */
void launch_go(struct launch *launch);

/* Takes back the first child that has not been begun, and (unless told_too) is not told; NULL if
 * there is none. */
struct child *launch_take_back(struct launch *launch, bool told_too);

/* Returns the next child with news, in the order in which they happened, and what they are; NULL if
 * there are none. LAUNCH_BEGUN comes before LAUNCH_ENDED or together with it. */
struct child *launch_next(struct launch *launch, int *news);

/* Whether a child that was not given has ended since the last call. */
bool launch_others(struct launch *launch);

/* Signals all of the child's process group. One that has not begun, or is gone, is left alone. */
void launch_signal(struct launch *launch, struct child *child, int sig);

/* Ends the thread. The system kills what it has started and has not ended. The rest can still be
 * called; what ends now is waited for by the caller. NULL is fine. */
void launch_stop(struct launch *launch);
void launch_free(struct launch *launch); /* NULL is fine */

/* begin.c, for launch.c: starts the program of child, of work looking only at what does not change.
 * Returns its pid, or -1 with child->code. */
pid_t launch_begin(const struct work *work, struct child *child, bool crowded);

#endif
