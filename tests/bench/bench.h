/* What the programs of the benchmark share: a clock, percentiles, a way to end. */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Nanoseconds of a clock that nobody sets. */
static inline int64_t bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline double bench_seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

__attribute__((format(printf, 1, 2))) static inline _Noreturn void bench_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(70);
}

static inline void *bench_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory)
        bench_die("out of memory");
    return memory;
}

/* A number of at least 1; ends the program if it is none. */
static inline long bench_number(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (*end || number < 1)
        bench_die("%s: not a number from 1", text);
    return number;
}

static inline int bench_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts the times (ns) and prints " p50_us=X p99_us=Y". */
static inline void bench_print_percentiles(int64_t *times, long count)
{
    qsort(times, (size_t)count, sizeof *times, bench_compare);
    printf(" p50_us=%.1f p99_us=%.1f", (double)times[count / 2] / 1e3,
           (double)times[count - 1 - count / 100] / 1e3);
}

#endif
