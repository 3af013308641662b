/* The sockets: XPUB and XSUB behind one opaque type (PROTOCOL section 1). All options are set
 * before bind and connect. A bus belongs to one thread. */
#ifndef TASKER_BUS_H
#define TASKER_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/blob.h"
#include "tasker/conf.h"
#include "tasker/err.h"

struct tsk_bus;

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
 * connected to when that has been looked up, apart, by calls of tsk_bus_life (bus_life.h) until it
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

/* TSK_RECEIVER: subscribes to all topics that begin with prefix, or ends that. PROTOCOL topics end
 * with a space ("steps "). */
void tsk_bus_subscribe(struct tsk_bus *bus, const char *prefix);
void tsk_bus_unsubscribe(struct tsk_bus *bus, const char *prefix);

/* Sends "TOPIC BODY" as one frame, never blocking: down from a sender, upstream from a receiver.
 * Returns 1 if libzmq took it, 0 if a steps sender must try later (its peer's queue is full), or
 * -1. On the results channel a message to a slow reader is dropped (PROTOCOL section 3). */
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
    const char *end; /* then: its last bytes; a NUL follows them */
    size_t end_len;
};

/* Receives one thing, never blocking. Returns 1, or 0 if nothing is there, or -1. */
int tsk_bus_recv(struct tsk_bus *bus, struct tsk_frame *frame, struct tsk_err *err);

#endif
