/* What is meant: ids or names as operands, or a line each on stdin, where an object in JSON, as
 * "tasker-status steps --format json" prints them, stands for the id in it. What is wrong on the
 * command line stops all; a wrong line is told, and the others count. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "resolve/resolve.h"
#include "tasker/json.h"
#include "tasker/line.h"
#include "tasker/map.h"
#include "tasker/parse.h"

enum { LINE_MOST = 1 << 20 };

struct reading {
    struct targets *targets;
    struct tsk_map *seen;
    struct tsk_json *parser;
    /* Takes a text as one of the targets. */
    int (*take)(struct reading *reading, const char *text, size_t len, struct tsk_err *err);
};

static bool is_new(struct reading *reading, const char *key)
{
    static char there;
    if (tsk_map_get(reading->seen, key))
        return false;
    tsk_map_put(reading->seen, key, &there);
    return true;
}

static void add_id(struct reading *reading, int64_t id)
{
    struct tsk_resolve_ids *ids = &reading->targets->ids;
    char key[32];
    snprintf(key, sizeof key, "%" PRId64, id);
    if (!is_new(reading, key))
        return;
    ids->items = tsk_grow(ids->items, &ids->cap, ids->count + 1, sizeof *ids->items);
    ids->items[ids->count++] = id;
}

static int take_object(struct reading *reading, const char *text, size_t len, struct tsk_err *err)
{
    const char *key = reading->targets->tasks ? "task_id" : "step_id";
    struct json_object *line = tsk_json_object(reading->parser, text, len, err);
    int64_t id = 0;
    if (!line)
        return -1;
    bool told = tsk_json_int(line, key, &id) == 1 && id > 0;
    json_object_put(line);
    if (!told)
        return tsk_err_set(err, TSK_DATA, "the object has no %s that is an id", key);
    add_id(reading, id);
    return 0;
}

static int take_id(struct reading *reading, const char *text, size_t len, struct tsk_err *err)
{
    int64_t id;
    if (*text == '{')
        return take_object(reading, text, len, err);
    if (tsk_parse_int(text, 1, INT64_MAX, &id, err) < 0)
        return tsk_err_set(err, TSK_DATA, "\"%.60s\" is not the id of a %s", text,
                           reading->targets->tasks ? "task" : "step");
    add_id(reading, id);
    return 0;
}

static int take_name(struct reading *reading, const char *text, size_t len, struct tsk_err *err)
{
    struct targets *targets = reading->targets;
    if (!len || !tsk_json_is_text(text, len))
        return tsk_err_set(err, TSK_DATA, "a namespace is a text in UTF-8");
    if (!is_new(reading, text))
        return 0;
    targets->names =
        tsk_grow(targets->names, &targets->cap, targets->count + 1, sizeof *targets->names);
    targets->names[targets->count++] = tsk_strdup(text);
    return 0;
}

static void read_lines(struct reading *reading)
{
    struct targets *targets = reading->targets;
    struct tsk_lines *lines = tsk_lines_new(NULL, 0, LINE_MOST);
    struct tsk_line line;
    struct tsk_err err;
    enum tsk_line_state state;
    while ((state = tsk_lines_next(lines, &line)) != TSK_LINE_END) {
        if (state == TSK_LINE_MORE) {
            tsk_lines_fill(lines);
            continue;
        }
        if (state == TSK_LINE_OK && reading->take(reading, line.data, line.len, &err) == 0)
            continue;
        diag_input(line.file, line.number, state == TSK_LINE_OK ? err.text : line.reason);
        targets->status =
            tsk_exit_worse(targets->status, state == TSK_LINE_OK ? TSK_DATA : line.kind);
    }
    tsk_lines_free(lines);
}

static int read_all(struct reading *reading, char *const *operands, size_t count)
{
    struct tsk_err err;
    int rc = 0;
    reading->seen = tsk_map_new(NULL);
    reading->parser = tsk_json_new();
    for (size_t i = 0; i < count; i++) {
        if (strcmp(operands[i], "-") == 0 ||
            reading->take(reading, operands[i], strlen(operands[i]), &err) == 0)
            continue;
        diag_error("%s", err.text);
        rc = -1;
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (strcmp(operands[i], "-") == 0)
            read_lines(reading);
    }
    tsk_map_free(reading->seen);
    tsk_json_free(reading->parser);
    return rc;
}

int targets_read(struct targets *targets, char *const *operands, size_t count)
{
    struct reading reading = {.targets = targets, .take = take_id};
    bool word = count && (!strcmp(operands[0], "task") || !strcmp(operands[0], "step"));
    targets->tasks = word && !strcmp(operands[0], "task");
    if (word && count == 1) {
        diag_error("no id stands behind \"%s\"", operands[0]);
        return -1;
    }
    return read_all(&reading, operands + word, count - word);
}

int targets_read_names(struct targets *targets, char *const *operands, size_t count)
{
    struct reading reading = {.targets = targets, .take = take_name};
    return read_all(&reading, operands, count);
}

void targets_fini(struct targets *targets)
{
    for (size_t i = 0; i < targets->count; i++)
        free(targets->names[i]);
    free(targets->names);
    free(targets->ids.items);
}
