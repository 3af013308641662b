/* Values of json-c: asked for their members, made, read, written. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json/scan_private.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"

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

/* ---- Making JSON: members set by type, and bytes of any kind as a string. */

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

/* ---- Text into values of json-c, by the grammar of scan.c. json-c's own parser is not used: it
 * changes data silently (integers over 64 bits become the largest one, -0 becomes 0, a name ends at
 * its first NUL) and takes what is not JSON (NaN, invalid UTF-8, control characters).
 *
 * A value that json-c would write in another way keeps its text, as the data of its serializer. So
 * does a payload as a whole: its white space, escapes and repeated names are its author's. */

struct tsk_json {
    struct tsk_buf stack;   /* names and texts under way, without their escapes */
    bool lenient;           /* what is beyond a limit is left out, not refused */
    const char *text;       /* then: all of it */
    struct tsk_err refused; /* and why its first reading failed */
    size_t refusals;        /* and how often something was left out so far */
};

struct tsk_json *tsk_json_new(void)
{
    return tsk_alloc(sizeof(struct tsk_json));
}

void tsk_json_free(struct tsk_json *parser)
{
    if (!parser)
        return;
    tsk_buf_fini(&parser->stack);
    free(parser);
}

void tsk_json_keep(struct json_object *value, const char *text, size_t len)
{
    if (!value)
        return;
    char *kept = tsk_alloc_raw(len + 1), *to = kept;
    for (const char *at = text; at < text + len; at++) {
        bool edge = to == kept && (*at == ' ' || *at == '\t');
        if (!edge && *at != '\n' && *at != '\r') /* in JSON these are white space only */
            *to++ = *at;
    }
    while (to > kept && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    *to = '\0';
    json_object_set_serializer(value, json_object_userdata_to_json_string, kept,
                               json_object_free_userdata);
}

/* ---- scalars */

static unsigned hex4(const char *at)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++)
        code = code << 4 | (unsigned)(at[i] <= '9' ? at[i] - '0' : (at[i] | 0x20) - 'a' + 10);
    return code;
}

static void add_utf8(struct tsk_buf *out, unsigned code)
{
    if (code < 0x80) {
        tsk_buf_char(out, (char)code);
        return;
    }
    if (code < 0x800) {
        tsk_buf_char(out, (char)(0xC0 | code >> 6));
    } else {
        if (code < 0x10000) {
            tsk_buf_char(out, (char)(0xE0 | code >> 12));
        } else {
            tsk_buf_char(out, (char)(0xF0 | code >> 18));
            tsk_buf_char(out, (char)(0x80 | (code >> 12 & 0x3F)));
        }
        tsk_buf_char(out, (char)(0x80 | (code >> 6 & 0x3F)));
    }
    tsk_buf_char(out, (char)(0x80 | (code & 0x3F)));
}

/* Adds the character of the \u sequence at "at". Returns what follows it. Half of a surrogate pair
 * is no character: it becomes U+FFFD, and *exact false. */
static const char *add_code(struct tsk_buf *out, const char *at, const char *end, bool *exact)
{
    unsigned code = hex4(at + 2), low = 0;
    at += 6;
    if (code >= 0xD800 && code < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u')
        low = hex4(at + 2);
    if (low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        at += 6;
    } else if (code >= 0xD800 && code < 0xE000) {
        code = 0xFFFD;
        *exact = false;
    }
    add_utf8(out, code);
    return at;
}

/* Adds a scanned string, given without its quotes. Returns whether it says all that the text does.
 */
static bool add_unescaped(struct tsk_buf *out, const char *at, const char *end)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    bool exact = true;
    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        tsk_buf_add(out, at, (size_t)((escape ? escape : end) - at));
        if (!escape)
            break;
        if (escape[1] == 'u') {
            at = add_code(out, escape, end, &exact);
            continue;
        }
        const char *letter = strchr(letters, escape[1]);
        tsk_buf_char(out, letter ? meant[letter - letters] : escape[1]);
        at = escape + 2;
    }
    return exact;
}

static struct json_object *build_text(struct tsk_json *parser, const char *from, const char *to)
{
    size_t bottom = parser->stack.len;
    bool exact = add_unescaped(&parser->stack, from + 1, to - 1);
    const char *text = parser->stack.data ? parser->stack.data + bottom : "";
    struct json_object *value = json_object_new_string_len(text, (int)(parser->stack.len - bottom));
    if (!exact)
        tsk_json_keep(value, from, (size_t)(to - from));
    parser->stack.len = bottom;
    return value;
}

static struct json_object *build_number(const struct tsk_scan *s, const char *from, const char *to)
{
    size_t len = (size_t)(to - from);
    if (s->kind == TSK_SCAN_INT && (s->number || *from != '-'))
        return json_object_new_int64(s->number);
    char *text = tsk_alloc_raw(len + 1);
    memcpy(text, from, len);
    text[len] = '\0';
    struct json_object *value = s->kind == TSK_SCAN_INT
                                    ? json_object_new_int64(s->number)
                                    : json_object_new_double(strtod(text, NULL));
    free(text);
    tsk_json_keep(value, from, len);
    return value;
}

static struct json_object *build_scalar(struct tsk_json *parser, const struct tsk_scan *s,
                                        const char *from, const char *to)
{
    switch (s->kind) {
    case TSK_SCAN_BOOL:
        return json_object_new_boolean(*from == 't');
    case TSK_SCAN_INT:
    case TSK_SCAN_NUMBER:
        return build_number(s, from, to);
    case TSK_SCAN_TEXT:
        return json_object_new_string_len(from + 1, (int)(to - from - 2));
    case TSK_SCAN_ESCAPED:
        return build_text(parser, from, to);
    default:
        return NULL; /* null */
    }
}

/* ---- objects and arrays */

static const char *build(struct tsk_json *parser, struct tsk_scan *s, const char *at, bool payload,
                         struct json_object **out);

/* Whether a member of this name is a payload: data of a user, which tasker passes on and never
 * changes. */
static bool is_payload(const char *name)
{
    static const char *const names[] = {"context",  "handler_config",   "output",
                                        "progress", "previous_results", "task_context"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (*names[i] == *name && !strcmp(names[i], name)) /* for each member of all that is read */
            return true;
    }
    return false;
}

/* Whether what s has just refused may be left out: it is JSON beyond a limit. */
static bool pass_over(struct tsk_json *parser, struct tsk_scan *s)
{
    if (!parser->lenient || tsk_scan_fail(s, parser->text, NULL) != TSK_JSON_LIMIT)
        return false;
    parser->refusals++;
    s->wrong = NULL;
    return true;
}

/* Puts the name at "at" on the stack, with a NUL behind it. */
static const char *push_name(struct tsk_json *parser, struct tsk_scan *s, const char *at)
{
    const char *end = tsk_scan_name(s, at);
    if (!end)
        return NULL;
    add_unescaped(&parser->stack, at + 1, end - 1);
    tsk_buf_char(&parser->stack, '\0');
    return end;
}

static const char *skip_member(struct tsk_scan *s, const char *at)
{
    at = tsk_scan_skip(s, at);
    if (!at || !(at = tsk_scan_colon(s, at)))
        return NULL;
    return tsk_scan_skip(s, at);
}

/* Builds the member at "at" into object. */
static const char *build_member(struct tsk_json *parser, struct tsk_scan *s, const char *at,
                                bool payload, struct json_object *object)
{
    struct json_object *value = NULL;
    size_t name = parser->stack.len, refusals = parser->refusals;
    const char *from = tsk_scan_space(s, at);
    at = push_name(parser, s, from);
    if (!at)
        return pass_over(parser, s) ? skip_member(s, from) : NULL;
    if (!(at = tsk_scan_colon(s, at)))
        return NULL;
    bool keep = !payload && is_payload(parser->stack.data + name);
    from = tsk_scan_space(s, at);
    at = build(parser, s, from, payload || keep, &value);
    if (keep && parser->refusals > refusals) {
        json_object_put(value);
        value = NULL;
    } else if (at && keep) {
        tsk_json_keep(value, from, (size_t)(at - from));
    }
    if (value || parser->refusals == refusals)
        tsk_json_put(object, parser->stack.data + name, value);
    parser->stack.len = name;
    return at;
}

static const char *build_nested(struct tsk_json *parser, struct tsk_scan *s, const char *at,
                                bool payload, struct json_object **out)
{
    char bracket = *at == '{' ? '}' : ']';
    size_t refusals = parser->refusals;
    *out = bracket == '}' ? json_object_new_object() : json_object_new_array();
    s->depth++;
    at = tsk_scan_first(s, at, bracket);
    while (at && s->more) {
        if (bracket == '}') {
            at = build_member(parser, s, at, payload, *out);
        } else {
            struct json_object *value = NULL;
            size_t before = parser->refusals;
            at = build(parser, s, at, payload, &value);
            if (value || parser->refusals == before)
                json_object_array_add(*out, value);
        }
        at = at ? tsk_scan_after(s, at, bracket) : NULL;
    }
    s->depth--;
    bool room = s->depth + 1 < TSK_JSON_DEPTH;
    if (bracket == '}' && !payload && room && parser->refusals > refusals)
        tsk_json_put_str(*out, TSK_JSON_REFUSED, parser->refused.text);
    return at;
}

/* Builds the value at "at" (payload: within a payload, which keeps its text as a whole). On failure
 * *out is what there is of it. */
static const char *build(struct tsk_json *parser, struct tsk_scan *s, const char *at, bool payload,
                         struct json_object **out)
{
    const char *from = tsk_scan_space(s, at);
    bool nested = from < s->end && (*from == '{' || *from == '[');
    if (nested && tsk_scan_deeper(s, from))
        return build_nested(parser, s, from, payload, out);
    at = nested ? NULL : tsk_scan_value(s, from);
    if (at)
        *out = build_scalar(parser, s, from, at);
    else if (pass_over(parser, s))
        at = tsk_scan_skip(s, from);
    return at;
}

int tsk_json_parse(struct tsk_json *parser, const char *text, size_t len, struct json_object **out,
                   struct tsk_err *err)
{
    struct tsk_scan s = {.end = text + len};
    *out = NULL;
    tsk_buf_reset(&parser->stack);
    if (len > INT_MAX)
        return tsk_err_set(err, TSK_DATA, "JSON text of over 2 GiB");
    const char *at = build(parser, &s, text, false, out);
    if (at && tsk_scan_end(&s, at))
        return 0;
    json_object_put(*out);
    *out = NULL;
    return tsk_scan_fail(&s, text, err);
}

struct json_object *tsk_json_salvage(struct tsk_json *parser, const char *text, size_t len,
                                     struct tsk_err *err)
{
    struct json_object *value;
    struct tsk_err why = TSK_ERR_INIT;
    int rc = tsk_json_parse(parser, text, len, &value, &why);
    if (rc == TSK_JSON_LIMIT) {
        parser->lenient = true;
        parser->text = text;
        parser->refused = why;
        rc = tsk_json_parse(parser, text, len, &value, NULL);
        parser->lenient = false;
    }
    if (rc == 0 && !json_object_is_type(value, json_type_object))
        tsk_err_set(&why, TSK_DATA, "not a JSON object");
    if (err && why.kind != TSK_OK)
        *err = why;
    if (json_object_is_type(value, json_type_object))
        return value;
    json_object_put(value);
    return NULL;
}

static void put_key(struct tsk_buf *buf, const char *key)
{
    char last = buf->len ? buf->data[buf->len - 1] : '{';
    if (last != '{' && last != '[')
        tsk_buf_char(buf, ',');
    if (!key)
        return;
    size_t len = strlen(key);
    char *to = tsk_buf_reserve(buf, len + 3);
    *to++ = '"';
    memcpy(to, key, len);
    memcpy(to + len, "\":", 3);
    buf->len += len + 3;
}

void tsk_write_open(struct tsk_buf *buf, const char *key, char bracket)
{
    put_key(buf, key);
    tsk_buf_char(buf, bracket);
}

void tsk_write_close(struct tsk_buf *buf, char bracket)
{
    tsk_buf_char(buf, bracket);
}

static void add_escaped(struct tsk_buf *buf, char c)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = strchr(plain, c);
    if (found)
        tsk_buf_printf(buf, "\\%c", letters[found - plain]);
    else
        tsk_buf_printf(buf, "\\u%04x", (unsigned char)c);
}

void tsk_write_str(struct tsk_buf *buf, const char *key, const char *text)
{
    put_key(buf, key);
    if (!text) {
        tsk_buf_add(buf, "null", 4);
        return;
    }
    tsk_buf_char(buf, '"');
    for (;;) {
        size_t plain = 0;
        while ((unsigned char)text[plain] >= ' ' && text[plain] != '"' && text[plain] != '\\')
            plain++;
        tsk_buf_add(buf, text, plain);
        text += plain;
        if (!*text)
            break;
        add_escaped(buf, *text++);
    }
    tsk_buf_char(buf, '"');
}

void tsk_write_int(struct tsk_buf *buf, const char *key, int64_t value)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--at = '-';
    put_key(buf, key);
    tsk_buf_add(buf, at, (size_t)(digits + sizeof digits - at));
}

void tsk_write_bool(struct tsk_buf *buf, const char *key, bool value)
{
    put_key(buf, key);
    tsk_buf_str(buf, value ? "true" : "false");
}

void tsk_write_time(struct tsk_buf *buf, const char *key, int64_t wall_ms)
{
    char text[TSK_TIME_SIZE];
    tsk_time_format(wall_ms, text);
    tsk_write_str(buf, key, text);
}

void tsk_write_json(struct tsk_buf *buf, const char *key, struct json_object *value)
{
    size_t len;
    const char *text = tsk_json_text(value, &len);
    tsk_write_raw(buf, key, text, len);
}

void tsk_write_object(struct tsk_buf *buf, const char *key, struct json_object *value)
{
    if (value)
        tsk_write_json(buf, key, value);
    else
        tsk_write_raw(buf, key, "{}", 2);
}

void tsk_write_raw(struct tsk_buf *buf, const char *key, const char *json, size_t len)
{
    put_key(buf, key);
    tsk_buf_add(buf, json, len);
}
