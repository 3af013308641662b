/* What the outputs of a batch's steps ask for, held against the plans of their tasks. All that this
 * depends on is read before the messages come. */
#include <stdlib.h>
#include <string.h>

#include "settler_private.h"
#include "tasker/buf.h"
#include "tasker/plan.h"

struct asking {
    int64_t step, task; /* task 0: no task knows it */
    char *name;         /* in the template */
    bool asked;
};

/* A task with optional steps. */
struct choices {
    int64_t task;
    struct tsk_plan *plan;
    struct tsk_create_made *made;
    size_t count, cap;
    int64_t steps; /* that it has in all */
};

struct tsk_fan {
    struct tsk_settler *s;
    struct asking *steps;
    size_t count, cap;
    struct choices *tasks;
    size_t task_count, task_cap;
};

struct tsk_fan *tsk_fan_new(struct tsk_settler *s)
{
    struct tsk_fan *fan = tsk_alloc(sizeof *fan);
    fan->s = s;
    return fan;
}

void tsk_fan_begin(struct tsk_fan *fan)
{
    for (size_t i = 0; i < fan->count; i++)
        free(fan->steps[i].name);
    for (size_t i = 0; i < fan->task_count; i++) {
        struct choices *task = &fan->tasks[i];
        for (size_t m = 0; m < task->count; m++)
            free(task->made[m].name);
        free(task->made);
        tsk_plan_free(task->plan);
    }
    fan->count = fan->task_count = 0;
}

void tsk_fan_free(struct tsk_fan *fan)
{
    if (!fan)
        return;
    tsk_fan_begin(fan);
    free(fan->steps);
    free(fan->tasks);
    free(fan);
}

static struct choices *find_task(const struct tsk_fan *fan, int64_t task)
{
    for (size_t i = fan->task_count; i-- > 0;) { /* mostly the last one */
        if (fan->tasks[i].task == task)
            return &fan->tasks[i];
    }
    return NULL;
}

void tsk_fan_step(struct tsk_fan *fan, int64_t step, int64_t task, const char *name,
                  const char *optional, bool asked)
{
    fan->steps = tsk_grow(fan->steps, &fan->cap, fan->count + 1, sizeof *fan->steps);
    fan->steps[fan->count++] = (struct asking){step, task, task ? tsk_strdup(name) : NULL, asked};
    if (!task || !optional || find_task(fan, task))
        return;
    fan->tasks = tsk_grow(fan->tasks, &fan->task_cap, fan->task_count + 1, sizeof *fan->tasks);
    fan->tasks[fan->task_count++] = (struct choices){.task = task, .plan = tsk_plan_read(optional)};
}

/* ---- what the tasks have */

static const char get_made[] =
    "SELECT template_name, created_by, created_count, count(*) FROM steps WHERE task = $1 AND "
    "created_by IS NOT NULL GROUP BY template_name, created_by, created_count";
static const char count_steps[] = "SELECT count(*) FROM steps WHERE task = $1";

static int on_made(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct choices *task = ctx;
    (void)columns;
    task->made = tsk_grow(task->made, &task->cap, task->count + 1, sizeof *task->made);
    task->made[task->count++] = (struct tsk_create_made){.name = tsk_strdup(row[0].data),
                                                         .by = row[1].number,
                                                         .steps = row[3].number,
                                                         .counted = row[2].type == TSK_INT};
    return 0;
}

int tsk_fan_load(struct tsk_fan *fan, struct tsk_err *err)
{
    for (size_t i = 0; i < fan->task_count; i++) {
        struct choices *task = &fan->tasks[i];
        struct tsk_value key = tsk_value_int(task->task);
        if (tsk_store_run(fan->s->store, get_made, &key, 1, on_made, task, err) < 0 ||
            tsk_store_get_int(fan->s->store, count_steps, &key, 1, &task->steps, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- judging, and what follows */

static bool is_noted(const struct choices *task, int64_t step, const char *name)
{
    for (size_t i = 0; i < task->count; i++) {
        if (task->made[i].by == step && strcmp(task->made[i].name, name) == 0)
            return true;
    }
    return false;
}

/* What was found right counts for the next one that asks, too. */
static void note_asked(struct choices *task, int64_t step, const struct tsk_buf *creates)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *list = NULL;
    if (creates->len)
        tsk_json_parse(parser, creates->data, creates->len, &list, NULL);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        const char *name = tsk_json_str(one, "name");
        int64_t count = 1;
        bool counted = tsk_json_int(one, "count", &count) == 1;
        if (is_noted(task, step, name) || !count)
            continue;
        task->made = tsk_grow(task->made, &task->cap, task->count + 1, sizeof *task->made);
        task->made[task->count++] =
            (struct tsk_create_made){tsk_strdup(name), step, count, counted};
        task->steps += count;
    }
    json_object_put(list);
    tsk_json_free(parser);
}

int tsk_fan_judge(void *ctx, size_t i, const char *output, size_t len, struct tsk_buf *creates,
                  struct tsk_err *err)
{
    struct tsk_fan *fan = ctx;
    const struct asking *step = &fan->steps[i];
    struct choices *task = find_task(fan, step->task);
    struct tsk_create_asker asker = {.step = step->step, .name = step->name};
    if (!step->task)
        return 0; /* of a batch that was written by hand */
    if (task) {
        asker.made = task->made;
        asker.made_count = task->count;
        asker.steps = task->steps;
    }
    int rc = tsk_create_judge(task ? task->plan : NULL, &asker, &fan->s->limits, output, len,
                              creates, err);
    if (rc == 0 && task)
        note_asked(task, step->step, creates);
    return rc;
}

int tsk_fan_write(struct tsk_fan *fan, struct tsk_err *err)
{
    static const char sql[] = "UPDATE steps SET creates = $2 WHERE id = $1";
    struct tsk_settled_step step;
    for (size_t i = 0; i < fan->count; i++) {
        tsk_settled_step(fan->s->settle, i, &step);
        bool done = step.state.state == TSK_STATE_COMPLETE ||
                    step.state.state == TSK_STATE_RESOLVED;
        const char *creates = done ? step.creates : NULL;
        struct tsk_value values[] = {tsk_value_int(step.row), tsk_value_text(creates)};
        if (!(step.owns & TSK_OWNS_STATE) || (!creates && !fan->steps[i].asked))
            continue;
        if (tsk_store_send(fan->s->store, sql, values, 2, err) < 0)
            return -1;
    }
    return 0;
}
