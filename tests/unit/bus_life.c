/* The life of sockets: each event once and with its endpoint, what repeats itself with pauses, and
 * nothing at all for a bus that nobody asked to watch. */
#include "tasker/bus.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus_peers.h"

static struct tsk_conf *watched_conf(void)
{
    struct tsk_conf *conf = test_conf();
    assign(conf, "log.level=info");
    return conf;
}

/* Waits for an event of a kind; others before it are passed over. The sockets are kept going. */
static bool await_life(struct tsk_bus *bus, struct tsk_bus *other, enum tsk_life_kind kind,
                       struct tsk_life *life)
{
    int64_t deadline = tsk_now_ms() + PATIENCE_MS;
    struct tsk_frame frame;
    while (tsk_now_ms() < deadline) {
        while (tsk_bus_recv(bus, &frame, NULL) > 0 || tsk_bus_recv(other, &frame, NULL) > 0)
            ;
        while (tsk_bus_life(bus, life)) {
            if (life->kind == kind)
                return true;
        }
        struct pollfd fds[] = {{.fd = tsk_bus_life_fd(bus), .events = POLLIN},
                               {.fd = tsk_bus_fd(bus), .events = POLLIN},
                               {.fd = tsk_bus_fd(other), .events = POLLIN}};
        poll(fds, 3, 20);
    }
    fprintf(stderr, "    no event \"%s\"\n", tsk_life_name(kind));
    return false;
}

static void test_names(void)
{
    for (int kind = 0; kind < TSK_LIFE_KINDS; kind++)
        CHECK(*tsk_life_name((enum tsk_life_kind)kind) != '\0');
    CHECK_STR(tsk_life_name(TSK_LIFE_READY), "ready");
    CHECK_STR(tsk_life_name(TSK_LIFE_FAILED), "failed");
}

static void test_not_watched(void)
{
    struct tsk_conf *conf = test_conf();
    struct tsk_bus *bus = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_life life;
    CHECK(tsk_bus_life_fd(bus) >= 0);
    CHECK(!tsk_bus_life(bus, &life));
    CHECK(tsk_bus_close(bus));
    tsk_conf_free(conf);
}

/* One connection from its beginning to its end, as both sides see it. */
static void test_story(const char *endpoint, bool tcp)
{
    struct tsk_conf *conf = watched_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, endpoint);
    char at[256];
    struct tsk_life life = {.kind = TSK_LIFE_KINDS};
    snprintf(at, sizeof at, "%s", tsk_bus_endpoint(sender));
    CHECK(await_life(sender, sender, TSK_LIFE_LISTENING, &life));
    CHECK_STR(life.endpoint, at);
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, at);
    tsk_bus_subscribe(receiver, "steps");
    CHECK(await_life(sender, receiver, TSK_LIFE_ACCEPTED, &life));
    CHECK(strncmp(life.peer, tcp ? "tcp://" : "", tcp ? 6 : 1) == 0);
    CHECK(await_life(sender, receiver, TSK_LIFE_READY, &life));
    CHECK(await_life(receiver, sender, TSK_LIFE_CONNECTED, &life));
    CHECK_STR(life.endpoint, at);
    CHECK(await_life(receiver, sender, TSK_LIFE_READY, &life));
    CHECK_STR(life.endpoint, at);
    CHECK(tsk_bus_close(sender));
    CHECK(await_life(receiver, receiver, TSK_LIFE_DISCONNECTED, &life));
    CHECK(await_life(receiver, receiver, TSK_LIFE_RETRYING, &life));
    CHECK_STR(life.endpoint, at);
    CHECK(life.interval >= 10 && life.interval <= 100);
    CHECK(tsk_bus_close(receiver));
    tsk_conf_free(conf);
}

/* A peer that went away is told with the address that it came with. */
static void test_peer_gone(void)
{
    struct tsk_conf *conf = watched_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_bus *receiver =
        open_at(conf, TSK_STEPS, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
    struct tsk_life came, gone;
    CHECK(await_life(sender, receiver, TSK_LIFE_ACCEPTED, &came));
    CHECK(await_life(sender, receiver, TSK_LIFE_READY, &gone));
    tsk_bus_close(receiver);
    CHECK(await_life(sender, sender, TSK_LIFE_DISCONNECTED, &gone));
    CHECK_STR(gone.peer, came.peer);
    CHECK(strncmp(gone.peer, "tcp://127.0.0.1:", 16) == 0);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* Nobody listens: with up to fifty tries a second two are told in the first second. */
static void test_pace(void)
{
    struct tsk_conf *conf = watched_conf();
    struct tsk_bus *bus = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, "ipc://nobody-is-here");
    struct tsk_life life;
    CHECK(await_life(bus, bus, TSK_LIFE_RETRYING, &life));
    CHECK_INT(life.hidden, 0);
    int64_t first = tsk_now_ms();
    CHECK(await_life(bus, bus, TSK_LIFE_RETRYING, &life));
    CHECK(tsk_now_ms() - first >= 900);
    int64_t second = tsk_now_ms(), hidden = life.hidden;
    CHECK(await_life(bus, bus, TSK_LIFE_RETRYING, &life));
    CHECK(tsk_now_ms() - second >= 1900);
    CHECK(hidden + life.hidden >= 5);
    tsk_bus_close(bus);
    tsk_conf_free(conf);
}

/* A peer of a type that does not fit fails on both sides, and libzmq says so in no event of its
 * own. */
static void test_refused(void)
{
    struct tsk_conf *conf = watched_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    struct tsk_bus *other = open_at(conf, TSK_RESULTS, TSK_SENDER, false, tsk_bus_endpoint(sender));
    struct tsk_life life;
    CHECK(await_life(sender, other, TSK_LIFE_REFUSED, &life));
    CHECK(strstr(life.reason, "no PUB or SUB") != NULL);
    CHECK(await_life(other, sender, TSK_LIFE_REFUSED, &life));
    CHECK(strstr(life.reason, "no PUB or SUB") != NULL);
    tsk_bus_close(other);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* What has the port by mistake is not the end: the true peer is found there later. */
static void test_again(void)
{
    struct tsk_conf *conf = test_conf(); /* not told, and done all the same */
    char at[256];
    size_t size = sizeof at;
    void *ctx = zmq_ctx_new(), *wrong = zmq_socket(ctx, ZMQ_REP);
    struct tsk_life life;
    CHECK(zmq_bind(wrong, ANY_PORT) == 0 &&
          zmq_getsockopt(wrong, ZMQ_LAST_ENDPOINT, at, &size) == 0);
    struct tsk_bus *receiver = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, at);
    tsk_bus_subscribe(receiver, "steps");
    for (int64_t end = tsk_now_ms() + 500; tsk_now_ms() < end;) {
        struct pollfd fd = {.fd = tsk_bus_life_fd(receiver), .events = POLLIN};
        CHECK(!tsk_bus_life(receiver, &life));
        poll(&fd, 1, tsk_left_ms(tsk_earlier(end, tsk_bus_life_deadline(receiver))));
    }
    zmq_close(wrong);
    zmq_ctx_term(ctx);
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, at);
    struct tsk_frame frame;
    int64_t end = tsk_now_ms() + PATIENCE_MS;
    int joined = 0;
    while (!joined && tsk_now_ms() < end) {
        tsk_bus_life(receiver, &life);
        tsk_bus_recv(receiver, &frame, NULL);
        joined += tsk_bus_recv(sender, &frame, NULL) == 1;
        struct pollfd fd = {.fd = tsk_bus_fd(sender), .events = POLLIN};
        poll(&fd, 1, 10);
    }
    CHECK_INT(joined, 1);
    CHECK_STR(frame.topic, "steps");
    CHECK(is_quiet(sender)); /* and not twice */
    tsk_bus_close(receiver);
    tsk_bus_close(sender);
    tsk_conf_free(conf);
}

/* Connects, waits for the first byte of the greeting, and disconnects: at least two events. */
static bool greet(const char *endpoint)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    unsigned short port = 0;
    char byte;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sscanf(endpoint, "tcp://127.0.0.1:%hu", &port);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool greeted = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                   read(fd, &byte, sizeof byte) == sizeof byte;
    close(fd);
    return greeted;
}

/* Thousands of unread events stop neither the sockets nor their end. */
static void test_unread(void)
{
    struct tsk_conf *conf = watched_conf();
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, ANY_PORT);
    for (int i = 0; i < 1500 && CHECK(greet(tsk_bus_endpoint(sender))); i++)
        ;
    struct tsk_bus *peer = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, tsk_bus_endpoint(sender));
    tsk_bus_subscribe(peer, "steps");
    CHECK(await_join(sender, peer, "steps"));
    tsk_bus_close(peer);
    CHECK(tsk_bus_close(sender));
    tsk_conf_free(conf);
}

/* What a peer does not take is given up after linger, and that is told. */
static void test_linger(void)
{
    struct tsk_conf *conf = watched_conf();
    assign(conf, "zeromq.linger=200ms");
    assign(conf, "zeromq.recv_hwm=1");
    struct tsk_bus *sender = open_at(conf, TSK_STEPS, TSK_SENDER, true, "ipc://slow");
    struct tsk_bus *peer = open_at(conf, TSK_STEPS, TSK_RECEIVER, false, "ipc://slow");
    size_t len = 1 << 20;
    char *body = calloc(1, len);
    tsk_bus_subscribe(peer, "steps");
    CHECK(await_join(sender, peer, "steps"));
    for (int i = 0; i < 50; i++)
        CHECK_INT(tsk_bus_send(sender, "steps", body, len, NULL), 1);
    int64_t start = tsk_now_ms();
    CHECK(!tsk_bus_close(sender));
    CHECK(tsk_now_ms() - start < PATIENCE_MS);
    tsk_bus_close(peer);
    free(body);
    tsk_conf_free(conf);
}

int main(void)
{
    test_names();
    test_not_watched();
    test_story(ANY_PORT, true);
    test_story("ipc://story", false);
    test_peer_gone();
    test_pace();
    test_refused();
    test_again();
    test_unread();
    test_linger();
    return check_done();
}
