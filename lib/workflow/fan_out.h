/* What flow_store.c and fan_out.c share. */
#ifndef LIB_FAN_OUT_H
#define LIB_FAN_OUT_H

#include "tasker/store.h"

/* Makes the steps of a task that its done steps ask for (steps.creates) and that are not there,
 * takes away those that nobody asks for and nobody has claimed, and brings its dependencies up to
 * date; the task's row is locked. Returns whether anything has changed, or -1. */
int tsk_fan_out(struct tsk_store *store, int64_t task, struct tsk_err *err);

#endif
