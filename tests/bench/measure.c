/* measure FILE PROGRAM [ARG ...]: runs a program and writes into FILE
 *
 *     seconds=WALL cpu_s=USER_AND_SYSTEM peak_mb=MEMORY status=STATUS
 *
 * It ends with the status of the program, and passes TERM and INT on to it. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

extern char **environ;

static volatile pid_t child;

static void pass_on(int number)
{
    if (child > 0)
        kill(child, number);
}

static double time_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void report(const char *file, double seconds, int status)
{
    struct rusage usage;
    FILE *out = fopen(file, "w");
    if (!out || getrusage(RUSAGE_CHILDREN, &usage) < 0)
        bench_die("%s: %s", file, strerror(errno));
    fprintf(out, "seconds=%.6f cpu_s=%.6f peak_mb=%.1f status=%d\n", seconds,
            time_of(usage.ru_utime) + time_of(usage.ru_stime), (double)usage.ru_maxrss / 1024,
            status);
    if (fclose(out))
        bench_die("%s: %s", file, strerror(errno));
}

int main(int argc, char **argv)
{
    if (argc < 3)
        bench_die("usage: measure FILE PROGRAM [ARG ...]");
    struct sigaction action = {.sa_handler = pass_on};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int64_t begin = bench_now();
    pid_t pid;
    int status, code = posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ);
    if (code)
        bench_die("%s: %s", argv[2], strerror(code));
    child = pid;
    close(STDIN_FILENO); /* so that nobody but the program holds the pipes */
    close(STDOUT_FILENO);
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            bench_die("wait: %s", strerror(errno));
    }
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    report(argv[1], bench_seconds(bench_now() - begin), status);
    return status;
}
