/* The handler registry: which program runs a handler_class, and what the way in which it ended
 * means (tasker(7), HANDLERS). */
#ifndef TASKER_HANDLERS_H
#define TASKER_HANDLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"

/* What standard output is: JSON if it is that and else text; JSON; text. */
enum tsk_output { TSK_OUTPUT_AUTO, TSK_OUTPUT_JSON, TSK_OUTPUT_TEXT };

struct tsk_handler {
    char *pattern;      /* a handler_class, or a glob of fnmatch(3) */
    char **argv;        /* the program and its arguments, ended by NULL; no shell */
    int64_t timeout_ms; /* 0: none named */
    bool process;       /* interface: process (the bare step on stdin), else call */
    enum tsk_output output;
    bool retryable;     /* what an exit status without a meaning of its own says */
    size_t line;        /* where it stands in the registry */
};

struct tsk_handlers;

/* Told of one mistake: "FILE:LINE: reason". */
typedef void tsk_handlers_fn(void *ctx, const char *text);

/* Reads the registry at path. Returns it, or NULL with kind TSK_CONFIG: that the file cannot be
 * read or is no YAML, or the first mistake in it, with FILE:LINE. With tell (else NULL) that is
 * called for every mistake, and for every handler that cannot be run beside them, and err has only
 * the number of the mistakes. */
struct tsk_handlers *tsk_handlers_load(const char *path, tsk_handlers_fn *tell, void *ctx,
                                       struct tsk_err *err);
void tsk_handlers_free(struct tsk_handlers *handlers); /* NULL is fine */

/* Finds the handler of a class: an exact one first, then globs in the order of the file. Returns
 * NULL if there is none. Borrowed. */
const struct tsk_handler *tsk_handlers_find(const struct tsk_handlers *handlers,
                                            const char *handler_class);

/* The folder of the registry file, absolute; handlers run there. Borrowed. */
const char *tsk_handlers_dir(const struct tsk_handlers *handlers);

size_t tsk_handlers_count(const struct tsk_handlers *handlers);
const struct tsk_handler *tsk_handlers_at(const struct tsk_handlers *handlers, size_t i);

/* Tells whether the handler's program is there and can be run. Returns 0, or -1 with FILE:LINE
 * and a reason. */
int tsk_handler_check(const struct tsk_handlers *handlers, const struct tsk_handler *handler,
                      struct tsk_err *err);

/* What an end means: the table of tasker-work(1), without time-outs and fd 3, which the worker
 * knows of. */
struct tsk_end {
    const char *category; /* "validation" …; NULL: success */
    bool retryable;
};

/* status is as wait(2) gives it; retryable is the handler's own word for other exits. */
struct tsk_end tsk_end_of(int status, bool retryable);

#endif
