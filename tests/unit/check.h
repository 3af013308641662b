/* Checks for the C tests. A failed one is told on stderr as FILE:LINE and counted; the test goes
 * on. main() ends with "return check_done();". */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failed;
static int check_count;

static inline bool check_that(bool ok, const char *file, int line, const char *what)
{
    check_count++;
    if (!ok) {
        check_failed++;
        fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    }
    return ok;
}

static inline bool check_str(const char *got, const char *want, const char *file, int line)
{
    bool ok = got && want ? strcmp(got, want) == 0 : got == want;
    check_that(ok, file, line, "texts differ");
    if (!ok)
        fprintf(stderr, "    got:  %s\n    want: %s\n", got ? got : "NULL", want ? want : "NULL");
    return ok;
}

static inline bool check_int(long long got, long long want, const char *file, int line)
{
    check_that(got == want, file, line, "numbers differ");
    if (got != want)
        fprintf(stderr, "    got:  %lld\n    want: %lld\n", got, want);
    return got == want;
}

/* Each gives whether it held. */
#define CHECK(cond) check_that((cond) ? true : false, __FILE__, __LINE__, #cond)
#define CHECK_STR(got, want) check_str((got), (want), __FILE__, __LINE__)
#define CHECK_INT(got, want) check_int((long long)(got), (long long)(want), __FILE__, __LINE__)

/* Whether the program runs under valgrind, where some things take many times as long or do not
 * work. */
static inline bool check_under_valgrind(void)
{
    const char *loaded = getenv("LD_PRELOAD");
    return loaded && strstr(loaded, "vgpreload");
}

/* Returns what main() is to return. A test that checked nothing has failed. */
static inline int check_done(void)
{
    if (check_failed)
        fprintf(stderr, "%d of %d checks failed\n", check_failed, check_count);
    else if (!check_count)
        fprintf(stderr, "nothing was checked\n");
    return check_failed || !check_count;
}

#endif
