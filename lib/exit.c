/* The exit statuses in order of weight. */
#include "tasker/exit.h"

#include <stddef.h>

/* From the heaviest to the lightest: what tells most about what to do next comes first. */
static const struct {
    enum tsk_exit status;
    const char *name;
} statuses[] = {
    {TSK_BUG, "internal error"},
    {TSK_CONFIG, "bad configuration"},
    {TSK_USAGE, "usage error"},
    {TSK_IO, "I/O error"},
    {TSK_UNAVAILABLE, "service unavailable"},
    {TSK_TEMPFAIL, "not in time"},
    {TSK_DATA, "bad input data"},
    {TSK_NO, "no"},
    {TSK_OK, "done"},
};

static size_t place(enum tsk_exit status)
{
    size_t count = sizeof statuses / sizeof *statuses;
    for (size_t i = 0; i < count; i++) {
        if (statuses[i].status == status)
            return i;
    }
    return 0; /* not one of ours: a bug */
}

enum tsk_exit tsk_exit_worse(enum tsk_exit a, enum tsk_exit b)
{
    return place(a) <= place(b) ? a : b;
}

const char *tsk_exit_name(enum tsk_exit status)
{
    return statuses[place(status)].name;
}
