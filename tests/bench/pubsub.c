/* pubsub COUNT: what libzmq itself gives. Two processes each send COUNT results over a PUB; a
 * third, which is this one, receives them by one SUB and writes what follows the topic to stdout.
 * Prints to stderr
 *
 *     messages=ALL seconds=S rate=R
 *
 * The senders wait where the queue is full, so that every message counts. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "bench.h"
#include "result_line.h"

enum { SENDERS = 2, HWM = 10000, WAIT_MS = 20000, CALL_MS = 5, ENDPOINT_SIZE = 256 };

#define SOURCE "01a2097a-623b-72ff-980f-d0a8ff8d3e64"

static void check(int rc, const char *what)
{
    if (rc < 0)
        bench_die("%s: %s", what, zmq_strerror(zmq_errno()));
}

static void *open_socket(void *ctx, int type)
{
    void *socket = zmq_socket(ctx, type);
    int hwm = HWM, wait_ms = WAIT_MS;
    zmq_setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq_setsockopt(socket, ZMQ_SNDTIMEO, &wait_ms, sizeof wait_ms);
    return socket;
}

static void send_line(void *socket, long i)
{
    char line[RESULT_LINE_SIZE];
    const char *topic = result_line_topic(i);
    size_t head = strlen(topic) + 1, len = result_line(line, SOURCE, i);
    zmq_msg_t message;
    check(zmq_msg_init_size(&message, head + len), "message");
    char *data = zmq_msg_data(&message);
    memcpy(data, topic, head - 1);
    data[head - 1] = ' ';
    memcpy(data + head, line, len);
    check(zmq_msg_send(&message, socket, 0), "send");
}

/* A sender. A PUB does not see who subscribes: it calls until it is told to begin. */
static void send_all(int out, int go, int number, long count)
{
    char endpoint[ENDPOINT_SIZE] = "", call[] = {'?', (char)number};
    size_t size = sizeof endpoint;
    int one = 1;
    struct pollfd pfd = {.fd = go, .events = POLLIN};
    void *ctx = zmq_ctx_new(), *socket = open_socket(ctx, ZMQ_PUB);
    zmq_setsockopt(socket, ZMQ_XPUB_NODROP, &one, sizeof one);
    check(zmq_bind(socket, "tcp://127.0.0.1:*"), "bind");
    check(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size), "endpoint");
    if (write(out, endpoint, sizeof endpoint) != sizeof endpoint)
        bench_die("the receiver is not there");
    do
        check(zmq_send(socket, call, sizeof call, 0), "call");
    while (poll(&pfd, 1, CALL_MS) == 0);
    for (long i = 1; i <= count; i++)
        send_line(socket, i);
    zmq_close(socket);
    zmq_ctx_term(ctx);
    exit(0);
}

/* Starts a sender; endpoint becomes where it is. Returns where a byte tells it to begin. */
static int start_sender(char endpoint[ENDPOINT_SIZE], int number, long count)
{
    int out[2], go[2];
    if (pipe(out) || pipe(go))
        bench_die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0)
        send_all(out[1], go[0], number, count);
    if (read(out[0], endpoint, ENDPOINT_SIZE) != ENDPOINT_SIZE)
        bench_die("a sender has gone");
    return go[1];
}

static void wait_calls(void *socket)
{
    bool heard[SENDERS] = {false};
    char call[2];
    for (int left = SENDERS; left;) {
        check(zmq_recv(socket, call, sizeof call, 0), "wait for the senders");
        left -= !heard[(int)call[1]];
        heard[(int)call[1]] = true;
    }
}

/* Receives and writes all. */
static void receive_all(void *socket, long all)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    for (long got = 0; got < all;) {
        check(zmq_msg_recv(&message, socket, 0), "receive");
        const char *data = zmq_msg_data(&message);
        size_t len = zmq_msg_size(&message);
        const char *body = memchr(data, ' ', len);
        if (!body)
            continue; /* a call */
        fwrite(body + 1, 1, len - (size_t)(body + 1 - data), stdout);
        putchar('\n');
        got++;
    }
    zmq_msg_close(&message);
}

int main(int argc, char **argv)
{
    int go[SENDERS], status;
    if (argc != 2)
        bench_die("usage: pubsub COUNT");
    long count = bench_number(argv[1]);
    char endpoints[SENDERS][ENDPOINT_SIZE];
    for (int i = 0; i < SENDERS; i++) /* before libzmq has threads here */
        go[i] = start_sender(endpoints[i], i, count);
    void *ctx = zmq_ctx_new(), *socket = open_socket(ctx, ZMQ_SUB);
    check(zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0), "subscribe");
    for (int i = 0; i < SENDERS; i++)
        check(zmq_connect(socket, endpoints[i]), "connect");
    wait_calls(socket);
    int64_t begin = bench_now();
    for (int i = 0; i < SENDERS; i++)
        check((int)write(go[i], "", 1), "begin");
    receive_all(socket, SENDERS * count);
    if (fflush(stdout))
        bench_die("write: %s", strerror(errno));
    double seconds = bench_seconds(bench_now() - begin);
    zmq_close(socket);
    zmq_ctx_term(ctx);
    while (wait(&status) > 0) {
        if (status)
            bench_die("a sender failed");
    }
    fprintf(stderr, "messages=%ld seconds=%.6f rate=%.1f\n", SENDERS * count, seconds,
            (double)(SENDERS * count) / seconds);
    return 0;
}
