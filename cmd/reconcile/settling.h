/* The store's part of tasker-reconcile. */
#ifndef RECONCILE_SETTLING_H
#define RECONCILE_SETTLING_H

#include "reconcile/told.h"
#include "reconcile/adopt.h"
#include "tasker/conf.h"
#include "tasker/json.h"
#include "tasker/map.h"

struct settling;

/* Connects to the store that conf names. Returns NULL with TSK_OK in *status if there is none, and
 * with what to end with if it cannot be used, which is told. */
struct settling *settling_new(const struct tsk_conf *conf, const struct tsk_reconcile_opts *rules,
                              const struct options *opts, struct told *told, enum tsk_exit *status);
void settling_free(struct settling *settling); /* NULL is fine */
enum tsk_exit settling_status(const struct settling *settling);

/* --- Of lines. */

/* A line was read: message is what it says, raw its text. */
void settling_line(struct settling *settling, struct json_object *message, const char *raw,
                   size_t len);

/* A verdict on batch_id was told. */
void settling_verdict(struct settling *settling, const char *batch_id);

/* Does what is due at now, or all there is; and, if following, looks at the ledger from time to
 * time. Returns false if the store failed: then it is time to end. */
bool settling_turn(struct settling *settling, int64_t now, bool all);

/* When the next turn is due, a tsk_now_ms value; -1: when there is another line. */
int64_t settling_due(const struct settling *settling);

/* --- Of the ledger. */

/* --ledger, --batch, --rebuild, as opts say. Returns the status, without that of the verdicts. */
enum tsk_exit settling_ledger(struct settling *settling);

#endif
