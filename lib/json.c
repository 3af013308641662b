/* Strict JSON. json-c is lenient in ways that would change data in silence, or let pass what is no
 * JSON: integers beyond 64 bits are cut to the largest one, NaN and Infinity pass, and so do
 * control characters as they are. All are looked for in the text, by filters that are much cheaper
 * than the parse itself. */
#include "tasker/json.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/clock.h"

struct tsk_json {
    struct json_tokener *tokener;
};

struct tsk_json *tsk_json_new(void)
{
    struct tsk_json *parser = tsk_alloc(sizeof *parser);
    parser->tokener = json_tokener_new_ex(TSK_JSON_DEPTH);
    if (!parser->tokener)
        abort();
    json_tokener_set_flags(parser->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    return parser;
}

void tsk_json_free(struct tsk_json *parser)
{
    if (!parser)
        return;
    json_tokener_free(parser->tokener);
    free(parser);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whether text may hold an integer of 19 digits or more: any such run covers one of the places. */
static bool maybe_long(const char *text, size_t len)
{
    for (size_t i = 18; i < len; i += 19) {
        size_t from = i, to = i;
        while (to < len && is_digit(text[to]))
            to++;
        while (to > i && from && is_digit(text[from - 1]))
            from--;
        if (to - from >= 19)
            return true;
    }
    return false;
}

static bool maybe_nonfinite(const char *text, size_t len)
{
    const char *end = text + len, *at;
    for (at = text; (at = memchr(at, 'N', (size_t)(end - at))); at++) {
        if (end - at >= 3 && at[1] == 'a' && at[2] == 'N')
            return true;
    }
    for (at = text; (at = memchr(at, 'I', (size_t)(end - at))); at++) {
        if (end - at >= 8 && !memcmp(at, "Infinity", 8))
            return true;
    }
    return false;
}

/* Returns the length of the string literal that begins at text. */
static size_t string_length(const char *text, const char *end)
{
    const char *at = text + 1;
    while (at < end && *at != '"')
        at += *at == '\\' && at + 1 < end ? 2 : 1;
    return (size_t)(at < end ? at + 1 - text : end - text);
}

/* Whether the digits are more than 64 bits hold (unsigned, or signed after a minus). */
static bool beyond_64_bits(const char *digits, size_t count, bool negative)
{
    const char *limit = negative ? "9223372036854775808" : "18446744073709551615";
    size_t most = strlen(limit);
    return count > most || (count == most && memcmp(digits, limit, most) > 0);
}

/* Looks at all that stands outside strings. Returns what is wrong there, or NULL. */
static const char *find_bad_number(const char *text, const char *end)
{
    const char *begin = text;
    while (text < end) {
        if (*text == '"') {
            text += string_length(text, end);
        } else if (*text == 'N' || *text == 'I') {
            return "NaN and Infinity are not JSON";
        } else if (is_digit(*text)) {
            const char *digits = text;
            bool negative = digits > begin && digits[-1] == '-';
            while (text < end && is_digit(*text))
                text++;
            bool integer = text == end || (*text != '.' && *text != 'e' && *text != 'E');
            if (integer && beyond_64_bits(digits, (size_t)(text - digits), negative))
                return "an integer does not fit 64 bits";
            while (text < end && (is_digit(*text) || strchr(".eE+-", *text)))
                text++;
        } else {
            text++;
        }
    }
    return NULL;
}

static const char *check_numbers(const char *text, size_t len)
{
    if (!maybe_long(text, len) && !maybe_nonfinite(text, len))
        return NULL;
    return find_bad_number(text, text + len);
}

/* Whether any byte is below 0x20, by eight at a time: every text is asked. */
static bool any_control(const char *text, size_t len)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t found = 0, part;
    size_t i = 0;
    for (; i + sizeof part <= len; i += sizeof part) {
        memcpy(&part, text + i, sizeof part);
        found |= (part - ones * 0x20) & ~part & ones * 0x80;
    }
    for (; i < len; i++)
        found |= (unsigned char)text[i] < 0x20;
    return found;
}

/* Whether a control character stands in a string, or outside of them one that is no white space. */
static bool has_control(const char *text, size_t len)
{
    const char *end = text + len;
    bool any = any_control(text, len);
    while (any && text < end) {
        size_t part = *text == '"' ? string_length(text, end) : 1;
        for (size_t i = 0; i < part; i++) {
            if ((unsigned char)text[i] < 0x20 && (part > 1 || !strchr("\t\r\n", text[i])))
                return true;
        }
        text += part;
    }
    return false;
}

/* What is wrong with a text that json-c takes for JSON, or NULL. */
static const char *find_fault(const char *text, size_t len)
{
    if (has_control(text, len))
        return "malformed JSON: it holds a control character that is not escaped";
    return check_numbers(text, len);
}

static int fail(struct tsk_err *err, enum json_tokener_error why, size_t at)
{
    switch (why) {
    case json_tokener_error_depth:
        return tsk_err_set(err, TSK_DATA, "JSON is nested deeper than %d", TSK_JSON_DEPTH);
    case json_tokener_error_parse_utf8_string:
        return tsk_err_set(err, TSK_DATA, "invalid UTF-8 at byte %zu", at + 1);
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
    const char *bad = find_fault(text, len);
    if (bad) {
        json_object_put(value);
        return tsk_err_set(err, TSK_DATA, "%s", bad);
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
