/* The parts of tasker-reconcile. loop.c reads the lines; without a store the library's
 * reconciliation gives the verdicts (tasker/reconcile.h). With one, lines.c puts the lines into the
 * ledger and settles their batches, which gives the verdicts; ledger.c settles without lines. Both
 * work through settling.c, on rows that adopt.c adds for foreign batches. told.c prints. */
#ifndef RECONCILE_RECONCILE_H
#define RECONCILE_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/opt.h"
#include "tasker/conf.h"
#include "tasker/err.h"
#include "tasker/json.h"
#include "tasker/line.h"
#include "tasker/map.h"
#include "tasker/reconcile.h"
#include "tasker/settle.h"

struct options {
    bool follow, pass;
    int64_t settle, timeout; /* ms; -1: not given */
    int text;                /* --format: 0 json, 1 text */
    int receipts;            /* enum tsk_receipts */
    bool ledger, dry_run, rebuild;
    const char *since;
    struct opt_list batches;
};

/* ---- told.c: verdicts on their way to stdout, and what they make of the exit status. */

/* All batches so far. */
struct totals {
    int64_t verdicts[4]; /* by enum tsk_verdict_kind */
    int64_t steps, completed, failed, in_progress, missing, retry;
};

struct told {
    const struct options *opts;
    enum tsk_exit status;
    struct totals totals;
    struct tsk_buf line;
    /* Verdicts of a transaction, until it is committed: */
    struct tsk_buf held;
    bool within; /* a transaction */
    struct {
        struct totals totals;
        enum tsk_exit status;
        size_t len; /* of held */
    } start, batch; /* before the transaction, and before the batch at hand */
};

void told_fini(struct told *told);

/* Prints a verdict (a tsk_verdict_fn); the last line of a table. */
void told_verdict(void *told, const struct tsk_verdict *verdict);
void told_totals(const struct totals *totals);

/* The same for verdicts of a transaction: it begins, it gives a verdict, a batch is complete (and
 * is left out, or not), the transaction is committed. */
void told_restart(struct told *told);
void told_hold(struct told *told, const struct tsk_verdict *verdict);
void told_batch(struct told *told, bool leave_out);
void told_commit(struct told *told);

/* Prints what would change (--dry-run). */
void told_change(struct told *told, const struct tsk_settle_change *change);

/* ---- settling.c: the store and the settler. A service waits for an unavailable store, with one
 * warning; a filter ends. Nothing is lost then: settling can be repeated. */

struct settling {
    const struct options *opts;
    struct told *told;
    struct tsk_store *store;
    struct tsk_settler *settler;
    int64_t patience;                  /* for each transaction, ms */
    int64_t step_timeout, retry_limit; /* of foreign steps that name none */
    int64_t claim_timeout;
    bool unavailable;        /* it was reported that the store is */
    bool failed;             /* the store failed: the program ends */
    bool loud;               /* verdicts of batches without lines are printed */
    int64_t revision;        /* of the verdict with which the batch at hand ended; 0 */
    size_t done, total;      /* batches, for the progress */
    struct tsk_map *refused; /* ids of batches that the store refuses, reported */
    enum tsk_exit status;
    struct lines *lines; /* NULL: no lines are read */
};

/* Opens the store that conf names. Returns NULL with TSK_OK in *status if there is none, and with
 * the status to end with if it cannot be used, which is reported. */
struct settling *settling_new(const struct tsk_conf *conf, const struct tsk_reconcile_opts *rules,
                              const struct options *opts, struct told *told, enum tsk_exit *status);
void settling_free(struct settling *settling); /* NULL is fine */

/* The following return false if the store failed, which is reported and noted. */

/* Runs fn in a transaction. */
bool settling_read(struct settling *settling, tsk_store_fn *fn, void *ctx);
bool settling_write(struct settling *settling, tsk_store_fn *fn, void *ctx);

/* Settles the batches of list; how is of TSK_SETTLE_. */
bool settling_run(struct settling *settling, const struct tsk_settle_list *list, unsigned how);

/* Adds rows for foreign batches: those with news, or all of the ledger. */
bool settling_adopt(struct settling *settling, bool all);

/* Ends the batches that are out of time at now (wall ms), and gives back those that nobody
 * accepted; list is used for them. */
bool settling_overdue(struct settling *settling, int64_t now, struct tsk_settle_list *list);

/* Returns the time at which to repeat a job that began at start: its cost times times later, at
 * least least and at most most ms. *took is its duration the time before, and is replaced. The
 * smaller duration is the cost, since a wait for a locked store is no work. */
int64_t settling_pause(int64_t *took, int64_t start, int64_t times, int64_t least, int64_t most);

/* ---- adopt.c: rows for batches that no publisher of this store has recorded, by what the ledger
 * knows of them: the batch, its steps, their transitions. Steps are in the order in which the
 * ledger first names them, so that further messages only add steps. What no message names stays
 * empty (the body, a name, a handler_class); a step without a task has its step_id as task_id, and
 * a batch without known steps counts one.
 *
 * Adopts the batches with news, or all of the ledger. A batch that the store refuses is reported
 * and keeps its news. Returns 0, or -1 with err. */
int adopt_batches(struct settling *settling, bool all, struct tsk_err *err);

/* Reports that the store refuses a batch, once. */
void settling_refused(void *settling, const char *batch_id, const struct tsk_err *err);

/* ---- lines.c: lines with a store. */

struct lines *lines_new(struct settling *settling, const struct tsk_reconcile_opts *rules);
void lines_free(struct lines *lines); /* NULL is fine */

/* Takes a line, of which message is the value. Returns as tsk_reconcile_feed; 0 also for a
 * batch_error without a batch_id. */
int lines_take(struct lines *lines, struct json_object *message, const struct tsk_line *line,
               struct tsk_err *err);

/* Records and settles what is due at now (a tsk_now_ms value), or everything, with the verdicts of
 * all open batches. Returns false if the store failed. */
bool lines_turn(struct lines *lines, int64_t now, bool all);

/* Returns when the next turn is due, a tsk_now_ms value; -1: after the next line. */
int64_t lines_due(const struct lines *lines);

/* Handles a verdict of the settler, and the end of its batch, a new or a committed transaction.
 * lines_verdict and lines_settled return whether lines of the batch were read. */
bool lines_verdict(struct lines *lines, const struct tsk_verdict *verdict);
bool lines_settled(struct lines *lines, const char *batch_id);
void lines_restart(struct lines *lines);
void lines_commit(struct lines *lines);

/* ---- ledger.c: the ledger without lines. */

/* --ledger, --batch, --rebuild, as the options say. */
void ledger_settle(struct settling *settling);

/* With --follow and lines: settles what the ledger has news of when it is due at now, and what is
 * out of time. Returns false if the store failed. */
struct look {
    struct tsk_settle_list seen; /* batches with news at the last look */
    int64_t at;                  /* when the next look is due */
    int64_t overdue_at, overdue_took;
};
bool ledger_look(struct settling *settling, struct look *look);
void ledger_look_fini(struct look *look);

/* ---- loop.c: reads the operands to their end (or to a signal, while signals are open). Lines go
 * to settling, or without a store to reconcile; other lines are passed on. Returns the status. */
enum tsk_exit read_all(struct tsk_reconcile *reconcile, struct settling *settling,
                       const struct options *opts, char *const *operands, size_t count, size_t max);

#endif
