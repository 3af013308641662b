/* tasker-resolve: what its parts share. */
#ifndef RESOLVE_RESOLVE_H
#define RESOLVE_RESOLVE_H

#include "common/opt.h"
#include "resolve/operator.h"

struct options {
    int action; /* enum tsk_resolve_action; of hold and release whether it is to be held */
    const char *reason, *by;
    struct tsk_resolve_filter filter;
    int64_t wait; /* ms; -1: not given */
    bool dry_run;
};

/* session.c: the store, open for what an operator does; the options, and what is printed. */
struct session {
    struct tsk_store *store;
    struct tsk_settler *settler;
    int64_t patience;
    bool dry;
};

/* Returns TSK_OK, or the status to end with. session_close is to be called in either case. */
enum tsk_exit session_open(struct session *session, const struct options *opts,
                           const struct tsk_conf *conf);
void session_close(struct session *session);

/* Does fn in a transaction, of reading alone where nothing is to be changed. */
int session_do(struct session *session, tsk_store_fn *fn, void *ctx, struct tsk_err *err);

/* Whether there is any filter. */
bool options_filtered(const struct options *opts);
/* --by, or the user and the host; the caller's. */
char *options_by(const struct options *opts);
/* What the options order, as of now. */
struct tsk_resolve_order options_order(const struct options *opts);

/* targets.c: what the operands name. */
struct target {
    int64_t id;
    int64_t task, line; /* of a step: the task that an object says it is of, and where; 0: it says
                         * none */
};
struct targets {
    bool tasks; /* else steps; of names neither */
    struct target *items;
    size_t item_count, item_cap;
    char **names;
    size_t count, cap; /* of names */
    enum tsk_exit status;
};
/* Reads "[step | task] ID ...". Returns 0, or -1 if the command line is wrong; that some
 * line of stdin is, is told, and is in targets->status. */
int targets_read(struct targets *targets, char *const *operands, size_t count);
/* The same for namespaces, each once. */
int targets_read_names(struct targets *targets, char *const *operands, size_t count);
void targets_fini(struct targets *targets);

/* Fills ids, each once, but for steps that are of another task than an object says: that is
 * reported, and is in targets->status. Returns 0, or -1 if the store failed. */
int targets_check(struct targets *targets, struct session *session, struct tsk_resolve_ids *ids,
               struct tsk_err *err);

/* steps.c: retry, reset, resolve and cancel. */
enum tsk_exit steps_run(const struct options *opts, const struct tsk_conf *conf,
                        char *const *operands, size_t count);
/* hold.c */
enum tsk_exit hold_run(const struct options *opts, const struct tsk_conf *conf,
                       char *const *operands, size_t count);

/* What became of a step that a worker may have had. */
enum handler {
    HANDLER_NONE,      /* nobody had it */
    HANDLER_WAITS,     /* not known yet */
    HANDLER_UNSENT,    /* its batch goes out with the word that it is not to be run */
    HANDLER_DROPPED,   /* it waited at the worker, and is not run */
    HANDLER_STOPPED,   /* it ran, and was stopped */
    HANDLER_ENDED,     /* it had ended by itself */
    HANDLER_UNKNOWN,   /* the worker does not know it: it was started anew since then */
    HANDLER_RUNS,      /* the worker was told, and it has not ended in time */
    HANDLER_UNREACHED, /* the worker did not answer in time */
};

/* One that was done and is not printed yet. */
struct pending {
    struct tsk_resolved *one; /* within the list below */
    enum handler handler;
    bool asked;       /* the worker has answered */
    int64_t asked_at; /* tsk_now_ms; 0: who has it is not known yet */
};

/* tell.c: tells the workers, and waits for the ends. Returns 0, or TSK_TEMPFAIL if some handler may
 * still run; of each of them that is told on stderr. */
enum tsk_exit tell_workers(const struct options *opts, const struct tsk_conf *conf,
                           struct tsk_store *store, struct pending *items, size_t count);

/* session.c: prints what was done. */
void line_resolved(const struct options *opts, const struct tsk_resolved *one,
                   enum handler handler);
void line_hold(const struct options *opts, const char *namespace_name);

#endif
