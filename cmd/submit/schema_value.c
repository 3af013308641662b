/* JSON values as a schema sees them. */
#include <math.h>
#include <string.h>

#include "submit/schema_private.h"

static bool is_number(struct json_object *value)
{
    return json_object_is_type(value, json_type_int) ||
           json_object_is_type(value, json_type_double);
}

static bool is_whole(struct json_object *value)
{
    if (json_object_is_type(value, json_type_int))
        return true;
    double number = json_object_get_double(value);
    return json_object_is_type(value, json_type_double) && isfinite(number) &&
           number == floor(number);
}

const char *tsk_schema_kind(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        return "null";
    case json_type_boolean:
        return "a truth value";
    case json_type_int:
        return "an integer";
    case json_type_double:
        return "a number";
    case json_type_string:
        return "a text";
    case json_type_array:
        return "a list";
    default:
        return "an object";
    }
}

static const struct {
    const char *name;
    enum json_type type;
} types[] = {
    {"null", json_type_null},   {"boolean", json_type_boolean}, {"string", json_type_string},
    {"array", json_type_array}, {"object", json_type_object},   {"number", json_type_double},
    {"integer", json_type_int},
};

enum { TYPES = sizeof types / sizeof *types };

bool tsk_schema_type_known(const char *type)
{
    size_t i = 0;
    while (i < TYPES && strcmp(types[i].name, type) != 0)
        i++;
    return i < TYPES;
}

bool tsk_schema_is(struct json_object *value, const char *type)
{
    for (size_t i = 0; i < TYPES; i++) {
        if (strcmp(types[i].name, type) != 0)
            continue;
        if (types[i].type == json_type_double)
            return is_number(value);
        if (types[i].type == json_type_int)
            return is_whole(value);
        return json_object_is_type(value, types[i].type);
    }
    return false;
}

/* Returns the text of a number that is written as an integer, of any size; else NULL. */
static const char *integer_text(struct json_object *number)
{
    size_t len;
    const char *text = tsk_json_text(number, &len);
    return strspn(text + (*text == '-'), "0123456789") + (*text == '-') == len ? text : NULL;
}

int tsk_schema_compare(struct json_object *a, struct json_object *b)
{
    double x = json_object_get_double(a), y = json_object_get_double(b);
    const char *m = integer_text(a), *n = integer_text(b);
    if (x != y || x == 0 || !m || !n)
        return x < y ? -1 : x > y;
    /* integers of the same sign, so near that a double may not tell them apart */
    int order = strlen(m) == strlen(n) ? strcmp(m, n) : strlen(m) < strlen(n) ? -1 : 1;
    return x < 0 ? -order : order;
}

static bool equal_lists(struct json_object *a, struct json_object *b)
{
    size_t count = json_object_array_length(a);
    if (count != json_object_array_length(b))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!tsk_schema_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
            return false;
    }
    return true;
}

static bool equal_objects(struct json_object *a, struct json_object *b)
{
    struct json_object *other;
    if (json_object_object_length(a) != json_object_object_length(b))
        return false;
    json_object_object_foreach(a, key, value)
    {
        if (!json_object_object_get_ex(b, key, &other) || !tsk_schema_equal(value, other))
            return false;
    }
    return true;
}

bool tsk_schema_equal(struct json_object *a, struct json_object *b)
{
    if (is_number(a) && is_number(b))
        return tsk_schema_compare(a, b) == 0;
    if (json_object_get_type(a) != json_object_get_type(b))
        return false;
    if (json_object_is_type(a, json_type_array))
        return equal_lists(a, b);
    if (json_object_is_type(a, json_type_object))
        return equal_objects(a, b);
    return json_object_equal(a, b);
}

int64_t tsk_schema_length(struct json_object *text)
{
    const char *data = json_object_get_string(text);
    int64_t count = 0;
    for (int i = 0; i < json_object_get_string_len(text); i++)
        count += (data[i] & 0xC0) != 0x80; /* what goes on within a character is not counted */
    return count;
}

bool tsk_schema_multiple(struct json_object *number, struct json_object *step)
{
    const char *digits = integer_text(number);
    int64_t of = json_object_get_int64(step), rest = 0;
    if (digits && json_object_is_type(step, json_type_int) && of <= INT64_MAX / 16) {
        for (digits += *digits == '-'; *digits; digits++)
            rest = (rest * 10 + (*digits - '0')) % of;
        return rest == 0;
    }
    double times = json_object_get_double(number) / json_object_get_double(step);
    return isfinite(times) && fabs(times - round(times)) <= 1e-9 * fmax(1, fabs(times));
}
