/* A task in the store. The steps of a task have their id on the wire as well, so a block of ids is
 * taken first and all rows go out without waiting for one another. Everything a row says is known
 * before: a transaction that is done again makes the same. */
#include "submit/task.h"

#include <stdlib.h>
#include <string.h>

#include "submit/schema.h"
#include "workflow/task_rows.h"
#include "tasker/buf.h"
#include "tasker/flow.h"
#include "tasker/json.h"
#include "tasker/state.h"

static const char find_identity[] = "SELECT t.task_id, (SELECT count(*) FROM steps s "
                                    "WHERE s.task = t.task_id), t.context FROM tasks t "
                                    "WHERE t.identity_hash = $1";

static const char add_task[] =
    "INSERT INTO tasks (namespace, name, version, context, initiator, source_system, reason, tags, "
    "bypass_steps, priority, correlation_id, identity_hash, handler_config, optional_steps, "
    "created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
    "$15, $15) ON CONFLICT (identity_hash) DO NOTHING RETURNING task_id";

#define TASK_CREATED TSK_KEY_TEXT(TSK_TASK_KEY_CREATED)
static const char add_task_transition[] =
    "INSERT INTO task_transitions (task, sort_key, to_state, event, origin, created_at) "
    "VALUES ($1, " TASK_CREATED ", 'pending', '" TSK_EVENT_TASK_CREATED "', 'program', $2)";

static const char *text_of(struct json_object *value)
{
    size_t len;
    return value ? tsk_json_text(value, &len) : NULL;
}

/* ---- one task */

/* What stands in a step's way at the start. A step that waits for an optional one, which is not
 * there until somebody asks for it, waits for whoever may do so (flow.h). So a step behind a choice
 * does not run before the choice is made. */
struct waits {
    struct tsk_plan_wait *items;
    size_t count;
};

struct making {
    struct tsk_store *store;
    const struct tsk_template *template;
    const struct tsk_task_request *request;
    int64_t now, task_id;
    int64_t *ids; /* of the steps, by place; 0: not made */
    struct tsk_plan *plan;
    bool *there; /* by place: whether it is made */
    struct waits waits;
    struct tsk_task_made *made;
    struct tsk_task_rows rows;
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

/* How many of them; for any_ok those that may ask for more only count until they have ended. */
static int64_t waits_for(const struct making *making, const struct tsk_template_step *step,
                         const struct waits *waits)
{
    int64_t open = 0, choices = 0, ok = 0, others = 0;
    for (size_t i = 0; i < waits->count; i++) {
        const struct tsk_plan_wait *wait = &waits->items[i];
        bool bypassed = is_bypassed(making->request, making->template->steps[wait->place].name);
        open += !bypassed;
        choices += wait->choice && !bypassed;
        others += !wait->choice;
        ok += !wait->choice && bypassed;
    }
    if (step->join != TSK_JOIN_ANY_OK || !others)
        return open;
    return ok ? 0 : others + choices;
}

static int put_step(struct making *making, size_t place, struct tsk_err *err)
{
    const struct tsk_template_step *step = &making->template->steps[place];
    struct tsk_step_row row = {.id = making->ids[place],
                               .task = making->task_id,
                               .priority = making->request->priority,
                               .name = step->name,
                               .handler_class = step->handler_class,
                               .handler_config = text_of(step->handler_config),
                               .join = tsk_join_name(step->join),
                               .unsatisfied = tsk_unsatisfied_name(step->unsatisfied),
                               .when_skipped = tsk_when_skipped_name(step->when_skipped),
                               .place = (int64_t)place,
                               .retry_limit = step->retry_limit,
                               .backoff = step->backoff,
                               .timeout_ms = step->timeout_ms,
                               .retryable = step->retryable,
                               .waits_for = waits_for(making, step, &making->waits),
                               .bypassed = is_bypassed(making->request, step->name),
                               .at = making->now};
    making->made->steps++;
    return tsk_step_put(&making->rows, &row, err);
}

static int put_dependencies(struct making *making, size_t place, struct tsk_err *err)
{
    for (size_t i = 0; i < making->waits.count; i++) {
        const struct tsk_plan_wait *wait = &making->waits.items[i];
        if (tsk_dependency_put(&making->rows, making->task_id, making->ids[wait->place],
                               making->ids[place], wait->choice, err) < 0)
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
        making->waits.count = tsk_plan_waits(making->plan, i, making->there, making->waits.items);
        rc = steps ? put_step(making, i, err) : put_dependencies(making, i, err);
    }
    return rc;
}

static int put_steps(struct making *making, struct tsk_err *err)
{
    const struct tsk_template *template = making->template;
    int64_t wanted = 0, next;
    for (size_t i = 0; i < template->count; i++)
        wanted += !template->steps[i].optional;
    if (tsk_step_ids(making->store, wanted, &next, err) < 0)
        return -1;
    for (size_t i = 0; i < template->count; i++) {
        making->there[i] = !template->steps[i].optional;
        making->ids[i] = making->there[i] ? next++ : 0;
    }
    tsk_task_rows_init(&making->rows, making->store);
    int rc = put_each(making, true, err);
    if (rc == 0)
        rc = put_each(making, false, err);
    return tsk_task_rows_end(&making->rows, rc, err);
}

static int put_task(struct making *making, const char *identity, struct tsk_err *err)
{
    const struct tsk_task_request *request = making->request;
    const struct tsk_template *template = making->template;
    char *optional = tsk_plan_text(making->plan);
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
        tsk_value_text(optional),
        tsk_value_int(making->now)};
    int rc = tsk_store_get_int(making->store, add_task, values, 15, &making->task_id, err);
    free(optional);
    return rc;
}

static int take_found(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct making *making = ctx;
    struct tsk_json *parser = tsk_json_new();
    struct json_object *context = tsk_json_object(parser, row[2].data, row[2].len, NULL);
    struct json_object *ours = making->request->context;
    struct json_object *none = json_object_new_object();
    (void)columns;
    *making->made = (struct tsk_task_made){row[0].number, row[1].number, false,
                                           !tsk_schema_equal(context, ours ? ours : none)};
    tsk_json_free(parser);
    json_object_put(context);
    json_object_put(none);
    return 1;
}

/* The task that has this identity already. */
static int find_task(struct making *making, const char *identity, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_text(identity);
    if (tsk_store_run(making->store, find_identity, &value, 1, take_found, making, err) < 0)
        return -1;
    return making->made->created
               ? tsk_err_set(err, TSK_TEMPFAIL, "a task of the same identity came and went")
               : 0;
}

static int create(struct making *making, const char *identity, struct tsk_err *err)
{
    int rc = put_task(making, identity, err);
    if (rc == 0)
        return find_task(making, identity, err);
    if (rc < 0)
        return -1;
    making->made->task_id = making->task_id;
    struct tsk_value values[] = {tsk_value_int(making->task_id), tsk_value_int(making->now)};
    if (put_steps(making, err) < 0 ||
        tsk_store_send(making->store, add_task_transition, values, 2, err) < 0)
        return -1;
    /* a step that could ask for others and is bypassed has asked for none: what is skipped then? */
    if (making->request->bypass_steps &&
        tsk_flow_settle_all(making->store, &making->task_id, 1, err) < 0)
        return -1;
    return tsk_store_notify(making->store, err);
}

/* What the plan keeps of an optional step, for the time when a step's output asks for it. */
static struct json_object *about(const struct tsk_template_step *step, size_t place)
{
    struct json_object *json = json_object_new_object();
    tsk_json_put_str(json, "name", step->name);
    tsk_json_put_int(json, "place", (int64_t)place);
    tsk_json_put_str(json, "handler_class", step->handler_class);
    tsk_json_put_shared(json, "handler_config", step->handler_config);
    tsk_json_put_bool(json, "retryable", step->retryable);
    tsk_json_put_int(json, "retry_limit", step->retry_limit);
    if (step->backoff)
        tsk_json_put_str(json, "backoff", step->backoff);
    tsk_json_put_int(json, "timeout_ms", step->timeout_ms);
    tsk_json_put_str(json, "join", tsk_join_name(step->join));
    tsk_json_put_str(json, "unsatisfied", tsk_unsatisfied_name(step->unsatisfied));
    tsk_json_put_str(json, "when_skipped", tsk_when_skipped_name(step->when_skipped));
    return json;
}

static struct tsk_plan *plan_of(const struct tsk_template *template)
{
    struct tsk_plan *plan = tsk_plan_new(template->count);
    for (size_t i = 0; i < template->count; i++) {
        const struct tsk_template_step *step = &template->steps[i];
        tsk_plan_add(plan, step->name, step->depends, step->depends_count,
                     step->optional ? about(step, i) : NULL);
    }
    return plan;
}

int tsk_task_create(struct tsk_store *store, const struct tsk_template *template,
                    const struct tsk_task_request *request, const char *identity, int64_t now,
                    struct tsk_task_made *made, struct tsk_err *err)
{
    struct making making = {.store = store,
                            .template = template,
                            .request = request,
                            .now = now,
                            .made = made,
                            .plan = plan_of(template),
                            .ids = tsk_alloc((template->count + 1) * sizeof(int64_t)),
                            .there = tsk_alloc(template->count + 1)};
    *made = (struct tsk_task_made){0, 0, true, false};
    making.waits.items = tsk_alloc((template->count + 1) * sizeof *making.waits.items);
    int rc = create(&making, identity, err);
    tsk_plan_free(making.plan);
    free(making.ids);
    free(making.there);
    free(making.waits.items);
    return rc;
}
