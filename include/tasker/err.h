/* The exit statuses of all programs, which are also the kinds of error the library reports.
 * 64 and above are those of sysexits.h; their meaning is in tasker(7), EXIT STATUS. */
#ifndef TASKER_ERR_H
#define TASKER_ERR_H

#ifdef __cplusplus
extern "C" {
#endif


enum tsk_exit {
    TSK_OK = 0,           /* done */
    TSK_NO = 1,           /* done, and the answer is no: a step failed, a discrepancy */
    TSK_USAGE = 64,       /* the command line is wrong */
    TSK_DATA = 65,        /* some input was wrong; all the rest was done */
    TSK_UNAVAILABLE = 69, /* a needed service is not there */
    TSK_BUG = 70,         /* this program is wrong */
    TSK_IO = 74,          /* reading or writing failed */
    TSK_TEMPFAIL = 75,    /* not in time: try again */
    TSK_CONFIG = 78,      /* the configuration is wrong */
};

/* Of two statuses, returns the one to end with when both happened: a bug before a wrong
 * configuration, then usage, I/O, unavailable, not in time, bad data, "no", and 0 last. */
enum tsk_exit tsk_exit_worse(enum tsk_exit a, enum tsk_exit b);

/* ---- How the library tells of an error: it fills a struct that the caller owns, and never prints.
 */

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

#ifdef __cplusplus
}
#endif

#endif
