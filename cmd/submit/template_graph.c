/* Which step waits for which: names become places, and a walk in depth gives each step its level
 * and finds circles, each told once with all its members. */
#include <stdlib.h>
#include <string.h>

#include "tasker/parse.h"
#include "submit/template_private.h"

enum { NAMES_TOLD = 12 };

static void unknown_step(struct tsk_reading *reading, const struct tsk_template_step *step,
                         const char *name, size_t line)
{
    const struct tsk_template *template = reading->template;
    const char **names = tsk_alloc((template->count + 1) * sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < template->count; i++) {
        if (template->steps[i].name)
            names[count++] = template->steps[i].name;
    }
    const char *near = tsk_nearest(name, names, count);
    tsk_mistake(reading, line, "step \"%.80s\" waits for \"%.80s\", which there is not%s%.80s%s",
                step->name ? step->name : "", name, near ? " (did you mean " : "", near ? near : "",
                near ? "?)" : "");
    free(names);
}

static void find_depends(struct tsk_reading *reading, const struct tsk_links *links,
                         struct tsk_template_step *step)
{
    const struct tsk_template *template = reading->template;
    step->depends = tsk_alloc((links->count + 1) * sizeof *step->depends);
    for (size_t i = 0; i < links->count; i++) {
        const char *name = links->items[i].name;
        size_t place = tsk_template_find(template, name);
        size_t seen = 0;
        while (seen < step->depends_count && step->depends[seen] != place)
            seen++;
        if (place == template->count)
            unknown_step(reading, step, name, links->items[i].line);
        else if (seen == step->depends_count)
            step->depends[step->depends_count++] = place; /* twice is once */
    }
}

enum mark { NEW, OPEN, DONE };

/* A walk without recursion: a chain may be as long as the template. */
struct walk {
    struct tsk_reading *reading;
    enum mark *marks;
    size_t *stack, *next; /* the way to where it is, and the next edge of each */
    size_t depth;
};

/* Tells of the circle that closes at place, the steps of which are on the stack. */
static void tell_circle(struct walk *walk, size_t place)
{
    const struct tsk_template_step *steps = walk->reading->template->steps;
    struct tsk_buf text = TSK_BUF_INIT;
    size_t from = walk->depth, told = 0;
    while (walk->stack[from - 1] != place)
        from--;
    for (size_t i = from - 1; i < walk->depth && told < NAMES_TOLD; i++, told++)
        tsk_buf_printf(&text, "%.40s -> ", steps[walk->stack[i]].name);
    if (walk->depth - from + 1 > NAMES_TOLD)
        tsk_buf_str(&text, "... -> ");
    tsk_mistake(walk->reading, steps[place].line, "steps wait for each other: %s%.40s", text.data,
                steps[place].name);
    tsk_buf_fini(&text);
}

static void enter(struct walk *walk, size_t place)
{
    walk->marks[place] = OPEN;
    walk->stack[walk->depth] = place;
    walk->next[walk->depth++] = 0;
}

static void leave(struct walk *walk)
{
    struct tsk_template_step *steps = walk->reading->template->steps;
    struct tsk_template_step *step = &steps[walk->stack[--walk->depth]];
    for (size_t i = 0; i < step->depends_count; i++) {
        size_t above = steps[step->depends[i]].level + 1;
        step->level = step->level > above ? step->level : above;
    }
    walk->marks[walk->stack[walk->depth]] = DONE;
}

static void walk_from(struct walk *walk, size_t place)
{
    enter(walk, place);
    while (walk->depth) {
        size_t top = walk->depth - 1;
        const struct tsk_template_step *step = &walk->reading->template->steps[walk->stack[top]];
        if (walk->next[top] == step->depends_count) {
            leave(walk);
            continue;
        }
        size_t other = step->depends[walk->next[top]++];
        if (walk->marks[other] == NEW)
            enter(walk, other);
        else if (walk->marks[other] == OPEN)
            tell_circle(walk, other);
    }
}

/* Whether name is that of one of several of a kind, "KIND#NUMBER". */
static bool is_one_of(const char *name, const char *kind)
{
    size_t len = strlen(kind);
    return strncmp(name, kind, len) == 0 && name[len] == '#' && name[len + 1] &&
           strspn(name + len + 1, "0123456789") == strlen(name + len + 1);
}

/* An optional step is asked for by one that it waits for, and its names must be free. */
static void check_optional(struct tsk_reading *reading, const struct tsk_template_step *step)
{
    const struct tsk_template *template = reading->template;
    if (!step->optional || !step->name)
        return;
    if (!step->depends_count)
        tsk_mistake(reading, step->line,
                    "optional step \"%.80s\" waits for no step: nobody could ask for it",
                    step->name);
    for (size_t i = 0; i < template->count; i++) {
        const struct tsk_template_step *other = &template->steps[i];
        if (other->name && is_one_of(other->name, step->name))
            tsk_mistake(reading, other->line,
                        "\"%.80s\" is how one of several of the optional step \"%.80s\" is named",
                        other->name, step->name);
    }
}

/* A step that was asked for runs, and a cleanup does in any case, unless the template says so. */
static void set_when_skipped(struct tsk_template_step *step)
{
    if (step->when_skipped < 0)
        step->when_skipped = step->optional || step->join == TSK_JOIN_ALL_DONE
                                 ? TSK_WHEN_SKIPPED_RUN
                                 : TSK_WHEN_SKIPPED_SKIP;
}

/* ---- types: a decision asks, by the create_steps of its output, for steps that wait for it; a
 * batchable step for so many of its batch worker. Such steps are optional. What depends on them
 * waits for those that are made, which is what a deferred convergence is. */

/* The step at place that is of a type, among those that step waits for; or NULL. */
static const struct tsk_template_step *waits_for(const struct tsk_template *template,
                                                 const struct tsk_links *const *links,
                                                 const struct tsk_template_step *step,
                                                 enum tsk_step_type type)
{
    for (size_t i = 0; i < step->depends_count; i++) {
        if (links[step->depends[i]]->type == type)
            return &template->steps[step->depends[i]];
    }
    return NULL;
}

static const char *batch_text(const struct tsk_template_step *step, const char *key)
{
    return tsk_json_str(tsk_json_get(step->handler_config, "batch_config"), key);
}

/* A batchable step needs a worker that waits for it. batch_config is on either of the two, and may
 * name the worker. */
static void check_batchable(struct tsk_reading *reading, const struct tsk_links *const *links,
                            const struct tsk_template_step *step)
{
    const struct tsk_template *template = reading->template;
    const char *name = batch_text(step, "worker_template");
    for (size_t i = 0; i < template->count; i++) {
        const struct tsk_template_step *worker = &template->steps[i];
        if (links[i]->type == TSK_STEP_BATCH_WORKER && worker->name &&
            (!name || strcmp(worker->name, name) == 0) &&
            waits_for(template, links, worker, TSK_STEP_BATCHABLE) == step)
            return;
    }
    tsk_mistake(reading, step->line,
                "step \"%.80s\" is batchable, but no batch_worker%s%.80s waits "
                "for it",
                step->name, name ? " " : "", name ? name : "");
}

/* A convergence behind workers runs also when there was nothing to split, and, where their failures
 * do not count, when all have ended. */
static void set_convergence(struct tsk_reading *reading, const struct tsk_links *const *links,
                            struct tsk_template_step *step)
{
    const struct tsk_template *template = reading->template;
    const struct tsk_template_step *worker =
        waits_for(template, links, step, TSK_STEP_BATCH_WORKER);
    const struct tsk_template_step *batchable =
        worker ? waits_for(template, links, worker, TSK_STEP_BATCHABLE) : NULL;
    if (!batchable)
        return;
    if (step->when_skipped < 0)
        step->when_skipped = TSK_WHEN_SKIPPED_RUN;
    const char *strategy = batch_text(worker, "failure_strategy");
    if (!strategy)
        strategy = batch_text(batchable, "failure_strategy");
    if (!strategy || strcmp(strategy, "continue_on_failure") != 0)
        return;
    step->join = TSK_JOIN_ALL_DONE;
    tsk_note(reading, step->line,
             "continue_on_failure: step \"%.80s\" has join all_done, so it also runs if \"%.80s\" "
             "fails",
             step->name, batchable->name);
}

/* Makes the steps what their types ask for, when their dependencies are known. */
static void set_types(struct tsk_reading *reading, const struct tsk_links *const *links)
{
    struct tsk_template *template = reading->template;
    for (size_t i = 0; i < template->count; i++) {
        struct tsk_template_step *step = &template->steps[i];
        enum tsk_step_type type = links[i]->type;
        if (!step->name)
            continue;
        if (type == TSK_STEP_BATCHABLE)
            check_batchable(reading, links, step);
        if (type == TSK_STEP_CONVERGENCE)
            set_convergence(reading, links, step);
        else if (type == TSK_STEP_BATCH_WORKER ||
                 waits_for(template, links, step, TSK_STEP_DECISION))
            step->optional = true;
    }
}

void tsk_reading_graph(struct tsk_reading *reading, const struct tsk_links *const *links)
{
    struct tsk_template *template = reading->template;
    size_t count = template->count;
    struct walk walk = {reading, tsk_alloc((count + 1) * sizeof *walk.marks),
                        tsk_alloc((count + 1) * sizeof(size_t)),
                        tsk_alloc((count + 1) * sizeof(size_t)), 0};
    for (size_t i = 0; i < count; i++)
        find_depends(reading, links[i], &template->steps[i]);
    set_types(reading, links);
    for (size_t i = 0; i < count; i++)
        set_when_skipped(&template->steps[i]);
    size_t optional = 0;
    for (size_t i = 0; i < count; i++) {
        check_optional(reading, &template->steps[i]);
        optional += template->steps[i].optional;
    }
    if (count && optional == count)
        tsk_mistake(reading, template->steps[0].line, "all steps are optional: none can start");
    for (size_t i = 0; i < count; i++) {
        if (walk.marks[i] == NEW)
            walk_from(&walk, i);
    }
    free(walk.marks);
    free(walk.stack);
    free(walk.next);
}
