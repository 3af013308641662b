/* The receiving half of the reliable stream.
 *
 * Of each source just a few numbers are kept: the offset that is due next, the newest one known to
 * exist, the last one confirmed, and when it was heard and asked. A source is behind while newest
 * is not below due. The first gap is asked about at once; while a replay flows nothing more is
 * asked; when it stops short, it is asked for again. A source that is silent is not asked for ever:
 * it is reported once, and asked again as soon as it is heard. One that is heard and still does not
 * replay cannot: after more than TSK_STREAM_GIVE_UP requests the gap is counted as lost and passed
 * over, so that one broken peer cannot hold back its later results for good. */
#include "collect/stream.h"

#include <stdlib.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/map.h"

enum {
    GIVE_UP_PLAIN = 5, /* of a source without worker_status: it may not know of replays at all */
    ENDED_MS = 60000   /* of silence: it has ended, or will begin anew */
};

struct source {
    int64_t due;       /* the next offset to deliver */
    int64_t newest;    /* the highest one known to exist */
    int64_t lowest;    /* the lowest one heard while the start is not known */
    int64_t confirmed; /* the last one confirmed */
    int64_t held;      /* nothing from here on may be confirmed */
    int64_t settled;   /* what is before it is durable elsewhere */
    int64_t delivered; /* the last one delivered; 0: none */
    int64_t durable;   /* the last one told as durable */
    int64_t count;     /* of those delivered */
    int64_t heard_at;  /* -1: it is only wanted so far */
    int64_t moved_at; /* the last request or delivery */
    int asks;         /* requests since the last delivery */
    bool asked;       /* since it was last up to date */
    bool known;       /* due is certain: something was delivered, or a status told the oldest */
    bool guessed;     /* it is not, and is the lowest offset heard so far */
    bool status;      /* it sends worker_status */
    bool again;       /* confirm again: it still holds what was confirmed */
    bool told;        /* its silence was reported */
    bool wanted;      /* it is not forgotten before others */
};

struct tsk_stream {
    struct tsk_map *sources;
    size_t limit;
    bool awaits; /* what is delivered is not durable until that is told */
    struct tsk_stream_stats stats;
};

struct tsk_stream *tsk_stream_new(size_t limit)
{
    struct tsk_stream *stream = tsk_alloc(sizeof *stream);
    stream->sources = tsk_map_new(free);
    stream->limit = limit ? limit : 1;
    return stream;
}

void tsk_stream_free(struct tsk_stream *stream)
{
    if (!stream)
        return;
    tsk_map_free(stream->sources);
    free(stream);
}

static bool source_behind(const struct source *s)
{
    return s->newest >= s->due;
}

static int64_t source_owed(const struct source *s)
{
    return source_behind(s) ? s->newest - s->due + 1 : 0;
}

/* Hostile offsets may be near 2^53 each: the totals stop at the top and do not overflow. */
static void total_add(int64_t *total, int64_t n)
{
    *total = *total > INT64_MAX - n ? INT64_MAX : *total + n;
}

/* Whether a is to be forgotten rather than b: what has ended first, then what nobody waits for and
 * what has come to the least, or a peer with ever new names would drive all others out. */
static bool source_matters_less(const struct source *a, const struct source *b, int64_t now)
{
    bool a_ended = now - (a->heard_at < 0 ? a->moved_at : a->heard_at) > ENDED_MS;
    bool b_ended = now - (b->heard_at < 0 ? b->moved_at : b->heard_at) > ENDED_MS;
    if (a_ended != b_ended)
        return a_ended;
    if (!a_ended && a->wanted != b->wanted)
        return b->wanted;
    if (!a_ended && a->count != b->count)
        return a->count < b->count;
    return a->heard_at < b->heard_at;
}

static void forget_one(struct tsk_stream *stream, int64_t now)
{
    struct tsk_map_entry *e = tsk_map_first(stream->sources), *least = e;
    for (; e; e = tsk_map_next(e)) {
        if (source_matters_less(tsk_map_value(e), tsk_map_value(least), now))
            least = e;
    }
    stream->stats.forgotten++;
    total_add(&stream->stats.owed, source_owed(tsk_map_value(least)));
    tsk_map_remove(stream->sources, tsk_map_key(least));
}

static struct source *source_get(struct tsk_stream *stream, const char *name, int64_t now)
{
    struct source *s = tsk_map_get(stream->sources, name);
    if (!s) {
        if (tsk_map_count(stream->sources) >= stream->limit)
            forget_one(stream, now);
        s = tsk_alloc(sizeof *s);
        s->due = 1;
        s->held = INT64_MAX;
        s->heard_at = -1;
        s->moved_at = now;
        tsk_map_put(stream->sources, name, s);
    }
    return s;
}

static struct source *source_heard(struct tsk_stream *stream, const char *name, int64_t now)
{
    struct source *s = source_get(stream, name, now);
    s->heard_at = now;
    s->told = false;
    return s;
}

void tsk_stream_want(struct tsk_stream *stream, const char *source, int64_t now)
{
    source_get(stream, source, now)->wanted = true;
}

/* Whether the source has shown that it will not fill the gap before what it sends now. */
static bool source_hopeless(const struct source *s)
{
    return s->asks > (s->status ? TSK_STREAM_GIVE_UP : GIVE_UP_PLAIN);
}

/* Begins with a source at offset: what was before it is none of this receiver's. */
static void source_begin(struct source *s, int64_t offset)
{
    s->due = offset;
    s->confirmed = offset - 1;
    s->asks = 0;
}

/* Goes on at offset; returns how many messages are given up by that. */
static int64_t source_skip(struct tsk_stream *stream, struct source *s, int64_t offset)
{
    int64_t lost = offset - s->due;
    s->due = offset;
    s->asks = 0;
    total_add(&stream->stats.lost, lost);
    return lost;
}

static void source_deliver(struct source *s, int64_t now)
{
    s->delivered = s->due++;
    s->count++;
    s->known = true;
    s->asks = 0;
    s->moved_at = now;
    if (s->newest < s->due - 1)
        s->newest = s->due - 1;
    if (!source_behind(s))
        s->asked = false;
}

/* A message beyond a gap that is not going to be filled. Where no status ever told what the source
 * holds, it is first asked for the lowest that it sent; after that the gap is passed over. */
static int64_t source_give_up(struct tsk_stream *stream, struct source *s, int64_t offset)
{
    if (s->known || s->guessed)
        return source_skip(stream, s, offset);
    s->guessed = true;
    source_begin(s, s->lowest);
    return 0;
}

static void source_ahead(struct source *s, int64_t offset)
{
    if (s->newest < offset)
        s->newest = offset;
    if (!s->lowest || s->lowest > offset)
        s->lowest = offset;
}

enum tsk_stream_verdict tsk_stream_message(struct tsk_stream *stream, const char *source,
                                           int64_t offset, int64_t now, int64_t *lost)
{
    struct source *s = source_heard(stream, source, now);
    int64_t gone = 0;
    if (offset > TSK_STREAM_OFFSET_MAX)
        offset = 0;
    if (offset > s->due)
        source_ahead(s, offset);
    if (offset > s->due && source_hopeless(s))
        gone = source_give_up(stream, s, offset);
    if (lost)
        *lost = gone;
    if (offset < s->due) {
        stream->stats.duplicates++;
        return TSK_STREAM_DUPLICATE;
    }
    if (offset > s->due) {
        stream->stats.gaps++;
        return TSK_STREAM_GAP;
    }
    source_deliver(s, now);
    stream->stats.delivered++;
    return TSK_STREAM_DELIVER;
}

void tsk_stream_refuse(struct tsk_stream *stream, const char *source, int64_t offset, int64_t now)
{
    struct source *s = source_heard(stream, source, now);
    if (offset >= s->due && offset <= TSK_STREAM_OFFSET_MAX)
        source_ahead(s, offset);
    stream->stats.gaps++;
}

int64_t tsk_stream_status(struct tsk_stream *stream, const char *source, int64_t newest,
                          int64_t oldest, int64_t start, int64_t now)
{
    struct source *s = source_heard(stream, source, now);
    int64_t lost = 0;
    if (newest > TSK_STREAM_OFFSET_MAX)
        newest = TSK_STREAM_OFFSET_MAX;
    if (oldest > newest + 1)
        oldest = newest + 1;
    s->status = true;
    if (s->newest < newest)
        s->newest = newest;
    if (oldest >= 1 && !s->known)
        source_begin(s, start > oldest && start <= newest + 1 ? start : oldest);
    else if (oldest > s->due)
        lost = source_skip(stream, s, oldest);
    s->known |= oldest >= 1;
    s->again |= oldest >= 1 && oldest <= s->confirmed;
    if (!source_behind(s))
        s->asked = false;
    return lost;
}

/* A replay in transit must not be met by ever more requests: they grow apart. */
static int64_t source_pause(const struct source *s)
{
    int doubled = s->asks / 2;
    return (int64_t)TSK_STREAM_ASK_AGAIN << (doubled < 3 ? doubled : 3);
}

/* When this source is to be asked next; -1 is not at all. */
static int64_t source_ask_at(const struct source *s)
{
    if (!source_behind(s))
        return -1;
    int64_t at = s->asked ? s->moved_at + source_pause(s) : s->heard_at;
    return at < s->heard_at + TSK_STREAM_SILENT ? at : -1;
}

bool tsk_stream_ask(struct tsk_stream *stream, int64_t now, struct tsk_stream_order *order)
{
    for (struct tsk_map_entry *e = tsk_map_first(stream->sources); e; e = tsk_map_next(e)) {
        struct source *s = tsk_map_value(e);
        int64_t at = source_ask_at(s);
        if (at < 0 || at > now)
            continue;
        s->asked = true;
        s->asks++;
        s->moved_at = now;
        stream->stats.replays++;
        *order = (struct tsk_stream_order){tsk_map_key(e), s->due - 1};
        return true;
    }
    return false;
}

/* Up to where it may be confirmed. What was passed over as lost counts as durable. */
static int64_t source_upto(const struct tsk_stream *stream, const struct source *s)
{
    if (stream->awaits && s->durable < s->delivered)
        return s->durable;
    return (s->due < s->held ? s->due : s->held) - 1;
}

bool tsk_stream_confirm(struct tsk_stream *stream, struct tsk_stream_order *order)
{
    for (struct tsk_map_entry *e = tsk_map_first(stream->sources); e; e = tsk_map_next(e)) {
        struct source *s = tsk_map_value(e);
        int64_t upto = source_upto(stream, s);
        if (upto <= s->confirmed && !s->again)
            continue;
        s->again = false;
        if (upto > s->confirmed)
            s->confirmed = upto;
        *order = (struct tsk_stream_order){tsk_map_key(e), s->confirmed};
        return true;
    }
    return false;
}

void tsk_stream_hold_none(struct tsk_stream *stream)
{
    for (struct tsk_map_entry *e = tsk_map_first(stream->sources); e; e = tsk_map_next(e))
        ((struct source *)tsk_map_value(e))->held = INT64_MAX;
}

bool tsk_stream_hold(struct tsk_stream *stream, const char *source, int64_t offset)
{
    struct source *s = tsk_map_get(stream->sources, source);
    if (!s || offset < s->settled)
        return false;
    if (offset < s->held)
        s->held = offset;
    return true;
}

void tsk_stream_await_durable(struct tsk_stream *stream)
{
    stream->awaits = true;
}

void tsk_stream_durable(struct tsk_stream *stream, const char *source, int64_t offset)
{
    struct source *s = tsk_map_get(stream->sources, source);
    if (s && offset > s->durable)
        s->durable = offset;
}

bool tsk_stream_kept(const struct tsk_stream *stream, const char *source)
{
    const struct source *s = tsk_map_get(stream->sources, source);
    return !stream->awaits || !s || s->durable >= s->delivered;
}

void tsk_stream_settled(struct tsk_stream *stream, const char *source, int64_t offset)
{
    struct source *s = tsk_map_get(stream->sources, source);
    if (s && offset > s->settled)
        s->settled = offset;
}

bool tsk_stream_stalled(struct tsk_stream *stream, int64_t now, struct tsk_stream_order *order)
{
    for (struct tsk_map_entry *e = tsk_map_first(stream->sources); e; e = tsk_map_next(e)) {
        struct source *s = tsk_map_value(e);
        if (s->told || !source_behind(s) || now - s->heard_at < TSK_STREAM_SILENT)
            continue;
        s->told = true;
        *order = (struct tsk_stream_order){tsk_map_key(e), source_owed(s)};
        return true;
    }
    return false;
}

int64_t tsk_stream_deadline(const struct tsk_stream *stream)
{
    int64_t deadline = -1;
    for (struct tsk_map_entry *e = tsk_map_first(stream->sources); e; e = tsk_map_next(e)) {
        const struct source *s = tsk_map_value(e);
        deadline = tsk_earlier(deadline, source_ask_at(s));
        if (source_behind(s) && !s->told)
            deadline = tsk_earlier(deadline, s->heard_at + TSK_STREAM_SILENT);
    }
    return deadline;
}

int64_t tsk_stream_heard(const struct tsk_stream *stream, const char *source)
{
    const struct source *s = tsk_map_get(stream->sources, source);
    return s ? s->heard_at : -1;
}

int64_t tsk_stream_owed(const struct tsk_stream *stream, const char *source)
{
    const struct source *s = tsk_map_get(stream->sources, source);
    return s ? source_owed(s) : 0;
}

const struct tsk_stream_stats *tsk_stream_stats(const struct tsk_stream *stream)
{
    return &stream->stats;
}
