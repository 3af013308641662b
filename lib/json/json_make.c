/* Making JSON: members set by type, and bytes of any kind as a string. */
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"

void tsk_json_put(struct json_object *object, const char *key, struct json_object *value)
{
    if (json_object_object_add(object, key, value) < 0)
        abort(); /* out of memory */
}

void tsk_json_put_str(struct json_object *object, const char *key, const char *text)
{
    tsk_json_put(object, key, text ? json_object_new_string(text) : NULL);
}

void tsk_json_put_int(struct json_object *object, const char *key, int64_t value)
{
    tsk_json_put(object, key, json_object_new_int64(value));
}

void tsk_json_put_bool(struct json_object *object, const char *key, bool value)
{
    tsk_json_put(object, key, json_object_new_boolean(value));
}

void tsk_json_put_time(struct json_object *object, const char *key, int64_t wall_ms)
{
    char text[TSK_TIME_SIZE];
    tsk_time_format(wall_ms, text);
    tsk_json_put_str(object, key, text);
}

void tsk_json_put_shared(struct json_object *object, const char *key, struct json_object *value)
{
    tsk_json_put(object, key, value ? json_object_get(value) : json_object_new_object());
}

bool tsk_json_is_text(const char *data, size_t len)
{
    const char *at = data, *end = at + len;
    while (at < end) {
        size_t n = *at ? tsk_utf8_length(at, (size_t)(end - at)) : 0;
        if (!n)
            return false;
        at += n;
    }
    return true;
}

struct json_object *tsk_json_lossy(const char *data, size_t len)
{
    const char *at = data, *end = at + len;
    const char *good = at;
    while (good < end) {
        size_t n = tsk_utf8_length(good, (size_t)(end - good));
        if (!n)
            break;
        good += n;
    }
    if (good == end)
        return json_object_new_string_len(data, (int)len);
    struct tsk_buf text = TSK_BUF_INIT;
    while (at < end) {
        size_t n = tsk_utf8_length(at, (size_t)(end - at));
        tsk_buf_add(&text, n ? at : "\xEF\xBF\xBD", n ? n : 3);
        at += n ? n : 1;
    }
    struct json_object *value = json_object_new_string_len(text.data, (int)text.len);
    tsk_buf_fini(&text);
    return value;
}

const char *tsk_json_text(struct json_object *value, size_t *len)
{
    return json_object_to_json_string_length(
        value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, len);
}
