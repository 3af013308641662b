/* Lines from the files named as operands, or from stdin: one iterator for every filter. It works
 * blocking (a plain filter) and driven by readiness (a program that also has sockets). */
#ifndef TASKER_LINE_H
#define TASKER_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tsk_line_state {
    TSK_LINE_OK,   /* a line is there */
    TSK_LINE_BAD,  /* something could not be read; line.reason says what; go on */
    TSK_LINE_MORE, /* nothing whole is buffered: call tsk_lines_fill (when readable), try again */
    TSK_LINE_END,  /* all input has been read */
};

struct tsk_line {
    const char *data;   /* without its newline, NUL-terminated; good until the next call */
    size_t len;         /* bytes */
    const char *file;   /* name for messages; "-" for stdin */
    int64_t number;     /* from 1; 0 where the file as a whole is meant */
    const char *reason; /* TSK_LINE_BAD: too long, holds a NUL byte, cannot open, cannot read */
    enum tsk_exit kind; /* TSK_LINE_BAD: TSK_DATA or TSK_IO */
};

struct tsk_lines;

/* Returns a reader of count files ("-" is stdin; count 0 is stdin alone). operands is borrowed.
 * A line of more than max bytes is BAD and is skipped without ever being held in memory. Blank
 * lines are skipped (and counted). */
struct tsk_lines *tsk_lines_new(char *const *operands, size_t count, size_t max);
void tsk_lines_free(struct tsk_lines *lines); /* NULL is fine */

/* Gives the next line that is already buffered. Never reads. */
enum tsk_line_state tsk_lines_next(struct tsk_lines *lines, struct tsk_line *line);

/* Reads once from the current file (opening it first where needed); blocks if nothing is there.
 * What goes wrong comes out of tsk_lines_next as TSK_LINE_BAD. */
void tsk_lines_fill(struct tsk_lines *lines);

/* Returns the descriptor to wait on before tsk_lines_fill, or -1 if it need not wait (a file is
 * to be opened, or all is read). */
int tsk_lines_fd(struct tsk_lines *lines);

/* Tells whether the current file is a regular one, whose end is near by definition; true also
 * where none is open. */
bool tsk_lines_regular(struct tsk_lines *lines);

/* Tells whether there is input that was not given out: known bytes of the current file, or a file
 * to open. A pipe or a terminal in which nothing is has none. Never reads. */
bool tsk_lines_pending(struct tsk_lines *lines);

/* The name and last line number read, for messages about input as a whole. */
void tsk_lines_where(const struct tsk_lines *lines, const char **file, int64_t *number);

#ifdef __cplusplus
}
#endif

#endif
