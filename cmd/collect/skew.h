/* Whether the clocks of the workers agree with this machine's. */
#ifndef COLLECT_SKEW_H
#define COLLECT_SKEW_H

#include "tasker/json.h"
#include "tasker/map.h"

/* Takes note of a worker_status that has just come. If the clocks differ by more than a second it
 * is told by how much, once for each source. skews (tsk_map_new(free)) is what it remembers. */
void skew_status(struct tsk_map *skews, const char *source, struct json_object *message);

#endif
