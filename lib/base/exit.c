/* The exit statuses in order of weight. */
#include "tasker/err.h"

#include <stddef.h>

/* From the heaviest to the lightest: what tells most about what to do next comes first. */
static const enum tsk_exit statuses[] = {
    TSK_BUG, TSK_CONFIG, TSK_USAGE, TSK_IO, TSK_UNAVAILABLE, TSK_TEMPFAIL, TSK_DATA, TSK_NO, TSK_OK,
};

static size_t place(enum tsk_exit status)
{
    size_t count = sizeof statuses / sizeof *statuses;
    for (size_t i = 0; i < count; i++) {
        if (statuses[i] == status)
            return i;
    }
    return 0; /* not one of ours: a bug */
}

enum tsk_exit tsk_exit_worse(enum tsk_exit a, enum tsk_exit b)
{
    return place(a) <= place(b) ? a : b;
}
