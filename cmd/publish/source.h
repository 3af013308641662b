/* The input: lines in, parcels out; what is not for us goes on to stdout. */
#ifndef PUBLISH_SOURCE_H
#define PUBLISH_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "publish/parcel.h"
#include "tasker/conf.h"
#include "tasker/line.h"

struct source;

/* Reads count files (borrowed); steps are grouped size by size, or after delay ms. */
struct source *source_new(const struct tsk_conf *conf, char *const *files, size_t count,
                          size_t size, int64_t delay);
void source_free(struct source *source); /* NULL is fine */

enum source_state {
    SOURCE_PARCEL, /* *parcel is there, the caller's */
    SOURCE_LINE,   /* a line was dealt with: go on */
    SOURCE_MORE,   /* wait for input, then fill */
    SOURCE_END
};

/* Deals with what is buffered, up to the next parcel or line. Bad lines are told on stderr. */
enum source_state source_next(struct source *source, int64_t now, struct parcel **parcel);

/* The lines behind it, to fill and to wait for. */
struct tsk_lines *source_lines(struct source *source);

/* When source_next has a parcel even without more input; -1: never. */
int64_t source_deadline(const struct source *source);

/* Closes the batch that waits for more steps. Returns it (the caller's), or NULL if there is none.
 */
struct parcel *source_close(struct source *source);

/* Whether something was read and not given out, or is known to be there to read. */
bool source_pending(const struct source *source);

/* The status for the bad lines so far. */
enum tsk_exit source_status(const struct source *source);

#endif
