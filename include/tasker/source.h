/* Sources of the ledger that tasker's own programs write under: a message has its place there by
 * what it is made of, so that it is in the ledger once. What comes from a peer never has one of
 * these, or anybody could give a batch back or end its time. */
#ifndef TASKER_SOURCE_H
#define TASKER_SOURCE_H

#include <stdbool.h>

#define TSK_SOURCE_COLLECTOR "collector:" /* what came without a place; and a UUID */
#define TSK_SOURCE_LINES "lines:"         /* the same of lines that are read; and the batch_id */
#define TSK_SOURCE_LOST "lost:"           /* a collector's own error; and the batch_id */
#define TSK_SOURCE_PUBLISH "publish:"     /* a publisher's; and the batch_id */
#define TSK_SOURCE_READY "ready:"         /* that a batch cannot be sent; and the batch_id */
#define TSK_SOURCE_RECONCILE "reconcile:" /* what is made of the clock; and the batch_id */

/* The reason for which a message that tells one is refused. */
#define TSK_SOURCE_RESERVED "its source is a name that only tasker itself gives"

/* Whether source is one of these. */
bool tsk_source_reserved(const char *source);

#endif
