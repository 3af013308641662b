/* failover COUNT IN OUT PID: stops a worker (SIGSTOP), writes COUNT batches of one step to IN (a
 * FIFO that tasker-publish reads), reads the receipts of those that other workers took on OUT,
 * until no more come, then kills the worker, and waits for the rest. Prints
 *
 *     count=COUNT left=BATCHES_OF_THE_KILLED_ONE ms=UNTIL_THE_LAST_OF_THEM_IS_ACCEPTED */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

enum { QUIET_MS = 150, WAIT_MS = 20000, ROOM = 1 << 16 };

static void send_batch(int fd, long i)
{
    char line[512];
    int len = snprintf(line, sizeof line,
                       "{\"message_type\":\"batch\",\"batch_id\":\"fo-%ld-%ld\",\"steps\":[{"
                       "\"step_id\":%ld,\"task_id\":1,\"step_name\":\"validate_order\","
                       "\"handler_class\":\"Bench::True\"}]}\n",
                       (long)getpid(), i, i);
    if (write(fd, line, (size_t)len) != len)
        bench_die("cannot write a batch: %s", strerror(errno));
}

/* Reads receipts, until none comes for so long, or there are count. Returns how many came. */
static long read_receipts(int fd, long count, int wait_ms)
{
    static char text[ROOM];
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    long got = 0;
    while (got < count && poll(&pfd, 1, wait_ms) > 0) {
        ssize_t len = read(fd, text, sizeof text);
        if (len <= 0)
            bench_die("tasker-publish has ended too early");
        for (ssize_t i = 0; i < len; i++)
            got += text[i] == '\n';
    }
    return got;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        bench_die("usage: failover COUNT IN OUT PID");
    long count = bench_number(argv[1]);
    pid_t worker = (pid_t)bench_number(argv[4]);
    int out = open(argv[2], O_WRONLY), in = open(argv[3], O_RDONLY);
    if (out < 0 || in < 0)
        bench_die("cannot open the FIFOs: %s", strerror(errno));
    send_batch(out, count + 1); /* taken when both workers are there */
    if (read_receipts(in, 1, WAIT_MS) < 1)
        bench_die("the first batch was not accepted");
    if (kill(worker, SIGSTOP))
        bench_die("%ld: %s", (long)worker, strerror(errno));
    for (long i = 0; i < count; i++)
        send_batch(out, i + 1);
    long left = count - read_receipts(in, count, QUIET_MS);
    if (!left)
        bench_die("no batch went to the worker that was stopped");
    int64_t begin = bench_now();
    kill(worker, SIGKILL);
    if (read_receipts(in, left, WAIT_MS) < left)
        bench_die("not all were accepted elsewhere");
    printf("count=%ld left=%ld ms=%.3f\n", count, left, bench_seconds(bench_now() - begin) * 1e3);
    close(out);
    close(in);
    return 0;
}
