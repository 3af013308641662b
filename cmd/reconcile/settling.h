/* The store's part of tasker-reconcile. */
#ifndef RECONCILE_SETTLING_H
#define RECONCILE_SETTLING_H

#include "reconcile/told.h"
#include "reconcile/adopt.h"
#include "tasker/conf.h"
#include "tasker/json.h"
#include "tasker/map.h"

/* A result that was read and that the ledger may not have. */
struct read_line {
    char *raw, *batch_id, *source; /* owned */
    size_t len;
    const char *type; /* static; NULL: several */
    int64_t step_id, offset;
    char *told; /* owned: a reserved source that it tells, at told_offset; NULL: it tells none */
    int64_t told_offset;
};

struct settling {
    const struct options *opts;
    struct told *told;
    struct tsk_store *store;
    struct tsk_settler *settler;
    struct tsk_adopt adopt;
    int64_t patience, claim_timeout;
    bool away;           /* it was told that the store is */
    bool loud;           /* verdicts from the store are printed */
    int64_t told_before; /* revision of the verdict that the batch at hand had at its end; 0 */
    size_t done, total;  /* batches */
    struct tsk_map *refused; /* ids of batches that the store does not take; told already */
    enum tsk_exit status;
    /* settling_lines.c: of the lines that are read */
    struct tsk_map *touched; /* struct touched by batch_id */
    struct read_line *lines; /* not in the ledger yet */
    size_t count, cap, bytes;
    int64_t due; /* -1: nothing is to be done */
    /* settling_look.c */
    struct tsk_settle_list seen; /* batches that had news at the last look */
    int64_t look_at;
    int64_t overdue_at, overdue_took; /* the same for overdue batches; what the last look took */
};

/* Connects to the store that conf names. Returns NULL with TSK_OK in *status if there is none, and
 * with what to end with if it cannot be used, which is told. */
struct settling *settling_new(const struct tsk_conf *conf, const struct tsk_reconcile_opts *rules,
                              const struct options *opts, struct told *told, enum tsk_exit *status);
void settling_free(struct settling *settling); /* NULL is fine */

/* Does fn in a transaction (write or read). While following, a store that is away is waited for.
 * Returns false if it failed, which is told and noted in status. */
bool settling_do(struct settling *settling, bool write, tsk_store_fn *fn, void *ctx);

/* Settles the batches of list. The same. */
bool settling_run(struct settling *settling, const struct tsk_settle_list *list, unsigned how);

/* Finds those that were claimed and that nobody has accepted in time, into list, and gives them
 * back or ends them. The same. */
bool settling_give_back(struct settling *settling, int64_t now, struct tsk_settle_list *list);

/* Ends the batches of list that are out of time at now (wall ms), in the ledger. The same. */
bool settling_time_out(struct settling *settling, int64_t now, const struct tsk_settle_list *list);

/* Gives rows to batches that only the ledger knows: those with news, or all. The same. */
bool settling_adopt(struct settling *settling, bool all);

/* Finds batches, replacing list: all that have news, or are out of time at now. The same. */
bool settling_find_news(struct settling *settling, struct tsk_settle_list *list);
bool settling_find_overdue(struct settling *settling, int64_t now, struct tsk_settle_list *list);

/* Returns when to do again what began at start: its cost times times later, and at least least and
 * at most most ms later. *took is what it took the time before, and is replaced. The smaller of
 * both is its cost, since the store may have been locked meanwhile, and waiting is no work. */
int64_t settling_pause(int64_t *took, int64_t start, int64_t times, int64_t least, int64_t most);

/* --- Of lines (settling_lines.c). */

/* A line was read: message is what it says, raw its text. */
void settling_line(struct settling *settling, struct json_object *message, const char *raw,
                   size_t len);

/* Frees the lines that are not in the ledger yet. */
void settling_forget_lines(struct settling *settling);

/* A verdict on batch_id was told. */
void settling_verdict(struct settling *settling, const char *batch_id);

/* Does what is due at now, or all there is; and, if following, looks at the ledger from time to
 * time. Returns false if the store failed: then it is time to end. */
bool settling_turn(struct settling *settling, int64_t now, bool all);

/* When the next turn is due, a tsk_now_ms value; -1: when there is another line. */
int64_t settling_due(const struct settling *settling);

/* --- Of the ledger (settling_look.c). */

/* Settles what the ledger has news of (with lines that are read: what it had news of a look ago,
 * too, since those lines may be on their way), and what is out of time. */
bool settling_look(struct settling *settling);

/* --ledger, --batch, --rebuild, as opts say. Returns the status, without that of the verdicts. */
enum tsk_exit settling_ledger(struct settling *settling);

#endif
