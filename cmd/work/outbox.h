/* The sending half of the reliable stream (tasker(7), PROTOCOL): what a worker has sent is kept
 * until a collector has confirmed it, within limits, and can be sent again. Pure: no sockets, and
 * the time is passed in. */
#ifndef TASKER_OUTBOX_H
#define TASKER_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"

struct tsk_outbox;

/* How long a confirmed result is still held for a collector that comes late (one that learns of
 * this worker only by a receipt), in ms. */
#define TSK_OUTBOX_KEEP_MS 10000

/* Returns an outbox that keeps at most limit messages, max_bytes of them, each at most max_age ms.
 */
struct tsk_outbox *tsk_outbox_new(int64_t limit, int64_t max_bytes, int64_t max_age);
void tsk_outbox_free(struct tsk_outbox *outbox); /* NULL is fine */

/* The offset that the next message will have; the first is 1. */
int64_t tsk_outbox_next(const struct tsk_outbox *outbox);

/* Keeps a copy of body under the next offset. topic is borrowed for ever (a constant). */
void tsk_outbox_add(struct tsk_outbox *outbox, const char *topic, const char *body, size_t len,
                    int64_t now);

struct tsk_outbox_entry {
    const char *topic, *body;
    size_t len;            /* of body */
    struct tsk_blob *blob; /* "TOPIC BODY"; borrowed, hold it to keep it */
};

/* Finds what is held under offset. Returns false if it is not there (any more, or yet). */
bool tsk_outbox_get(const struct tsk_outbox *outbox, int64_t offset,
                    struct tsk_outbox_entry *entry);

/* The bytes of what is held from offset on (bodies, as the limit counts them). */
int64_t tsk_outbox_bytes(const struct tsk_outbox *outbox, int64_t offset);

/* A collector with an address of its own comes, confirms all up to offset, or goes. A message is
 * forgotten when all that are there have confirmed it (and some time after, see above). One that
 * comes twice is there until it has gone twice: after a broken connection the new one can be seen
 * before the end of the old one. */
void tsk_outbox_join(struct tsk_outbox *outbox, const char *collector);
void tsk_outbox_leave(struct tsk_outbox *outbox, const char *collector);
void tsk_outbox_confirm(struct tsk_outbox *outbox, const char *collector, int64_t offset);

/* Returns what collector has confirmed, or -1 if it is not there. */
int64_t tsk_outbox_confirmed(const struct tsk_outbox *outbox, const char *collector);
size_t tsk_outbox_collectors(const struct tsk_outbox *outbox);

/* The id of a collector that was there twice at each call for least ms (an old connection is known
 * to be dead before that), or NULL. To be called now and then. */
const char *tsk_outbox_twice(struct tsk_outbox *outbox, int64_t now, int64_t least);

/* Forgets what is confirmed or over a limit. Call it now and then. */
void tsk_outbox_expire(struct tsk_outbox *outbox, int64_t now);

/* The oldest offset held (next if none), and the oldest that nobody has confirmed (next if none).
 */
int64_t tsk_outbox_oldest(const struct tsk_outbox *outbox);
int64_t tsk_outbox_unconfirmed(const struct tsk_outbox *outbox);

/* How many messages were given up before anybody had confirmed them. */
int64_t tsk_outbox_lost(const struct tsk_outbox *outbox);

#endif
