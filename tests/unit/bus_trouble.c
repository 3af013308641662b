/* The sockets in trouble: ports that are taken, peers that stall, restart or never come. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <unistd.h>

#include "tasker/os.h"

#include "bus_peers.h"

/* Opening fails, with that kind and a text that has part in it. */
static void refused(const struct tsk_conf *conf, bool bind, const char *endpoints,
                    enum tsk_exit kind, const char *part)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_bus *bus = tsk_bus_open_at(conf, TSK_STEPS, TSK_SENDER, bind, endpoints, &err);
    CHECK(bus == NULL);
    CHECK_INT(err.kind, kind);
    if (!CHECK(strstr(err.text, part) != NULL))
        fprintf(stderr, "    %s\n    has no: %s\n", err.text, part);
    tsk_bus_close(bus);
}

static void test_refused(void)
{
    struct tsk_conf *conf = test_conf();
    refused(conf, true, "ipc:///nonexistent/folder/x", TSK_UNAVAILABLE, "cannot bind ipc:///non");
    refused(conf, true, "tcp://203.0.113.1:5555", TSK_UNAVAILABLE, "203.0.113.1");
    refused(conf, true, "http://127.0.0.1:80", TSK_UNAVAILABLE, "http://127.0.0.1:80");
    refused(conf, true, "nonsense", TSK_UNAVAILABLE, "cannot bind nonsense: Invalid argument");
    refused(conf, false, "nonsense", TSK_UNAVAILABLE, "cannot connect to nonsense");
    refused(conf, false, ANY_PORT, TSK_UNAVAILABLE, "cannot connect to " ANY_PORT);
    refused(conf, true, "", TSK_CONFIG, "no endpoint");
    refused(conf, true, ANY_PORT "," ANY_PORT, TSK_CONFIG, "one endpoint");
    assign(conf, "zeromq.enabled=false");
    refused(conf, true, ANY_PORT, TSK_CONFIG, "the test");
    tsk_conf_free(conf);
}

static void test_port_in_use(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *first = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_err err = TSK_ERR_INIT;
    char endpoint[128], want[64], holder[64];
    snprintf(endpoint, sizeof endpoint, "%s", tsk_bus_endpoint(first));
    CHECK(!tsk_bus_open_at(conf, TSK_STEPS, TSK_SENDER, true, endpoint, &err));
    CHECK_INT(err.kind, TSK_TEMPFAIL);
    CHECK_INT(err.code, EADDRINUSE);
    snprintf(want, sizeof want, "(pid %d)", (int)getpid());
    if (tsk_os_port_holder(atoi(strrchr(endpoint, ':') + 1), holder, sizeof holder))
        CHECK(strstr(err.text, want) != NULL);
    tsk_bus_close(first);
    first = open_at(conf, TSK_STEPS, TSK_SENDER, true, endpoint); /* free again at once */
    tsk_bus_close(first);
    tsk_conf_free(conf);
}

/* libzmq alone would take the path away from the first, which would never know. A path that was
 * left behind by a killed process is no hindrance. */
static void test_ipc_in_use(void)
{
    struct tsk_conf *conf = test_conf();
    char folder[] = "/tmp/tasker-bus.XXXXXX", ipc[80], path[64], left[80];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/steps", folder);
    snprintf(ipc, sizeof ipc, "ipc://%s", path);
    struct tsk_bus *first = open_at(conf, TSK_STEPS, TSK_SENDER, true, ipc);
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(!tsk_bus_open_at(conf, TSK_STEPS, TSK_SENDER, true, ipc, &err));
    CHECK(err.kind == TSK_TEMPFAIL && err.code == EADDRINUSE);
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, ipc);
    tsk_bus_subscribe(receiver, "steps ");
    CHECK(await_join(first, receiver, "steps ")); /* the first is still there */
    tsk_bus_close(receiver);
    snprintf(left, sizeof left, "%s.left", path);
    CHECK(rename(path, left) == 0);
    tsk_bus_close(first);
    CHECK(rename(left, path) == 0);
    first = open_at(conf, TSK_STEPS, TSK_SENDER, true, ipc);
    tsk_bus_close(first);
    CHECK(rmdir(folder) == 0);
    tsk_conf_free(conf);
}

/* libzmq alone would remove whatever has the name. */
static void test_ipc_spares_files(void)
{
    struct tsk_conf *conf = test_conf();
    char path[] = "/tmp/tasker-bus.XXXXXX", ipc[80];
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    snprintf(ipc, sizeof ipc, "ipc://%s", path);
    refused(conf, true, ipc, TSK_UNAVAILABLE, "which is no socket");
    CHECK(unlink(path) == 0);
    close(fd);
    tsk_conf_free(conf);
}

/* Fills a connection whose reader does not read. Returns how many were taken, at most most. */
static int fill(struct tsk_bus *sender, const char *topic, const char *body, size_t len, int most)
{
    struct tsk_err err = TSK_ERR_INIT;
    int sent = 0, rc = 1;
    while (sent < most && (rc = tsk_bus_send(sender, topic, body, len, &err)) == 1)
        sent++;
    CHECK(rc >= 0);
    return sent;
}

/* A batch is never dropped: the sender is told to wait, and goes on when the reader reads. A result
 * is dropped for the slow reader alone. */
static void test_slow_reader(void)
{
    enum { LEN = 64 * 1024, MOST = 2000 };
    struct tsk_conf *conf = test_conf();
    static char body[LEN];
    memset(body, 'x', LEN);
    assign(conf, "zeromq.send_hwm=5");
    assign(conf, "zeromq.recv_hwm=5");
    assign(conf, "zeromq.linger=0");
    for (int i = 0; i < 2; i++) {
        enum tsk_channel channel = i ? TSK_RESULTS : TSK_STEPS;
        struct tsk_bus *sender = open_at(conf, channel, TSK_SENDER, true, ANY_PORT);
        struct tsk_bus *reader =
            open_at(conf, channel, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
        struct tsk_frame frame;
        tsk_bus_subscribe(reader, "t ");
        CHECK(await_join(sender, reader, "t "));
        int sent = fill(sender, "t", body, LEN, MOST), got = 0;
        CHECK(channel == TSK_STEPS ? sent < MOST : sent == MOST);
        int64_t deadline = tsk_now_ms() + PATIENCE_MS;
        while (got < sent && next(reader, &frame, channel == TSK_STEPS ? PATIENCE_MS : QUIET_MS))
            got += frame.len == LEN;
        CHECK(channel == TSK_STEPS ? got == sent : got < sent);
        int rc = 0;
        struct tsk_err err = TSK_ERR_INIT;
        while (rc == 0 && tsk_now_ms() < deadline) {
            next(sender, &frame, 1); /* takes notice of the room */
            rc = tsk_bus_send(sender, "t", "again", 5, &err);
        }
        CHECK_INT(rc, 1);
        CHECK(gets(reader, "t", "again"));
        tsk_bus_close(reader);
        tsk_bus_close(sender);
    }
    tsk_conf_free(conf);
}

static struct tsk_bus *slow_reader(const struct tsk_conf *conf, struct tsk_bus *sender)
{
    struct tsk_bus *reader =
        open_at(conf, TSK_RESULTS, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
    tsk_bus_subscribe(reader, "t ");
    CHECK(await_join(sender, reader, "t "));
    return reader;
}

/* What two slow readers have not taken is counted, once, and gone when they are cut off, but for
 * what is held elsewhere; the one that reads stays and gets all. */
static void test_cut(const char *endpoint)
{
    enum { LEN = 100000, COUNT = 300, WIRE = LEN + 2 };
    struct tsk_conf *conf = test_conf();
    assign(conf, "zeromq.recv_hwm=1");
    struct tsk_bus *sender = open_at(conf, TSK_RESULTS, TSK_SENDER, true, endpoint);
    struct tsk_bus *slow[] = {slow_reader(conf, sender), slow_reader(conf, sender)};
    struct tsk_bus *reader = slow_reader(conf, sender);
    struct tsk_frame frame;
    struct tsk_err err = TSK_ERR_INIT;
    CHECK_INT(tsk_bus_backlog(sender), 0);
    CHECK_INT(tsk_bus_cut(sender), 0);
    char *body = calloc(1, LEN);
    struct tsk_blob *blob = tsk_blob_new("t", body, LEN);
    free(body);
    for (int i = 0; i < COUNT; i++) {
        CHECK_INT(tsk_bus_send_blob(sender, blob, &err), 1);
        CHECK(next(reader, &frame, PATIENCE_MS) && frame.len == LEN);
    }
    CHECK(tsk_bus_backlog(sender) > 5 * WIRE && tsk_bus_backlog(sender) <= COUNT * WIRE);
    CHECK_INT(tsk_bus_cut(sender), 2);
    CHECK(await_leave(sender, "t ") && await_leave(sender, "t "));
    int64_t deadline = tsk_now_ms() + PATIENCE_MS;
    while (tsk_bus_backlog(sender) && tsk_now_ms() < deadline)
        next(sender, &frame, 1);
    CHECK_INT(tsk_bus_backlog(sender), 0);
    CHECK_INT(say(sender, "t", "more"), 1);
    CHECK(gets(reader, "t", "more"));
    tsk_blob_release(blob);
    tsk_bus_close(slow[0]);
    tsk_bus_close(slow[1]);
    tsk_bus_close(reader);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* Where the sender connects, as with result_bind: collector, it comes again by itself. */
static void test_cut_connected(void)
{
    enum { LEN = 100000, COUNT = 300 };
    struct tsk_conf *conf = test_conf();
    static char body[LEN];
    assign(conf, "zeromq.recv_hwm=1");
    struct tsk_bus *reader = open_at(conf, TSK_RESULTS, TSK_RECEIVER, true, ANY_PORT);
    struct tsk_bus *sender =
        open_at(conf, TSK_RESULTS, TSK_SENDER, false, tsk_bus_endpoint(reader));
    tsk_bus_subscribe(reader, "t ");
    CHECK(await_join(sender, reader, "t "));
    CHECK_INT(fill(sender, "t", body, LEN, COUNT), COUNT);
    CHECK_INT(tsk_bus_cut(sender), 1);
    CHECK(await_leave(sender, "t "));
    struct tsk_frame frame;
    for (int64_t end = tsk_now_ms() + PATIENCE_MS; tsk_now_ms() < end;) {
        next(reader, &frame, 1); /* what had left before, then the new connection */
        if (next(sender, &frame, 1) && frame.kind == TSK_FRAME_JOIN)
            break;
    }
    CHECK(frame.kind == TSK_FRAME_JOIN && !tsk_bus_backlog(sender));
    tsk_bus_close(reader);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

static void test_cut_ipc(void)
{
    char folder[] = "/tmp/tasker-bus.XXXXXX", ipc[80];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(ipc, sizeof ipc, "ipc://%s/results", folder);
    test_cut(ipc);
    CHECK(rmdir(folder) == 0);
}

/* Subscriptions come again when the binder restarts on its port, and messages go both ways. */
static void test_restart(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "%s", tsk_bus_endpoint(sender));
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, endpoint);
    tsk_bus_subscribe(receiver, "worker.w1 ");
    for (int i = 0; i < 3; i++) {
        CHECK(await_join(sender, receiver, "worker.w1 "));
        CHECK_INT(say(sender, "worker.w1", "{}"), 1);
        CHECK(gets(receiver, "worker.w1", "{}"));
        CHECK_INT(say(receiver, "batch_accepted", "{}"), 1);
        CHECK(gets(sender, "batch_accepted", "{}"));
        tsk_bus_close(sender);
        sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, endpoint);
    }
    CHECK(await_join(sender, receiver, "worker.w1 "));
    tsk_bus_close(receiver);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* Started in the wrong order: the receiver is there first. */
static void test_receiver_first(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *sender = open_at(conf, TSK_RESULTS, TSK_SENDER, true, ANY_PORT);
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "%s", tsk_bus_endpoint(sender));
    tsk_bus_close(sender);
    struct tsk_bus *receiver = open_at(conf, TSK_RESULTS, TSK_RECEIVER, false, endpoint);
    tsk_bus_subscribe(receiver, "partial_result ");
    CHECK(is_quiet(receiver));
    sender = open_at(conf, TSK_RESULTS, TSK_SENDER, true, endpoint);
    CHECK(await_join(sender, receiver, "partial_result "));
    CHECK_INT(say(sender, "partial_result", "{}"), 1);
    CHECK(gets(receiver, "partial_result", "{}"));
    tsk_bus_close(receiver);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* Closing waits for a message that can be delivered, for a lost one no longer than linger, and for
 * mere subscriptions not at all. */
static void test_close(void)
{
    struct tsk_conf *conf = test_conf();
    assign(conf, "zeromq.linger=10m");
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_bus *receiver =
        open_at(conf, TSK_STEPS, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
    tsk_bus_subscribe(receiver, "steps ");
    CHECK(await_join(sender, receiver, "steps "));
    for (int i = 0; i < 1000; i++)
        CHECK_INT(say(sender, "steps", "{}"), 1);
    tsk_bus_close(sender);
    for (int i = 0; i < 1000; i++)
        CHECK(gets(receiver, "steps", "{}"));
    int64_t start = tsk_now_ms();
    tsk_bus_close(receiver);
    receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, "tcp://127.0.0.1:9");
    tsk_bus_subscribe(receiver, "steps ");
    tsk_bus_close(receiver);
    CHECK(tsk_now_ms() - start < PATIENCE_MS);
    assign(conf, "zeromq.linger=100ms");
    receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, "tcp://127.0.0.1:9");
    CHECK_INT(say(receiver, "collected", "{}"), 1);
    start = tsk_now_ms();
    tsk_bus_close(receiver);
    int64_t took = tsk_now_ms() - start;
    CHECK(took >= 90 && took < PATIENCE_MS);
    tsk_bus_close(NULL);
    tsk_conf_free(conf);
}

/* What a plain peer receives: a subscription to topic (or its end). */
static bool peer_gets(struct peer *peer, struct tsk_bus *receiver, const char *text, int len)
{
    int64_t deadline = tsk_now_ms() + PATIENCE_MS;
    char got[64];
    struct tsk_frame frame;
    while (tsk_now_ms() < deadline) {
        zmq_pollitem_t items[] = {{peer->socket, 0, ZMQ_POLLIN, 0},
                                  {NULL, tsk_bus_fd(receiver), ZMQ_POLLIN, 0}};
        CHECK(!next(receiver, &frame, 0));
        zmq_poll(items, 2, tsk_left_ms(deadline));
        int n = zmq_recv(peer->socket, got, sizeof got, ZMQ_DONTWAIT);
        if (n >= 0)
            return n == len && memcmp(got, text, (size_t)len) == 0;
    }
    return false;
}

/* A message over the limit is told of, and the connection goes on. */
static void test_message_limit(void)
{
    struct tsk_conf *conf = test_conf();
    assign(conf, "zeromq.max_message_bytes=5K");
    struct peer peer = peer_bind(ZMQ_XPUB);
    struct tsk_bus *receiver = open_at(conf, TSK_RESULTS, TSK_RECEIVER, false, peer.endpoint);
    struct tsk_frame frame;
    static char text[1 << 20] = "topic {";
    tsk_bus_subscribe(receiver, "topic ");
    CHECK(peer_gets(&peer, receiver, "\1topic ", 7));
    CHECK(zmq_send(peer.socket, text, 5 * 1024 + 6, 0) > 0);
    CHECK(next(receiver, &frame, PATIENCE_MS) && frame.len == 5 * 1024 && frame.whole == 0);
    CHECK(zmq_send(peer.socket, text, sizeof text, 0) > 0);
    CHECK(next(receiver, &frame, PATIENCE_MS) && frame.whole == sizeof text);
    CHECK_STR(frame.topic, "topic");
    CHECK(frame.len < 5 * 1024 && *frame.body == '{' && !frame.body[frame.len]);
    CHECK(zmq_send(peer.socket, "topic {}", 8, 0) > 0);
    CHECK(gets(receiver, "topic", "{}"));
    tsk_bus_close(receiver);
    peer_close(&peer);
    tsk_conf_free(conf);
}

/* A stranger that floods who is bound is cut off, and may come again. */
static void test_flood(void)
{
    struct tsk_conf *conf = test_conf();
    assign(conf, "zeromq.max_message_bytes=1K");
    struct tsk_bus *receiver = open_at(conf, TSK_RESULTS, TSK_RECEIVER, true, ANY_PORT);
    struct peer peer = peer_bind(ZMQ_XPUB);
    static char text[1 << 20] = "topic {";
    tsk_bus_subscribe(receiver, "topic ");
    zmq_setsockopt(peer.socket, ZMQ_IMMEDIATE, &(int){1}, sizeof(int));
    CHECK(zmq_connect(peer.socket, tsk_bus_endpoint(receiver)) == 0);
    CHECK(peer_gets(&peer, receiver, "\1topic ", 7));
    CHECK(zmq_send(peer.socket, text, sizeof text, 0) > 0);
    CHECK(peer_gets(&peer, receiver, "\0topic ", 7));
    CHECK(peer_gets(&peer, receiver, "\1topic ", 7));
    CHECK(zmq_send(peer.socket, "topic {}", 8, 0) > 0);
    CHECK(gets(receiver, "topic", "{}"));
    tsk_bus_close(receiver);
    peer_close(&peer);
    tsk_conf_free(conf);
}

int main(void)
{
    test_refused();
    test_port_in_use();
    test_ipc_in_use();
    test_ipc_spares_files();
    test_slow_reader();
    test_cut(ANY_PORT);
    test_cut_ipc();
    test_cut_connected();
    test_restart();
    test_receiver_first();
    test_close();
    test_message_limit();
    test_flood();
    return check_done();
}
