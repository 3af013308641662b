/* The back-off of a failed step. Jitter keeps many steps that failed together from coming back
 * together; it is hashed and not drawn, so that a reconciliation that is done again (from the
 * ledger, after a crash) names the same moment. All sums stay within 64 bits for any input. */
#include "tasker/retry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tasker/map.h"
#include "tasker/parse.h"

static const char *const words[] = {[TSK_GROWTH_EXPONENTIAL] = "exponential",
                                    [TSK_GROWTH_LINEAR] = "linear",
                                    [TSK_GROWTH_FIBONACCI] = "fibonacci",
                                    [TSK_GROWTH_FIXED] = "fixed",
                                    [TSK_GROWTH_NONE] = "none"};

struct tsk_retry tsk_retry_rules(const struct tsk_conf *conf)
{
    return (struct tsk_retry){tsk_conf_int(conf, TSK_RETRY_BASE), tsk_conf_int(conf, TSK_RETRY_CAP),
                              (int)tsk_conf_int(conf, TSK_RETRY_JITTER), TSK_GROWTH_EXPONENTIAL};
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- the back-off of one step */

enum { LONGEST_MS = 1000000000 }; /* eleven days, far above any that a template may name */

static void put_number(int64_t ms, char *out, size_t size)
{
    if (ms < 0)
        snprintf(out, size, "-");
    else
        snprintf(out, size, "%" PRId64, smaller(ms, LONGEST_MS));
}

char *tsk_backoff_text(enum tsk_growth growth, int64_t base_ms, int64_t cap_ms,
                       char out[TSK_BACKOFF_SIZE])
{
    char base[16], cap[16];
    put_number(base_ms, base, sizeof base);
    put_number(cap_ms, cap, sizeof cap);
    snprintf(out, TSK_BACKOFF_SIZE, "%s %s %s", words[growth], base, cap);
    return out;
}

struct tsk_retry tsk_retry_with(const struct tsk_retry *rules, const char *text)
{
    struct tsk_retry retry = *rules;
    char word[16], base[16], cap[16], end;
    int64_t growth = 0, base_ms = rules->base_ms, cap_ms = rules->cap_ms;
    if (!text || sscanf(text, "%15s %15s %15s %c", word, base, cap, &end) != 3 ||
        tsk_parse_choice(word, TSK_GROWTH_WORDS, &growth, NULL) < 0 ||
        (strcmp(base, "-") && tsk_parse_int(base, 0, LONGEST_MS, &base_ms, NULL) < 0) ||
        (strcmp(cap, "-") && tsk_parse_int(cap, 0, LONGEST_MS, &cap_ms, NULL) < 0))
        return retry;
    retry.growth = (enum tsk_growth)growth;
    retry.base_ms = base_ms;
    retry.cap_ms = cap_ms;
    return retry;
}

/* ---- the formula */

static int64_t at_least_0(int64_t n)
{
    return n > 0 ? n : 0;
}

/* min(base · growth, cap), after attempt (from 1) */
static int64_t backoff(enum tsk_growth growth, int64_t base, int64_t cap, int64_t attempt)
{
    int64_t delay = growth == TSK_GROWTH_NONE ? 0 : base, before = 0;
    if (delay == 0 || delay >= cap || growth == TSK_GROWTH_FIXED)
        return smaller(delay, cap);
    if (growth == TSK_GROWTH_LINEAR)
        return attempt > cap / base ? cap : attempt * base;
    while (--attempt > 0) {
        int64_t more = growth == TSK_GROWTH_FIBONACCI ? before : delay;
        if (more > cap - delay)
            return cap;
        before = delay;
        delay += more;
    }
    return delay;
}

/* delay, moved by up to percent of it in either direction. */
static int64_t jittered(int64_t delay, int64_t percent, uint64_t hash)
{
    int64_t span = delay / 100 * percent + delay % 100 * percent / 100;
    if (span <= 0 || span > INT64_MAX / 2 - 1)
        return delay;
    int64_t shift = (int64_t)(hash % (uint64_t)(2 * span + 1)) - span;
    return shift > INT64_MAX - delay ? INT64_MAX : delay + shift;
}

int64_t tsk_retry_delay(const struct tsk_retry *retry, int64_t step_id, int64_t attempt,
                        int64_t retry_after_ms)
{
    int64_t cap = at_least_0(retry->cap_ms);
    if (retry_after_ms >= 0)
        return smaller(retry_after_ms, cap);
    int64_t percent = smaller(at_least_0(retry->jitter), 100);
    if (attempt < 1)
        attempt = 1;
    uint64_t hash = tsk_mix(tsk_mix((uint64_t)step_id) ^ (uint64_t)attempt);
    return jittered(backoff(retry->growth, at_least_0(retry->base_ms), cap, attempt), percent,
                    hash);
}

bool tsk_retry_left(int64_t attempt, int64_t retry_limit)
{
    return attempt < (retry_limit > 1 ? retry_limit : 1);
}
