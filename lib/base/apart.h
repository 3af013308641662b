/* Private to lib: work that may block for long, in a thread of its own. It cannot be called off, so
 * the thread is detached, and what it works on belongs to both sides: the one that lets go last
 * frees it. A program may end while a thread is still at it. */
#ifndef LIB_APART_H
#define LIB_APART_H

#include <stdbool.h>
#include <stdint.h>

struct tsk_apart;

typedef void tsk_apart_fn(void *ctx);

/* Begins run(ctx) in a thread. done(ctx) is called when both sides have let go. Returns it, to be
 * given to tsk_apart_end; never NULL: if no thread can start it is over at once (tsk_apart_failed).
 */
struct tsk_apart *tsk_apart_start(tsk_apart_fn *run, tsk_apart_fn *done, void *ctx);

/* Waits until it is over, or until deadline (of tsk_now_ms). Returns whether it is over: then the
 * caller may look at ctx. */
bool tsk_apart_wait(struct tsk_apart *apart, int64_t deadline);

/* The errno of a thread that could not start, or 0. */
int tsk_apart_failed(const struct tsk_apart *apart);

/* Lets go of it and of ctx. Never waits; NULL is fine. */
void tsk_apart_end(struct tsk_apart *apart);

#endif
