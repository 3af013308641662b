/* What the end of a handler means, and whether one can be started at all. */
#include <limits.h>
#include <sys/wait.h>

#include "tasker/handlers.h"

#include "os_private.h"

/* DESIGN's table, in its order; what is not in it is business_logic. */
static const struct {
    int exit_status;
    struct tsk_end end;
} ends[] = {
    {0, {NULL, false}},
    {64, {"validation", false}},
    {65, {"validation", false}},
    {66, {"validation", false}},
    {69, {"infrastructure", true}},
    {68, {"infrastructure", true}},
    {71, {"infrastructure", true}},
    {74, {"infrastructure", true}},
    {75, {"retryable", true}},
    {77, {"permanent", false}},
    {78, {"permanent", false}},
    {126, {"permanent", false}},
    {127, {"permanent", false}},
};

struct tsk_end tsk_end_of(int status, bool retryable)
{
    if (!WIFEXITED(status))
        return (struct tsk_end){"infrastructure", true};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends[i].exit_status == WEXITSTATUS(status))
            return ends[i].end;
    }
    return (struct tsk_end){"business_logic", retryable};
}

int tsk_handler_check(const struct tsk_handlers *handlers, const struct tsk_handler *handler,
                      struct tsk_err *err)
{
    char path[PATH_MAX];
    struct tsk_spawn spawn = {.argv = handler->argv, .dir = tsk_handlers_dir(handlers)};
    if (!tsk_os_find(&spawn, path, sizeof path))
        return 0;
    return tsk_err_sys(err, TSK_CONFIG, "%s:%zu: handler %s: %s", tsk_handlers_path(handlers),
                       handler->line, handler->pattern, handler->argv[0]);
}
