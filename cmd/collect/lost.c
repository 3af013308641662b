/* Which workers are lost. A worker sends its status once an interval, whatever its steps do. One
 * that misses three in a row counts as dead, and its open batches are lost: waiting for the batch's
 * time limit would only delay the retry. A worker that was only stopped comes back with results of
 * a batch that has ended; reconcile treats them as late. A worker that was never heard, and whose
 * endpoint was never reached, is not lost but unknown: see batches_check.
 *
 * Silence counts only while the collector listens. After each pause of the collector (a SIGSTOP, an
 * output that nobody reads, a busy machine) the count starts again. A pause within a sleep cannot
 * be seen, so the collector never sleeps for longer than an interval. */
#include "collect/lost.h"

#include <stdlib.h>

#include "tasker/bus.h"
#include "tasker/buf.h"
#include "tasker/map.h"

enum { INTERVAL_MOST = 3600000 };

struct source {
    size_t batches;    /* open ones */
    int64_t interval;  /* between its status messages */
    int64_t listening; /* since when its silence counts */
    bool stopped;      /* it said that it ends */
};

struct lost {
    struct tsk_map *sources; /* those with open batches */
    int64_t interval, connect;
    int64_t shortest; /* of all intervals that were told */
    const struct tsk_stream *stream;
};

struct lost *lost_new(int64_t heartbeat, int64_t connect, const struct tsk_stream *stream)
{
    struct lost *lost = tsk_alloc(sizeof *lost);
    lost->sources = tsk_map_new(free);
    lost->interval = lost->shortest = heartbeat;
    lost->connect = connect;
    lost->stream = stream;
    return lost;
}

void lost_free(struct lost *lost)
{
    if (!lost)
        return;
    tsk_map_free(lost->sources);
    free(lost);
}

void lost_begin(struct lost *lost, const char *source, int64_t now)
{
    struct source *s = tsk_map_get(lost->sources, source);
    if (!s) {
        s = tsk_alloc(sizeof *s);
        s->interval = lost->interval;
        s->listening = now;
        tsk_map_put(lost->sources, source, s);
    }
    s->batches++;
}

void lost_end(struct lost *lost, const char *source)
{
    struct source *s = tsk_map_get(lost->sources, source);
    if (s && --s->batches == 0)
        tsk_map_remove(lost->sources, source);
}

bool lost_status(struct lost *lost, const char *source, int64_t heartbeat, bool stopped)
{
    struct source *s = tsk_map_get(lost->sources, source);
    if (!s)
        return false;
    bool earlier = stopped && !s->stopped;
    s->stopped = stopped;
    if (heartbeat < 1 || heartbeat > INTERVAL_MOST)
        return earlier;
    earlier |= heartbeat < s->interval;
    s->interval = heartbeat;
    if (heartbeat < lost->shortest)
        lost->shortest = heartbeat;
    return earlier;
}

void lost_pause(struct lost *lost, int64_t length, int64_t now)
{
    if (length < lost->shortest / 2 || length <= 0)
        return;
    for (struct tsk_map_entry *e = tsk_map_first(lost->sources); e; e = tsk_map_next(e)) {
        struct source *s = tsk_map_value(e);
        if (length >= s->interval / 2)
            s->listening = now;
    }
}

void lost_postpone(struct lost *lost, const char *source, int64_t now)
{
    struct source *s = tsk_map_get(lost->sources, source);
    if (s)
        s->listening = now;
}

int64_t lost_deadline(const struct lost *lost, const char *source, int64_t since)
{
    const struct source *s = tsk_map_get(lost->sources, source);
    int64_t heard = tsk_stream_heard(lost->stream, source);
    if (!s)
        return -1;
    if (s->stopped && !tsk_stream_owed(lost->stream, source) &&
        tsk_stream_kept(lost->stream, source))
        return heard; /* all that it had to say is here */
    int64_t life = s->listening > since ? s->listening : since;
    if (heard < 0)
        return life + lost->connect + TSK_HEARTBEATS_MISSED * s->interval;
    return (heard > life ? heard : life) + TSK_HEARTBEATS_MISSED * s->interval;
}

bool lost_stopped(const struct lost *lost, const char *source)
{
    const struct source *s = tsk_map_get(lost->sources, source);
    return s && s->stopped;
}

int64_t lost_tick(const struct lost *lost)
{
    return tsk_map_count(lost->sources) ? lost->shortest : -1;
}
