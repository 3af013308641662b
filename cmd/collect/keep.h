/* Between receiving and printing: the ledger. A message goes into the store first; when it is
 * durable there, it is printed and may be confirmed. Without a store all is printed at once. */
#ifndef COLLECT_KEEP_H
#define COLLECT_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collect/collect.h"

/* What a message is to be printed as: one line, or several of one batch. */
struct keep_line;

/* Adds one to lines (NULL at first). text is copied; NULL is the message as it came. */
void keep_add(struct keep_line **lines, const struct result *result, const char *text, size_t len);

/* Takes lines, which may be NULL. source (NULL: of no stream) and offset are its place; batch_id is
 * NULL where it has none; reason is why it could not be read, or NULL. A message that is nothing of
 * these is not kept, nor one of no stream when far too much waits: that is counted. Without a store
 * nothing is kept. */
void keep_message(struct collect *c, const struct tsk_frame *frame, const char *source,
                  int64_t offset, struct keep_line *lines, const char *batch_id,
                  const char *reason);

/* There is a receipt of a batch: the first one is looked for in the store, which should know it. */
void keep_receipt(struct collect *c, const char *batch_id);

/* Prints a batch_error of the collector's own. All collectors that lose the same batch make the
 * same entry of the ledger by it. */
void keep_own(struct collect *c, const char *batch_id, struct json_object *error);

/* A batch is due: it is given up, but with a store only after a look whether another collector had
 * what is missing, and what the ledger has is printed. See batch_due_fn. */
bool keep_due(void *ctx, const struct batch *batch, enum batch_due why);

/* look.c: prints what was found of a batch and not printed yet, and gives it up if that is not all.
 */
void keep_found(struct collect *c, const struct tsk_ledger_entry *entry);

/* Prints what has become durable, and tells of a store that fails or is back. Returns whether there
 * was anything. */
bool keep_pump(struct collect *c);

/* Tells the other parts if messages have waited for so long that silence tells nothing. */
void keep_look(struct collect *c);

/* Whether so much waits that the bus is not to be read now. If that lasts, until keep_deadline (-1:
 * it does not), c->refusing is set instead: what comes is read, and not taken. */
bool keep_waits(struct collect *c);
int64_t keep_deadline(const struct collect *c);

/* The end: waits until all is durable, for some time at most, and tells what is not. */
void keep_finish(struct collect *c);

int keep_open(struct collect *c, const struct tsk_conf *conf, struct tsk_err *err);
void keep_close(struct collect *c);

#endif
