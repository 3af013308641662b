/* stdout: whole lines, checked. */
#ifndef COMMON_OUT_H
#define COMMON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/err.h"
#include "tasker/json.h"

/* Adds one line (the newline is added). It is written out when out_flush is called or 64 KiB are
 * held, always up to the end of a line. After a failed write nothing more is written. */
void out_line(const char *data, size_t len);

/* As out_line for a JSON value (borrowed); hidden characters are escaped (tsk_plain_json). */
void out_json(struct json_object *value);

/* As out_line with printf; the format holds no newline at its end. */
void out_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* From now on lines go to the end of to (borrowed), for what is to be printed later or not at all;
 * NULL: to stdout again. */
void out_divert(struct tsk_buf *to);

/* Writes out what is held. Call it whenever no more input is at hand, and before anything is told
 * to a peer that depends on it. Returns 0, or -1 (told once on stderr) if stdout has failed. */
int out_flush(void);

/* For a program that must not stand still because its reader does: from now on out_line only holds,
 * and out_try writes what stdout takes without waiting. Returns the bytes that are still held. */
void out_hold(void);
size_t out_try(void);

/* Where what was printed ends by now, and whether stdout has taken all up to such a place: what it
 * has not when a write has failed never gets there. */
int64_t out_place(void);
bool out_taken(int64_t place);

/* Whether a write has failed (a full disk, a reader that went away). */
bool out_failed(void);

/* Flushes (after out_hold: tries) and closes stdout. Returns the status to end with: status, or
 * TSK_IO if that is worse. */
enum tsk_exit out_close(enum tsk_exit status);

#endif
