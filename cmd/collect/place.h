/* The place in its stream of a message that cannot be read. */
#ifndef COLLECT_PLACE_H
#define COLLECT_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/message.h"

/* Finds the last "source" and "offset" in a text that is no JSON, or a piece of some: workers write
 * them last. Returns whether there are both, as the protocol allows them; they may be anything's.
 */
bool place_guess(const char *text, size_t len, char source[TSK_ID_SIZE], int64_t *offset);

#endif
