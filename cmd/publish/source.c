/* What each line of input is: a batch, a step, somebody else's, or bad. A bad one costs the exit
 * status and nothing more. */
#include "publish/source.h"

#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "publish/group.h"
#include "tasker/json.h"
#include "tasker/map.h"

/* The batch_ids of a run that are remembered, so that one used twice is seen. A run that goes on
 * for ever must not grow for ever. */
#define REMEMBER 1000000

struct source {
    struct tsk_lines *lines;
    struct tsk_json *parser;
    struct group *group;
    struct tsk_map *ids;
    size_t max;
    enum tsk_exit status;
};

struct source *source_new(const struct tsk_conf *conf, char *const *files, size_t count,
                          size_t size, int64_t delay)
{
    struct source *source = tsk_alloc(sizeof *source);
    source->max = (size_t)tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES);
    source->lines = tsk_lines_new(files, count, source->max);
    source->parser = tsk_json_new();
    source->group = group_new(size, source->max, delay);
    source->ids = tsk_map_new(NULL);
    return source;
}

void source_free(struct source *source)
{
    if (!source)
        return;
    tsk_lines_free(source->lines);
    tsk_json_free(source->parser);
    group_free(source->group);
    tsk_map_free(source->ids);
    free(source);
}

struct tsk_lines *source_lines(struct source *source)
{
    return source->lines;
}

int64_t source_deadline(const struct source *source)
{
    return group_deadline(source->group);
}

struct parcel *source_close(struct source *source)
{
    return group_close(source->group);
}

bool source_pending(const struct source *source)
{
    return group_deadline(source->group) >= 0 || tsk_lines_pending(source->lines);
}

enum tsk_exit source_status(const struct source *source)
{
    return source->status;
}

static void refuse(struct source *source, const struct tsk_line *line, const char *reason,
                   enum tsk_exit kind)
{
    diag_input(line->file, line->number, reason);
    source->status = tsk_exit_worse(source->status, kind);
}

/* Notes that an id is used. Returns false if it was before. */
static bool remember(struct source *source, const char *id)
{
    static char used; /* any address: the key is all */
    if (tsk_map_get(source->ids, id))
        return false;
    if (tsk_map_count(source->ids) >= REMEMBER)
        tsk_map_remove(source->ids, tsk_map_key(tsk_map_first(source->ids)));
    tsk_map_put(source->ids, id, &used);
    return true;
}

/* Makes a parcel of a batch line; takes json. */
static struct parcel *read_batch(struct source *source, const struct tsk_line *line,
                                 struct json_object *json)
{
    struct tsk_batch batch;
    struct tsk_err err;
    if (tsk_batch_read(&batch, json, false, &err) < 0) {
        refuse(source, line, err.text, err.kind);
        return NULL;
    }
    struct parcel *parcel = parcel_new(line->file, line->number);
    parcel_fill(parcel, &batch, line->data, line->len);
    tsk_batch_fini(&batch);
    bool fits = parcel->text.len <= source->max;
    if (!fits)
        tsk_err_set(&err, TSK_DATA, "the batch has over %zu bytes", source->max);
    else if (!remember(source, parcel->batch_id))
        tsk_err_set(&err, TSK_DATA, "batch_id %s was used before", parcel->batch_id);
    else
        return parcel;
    refuse(source, line, err.text, err.kind);
    parcel_free(parcel);
    return NULL;
}

/* Reads a step, which must leave room for the batch around it: one that the worker cannot read it
 * cannot answer for either. */
static int check_step(struct tsk_step *step, struct json_object *json, struct tsk_err *err)
{
    int most = TSK_JSON_DEPTH - TSK_JSON_ROOM;
    if (!tsk_json_within(json, most))
        return tsk_err_set(err, TSK_DATA, "the step is nested deeper than %d", most);
    return tsk_step_read(step, json, 1, 1, err);
}

/* Adds a step line to the group; takes json. Returns a parcel if that closed one. */
static struct parcel *read_step(struct source *source, const struct tsk_line *line,
                                struct json_object *json, int64_t now)
{
    struct group_line from = {line->file, line->data, line->len, line->number};
    struct parcel *full = NULL;
    struct tsk_step step;
    struct tsk_err err;
    if (check_step(&step, json, &err) < 0 ||
        group_add(source->group, &step, &from, now, &full, &err) < 0)
        refuse(source, line, err.text, err.kind);
    json_object_put(json);
    return full;
}

/* What an object is. Returns TSK_TYPE_OTHER for somebody else's, or sets *reason. */
static enum tsk_type classify(struct json_object *json, const char **reason)
{
    enum tsk_type type = tsk_type_of_line(json);
    *reason = NULL;
    if (type == TSK_TYPE_OTHER && !tsk_json_get(json, "message_type"))
        *reason = "neither a batch (it has no steps) nor a step (it has no step_id)";
    else if (type == TSK_TYPE_OTHER && !tsk_json_str(json, "message_type"))
        *reason = "message_type is not a string";
    return type;
}

static struct parcel *read_line(struct source *source, const struct tsk_line *line, int64_t now)
{
    const char *reason;
    struct tsk_err err;
    struct json_object *json = tsk_json_object(source->parser, line->data, line->len, &err);
    if (!json) {
        refuse(source, line, err.text, err.kind);
        return NULL;
    }
    enum tsk_type type = classify(json, &reason);
    if (reason) {
        refuse(source, line, reason, TSK_DATA);
    } else if (type == TSK_TYPE_BATCH) {
        return read_batch(source, line, json);
    } else if (type == TSK_TYPE_STEP) {
        return read_step(source, line, json, now);
    } else {
        out_line(line->data, line->len);
    }
    json_object_put(json);
    return NULL;
}

/* The delay counts where steps are waited for: what a file still has comes without delay. */
static struct parcel *close_late_group(struct source *source, int64_t now)
{
    int64_t due = group_deadline(source->group);
    bool late = due >= 0 && due <= now && !tsk_lines_regular(source->lines);
    return late ? group_close(source->group) : NULL;
}

enum source_state source_next(struct source *source, int64_t now, struct parcel **parcel)
{
    struct tsk_line line;
    *parcel = NULL;
    switch (tsk_lines_next(source->lines, &line)) {
    case TSK_LINE_OK:
        *parcel = read_line(source, &line, now);
        return *parcel ? SOURCE_PARCEL : SOURCE_LINE;
    case TSK_LINE_BAD:
        refuse(source, &line, line.reason, line.kind);
        return SOURCE_LINE;
    case TSK_LINE_MORE:
        *parcel = close_late_group(source, now);
        return *parcel ? SOURCE_PARCEL : SOURCE_MORE;
    case TSK_LINE_END:
        break;
    }
    *parcel = group_close(source->group);
    return *parcel ? SOURCE_PARCEL : SOURCE_END;
}
