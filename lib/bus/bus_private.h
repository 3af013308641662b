/* What the files of this folder share. */
#ifndef LIB_BUS_PRIVATE_H
#define LIB_BUS_PRIVATE_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <zmq.h>

#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/map.h"

enum { TSK_LEVEL_INFO = 2 }; /* of log.level: its place among the choices */

/* What is to be looked at from time to time. */
struct tsk_bus_due {
    struct tsk_map *all;
    int64_t next; /* the earliest time; -1: none */
};

struct tsk_bus {
    void *ctx, *socket;
    enum tsk_channel channel;
    enum tsk_side side;
    bool binds;
    bool sent;    /* anything but subscriptions */
    bool touched; /* any call into libzmq may have used up what the descriptor would tell */
    int fd;
    char *endpoint;        /* as tsk_bus_endpoint tells it */
    size_t longest;        /* message that is given whole */
    int64_t reconnect_max; /* ms; see tsk_bus_options_for */
    char **places;         /* all, in canonical form */
    size_t count, cap;     /* of places */
    struct tsk_bus_life *life;
    struct tsk_bus_due gate;   /* hosts by name, which wait to be looked up */
    struct tsk_bus_due awaits; /* endpoints in canonical form, and who is awaited there */
    struct tsk_bus_backlog *backlog;
    struct tsk_bus_alive *alive;
    struct tsk_map *subscribers; /* TSK_SENDER: the connections that subscribed, by topic */
    zmq_msg_t part;
    struct tsk_buf head; /* the beginning of one that is too long */
    struct tsk_buf text; /* of the message that tsk_bus_recv gave last */
};

/* ---- bus_socket.c */

/* Fills err with "cannot WHAT ON: " and what libzmq says (on may be NULL). Returns -1. */
int tsk_bus_zmq_err(struct tsk_err *err, enum tsk_exit kind, const char *what, const char *on);

/* Has libzmq connect to a place. Returns 0, or -1 with zmq_errno. */
int tsk_bus_reach(struct tsk_bus *bus, const char *place);

struct tsk_bus_alive *tsk_bus_alive_new(int64_t interval); /* ms */
void tsk_bus_alive_free(struct tsk_bus_alive *alive);      /* NULL is fine */
struct tsk_map *tsk_bus_subscribers_new(void);

/* Has a receiver say from now on that it is alive. */
void tsk_bus_alive_say(struct tsk_bus *bus);

/* Says so, or ends connections that do not; and when it is to be called next, -1: not yet. */
void tsk_bus_alive_turn(struct tsk_bus *bus);
int64_t tsk_bus_alive_deadline(const struct tsk_bus *bus);

/* Counts what libzmq holds; to be freed when libzmq is done with the bus. */
struct tsk_bus_backlog *tsk_bus_backlog_new(void);

/* Sets all options of a new socket, before it binds or connects. Returns 0 or -1. */
int tsk_bus_options(void *socket, const struct tsk_conf *conf, enum tsk_channel channel,
                    enum tsk_side side, bool binds, struct tsk_err *err);

/* Sets what depends on the endpoint that is bound or connected next. */
void tsk_bus_options_for(struct tsk_bus *bus, const char *endpoint);

/* How many threads the context of a bus that connects has: see tsk_bus_options_for. */
#define TSK_BUS_THREADS 2

/* ---- bus_life.c */

/* Begins to watch the socket of bus, before it binds or connects. Returns NULL with err if it
 * cannot. */
struct tsk_bus_life *tsk_bus_life_open(const struct tsk_bus *bus, const struct tsk_conf *conf,
                                       struct tsk_err *err);

/* From now on it does not connect there again. */
void tsk_bus_life_forget(struct tsk_bus_life *life, const char *place);

/* Ends that, while the socket is still open. NULL is fine. */
void tsk_bus_life_close(struct tsk_bus_life *life, void *socket);

/* ---- bus_gate.c */

/* Returns the gate, where places wait whose host is a name, until that is known. To free its map
 * ends all lookups and never waits. */
struct tsk_bus_due tsk_bus_gate(void);

/* Takes a place whose host is a name: it is connected to when the name is known. Returns false for
 * any other. */
bool tsk_bus_gate_add(struct tsk_bus *bus, const char *place);

/* Removes a place. Returns whether it still waited there. */
bool tsk_bus_gate_remove(struct tsk_bus *bus, const char *place);

/* Looks after the lookups, never waiting, and connects where one has succeeded. Returns true with
 * an event, all but its field hidden, if there is something to tell: then it is to be called again.
 */
bool tsk_bus_gate_next(struct tsk_bus *bus, struct tsk_life *out);

/* ---- bus_await.c */

/* Returns the endpoints of a bus. To free their map ends all probes and never waits. */
struct tsk_bus_due tsk_bus_awaits(void);
void tsk_bus_awaits_add(struct tsk_bus *bus, const char *place);

/* Takes note of an event, told or not. */
void tsk_bus_awaits_note(struct tsk_bus *bus, const struct tsk_life *event);

/* The next event of its own, all but its field hidden. */
bool tsk_bus_awaits_next(struct tsk_bus *bus, struct tsk_life *out);

/* ---- bus_endpoint.c */

/* Writes the form of endpoint that can be connected to, and that is the same for all ways to write
 * it: this machine is 127.0.0.1 or [::1]. Cut if it is too long. */
void tsk_bus_canonical(const char *endpoint, char *out, size_t size);

#define TSK_BUS_NAME_SIZE 256

/* Whether the host of a canonical endpoint is a name, which has to be looked up: writes it. */
bool tsk_bus_host_name(const char *endpoint, char *out, size_t size);

/* The port of a tcp endpoint; 0 if there is none. */
int tsk_bus_port(const char *endpoint);

/* The path of an ipc endpoint that stands in the file system, or NULL. */
const char *tsk_bus_ipc_path(const char *endpoint);

/* Whether a process listens on an ipc endpoint. libzmq would take the path away from it. */
bool tsk_bus_ipc_taken(const char *endpoint);

/* Whether a file that is no socket stands at the path of an ipc endpoint. libzmq would remove it.
 */
bool tsk_bus_ipc_blocked(const char *endpoint);

/* Looking up a name apart (apart.h), since getaddrinfo knows no time limit, and a name server that
 * is silent holds it for 20 s and more. */

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
