/* Starting programs: what a child gets, and what is told if there is none. The same test serves
 * OS=posix. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/os.h"

#include "check.h"

extern char **environ;

enum { PATIENCE_MS = 30000 };

static char folder[] = "/tmp/tasker-spawn.XXXXXX";

static int null_fd(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static bool crowded; /* how the programs below are started */

/* Runs argv with stdout (and fd 3) into text. Returns the status of waitpid, or -1. */
static int run(char *const *argv, char *const *envp, const char *dir, struct tsk_buf *text)
{
    int ends[2], null = null_fd();
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    struct tsk_spawn spawn = {argv, envp, dir, {null, ends[1], 2, ends[1]}, .crowded = crowded};
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
    struct tsk_spawn spawn = {argv, environ, dir, {null, null, null, null}, .crowded = crowded};
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
    CHECK_INT(spawn_errno(write_file("plain", "text", 0644), NULL), EACCES);
    CHECK_INT(spawn_errno(folder, NULL), EACCES);
    CHECK_INT(spawn_errno(deep, NULL), ENOENT); /* no slash: it is in no folder of PATH */
    deep[0] = '/';
    CHECK_INT(spawn_errno(deep, NULL), ENAMETOOLONG);
    if (check_under_valgrind()) /* it makes a fork of a vfork, and an exec that fails ends it */
        return;
    /* these are found in the child alone */
    CHECK_INT(spawn_errno("/bin/true", "/nonexistent"), ENOENT);
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
    /* glibc's posix_spawn, which make uses, leaves its own two signals (32, 33) ignored */
    CHECK_INT(
        run_shell(
            "grep -E '^Sig(Ign|Blk)' /proc/self/status | cut -f2 | sed s/00000001800/00000000000/",
            NULL, &text),
        0);
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
    struct tsk_spawn spawn = {argv, environ, NULL, {-1, 3, 2, 1}, .crowded = crowded};
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
    struct tsk_spawn spawn = {argv, environ, NULL, {null, null, 2, null}, .crowded = crowded};
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

/* What a child does to its descriptors must not be done to those of its parent. */
static void test_spawn_leaves_ours(void)
{
    struct tsk_buf text = TSK_BUF_INIT;
    char name[64], before[16][64], after[64];
    for (int fd = 0; fd < 16; fd++) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, before[fd], sizeof before[fd] - 1);
        before[fd][n < 0 ? 0 : n] = '\0';
    }
    CHECK_INT(run_shell("exit 7", NULL, &text), 7 << 8);
    if (!check_under_valgrind())
        spawn_errno("/bin/true", "/nonexistent");
    for (int fd = 0; fd < 16; fd++) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, after, sizeof after - 1);
        after[n < 0 ? 0 : n] = '\0';
        CHECK_STR(after, before[fd]);
    }
    tsk_buf_fini(&text);
}

/* A path that was found before is not looked for again, and what is wrong with it by then is told.
 */
static void test_spawn_found(void)
{
    char path[300];
    char *argv[] = {"sh", "-c", "exit 4", NULL};
    int null = null_fd(), status;
    struct tsk_spawn spawn = {argv,         environ,           NULL, {null, null, 2, null},
                              .path = path, .crowded = crowded};
    CHECK(tsk_os_find(&spawn, path, sizeof path) == 0 && path[0] == '/');
    pid_t pid = tsk_os_spawn(&spawn);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4);
    snprintf(path, sizeof path, "/nonexistent/sh");
    CHECK(check_under_valgrind() || (tsk_os_spawn(&spawn) == -1 && errno == ENOENT));
    close(null);
}

struct starter {
    pid_t pid;
    sem_t started, end;
};

static void *start_and_wait(void *ctx)
{
    struct starter *starter = ctx;
    char *argv[] = {"sleep", "60", NULL};
    struct tsk_spawn spawn = {argv, environ, NULL, {-1, 2, 2, -1}, .crowded = crowded};
    starter->pid = tsk_os_spawn(&spawn);
    sem_post(&starter->started);
    sem_wait(&starter->end);
    return NULL;
}

/* A child lives as long as the thread that started it; any thread may wait for it. */
static void test_spawn_in_thread(void)
{
    struct starter starter;
    pthread_t thread;
    int status;
    sem_init(&starter.started, 0, 0);
    sem_init(&starter.end, 0, 0);
    CHECK(pthread_create(&thread, NULL, start_and_wait, &starter) == 0);
    sem_wait(&starter.started);
    CHECK(starter.pid > 0);
    CHECK_INT(waitpid(starter.pid, &status, WNOHANG), 0);
    sem_post(&starter.end);
    pthread_join(thread, NULL);
    if (!tsk_os_adopt_orphans()) /* this system does not tie them to it */
        kill(starter.pid, SIGKILL);
    CHECK(waitpid(starter.pid, &status, 0) == starter.pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_spawn(void)
{
    test_spawn_errors();
    test_spawn_dir_and_env();
    test_spawn_group_and_signals();
    test_spawn_closes_the_rest();
    test_spawn_fds();
    test_spawn_leaves_ours();
    test_spawn_found();
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    test_spawn();
    if (!check_under_valgrind()) { /* it does not know this way */
        crowded = true;
        test_spawn();
        test_spawn_in_thread();
        crowded = false;
    }
    test_spawn_path();
    test_reap();
    test_spawn_in_thread();
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return check_done();
}
