/* A task in the store. The steps of a task have their id on the wire as well, so a block of ids is
 * taken first and all rows go out without waiting for one another. Everything a row says is known
 * before: a transaction that is done again makes the same. */
#include "tasker/task.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"

static const char find_identity[] = "SELECT task_id FROM tasks WHERE identity_hash = $1";
static const char count_steps[] = "SELECT count(*) FROM steps WHERE task = $1";

static const char add_task[] =
    "INSERT INTO tasks (namespace, name, version, context, initiator, source_system, reason, tags, "
    "bypass_steps, priority, correlation_id, identity_hash, handler_config, optional_steps, "
    "created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
    "$15, $15) ON CONFLICT (identity_hash) DO NOTHING RETURNING task_id";

static const char add_step[] =
    "INSERT INTO steps (id, task, step_id, task_id, name, handler_class, handler_config, "
    "retry_limit, timeout_ms, created_at, updated_at, state, place, priority, join_rule, "
    "unsatisfied, waits_for, retryable, default_retryable) VALUES ($1, $2, $1, $2, $3, $4, $5, $6, "
    "$7, $8, $8, $9, $10, $11, $12, $13, $14, $15, $15)";

static const char add_dependency[] =
    "INSERT INTO step_dependencies (from_step, to_step) VALUES ($1, $2)";

static const char add_step_transition[] =
    "INSERT INTO step_transitions (step, sort_key, from_state, to_state, event, origin, metadata, "
    "created_at) VALUES ($1, $2, $3, $4, $5, 'program', $6, $7)";

static const char add_task_transition[] =
    "INSERT INTO task_transitions (task, sort_key, to_state, event, origin, created_at) "
    "VALUES ($1, 0, 'pending', 'task.created', 'program', $2)";

/* The first of a block of ids for steps. AUTOINCREMENT goes on behind the greatest ever used, and
 * the transaction holds off all other writers. */
static const char next_sqlite[] =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'steps'), 0) + 1 "
    "WHERE $1 > 0";
/* Others draw in between: the block is what lies behind the last one drawn, which is moved there.
 */
static const char next_postgresql[] =
    "WITH held AS (SELECT pg_advisory_xact_lock(7290401)) "
    "SELECT setval(pg_get_serial_sequence('steps', 'id'), "
    "nextval(pg_get_serial_sequence('steps', 'id')) + $1::bigint - 1) - $1::bigint + 1 FROM held";

static const char *text_of(struct json_object *value)
{
    size_t len;
    return value ? tsk_json_text(value, &len) : NULL;
}

/* ---- optional steps, kept as JSON for the time when a step asks for them */

/* The names of the steps that wait for step. */
static struct json_object *steps_behind(const struct tsk_template *template,
                                        const struct tsk_template_step *step)
{
    struct json_object *names = json_object_new_array();
    for (size_t i = 0; i < template->count; i++) {
        const struct tsk_template_step *other = &template->steps[i];
        for (size_t d = 0; d < other->depends_count; d++) {
            if (&template->steps[other->depends[d]] == step)
                json_object_array_add(names, json_object_new_string(other->name));
        }
    }
    return names;
}

static struct json_object *step_json(const struct tsk_template *template,
                                     const struct tsk_template_step *step)
{
    static const char *const joins[] = {"all_ok", "all_done", "any_ok"};
    static const char *const rules[] = {"cancel", "block"};
    struct json_object *json = json_object_new_object(), *depends = json_object_new_array();
    tsk_json_put_str(json, "name", step->name);
    tsk_json_put_str(json, "handler_class", step->handler_class);
    tsk_json_put_shared(json, "handler_config", step->handler_config);
    tsk_json_put_bool(json, "retryable", step->retryable);
    tsk_json_put_int(json, "retry_limit", step->retry_limit);
    tsk_json_put_int(json, "timeout_ms", step->timeout_ms);
    tsk_json_put_str(json, "join", joins[step->join]);
    tsk_json_put_str(json, "unsatisfied", rules[step->unsatisfied]);
    for (size_t i = 0; i < step->depends_count; i++)
        json_object_array_add(depends,
                              json_object_new_string(template->steps[step->depends[i]].name));
    tsk_json_put(json, "depends_on_steps", depends);
    tsk_json_put(json, "before", steps_behind(template, step));
    return json;
}

/* NULL if there are none. "before" names the steps that wait for it, so that these can be joined
 * behind it when it is made. */
static struct json_object *optional_steps(const struct tsk_template *template)
{
    struct json_object *list = NULL;
    for (size_t i = 0; i < template->count; i++) {
        if (!template->steps[i].optional)
            continue;
        list = list ? list : json_object_new_array();
        json_object_array_add(list, step_json(template, &template->steps[i]));
    }
    return list;
}

/* ---- one task */

struct making {
    struct tsk_store *store;
    const struct tsk_template *template;
    const struct tsk_task_request *request;
    int64_t now, task_id, first_id;
    int64_t *ids; /* of the steps, by place; 0: not made */
    struct tsk_task_made *made;
};

static bool is_bypassed(const struct tsk_task_request *request, const char *name)
{
    struct json_object *list = request->bypass_steps;
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        if (strcmp(json_object_get_string(json_object_array_get_idx(list, i)), name) == 0)
            return true;
    }
    return false;
}

/* The steps, by place, that place waits for at the start: where it waits for an optional one, which
 * is not there until somebody asks for it, that one's own in its stead. So a step behind a choice
 * does not run before the choice is made. */
struct waits {
    size_t *places, count;
    bool *seen;
};

static void collect_waits(const struct tsk_template *template, size_t place, struct waits *waits)
{
    const struct tsk_template_step *step = &template->steps[place];
    for (size_t i = 0; i < step->depends_count; i++) {
        size_t other = step->depends[i];
        if (waits->seen[other])
            continue;
        waits->seen[other] = true;
        if (template->steps[other].optional)
            collect_waits(template, other, waits); /* as deep as optional steps stand in a row */
        else
            waits->places[waits->count++] = other;
    }
}

/* The caller frees places. */
static struct waits waits_of(const struct tsk_template *template, size_t place)
{
    struct waits waits = {tsk_alloc((template->count + 1) * sizeof(size_t)), 0,
                          tsk_alloc(template->count + 1)};
    collect_waits(template, place, &waits);
    free(waits.seen);
    return waits;
}

/* How many of them stand in its way at the start. */
static int64_t waits_for(const struct making *making, const struct tsk_template_step *step,
                         const struct waits *waits)
{
    int64_t open = 0;
    for (size_t i = 0; i < waits->count; i++)
        open += !is_bypassed(making->request, making->template->steps[waits->places[i]].name);
    if (step->join == TSK_JOIN_ANY_OK)
        return waits->count && open == (int64_t)waits->count;
    return open;
}

static int put_step(struct making *making, size_t place, const struct waits *waits,
                    struct tsk_err *err)
{
    static const char *const joins[] = {"all_ok", "all_done", "any_ok"};
    static const char *const rules[] = {"cancel", "block"};
    const struct tsk_template_step *step = &making->template->steps[place];
    bool bypassed = is_bypassed(making->request, step->name);
    struct tsk_value values[] = {tsk_value_int(making->ids[place]),
                                 tsk_value_int(making->task_id),
                                 tsk_value_text(step->name),
                                 tsk_value_text(step->handler_class),
                                 tsk_value_text(text_of(step->handler_config)),
                                 tsk_value_int(step->retryable ? step->retry_limit : 1),
                                 tsk_value_told(step->timeout_ms, 0),
                                 tsk_value_int(making->now),
                                 tsk_value_text(bypassed ? "resolved_manually" : "pending"),
                                 tsk_value_int((int64_t)place),
                                 tsk_value_int(making->request->priority),
                                 tsk_value_text(joins[step->join]),
                                 tsk_value_text(rules[step->unsatisfied]),
                                 tsk_value_int(waits_for(making, step, waits)),
                                 tsk_value_int(step->retryable)};
    struct tsk_value transition[] = {tsk_value_int(making->ids[place]),
                                     tsk_value_int(bypassed ? 100 : 0),
                                     tsk_value_text(bypassed ? "pending" : NULL),
                                     tsk_value_text(bypassed ? "resolved_manually" : "pending"),
                                     tsk_value_text(bypassed ? "step.bypassed" : "step.created"),
                                     tsk_value_text("{}"),
                                     tsk_value_int(making->now)};
    making->made->steps++;
    return tsk_store_send(making->store, add_step, values, 15, err) < 0 ||
                   tsk_store_send(making->store, add_step_transition, transition, 7, err) < 0
               ? -1
               : 0;
}

static int put_dependencies(struct making *making, size_t place, const struct waits *waits,
                            struct tsk_err *err)
{
    for (size_t i = 0; i < waits->count; i++) {
        struct tsk_value values[] = {tsk_value_int(making->ids[waits->places[i]]),
                                     tsk_value_int(making->ids[place])};
        if (tsk_store_send(making->store, add_dependency, values, 2, err) < 0)
            return -1;
    }
    return 0;
}

/* Steps go out before the dependencies that name them: foreign keys are held at once. */
static int put_each(struct making *making, bool steps, struct tsk_err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < making->template->count; i++) {
        if (!making->ids[i])
            continue;
        struct waits waits = waits_of(making->template, i);
        rc = steps ? put_step(making, i, &waits, err) : put_dependencies(making, i, &waits, err);
        free(waits.places);
    }
    return rc;
}

static int put_steps(struct making *making, struct tsk_err *err)
{
    const struct tsk_template *template = making->template;
    int64_t wanted = 0, next;
    for (size_t i = 0; i < template->count; i++)
        wanted += !template->steps[i].optional;
    struct tsk_value count = tsk_value_int(wanted);
    if (!wanted)
        return tsk_err_set(err, TSK_CONFIG, "template %s: all steps are optional, none can start",
                           template->path);
    if (tsk_store_get_int(making->store, TSK_SQL(making->store, next_sqlite, next_postgresql),
                          &count, 1, &next, err) < 1)
        return -1;
    for (size_t i = 0; i < template->count; i++)
        making->ids[i] = template->steps[i].optional ? 0 : next++;
    return put_each(making, true, err) < 0 || put_each(making, false, err) < 0 ? -1 : 0;
}

static int put_task(struct making *making, const char *identity, struct tsk_err *err)
{
    const struct tsk_task_request *request = making->request;
    const struct tsk_template *template = making->template;
    struct json_object *optional = optional_steps(template);
    struct tsk_value values[] = {
        tsk_value_text(template->namespace_name),
        tsk_value_text(template->name),
        tsk_value_text(template->version),
        tsk_value_text(request->context ? text_of(request->context) : "{}"),
        tsk_value_text(request->initiator),
        tsk_value_text(request->source_system),
        tsk_value_text(request->reason),
        tsk_value_text(text_of(request->tags)),
        tsk_value_text(text_of(request->bypass_steps)),
        tsk_value_int(request->priority),
        tsk_value_text(request->correlation_id),
        tsk_value_text(identity),
        tsk_value_text(text_of(template->handler_config)),
        tsk_value_text(text_of(optional)),
        tsk_value_int(making->now)};
    int rc = tsk_store_get_int(making->store, add_task, values, 15, &making->task_id, err);
    json_object_put(optional);
    return rc;
}

/* The task that has this identity already. */
static int find_task(struct making *making, const char *identity, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_text(identity);
    struct tsk_task_made *made = making->made;
    if (tsk_store_get_int(making->store, find_identity, &value, 1, &made->task_id, err) < 1)
        return tsk_err_set(err, TSK_TEMPFAIL, "a task of the same identity came and went");
    value = tsk_value_int(made->task_id);
    made->created = false;
    return tsk_store_get_int(making->store, count_steps, &value, 1, &made->steps, err) < 0 ? -1 : 0;
}

int tsk_task_create(struct tsk_store *store, const struct tsk_template *template,
                    const struct tsk_task_request *request, const char *identity, int64_t now,
                    struct tsk_task_made *made, struct tsk_err *err)
{
    struct making making = {store, template, request, now, 0, 0, NULL, made};
    *made = (struct tsk_task_made){0, 0, true};
    int rc = put_task(&making, identity, err);
    if (rc == 0)
        return find_task(&making, identity, err);
    if (rc < 0)
        return -1;
    made->task_id = making.task_id;
    struct tsk_value values[] = {tsk_value_int(making.task_id), tsk_value_int(now)};
    making.ids = tsk_alloc((template->count + 1) * sizeof *making.ids);
    rc = put_steps(&making, err);
    free(making.ids);
    if (rc < 0 || tsk_store_send(store, add_task_transition, values, 2, err) < 0)
        return -1;
    return tsk_store_notify(store, err);
}
