/* Private to lib/bus_gate.c and lib/probe.c: looking up a name apart (apart.h), since
 * getaddrinfo knows no time limit, and a name server that is silent holds it for 20 s
 * and more. */
#ifndef LIB_LOOKUP_H
#define LIB_LOOKUP_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

struct tsk_lookup;

/* Begins to look host up (port may be NULL) as hints say. Returns it, to be given to
 * tsk_lookup_end; never NULL: where no thread is to be had it is over at once. */
struct tsk_lookup *tsk_lookup_start(const char *host, const char *port,
                                    const struct addrinfo *hints);

/* Waits until it is over, or until deadline (of tsk_now_ms). Returns whether it is over. */
bool tsk_lookup_wait(struct tsk_lookup *lookup, int64_t deadline);

/* Of one that is over: NULL if the name is known, else why not, to stand behind "its host ": "is
 * not known: ...", or "cannot be looked up: ..."; good until the end. */
const char *tsk_lookup_why_not(struct tsk_lookup *lookup);

/* Of one that is over: whether the name servers say that there is no such name. */
bool tsk_lookup_unknown(const struct tsk_lookup *lookup);

/* Of one that is over: what was found, in its order; borrowed. NULL for nothing. */
const struct addrinfo *tsk_lookup_found(const struct tsk_lookup *lookup);

/* Nobody wants to know any more. Never waits: a thread that is still at it frees all when it is
 * done. NULL is fine. */
void tsk_lookup_end(struct tsk_lookup *lookup);

#endif
