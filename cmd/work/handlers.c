/* The registry file and the table of ends. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "work/handlers.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os_private.h"
#include "conf/yaml.h"
#include "tasker/buf.h"
#include "tasker/map.h"
#include "tasker/parse.h"

struct tsk_handlers {
    char *path, *dir;
    struct tsk_handler **items; /* in the order of the file */
    size_t count, cap;
    struct tsk_map *exact; /* pattern to handler, borrowed from items */
};

/* What the functions that read the file pass on. */
struct reading {
    const char *path;
    yaml_document_t *document;
    struct tsk_handlers *handlers;
    struct tsk_handler *handler; /* the one being read */
    bool command;                /* whether it has one, right or wrong */
    size_t mistakes;
    struct tsk_err first; /* of them */
    tsk_handlers_fn *tell;
    void *ctx;
};

/* Reading goes on after a mistake, so that all are told at once. */
static void note(void *ctx, const struct tsk_err *err)
{
    struct reading *reading = ctx;
    if (!reading->mistakes++)
        reading->first = *err;
    if (reading->tell)
        reading->tell(reading->ctx, err->text);
}

static int bad(const struct reading *reading, size_t line, struct tsk_err *err, const char *what)
{
    return tsk_err_set(err, TSK_CONFIG, "%s:%zu: %s", reading->path, line, what);
}

static int unknown(const struct reading *reading, size_t line, const char *key,
                   const char *const *names, size_t count, struct tsk_err *err)
{
    tsk_unknown(err, TSK_CONFIG, "key", key, tsk_nearest(key, names, count));
    return tsk_err_prefix(err, "%s:%zu: ", reading->path, line);
}

static int read_command(struct reading *reading, size_t line, yaml_node_t *value,
                        struct tsk_err *err)
{
    reading->command = true;
    if (value->type != YAML_SEQUENCE_NODE)
        return bad(reading, line, err, "command must be a list: [program, argument, …]; no shell");
    yaml_node_item_t *item = value->data.sequence.items.start;
    size_t count = (size_t)(value->data.sequence.items.top - item);
    if (!count || reading->handler->argv)
        return bad(reading, line, err, "command is empty");
    reading->handler->argv = tsk_alloc((count + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        const char *text = tsk_yaml_text(yaml_document_get_node(reading->document, item[i]));
        if (!text || (!i && !*text))
            return bad(reading, line, err, "command must be a list of texts");
        reading->handler->argv[i] = tsk_strdup(text);
    }
    return 0;
}

static int read_timeout(struct reading *reading, size_t line, const char *text, struct tsk_err *err)
{
    struct tsk_err why;
    if (tsk_parse_int(text, 1, 31536000000, &reading->handler->timeout_ms, &why) < 0)
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: timeout_ms: %s", reading->path, line,
                           why.text);
    return 0;
}

static int read_output(struct reading *reading, size_t line, const char *text, struct tsk_err *err)
{
    struct tsk_err why;
    int64_t place;
    if (tsk_parse_choice(text, "auto,json,text", &place, &why) < 0)
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: output: %s", reading->path, line, why.text);
    reading->handler->output = (enum tsk_output)place;
    return 0;
}

/* Reads one of two words into flag: first is false, second is true. */
static int read_word(struct reading *reading, size_t line, const char *text, const char *first,
                     const char *second, bool *flag, struct tsk_err *err)
{
    *flag = !strcmp(text, second);
    if (*flag || !strcmp(text, first))
        return 0;
    return tsk_err_set(err, TSK_CONFIG, "%s:%zu: \"%.60s\" is neither %s nor %s", reading->path,
                       line, text, first, second);
}

static int read_field(void *ctx, const char *key, size_t line, yaml_node_t *value,
                      struct tsk_err *err)
{
    static const char *const names[] = {"command",   "timeout_ms", "mode",
                                        "interface", "retryable",  "output"};
    enum { COUNT = sizeof names / sizeof *names };
    struct reading *reading = ctx;
    const char *text = tsk_yaml_text(value);
    if (!strcmp(key, "command"))
        return read_command(reading, line, value, err);
    bool known = false;
    for (size_t i = 1; i < COUNT; i++) /* after command */
        known |= !strcmp(key, names[i]);
    if (!known)
        return unknown(reading, line, key, names, COUNT, err);
    if (!text)
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: %s must be text", reading->path, line, key);
    if (!strcmp(key, "timeout_ms"))
        return read_timeout(reading, line, text, err);
    if (!strcmp(key, "interface"))
        return read_word(reading, line, text, "call", "process", &reading->handler->process, err);
    if (!strcmp(key, "retryable"))
        return read_word(reading, line, text, "false", "true", &reading->handler->retryable, err);
    if (!strcmp(key, "output"))
        return read_output(reading, line, text, err);
    if (strcmp(text, "exec"))
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: mode \"%.60s\" is not supported, only exec",
                           reading->path, line, text);
    return 0;
}

static int read_handler(void *ctx, const char *key, size_t line, yaml_node_t *value,
                        struct tsk_err *err)
{
    struct reading *reading = ctx;
    struct tsk_handlers *handlers = reading->handlers;
    struct tsk_handler *handler = tsk_alloc(sizeof *handler);
    handlers->items =
        tsk_grow(handlers->items, &handlers->cap, handlers->count + 1, sizeof *handlers->items);
    handlers->items[handlers->count++] = handler;
    handler->pattern = tsk_strdup(key);
    handler->line = line;
    if (!*key)
        return bad(reading, line, err, "a handler_class is empty");
    if (value->type != YAML_MAPPING_NODE)
        return bad(reading, line, err, "a handler must be a mapping: {command: [program, …]}");
    reading->handler = handler;
    reading->command = false;
    tsk_yaml_all(reading->path, reading->document, value, read_field, note, reading);
    if (!reading->command)
        return bad(reading, line, err, "command is missing");
    tsk_map_put(handlers->exact, key, handler);
    return 0;
}

static int read_top(void *ctx, const char *key, size_t line, yaml_node_t *value,
                    struct tsk_err *err)
{
    static const char *const names[] = {"handlers"};
    struct reading *reading = ctx;
    if (strcmp(key, "handlers"))
        return unknown(reading, line, key, names, 1, err);
    if (value->type != YAML_MAPPING_NODE)
        return bad(reading, line, err, "handlers must be a mapping of handler_class to handler");
    tsk_yaml_all(reading->path, reading->document, value, read_handler, note, reading);
    return 0;
}

/* Tells of the handlers that cannot be run beside the mistakes. */
static void tell_checks(const struct reading *reading)
{
    struct tsk_err err;
    for (size_t i = 0; i < reading->handlers->count; i++) {
        const struct tsk_handler *handler = reading->handlers->items[i];
        if (handler->argv && handler->argv[0] &&
            tsk_handler_check(reading->handlers, handler, &err) < 0)
            reading->tell(reading->ctx, err.text);
    }
}

static int read_document(struct reading *reading, struct tsk_err *err)
{
    yaml_node_t *root = yaml_document_get_root_node(reading->document);
    if (root && root->type != YAML_MAPPING_NODE)
        return bad(reading, tsk_yaml_line(root), err, "a handler registry must be a mapping");
    if (root)
        tsk_yaml_all(reading->path, reading->document, root, read_top, note, reading);
    if (reading->mistakes && reading->tell) {
        tell_checks(reading);
        return tsk_err_set(err, TSK_CONFIG, "%s: %zu mistake%s", reading->path, reading->mistakes,
                           tsk_plural((int64_t)reading->mistakes));
    }
    if (reading->mistakes) {
        *err = reading->first;
        return -1;
    }
    if (!reading->handlers->count)
        return tsk_err_set(err, TSK_CONFIG, "%s: no handlers in it", reading->path);
    return 0;
}

/* Returns the absolute folder of path, to be freed; NULL with errno. */
static char *folder_of(const char *path)
{
    char *copy = tsk_strdup(path);
    char *slash = strrchr(copy, '/');
    if (slash)
        slash[slash == copy] = '\0'; /* "/file" is in "/" */
    char *dir = realpath(slash ? copy : ".", NULL);
    free(copy);
    return dir;
}

struct tsk_handlers *tsk_handlers_load(const char *path, tsk_handlers_fn *tell, void *ctx,
                                       struct tsk_err *err)
{
    yaml_document_t document;
    if (tsk_yaml_load(path, &document, err) < 0)
        return NULL;
    struct tsk_handlers *handlers = tsk_alloc(sizeof *handlers);
    handlers->exact = tsk_map_new(NULL);
    handlers->path = tsk_strdup(path);
    handlers->dir = folder_of(path);
    struct reading reading = {
        .path = path, .document = &document, .handlers = handlers, .tell = tell, .ctx = ctx};
    int result =
        handlers->dir ? read_document(&reading, err) : tsk_err_sys(err, TSK_CONFIG, "%s", path);
    yaml_document_delete(&document);
    if (!result)
        return handlers;
    tsk_handlers_free(handlers);
    return NULL;
}

void tsk_handlers_free(struct tsk_handlers *handlers)
{
    if (!handlers)
        return;
    for (size_t i = 0; i < handlers->count; i++) {
        struct tsk_handler *handler = handlers->items[i];
        for (char **arg = handler->argv; arg && *arg; arg++)
            free(*arg);
        free(handler->argv);
        free(handler->pattern);
        free(handler);
    }
    tsk_map_free(handlers->exact);
    free(handlers->items);
    free(handlers->dir);
    free(handlers->path);
    free(handlers);
}

const struct tsk_handler *tsk_handlers_find(const struct tsk_handlers *handlers,
                                            const char *handler_class)
{
    const struct tsk_handler *exact = tsk_map_get(handlers->exact, handler_class);
    if (exact)
        return exact;
    for (size_t i = 0; i < handlers->count; i++) {
        if (!fnmatch(handlers->items[i]->pattern, handler_class, 0))
            return handlers->items[i];
    }
    return NULL;
}

const char *tsk_handlers_dir(const struct tsk_handlers *handlers)
{
    return handlers->dir;
}

/* The path of the registry file, as it was given. Borrowed. */
static const char *tsk_handlers_path(const struct tsk_handlers *handlers)
{
    return handlers->path;
}

size_t tsk_handlers_count(const struct tsk_handlers *handlers)
{
    return handlers->count;
}

const struct tsk_handler *tsk_handlers_at(const struct tsk_handlers *handlers, size_t i)
{
    return handlers->items[i];
}

/* ---- What the end of a handler means, and whether one can be started at all. */

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
