/* The operator's hand: what a person does to steps, tasks and namespaces of the store. Each thing
 * done is a fact, a transition of the origin 'operator' with a reason and who it was, from which
 * all else is derived; so it outlives a rebuild.
 *
 *   retry    a step in error is pending again, one that waits for its back-off waits no longer; for
 *            one more attempt, and be it that none is left
 *   reset    its attempts count from none again; one in error is pending again
 *   resolve  it was done by other means: those behind it may run
 *   cancel   it is not to be run, or not any more
 *
 * A step is looked at after all that the ledger has of it is settled: if its end is there it
 * counts, and what does not go with it is refused. What comes later changes nothing any more
 * (settle.h): of an end and an operator at the same moment the one counts that is in the store
 * first. A task that is cancelled or resolved takes its open steps with it: they are cancelled. Of
 * a step that a worker may have, the caller is told who to tell; and again, if the same is done to
 * the step or its task once more before the ledger has an end of it. */
#ifndef TASKER_RESOLVE_H
#define TASKER_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/settle.h"
#include "tasker/state.h"
#include "tasker/store.h"

enum tsk_resolve_action {
    TSK_RESOLVE_RETRY,
    TSK_RESOLVE_RESET,
    TSK_RESOLVE_RESOLVE,
    TSK_RESOLVE_CANCEL,
    TSK_RESOLVE_ACTIONS
};

/* "retry" …, static; and "retried" …. */
const char *tsk_resolve_word(enum tsk_resolve_action action);
const char *tsk_resolve_past(enum tsk_resolve_action action);

/* --- The rules: pure functions. */

/* What they need to know of a step. */
struct tsk_resolve_facts {
    enum tsk_state state, task; /* of the step, and of its task */
    int64_t attempts;           /* used */
    bool backs_off;             /* it is pending, and its back-off is not over */
    bool runs;                  /* a worker may have it, whatever its state is */
};

/* Returns the state that the step will have (which may be the one it has), or TSK_STATE_NONE if
 * that cannot be done. Ending a step a second time is allowed while a worker may still have it. */
enum tsk_state tsk_resolve_step_to(enum tsk_resolve_action action,
                                   const struct tsk_resolve_facts *facts);

/* The same of a task as a whole, for resolve; any other action is taken for cancel. runs: a worker
 * may have one of its steps. */
enum tsk_state tsk_resolve_task_to(enum tsk_resolve_action action, enum tsk_state state, bool runs);

/* Adds what can be done in words: "it can be retried, reset or cancelled"; or that nothing can. */
void tsk_resolve_choices(const struct tsk_resolve_facts *facts, struct tsk_buf *out);

/* --- Doing it. */

struct tsk_resolve_order {
    enum tsk_resolve_action action;
    const char *reason, *by; /* UTF-8 */
    int64_t now;             /* wall ms */
    bool dry;                /* change nothing: what would be done */
};

/* The metadata of a transition by order (the caller's). */
char *tsk_resolve_about(const struct tsk_resolve_order *order);

/* What became of one step or task. */
struct tsk_resolved {
    bool is_task;
    int64_t id, task_id; /* task_id 0: it is not known */
    char *name;          /* NULL: it is not known */
    int64_t attempt;     /* of a step; 0: it was never claimed */
    enum tsk_state from, to;
    size_t steps; /* of a task: how many of its steps are ended with it, or told of again */
    char *why;    /* it was refused; NULL: it is done */
    /* where a worker may have the step; else batch_id is NULL */
    char *batch_id;
    char *worker_id, *endpoint; /* who has it; NULL: not told, or not accepted yet */
    int64_t sent_until; /* not accepted yet: a publisher may be sending it, until then; -1: it is */
};

struct tsk_resolved_list {
    struct tsk_resolved *items;
    size_t count, cap;
};
#define TSK_RESOLVED_LIST_INIT                                                                     \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }
void tsk_resolved_fini(struct tsk_resolved_list *list); /* frees all in it, and empties it */

/* Within tsk_store_write (with order->dry: tsk_store_read): does it to steps, or to a task (resolve
 * and cancel), and puts what became of each into list, in that order, in place of what is there; of
 * a task also its steps, after it. settler is one of this store, which watches nothing. Return 0,
 * or -1 with the kinds of store.h; one that cannot be done is no error. */
int tsk_resolve_steps(struct tsk_store *store, struct tsk_settler *settler,
                      const struct tsk_resolve_order *order, const int64_t *ids, size_t count,
                      struct tsk_resolved_list *list, struct tsk_err *err);
int tsk_resolve_task(struct tsk_store *store, struct tsk_settler *settler,
                     const struct tsk_resolve_order *order, int64_t id,
                     struct tsk_resolved_list *list, struct tsk_err *err);

/* Fills in worker_id and endpoint of one whose batch was not accepted yet, if it is now. Returns 0,
 * or -1; for use within tsk_store_read. */
int tsk_resolve_look(struct tsk_store *store, struct tsk_resolved *one, struct tsk_err *err);

/* --- Finding steps. */

struct tsk_resolve_filter {
    int64_t task;                                          /* 0: any */
    const char *namespace_name, *handler_class, *category; /* NULL: any; a class may be a glob */
    int64_t limit;                                         /* 0: none */
};

struct tsk_resolve_ids { /* the caller frees items */
    int64_t *items;
    size_t count, cap;
};
void tsk_resolve_ids_add(struct tsk_resolve_ids *ids, int64_t id);

/* Adds, in ascending order, the steps of tasks that the filter lets pass and that are as a rule
 * meant by action: those in error; for retry also those that wait for a back-off; for cancel those
 * that have not ended and are not in error and, behind these, those that are cancelled and that a
 * worker may have, while their batch is not out of time. Returns 0, or -1. */
int tsk_resolve_find(struct tsk_store *store, enum tsk_resolve_action action,
                     const struct tsk_resolve_filter *filter, int64_t now,
                     struct tsk_resolve_ids *ids, struct tsk_err *err);

/* --- Namespaces: nothing of one that is held is claimed. */

struct tsk_hold {
    bool done;         /* false: it was so before; if dry: it would be done */
    bool known;        /* some task is of that namespace */
    char *reason, *by; /* of the one that was there, or is taken away; NULL: none */
    int64_t since;
};
void tsk_hold_fini(struct tsk_hold *hold); /* frees its texts, and empties it */

/* Within tsk_store_write (if dry: tsk_store_read): holds the namespace, or, if held is false,
 * releases it; of order the reason, by, now and dry count. Fills hold, in place of what is there,
 * to be freed by tsk_hold_fini. Returns 0, or -1. */
int tsk_resolve_hold(struct tsk_store *store, const struct tsk_resolve_order *order,
                     const char *namespace_name, bool held, struct tsk_hold *hold,
                     struct tsk_err *err);

#endif
