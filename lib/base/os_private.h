/* Private to lib: what the ways to start a program have in common. */
#ifndef LIB_OS_PRIVATE_H
#define LIB_OS_PRIVATE_H

#include <signal.h>
#include <stddef.h>

#include "tasker/os.h"

/* Blocks all signals of this thread, so that no handler can run in a child before it has reset
 * them. old is what to set again in the parent. */
void tsk_os_signals_block(sigset_t *old);
void tsk_os_signals_restore(const sigset_t *old);

/* In the child, between fork and exec: only what may be called in a signal handler.
 * tsk_os_become does it all, and returns, with errno, only if something failed. *keep (if keep is
 * not NULL) is a close-on-exec descriptor that stays open, renumbered. close_from closes all
 * descriptors from low on. */
void tsk_os_become(const struct tsk_spawn *spawn, const char *path, int *keep,
                   void (*close_from)(int low));

#endif
