/* The endpoints that receipts name: connected to while something can still come from there.
 *
 * A port is not a worker. When one has died, another may get its port, and that one may belong to
 * others: what it sends is not ours to take, and least of all to confirm, since its own collector
 * would then miss it. So a worker that tells, in its worker_status, that it is at an endpoint which
 * a receipt gave for another is a stranger, unless a receipt names it too. */
#ifndef COLLECT_ENDPOINTS_H
#define COLLECT_ENDPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tasker/json.h"
#include "tasker/line.h"

struct collect;
struct endpoints;

/* grace is for how long (ms) a worker that is not heard may still be there, keep for how long it
 * keeps results that nobody collects: an endpoint of which nothing was heard for so long is left.
 */
struct endpoints *endpoints_new(int64_t grace, int64_t keep);
void endpoints_free(struct endpoints *endpoints); /* NULL is fine */

/* Takes a receipt: connects to where it says that the results will be, if that is new (not if the
 * workers come to us), and knows its worker from now on. line is where it came from. */
void endpoints_receipt(struct collect *c, struct json_object *receipt,
                       const struct tsk_line *line);

/* Takes a worker_status, in which source says whether it is ending (stopped). A stranger is known
 * by it, and left where the worker that a receipt named was not heard for the time of grace. */
void endpoints_status(struct collect *c, const char *source, struct json_object *message,
                      bool stopped);

/* Whether the worker of a batch was ever within reach of this collector (a batch_reached_fn): a
 * handshake was made at the endpoint that the receipt names, or else the configured
 * one; or the ledger has messages of it. */
struct batch;
bool endpoints_reached(void *c, const struct batch *batch);

/* Whether what comes from source is not to be taken. */
bool endpoints_is_stranger(const struct endpoints *endpoints, const char *source);

/* Leaves the endpoints from which nothing can come any more, and tells when to look again (-1: at
 * no time). */
void endpoints_check(struct collect *c);
int64_t endpoints_deadline(const struct endpoints *endpoints);

#endif
