/* The sockets at work: who joins and leaves, what goes down and up, in every direction of bind and
 * connect, with peers of our own and with plain ones. */
#define _POSIX_C_SOURCE 200809L
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus_peers.h"

/* A sender and a receiver see each other, by the channel's own directions or the other ones. */
static void exchange(struct tsk_bus *sender, struct tsk_bus *receiver)
{
    struct tsk_frame frame;
    tsk_bus_subscribe(receiver, "steps ");
    tsk_bus_subscribe(receiver, "worker.w1 ");
    for (int i = 0; i < 2; i++) {
        CHECK(next_beside(sender, receiver, &frame, PATIENCE_MS));
        CHECK(frame.kind == TSK_FRAME_JOIN);
    }
    CHECK(is_quiet(sender));
    CHECK_INT(say(sender, "worker.w2", "{\"for\":\"another\"}"), 1);
    CHECK_INT(say(sender, "worker.w1", "{\"a\": 1}"), 1);
    CHECK_INT(say(sender, "steps", "{}"), 1);
    CHECK(gets(receiver, "worker.w1", "{\"a\": 1}"));
    CHECK(gets(receiver, "steps", "{}"));
    CHECK_INT(say(receiver, "batch_accepted", "{\"batch_id\":\"b\"}"), 1);
    CHECK(gets(sender, "batch_accepted", "{\"batch_id\":\"b\"}"));
    tsk_bus_unsubscribe(receiver, "steps ");
    CHECK(await_leave(sender, "steps "));
    CHECK_INT(say(sender, "steps", "{}"), 1);
    CHECK(is_quiet(receiver));
}

static void test_directions(void)
{
    struct tsk_conf *conf = test_conf();
    for (int i = 0; i < 4; i++) {
        enum tsk_channel channel = i & 1 ? TSK_RESULTS : TSK_STEPS;
        enum tsk_side binder = i & 2 ? TSK_RECEIVER : TSK_SENDER;
        struct tsk_bus *bound = open_at(conf, channel, binder, true, ANY_PORT);
        CHECK(strncmp(tsk_bus_endpoint(bound), "tcp://127.0.0.1:", 16) == 0);
        CHECK(strchr(tsk_bus_endpoint(bound), '*') == NULL);
        enum tsk_side other = binder == TSK_SENDER ? TSK_RECEIVER : TSK_SENDER;
        struct tsk_bus *connected = open_at(conf, channel, other, false, tsk_bus_endpoint(bound));
        CHECK_STR(tsk_bus_endpoint(connected), tsk_bus_endpoint(bound));
        CHECK(tsk_bus_binds(bound) && !tsk_bus_binds(connected));
        struct tsk_bus *sender = binder == TSK_SENDER ? bound : connected;
        struct tsk_bus *receiver = binder == TSK_SENDER ? connected : bound;
        exchange(sender, receiver);
        tsk_bus_close(receiver);
        CHECK(await_leave(sender, "worker.w1 "));
        tsk_bus_close(sender);
    }
    tsk_conf_free(conf);
}

/* Who binds is what the configuration says. */
static void test_configured_sides(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_err err = TSK_ERR_INIT;
    assign(conf, "zeromq.batch_endpoint=" ANY_PORT);
    assign(conf, "zeromq.result_endpoint=" ANY_PORT);
    struct tsk_bus *publisher = tsk_bus_open(conf, TSK_STEPS, TSK_SENDER, &err);
    struct tsk_bus *worker = tsk_bus_open(conf, TSK_RESULTS, TSK_SENDER, &err);
    CHECK(publisher && tsk_bus_binds(publisher));
    CHECK(worker && tsk_bus_binds(worker));
    tsk_bus_close(publisher);
    tsk_bus_close(worker);
    assign(conf, "zeromq.batch_bind=worker");
    assign(conf, "zeromq.result_bind=collector");
    worker = tsk_bus_open(conf, TSK_STEPS, TSK_RECEIVER, &err);
    struct tsk_bus *collector = tsk_bus_open(conf, TSK_RESULTS, TSK_RECEIVER, &err);
    CHECK(worker && tsk_bus_binds(worker));
    CHECK(collector && tsk_bus_binds(collector));
    assign(conf, "zeromq.batch_endpoint=tcp://127.0.0.1:9");
    publisher = tsk_bus_open(conf, TSK_STEPS, TSK_SENDER, &err);
    CHECK(publisher && !tsk_bus_binds(publisher));
    tsk_bus_close(publisher);
    tsk_bus_close(worker);
    tsk_bus_close(collector);
    tsk_conf_free(conf);
}

/* The same topic of two peers is told twice, and its end too. */
static void test_many_peers(void)
{
    enum { PEERS = 20 };
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_bus *peers[PEERS];
    struct tsk_frame frame;
    char topic[32], body[32];
    for (int i = 0; i < PEERS; i++) {
        peers[i] = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
        snprintf(topic, sizeof topic, "worker.w%d ", i);
        tsk_bus_subscribe(peers[i], "steps ");
        tsk_bus_subscribe(peers[i], topic);
    }
    for (int i = 0; i < 2 * PEERS; i++)
        CHECK(next(sender, &frame, PATIENCE_MS) && frame.kind == TSK_FRAME_JOIN);
    for (int i = 0; i < PEERS; i++) {
        snprintf(topic, sizeof topic, "worker.w%d", i);
        snprintf(body, sizeof body, "{\"n\":%d}", i);
        CHECK_INT(say(sender, topic, body), 1);
        CHECK(gets(peers[i], topic, body));
        CHECK_INT(say(peers[i], "batch_accepted", body), 1);
        CHECK(gets(sender, "batch_accepted", body));
    }
    CHECK_INT(say(sender, "steps", "{}"), 1);
    for (int i = 0; i < PEERS; i++)
        CHECK(gets(peers[i], "steps", "{}"));
    for (int i = 0; i < PEERS; i++)
        tsk_bus_close(peers[i]);
    for (int i = 0; i < 2 * PEERS; i++)
        CHECK(next(sender, &frame, PATIENCE_MS) && frame.kind == TSK_FRAME_LEAVE);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* One receiver of several senders; the same place by another name is no new one. */
static void test_many_endpoints(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_bus *senders[3];
    char list[256], again[128];
    for (int i = 0; i < 3; i++)
        senders[i] = open_at(conf, TSK_RESULTS, TSK_SENDER, true, ANY_PORT);
    snprintf(list, sizeof list, "%s,%s", tsk_bus_endpoint(senders[0]),
             tsk_bus_endpoint(senders[1]));
    struct tsk_bus *receiver = open_at(conf, TSK_RESULTS, TSK_RECEIVER, false, list);
    CHECK_STR(tsk_bus_endpoint(receiver), tsk_bus_endpoint(senders[0]));
    tsk_bus_subscribe(receiver, "partial_result ");
    CHECK(tsk_bus_connect(receiver, tsk_bus_endpoint(senders[2]), &err) == 1);
    CHECK(tsk_bus_connect(receiver, tsk_bus_endpoint(senders[1]), &err) == 0);
    const char *const hosts[] = {"localhost", "0.0.0.0", "*"};
    for (int i = 0; i < 3; i++) {
        snprintf(again, sizeof again, "tcp://%s%s", hosts[i],
                 strrchr(tsk_bus_endpoint(senders[i]), ':'));
        CHECK(tsk_bus_connect(receiver, again, &err) == 0);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(await_join(senders[i], receiver, "partial_result "));
        CHECK_INT(say(senders[i], "partial_result", "{}"), 1);
        CHECK(gets(receiver, "partial_result", "{}"));
    }
    CHECK(is_quiet(receiver));
    for (int i = 0; i < 3; i++)
        CHECK(is_quiet(senders[i])); /* one join each */
    tsk_bus_disconnect(receiver, "tcp://127.0.0.1:1"); /* it has none there */
    tsk_bus_disconnect(receiver, tsk_bus_endpoint(senders[1]));
    CHECK(await(senders[1], receiver, TSK_FRAME_LEAVE, "partial_result "));
    CHECK(tsk_bus_connect(receiver, tsk_bus_endpoint(senders[1]), &err) == 1);
    CHECK(await_join(senders[1], receiver, "partial_result "));
    for (int i = 0; i < 3; i++)
        tsk_bus_close(senders[i]);
    tsk_bus_close(receiver);
    tsk_conf_free(conf);
}

static void send_parts(struct peer *peer, const char *const *parts)
{
    for (; *parts; parts++)
        CHECK(zmq_send(peer->socket, *parts, strlen(*parts), parts[1] ? ZMQ_SNDMORE : 0) >= 0);
}

/* The shapes that foreign senders give to a message. */
static void test_shapes(void)
{
    char endless[TSK_TOPIC_SIZE + 20];
    memset(endless, 't', sizeof endless - 1);
    strcpy(endless + sizeof endless - 4, " {}");
    struct {
        const char *parts[5], *topic, *body;
    } shapes[] = {
        {{"steps {\"a\": 1}"}, "steps", "{\"a\": 1}"},
        {{"steps", "{\"a\": 1}"}, "steps", "{\"a\": 1}"},
        {{"steps ", "{\"a\": 1}"}, "steps", "{\"a\": 1}"},
        {{"a topic", "{}"}, "a topic", "{}"},
        {{"steps", ""}, "steps", ""},
        {{"steps "}, "steps", ""},
        {{"steps"}, "", "steps"},
        {{""}, "", ""},
        {{"", "{}"}, "", " {}"},
        {{"{\"a\": 1}"}, "", "{\"a\": 1}"},
        {{"[1, 2]"}, "", "[1, 2]"},
        {{"steps", "{}", "{}"}, "", "steps {} {}"},
        {{"steps", "{}", "", "x"}, "", "steps {}  x"},
        {{endless}, "", endless},
        {{endless, "{}"}, "", NULL},
        {{"\xff\xfe\x01 \x02"}, "\xff\xfe\x01", "\x02"},
    };
    struct tsk_conf *conf = test_conf();
    struct peer peer = peer_bind(ZMQ_XPUB);
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, peer.endpoint);
    char text[8];
    tsk_bus_subscribe(receiver, "");
    CHECK_INT(zmq_recv(peer.socket, text, sizeof text, 0), 1);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct tsk_frame frame;
        send_parts(&peer, shapes[i].parts);
        if (!CHECK(next(receiver, &frame, PATIENCE_MS)))
            break;
        CHECK_STR(frame.topic, shapes[i].topic);
        if (shapes[i].body)
            CHECK_STR(frame.body, shapes[i].body);
        CHECK(frame.body + frame.len == frame.raw + frame.raw_len && !frame.body[frame.len]);
    }
    /* a NUL within is no end */
    struct tsk_frame frame;
    CHECK(zmq_send(peer.socket, "st\0ps {}", 8, 0) == 8);
    CHECK(next(receiver, &frame, PATIENCE_MS) && frame.len == 8 && !*frame.topic);
    CHECK(zmq_send(peer.socket, "steps {\0}", 9, 0) == 9);
    CHECK(next(receiver, &frame, PATIENCE_MS) && frame.len == 3 && !memcmp(frame.body, "{\0}", 3));
    tsk_bus_close(receiver);
    peer_close(&peer);
    tsk_conf_free(conf);
}

/* Of one that is too long by its many parts no more is gathered than shows it, and the end. */
static void test_many_parts(void)
{
    static char part[30000];
    struct tsk_conf *conf = test_conf();
    struct peer peer = peer_bind(ZMQ_XPUB);
    struct tsk_frame frame;
    assign(conf, "zeromq.max_message_bytes=64K");
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, peer.endpoint);
    tsk_bus_subscribe(receiver, "");
    CHECK_INT(zmq_recv(peer.socket, part, sizeof part, 0), 1);
    memset(part, 'x', sizeof part);
    for (int i = 0; i < 200; i++)
        CHECK(zmq_send(peer.socket, part, sizeof part, ZMQ_SNDMORE) == sizeof part);
    CHECK(zmq_send(peer.socket, "the end", 7, 0) == 7 && zmq_send(peer.socket, "t {}", 4, 0) == 4);
    CHECK(next(receiver, &frame, PATIENCE_MS));
    CHECK(frame.whole > 1 << 16 && frame.whole < 4 * sizeof part && frame.len < 1 << 16);
    CHECK(frame.all_len > 7 && !strcmp(frame.all + frame.all_len - 8, " the end"));
    CHECK(next(receiver, &frame, PATIENCE_MS) && !frame.whole && !strcmp(frame.topic, "t"));
    tsk_bus_close(receiver);
    peer_close(&peer);
    tsk_conf_free(conf);
}

/* A plain SUB and an XSUB that sends odd things upstream. */
static void test_plain_receivers(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *sender = open_at(conf, TSK_RESULTS, TSK_SENDER, true, ANY_PORT);
    struct tsk_frame frame;
    char text[64], long_topic[TSK_TOPIC_SIZE + 2];
    memset(long_topic, 'x', sizeof long_topic);
    void *ctx = zmq_ctx_new();
    void *sub = zmq_socket(ctx, ZMQ_SUB), *xsub = zmq_socket(ctx, ZMQ_XSUB);
    zmq_setsockopt(xsub, ZMQ_LINGER, &(int){0}, sizeof(int));
    CHECK(zmq_connect(sub, tsk_bus_endpoint(sender)) == 0);
    CHECK(zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "partial_result", 14) == 0);
    CHECK(await_join(sender, NULL, "partial_result"));
    CHECK_INT(say(sender, "partial_result", "{}"), 1);
    CHECK_INT(zmq_recv(sub, text, sizeof text, 0), 17);
    CHECK(memcmp(text, "partial_result {}", 17) == 0);
    CHECK(zmq_setsockopt(sub, ZMQ_SUBSCRIBE, long_topic, sizeof long_topic) == 0); /* passed over */
    CHECK(zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "", 0) == 0);
    CHECK(next(sender, &frame, PATIENCE_MS));
    CHECK(frame.kind == TSK_FRAME_JOIN && !*frame.topic);
    CHECK(zmq_connect(xsub, tsk_bus_endpoint(sender)) == 0);
    CHECK(zmq_send(xsub, "\2what", 5, 0) == 5);
    CHECK(gets(sender, "", "\2what"));
    CHECK(zmq_send(xsub, "collected", 9, ZMQ_SNDMORE) == 9 && zmq_send(xsub, "{}", 2, 0) == 2);
    CHECK(gets(sender, "collected", "{}"));
    zmq_close(sub);
    CHECK(await_leave(sender, "partial_result"));
    zmq_close(xsub);
    zmq_ctx_term(ctx);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

static void test_big_messages(void)
{
    enum { BIG = 5 << 20 };
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_bus *receiver =
        open_at(conf, TSK_STEPS, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_frame frame;
    char *body = malloc(BIG);
    memset(body, 'b', BIG);
    tsk_bus_subscribe(receiver, "steps ");
    CHECK(await_join(sender, receiver, "steps "));
    CHECK_INT(tsk_bus_send(sender, "steps", body, BIG, &err), 1);
    CHECK_INT(say(sender, "steps", "small"), 1);
    CHECK(next(receiver, &frame, PATIENCE_MS) && frame.len == BIG);
    CHECK(memcmp(frame.body, body, BIG) == 0 && frame.body[BIG] == '\0');
    CHECK(gets(receiver, "steps", "small"));
    free(body);
    tsk_bus_close(receiver);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

static bool have_ipv6(void)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool have = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    if (fd >= 0)
        close(fd);
    return have;
}

/* The other kinds of endpoint. */
static void test_ipc_and_ipv6(void)
{
    struct tsk_conf *conf = test_conf();
    char folder[] = "/tmp/tasker-bus.XXXXXX", ipc[64];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(ipc, sizeof ipc, "ipc://%s/steps", folder);
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ipc);
    CHECK_STR(tsk_bus_endpoint(sender), ipc);
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, ipc);
    exchange(sender, receiver);
    tsk_bus_close(receiver);
    tsk_bus_close(sender);
    CHECK(rmdir(folder) == 0); /* the socket is gone too */
    if (have_ipv6()) {
        sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, "tcp://[::1]:*");
        CHECK(strncmp(tsk_bus_endpoint(sender), "tcp://[::1]:", 12) == 0);
        receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
        exchange(sender, receiver);
        tsk_bus_close(receiver);
        tsk_bus_close(sender);
    }
    tsk_conf_free(conf);
}

static void test_any_host(void)
{
    CHECK_STR(tsk_bus_any_host("tcp://*:1"), "127.0.0.1");
    CHECK_STR(tsk_bus_any_host("tcp://0.0.0.0:5556"), "127.0.0.1");
    CHECK_STR(tsk_bus_any_host("tcp://[::]:5556"), "[::1]");
    CHECK(!tsk_bus_any_host("tcp://localhost:5556"));
    CHECK(!tsk_bus_any_host("tcp://10.0.0.0:5556"));
    CHECK(!tsk_bus_any_host("ipc://0.0.0.0:5556"));
    CHECK(!tsk_bus_any_host("tcp://"));
}

int main(void)
{
    test_directions();
    test_configured_sides();
    test_many_peers();
    test_many_endpoints();
    test_shapes();
    test_many_parts();
    test_plain_receivers();
    test_big_messages();
    test_ipc_and_ipv6();
    test_any_host();
    return check_done();
}
