/* The receiving half of the reliable stream over PUB/SUB (tasker(7), PROTOCOL). It only decides:
 * it has no sockets and no clock, the caller brings messages and the time and carries out what is
 * asked for. Go-back-N: a message is delivered if it is the next of its source; what lies beyond a
 * gap is dropped and asked for again.
 *
 * Times are tsk_now_ms values. Offsets are 1 to TSK_STREAM_OFFSET_MAX; others are duplicates
 * to it. */
#ifndef TASKER_STREAM_H
#define TASKER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TSK_STREAM_OFFSET_MAX ((int64_t)1 << 53)
#define TSK_STREAM_ASK_AGAIN                                                                       \
    250 /* ms without progress before a replay is asked for again; then less often */
#define TSK_STREAM_GIVE_UP 12  /* requests in vain that are not yet too many, with worker_status */
#define TSK_STREAM_SILENT 5000 /* ms after which a silent source is not asked any more */

struct tsk_stream;

/* Returns the state for at most limit sources (at least 1): beyond that one is forgotten, and
 * counted. That is the one heard least recently, if it has been silent for a minute; else one that
 * is not wanted, and of these one of which the least was delivered. */
struct tsk_stream *tsk_stream_new(size_t limit);
void tsk_stream_free(struct tsk_stream *stream); /* NULL is fine */

enum tsk_stream_verdict {
    TSK_STREAM_DELIVER,   /* the next one of its source: use it */
    TSK_STREAM_DUPLICATE, /* delivered before: drop it */
    TSK_STREAM_GAP,       /* something before it is missing: drop it, it will come again */
};

/* Decides on a message. lost (may be NULL) becomes the number of messages before it that are now
 * given up for good, because the source was heard but did not replay them however often asked.
 *
 * A source never seen before begins at offset 1, or where the first worker_status says: what was
 * confirmed by others before this receiver came is no loss. */
enum tsk_stream_verdict tsk_stream_message(struct tsk_stream *stream, const char *source,
                                           int64_t offset, int64_t now, int64_t *lost);

/* The caller waits for messages of source. */
void tsk_stream_want(struct tsk_stream *stream, const char *source, int64_t now);

/* Takes note of a message that the caller cannot take now, whatever its place: it has to come
 * again. */
void tsk_stream_refuse(struct tsk_stream *stream, const char *source, int64_t offset, int64_t now);

/* Takes note of a worker_status: newest is the last offset used (0: none yet), oldest the first
 * one that the source still holds (newest + 1 if it holds none; below 1: not told), start where one
 * never seen before is to begin, if that is after oldest (0: at oldest). Returns how many messages
 * are thereby known to be lost: those that were due here and are held no more. */
int64_t tsk_stream_status(struct tsk_stream *stream, const char *source, int64_t newest,
                          int64_t oldest, int64_t start, int64_t now);

/* A thing to send upstream; source is borrowed and good until the next message or status. */
struct tsk_stream_order {
    const char *source;
    int64_t offset; /* replay: after this one. collected: up to this one */
};

/* Gives the next replay to ask for now. Returns false when there is none. */
bool tsk_stream_ask(struct tsk_stream *stream, int64_t now, struct tsk_stream_order *order);

/* Gives the next "collected" to send. Call it until it returns false, after all that was delivered
 * has become durable, and only then. */
bool tsk_stream_confirm(struct tsk_stream *stream, struct tsk_stream_order *order);

/* Messages that were delivered but are not durable yet: nothing from offset on is confirmed. The
 * caller tells all such places anew before tsk_stream_confirm: _hold_none, then _hold for each,
 * which returns whether that holds anything back: not what is settled, or of a source unknown. */
void tsk_stream_hold_none(struct tsk_stream *stream);
bool tsk_stream_hold(struct tsk_stream *stream, const char *source, int64_t offset);

/* For a caller that keeps messages in a store, where they become durable later and in the order in
 * which they were delivered: from now on only what is told as durable is confirmed. tsk_stream_kept
 * tells whether all that was delivered of source is durable (or nothing ever was, or without
 * that first call). */
void tsk_stream_await_durable(struct tsk_stream *stream);
void tsk_stream_durable(struct tsk_stream *stream, const char *source, int64_t offset);
bool tsk_stream_kept(const struct tsk_stream *stream, const char *source);

/* All that source sent before offset is known to be durable elsewhere (the worker_status'
 * "unconfirmed"). It never goes back. */
void tsk_stream_settled(struct tsk_stream *stream, const char *source, int64_t offset);

/* Gives the next source that owes messages and has fallen silent, each once a silence; offset is
 * the number of messages owed. Returns false when there is none. */
bool tsk_stream_stalled(struct tsk_stream *stream, int64_t now, struct tsk_stream_order *order);

/* When tsk_stream_ask or tsk_stream_stalled will next have something; -1 is never. */
int64_t tsk_stream_deadline(const struct tsk_stream *stream);

/* When source was last heard; -1 if it never was, or is forgotten. */
int64_t tsk_stream_heard(const struct tsk_stream *stream, const char *source);

/* How many messages of source are known to exist and were not delivered yet. */
int64_t tsk_stream_owed(const struct tsk_stream *stream, const char *source);

struct tsk_stream_stats {
    int64_t delivered, duplicates, gaps; /* messages, by verdict */
    int64_t lost;                        /* messages given up */
    int64_t replays;                     /* asked for */
    int64_t forgotten;                   /* sources forgotten for others */
    int64_t owed;                        /* messages that these still owed */
};
const struct tsk_stream_stats *tsk_stream_stats(const struct tsk_stream *stream);

#endif
