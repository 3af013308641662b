/* Batches as bytes. What a user wrote is sent as it was written, so that numbers, the order of
 * members and unknown fields reach the worker unchanged; only what is missing is put in. */
#include "publish/parcel.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/clock.h"

#define MAX_TIMEOUT_MS INT64_C(31536000000) /* a year, as for a step */

struct parcel *parcel_new(const char *file, int64_t line)
{
    struct parcel *parcel = tsk_alloc(sizeof *parcel);
    struct tsk_buf place = TSK_BUF_INIT;
    tsk_buf_str(&place, file);
    if (line)
        tsk_buf_printf(&place, ":%" PRId64, line);
    parcel->place = place.data;
    parcel->step_ids = json_object_new_array();
    parcel->steps = json_object_new_array();
    parcel->configs = json_object_new_array();
    return parcel;
}

void parcel_free(struct parcel *parcel)
{
    if (!parcel)
        return;
    tsk_buf_fini(&parcel->text);
    json_object_put(parcel->step_ids);
    json_object_put(parcel->steps);
    json_object_put(parcel->configs);
    json_object_put(parcel->error);
    json_object_put(parcel->reply);
    json_object_put(parcel->line_error);
    json_object_put(parcel->past);
    free(parcel->place);
    tsk_blob_release(parcel->blob);
    free(parcel->target);
    free(parcel->told);
    free(parcel->dropped);
    tsk_buf_fini(&parcel->marked);
    free(parcel);
}

void parcel_set(char **text, const char *value)
{
    char *copy = tsk_strdup(value);
    free(*text);
    *text = copy;
}

/* Adds what the receipt says of a step. */
static void note_step(struct parcel *parcel, const struct tsk_step *step)
{
    struct json_object *note = json_object_new_object();
    tsk_json_put_int(note, "step_id", step->step_id);
    tsk_json_put_int(note, "task_id", step->task_id);
    tsk_json_put_str(note, "step_name", step->step_name);
    tsk_json_put_str(note, "handler_class", step->handler_class);
    tsk_json_put_int(note, "attempt", step->attempt);
    tsk_json_put_int(note, "retry_limit", step->retry_limit);
    if (step->backoff)
        tsk_json_put_str(note, "backoff", step->backoff);
    if (step->timeout_ms)
        tsk_json_put_int(note, "timeout_ms", step->timeout_ms);
    else
        tsk_json_put(note, "timeout_ms", NULL);
    json_object_array_add(parcel->steps, note);
    json_object_array_add(parcel->step_ids, json_object_new_int64(step->step_id));
    json_object_array_add(parcel->configs,
                          json_object_get(tsk_json_get(step->json, "handler_config")));
    parcel->count++;
}

static void make_id(struct parcel *parcel)
{
    char id[TSK_UUID_SIZE];
    tsk_uuid(id);
    memcpy(parcel->batch_id, id, sizeof id);
}

static void add_member(struct tsk_buf *text, const char *key, const char *value)
{
    tsk_buf_printf(text, "\"%s\":\"%s\",", key, value);
}

static void add_created_at(struct parcel *parcel)
{
    char now[TSK_TIME_SIZE];
    tsk_time_format(tsk_wall_ms(), now);
    parcel->stamp = parcel->text.len;
    add_member(&parcel->text, "created_at", now);
    parcel->stamp_len = parcel->text.len - parcel->stamp;
}

/* The time limit that a batch names for itself; 0: none that could be meant. */
static int64_t own_timeout(struct json_object *json)
{
    int64_t ms = 0;
    struct json_object *metadata = tsk_json_get(json, "metadata");
    bool found = tsk_json_int(json, "timeout_ms", &ms) == 1;
    if (!found && json_object_is_type(metadata, json_type_object))
        found = tsk_json_int(metadata, "timeout_ms", &ms) == 1;
    return found && ms > 0 && ms <= MAX_TIMEOUT_MS ? ms : 0;
}

/* A batch_id that is null must go, as it stands behind the place where ours would. */
static bool null_id(const struct tsk_batch *batch)
{
    return !batch->batch_id[0] && json_object_object_get_ex(batch->json, "batch_id", NULL);
}

void parcel_fill(struct parcel *parcel, const struct tsk_batch *batch, const char *raw, size_t len)
{
    struct json_object *json = batch->json;
    struct tsk_buf *text = &parcel->text;
    parcel->timeout_ms = own_timeout(json);
    parcel->named = batch->batch_id[0];
    for (size_t i = 0; i < batch->count; i++)
        note_step(parcel, &batch->steps[i]);
    if (null_id(batch)) {
        json_object_object_del(json, "batch_id");
        raw = tsk_json_text(json, &len);
    }
    const char *brace = memchr(raw, '{', len);
    size_t start = (size_t)(brace + 1 - raw);
    tsk_buf_add(text, raw, start);
    if (batch->batch_id[0]) {
        memcpy(parcel->batch_id, batch->batch_id, sizeof parcel->batch_id);
    } else {
        make_id(parcel);
        add_member(text, "batch_id", parcel->batch_id);
    }
    if (!json_object_object_get_ex(json, "protocol_version", NULL))
        add_member(text, "protocol_version", TSK_PROTOCOL_VERSION);
    if (!json_object_object_get_ex(json, "created_at", NULL))
        add_created_at(parcel);
    tsk_buf_add(text, raw + start, len - start);
}

static bool is_among(struct json_object *ids, int64_t id)
{
    size_t count = json_object_is_type(ids, json_type_array) ? json_object_array_length(ids) : 0;
    for (size_t i = 0; i < count; i++) {
        if (json_object_get_int64(json_object_array_get_idx(ids, i)) == id)
            return true;
    }
    return false;
}

static void mark_step(struct json_object *step)
{
    struct json_object *metadata = tsk_json_get(step, "metadata");
    if (!metadata) {
        metadata = json_object_new_object();
        tsk_json_put(step, "metadata", metadata);
    }
    tsk_json_put_bool(metadata, "cancelled", true);
}

void parcel_mark(struct parcel *parcel, struct tsk_json *parser)
{
    struct json_object *batch, *dropped = NULL;
    size_t len;
    tsk_buf_reset(&parcel->marked);
    if (!parcel->dropped ||
        !(batch = tsk_json_object(parser, parcel->text.data, parcel->text.len, NULL)))
        return;
    tsk_json_parse(parser, parcel->dropped, strlen(parcel->dropped), &dropped, NULL);
    struct json_object *steps = tsk_json_get(batch, "steps");
    for (size_t i = 0; i < parcel->count; i++) {
        struct json_object *step = json_object_array_get_idx(steps, i);
        int64_t id;
        if (tsk_json_int(step, "step_id", &id) == 1 && is_among(dropped, id))
            mark_step(step);
    }
    const char *text = tsk_json_text(batch, &len);
    tsk_buf_add(&parcel->marked, text, len);
    json_object_put(dropped);
    json_object_put(batch);
}

void parcel_begin(struct parcel *parcel)
{
    make_id(parcel);
    tsk_buf_char(&parcel->text, '{');
    add_member(&parcel->text, "batch_id", parcel->batch_id);
    add_member(&parcel->text, "protocol_version", TSK_PROTOCOL_VERSION);
    add_created_at(parcel);
    tsk_buf_str(&parcel->text, "\"steps\":[");
}

void parcel_add(struct parcel *parcel, const struct tsk_step *step, const char *raw, size_t len)
{
    if (parcel->count)
        tsk_buf_char(&parcel->text, ',');
    tsk_buf_add(&parcel->text, raw, len);
    note_step(parcel, step);
}

void parcel_end(struct parcel *parcel)
{
    tsk_buf_str(&parcel->text, "]}");
}
