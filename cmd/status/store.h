/* The parts of tasker-status store. */
#ifndef STATUS_STORE_H
#define STATUS_STORE_H

#include "status/status.h"
#include "tasker/store.h"

const char *store_kind_name(const struct tsk_store *store);

/* Has TERM, INT and HUP end --prune between two transactions. Returns the descriptor that tells of
 * them, or -1 with err. */
int store_prune_signals(struct tsk_err *err);

/* --prune. Returns the status to end with. */
enum tsk_exit store_prune(const struct options *opts, struct tsk_store *store);

#endif
