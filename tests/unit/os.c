/* The system layer: the poller, starting programs, memory files, and ending what is left over. What
 * only Linux can do is told by what the calls return, so the same test serves OS=posix. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/os.h"

#include "check.h"

extern char **environ;

enum { PATIENCE_MS = 10000 };

static char folder[] = "/tmp/tasker-os.XXXXXX";

/* ---- the poller ---- */

static int wait_for(struct tsk_poller *poller, int timeout, const void *tag)
{
    struct tsk_event events[8];
    size_t n = tsk_poller_wait(poller, timeout, events, 8);
    for (size_t i = 0; i < n; i++) {
        if (events[i].tag == tag)
            return events[i].events;
    }
    return 0;
}

static void test_poller_pipe(void)
{
    struct tsk_poller *poller = tsk_poller_new();
    int ends[2], tags[2];
    CHECK(poller && pipe(ends) == 0);
    tsk_poller_set(poller, ends[0], TSK_READ, &tags[0]);
    CHECK_INT(wait_for(poller, 0, &tags[0]), 0);
    tsk_poller_set(poller, ends[1], TSK_WRITE, &tags[1]);
    CHECK_INT(wait_for(poller, 0, &tags[1]), TSK_WRITE);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK_INT(wait_for(poller, PATIENCE_MS, &tags[0]), TSK_READ);
    tsk_poller_set(poller, ends[0], 0, NULL);
    CHECK_INT(wait_for(poller, 0, &tags[0]), 0);
    tsk_poller_set(poller, ends[0], TSK_READ, &tags[0]);
    CHECK_INT(wait_for(poller, 0, &tags[0]), TSK_READ);
    tsk_poller_set(poller, ends[1], 0, NULL);
    close(ends[1]);
    char c;
    CHECK(read(ends[0], &c, 1) == 1);
    CHECK_INT(wait_for(poller, PATIENCE_MS, &tags[0]), TSK_READ); /* the end of file */
    tsk_poller_set(poller, ends[0], 0, NULL);
    close(ends[0]);
    tsk_poller_free(poller);
}

/* A writer must hear of a reader that went away. */
static void test_poller_broken_pipe(void)
{
    struct tsk_poller *poller = tsk_poller_new();
    int ends[2], tag;
    CHECK(pipe2(ends, O_NONBLOCK) == 0);
    while (write(ends[1], "0123456789", 10) > 0)
        ;
    tsk_poller_set(poller, ends[1], TSK_WRITE, &tag);
    CHECK_INT(wait_for(poller, 0, &tag), 0);
    close(ends[0]);
    CHECK_INT(wait_for(poller, PATIENCE_MS, &tag), TSK_WRITE);
    tsk_poller_set(poller, ends[1], 0, NULL);
    close(ends[1]);
    tsk_poller_free(poller);
}

/* Regular files and /dev/null are always ready, several of them in turn, beside others. */
static void test_poller_files(void)
{
    struct tsk_poller *poller = tsk_poller_new();
    int ends[2], tags[3], seen[3] = {0};
    int file = tsk_os_memory_file("abc", 3);
    int null = open("/dev/null", O_RDONLY);
    CHECK(file >= 0 && null >= 0 && pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
    tsk_poller_set(poller, file, TSK_READ, &tags[0]);
    tsk_poller_set(poller, null, TSK_READ, &tags[1]);
    tsk_poller_set(poller, ends[0], TSK_READ, &tags[2]);
    for (int i = 0; i < 12; i++) {
        struct tsk_event event;
        if (CHECK(tsk_poller_wait(poller, PATIENCE_MS, &event, 1) == 1))
            seen[(int *)event.tag - tags]++;
    }
    CHECK(seen[0] && seen[1] && seen[2]);
    tsk_poller_set(poller, ends[0], 0, NULL);
    tsk_poller_set(poller, file, 0, NULL);
    CHECK_INT(wait_for(poller, PATIENCE_MS, &tags[1]), TSK_READ);
    tsk_poller_set(poller, null, 0, NULL);
    CHECK_INT(wait_for(poller, 0, &tags[1]), 0);
    close(file);
    close(null);
    close(ends[0]);
    close(ends[1]);
    tsk_poller_free(poller);
}

static void test_poller_socket(void)
{
    struct tsk_poller *poller = tsk_poller_new();
    int ends[2], tag;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    tsk_poller_set(poller, ends[0], TSK_READ | TSK_WRITE, &tag);
    CHECK_INT(wait_for(poller, PATIENCE_MS, &tag), TSK_WRITE);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK_INT(wait_for(poller, PATIENCE_MS, &tag), TSK_READ | TSK_WRITE);
    tsk_poller_set(poller, ends[0], 0, NULL);
    close(ends[0]);
    close(ends[1]);
    tsk_poller_free(poller);
}

/* Far more at a time than the caller has room for: each is told in the end. */
static void test_poller_many(void)
{
    enum { MANY = 100 };
    struct tsk_poller *poller = tsk_poller_new();
    int fds[MANY][2], seen[MANY] = {0};
    for (int i = 0; i < MANY; i++) {
        CHECK(pipe(fds[i]) == 0 && write(fds[i][1], "x", 1) == 1);
        tsk_poller_set(poller, fds[i][0], TSK_READ, &seen[i]);
    }
    for (int i = 0; i < MANY; i++) {
        struct tsk_event events[7];
        size_t n = tsk_poller_wait(poller, PATIENCE_MS, events, 7);
        CHECK(n > 0 && n <= 7);
        for (size_t k = 0; k < n; k++)
            ++*(int *)events[k].tag;
    }
    int missed = 0;
    for (int i = 0; i < MANY; i++) {
        missed += !seen[i];
        tsk_poller_set(poller, fds[i][0], 0, NULL);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    CHECK_INT(missed, 0);
    tsk_poller_free(poller);
}

/* ---- starting programs ---- */

static int null_fd(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* Runs argv with stdout (and fd 3) into text. Returns the status of waitpid, or -1. */
static int run(char *const *argv, char *const *envp, const char *dir, struct tsk_buf *text)
{
    int ends[2], null = null_fd();
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    struct tsk_spawn spawn = {argv, envp, dir, {null, ends[1], 2, ends[1]}};
    pid_t pid = tsk_os_spawn(&spawn);
    int code = errno, status = -1;
    close(ends[1]);
    close(null);
    ssize_t n;
    while ((n = read(ends[0], tsk_buf_reserve(text, 4096), 4096)) > 0)
        text->len += (size_t)n;
    tsk_buf_add(text, "", 0);
    close(ends[0]);
    if (pid > 0)
        CHECK(waitpid(pid, &status, 0) == pid);
    errno = code;
    return status;
}

static int run_shell(const char *script, const char *dir, struct tsk_buf *text)
{
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    tsk_buf_reset(text);
    return run(argv, environ, dir, text);
}

static int spawn_errno(const char *program, const char *dir)
{
    char *argv[] = {(char *)program, NULL};
    int null = null_fd();
    struct tsk_spawn spawn = {argv, environ, dir, {null, null, null, null}};
    pid_t pid = tsk_os_spawn(&spawn);
    int code = errno;
    close(null);
    CHECK_INT(pid, -1);
    CHECK(pid < 0 && waitpid(-1, NULL, WNOHANG) == -1); /* no zombie is left */
    return code;
}

static const char *write_file(const char *name, const char *text, mode_t mode)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
    CHECK(chmod(path, mode) == 0);
    return path;
}

static void test_spawn_errors(void)
{
    char deep[5000];
    memset(deep, 'x', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    CHECK_INT(spawn_errno("/nonexistent/program", NULL), ENOENT);
    CHECK_INT(spawn_errno("no-such-program-anywhere", NULL), ENOENT);
    CHECK_INT(spawn_errno("", NULL), ENOENT);
    CHECK_INT(spawn_errno("./nothing", folder), ENOENT);
    CHECK_INT(spawn_errno("/bin/true", "/nonexistent"), ENOENT);
    CHECK_INT(spawn_errno(write_file("plain", "text", 0644), NULL), EACCES);
    CHECK_INT(spawn_errno(folder, NULL), EACCES);
    CHECK_INT(spawn_errno(deep, NULL), ENOENT); /* no slash: it is in no folder of PATH */
    deep[0] = '/';
    CHECK_INT(spawn_errno(deep, NULL), ENAMETOOLONG);
    /* these are found by exec alone, in the child */
    CHECK_INT(spawn_errno(write_file("empty", "no program", 0755), NULL), ENOEXEC);
    CHECK_INT(spawn_errno(write_file("lost", "#!/nonexistent/sh\n", 0755), NULL), ENOENT);
}

static void test_spawn_path(void)
{
    struct tsk_buf text = TSK_BUF_INIT;
    char before[4096], path[512];
    snprintf(before, sizeof before, "%s", getenv("PATH"));
    snprintf(path, sizeof path, "%s/bin", folder);
    CHECK(mkdir(path, 0755) == 0);
    write_file("tasker-greet", "not a program", 0644); /* passed over */
    write_file("bin/tasker-greet", "#!/bin/sh\necho found \"$1\"\n", 0755);
    char *argv[] = {"tasker-greet", "it", NULL};
    snprintf(path, sizeof path, "/nonexistent:%s:%s/bin:/bin", folder, folder);
    setenv("PATH", path, 1);
    CHECK_INT(run(argv, environ, NULL, &text), 0);
    CHECK_STR(text.data, "found it\n");
    tsk_buf_reset(&text);
    setenv("PATH", "bin:/bin", 1); /* seen from dir */
    CHECK_INT(run(argv, environ, folder, &text), 0);
    CHECK_STR(text.data, "found it\n");
    snprintf(path, sizeof path, "%s", folder);
    setenv("PATH", path, 1);
    CHECK_INT(spawn_errno("tasker-greet", NULL), EACCES);
    setenv("PATH", before, 1);
    tsk_buf_fini(&text);
}

static void test_spawn_dir_and_env(void)
{
    struct tsk_buf text = TSK_BUF_INIT;
    write_file("here", "#!/bin/sh\npwd; echo \"$GREETING\"\n", 0755);
    char *argv[] = {"./here", NULL}, *envp[] = {"GREETING=hello", "PATH=/bin:/usr/bin", NULL};
    char want[300];
    CHECK_INT(run(argv, envp, folder, &text), 0);
    snprintf(want, sizeof want, "%s\nhello\n", folder);
    CHECK_STR(text.data, want);
    tsk_buf_fini(&text);
}

static void test_spawn_group_and_signals(void)
{
    struct tsk_buf text = TSK_BUF_INIT;
    sigset_t mask, old;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, &old);
    CHECK_INT(run_shell("cut -d' ' -f5 /proc/$$/stat; echo $$", NULL, &text), 0);
    char *end;
    long group = strtol(text.data, &end, 10);
    CHECK(group > 0 && group == strtol(end, NULL, 10)); /* it leads its own group */
    CHECK_INT(run_shell("grep -E '^Sig(Ign|Blk)' /proc/self/status | cut -f2", NULL, &text), 0);
    CHECK_STR(text.data, "0000000000000000\n0000000000000000\n");
    int status = run_shell("kill -TERM $$", NULL, &text);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    sigset_t now;
    sigprocmask(SIG_SETMASK, &old, &now);
    CHECK(sigismember(&now, SIGTERM) == 1 && sigismember(&now, SIGINT) == 0); /* as it was */
    signal(SIGINT, SIG_DFL);
    tsk_buf_fini(&text);
}

static void test_spawn_closes_the_rest(void)
{
    struct tsk_buf text = TSK_BUF_INIT;
    int extra = fcntl(0, F_DUPFD, 50); /* without close-on-exec */
    int more = fcntl(0, F_DUPFD, 700);
    CHECK(extra == 50 && more == 700);
    /* ls itself opens the folder: as 4, the first that is free */
    char *argv[] = {"ls", "/proc/self/fd", NULL};
    CHECK_INT(run(argv, environ, NULL, &text), 0);
    CHECK_STR(text.data, "0\n1\n2\n3\n4\n");
    close(extra);
    close(more);
    tsk_buf_fini(&text);
}

/* A pipe whose descriptors are out of the way. */
static void high_pipe(int ends[2])
{
    int low[2];
    CHECK(pipe(low) == 0);
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 20);
        close(low[i]);
    }
}

/* Descriptors that change places, one of them not given at all. */
static void test_spawn_fds(void)
{
    int first[2], second[2], old_out = fcntl(1, F_DUPFD_CLOEXEC, 20);
    int old_three = fcntl(3, F_DUPFD_CLOEXEC, 20); /* -1 if it is closed */
    high_pipe(first);
    high_pipe(second);
    dup2(first[1], 3);
    dup2(second[1], 1);
    char *argv[] = {"sh", "-c", "echo out; echo three >&3; cat <&0 2>/dev/null", NULL};
    struct tsk_spawn spawn = {argv, environ, NULL, {-1, 3, 2, 1}};
    pid_t pid = tsk_os_spawn(&spawn);
    dup2(old_out, 1);
    close(3);
    if (old_three >= 0)
        dup2(old_three, 3);
    close(first[1]);
    close(second[1]);
    char text[64];
    ssize_t n = read(first[0], text, sizeof text);
    CHECK(n == 4 && memcmp(text, "out\n", 4) == 0);
    n = read(second[0], text, sizeof text);
    CHECK(n == 6 && memcmp(text, "three\n", 6) == 0);
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(status != 0); /* cat found no stdin */
    close(first[0]);
    close(second[0]);
    close(old_out);
    if (old_three >= 0)
        close(old_three);
}

static void test_reap(void)
{
    int null = null_fd(), status;
    struct rusage usage;
    char *argv[] = {"sh", "-c", "exit 3", NULL};
    struct tsk_spawn spawn = {argv, environ, NULL, {null, null, 2, null}};
    pid_t pid = tsk_os_spawn(&spawn), got;
    int64_t deadline = tsk_now_ms() + PATIENCE_MS;
    while ((got = tsk_os_reap(&status, &usage)) == 0 && tsk_now_ms() < deadline)
        poll(NULL, 0, 1);
    CHECK_INT(got, pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    CHECK(usage.ru_utime.tv_sec >= 0 && usage.ru_utime.tv_sec < 5);
    CHECK_INT(tsk_os_reap(&status, &usage), -1);
    close(null);
}

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

/* ---- ending what is left over ---- */

/* Starts a shell script whose processes hold the write end of a pipe while they wait for input on
 * descriptor 3. Returns the read end, which meets the end of file when all are dead. */
static int start_stragglers(const char *script, const char *mark, pid_t *pid)
{
    int ends[2], in[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && pipe2(in, O_CLOEXEC) == 0);
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    char *envp[] = {"PATH=/bin:/usr/bin", (char *)mark, NULL};
    struct tsk_spawn spawn = {argv, envp, NULL, {in[0], ends[1], 2, in[0]}};
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

/* A parent that is killed takes what it has started with it. */
static void test_death_of_parent(void)
{
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    if (!tsk_os_adopt_orphans()) { /* no such thing here */
        close(ends[0]);
        close(ends[1]);
        return;
    }
    pid_t parent = fork();
    if (parent == 0) {
        int in[2];
        char *argv[] = {"sh", "-c", "echo; exec cat", NULL};
        if (pipe2(in, O_CLOEXEC) != 0)
            _exit(1);
        struct tsk_spawn spawn = {argv, environ, NULL, {in[0], ends[1], 2, -1}};
        if (tsk_os_spawn(&spawn) < 0)
            _exit(1);
        close(ends[1]);
        for (;;)
            pause();
    }
    close(ends[1]);
    char c;
    CHECK(read(ends[0], &c, 1) == 1);
    kill(parent, SIGKILL);
    CHECK(waitpid(parent, NULL, 0) == parent);
    CHECK(ended(ends[0]));
    while (waitpid(-1, NULL, 0) > 0)
        ;
    close(ends[0]);
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
    close(fd);
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    test_poller_pipe();
    signal(SIGPIPE, SIG_IGN);
    test_poller_broken_pipe();
    test_poller_files();
    test_poller_socket();
    test_poller_many();
    test_spawn_errors();
    test_spawn_path();
    test_spawn_dir_and_env();
    test_spawn_group_and_signals();
    test_spawn_closes_the_rest();
    test_spawn_fds();
    test_reap();
    test_memory_file();
    test_kill_marked();
    test_port_holder();
    test_kill_children();
    test_death_of_parent();
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return check_done();
}
