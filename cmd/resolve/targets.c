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
    int64_t line; /* of stdin */
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

static void add(struct reading *reading, struct target target)
{
    struct targets *targets = reading->targets;
    targets->items = tsk_grow(targets->items, &targets->item_cap, targets->item_count + 1,
                              sizeof *targets->items);
    targets->items[targets->item_count++] = target;
}

/* A step_id that another task's step has too is not mistaken for that one: an object as a rule says
 * of which task it is, and tasker-status whether the store knows that. */
static int read_object(const struct targets *targets, struct json_object *line,
                       struct target *target, struct tsk_err *err)
{
    const char *key = targets->tasks ? "task_id" : "step_id";
    bool known = true;
    if (tsk_json_int(line, key, &target->id) != 1 || target->id < 1)
        return tsk_err_set(err, TSK_DATA, "the object has no %s that is an id", key);
    if (tsk_json_bool(line, "known_task", &known) < 0)
        return tsk_err_set(err, TSK_DATA, "known_task is neither true nor false");
    if (!known && !targets->tasks)
        return tsk_err_set(err, TSK_DATA,
                           "step %" PRId64 " is of no task that the store has: it is whoever "
                           "published it who does that again",
                           target->id);
    int told = targets->tasks ? 0 : tsk_json_int(line, "task_id", &target->task);
    if (told < 0 || (told && target->task < 1))
        return tsk_err_set(err, TSK_DATA, "its task_id is no id");
    return 0;
}

static int take_object(struct reading *reading, const char *text, size_t len, struct tsk_err *err)
{
    struct json_object *line = tsk_json_object(reading->parser, text, len, err);
    struct target target = {.line = reading->line};
    if (!line)
        return -1;
    int rc = read_object(reading->targets, line, &target, err);
    json_object_put(line);
    if (rc == 0)
        add(reading, target);
    return rc;
}

static int take_id(struct reading *reading, const char *text, size_t len, struct tsk_err *err)
{
    struct target target = {.task = 0};
    bool marked = strncmp(text, "\xEF\xBB\xBF", 3) == 0; /* as some editors begin a file */
    if (*text == '{' || marked)
        return take_object(reading, text, len, err);
    if (tsk_parse_int(text, 1, INT64_MAX, &target.id, err) < 0)
        return tsk_err_set(err, TSK_DATA, "\"%.60s\" is not the id of a %s", text,
                           reading->targets->tasks ? "task" : "step");
    add(reading, target);
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

/* Takes a line without the blanks around it, which a line that ends with CR LF has. */
static int take_line(struct reading *reading, const struct tsk_line *line, struct tsk_err *err)
{
    const char *text = line->data + strspn(line->data, " \t\r");
    size_t len = line->len - (size_t)(text - line->data);
    while (len && strchr(" \t\r", text[len - 1]))
        len--;
    struct tsk_buf own = TSK_BUF_INIT;
    tsk_buf_add(&own, text, len);
    int rc = reading->take(reading, own.data, len, err);
    tsk_buf_fini(&own);
    return rc;
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
        reading->line = line.number;
        if (state == TSK_LINE_OK && take_line(reading, &line, &err) == 0)
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
    free(targets->items);
}

/* ---- What objects say of steps, held against the store. A step that is of no task has the step_id
 * that whoever made it chose, which may be that of another step of a task: only an id without an
 * object is taken for what it is. */

struct check {
    const struct targets *targets;
    int64_t *tasks; /* of each target: what the store says; 0: it has no such step of a task */
};

static int ask(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sql[] = "SELECT task FROM steps WHERE id = $1 AND task IS NOT NULL";
    struct check *check = ctx;
    for (size_t i = 0; i < check->targets->item_count; i++) {
        struct tsk_value id = tsk_value_int(check->targets->items[i].id);
        if (check->targets->items[i].task &&
            tsk_store_get_int(store, sql, &id, 1, &check->tasks[i], err) < 0)
            return -1;
    }
    return 0;
}

/* Tells of a step that is not the one that is meant. Returns whether it is. */
static bool is_another(struct targets *targets, const struct target *target, int64_t task)
{
    char text[160];
    if (!target->task || !task || target->task == task)
        return false; /* that there is none is told when it is looked for */
    snprintf(text, sizeof text,
             "step %" PRId64 " in the store is of task %" PRId64 ", not of %" PRId64
             ": nothing is done to it",
             target->id, task, target->task);
    if (target->line)
        diag_input("-", target->line, text);
    else
        diag_error("%s", text);
    targets->status = tsk_exit_worse(targets->status, TSK_DATA);
    return true;
}

static void take(struct targets *targets, const int64_t *tasks, struct tsk_resolve_ids *ids)
{
    static char there;
    struct tsk_map *seen = tsk_map_new(NULL);
    for (size_t i = 0; i < targets->item_count; i++) {
        char key[32];
        snprintf(key, sizeof key, "%" PRId64, targets->items[i].id);
        if (is_another(targets, &targets->items[i], tasks[i]) || tsk_map_get(seen, key))
            continue;
        tsk_map_put(seen, key, &there);
        ids->items = tsk_grow(ids->items, &ids->cap, ids->count + 1, sizeof *ids->items);
        ids->items[ids->count++] = targets->items[i].id;
    }
    tsk_map_free(seen);
}

int targets_check(struct targets *targets, struct session *session, struct tsk_resolve_ids *ids,
                  struct tsk_err *err)
{
    struct check check = {targets, tsk_alloc(targets->item_count * sizeof *check.tasks)};
    int rc = tsk_store_read(session->store, ask, &check, session->patience, err);
    if (rc == 0)
        take(targets, check.tasks, ids);
    free(check.tasks);
    return rc;
}
