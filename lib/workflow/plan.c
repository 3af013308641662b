/* Plans: the dependencies of a template's steps, by index, built step by step or read from a task's
 * row. */
#include "tasker/flow.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/map.h"

struct step {
    struct tsk_plan_step is;
    char *name;
    size_t *waits;
};

struct tsk_plan {
    struct step *steps;
    size_t count, optional;
    struct tsk_map *places; /* size_t by name */
};

struct tsk_plan *tsk_plan_new(size_t count)
{
    struct tsk_plan *plan = tsk_alloc(sizeof *plan);
    plan->steps = tsk_alloc((count + 1) * sizeof *plan->steps);
    plan->places = tsk_map_new(free);
    return plan;
}

static struct step *add(struct tsk_plan *plan, const char *name)
{
    size_t *place = tsk_alloc(sizeof *place);
    struct step *step = &plan->steps[plan->count];
    *place = plan->count++;
    tsk_map_put(plan->places, name, place);
    step->name = tsk_strdup(name);
    step->is.name = step->name;
    return step;
}

static void set_optional(struct tsk_plan *plan, size_t place, struct json_object *about)
{
    plan->steps[place].is.optional = about;
    plan->optional++;
}

void tsk_plan_free(struct tsk_plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->count; i++) {
        free(plan->steps[i].name);
        free(plan->steps[i].waits);
        json_object_put(plan->steps[i].is.optional);
    }
    tsk_map_free(plan->places);
    free(plan->steps);
    free(plan);
}

void tsk_plan_add(struct tsk_plan *plan, const char *name, const size_t *waits, size_t count,
                  struct json_object *optional)
{
    struct step *step = add(plan, name);
    step->waits = tsk_alloc((count + 1) * sizeof *step->waits);
    if (count)
        memcpy(step->waits, waits, count * sizeof *step->waits);
    step->is.waits = step->waits;
    step->is.count = count;
    if (optional)
        set_optional(plan, plan->count - 1, optional);
}

/* ---- as text */

char *tsk_plan_text(const struct tsk_plan *plan)
{
    size_t len;
    if (!plan->optional)
        return NULL;
    struct json_object *json = json_object_new_object(), *waits = json_object_new_object();
    struct json_object *optional = json_object_new_array();
    for (size_t i = 0; i < plan->count; i++) {
        const struct tsk_plan_step *step = &plan->steps[i].is;
        struct json_object *names = json_object_new_array();
        for (size_t w = 0; w < step->count; w++)
            json_object_array_add(names, json_object_new_string(plan->steps[step->waits[w]].name));
        tsk_json_put(waits, step->name, names);
        if (step->optional)
            json_object_array_add(optional, json_object_get(step->optional));
    }
    tsk_json_put(json, "waits", waits);
    tsk_json_put(json, "optional", optional);
    char *text = tsk_strdup(tsk_json_text(json, &len));
    json_object_put(json);
    return text;
}

static bool read_waits(struct tsk_plan *plan, struct step *step, struct json_object *names)
{
    size_t count =
        json_object_is_type(names, json_type_array) ? json_object_array_length(names) : 0;
    step->waits = tsk_alloc((count + 1) * sizeof *step->waits);
    step->is.waits = step->waits;
    for (size_t i = 0; i < count; i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        size_t place = name ? tsk_plan_find(plan, name) : plan->count;
        if (place == plan->count)
            return false;
        step->waits[step->is.count++] = place;
    }
    return true;
}

static bool read_optional(struct tsk_plan *plan, struct json_object *list)
{
    size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < count; i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        const char *name = tsk_json_str(one, "name");
        size_t place = name ? tsk_plan_find(plan, name) : plan->count;
        if (place == plan->count || plan->steps[place].is.optional)
            return false;
        set_optional(plan, place, json_object_get(one));
    }
    return count > 0;
}

static struct tsk_plan *read_json(struct json_object *json)
{
    struct json_object *waits = tsk_json_get(json, "waits");
    bool ok = json_object_is_type(waits, json_type_object);
    struct tsk_plan *plan = tsk_plan_new(ok ? (size_t)json_object_object_length(waits) : 0);
    if (ok) {
        json_object_object_foreach(waits, name, unused)
        {
            (void)unused;
            add(plan, name);
        }
    }
    for (size_t i = 0; ok && i < plan->count; i++)
        ok = read_waits(plan, &plan->steps[i], tsk_json_get(waits, plan->steps[i].name));
    if (ok && read_optional(plan, tsk_json_get(json, "optional")))
        return plan;
    tsk_plan_free(plan);
    return NULL;
}

struct tsk_plan *tsk_plan_read(const char *text)
{
    struct json_object *json = tsk_json_stored(text);
    struct tsk_plan *plan = json ? read_json(json) : NULL;
    json_object_put(json);
    return plan;
}

/* ---- what is in it */

size_t tsk_plan_count(const struct tsk_plan *plan)
{
    return plan->count;
}

const struct tsk_plan_step *tsk_plan_step(const struct tsk_plan *plan, size_t place)
{
    return &plan->steps[place].is;
}

size_t tsk_plan_find(const struct tsk_plan *plan, const char *name)
{
    const size_t *place = tsk_map_get(plan->places, name);
    return place ? *place : plan->count;
}

bool tsk_plan_behind(const struct tsk_plan *plan, size_t place, size_t other)
{
    bool *seen = tsk_alloc(plan->count + 1);
    size_t *stack = tsk_alloc((plan->count + 1) * sizeof *stack), depth = 0;
    bool found = false;
    stack[depth++] = place;
    while (depth && !found) {
        const struct tsk_plan_step *step = &plan->steps[stack[--depth]].is;
        for (size_t i = 0; i < step->count; i++) {
            size_t next = step->waits[i];
            found |= next == other;
            if (!seen[next])
                stack[depth++] = next;
            seen[next] = true;
        }
    }
    free(stack);
    free(seen);
    return found;
}

/* ---- what waits for what */

enum mark { NEW, PASSED, CHOICE, REAL };

struct search {
    const struct tsk_plan *plan;
    const bool *there;
    enum mark *marks;
    size_t *stack, depth; /* steps that are not there, whose own waits count instead */
    struct tsk_plan_wait *waits;
    size_t count;
};

static void look_at(struct search *search, const struct tsk_plan_step *step, bool choice)
{
    for (size_t i = 0; i < step->count; i++) {
        size_t place = step->waits[i];
        if (search->marks[place] != NEW)
            continue; /* those that it waits for itself were first */
        search->marks[place] = !search->there[place] ? PASSED : choice ? CHOICE : REAL;
        if (search->there[place])
            search->waits[search->count++] = (struct tsk_plan_wait){place, choice};
        else
            search->stack[search->depth++] = place;
    }
}

size_t tsk_plan_waits(const struct tsk_plan *plan, size_t place, const bool *there,
                      struct tsk_plan_wait *waits)
{
    struct search search = {plan,
                            there,
                            tsk_alloc((plan->count + 1) * sizeof *search.marks),
                            tsk_alloc((plan->count + 1) * sizeof *search.stack),
                            0,
                            waits,
                            0};
    look_at(&search, &plan->steps[place].is, false);
    while (search.depth)
        look_at(&search, &plan->steps[search.stack[--search.depth]].is, true);
    free(search.marks);
    free(search.stack);
    return search.count;
}
