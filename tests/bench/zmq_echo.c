/* zmq_echo COUNT [PROGRAM [ARG ...]]: the bare limit of a round trip over the two channels. One
 * process sends on an XPUB (as a publisher does) and receives on an XSUB (as a collector does); the
 * other one receives on an XSUB and answers on an XPUB (as a worker does). Over TCP, one message at
 * a time. Prints
 *
 *     count=COUNT p50_us=A p99_us=B
 *
 * With a PROGRAM it is run to its end before each trip, which is not measured: so the threads and
 * the processors have slept and worked between two trips as they do where each trip is about a
 * step, and do not find each other awake. */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "bench.h"

extern char **environ;

enum { WARM_UP = 100, OUT_BYTES = 500, BACK_BYTES = 600, ROOM = 1024, WAIT_MS = 10000 };

struct ends {
    void *ctx, *sender, *receiver;
};

static void check(int rc, const char *what)
{
    if (rc < 0)
        bench_die("%s: %s", what, zmq_strerror(zmq_errno()));
}

/* Binds the sender, tells the other process where, and connects to where that one is bound. */
static struct ends open_ends(int to, int from)
{
    struct ends ends = {zmq_ctx_new(), NULL, NULL};
    char mine[256] = "", theirs[256] = "";
    size_t size = sizeof mine;
    int wait_ms = WAIT_MS;
    ends.sender = zmq_socket(ends.ctx, ZMQ_XPUB);
    ends.receiver = zmq_socket(ends.ctx, ZMQ_XSUB);
    zmq_setsockopt(ends.sender, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq_setsockopt(ends.receiver, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    check(zmq_bind(ends.sender, "tcp://127.0.0.1:*"), "bind");
    check(zmq_getsockopt(ends.sender, ZMQ_LAST_ENDPOINT, mine, &size), "endpoint");
    if (write(to, mine, sizeof mine) != sizeof mine ||
        read(from, theirs, sizeof theirs) != sizeof theirs)
        bench_die("the other process is not there");
    check(zmq_connect(ends.receiver, theirs), "connect");
    check(zmq_send(ends.receiver, "\1t ", 3, 0), "subscribe");
    char subscription[ROOM];
    check(zmq_recv(ends.sender, subscription, sizeof subscription, 0), "wait for a subscription");
    return ends;
}

static void close_ends(struct ends *ends)
{
    zmq_close(ends->sender);
    zmq_close(ends->receiver);
    zmq_ctx_term(ends->ctx);
}

/* The other process. */
static void answer(struct ends *ends, long count)
{
    char message[ROOM] = "t ";
    for (long i = 0; i < count; i++) {
        check(zmq_recv(ends->receiver, message, sizeof message, 0), "receive");
        check(zmq_send(ends->sender, message, BACK_BYTES, 0), "answer");
    }
}

static void run(char **argv)
{
    pid_t pid;
    int status, code = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
    if (code)
        bench_die("%s: %s", argv[0], strerror(code));
    if (waitpid(pid, &status, 0) < 0 || status)
        bench_die("%s failed", argv[0]);
}

static void ask(struct ends *ends, int64_t *took, long count, char **program)
{
    char message[ROOM] = "t ";
    for (long i = 0; i < count; i++) {
        if (*program)
            run(program);
        int64_t begin = bench_now();
        check(zmq_send(ends->sender, message, OUT_BYTES, 0), "send");
        check(zmq_recv(ends->receiver, message, sizeof message, 0), "receive an answer");
        took[i] = bench_now() - begin;
    }
}

int main(int argc, char **argv)
{
    int out[2], back[2], status;
    if (argc < 2)
        bench_die("usage: zmq_echo COUNT [PROGRAM [ARG ...]]");
    long count = bench_number(argv[1]), all = count + WARM_UP;
    if (pipe(out) || pipe(back))
        bench_die("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    struct ends ends = pid ? open_ends(out[1], back[0]) : open_ends(back[1], out[0]);
    int64_t *took = bench_alloc((size_t)all * sizeof *took);
    if (pid)
        ask(&ends, took, all, argv + 2);
    else
        answer(&ends, all);
    close_ends(&ends);
    if (pid) {
        if (waitpid(pid, &status, 0) < 0 || status)
            bench_die("the other process failed");
        printf("count=%ld", count);
        bench_print_percentiles(took + WARM_UP, count);
        putchar('\n');
    }
    free(took);
    return 0;
}
