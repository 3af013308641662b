/* The worker: what its parts share. Data flows one way:
 *
 *   accept.c   a batch comes in, is checked, answered (answer.c) and queued
 *   defer.c    or waits for room
 *   run.c      a queued step is given to the launcher; time limits, TERM and KILL
 *   breaker.c  unless its handler has failed too often
 *   launch.c   the launcher: a thread that starts processes and waits for their ends
 *   pipes.c    what the process writes is read
 *   cancel.c   an operator has ended a step: it is dropped, or stopped
 *   finish.c   how it ended becomes a result (result.c: its text); the last step of a batch its
 *              completion
 *   feed.c     results go out, are kept, confirmed, sent again
 *   flow.c     how much of them may wait in the sockets
 *   loop.c     the one event loop around all that, and the end
 *
 * keeper.c ends all handlers and their descendants if the worker itself is killed; input.c makes
 * what a handler is given. */
#ifndef WORK_WORK_H
#define WORK_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "tasker/json.h"
#include "work/launch.h"

/* A descriptor that the loop waits on. */
struct watch {
    int fd;
    bool polled; /* the poller knows it */
    bool fired;  /* a socket: something may be there */
    void (*ready)(struct work *work, struct watch *watch);
    struct run *run; /* whose pipe it is, or NULL */
};

/* One step, from its acceptance to its end. */
struct run {
    struct run *prev, *next; /* in work->queue, work->given or work->live */
    struct batch *batch;
    const struct tsk_step *step;
    const struct tsk_handler *handler;
    int64_t sequence; /* of its last partial result */
    int64_t execution_ms;
    bool ended;              /* its result is on its way */
    bool completed;          /* with success */
    bool cancelled;          /* an operator has ended it: it is not to be run, or to be stopped */
    bool trial;              /* its end decides on the circuit of its class */
    struct process *process; /* while the launcher has it, and while it runs */
};

/* What there is only from when a step is given to the launcher until it has ended. */
struct process {
    struct child child; /* for the launcher */
    struct process *next_ended;
    bool begun;                  /* it has a pid, and pipes */
    struct watch out, err, note; /* stdout, stderr, descriptor 3; fd -1 once closed */
    struct tsk_buf out_text, err_text, note_text;
    int64_t out_bytes;  /* all that came, also what was cut */
    bool note_skipping; /* within a line of fd 3 that was too long */
    bool note_told;     /* that a line of fd 3 is wrong */
    int64_t started_wall, ended_us;
    int64_t watch_at; /* when its pipes are to be polled; -1: they are */
    int64_t deadline; /* when the next of these is due: TERM, KILL, to give up; -1 never */
    enum { STOP_NONE, STOP_TIMEOUT, STOP_WORKER, STOP_OPERATOR } stop; /* why TERM was sent */
    bool asked, killed;                                                /* TERM was sent, and KILL */
    bool exited;                  /* its program has ended; not so, perhaps, what it started */
    struct json_object *error;    /* from descriptor 3 */
    struct json_object *progress; /* from there, not sent yet */
    int64_t progress_at;          /* when progress was last sent */
};

struct batch {
    struct tsk_batch data;
    struct run *runs; /* data.count */
    size_t left;      /* not ended yet */
    size_t completed, failed;
    size_t bytes; /* of its text */
    int64_t accepted_us;
};

/* A batch that is checked, and for which there is no room yet. */
struct deferred {
    char *text; /* as it came */
    size_t len;
    struct deferred_step {
        int64_t step_id;
        bool cancelled; /* an operator has ended it */
    } * steps;          /* count, in the order of the batch */
    size_t count;
    bool plain;       /* it came on "steps": nobody sends it again */
    int64_t heard_at; /* when it was last sent to us */
};

struct run_list {
    struct run *first, *last;
    size_t count;
};

/* What waits in the sockets of the results. */
struct flow {
    int64_t room;        /* bytes that may */
    int64_t unsent_most; /* bytes that may wait for it in the outbox */
    int64_t bytes;       /* the least that waited since there was no room */
    int64_t look_at;     /* when to look again; -1: there is room */
    int64_t cut_at;      /* when it has been as much for too long */
    int64_t crowded_at;  /* from when on too much unsent is a reason to cut */
    bool unbounded;      /* there was nobody to cut off */
};

enum work_state { WORK_STARTING, WORK_READY, WORK_DRAINING, WORK_STOPPED };

#define DRAIN_MOST 256 /* messages of one socket, then the rest of the loop has its turn */

struct work {
    const struct tsk_conf *conf;
    struct tsk_handlers *handlers;
    struct tsk_json *json;
    struct tsk_poller *poller;
    struct tsk_bus *steps, *results;
    struct watch steps_watch, results_watch, signal_watch, keeper_watch, launch_watch;

    char id[TSK_ID_SIZE], source[TSK_UUID_SIZE];
    char *result_endpoint; /* as told to others; NULL where collectors bind */
    char **environment;    /* what all handlers get */
    struct rlimit files;   /* how many descriptors this process was allowed at its start */
    bool terminal;         /* this process has one, so a handler needs a session to have none */
    sigset_t changed;      /* the signals that this process does not leave alone */
    size_t environment_count;
    int64_t room; /* max_workers, or as many as the system has room for now */
    int64_t max_workers, queue_limit, max_output, max_input, step_timeout, kill_grace;
    size_t max_message;

    struct tsk_map *batches;     /* accepted and not ended: batch_id to struct batch */
    struct tsk_map *finished;    /* ended: batch_id to struct known (accept.c) */
    struct tsk_map *told;        /* what was reported of a handler: run_once */
    struct tsk_map *deferred;    /* the queue is full: batch_id to struct deferred */
    size_t accepted_bytes;       /* the texts of batches */
    size_t deferred_bytes;       /* what the deferred ones take */
    struct json_object *answers; /* to publishers, not sent; NULL: none */
    struct run_list queue, live; /* not given to the launcher; told to be in progress */
    struct run_list given;       /* to the launcher, beyond those */
    bool calm;                   /* no handler was failing when steps were given last */
    size_t beginning;            /* of the live ones: the launcher has not told of them yet */
    size_t exited;               /* of the live ones: their leader has ended, they take no place */
    struct process *ended; /* to be freed when no event can refer to them any more */
    int64_t next_check;    /* when a time limit may be due; -1 never */

    struct tsk_circuits *circuits;
    struct feed *feed;
    struct flow flow;
    struct keeper *keeper;
    struct launch *launch;
    enum work_state state;
    int stops;       /* how often it was told to stop */
    int64_t stop_at; /* from when on a second signal counts */
    int64_t drain_until, confirm_until, limit_at /* of confirm_until */, status_at;
    int64_t stale_until; /* what comes before may have been given to another worker meanwhile */
    bool hurry;          /* draining took too long: TERM was sent to all */
    int64_t accepted, completed, failed, rejected; /* steps; rejected: batches */
};

/* loop.c */
enum tsk_exit work_loop(struct work *work);

/* accept.c: reads what the steps channel has, a part at a time; returns whether there was anything.
 */
bool accept_drain(struct work *work);
/* Registers by subscription, so that batches come; and ends that. */
void accept_all(struct work *work);
void accept_none(struct work *work);
/* Accepts batches that had to wait, as far as there is room. */
void accept_deferred(struct work *work);
/* This process was held up for long: what is not accepted may be somebody else's by now. */
void accept_paused(struct work *work, int64_t now);
/* The batch has ended: forgets all but its id. Frees it. */
void accept_finished(struct work *work, struct batch *batch);
void batch_free(void *batch);

/* answer.c */
void answer_accepted(struct work *work, const char *batch_id, size_t steps);
/* Refuses a batch that came with topic; batch_id is "" where there is no usable one. To a plain
 * publisher, which hears nothing upstream, it is said as a result. */
void answer_rejected(struct work *work, const char *topic, const char *batch_id, const char *text,
                     const char *type, const char *category);
/* Answers once more for each batch that is accepted and has not ended: the first answer may be
 * lost. */
void answer_again(struct work *work);
/* Sends the answers that are due; returns whether there were any. */
bool answer_send(struct work *work);

/* defer.c */
void deferred_free(void *deferred);
/* Whether no more batches are kept. */
bool defer_is_full(const struct work *work);
/* Keeps the batch that came in frame. */
void defer_keep(struct work *work, const struct batch *batch, const struct tsk_frame *frame,
                bool plain);
/* Whether frame is that very batch once more. */
bool defer_is_same(const struct deferred *deferred, const struct tsk_frame *frame);
/* Returns a batch that is kept, and keeps it no longer. */
struct deferred *defer_take(struct work *work, const char *batch_id);

/* run_list.c */
void run_list_add(struct run_list *list, struct run *run);
void run_list_remove(struct run_list *list, struct run *run);
/* Puts all of back (which is not to be used any more) before those of list. */
void run_list_prepend(struct run_list *list, struct run_list *back);

/* run.c */
/* How many steps wait for a place. */
size_t run_queued(const struct work *work);
/* How many steps take a place now. */
int64_t run_count(const struct work *work);
/* Sets queued and free_slots of message, by which publishers choose. */
void run_put_load(const struct work *work, struct json_object *message);
/* Gives queued steps to the launcher, as far as there is room and a few more, so that it never
 * waits for the loop; returns whether it gave any. */
bool run_start_some(struct work *work);
/* Takes note of all that the launcher has begun and of what has ended. */
void run_news(struct work *work);
/* Takes steps that have not begun back into the queue; those that are told to be in progress only
 * if told_too. */
void run_take_back(struct work *work, bool told_too);
/* Does what is due by now (time limits) and sets work->next_check. */
void run_check_limits(struct work *work, int64_t now);
/* Asks all running steps to end (TERM, later KILL). */
void run_stop_all(struct work *work, int64_t now);
/* Asks one to end that an operator has ended; one that has not begun, as soon as it has. */
void run_cancel(struct work *work, struct run *run);
/* Whether this is the first time that it is asked for this handler: so that "what" is reported
 * once.
 */
bool run_once(struct work *work, const struct run *run, const char *what);
/* Ends all that runs, at once. */
void run_kill_all(struct work *work);
/* At the end: kills all that handlers left. What lost its parent is this process's child, and so
 * are its children when it is killed. */
void run_end_orphans(struct work *work);
/* Takes the process away from run, and closes its pipes. */
void run_release(struct work *work, struct run *run);
/* At the end: releases all, begun or not. */
void run_release_all(struct work *work);
/* Frees what was released since the last call; not while events are being handled. */
void run_free_ended(struct work *work);
/* The time limit of a step, in ms: its own, its handler's, the configured one. */
int64_t run_time_limit(const struct work *work, const struct run *run);

/* breaker.c */
struct tsk_circuits *breaker_new(const struct tsk_conf *conf);
/* Whether run may be started; if not, it has ended. */
bool breaker_lets(struct work *work, struct run *run);
/* A step that was let through has ended with error (NULL: success), or was not started. */
void breaker_ended(struct work *work, struct run *run, struct json_object *error);
/* Sets open_circuits of message. */
void breaker_put_open(const struct work *work, struct json_object *message);

/* pipes.c */
void pipes_open(struct work *work, struct run *run);
/* Has them polled. Most steps end before that is due, and are read out at their end alone: polling
 * would wake the worker three times for each. */
void pipes_watch(struct work *work, struct run *run);
void pipes_close(struct work *work, struct watch *watch);
/* Reads what is there now. */
void pipes_drain(struct work *work, struct run *run);
/* Takes what is left of descriptor 3 as its last line, where that has no newline. */
void pipes_last_note(struct work *work, struct run *run);
/* Sends progress that was held back, once it is due. */
void pipes_progress(struct work *work, struct run *run, int64_t now);

/* input.c */
void input_environment(struct work *work, const char *mark);
/* Sets all that the launcher needs to start run: program, environment, stdin. Returns 0, or an
 * errno if it cannot be started. */
int input_prepare(const struct work *work, const struct run *run, struct child *child);

/* result.c */
/* What is told of a step: values are NULL where there is none. */
#define FEED_PLACE 128 /* bytes, at most, that the place in the stream adds to a message */
struct outcome {
    bool final; /* else it is in progress */
    struct json_object *output, *error, *progress;
    char *warning; /* about the output; NULL: none */
};
/* Writes the members that each partial result begins with. */
void result_head(struct tsk_buf *text, int64_t step_id, const char *batch_id);
/* Write a message, which has no place in the stream yet, to text, which is empty. */
void result_partial(const struct work *work, const struct run *run, const struct outcome *outcome,
                    struct tsk_buf *text);
void result_completion(const struct work *work, const struct batch *batch, struct tsk_buf *text);
/* Cuts what may be cut of a message that is longer than most bytes, and says so in it: else nobody
 * could read it. Returns whether its output is still whole. */
bool result_shorten(struct work *work, size_t most, struct tsk_buf *text);

/* output.c: makes the output of a step that has ended, with what is to be said about it; and the
 * error, if it has none and the output is one that the step fails for. */
void output_read(struct work *work, struct run *run, struct outcome *outcome);

/* finish.c */
void finish_started(struct work *work, struct run *run);
void finish_progress(struct work *work, struct run *run, struct json_object *progress);
/* All processes of the step have ended and its output is read. Frees the process. */
void finish_ended(struct work *work, struct run *run);
/* The step could not be started: code is an errno. */
void finish_not_started(struct work *work, struct run *run, int code);
/* The worker ends: the step may be run elsewhere, at once. */
void finish_stopped(struct work *work, struct run *run);

/* An operator has ended the step before it was started. */
void finish_cancelled(struct work *work, struct run *run);

/* Reports a step that is not started, and so has used no attempt, with an error object (taken). */
void finish_refused(struct work *work, struct run *run, struct json_object *error);

/* cancel.c: a message of an operator (borrowed). */
void cancel_message(struct work *work, struct json_object *message);

/* feed.c */
struct feed *feed_new(const struct tsk_conf *conf);
void feed_free(struct feed *feed);
/* Keeps the text of an object (which is freed) under the next offset, which is added to it, and
 * sends it with the next feed_flush. */
void feed_send(struct work *work, enum tsk_type type, struct tsk_buf *text);
/* Sends what waits, unless more is about to come; once a turn. Returns whether it sent anything. */
bool feed_flush(struct work *work);
/* When feed_flush has something to do at the latest; -1: nothing waits. */
int64_t feed_flush_at(const struct work *work);
/* Sends a worker_status on its own topic, or to the one that is named. */
void feed_status(struct work *work, const char *topic);
/* Reads what the results channel has, a part at a time; returns whether there was anything. */
bool feed_drain(struct work *work);
/* Sends what was asked for again, a part at a time; returns whether there was anything. */
bool feed_replay(struct work *work);
/* Forgets what is confirmed or too old, and tells what had to be given up. */
void feed_expire(struct work *work, int64_t now);
/* How many results nobody has confirmed; whether anyone at all listens. */
int64_t feed_unconfirmed(const struct work *work);
bool feed_has_collector(const struct work *work);

/* Returns whether each result is confirmed; or, where no collector is there, was sent to a plain
 * subscriber that is still there or took it before it left. */
bool feed_is_done(const struct work *work);

/* flow.c */
void flow_init(struct flow *flow, const struct tsk_conf *conf);
/* Whether so much waits in the sockets that nothing more should be sent now. */
bool flow_is_full(struct work *work);
/* Looks again, when that is due, and acts if it has been so for too long. unsent: the bytes of what
 * waits for it. Returns whether there is room. */
bool flow_look(struct work *work, int64_t unsent, int64_t now);

/* keeper.c */
struct keeper *keeper_start(size_t slots, const char *mark, struct tsk_err *err);
int keeper_fd(const struct keeper *keeper); /* becomes readable when the keeper itself is gone */
/* It is gone: starts another one. Returns 0, or -1 with errno. */
int keeper_restart(struct keeper *keeper);
pid_t keeper_pid(const struct keeper *keeper); /* -1: there is none */
/* Returns a slot for a handler. */
size_t keeper_take(struct keeper *keeper);
/* Puts a process into a slot, or with 0 none; and into the one of the i-th orphan. The launcher may
 * call them at any time. */
void keeper_set(struct keeper *keeper, size_t slot, pid_t pid);
void keeper_set_orphan(struct keeper *keeper, size_t i, pid_t pid);
/* Gives the slot back. */
void keeper_remove(struct keeper *keeper, size_t slot);
/* Lets it end all that is left, waits for it, frees. NULL is fine. */
void keeper_stop(struct keeper *keeper);

#endif
