/* spawn_loop COUNT AT_ONCE PROGRAM [ARG ...]: the bare limit of all that starts processes. Starts
 * PROGRAM so many times by posix_spawn, at most AT_ONCE at a time, waits for each, does nothing
 * else, and prints
 *
 *     seconds=ALL started_s=UNTIL_THE_LAST_START rate=STARTS_A_SECOND p50_us=A p99_us=B
 *
 * A and B are the time from a start to the wait that returned it. */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

extern char **environ;

struct child {
    pid_t pid; /* 0: a free place */
    int64_t started;
};

static void start(struct child *child, char **argv)
{
    child->started = bench_now();
    int code = posix_spawn(&child->pid, argv[0], NULL, NULL, argv, environ);
    if (code)
        bench_die("%s: %s", argv[0], strerror(code));
}

/* Waits for one. Returns its place, which is free then; *took becomes its time. */
static struct child *end(struct child *children, int64_t *took)
{
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0)
        bench_die("wait: %s", strerror(errno));
    if (status)
        bench_die("a process ended with status %d", status);
    while (children->pid != pid)
        children++;
    *took = bench_now() - children->started;
    children->pid = 0;
    return children;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        bench_die("usage: spawn_loop COUNT AT_ONCE PROGRAM [ARG ...]");
    long count = bench_number(argv[1]), at_once = bench_number(argv[2]);
    long started = 0, ended = 0;
    struct child *children = bench_alloc((size_t)at_once * sizeof *children);
    int64_t *took = bench_alloc((size_t)count * sizeof *took);
    int64_t begin = bench_now();
    while (started < count && started < at_once)
        start(&children[started++], argv + 3);
    int64_t last_start = bench_now();
    while (ended < started) {
        struct child *free_place = end(children, &took[ended++]);
        if (started < count) {
            start(free_place, argv + 3);
            started++;
            last_start = bench_now();
        }
    }
    double seconds = bench_seconds(bench_now() - begin);
    printf("seconds=%.6f started_s=%.6f rate=%.1f", seconds, bench_seconds(last_start - begin),
           (double)count / seconds);
    bench_print_percentiles(took, count);
    putchar('\n');
    free(children);
    free(took);
    return 0;
}
