/* Memory files, who holds a port, and ending what is left over. What only Linux can do is told by
 * what the calls return, so the same test serves OS=posix. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/os.h"

#include "check.h"

extern char **environ;

enum { PATIENCE_MS = 30000 };

static void test_memory_file(void)
{
    size_t len = 3u << 20;
    char *data = tsk_alloc(len), *copy = tsk_alloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 7 % 251);
    int fd = tsk_os_memory_file(data, len), empty = tsk_os_memory_file("", 0);
    size_t got = 0;
    ssize_t n;
    while (got < len && (n = read(fd, copy + got, len - got)) > 0)
        got += (size_t)n;
    CHECK(got == len && memcmp(data, copy, len) == 0);
    CHECK(read(fd, copy, 1) == 0 && read(empty, copy, 1) == 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    close(fd);
    close(empty);
    free(data);
    free(copy);
}

/* Starts a shell script whose processes hold the write end of a pipe while they wait for input on
 * descriptor 3. Returns the read end, which meets the end of file when all are dead. */
static int start_stragglers(const char *script, const char *mark, pid_t *pid)
{
    int ends[2], in[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && pipe2(in, O_CLOEXEC) == 0);
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    char *envp[] = {"PATH=/bin:/usr/bin", (char *)mark, NULL};
    struct tsk_spawn spawn = {
        .argv = argv, .envp = envp, .fds = {in[0], ends[1], 2, in[0]}};
    *pid = tsk_os_spawn(&spawn);
    CHECK(*pid > 0);
    close(ends[1]);
    close(in[0]);
    char c;                           /* in[1] stays open: it is what they wait for */
    CHECK(read(ends[0], &c, 1) == 1); /* the last of them runs */
    return ends[0];
}

static bool ended(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    char c;
    return poll(&poller, 1, PATIENCE_MS) == 1 && read(fd, &c, 1) == 0;
}

static void test_kill_marked(void)
{
    char mark[64], other[64];
    pid_t pid, innocent;
    snprintf(mark, sizeof mark, "TASKER_MARK=%d-x", (int)getpid());
    snprintf(other, sizeof other, "TASKER_MARK=%d-xy", (int)getpid());
    int safe = start_stragglers("echo; exec cat", other, &innocent);
    int fd =
        start_stragglers("setsid sh -c 'sh -c \"echo; cat <&3\" & cat <&3' & exit 0", mark, &pid);
    CHECK(waitpid(pid, NULL, 0) == pid);
    int seen = tsk_os_kill_marked(mark);
    if (seen == 0) { /* OS=posix cannot: do not leave them behind */
        CHECK(system("exit 0") == 0);
    } else {
        CHECK(seen >= 2);
        CHECK(ended(fd));
        CHECK_INT(tsk_os_kill_marked(mark), 0);
    }
    int status;
    CHECK_INT(waitpid(innocent, &status, WNOHANG), 0);
    kill(innocent, SIGKILL);
    CHECK(waitpid(innocent, &status, 0) == innocent && ended(safe));
    close(fd);
    close(safe);
}

/* Orphans come to us, and are found however they detached. */
static void test_kill_children(void)
{
    if (!tsk_os_adopt_orphans())
        return;
    pid_t pid, spare;
    int safe = start_stragglers("echo; exec cat", "A=b", &spare);
    int fd =
        start_stragglers("setsid sh -c 'sh -c \"echo; cat <&3\" & cat <&3' & exit 0", "A=b", &pid);
    int64_t deadline = tsk_now_ms() + PATIENCE_MS;
    int seen, most = 0;
    struct rusage usage;
    do {
        while (tsk_os_reap(&(int){0}, &usage) > 0)
            ;
        seen = tsk_os_kill_children(spare);
        most = seen > most ? seen : most;
    } while (seen > 0 && tsk_now_ms() < deadline);
    CHECK(most >= 1);
    CHECK(ended(fd));
    CHECK_INT(waitpid(spare, NULL, WNOHANG), 0);
    CHECK_INT(tsk_os_kill_children(0), 1);
    CHECK(waitpid(spare, NULL, 0) == spare && ended(safe));
    close(fd);
    close(safe);
}

/* Starts a process that starts another one, which waits for input from in and holds out. */
static pid_t start_parent(int in, int out)
{
    pid_t parent = fork();
    if (parent != 0)
        return parent;
    char *argv[] = {"sh", "-c", "echo; exec cat", NULL};
    struct tsk_spawn spawn = {.argv = argv, .envp = environ, .fds = {in, out, 2, -1}};
    if (tsk_os_spawn(&spawn) < 0)
        _exit(1);
    close(out);
    for (;;)
        pause();
}

/* A parent that is killed takes what it has started with it. */
static void test_death_of_parent(void)
{
    int in[2], out[2];
    char c;
    if (!tsk_os_adopt_orphans()) /* no such thing here */
        return;
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    pid_t parent = start_parent(in[0], out[1]);
    close(in[0]);
    close(out[1]);
    CHECK(read(out[0], &c, 1) == 1);
    kill(parent, SIGKILL);
    CHECK(waitpid(parent, NULL, 0) == parent);
    CHECK(ended(out[0]));
    close(in[1]);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    close(out[0]);
}

static void test_port_holder(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&at, len) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    int port = ntohs(at.sin_port);
    char text[64], want[64];
    CHECK(!tsk_os_port_holder(port, text, sizeof text)); /* it does not listen yet */
    CHECK(listen(fd, 1) == 0);
    tsk_os_set_name("os-test");
    snprintf(want, sizeof want, "os-test (pid %d)", (int)getpid());
    if (tsk_os_port_holder(port, text, sizeof text))
        CHECK_STR(text, want);
    else
        CHECK(!tsk_os_adopt_orphans()); /* only OS=posix does not know */
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(client, (struct sockaddr *)&at, len) == 0);
    int accepted = accept(fd, NULL, NULL);
    close(fd);
    CHECK(!tsk_os_port_holder(port, text, sizeof text)); /* a mere connection is no holder */
    close(client);
    close(accepted);
}

int main(void)
{
    test_memory_file();
    test_kill_marked();
    test_port_holder();
    test_kill_children();
    test_death_of_parent();
    return check_done();
}
