/* What a handler is given: its program, environment and stdin. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "work/work.h"

#define USUAL_BYTES 500 /* so that the text of a small step need not grow */

extern char **environ;

static const char *const step_names[] = {
    "TASKER_BATCH_ID", "TASKER_TASK_ID",         "TASKER_STEP_ID",    "TASKER_STEP_NAME",
    "TASKER_ATTEMPT",  "TASKER_IDEMPOTENCY_KEY", "TASKER_WORKER_MARK"};
#define STEP_NAMES (sizeof step_names / sizeof *step_names)

/* Whether a variable of the worker's own environment would stand in the way of a step's. */
static bool is_step_name(const char *variable)
{
    for (size_t i = 0; i < STEP_NAMES; i++) {
        size_t len = strlen(step_names[i]);
        if (!strncmp(variable, step_names[i], len) && variable[len] == '=')
            return true;
    }
    return false;
}

void input_environment(struct work *work, const char *mark)
{
    size_t count = 0;
    while (environ[count])
        count++;
    work->environment = tsk_alloc((count + 1) * sizeof *work->environment);
    for (size_t i = 0; i < count; i++) {
        if (!is_step_name(environ[i]))
            work->environment[work->environment_count++] = tsk_strdup(environ[i]);
    }
    work->environment[work->environment_count++] = tsk_strdup(mark);
}

/* The environment of one step: work's, then the step's own, all in *arena. Returns an array to be
 * freed. */
static char **environment_of(const struct work *work, const struct run *run, struct tsk_buf *arena)
{
    const struct tsk_step *step = run->step;
    size_t at[6], count = work->environment_count;
    tsk_buf_reset(arena);
#define ADD(i, ...) (at[i] = arena->len, tsk_buf_printf(arena, __VA_ARGS__), tsk_buf_char(arena, 0))
    ADD(0, "TASKER_BATCH_ID=%s", run->batch->data.batch_id);
    ADD(1, "TASKER_TASK_ID=%" PRId64, step->task_id);
    ADD(2, "TASKER_STEP_ID=%" PRId64, step->step_id);
    ADD(3, "TASKER_STEP_NAME=%s", step->step_name);
    ADD(4, "TASKER_ATTEMPT=%" PRId64, step->attempt);
    /* the same for each attempt, so that a handler can tell that it did this already */
    ADD(5, "TASKER_IDEMPOTENCY_KEY=%" PRId64 ":%" PRId64, step->task_id, step->step_id);
#undef ADD
    char **environment = tsk_alloc((count + 7) * sizeof *environment);
    memcpy(environment, work->environment, count * sizeof *environment);
    for (size_t i = 0; i < 6; i++)
        environment[count + i] = arena->data + at[i];
    return environment;
}

/* What the handler reads on stdin. */
static void write_input(const struct run *run, struct tsk_buf *text)
{
    const struct tsk_step *step = run->step;
    if (run->handler->process) {
        tsk_write_json(text, NULL, step->json);
        return;
    }
    tsk_write_open(text, NULL, '{');
    tsk_write_open(text, "task", '{');
    tsk_write_int(text, "task_id", step->task_id);
    tsk_write_object(text, "context", tsk_json_get(step->json, "task_context"));
    tsk_write_close(text, '}');
    tsk_write_open(text, "sequence", '{');
    tsk_write_str(text, "batch_id", run->batch->data.batch_id);
    tsk_write_int(text, "sequence", step->sequence);
    tsk_write_int(text, "total_steps", step->total_steps);
    tsk_write_object(text, "previous_results", tsk_json_get(step->json, "previous_results"));
    tsk_write_close(text, '}');
    tsk_write_json(text, "step", step->json);
    tsk_write_close(text, '}');
}

/* Looks for the program of run. Returns 0, or an errno. */
static int find_program(const struct work *work, const struct run *run, struct child *child)
{
    char path[PATH_MAX];
    struct tsk_spawn spawn = {.argv = run->handler->argv, .dir = tsk_handlers_dir(work->handlers)};
    if (tsk_os_find(&spawn, path, sizeof path) < 0)
        return errno;
    child->argv = run->handler->argv;
    child->path = tsk_strdup(path);
    return 0;
}

int input_prepare(const struct work *work, const struct run *run, struct child *child)
{
    tsk_buf_reserve(&child->input, USUAL_BYTES);
    write_input(run, &child->input);
    int code =
        (int64_t)child->input.len > work->max_input ? E2BIG : find_program(work, run, child);
    if (!code)
        child->environment = environment_of(work, run, &child->arena);
    return code;
}
