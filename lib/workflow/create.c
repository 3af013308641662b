/* What a step's output asks for. Whoever wrote the handler gets to know what is wrong with it, and
 * of a list that is wrong nothing is made. */
#include "tasker/flow.h"

#include <inttypes.h>
#include <string.h>

#include "tasker/parse.h"

#define KEY "create_steps"
#define BATCHES "create_batches" /* says the same in another form */

struct tsk_create_limits tsk_create_limits(const struct tsk_conf *conf)
{
    return (struct tsk_create_limits){tsk_conf_int(conf, TSK_WORKFLOW_MAX_CREATED_STEPS),
                                      tsk_conf_int(conf, TSK_WORKFLOW_MAX_TASK_STEPS)};
}

/* A name may be written with escapes: then only parsing tells. */
bool tsk_create_possible(const char *output, size_t len)
{
    const char *end = output + len;
    for (const char *at = output; (at = memchr(at, '"', (size_t)(end - at))); at++) {
        size_t left = (size_t)(end - at) - 1;
        if ((left >= strlen(KEY) && memcmp(at + 1, KEY, strlen(KEY)) == 0) ||
            (left >= strlen(BATCHES) && memcmp(at + 1, BATCHES, strlen(BATCHES)) == 0))
            return true;
    }
    return memchr(output, '\\', len) && len > strlen(KEY);
}

struct judge {
    const struct tsk_plan *plan;
    const struct tsk_create_asker *asker;
    const struct tsk_create_limits *limits;
    struct json_object *wanted; /* what is right so far */
    struct tsk_err *err;
};

struct entry {
    const char *name;
    size_t place; /* in the plan */
    bool counted;
    int64_t count;
};

static int unknown_step(const struct judge *judge, const char *name)
{
    const struct tsk_plan *plan = judge->plan;
    const char *near = NULL, **names = tsk_alloc((tsk_plan_count(plan) + 1) * sizeof *names);
    size_t count = 0, place = tsk_plan_find(plan, name);
    bool regular = place < tsk_plan_count(plan);
    for (size_t i = 0; i < tsk_plan_count(plan); i++) {
        if (tsk_plan_step(plan, i)->optional)
            names[count++] = tsk_plan_step(plan, i)->name;
    }
    if (!regular)
        near = tsk_nearest(name, names, count);
    tsk_err_set(judge->err, TSK_DATA,
                KEY ": \"%.80s\" is no optional step of the template%s%.80s%s", name,
                near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
    free(names);
    return -1;
}

/* Reads an entry: a name, or an object with a name and a count. */
static int read_entry(const struct judge *judge, struct json_object *json, size_t number,
                      struct entry *entry)
{
    bool object = json_object_is_type(json, json_type_object);
    *entry = (struct entry){.count = 1};
    if (!object && !json_object_is_type(json, json_type_string))
        return tsk_err_set(judge->err, TSK_DATA,
                           KEY ": entry %zu is neither a name nor an object with name and count",
                           number);
    entry->name = object ? tsk_json_str(json, "name") : json_object_get_string(json);
    if (!entry->name || !*entry->name)
        return tsk_err_set(judge->err, TSK_DATA, KEY ": entry %zu has no name", number);
    if (!object && strlen(entry->name) != (size_t)json_object_get_string_len(json))
        return tsk_err_set(judge->err, TSK_DATA, KEY ": the name of entry %zu has a NUL", number);
    if (!object)
        return 0;
    bool null = false;
    json_object_object_foreach(json, key, value)
    {
        null |= !value;
        if (strcmp(key, "name") != 0 && strcmp(key, "count") != 0)
            return tsk_err_set(judge->err, TSK_DATA,
                               KEY ": entry %zu (\"%.80s\") has a member \"%.80s\"; it may have "
                                   "name and count",
                               number, entry->name, key);
    }
    int found = tsk_json_int(json, "count", &entry->count);
    entry->counted = found == 1;
    if (null || found < 0 || entry->count < 0)
        return tsk_err_set(judge->err, TSK_DATA,
                           KEY ": the count of \"%.80s\" is not a whole number from 0 on",
                           entry->name);
    return 0;
}

/* Whether the asking step is one that can ask for it: one that it waits for. */
static int check_order(const struct judge *judge, const struct entry *entry)
{
    size_t asker = tsk_plan_find(judge->plan, judge->asker->name);
    if (asker == tsk_plan_count(judge->plan) || tsk_plan_behind(judge->plan, entry->place, asker))
        return 0;
    if (asker == entry->place)
        return tsk_err_set(judge->err, TSK_DATA,
                           KEY ": step \"%.80s\" asks for its own kind: a circle", entry->name);
    if (tsk_plan_behind(judge->plan, asker, entry->place))
        return tsk_err_set(judge->err, TSK_DATA,
                           KEY ": \"%.80s\" would wait for itself: \"%.80s\", which asks for it, "
                               "waits for it, a circle",
                           entry->name, judge->asker->name);
    return tsk_err_set(judge->err, TSK_DATA,
                       KEY ": \"%.80s\" does not wait for \"%.80s\", which asks for it: name it in "
                           "depends_on_steps",
                       entry->name, judge->asker->name);
}

/* Whether another step has had it made in a way that does not go with this one. */
static int check_made(const struct judge *judge, const struct entry *entry)
{
    for (size_t i = 0; i < judge->asker->made_count; i++) {
        const struct tsk_create_made *made = &judge->asker->made[i];
        if (made->by != judge->asker->step && strcmp(made->name, entry->name) == 0 &&
            entry->count && (made->counted || entry->counted))
            return tsk_err_set(judge->err, TSK_DATA,
                               KEY ": \"%.80s\" was made already, for step %" PRId64
                                   ": N of a kind are made by one step",
                               entry->name, made->by);
    }
    return 0;
}

static bool is_wanted(const struct judge *judge, const char *name)
{
    for (size_t i = 0; i < json_object_array_length(judge->wanted); i++) {
        if (strcmp(tsk_json_str(json_object_array_get_idx(judge->wanted, i), "name"), name) == 0)
            return true;
    }
    return false;
}

static int take_entry(struct judge *judge, struct json_object *json, size_t number)
{
    struct entry entry;
    if (read_entry(judge, json, number, &entry) < 0)
        return -1;
    entry.place = tsk_plan_find(judge->plan, entry.name);
    if (entry.place == tsk_plan_count(judge->plan) ||
        !tsk_plan_step(judge->plan, entry.place)->optional)
        return unknown_step(judge, entry.name);
    if (is_wanted(judge, entry.name))
        return tsk_err_set(judge->err, TSK_DATA, KEY ": \"%.80s\" is there twice", entry.name);
    if (check_order(judge, &entry) < 0)
        return -1;
    struct json_object *wanted = json_object_new_object();
    tsk_json_put_str(wanted, "name", entry.name);
    if (entry.counted)
        tsk_json_put_int(wanted, "count", entry.count);
    json_object_array_add(judge->wanted, wanted);
    return 0;
}

static int take_list(struct judge *judge, struct json_object *list)
{
    if (!json_object_is_type(list, json_type_array))
        return tsk_err_set(judge->err, TSK_DATA, KEY " is not a list");
    if (!json_object_array_length(list))
        return 0;
    if (!judge->plan)
        return tsk_err_set(judge->err, TSK_DATA,
                           KEY ": the template of the task has no optional steps");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        if (take_entry(judge, json_object_array_get_idx(list, i), i + 1) < 0)
            return -1;
    }
    return 0;
}

/* ---- whether there is room for it */

/* What is there without this step, by place in the plan. Returns how many steps that are. */
static int64_t other_steps(const struct judge *judge, int64_t *have)
{
    const struct tsk_create_asker *asker = judge->asker;
    int64_t steps = asker->steps;
    for (size_t i = 0; i < asker->made_count; i++) {
        const struct tsk_create_made *made = &asker->made[i];
        size_t place = tsk_plan_find(judge->plan, made->name);
        if (made->by == asker->step || made->steps <= have[place])
            continue;
        steps += made->steps - have[place];
        have[place] = made->steps;
    }
    return steps;
}

/* fresh: of these, how many are not there for others already; steps: what the task has so far */
static int check_limits(const struct judge *judge, const struct entry *entry, int64_t asked,
                        int64_t fresh, int64_t steps)
{
    const struct tsk_create_limits *limits = judge->limits;
    if (entry->count > limits->step - asked)
        return tsk_err_set(judge->err, TSK_DATA,
                           KEY ": with \"%.80s\" it asks for more than %" PRId64
                               " steps (workflow.max_created_steps)",
                           entry->name, limits->step);
    if (fresh > 0 && fresh > limits->task - steps)
        return tsk_err_set(judge->err, TSK_DATA,
                           KEY ": with \"%.80s\" the task would have more than %" PRId64
                               " steps (workflow.max_task_steps)",
                           entry->name, limits->task);
    return 0;
}

static int check_room(const struct judge *judge)
{
    int64_t *have = tsk_alloc((tsk_plan_count(judge->plan) + 1) * sizeof *have);
    int64_t asked = 0, steps = other_steps(judge, have);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_object_array_length(judge->wanted); i++) {
        struct json_object *json = json_object_array_get_idx(judge->wanted, i);
        struct entry entry = {.name = tsk_json_str(json, "name"), .count = 1};
        entry.counted = tsk_json_int(json, "count", &entry.count) == 1;
        int64_t fresh = entry.count - have[tsk_plan_find(judge->plan, entry.name)];
        rc = check_made(judge, &entry);
        if (rc == 0)
            rc = check_limits(judge, &entry, asked, fresh, steps);
        asked += rc == 0 ? entry.count : 0;
        steps += rc == 0 && fresh > 0 ? fresh : 0;
    }
    free(have);
    return rc;
}

/* What was accepted or refused stays so, whatever the limits are now. */
static int weigh(const struct judge *judge, struct tsk_buf *creates)
{
    const struct tsk_create_asker *asker = judge->asker;
    size_t len;
    if (!json_object_array_length(judge->wanted))
        return 0;
    const char *text = tsk_json_text(judge->wanted, &len);
    bool before = asker->past || (asker->accepted && strcmp(asker->accepted, text) == 0);
    if (asker->refused)
        return tsk_err_set(judge->err, TSK_DATA, "%s", asker->refused);
    if (!before && check_room(judge) < 0)
        return -1;
    text = tsk_json_text(judge->wanted, &len);
    tsk_buf_add(creates, text, len);
    return 0;
}

/* The list that an output has, or that follows from the outcome of a decision or of a batchable
 * step in the form of today's tasker-core; the caller's, or NULL. */
static struct json_object *asked_for(struct json_object *json)
{
    struct json_object *list = tsk_json_get(json, KEY);
    struct json_object *decision = tsk_json_get(json, "decision_point_outcome");
    struct json_object *batch = tsk_json_get(json, "batch_processing_outcome");
    const char *type = tsk_json_str(decision ? decision : batch, "type");
    if (list || !type)
        return json_object_get(list);
    if (decision && strcmp(type, KEY) == 0)
        return json_object_get(tsk_json_get(decision, "step_names"));
    if (decision || strcmp(type, BATCHES) != 0)
        return NULL;
    struct json_object *entry = json_object_new_object();
    tsk_json_put_str(entry, "name", tsk_json_str(batch, "worker_template_name"));
    tsk_json_put(entry, "count", json_object_get(tsk_json_get(batch, "worker_count")));
    list = json_object_new_array();
    json_object_array_add(list, entry);
    return list;
}

int tsk_create_judge(const struct tsk_plan *plan, const struct tsk_create_asker *asker,
                     const struct tsk_create_limits *limits, const char *output, size_t len,
                     struct tsk_buf *creates, struct tsk_err *err)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *json = NULL, *list = NULL;
    struct judge judge = {plan, asker, limits, json_object_new_array(), err};
    int rc = 0;
    if (tsk_json_parse(parser, output, len, &json, NULL) == 0 &&
        json_object_is_type(json, json_type_object) && (list = asked_for(json)))
        rc = take_list(&judge, list);
    if (rc == 0)
        rc = weigh(&judge, creates);
    json_object_put(judge.wanted);
    json_object_put(list);
    json_object_put(json);
    tsk_json_free(parser);
    return rc;
}
