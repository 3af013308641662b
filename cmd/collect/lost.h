/* The workers that have open batches: is each still alive? */
#ifndef COLLECT_LOST_H
#define COLLECT_LOST_H

#include <stdbool.h>
#include <stdint.h>

#include "collect/stream.h"

struct lost;

/* heartbeat is the interval (ms) of a worker that does not tell its own; connect is what it may
 * take until a worker that was never heard can be. stream is asked when a source was last heard. */
struct lost *lost_new(int64_t heartbeat, int64_t connect, const struct tsk_stream *stream);
void lost_free(struct lost *lost);

/* A receipt names source as what has a batch; that batch has ended. */
void lost_begin(struct lost *lost, const char *source, int64_t now);
void lost_end(struct lost *lost, const char *source);

/* Takes note of a worker_status: the interval it tells (0: none) and whether the worker has ended.
 * Returns whether a batch of source may be due earlier than was told before. */
bool lost_status(struct lost *lost, const char *source, int64_t heartbeat, bool stopped);

/* The collector itself did nothing for so long: what came meanwhile may still be under way, so
 * silence is counted from now. */
void lost_pause(struct lost *lost, int64_t length, int64_t now);

/* The silence of source counts from now. */
void lost_postpone(struct lost *lost, const char *source, int64_t now);

/* When a batch of source, whose receipt came at since, is lost with it if nothing more is heard. */
int64_t lost_deadline(const struct lost *lost, const char *source, int64_t since);

/* Whether source has open batches and said that it ends. */
bool lost_stopped(const struct lost *lost, const char *source);

/* How long the collector may sleep at once, so that it knows of its own pauses; -1: as it likes. */
int64_t lost_tick(const struct lost *lost);

#endif
