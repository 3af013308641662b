/* The flow of tasks in a store: what follows from the states of their steps (flow.h) is read and
 * written, within the transaction that changed these. Part of what is derived from the ledger:
 * doing it again gives the same rows. */
#ifndef TASKER_FLOW_STORE_H
#define TASKER_FLOW_STORE_H

#include "tasker/store.h"

/* Brings tasks up to date, each once: steps.waits_for, steps that are cancelled or skipped because
 * of those before them, the task's own state and their transitions; and has the commit wake those
 * who watch. A task that an operator has ended keeps that state. tasks, which may have one several
 * times, is put into ascending order: each is locked, and so no two who do so wait for each other.
 * Returns 0, or -1.
 */
int tsk_flow_settle_all(struct tsk_store *store, int64_t *tasks, size_t count,
                        struct tsk_err *err);

#endif
