/* The life of the sockets of a bus, for people: who came, who went, what is tried again, and why
 * something does not connect. It is told only where log.level is info or more when the bus is
 * opened (-v makes it so), but for what is awaited. A bus is to be asked in any case: what answered
 * with no sensible handshake is connected to again here, and by nobody else, and so is a host whose
 * name had to be looked up first. */
#ifndef TASKER_BUS_LIFE_H
#define TASKER_BUS_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "tasker/bus.h"

enum tsk_life_kind {
    TSK_LIFE_LISTENING,    /* bound */
    TSK_LIFE_ACCEPTED,     /* a peer connected to us */
    TSK_LIFE_CONNECTED,    /* we connected to a peer */
    TSK_LIFE_READY,        /* the handshake succeeded: it speaks ZeroMQ, and its type fits */
    TSK_LIFE_REFUSED,      /* the handshake failed */
    TSK_LIFE_DISCONNECTED, /* by either side, or because no heartbeat came */
    TSK_LIFE_RETRYING,     /* not connected: tried again after interval */
    TSK_LIFE_FAILED,       /* the system refused something, or the host is not known */
    TSK_LIFE_LOOKUP,       /* the host is being looked up */
    TSK_LIFE_SLOW,         /* that takes long; once for each, and whatever the level is */
    TSK_LIFE_UNREACHED,    /* nobody is there who is awaited (tsk_bus_await); at any level */
    TSK_LIFE_REACHED,      /* that is over; at any level */
    TSK_LIFE_KINDS
};

#define TSK_LIFE_ENDPOINT_SIZE 256

struct tsk_life {
    enum tsk_life_kind kind;
    char endpoint[TSK_LIFE_ENDPOINT_SIZE]; /* ours where we bind, the peer's where we connect */
    char peer[256];   /* ACCEPTED, DISCONNECTED, REFUSED: the peer's address if known; or "".
                       * UNREACHED, REACHED: who is awaited */
    char reason[160]; /* REFUSED, FAILED, SLOW, UNREACHED: why; otherwise "" */
    int64_t interval; /* RETRYING, REFUSED, FAILED: ms until it is tried again; 0: not known.
                       * UNREACHED, REACHED: for how long nobody was there */
    bool bound;       /* UNREACHED: it is bound here, and nobody comes */
    bool ever, again; /* UNREACHED: somebody was there before; it was told before */
    int64_t hidden;   /* events of this kind and endpoint since the last one that was given */
};

/* The name of a kind, as "disconnected"; static storage. */
const char *tsk_life_name(enum tsk_life_kind kind);

/* The descriptor to poll for reading, edge-triggered as tsk_bus_fd. */
int tsk_bus_life_fd(const struct tsk_bus *bus);

/* When tsk_bus_life is to be called at the latest; -1: not before the descriptor says so. */
int64_t tsk_bus_life_deadline(const struct tsk_bus *bus);

/* Takes the next event, never blocking, connects again what is due, and connects to names that have
 * been looked up. What repeats itself without end, as trying an endpoint that nobody listens at, is
 * given at first and then with growing pauses, up to a minute. Returns false if there is none. */
bool tsk_bus_life(struct tsk_bus *bus, struct tsk_life *life);

/* For a bus that connects: returns whether, by what tsk_bus_life has seen, the handshake with so
 * many of its endpoints (or with all, if it has fewer) succeeded and they are still connected. */
bool tsk_bus_connected(const struct tsk_bus *bus, size_t wanted);

/* From now on somebody waits for a peer at endpoint (NULL: at all that the bus has); who is its
 * name for people. If none is there for patience ms, UNREACHED tells why, again each minute, and
 * REACHED that it is over. An endpoint that is awaited already stays as it is. A steps sender that
 * awaits all is the judge itself: it is not over before tsk_bus_await_end, since a peer that
 * connects need not be a worker. */
void tsk_bus_await(struct tsk_bus *bus, const char *endpoint, const char *who, int64_t patience);

/* Nobody waits any more. */
void tsk_bus_await_end(struct tsk_bus *bus);

/* Whether a peer ever made a handshake at that endpoint, and if not, what was seen last (NULL: not
 * known; borrowed). An endpoint that the bus does not have was never reached. */
bool tsk_bus_reached(const struct tsk_bus *bus, const char *endpoint);
const char *tsk_bus_why_not(const struct tsk_bus *bus, const char *endpoint);

#endif
