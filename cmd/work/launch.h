/* The launcher: a thread that starts programs and waits for their ends. */
#ifndef WORK_LAUNCH_H
#define WORK_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "work/circuit.h"
#include "work/handlers.h"
#include "work/outbox.h"
#include "tasker/tasker.h"

struct work;
struct launch;
struct keeper;
struct run;

/* What happened to a child: it could not be started, it runs, its program has ended, and so has all
 * that it started. */
enum { LAUNCH_FAILED = 1, LAUNCH_BEGUN = 2, LAUNCH_ENDED = 4, LAUNCH_ALL_ENDED = 8 };

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

    /* the launcher's own */
    struct child *next, *next_news;
    int news;
    int last_signal; /* sent to it; 0: none */
    bool reaped;
    size_t orphans; /* processes that it left and that still run */
};

/* Starts the thread, for what work has set up (borrowed). From now on SIGCHLD is blocked in the
 * calling thread and those that it starts. Returns NULL with err if it cannot. */
struct launch *launch_start(const struct work *work, struct tsk_err *err);

/* Becomes readable when there is something for launch_next; launch_heard empties it, and is to be
 * called before that. */
int launch_fd(const struct launch *launch);
void launch_heard(struct launch *launch);

/* Gives it a child to be started, after those that were given before, as soon as there is room. The
 * child belongs to the launcher until it has failed, or all of it has ended, and the news of that
 * are taken. */
void launch_give(struct launch *launch, struct child *child);

/* Has it look at what it was given, if it does not anyway. After the end of a child that may be a
 * failure it begins no other one before that is called and all news are taken: what is known of the
 * failure by then may change what is to be begun. */
void launch_go(struct launch *launch);

/* Takes back the first child that has not been begun, and (unless told_too) is not told; NULL if
 * there is none. */
struct child *launch_take_back(struct launch *launch, bool told_too);

/* Returns the next child with news, in the order in which they happened, and what they are; NULL if
 * there are none. LAUNCH_BEGUN comes before LAUNCH_ENDED or together with it, and so does that with
 * LAUNCH_ALL_ENDED. */
struct child *launch_next(struct launch *launch, int *news);

/* How many programs run at a time: max_workers, or as many as the system had room for. */
int64_t launch_most(struct launch *launch);

/* Whether the program of child has ended and nothing is left that it started, and all news of it
 * are taken. LAUNCH_ALL_ENDED comes only where the system tells of orphans. */
bool launch_all_ended(struct launch *launch, const struct child *child);

/* Writes which processes the program of child left ("sleep (pid 123)"). */
void launch_left(struct launch *launch, const struct child *child, struct tsk_buf *text);

/* Signals the process of child and all that it started. Returns false, having done nothing, where
 * the process has ended by itself already and the news of it are to come. One that has not begun,
 * or is gone, is left alone. */
bool launch_signal(struct launch *launch, struct child *child, int sig);

/* Gives up waiting for what child left: the launcher does not look at it any more. Returns false,
 * having done nothing, where news of it are to come. */
bool launch_forget(struct launch *launch, struct child *child);

/* The keeper has ended: starts another one. Returns whether it could. */
bool launch_keeper(struct launch *launch, struct keeper *keeper);

/* Ends the thread. The rest can still be called; what ends now is waited for by the caller. NULL is
 * fine. */
void launch_stop(struct launch *launch);
void launch_free(struct launch *launch); /* NULL is fine */

#endif
