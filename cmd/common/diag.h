/* What people are told, on stderr, one line each: PROGRAM: LEVEL: text (or a JSON object). */
#ifndef COMMON_DIAG_H
#define COMMON_DIAG_H

#include <stdbool.h>
#include <stdint.h>

#include "tasker/err.h"

enum diag_level { DIAG_ERROR, DIAG_WARNING, DIAG_INFO, DIAG_DEBUG };

/* Sets the program's name and, later, what is told and how. */
void diag_name(const char *program);
void diag_format(enum diag_level level, bool json);

/* Tell something. Bytes that a terminal would act on are shown as \xNN, so that no peer can write
 * on the screen. errno is kept. */
void diag(enum diag_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define diag_error(...) diag(DIAG_ERROR, __VA_ARGS__)
#define diag_warn(...) diag(DIAG_WARNING, __VA_ARGS__)
#define diag_info(...) diag(DIAG_INFO, __VA_ARGS__)
#define diag_debug(...) diag(DIAG_DEBUG, __VA_ARGS__)

/* As diag; more (taken) has fields that are told in JSON besides. */
struct json_object;
void diag_fields(enum diag_level level, struct json_object *more, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Tells of a bad input line as "PROGRAM: FILE:LINE: reason" (number 0: FILE alone). */
void diag_input(const char *file, int64_t number, const char *reason);

/* Tells err and returns its kind, the status to end with. */
enum tsk_exit diag_err(const struct tsk_err *err);

/* The same for a program that needs a store and got none: TSK_CONFIG where none is configured. */
enum tsk_exit diag_no_store(const struct tsk_err *err);

/* A line that is shown on stderr for long work, if that is a terminal in whose foreground the
 * program is, and -q was not given; it is redrawn at most five times a second, and taken away
 * before any other message and at the end. */
void diag_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void diag_progress_end(void);

/* At the end of the program: tells how many messages stderr did not take, if it takes that within
 * some seconds. */
void diag_end(void);

#endif
