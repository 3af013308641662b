/* Values of json-c, asked for their members. */
#include "tasker/json.h"

#include <math.h>
#include <string.h>

struct json_object *tsk_json_object(struct tsk_json *parser, const char *text, size_t len,
                                    struct tsk_err *err)
{
    struct json_object *value;
    if (tsk_json_parse(parser, text, len, &value, err) < 0)
        return NULL;
    if (json_object_is_type(value, json_type_object))
        return value;
    json_object_put(value);
    tsk_err_set(err, TSK_DATA, "not a JSON object");
    return NULL;
}

struct json_object *tsk_json_stored(const char *text)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *json = text ? tsk_json_object(parser, text, strlen(text), NULL) : NULL;
    tsk_json_free(parser);
    return json;
}

bool tsk_json_within(struct json_object *value, int levels)
{
    bool array = json_object_is_type(value, json_type_array);
    if (!array && !json_object_is_type(value, json_type_object))
        return true;
    if (levels < 1)
        return false;
    for (size_t i = 0; array && i < json_object_array_length(value); i++) {
        if (!tsk_json_within(json_object_array_get_idx(value, i), levels - 1))
            return false;
    }
    if (array)
        return true;
    json_object_object_foreach(value, key, member)
    {
        (void)key;
        if (!tsk_json_within(member, levels - 1))
            return false;
    }
    return true;
}

struct json_object *tsk_json_get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object))
        return NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

bool tsk_json_is_name(struct json_object *value)
{
    return json_object_is_type(value, json_type_string) &&
           strlen(json_object_get_string(value)) == (size_t)json_object_get_string_len(value);
}

const char *tsk_json_str(struct json_object *object, const char *key)
{
    struct json_object *value = tsk_json_get(object, key);
    return tsk_json_is_name(value) ? json_object_get_string(value) : NULL;
}

int tsk_json_int(struct json_object *object, const char *key, int64_t *out)
{
    struct json_object *value = tsk_json_get(object, key);
    if (!value)
        return 0;
    if (json_object_is_type(value, json_type_int)) {
        *out = json_object_get_int64(value);
        return *out == INT64_MAX && json_object_get_uint64(value) > INT64_MAX ? -1 : 1;
    }
    if (!json_object_is_type(value, json_type_double))
        return -1;
    double number = json_object_get_double(value);
    if (!(fabs(number) <= 9007199254740992.0) || number != (double)(int64_t)number)
        return -1;
    *out = (int64_t)number;
    return 1;
}

int tsk_json_bool(struct json_object *object, const char *key, bool *out)
{
    struct json_object *value = tsk_json_get(object, key);
    if (!value)
        return 0;
    if (!json_object_is_type(value, json_type_boolean))
        return -1;
    *out = json_object_get_boolean(value);
    return 1;
}
