/* A tapped message for people: one short line with the time of day (UTC), endpoint, topic, what it
 * is about, how that stands, and its size. What a peer wrote is made fit for a terminal. */
#include <inttypes.h>

#include "collect/tap.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/message.h"

enum { DAY_START = 11 }; /* where the time of day begins in an RFC 3339 text */

/* Adds a space and text, or "-". */
static void add_word(struct tsk_buf *line, const char *text)
{
    tsk_buf_char(line, ' ');
    tsk_plain_str(line, text && *text ? text : "-");
}

/* batch, batch/step or worker. */
static void add_subject(struct tsk_buf *line, struct json_object *message)
{
    const char *batch = tsk_json_str(message, "batch_id");
    int64_t step;
    add_word(line, batch ? batch : tsk_json_str(message, "worker_id"));
    if (tsk_json_int(message, "step_id", &step) == 1)
        tsk_buf_printf(line, "/%" PRId64, step);
}

/* Adds " N LABEL" if key is an integer or an array. Returns whether it is. */
static bool add_count(struct tsk_buf *line, struct json_object *message, const char *key,
                      const char *label)
{
    struct json_object *value = tsk_json_get(message, key);
    int64_t n;
    if (json_object_is_type(value, json_type_array))
        n = (int64_t)json_object_array_length(value);
    else if (tsk_json_int(message, key, &n) != 1)
        return false;
    tsk_buf_printf(line, " %" PRId64 " %s", n, label);
    return true;
}

static void add_status(struct tsk_buf *line, struct json_object *message)
{
    struct json_object *error = tsk_json_get(message, "error");
    const char *status = tsk_json_str(message, "status");
    const char *type = tsk_json_str(error, "error_type");
    if (!status)
        status = tsk_json_str(message, "state");
    bool counted = add_count(line, message, "completed_steps", "completed");
    counted |= add_count(line, message, "failed_steps", "failed");
    if (!counted && !status)
        counted = add_count(line, message, "steps", "steps");
    if (status || (!type && !counted))
        add_word(line, status);
    if (type)
        add_word(line, type);
}

void tap_text(struct tsk_buf *line, const struct tsk_frame *frame, const char *endpoint,
              int64_t wall_ms, struct json_object *message)
{
    char time[TSK_TIME_SIZE];
    tsk_time_format(wall_ms, time);
    tsk_buf_str(line, time + DAY_START);
    add_word(line, endpoint);
    add_word(line, frame->topic);
    if (message) {
        add_subject(line, message);
        add_status(line, message);
    } else {
        tsk_buf_str(line, frame->whole ? " too long" : " no JSON object");
    }
    tsk_buf_printf(line, " %zu B", frame->whole ? frame->whole : frame->raw_len);
}
