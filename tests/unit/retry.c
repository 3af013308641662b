/* The retry rule: its values, its bounds, and that the same question has the same answer. */
#include "tasker/retry.h"

#include <stdio.h>

#include "check.h"

static void exact_values(void)
{
    const struct tsk_retry plain = {1000, 60000, 0, TSK_GROWTH_EXPONENTIAL};
    static const int64_t want[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
    for (int attempt = 1; attempt <= 8; attempt++)
        CHECK_INT(tsk_retry_delay(&plain, 7, attempt, -1), want[attempt - 1]);
    CHECK_INT(tsk_retry_delay(&plain, 7, 0, -1), 1000);
    CHECK_INT(tsk_retry_delay(&plain, 7, INT64_MIN, -1), 1000);
}

static void jitter_within_bounds(void)
{
    const struct tsk_retry retry = TSK_RETRY_INIT;
    int64_t least = INT64_MAX, most = 0;
    for (int64_t step = 1; step <= 5000; step++) {
        int64_t delay = tsk_retry_delay(&retry, step, 3, -1);
        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
        if (delay != tsk_retry_delay(&retry, step, 3, -1))
            CHECK(!"the same question has another answer");
    }
    CHECK(least >= 3600 && least < 3650); /* 4000 ± 10 %, and the whole range is used */
    CHECK(most <= 4400 && most > 4350);
    CHECK(tsk_retry_delay(&retry, 1, 1, -1) * 2 != tsk_retry_delay(&retry, 1, 2, -1) ||
          tsk_retry_delay(&retry, 2, 1, -1) * 2 != tsk_retry_delay(&retry, 2, 2, -1));
}

static void named_by_the_handler(void)
{
    const struct tsk_retry retry = TSK_RETRY_INIT;
    CHECK_INT(tsk_retry_delay(&retry, 1, 9, 0), 0);
    CHECK_INT(tsk_retry_delay(&retry, 1, 9, 1234), 1234);
    CHECK_INT(tsk_retry_delay(&retry, 1, 1, 60001), 60000);
    CHECK_INT(tsk_retry_delay(&retry, 1, 1, INT64_MAX), 60000);
}

static void extremes(void)
{
    const struct tsk_retry none = {0, 60000, 10, TSK_GROWTH_EXPONENTIAL};
    CHECK_INT(tsk_retry_delay(&none, 1, INT64_MAX, -1), 0);
    const struct tsk_retry huge = {INT64_MAX, INT64_MAX, 100, TSK_GROWTH_EXPONENTIAL};
    const struct tsk_retry negative = {-5, -5, -5, TSK_GROWTH_EXPONENTIAL};
    const struct tsk_retry grown = {1, INT64_MAX, 10, TSK_GROWTH_EXPONENTIAL};
    for (int64_t step = 0; step < 1000; step++) {
        if (tsk_retry_delay(&huge, step, INT64_MAX, -1) < 0 ||
            tsk_retry_delay(&grown, step, INT64_MAX, -1) < INT64_MAX / 2)
            CHECK(!"overflow");
    }
    CHECK_INT(tsk_retry_delay(&negative, 1, 5, -1), 0);
    CHECK_INT(tsk_retry_delay(&negative, 1, 5, 99), 0);
    const struct tsk_retry all = {100, 100, 1000,
                                  TSK_GROWTH_EXPONENTIAL}; /* more than 100 % counts as 100 % */
    for (int64_t step = 0; step < 1000; step++) {
        int64_t delay = tsk_retry_delay(&all, step, 1, -1);
        if (delay < 0 || delay > 200)
            CHECK(!"jitter of more than 100 %");
    }
}

static void attempts(void)
{
    CHECK(tsk_retry_left(1, 3) && tsk_retry_left(2, 3) && !tsk_retry_left(3, 3));
    CHECK(!tsk_retry_left(1, 0) && !tsk_retry_left(1, 1) && tsk_retry_left(0, 0));
    CHECK(!tsk_retry_left(1, -4) && tsk_retry_left(INT64_MAX - 1, INT64_MAX));
}

/* Each growth from the first attempt on, with a base of 1 s and a cap of 9 s. */
static void test_growths(void)
{
    static const struct {
        const char *own;
        int64_t want[6];
    } growths[] = {
        {"exponential 1000 9000", {1000, 2000, 4000, 8000, 9000, 9000}},
        {"linear 1000 9000", {1000, 2000, 3000, 4000, 5000, 6000}},
        {"linear - 2500", {1000, 2000, 2500, 2500, 2500, 2500}},
        {"fibonacci 1000 9000", {1000, 1000, 2000, 3000, 5000, 8000}},
        {"fibonacci 4000 -", {4000, 4000, 8000, 12000, 20000, 32000}},
        {"fixed 7000 -", {7000, 7000, 7000, 7000, 7000, 7000}},
        {"fixed 70000 -", {60000, 60000, 60000, 60000, 60000, 60000}},
        {"none - -", {0, 0, 0, 0, 0, 0}},
        {NULL, {1000, 2000, 4000, 8000, 16000, 32000}},
        {"linear 1000", {1000, 2000, 4000, 8000, 16000, 32000}},
        {"linear 1000 x", {1000, 2000, 4000, 8000, 16000, 32000}},
        {"square 1000 9000", {1000, 2000, 4000, 8000, 16000, 32000}},
        {"linear 1000 9000 1", {1000, 2000, 4000, 8000, 16000, 32000}},
        {"linear -5 99999999999999999999", {1000, 2000, 4000, 8000, 16000, 32000}},
    };
    const struct tsk_retry rules = {1000, 60000, 0, TSK_GROWTH_EXPONENTIAL};
    for (size_t i = 0; i < sizeof growths / sizeof *growths; i++) {
        struct tsk_retry retry = tsk_retry_with(&rules, growths[i].own);
        for (int64_t attempt = 1; attempt <= 6; attempt++)
            if (!CHECK_INT(tsk_retry_delay(&retry, 7, attempt, -1), growths[i].want[attempt - 1]))
                fprintf(stderr, "    %s, attempt %d\n", growths[i].own, (int)attempt);
        CHECK(tsk_retry_delay(&retry, 7, INT64_MAX, -1) <= 60000);
    }
    char text[TSK_BACKOFF_SIZE];
    CHECK_STR(tsk_backoff_text(TSK_GROWTH_LINEAR, 5, -1, text), "linear 5 -");
    CHECK_STR(tsk_backoff_text(TSK_GROWTH_NONE, -1, INT64_MAX, text), "none - 1000000000");
}

int main(void)
{
    exact_values();
    jitter_within_bounds();
    named_by_the_handler();
    extremes();
    attempts();
    test_growths();
    return check_done();
}
