/* What the tests of the sockets share: configurations, peers, and waiting with a deadline. */
#ifndef TESTS_UNIT_BUS_PEERS_H
#define TESTS_UNIT_BUS_PEERS_H

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "tasker/bus.h"
#include "tasker/clock.h"

#include "check.h"

enum { PATIENCE_MS = 30000, QUIET_MS = 150 };

#define ANY_PORT "tcp://127.0.0.1:*"

static inline void assign(struct tsk_conf *conf, const char *assignment)
{
    struct tsk_err err = TSK_ERR_INIT;
    if (!CHECK(tsk_conf_assign(conf, assignment, "the test", &err) == 0))
        fprintf(stderr, "    %s\n", err.text);
}

static inline struct tsk_conf *test_conf(void)
{
    struct tsk_conf *conf = tsk_conf_new();
    assign(conf, "zeromq.linger=5s");
    assign(conf, "zeromq.heartbeat_interval=1m"); /* libzmq may abort at one: bus.c */
    assign(conf, "zeromq.reconnect_min=10ms");
    assign(conf, "zeromq.reconnect_max=50ms");
    return conf;
}

static inline struct tsk_bus *open_at(const struct tsk_conf *conf, enum tsk_channel channel,
                                      enum tsk_side side, bool bind, const char *endpoints)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_bus *bus = tsk_bus_open_at(conf, channel, side, bind, endpoints, &err);
    if (!CHECK(bus != NULL)) {
        fprintf(stderr, "    %s\n", err.text);
        exit(check_done());
    }
    return bus;
}

/* Waits until something is received. Meanwhile other (may be NULL), which expects nothing, is kept
 * going: libzmq sends subscriptions to a new connection only when their owner calls it. Returns
 * false after timeout. */
static inline bool next_beside(struct tsk_bus *bus, struct tsk_bus *other, struct tsk_frame *frame,
                               int timeout)
{
    struct tsk_err err = TSK_ERR_INIT;
    int64_t deadline = tsk_now_ms() + timeout;
    struct tsk_frame none;
    for (;;) {
        CHECK(!other || tsk_bus_recv(other, &none, &err) == 0);
        int rc = tsk_bus_recv(bus, frame, &err);
        if (rc != 0)
            return CHECK(rc == 1);
        struct pollfd fds[] = {{.fd = tsk_bus_fd(bus), .events = POLLIN},
                               {.fd = other ? tsk_bus_fd(other) : -1, .events = POLLIN}};
        if (poll(fds, 2, tsk_left_ms(deadline)) == 0)
            return false;
    }
}

static inline bool next(struct tsk_bus *bus, struct tsk_frame *frame, int timeout)
{
    return next_beside(bus, NULL, frame, timeout);
}

static inline bool is_quiet(struct tsk_bus *bus)
{
    struct tsk_frame frame;
    return !next(bus, &frame, QUIET_MS);
}

/* Waits for a frame of that kind and topic; others before it are passed over. */
static inline bool await(struct tsk_bus *bus, struct tsk_bus *other, enum tsk_frame_kind kind,
                         const char *topic)
{
    int64_t deadline = tsk_now_ms() + PATIENCE_MS;
    struct tsk_frame frame;
    while (next_beside(bus, other, &frame, tsk_left_ms(deadline))) {
        if (frame.kind == kind && strcmp(frame.topic, topic) == 0)
            return true;
    }
    return false;
}

static inline bool await_join(struct tsk_bus *bus, struct tsk_bus *receiver, const char *topic)
{
    return await(bus, receiver, TSK_FRAME_JOIN, topic);
}

static inline bool await_leave(struct tsk_bus *bus, const char *topic)
{
    return await(bus, NULL, TSK_FRAME_LEAVE, topic);
}

/* The next thing received must be this message. */
static inline bool gets(struct tsk_bus *bus, const char *topic, const char *body)
{
    struct tsk_frame frame;
    if (!next(bus, &frame, PATIENCE_MS))
        return false;
    return CHECK_INT(frame.kind, TSK_FRAME_MESSAGE) && CHECK_STR(frame.topic, topic) &&
           CHECK_STR(frame.body, body) && CHECK_INT(frame.len, strlen(body));
}

static inline int say(struct tsk_bus *bus, const char *topic, const char *body)
{
    struct tsk_err err = TSK_ERR_INIT;
    return tsk_bus_send(bus, topic, body, strlen(body), &err);
}

/* A socket that knows nothing of tasker. */
struct peer {
    void *ctx, *socket;
    char endpoint[256];
};

static inline struct peer peer_bind(int type)
{
    struct peer peer = {.ctx = zmq_ctx_new()};
    size_t size = sizeof peer.endpoint;
    peer.socket = zmq_socket(peer.ctx, type);
    zmq_setsockopt(peer.socket, ZMQ_LINGER, &(int){0}, sizeof(int));
    zmq_setsockopt(peer.socket, ZMQ_RCVTIMEO, &(int){PATIENCE_MS}, sizeof(int));
    CHECK(zmq_bind(peer.socket, ANY_PORT) == 0);
    CHECK(zmq_getsockopt(peer.socket, ZMQ_LAST_ENDPOINT, peer.endpoint, &size) == 0);
    return peer;
}

static inline void peer_close(struct peer *peer)
{
    zmq_close(peer->socket);
    zmq_ctx_term(peer->ctx);
}

#endif
