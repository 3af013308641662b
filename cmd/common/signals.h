/* Signals as something that a poller can wait for. */
#ifndef COMMON_SIGNALS_H
#define COMMON_SIGNALS_H

#include <stdbool.h>

#include "tasker/err.h"

/* Bits of what signals_read returns. */
enum { SIGNALS_STOP = 1, SIGNALS_CHILD = 2 };

/* From now on TERM, INT and HUP (and CHLD, if children) no longer act but make the returned
 * descriptor readable, also where they were blocked. TERM, INT or HUP that was ignored stays so.
 * Returns -1 with err. Once a process. */
int signals_open(bool children, struct tsk_err *err);

/* Takes what has come since the last call, never blocking. *stops (may be NULL) is raised by the
 * number of TERM, INT and HUP. Returns the bits. */
int signals_read(int *stops);

/* Whether TERM, INT or HUP ever came, read or not; and the descriptor again, -1 before it is open:
 * to wait for a stop without taking it. */
bool signals_stopped(void);
int signals_fd(void);

/* Gives the signals their old effect back. */
void signals_close(void);

#endif
