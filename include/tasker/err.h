/* How the library tells of an error: it fills a struct that the caller owns, and never prints. */
#ifndef TASKER_ERR_H
#define TASKER_ERR_H

#include "tasker/exit.h"

struct tsk_err {
    enum tsk_exit kind; /* what a program that ends because of it exits with */
    int code;           /* errno or a libzmq error behind it, or 0 */
    char text[1024];    /* one line, no newline; cut at a whole character */
};

#define TSK_ERR_INIT                                                                               \
    {                                                                                              \
        TSK_OK, 0, ""                                                                              \
    }

/* Fills err (which may be NULL) and returns -1, so that "return tsk_err_set(…)" reads well. */
int tsk_err_set(struct tsk_err *err, enum tsk_exit kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As tsk_err_set, then ": " and strerror(errno); keeps errno in err->code. Returns -1. */
int tsk_err_sys(struct tsk_err *err, enum tsk_exit kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "PREFIX" in front of the text that err has, for context on the way up. Returns -1. */
int tsk_err_prefix(struct tsk_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
