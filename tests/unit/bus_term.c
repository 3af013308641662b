/* The end of a bus while libzmq is in trouble. */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tasker/os.h"

#include "bus_peers.h"

/* A peer that speaks just enough of ZMTP by itself: it sends much, reads nothing, and is gone when
 * the other end is closing. */

static const char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL";
static const char ready[] = "\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB";
static const char message[] = "\0\x08topic {}";

static int connect_to(const char *endpoint)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0), little = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool put(int fd, const char *data, size_t len)
{
    return write(fd, data, len) == (ssize_t)len;
}

struct peer_thread {
    char endpoint[256];
    int said[2]; /* a pipe: all was sent */
    bool ok;
};

static bool send_much(int fd)
{
    char theirs[sizeof greeting];
    bool ok = put(fd, greeting, sizeof greeting) &&
              recv(fd, theirs, sizeof theirs, MSG_WAITALL) == sizeof theirs &&
              put(fd, ready, sizeof ready - 1);
    for (int i = 0; ok && i < 1000; i++)
        ok = put(fd, message, sizeof message - 1);
    return ok;
}

static void *peer(void *arg)
{
    struct peer_thread *peer = arg;
    int fd = connect_to(peer->endpoint), other;
    struct linger at_once = {1, 0};
    int64_t deadline = tsk_now_ms() + PATIENCE_MS;
    peer->ok = send_much(fd) && put(peer->said[1], "s", 1);
    while ((other = connect_to(peer->endpoint)) >= 0 && tsk_now_ms() < deadline)
        close(other); /* it is still open */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
    return NULL;
}

/* libzmq 4.3.4 aborts here, nearly always. It says so; the program goes on. */
static void test_abort(void)
{
    static char body[20000] = "{\"a\":\"";
    struct tsk_conf *conf = test_conf();
    pthread_t thread;
    char said;
    assign(conf, "zeromq.heartbeat_interval=50ms");
    assign(conf, "zeromq.recv_hwm=10");
    struct tsk_bus *bus = open_at(conf, TSK_RESULTS, TSK_RECEIVER, true, ANY_PORT);
    tsk_bus_subscribe(bus, "topic ");
    struct peer_thread it = {.ok = false};
    snprintf(it.endpoint, sizeof it.endpoint, "%s", tsk_bus_endpoint(bus));
    CHECK(pipe(it.said) == 0 && pthread_create(&thread, NULL, peer, &it) == 0);
    CHECK(gets(bus, "topic", "{}") && read(it.said[0], &said, 1) == 1);
    memset(body + 6, 'x', sizeof body - 9);
    memcpy(body + sizeof body - 3, "\"}", 3);
    for (int i = 0; i < 400; i++)
        CHECK_INT(say(bus, "collected", body), 1);
    tsk_bus_close(bus);
    CHECK(pthread_join(thread, NULL) == 0 && it.ok);
    tsk_conf_free(conf);
}

/* Waits until the close has begun, and aborts, as out of memory. */
static void *abort_then(void *arg)
{
    struct sigaction now = {.sa_handler = SIG_DFL};
    const struct timespec pause = {.tv_nsec = 1000000};
    (void)arg;
    while (sigaction(SIGABRT, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        nanosleep(&pause, NULL);
    abort();
}

/* A close that takes its whole time, since its peer is mute. */
static int close_slowly(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    struct tsk_conf *conf = test_conf();
    char endpoint[64];
    pthread_t thread;
    int mute = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(mute, (struct sockaddr *)&at, size) || listen(mute, 1) ||
        getsockname(mute, (struct sockaddr *)&at, &size))
        return 1;
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
    assign(conf, "zeromq.linger=20s");
    struct tsk_bus *bus = open_at(conf, TSK_RESULTS, TSK_RECEIVER, false, endpoint);
    if (say(bus, "collected", "{}") != 1 || pthread_create(&thread, NULL, abort_then, NULL))
        return 2;
    tsk_bus_close(bus);
    return 3;
}

/* A thread of ours is not held: others might wait for it for ever. */
static void test_own_abort(void)
{
    int status = 0;
    if (tsk_os_thread_named("nobody"))
        return; /* this system does not tell which thread it is */
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        _exit(close_slowly());
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    test_own_abort();
    test_abort();
    _exit(check_done()); /* what libzmq has left behind is no leak */
}
