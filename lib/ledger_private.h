/* Private to lib/ledger*.c. */
#ifndef LIB_LEDGER_PRIVATE_H
#define LIB_LEDGER_PRIVATE_H

#include "tasker/ledger.h"

/* An entry that waits: one piece of memory with all its texts. */
struct tsk_ledger_node {
    struct tsk_ledger_node *next;
    struct tsk_ledger_entry entry;
    int64_t number;      /* of all that were given, from 1 */
    int64_t received_at; /* of the calendar, in ms */
    size_t size;         /* bytes of memory */
};

/* Returns a copy of entry (but for its ctx) with that source, received now; to be freed with
 * free().
 */
struct tsk_ledger_node *tsk_ledger_node_new(const struct tsk_ledger_entry *entry,
                                            const char *source);

/* Writes a group, in one transaction, in order. Returns 0, or -1 with err. */
int tsk_ledger_write(struct tsk_store *store, const char *collector_id,
                     struct tsk_ledger_node **nodes, size_t count, struct tsk_err *err);

#endif
