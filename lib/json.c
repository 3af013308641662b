/* JSON values by json-c. It is lenient in ways that would change data in silence, or let pass what
 * is no JSON (integers beyond 64 bits are cut to the largest one; NaN, some leading zeros, UTF-8
 * that is none and control characters pass), so scan.c decides first what is JSON. */
#include "tasker/json.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/scan.h"

struct tsk_json {
    struct json_tokener *tokener;
};

struct tsk_json *tsk_json_new(void)
{
    struct tsk_json *parser = tsk_alloc(sizeof *parser);
    parser->tokener = json_tokener_new_ex(TSK_JSON_DEPTH);
    if (!parser->tokener)
        abort();
    json_tokener_set_flags(parser->tokener, JSON_TOKENER_STRICT);
    return parser;
}

void tsk_json_free(struct tsk_json *parser)
{
    if (!parser)
        return;
    json_tokener_free(parser->tokener);
    free(parser);
}

static int fail(struct tsk_err *err, enum json_tokener_error why, size_t at)
{
    switch (why) {
    case json_tokener_error_depth:
        return tsk_err_set(err, TSK_DATA, "JSON is nested deeper than %d", TSK_JSON_DEPTH);
    case json_tokener_continue:
        return tsk_err_set(err, TSK_DATA, "malformed JSON: it ends in the middle");
    default:
        return tsk_err_set(err, TSK_DATA, "malformed JSON at byte %zu: %s", at + 1,
                           json_tokener_error_desc(why));
    }
}

int tsk_json_parse(struct tsk_json *parser, const char *text, size_t len, struct json_object **out,
                   struct tsk_err *err)
{
    struct json_tokener *tokener = parser->tokener;
    *out = NULL;
    if (tsk_scan_check(text, len, err))
        return -1;
    while (len && strchr(" \t\r\n", text[len - 1]) && text[len - 1])
        len--;
    if (len > INT_MAX)
        return tsk_err_set(err, TSK_DATA, "JSON text of over 2 GiB");
    json_tokener_reset(tokener);
    struct json_object *value = json_tokener_parse_ex(tokener, text, (int)len);
    enum json_tokener_error why = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    if (why == json_tokener_continue && len) { /* a bare number ends only with the text */
        value = json_tokener_parse_ex(tokener, "", 1);
        why = json_tokener_get_error(tokener);
        if (why != json_tokener_success)
            why = json_tokener_continue;
    } else if (why == json_tokener_success && end < len) {
        why = json_tokener_error_parse_unexpected;
    }
    if (why != json_tokener_success) {
        json_object_put(value);
        return fail(err, why, end);
    }
    *out = value;
    return 0;
}

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

const char *tsk_json_str(struct json_object *object, const char *key)
{
    struct json_object *value = tsk_json_get(object, key);
    if (!json_object_is_type(value, json_type_string))
        return NULL;
    const char *text = json_object_get_string(value);
    return strlen(text) == (size_t)json_object_get_string_len(value) ? text : NULL;
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
