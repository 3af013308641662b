/* Who subscribes to what, for --raw. */
#ifndef PUBLISH_LISTENERS_H
#define PUBLISH_LISTENERS_H

#include <stdbool.h>

#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/map.h"

/* Takes note of a TSK_FRAME_JOIN or _LEAVE; listeners is a tsk_map_new(free). */
void listeners_note(struct tsk_map *listeners, const struct tsk_frame *frame);

/* Whether somebody subscribes to a message of topic and body; one who subscribes to a single byte
 * (tasker-collect --tap) counts only if lookers. */
bool listeners_want(const struct tsk_map *listeners, const char *topic, const struct tsk_buf *body,
                    bool lookers);

#endif
