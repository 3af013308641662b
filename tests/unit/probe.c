/* The probe against real libzmq peers of all kinds and against plain sockets that are none. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "check.h"
#include "tasker/clock.h"
#include "tasker/bus.h"

#define TIMEOUT 20000

static struct tsk_probe probe;
static struct tsk_err err;

static enum tsk_probe_state look(const char *endpoint, int64_t timeout)
{
    memset(&probe, 0xAA, sizeof probe);
    if (tsk_probe_endpoint(endpoint, TSK_RECEIVER, timeout, &probe, &err)) {
        fprintf(stderr, "%s: %s\n", endpoint, err.text);
        return TSK_PROBE_STATES;
    }
    return probe.state;
}

/* ---- peers that are ZeroMQ */

static void *bind_peer(void *ctx, int type, const char *where, char *endpoint, size_t size)
{
    int off = 0;
    void *sock = zmq_socket(ctx, type);
    CHECK(zmq_setsockopt(sock, ZMQ_LINGER, &off, sizeof off) == 0);
    CHECK(zmq_bind(sock, where) == 0);
    CHECK(zmq_getsockopt(sock, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0);
    return sock;
}

static void test_zmtp_peers(void *ctx)
{
    static const struct {
        int type;
        enum tsk_side side;
    } cases[] = {{ZMQ_PUB, TSK_RECEIVER},
                 {ZMQ_XPUB, TSK_RECEIVER},
                 {ZMQ_SUB, TSK_SENDER},
                 {ZMQ_XSUB, TSK_SENDER}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char endpoint[128];
        void *sock = bind_peer(ctx, cases[i].type, "tcp://127.0.0.1:*", endpoint, sizeof endpoint);
        CHECK_INT(look(endpoint, TIMEOUT), TSK_PROBE_OK);
        CHECK_INT(probe.side, cases[i].side);
        CHECK_STR(probe.address, endpoint);
        CHECK_STR(probe.reason, "");
        CHECK(probe.connect_us >= 0 && probe.handshake_us >= probe.connect_us);
        CHECK(probe.handshake_us < TIMEOUT * 1000);
        zmq_close(sock);
    }
}

static void test_refusing_peers(void *ctx)
{
    char endpoint[128], public_key[41], secret_key[41];
    int on = 1;
    void *rep = bind_peer(ctx, ZMQ_REP, "tcp://127.0.0.1:*", endpoint, sizeof endpoint);
    CHECK_INT(look(endpoint, TIMEOUT), TSK_PROBE_HANDSHAKE);
    CHECK_STR(probe.peer_type, "REP");
    CHECK_STR(probe.reason, "the peer is a REP socket");
    CHECK_INT(probe.handshake_us, -1);
    CHECK(probe.connect_us >= 0);
    zmq_close(rep);
    if (!zmq_has("curve") || zmq_curve_keypair(public_key, secret_key))
        return;
    void *pub = zmq_socket(ctx, ZMQ_PUB);
    size_t size = sizeof endpoint;
    CHECK(zmq_setsockopt(pub, ZMQ_CURVE_SERVER, &on, sizeof on) == 0);
    CHECK(zmq_setsockopt(pub, ZMQ_CURVE_SECRETKEY, secret_key, 41) == 0);
    CHECK(zmq_bind(pub, "tcp://127.0.0.1:*") == 0);
    CHECK(zmq_getsockopt(pub, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0);
    CHECK_INT(look(endpoint, TIMEOUT), TSK_PROBE_HANDSHAKE);
    CHECK(strstr(probe.reason, "CURVE") != NULL);
    zmq_close(pub);
}

static void test_ipc(void *ctx)
{
    char dir[] = "/tmp/probe.XXXXXX", path[64], where[80], endpoint[128];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(where, sizeof where, "ipc://%s", path);
    CHECK_INT(look(where, TIMEOUT), TSK_PROBE_REFUSED);
    CHECK_STR(probe.reason, "no such socket");
    void *sock = bind_peer(ctx, ZMQ_XPUB, where, endpoint, sizeof endpoint);
    CHECK_INT(look(where, TIMEOUT), TSK_PROBE_OK);
    zmq_close(sock); /* its file goes away some time later */
    snprintf(path, sizeof path, "%s/f", dir);
    snprintf(where, sizeof where, "ipc://%s", path);
    FILE *file = fopen(path, "w");
    CHECK(file && fclose(file) == 0);
    CHECK_INT(look(where, TIMEOUT), TSK_PROBE_REFUSED);
    CHECK_STR(probe.reason, "there is a file of that name which is no socket");
    unlink(path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    close(fd);
    CHECK_INT(look(where, TIMEOUT), TSK_PROBE_REFUSED);
    CHECK_STR(probe.reason, "its process is gone, the socket file is a leftover");
    unlink(path);
    snprintf(path, sizeof path, "%s/s", dir);
    unlink(path);
    rmdir(dir);
}

/* ---- peers that are something else */

struct server {
    int fd;
    const char *says; /* NULL: closes at once */
    size_t len;
    bool keep; /* does not close */
    char endpoint[64];
    pthread_t thread;
};

static int listen_on(int backlog, char *endpoint, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(fd, backlog) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    snprintf(endpoint, size, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

/* Serves until the listening socket is shut down. */
static void *serve(void *arg)
{
    struct server *server = arg;
    int kept[16], count = 0, fd;
    while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
        if (server->says)
            send(fd, server->says, server->len, MSG_NOSIGNAL);
        if (server->keep && count < 16)
            kept[count++] = fd;
        else
            close(fd);
    }
    while (count)
        close(kept[--count]);
    return NULL;
}

static void start(struct server *server, const char *says, size_t len, bool keep)
{
    *server = (struct server){.says = says, .len = len, .keep = keep};
    server->fd = listen_on(8, server->endpoint, sizeof server->endpoint);
    CHECK(pthread_create(&server->thread, NULL, serve, server) == 0);
}

static void stop(struct server *server)
{
    shutdown(server->fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->fd);
}

static void test_foreign(void)
{
    static const char greeting[] = "\xff\0\0\0\0\0\0\0\1\x7f\x03";
    static const struct {
        const char *says;
        size_t len;
        bool keep;
        enum tsk_probe_state state;
        const char *reason;
    } cases[] = {
        {"SSH-2.0-x\r\n", 11, true, TSK_PROBE_FOREIGN, "it says \"SSH-2.0-x\""},
        {"HTTP/1.1 400 Bad\r\n\r\n", 20, false, TSK_PROBE_FOREIGN, "\"HTTP/1.1 400 Bad\""},
        {"\x1b[2J\0\xc3\n", 7, true, TSK_PROBE_FOREIGN, "\".[2J..\""},
        {greeting, 11, true, TSK_PROBE_HANDSHAKE, "stops in the middle"},
        {"\xff\0\0\0\0\0\0\0\1\x7f\x01\x01", 12, true, TSK_PROBE_HANDSHAKE, "speaks ZMTP 1"},
        {"\xff\0\0\0\0\0\0\0\0\0hello", 15, true, TSK_PROBE_FOREIGN, "hello"},
        {NULL, 0, false, TSK_PROBE_CLOSED, "closes the connection at once"},
        {"", 0, true, TSK_PROBE_SILENT, "says nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct server server;
        start(&server, cases[i].says, cases[i].len, cases[i].keep);
        if (!CHECK_INT(look(server.endpoint, 1000), cases[i].state) ||
            !CHECK(strstr(probe.reason, cases[i].reason) != NULL))
            fprintf(stderr, "    case %zu: %s\n", i, probe.reason);
        CHECK(probe.connect_us >= 0);
        CHECK_INT(probe.handshake_us, -1);
        stop(&server);
    }
}

/* A greeting and a READY whose lengths point beyond what was sent. */
static void test_lying_peer(void)
{
    char says[64 + 40] = "\xff\0\0\0\0\0\0\0\1\x7f\x03";
    memcpy(says + 12, "NULL", 4);
    memcpy(says + 64, "\x04\x20\x05READY\x0bSocket-Type\0\0\0\xffSUB", 2 + 6 + 12 + 4 + 3);
    struct server server;
    start(&server, says, sizeof says, true);
    CHECK_INT(look(server.endpoint, 1000), TSK_PROBE_HANDSHAKE);
    CHECK_STR(probe.peer_type, "");
    stop(&server);
}

static void test_nobody(void)
{
    char endpoint[64];
    close(listen_on(1, endpoint, sizeof endpoint));
    CHECK_INT(look(endpoint, TIMEOUT), TSK_PROBE_REFUSED);
    CHECK_STR(probe.reason, "connection refused");
    CHECK_INT(probe.connect_us, -1);
    CHECK_INT(look("tcp://nosuch.invalid:1", TIMEOUT), TSK_PROBE_NO_HOST);
    CHECK(strstr(probe.reason, "nosuch.invalid") != NULL);
    CHECK_STR(probe.address, "");
}

/* A full backlog drops what comes, as a filter would. */
static void test_timeout(void)
{
    char endpoint[64];
    int fds[4], fd = listen_on(0, endpoint, sizeof endpoint);
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    for (int i = 0; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&address, len);
    }
    int64_t start_ms = tsk_now_ms();
    CHECK_INT(look(endpoint, 150), TSK_PROBE_TIMEOUT);
    CHECK_STR(probe.reason,
              "no connection within 150 ms: packets are dropped, or the host is down");
    CHECK(tsk_now_ms() - start_ms >= 150);
    CHECK(tsk_now_ms() - start_ms < 30000);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    close(fd);
}

/* ---- endpoints */

static void test_bad_endpoints(void)
{
    static const char *const bad[] = {"",
                                      "tcp://",
                                      "127.0.0.1:1",
                                      "udp://127.0.0.1:1",
                                      "tcp://127.0.0.1",
                                      "tcp://127.0.0.1:*",
                                      "tcp://127.0.0.1:0",
                                      "tcp://127.0.0.1:65536",
                                      "tcp://:5",
                                      "ipc://",
                                      "inproc://x"};
    char longest[400] = "ipc:///";
    memset(longest + 7, 'x', 200);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err.kind = TSK_OK;
        if (!CHECK_INT(tsk_probe_endpoint(bad[i], TSK_RECEIVER, 10, &probe, &err), -1) ||
            !CHECK_INT(err.kind, TSK_USAGE))
            fprintf(stderr, "    endpoint \"%s\"\n", bad[i]);
    }
    CHECK_INT(tsk_probe_endpoint(longest, TSK_RECEIVER, 10, &probe, &err), -1);
    CHECK(strstr(err.text, "too long") != NULL);
}

static void test_local_port(void)
{
    CHECK_INT(tsk_probe_local_port("tcp://127.0.0.1:5555"), 5555);
    CHECK_INT(tsk_probe_local_port("tcp://127.9.9.9:5555"), 5555);
    CHECK_INT(tsk_probe_local_port("tcp://localhost:5556"), 5556);
    CHECK_INT(tsk_probe_local_port("tcp://*:5557"), 5557);
    CHECK_INT(tsk_probe_local_port("tcp://192.0.2.1:5555"), 0);
    CHECK_INT(tsk_probe_local_port("tcp://127.0.0.1:*"), 0);
    CHECK_INT(tsk_probe_local_port("ipc:///tmp/x"), 0);
    CHECK_STR(tsk_probe_state_name(TSK_PROBE_OK), "ok");
    CHECK_STR(tsk_probe_state_name(TSK_PROBE_HANDSHAKE), "handshake");
    CHECK_STR(tsk_probe_state_name(TSK_PROBE_STATES), "unknown");
}

int main(void)
{
    void *ctx = zmq_ctx_new();
    test_zmtp_peers(ctx);
    test_refusing_peers(ctx);
    test_ipc(ctx);
    test_foreign();
    test_lying_peer();
    test_nobody();
    test_timeout();
    test_bad_endpoints();
    test_local_port();
    zmq_ctx_term(ctx);
    return check_done();
}
