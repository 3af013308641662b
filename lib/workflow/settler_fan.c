/* What the outputs of a batch's steps ask for, held against the plans of their tasks, and against
 * what other steps ask for. All that this depends on is read before the messages come. What others
 * ask for is read from their rows, where tsk_fan_write has put it, also of the batches before in
 * the same transaction, whose steps are not made yet. So it does not matter when they are, and a
 * batch that is settled again finds what it has found. */
#include <stdlib.h>
#include <string.h>

#include "workflow/settler_private.h"
#include "tasker/buf.h"
#include "tasker/flow.h"

struct asking {
    int64_t step, task; /* task 0: no task knows it */
    char *name;         /* in the template */
    char *accepted;     /* what its row says that it asks for; NULL: nothing */
    bool past;          /* see tsk_create_asker */
    char *refused;      /* the same, of an attempt; NULL: it was not */
    int64_t attempt;
};

/* A task with optional steps. */
struct choices {
    int64_t task;
    struct tsk_plan *plan;
    struct tsk_create_made *made;
    size_t count, cap;
    int64_t steps; /* that nobody has to ask for */
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
    for (size_t i = 0; i < fan->count; i++) {
        free(fan->steps[i].name);
        free(fan->steps[i].accepted);
        free(fan->steps[i].refused);
    }
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
                  const char *optional, const char *accepted, bool past)
{
    fan->steps = tsk_grow(fan->steps, &fan->cap, fan->count + 1, sizeof *fan->steps);
    fan->steps[fan->count++] = (struct asking){.step = step,
                                               .task = task,
                                               .name = task ? tsk_strdup(name) : NULL,
                                               .accepted = accepted ? tsk_strdup(accepted) : NULL,
                                               .past = past};
    if (!task || !optional || find_task(fan, task))
        return;
    fan->tasks = tsk_grow(fan->tasks, &fan->task_cap, fan->task_count + 1, sizeof *fan->tasks);
    fan->tasks[fan->task_count++] = (struct choices){.task = task, .plan = tsk_plan_read(optional)};
}

void tsk_fan_refused(struct tsk_fan *fan, int64_t attempt, const char *why)
{
    struct asking *step = &fan->steps[fan->count - 1];
    step->refused = tsk_strdup(why);
    step->attempt = attempt;
}

/* ---- what the tasks have */

static void add_made(struct choices *task, const char *name, int64_t by, int64_t steps,
                     bool counted)
{
    task->made = tsk_grow(task->made, &task->cap, task->count + 1, sizeof *task->made);
    task->made[task->count++] = (struct tsk_create_made){tsk_strdup(name), by, steps, counted};
}

/* creates: JSON, as tsk_create_judge gives it */
static void add_asked(struct choices *task, int64_t step, const char *creates, size_t len)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *list = NULL;
    tsk_json_parse(parser, creates, len, &list, NULL);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        int64_t count = 1;
        bool counted = tsk_json_int(one, "count", &count) == 1;
        if (count)
            add_made(task, tsk_json_str(one, "name"), step, count, counted);
    }
    json_object_put(list);
    tsk_json_free(parser);
}

/* What stays, whoever asks for it (fan_out.c); what is asked for; and all else. */
static const char get_made[] =
    "SELECT template_name, created_by, created_count, count(*) FROM steps WHERE task = $1 AND "
    "created_by IS NOT NULL AND NOT (state = 'pending' AND attempts = 0) GROUP BY template_name, "
    "created_by, created_count";
static const char get_asked[] =
    "SELECT id, creates FROM steps WHERE task = $1 AND creates IS NOT NULL AND " TSK_UNINDEXED(
        "state") " IN ('complete', 'resolved_manually')";
static const char count_steps[] =
    "SELECT count(*) FROM steps WHERE task = $1 AND created_by IS NULL";

static int on_made(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)columns;
    add_made(ctx, row[0].data, row[1].number, row[3].number, row[2].type == TSK_INT);
    return 0;
}

static int on_asked(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)columns;
    add_asked(ctx, row[0].number, row[1].data, row[1].len);
    return 0;
}

/* Whether a step of the batch may ask for optional ones of task: one is behind it in the plan. */
static bool may_ask(const struct tsk_fan *fan, const struct choices *task)
{
    bool may = false;
    for (size_t i = 0; i < fan->count && !may && task->plan; i++) {
        if (fan->steps[i].task != task->task)
            continue;
        size_t place = tsk_plan_find(task->plan, fan->steps[i].name);
        for (size_t p = 0; p < tsk_plan_count(task->plan) && !may; p++)
            may = tsk_plan_step(task->plan, p)->optional &&
                  (place == tsk_plan_count(task->plan) || tsk_plan_behind(task->plan, p, place));
    }
    return may;
}

int tsk_fan_load(struct tsk_fan *fan, struct tsk_err *err)
{
    for (size_t i = 0; i < fan->task_count; i++) {
        struct choices *task = &fan->tasks[i];
        struct tsk_value key = tsk_value_int(task->task);
        if (!may_ask(fan, task))
            continue;
        if (tsk_store_run(fan->s->store, get_made, &key, 1, on_made, task, err) < 0 ||
            tsk_store_run(fan->s->store, get_asked, &key, 1, on_asked, task, err) < 0 ||
            tsk_store_get_int(fan->s->store, count_steps, &key, 1, &task->steps, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- judging, and what follows */

/* What was found right counts for the next one that asks, too, in place of what it asked before. */
static void note_asked(struct choices *task, int64_t step, const struct tsk_buf *creates)
{
    size_t kept = 0;
    for (size_t i = 0; i < task->count; i++) {
        if (task->made[i].by == step)
            free(task->made[i].name);
        else
            task->made[kept++] = task->made[i];
    }
    task->count = kept;
    if (creates->len)
        add_asked(task, step, creates->data, creates->len);
}

int tsk_fan_judge(void *ctx, size_t i, int64_t attempt, const char *output, size_t len,
                  struct tsk_buf *creates, struct tsk_err *err)
{
    struct tsk_fan *fan = ctx;
    const struct asking *step = &fan->steps[i];
    struct choices *task = find_task(fan, step->task);
    struct tsk_create_asker asker = {.step = step->step,
                                     .name = step->name,
                                     .accepted = step->accepted,
                                     .past = step->past,
                                     .refused = attempt == step->attempt ? step->refused : NULL};
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

/* What the step means for the flow of its task. */
static void note_news(struct tsk_settler *s, const struct asking *asking, size_t i,
                      const struct tsk_settled_step *step, const char *creates)
{
    struct tsk_flow_news news = {.task = asking->task, .step = step->row};
    enum tsk_state from = (enum tsk_state)s->states[i], to = step->state.state;
    bool ran = from == TSK_STATE_ENQUEUED || from == TSK_STATE_IN_PROGRESS;
    bool same = from == to && to != TSK_STATE_ERROR && to != TSK_STATE_CANCELLED;
    if (!asking->task)
        return;
    if (s->anew || (step->owns & TSK_OWNS_STATE && (creates || asking->accepted)))
        news.kind = TSK_FLOW_WHOLE;
    else if (!(step->owns & TSK_OWNS_STATE) || same || (ran && to == TSK_STATE_IN_PROGRESS))
        news.kind = TSK_FLOW_NONE;
    else
        news.kind = ran && to == TSK_STATE_COMPLETE ? TSK_FLOW_DONE : TSK_FLOW_WHOLE;
    s->news = tsk_grow(s->news, &s->news_cap, s->news_count + 1, sizeof *s->news);
    s->news[s->news_count++] = news;
}

int tsk_fan_write(struct tsk_fan *fan, struct tsk_err *err)
{
    static const char sql[] = "UPDATE steps SET creates = $2 WHERE id = $1";
    struct tsk_settled_step step;
    for (size_t i = 0; i < fan->count; i++) {
        tsk_settled_step(fan->s->settle, i, &step);
        bool done =
            step.state.state == TSK_STATE_COMPLETE || step.state.state == TSK_STATE_RESOLVED;
        const char *creates = done ? step.creates : NULL;
        struct tsk_value values[] = {tsk_value_int(step.row), tsk_value_text(creates)};
        note_news(fan->s, &fan->steps[i], i, &step, creates);
        if (!(step.owns & TSK_OWNS_STATE) || (!creates && !fan->steps[i].accepted))
            continue;
        if (tsk_store_send(fan->s->store, sql, values, 2, err) < 0)
            return -1;
    }
    return 0;
}
