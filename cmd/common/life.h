/* What happens to the sockets of a bus, told on stderr in one way by all programs (-v). With a
 * bus of NULL all of it does nothing. */
#ifndef COMMON_LIFE_H
#define COMMON_LIFE_H

#include "common/diag.h"
#include "tasker/bus.h"
#include "tasker/os.h"

/* Has poller give tag (not NULL) when there is something to tell. */
void life_watch(const struct tsk_bus *bus, struct tsk_poller *poller, void *tag);

/* Tells all that has happened since the last call; to be called each turn, before waiting, which
 * is to last until life_deadline (-1: any time) at most. */
void life_tell(struct tsk_bus *bus);
int64_t life_deadline(const struct tsk_bus *bus);

/* Tells of a subscription or its end; of any other frame nothing. */
void life_topic(const struct tsk_bus *bus, const struct tsk_frame *frame);

/* Closes bus and tells so; at that level, if the time to linger was over before all had left. */
void life_close(struct tsk_bus *bus, enum diag_level level);

#endif
