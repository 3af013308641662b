/* Batches and steps as they come from anybody: checked, defaults filled in, nothing changed.
 *
 * What the wire needs (ids, names) must be right; what only describes (metadata) may be missing,
 * since foreign peers leave it out, but must be of the right type where it is there: a limit that
 * was meant and not understood must not be ignored in silence. */
#include "tasker/message.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/parse.h"

static int bad(struct tsk_err *err, const char *key, const char *why)
{
    return tsk_err_set(err, TSK_DATA, "%s %s", key, why);
}

/* A required positive integer. */
static int read_id(struct json_object *json, const char *key, int64_t *out, struct tsk_err *err)
{
    switch (tsk_json_int(json, key, out)) {
    case 0:
        return bad(err, key, "is missing");
    case 1:
        return *out > 0 ? 0 : bad(err, key, "is not positive");
    default:
        return bad(err, key, "is not an integer");
    }
}

/* A required text that is not empty. */
static int read_text(struct json_object *json, const char *key, const char **out,
                     struct tsk_err *err)
{
    struct json_object *value = tsk_json_get(json, key);
    if (!value)
        return bad(err, key, "is missing");
    if (!json_object_is_type(value, json_type_string))
        return bad(err, key, "is not a string");
    *out = tsk_json_str(json, key);
    if (!*out)
        return bad(err, key, "holds a NUL character");
    return **out ? 0 : bad(err, key, "is empty");
}

/* An object that may be left out. */
static int read_object(struct json_object *json, const char *key, struct json_object **out,
                       struct tsk_err *err)
{
    *out = tsk_json_get(json, key);
    if (*out && !json_object_is_type(*out, json_type_object))
        return bad(err, key, "is not an object");
    return 0;
}

/* An integer of metadata that may be left out: then out keeps what it has. */
static int read_meta(struct json_object *metadata, const char *key, int64_t most, int64_t *out,
                     struct tsk_err *err)
{
    int64_t value;
    int found = metadata ? tsk_json_int(metadata, key, &value) : 0;
    if (found < 0)
        return tsk_err_set(err, TSK_DATA, "metadata.%s is not an integer", key);
    if (found && (value < 0 || value > most))
        return tsk_err_set(err, TSK_DATA, "metadata.%s is not in 0 to %" PRId64, key, most);
    if (found)
        *out = value;
    return 0;
}

/* handler_config.timeout_seconds, in which fractions are fine. */
static int read_timeout_seconds(struct json_object *config, int64_t *out_ms, struct tsk_err *err)
{
    struct json_object *value = config ? tsk_json_get(config, "timeout_seconds") : NULL;
    if (!value)
        return 0;
    if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
        return bad(err, "handler_config.timeout_seconds", "is not a number");
    double ms = json_object_get_double(value) * 1000;
    if (!(ms >= 0 && ms <= (double)TSK_TIMEOUT_MOST))
        return bad(err, "handler_config.timeout_seconds", "is not in 0 to 31536000 (a year)");
    *out_ms = ms > 0 && ms < 1 ? 1 : (int64_t)ms;
    return 0;
}

static int read_metadata(struct tsk_step *step, struct json_object *metadata,
                         struct json_object *config, struct tsk_err *err)
{
    if (read_meta(metadata, "sequence", INT64_MAX, &step->sequence, err) ||
        read_meta(metadata, "total_steps", INT64_MAX, &step->total_steps, err) ||
        read_meta(metadata, "attempt", TSK_COUNT_MOST, &step->attempt, err) ||
        read_meta(metadata, "retry_limit", TSK_COUNT_MOST, &step->retry_limit, err) ||
        read_meta(metadata, "timeout_ms", TSK_TIMEOUT_MOST, &step->timeout_ms, err))
        return -1;
    bool retryable;
    if (metadata && tsk_json_bool(metadata, "retryable", &retryable) == 1)
        step->retryable = retryable;
    step->backoff = tsk_json_str(metadata, "backoff");
    if (step->attempt == 0)
        step->attempt = 1; /* some publishers count the attempts that were made before */
    return step->timeout_ms ? 0 : read_timeout_seconds(config, &step->timeout_ms, err);
}

int tsk_step_read(struct tsk_step *step, struct json_object *json, int64_t place, int64_t total,
                  struct tsk_err *err)
{
    struct json_object *config, *metadata, *other;
    *step = (struct tsk_step){.sequence = place,
                              .total_steps = total,
                              .attempt = 1,
                              .retry_limit = TSK_RETRY_LIMIT,
                              .retryable = -1,
                              .json = json};
    if (!json_object_is_type(json, json_type_object))
        return tsk_err_set(err, TSK_DATA, "the step is not an object");
    if (read_id(json, "step_id", &step->step_id, err) ||
        read_id(json, "task_id", &step->task_id, err) ||
        read_text(json, "step_name", &step->step_name, err) ||
        read_text(json, "handler_class", &step->handler_class, err) ||
        read_object(json, "task_context", &other, err) ||
        read_object(json, "previous_results", &other, err) ||
        read_object(json, "handler_config", &config, err) ||
        read_object(json, "metadata", &metadata, err))
        return -1;
    return read_metadata(step, metadata, config, err);
}

static int read_batch_id(struct tsk_batch *batch, bool need_id, struct tsk_err *err)
{
    if (!tsk_json_get(batch->json, "batch_id"))
        return need_id ? bad(err, "batch_id", "is missing") : 0;
    const char *id;
    if (read_text(batch->json, "batch_id", &id, err))
        return -1;
    if (!tsk_name_valid(id))
        return bad(err, "batch_id", "is not " TSK_NAME_RULE);
    memcpy(batch->batch_id, id, strlen(id) + 1);
    return 0;
}

static int by_id_and_place(const void *left, const void *right)
{
    const struct tsk_step *a = *(const struct tsk_step *const *)left;
    const struct tsk_step *b = *(const struct tsk_step *const *)right;
    if (a->step_id != b->step_id)
        return a->step_id < b->step_id ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Sorts pointers to the steps, so that two of one id stand side by side. */
static int check_unique(const struct tsk_batch *batch, struct tsk_err *err)
{
    const struct tsk_step **sorted = tsk_alloc(batch->count * sizeof *sorted);
    const struct tsk_step *again = NULL; /* the first step in the batch that repeats an id */
    for (size_t i = 0; i < batch->count; i++)
        sorted[i] = &batch->steps[i];
    qsort(sorted, batch->count, sizeof *sorted, by_id_and_place);
    for (size_t i = 1; i < batch->count; i++) {
        if (sorted[i]->step_id == sorted[i - 1]->step_id && (!again || sorted[i] < again))
            again = sorted[i];
    }
    free(sorted);
    if (!again)
        return 0;
    return tsk_err_set(err, TSK_DATA, "step %zu: step_id %" PRId64 " is in the batch twice",
                       (size_t)(again - batch->steps) + 1, again->step_id);
}

static int read_steps(struct tsk_batch *batch, struct tsk_err *err)
{
    struct json_object *steps = tsk_json_get(batch->json, "steps");
    if (!steps)
        return bad(err, "steps", "is missing");
    if (!json_object_is_type(steps, json_type_array))
        return bad(err, "steps", "is not an array");
    size_t count = json_object_array_length(steps);
    if (!count)
        return bad(err, "steps", "is empty");
    batch->steps = tsk_alloc(count * sizeof *batch->steps);
    batch->count = count;
    for (size_t i = 0; i < count; i++) {
        if (tsk_step_read(&batch->steps[i], json_object_array_get_idx(steps, i), (int64_t)i + 1,
                          (int64_t)count, err))
            return tsk_err_prefix(err, "step %zu: ", i + 1);
    }
    return check_unique(batch, err);
}

int tsk_batch_read(struct tsk_batch *batch, struct json_object *json, bool need_id,
                   struct tsk_err *err)
{
    *batch = (struct tsk_batch){.json = json};
    int rc;
    if (!json_object_is_type(json, json_type_object))
        rc = tsk_err_set(err, TSK_DATA, "the batch is not an object");
    else
        rc = read_batch_id(batch, need_id, err) || read_steps(batch, err) ? -1 : 0;
    if (rc)
        tsk_batch_fini(batch);
    return rc;
}

void tsk_batch_fini(struct tsk_batch *batch)
{
    free(batch->steps);
    json_object_put(batch->json);
    *batch = (struct tsk_batch){0};
}
