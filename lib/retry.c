/* The back-off of DESIGN. Jitter keeps many steps that failed together from coming back together;
 * it is hashed and not drawn, so that a reconciliation that is done again (from the ledger, after a
 * crash) names the same moment. All sums stay within 64 bits for any input. */
#include "tasker/retry.h"

#include "mix.h"

struct tsk_retry tsk_retry_rules(const struct tsk_conf *conf)
{
    return (struct tsk_retry){tsk_conf_int(conf, TSK_RETRY_BASE), tsk_conf_int(conf, TSK_RETRY_CAP),
                              (int)tsk_conf_int(conf, TSK_RETRY_JITTER)};
}

static int64_t at_least_0(int64_t n)
{
    return n > 0 ? n : 0;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* min(base · 2^doublings, cap) */
static int64_t backoff(int64_t base, int64_t cap, int64_t doublings)
{
    if (base == 0 || base >= cap)
        return smaller(base, cap);
    while (doublings-- > 0) {
        if (base > cap / 2)
            return cap;
        base *= 2;
    }
    return base;
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
    return jittered(backoff(at_least_0(retry->base_ms), cap, attempt - 1), percent, hash);
}

bool tsk_retry_left(int64_t attempt, int64_t retry_limit)
{
    return attempt < (retry_limit > 1 ? retry_limit : 1);
}
