/* When a failed step is run again: the one formula, in one place. */
#ifndef TASKER_RETRY_H
#define TASKER_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "tasker/conf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the back-off grows from one attempt to the next. */
enum tsk_growth {
    TSK_GROWTH_EXPONENTIAL, /* base, 2 base, 4 base, 8 base … */
    TSK_GROWTH_LINEAR,      /* base, 2 base, 3 base, 4 base … */
    TSK_GROWTH_FIBONACCI,   /* base, base, 2 base, 3 base, 5 base … */
    TSK_GROWTH_FIXED,       /* base each time */
    TSK_GROWTH_NONE,        /* no back-off at all */
};
#define TSK_GROWTH_WORDS "exponential,linear,fibonacci,fixed,none"

struct tsk_retry {
    int64_t base_ms; /* back-off after the first attempt */
    int64_t cap_ms;  /* longest back-off, before jitter; also the most that a handler can ask */
    int jitter;      /* percent, 0 to 100, by which a back-off is made longer or shorter */
    enum tsk_growth growth;
};

/* The rules that are configured. */
struct tsk_retry tsk_retry_rules(const struct tsk_conf *conf);

/* The back-off of one step as text, "GROWTH BASE CAP": milliseconds, or "-" for what is configured.
 * Room for the longest. */
#define TSK_BACKOFF_SIZE 64

/* Writes it. base_ms and cap_ms may be negative: as configured. Returns out. */
char *tsk_backoff_text(enum tsk_growth growth, int64_t base_ms, int64_t cap_ms,
                       char out[TSK_BACKOFF_SIZE]);

/* Returns rules with what text says in place. A text that is none, or NULL, changes nothing: it may
 * come from anybody. */
struct tsk_retry tsk_retry_with(const struct tsk_retry *rules, const char *text);

/* The built-in defaults: 1 s, 60 s, 10 %. */
#define TSK_RETRY_INIT                                                                             \
    {                                                                                              \
        1000, 60000, 10, TSK_GROWTH_EXPONENTIAL                                                    \
    }

/* Returns the milliseconds to wait after attempt (from 1; less counts as 1) of step_id:
 * min(base · growth, cap), with exponential growth min(base · 2^(attempt-1), cap), more or less by
 * up to jitter percent. The jitter is a hash of
 * step_id and attempt, so the same question always has the same answer. retry_after_ms is what the
 * handler named, in place of the formula (capped, no jitter); negative: it named none. Never
 * negative, whatever is given. */
int64_t tsk_retry_delay(const struct tsk_retry *retry, int64_t step_id, int64_t attempt,
                        int64_t retry_after_ms);

/* Whether a step whose attempt (from 1) failed in a retryable way may be run once more. A limit is
 * the number of attempts in all; one of 0 still means one. */
bool tsk_retry_left(int64_t attempt, int64_t retry_limit);

#ifdef __cplusplus
}
#endif

#endif
