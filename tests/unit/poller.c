/* Waiting for pipes, sockets and what is always ready. The same test serves OS=posix. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tasker/clock.h"
#include "tasker/os.h"

#include "check.h"

enum { PATIENCE_MS = 30000 };

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
    tsk_poller_set(poller, ends[1], 0, NULL);
    tsk_poller_set(poller, ends[0], 0, NULL);
    int64_t start = tsk_now_ms();
    CHECK_INT(wait_for(poller, 30, &tags[0]), 0);
    CHECK(tsk_now_ms() - start >= 25); /* it does not even wake */
    tsk_poller_set(poller, ends[0], TSK_READ, &tags[0]);
    CHECK_INT(wait_for(poller, 0, &tags[0]), TSK_READ);
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

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    test_poller_pipe();
    test_poller_broken_pipe();
    test_poller_files();
    test_poller_socket();
    test_poller_many();
    return check_done();
}
