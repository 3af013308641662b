/* What the end of a handler means, and whether one can be started at all. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work/handlers.h"

#include "base/os_private.h"

enum { INTERPRETER_SIZE = 256 }; /* as much of a script as Linux looks at */

/* The table of tasker-work(1), in its order; what is not in it is business_logic. */
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

/* Reads the beginning of the program at path. Returns how many bytes, or -1. */
static ssize_t read_beginning(const char *dir, const char *path, char text[INTERPRETER_SIZE])
{
    int folder = open(dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = folder < 0 ? -1 : openat(folder, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, INTERPRETER_SIZE - 1);
    if (fd >= 0)
        close(fd);
    if (folder >= 0)
        close(folder);
    text[n > 0 ? n : 0] = '\0';
    return n;
}

/* What the system says of a script without its interpreter is what it says of one that is not
 * there. Returns 0, or -1 with err. */
static int check_interpreter(const char *dir, char *line, struct tsk_err *err)
{
    static const char blanks[] = " \t";
    char found[PATH_MAX];
    line[strcspn(line, "\n")] = '\0';
    if (line[strlen(line) - 1] == '\r')
        return tsk_err_set(err, TSK_CONFIG, "its lines end with CR LF: no interpreter is found");
    char *rest = NULL, *name = strtok_r(line + 2, blanks, &rest);
    if (!name)
        return tsk_err_set(err, TSK_CONFIG, "its \"#!\" line names no interpreter");
    if (strcmp(name, "/usr/bin/env") == 0)
        name = strtok_r(NULL, blanks, &rest);
    if (!name || *name == '-' || strchr(name, '='))
        return 0; /* env has something else to do first */
    char *const argv[] = {name, NULL};
    struct tsk_spawn spawn = {.argv = argv, .dir = dir};
    if (!tsk_os_find(&spawn, found, sizeof found))
        return 0;
    return tsk_err_sys(err, TSK_CONFIG, "its interpreter %.100s", name);
}

/* Finds what exec would refuse in the file at path: neither a script nor a program. */
static int check_format(const char *dir, const char *path, struct tsk_err *err)
{
    char text[INTERPRETER_SIZE];
    ssize_t n = read_beginning(dir, path, text);
    if (n < 0)
        return 0; /* it may be run and not read: then nobody knows */
    if (n == 0)
        return tsk_err_set(err, TSK_CONFIG, "it is empty");
    if (strncmp(text, "#!", 2) == 0)
        return check_interpreter(dir, text, err);
    if (memchr(text, '\0', (size_t)n))
        return 0;
    return tsk_err_set(err, TSK_CONFIG,
                       "it is text without a \"#!\" line, which names the "
                       "interpreter of a script");
}

int tsk_handler_check(const struct tsk_handlers *handlers, const struct tsk_handler *handler,
                      struct tsk_err *err)
{
    char path[PATH_MAX];
    struct tsk_spawn spawn = {.argv = handler->argv, .dir = tsk_handlers_dir(handlers)};
    struct tsk_err why;
    if (!tsk_os_find(&spawn, path, sizeof path))
        return check_format(spawn.dir, path, &why) == 0
                   ? 0
                   : tsk_err_set(err, TSK_CONFIG, "%s:%zu: handler %s: %s: %s",
                                 tsk_handlers_path(handlers), handler->line, handler->pattern,
                                 handler->argv[0], why.text);
    return tsk_err_sys(err, TSK_CONFIG, "%s:%zu: handler %s: %s", tsk_handlers_path(handlers),
                       handler->line, handler->pattern, handler->argv[0]);
}
