/* tasker-publish --raw: recorded messages onto the batch endpoint, as they are. */
#ifndef PUBLISH_RAW_H
#define PUBLISH_RAW_H

#include <stdbool.h>
#include <stddef.h>

#include "tasker/conf.h"

/* Sends the topic and message of each tapped line of count files (stdin if there are none), in
 * their order, each when somebody subscribes to it; at once, or at the pace in which they were
 * recorded. Other lines are passed on. At the end it prints how many were sent. Returns the status
 * to end with. */
enum tsk_exit raw_run(const struct tsk_conf *conf, char *const *files, size_t count,
                      bool recorded_pace);

#endif
