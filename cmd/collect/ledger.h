/* The ledger writer: messages go into the store behind the caller's back, in groups, each a
 * transaction, in the order in which they were given. A thread of its own with a connection of its
 * own does that, so nothing here ever waits for the store.
 *
 * A store that is away, locked or full is tried again, with pauses from 10 ms to 1 s, for as long
 * as it takes; what was given waits in memory meanwhile. The caller stops giving more when
 * tsk_ledger_fill says that it is too much.
 *
 * A message is in the ledger once, however often it is given and by whom: source and offset say
 * which it is. All functions are for one thread. */
#ifndef COLLECT_LEDGER_H
#define COLLECT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/conf.h"
#include "tasker/err.h"
#include "tasker/store.h"

struct tsk_ledger;

/* Returns a writer for the store that conf names, which connects at once; NULL with kind TSK_OK if
 * that is none, NULL with another kind if there can be no writer. collector_id (copied, a name) is
 * noted with each message. */
struct tsk_ledger *tsk_ledger_new(const struct tsk_conf *conf, const char *collector_id,
                                  struct tsk_err *err);

/* Gives up what is not durable yet, and disconnects. It may have to wait until the store answers,
 * some 100 ms. The ctx of entries that were not taken is the caller's business: see
 * tsk_ledger_drop. NULL is fine. */
void tsk_ledger_free(struct tsk_ledger *ledger);

/* For people: the store, as tsk_store_name has it. Borrowed. */
const char *tsk_ledger_name(const struct tsk_ledger *ledger);

/* Gives an entry, all of which is copied but ctx. It always succeeds. */
void tsk_ledger_append(struct tsk_ledger *ledger, const struct tsk_ledger_entry *entry);

/* Asks what the ledger has of a batch, by whomever, after all that was given before: the good
 * messages but for those of source except. It is taken as an entry, in its turn; its ctx is NULL.
 */
void tsk_ledger_look(struct tsk_ledger *ledger, const char *batch_id, const char *except,
                     int64_t at);

/* Asks which batches are open, that is published and not settled to an end, and whose worker is
 * known. It is taken as an entry whose batch_id is NULL; what is found are receipts, with "reached"
 * true where the ledger has a message of that worker. */
void tsk_ledger_look_open(struct tsk_ledger *ledger, int64_t at);

/* Asks whether the store has a batch as published. It is taken as an entry whose offset is 1; what
 * is found is one row if it has. */
void tsk_ledger_look_known(struct tsk_ledger *ledger, const char *batch_id, int64_t at);

/* Nothing more is at hand: a group that is not full need not wait for more. */
void tsk_ledger_flush(struct tsk_ledger *ledger);

/* Takes the next entry, in the order in which they were given, if it is durable. It is good until
 * the next call, and so are all its texts. Returns NULL if there is none. */
const struct tsk_ledger_entry *tsk_ledger_take(struct tsk_ledger *ledger);

/* The same whether it is durable or not, once the writer is to be freed: no more can be given. */
const struct tsk_ledger_entry *tsk_ledger_drop(struct tsk_ledger *ledger);

/* Can be read when tsk_ledger_take has something or the state has changed; tsk_ledger_state makes
 * that end. */
int tsk_ledger_fd(const struct tsk_ledger *ledger);

struct tsk_ledger_state {
    bool ever;          /* the store could be used once */
    bool failing;       /* it cannot be used now: told at once, or, where that may be just another's
                         * lock, after a second */
    struct tsk_err err; /* why; kind TSK_OK while it is not failing */
    int64_t since;      /* tsk_now_ms; since when */
    int64_t written;    /* entries that became durable */
    int64_t groups;     /* transactions that did that */
};
void tsk_ledger_state(struct tsk_ledger *ledger, struct tsk_ledger_state *state);

/* Entries that are not durable (or looked for) yet. */
int64_t tsk_ledger_waiting(struct tsk_ledger *ledger);

/* Of all that were not taken: their bytes in percent of store.queue_bytes, which may be over 100,
 * for the caller decides when it is too much; and since when the oldest is there (its at; -1: there
 * is none). */
int tsk_ledger_fill(const struct tsk_ledger *ledger);
int64_t tsk_ledger_oldest(const struct tsk_ledger *ledger);

#endif
