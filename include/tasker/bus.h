/* The sockets: XPUB and XSUB behind one opaque type (tasker(7), PROTOCOL). All options are set
 * before bind and connect. A bus belongs to one thread. */
#ifndef TASKER_BUS_H
#define TASKER_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/conf.h"
#include "tasker/err.h"
#include "tasker/json.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tsk_bus;

/* A peer that misses so many heartbeats counts as dead (tasker(7), Connections). */
enum { TSK_HEARTBEATS_MISSED = 3 };

enum tsk_channel { TSK_STEPS, TSK_RESULTS };
enum tsk_side {
    TSK_SENDER,  /* the side that messages come from: publisher, worker's results; an XPUB */
    TSK_RECEIVER /* the side that subscribes: worker, collector; an XSUB */
};

/* Opens one side of a channel, and binds or connects it to the configured endpoints as
 * batch_bind or result_bind say. A tcp port of "*" binds a free one (see tsk_bus_endpoint).
 * Returns it, or NULL with kind TSK_TEMPFAIL and code EADDRINUSE if another process holds the port
 * or the ipc path (named in the text where the system can tell), TSK_UNAVAILABLE for other failures
 * to bind or connect (a file that is no socket is never taken for an ipc path), and TSK_CONFIG if
 * zeromq.enabled is false or a list is to be bound: the side that binds has one endpoint. */
struct tsk_bus *tsk_bus_open(const struct tsk_conf *conf, enum tsk_channel channel,
                             enum tsk_side side, struct tsk_err *err);

/* As tsk_bus_open with endpoints (a list by commas) in place of the configured ones, for one that
 * only looks: a receiver does not say upstream that it is alive. */
struct tsk_bus *tsk_bus_open_at(const struct tsk_conf *conf, enum tsk_channel channel,
                                enum tsk_side side, bool bind, const char *endpoints,
                                struct tsk_err *err);

/* Closes it, after sending for at most zeromq.linger (subscriptions alone are not waited for), and
 * removes the ipc path that it bound. Returns false if that time was over before all had left, or
 * libzmq gave up at it; true otherwise (also with a linger of 0, which asks for nothing). NULL is
 * fine. */
bool tsk_bus_close(struct tsk_bus *bus);

/* Whether this side binds (rather than connects). */
bool tsk_bus_binds(const struct tsk_bus *bus);

/* Connects to one more endpoint; one that it already has (or is bound to) is left as it is. A host
 * of "*", 0.0.0.0 or localhost is 127.0.0.1, and [::] is [::1]. One whose host is a name is
 * connected to when that has been looked up, apart, by calls of tsk_bus_life (bus.h) until it
 * is known. Returns 1, or 0 where it had it, or -1 with kind TSK_UNAVAILABLE. */
int tsk_bus_connect(struct tsk_bus *bus, const char *endpoint, struct tsk_err *err);

/* Ends the connection to an endpoint that tsk_bus_connect made; one that it does not have is fine.
 * What was sent there a moment ago may be lost; what came from there may still be received. It is
 * done within the next calls of tsk_bus_recv. */
void tsk_bus_disconnect(struct tsk_bus *bus, const char *endpoint);

/* The endpoint as bound, with the true port; or the first one connected. Borrowed. */
const char *tsk_bus_endpoint(const struct tsk_bus *bus);

/* For an endpoint whose host is all addresses of its machine ("*", 0.0.0.0, [::]), which no other
 * machine can connect to: returns the address that stands for it here. Else NULL. Static. */
const char *tsk_bus_any_host(const char *endpoint);

/* Whether an endpoint is on a loopback address, which no other machine can reach. */
bool tsk_bus_is_loopback(const char *endpoint);

/* The descriptor to poll for reading. It is edge-triggered: after each wait, and before each one,
 * call tsk_bus_recv until it returns 0. */
int tsk_bus_fd(const struct tsk_bus *bus);

/* Whether nothing was done with the bus since tsk_bus_recv last returned 0: then there is nothing
 * to receive unless the descriptor says so. */
bool tsk_bus_quiet(const struct tsk_bus *bus);

/* TSK_RECEIVER: subscribes to all topics that begin with prefix, or ends that. Topics of the
 * protocol end with a space ("steps "). */
void tsk_bus_subscribe(struct tsk_bus *bus, const char *prefix);
void tsk_bus_unsubscribe(struct tsk_bus *bus, const char *prefix);

/* Sends "TOPIC BODY" as one frame, never blocking: down from a sender, upstream from a receiver.
 * Returns 1 if libzmq took it, 0 if a steps sender must try later (its peer's queue is full), or
 * -1. On the results channel a message to a slow reader is dropped (tasker(7), PROTOCOL). */
int tsk_bus_send(struct tsk_bus *bus, const char *topic, const char *body, size_t len,
                 struct tsk_err *err);

/* The same with a message that is there already, "TOPIC BODY": libzmq holds it too, for as long as
 * a peer has not taken it, and copies nothing. */
int tsk_bus_send_blob(struct tsk_bus *bus, struct tsk_blob *blob, struct tsk_err *err);

/* The bytes that libzmq holds of messages sent on the results channel, since some peer has not
 * taken them; one that several have not taken counts once. libzmq itself bounds only their number,
 * for each peer (zeromq.send_hwm). */
int64_t tsk_bus_backlog(const struct tsk_bus *bus);

/* TSK_SENDER: breaks the connections of those peers that would take nothing now (their buffers in
 * the system are full), so that libzmq forgets what it holds for them, some moments later. They may
 * connect again. Returns how many. It costs some milliseconds. */
size_t tsk_bus_cut(struct tsk_bus *bus);

/* Returns how many of its peers would take nothing now. It costs as much. */
size_t tsk_bus_blocked(const struct tsk_bus *bus);

enum tsk_frame_kind {
    TSK_FRAME_MESSAGE,
    TSK_FRAME_JOIN, /* TSK_SENDER: a peer subscribed to topic */
    TSK_FRAME_LEAVE /* TSK_SENDER: a peer ended its subscription to topic, or went away */
};

#define TSK_TOPIC_SIZE 256

/* One thing received; it is good until the next call of tsk_bus_recv. */
struct tsk_frame {
    enum tsk_frame_kind kind;
    char topic[TSK_TOPIC_SIZE]; /* MESSAGE: without the space; "" where there is none or it is too
                                 * long, and body is then the whole. JOIN, LEAVE: the prefix, with a
                                 * space at its end if the peer gave one; "" is all topics. (Those
                                 * too long for any topic of ours are passed over.) */
    const char *body;           /* MESSAGE: what follows the topic; a NUL follows it */
    size_t len;                 /* bytes of body */
    const char *raw;            /* MESSAGE: as it came, several frames with a space between them */
    size_t raw_len;
    size_t whole;    /* MESSAGE: 0; or the bytes of one that is over max_message_bytes: raw and body
                      * are then just its beginning, to be refused */
    const char *all; /* MESSAGE: all that follows the topic, however long */
    size_t all_len;
};

/* Receives one thing, never blocking. Returns 1, or 0 if nothing is there, or -1. */
int tsk_bus_recv(struct tsk_bus *bus, struct tsk_frame *frame, struct tsk_err *err);

/* ---- The life of the sockets of a bus, for people: who came, who went, what is tried again, and
 * why something does not connect. It is told only where log.level is info or more when the bus is
 * opened (-v makes it so), but for what is awaited. A bus is to be asked in any case: what answered
 * with no sensible handshake is connected to again here, and by nobody else, and so is a host whose
 * name had to be looked up first. */

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

/* ---- Looking at an endpoint from outside, as tasker-status does: does anything listen there, and
 * does it speak ZMTP? It uses a libzmq context of its own for that one look and leaves nothing
 * behind.
 */

enum tsk_probe_state {
    TSK_PROBE_OK,        /* a ZMTP handshake was made */
    TSK_PROBE_NO_HOST,   /* the host name is not known */
    TSK_PROBE_REFUSED,   /* nothing listens: refused, no such socket, a stale socket file */
    TSK_PROBE_TIMEOUT,   /* no connection in time, or no way to that host, or its name not told */
    TSK_PROBE_SILENT,    /* connected, but not a byte came */
    TSK_PROBE_CLOSED,    /* connected, and closed by the peer before it said anything */
    TSK_PROBE_FOREIGN,   /* what answers does not speak ZMTP */
    TSK_PROBE_HANDSHAKE, /* it speaks ZMTP, and the handshake failed */
};

#define TSK_PROBE_STATES (TSK_PROBE_HANDSHAKE + 1)

struct tsk_probe {
    enum tsk_probe_state state;
    enum tsk_side side;   /* OK: the role that the probe played; the peer has the other one */
    char address[300];    /* the endpoint that was tried, numeric where it is tcp; "" for none */
    char peer_type[16];   /* where the handshake failed: the peer's socket type ("REP"), or "" */
    char reason[256];     /* not OK: why, for people; one line of printable ASCII */
    int64_t connect_us;   /* time until there was a connection; -1 for none */
    int64_t handshake_us; /* time until the handshake was made, from the start; -1 for none */
};

/* Connects to endpoint (tcp or ipc; a host of "*", 0.0.0.0 or [::] is the local one) and makes a
 * handshake within timeout_ms, playing side first (TSK_RECEIVER looks at one that sends), then the
 * other if the peer's socket type asks for it. If that fails it takes at most 300 ms more to find
 * out why. Looking up a host name is part of that time. Returns 0 with *probe filled in, whatever
 * was found; or -1 with kind TSK_USAGE (no endpoint, or a port of "*", which names none) or TSK_IO
 * (no sockets left here). */
int tsk_probe_endpoint(const char *endpoint, enum tsk_side side, int64_t timeout_ms,
                       struct tsk_probe *probe, struct tsk_err *err);

/* The same apart, in a thread: begins it. Returns it, to be given to tsk_probe_end. */
struct tsk_probing *tsk_probe_start(const char *endpoint, enum tsk_side side, int64_t timeout_ms);

/* What was found, or NULL while it is not over; never waits. If it could not look (no thread, no
 * socket) the state is TSK_PROBE_STATES, and reason says why. Good until tsk_probe_end. */
const struct tsk_probe *tsk_probe_result(struct tsk_probing *probing);

/* Lets go of it; never waits; NULL is fine. */
void tsk_probe_end(struct tsk_probing *probing);

/* Returns the state's name ("refused"), static storage. */
const char *tsk_probe_state_name(enum tsk_probe_state state);

/* Returns the port of a tcp endpoint that is on this machine by its numeric address or the name
 * localhost, else 0: what tsk_os_port_holder can be asked about. */
int tsk_probe_local_port(const char *endpoint);

/* ---- A message as it was seen on the wire, one JSON line each: what tasker-collect --tap records,
 * and what tasker-reconcile and tasker-publish --raw read again.
 *
 *     {"message_type":"tapped","time":"…","endpoint":"…","topic":"…","size":N,"message":{…}}
 *
 * In place of message, which is the JSON object that followed the topic, stands "raw" where that is
 * none (or nested so deep that no line has room for it): a text, in which U+FFFD is put for what is
 * not UTF-8; then raw_base64 has the true bytes. Of a message over max_message_bytes raw is just
 * the beginning, and "truncated" is true. */

/* Adds the line (without a newline) of a frame that was received at wall_ms from endpoint. message
 * is frame->body parsed, or NULL if that is no JSON object. Its bytes stay as they came, if they
 * are on one line. */
void tsk_tapped_write(struct tsk_buf *line, const struct tsk_frame *frame, const char *endpoint,
                      int64_t wall_ms, struct json_object *message);

struct tsk_tapped {
    const char *topic;           /* "" where there is none; borrowed from json */
    int64_t wall_ms;             /* when it was received; -1: not told */
    struct json_object *message; /* borrowed from json; NULL if it is no JSON object */
    struct tsk_buf body;         /* the bytes that follow the topic */
};

/* Whether json is such a line, good or bad. */
bool tsk_tapped_is(struct json_object *json);

/* Reads a line, of which json is what text says. The body is made only if need_body: it has the
 * bytes that came where the line was not written anew by somebody, else the same JSON. Returns 0,
 * or -1 with kind TSK_DATA; both ways tsk_tapped_fini is to be called. */
int tsk_tapped_read(struct tsk_tapped *tapped, struct json_object *json, const char *text,
                    size_t len, bool need_body, struct tsk_err *err);
void tsk_tapped_fini(struct tsk_tapped *tapped);

#ifdef __cplusplus
}
#endif

#endif
