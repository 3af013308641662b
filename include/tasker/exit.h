/* The exit statuses of all programs, which are also the kinds of error the library reports.
 * 64 and above are those of sysexits.h; their meaning is in DESIGN and in tasker(7). */
#ifndef TASKER_EXIT_H
#define TASKER_EXIT_H

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

#endif
