/* The scanner beside json-c, which it stands in for: over texts of all kinds and random changes of
 * them, what it takes json-c takes too, with the same members; what it refuses json-c refuses, or
 * is known to be too lenient about. */
#include <stdlib.h>

#include "check.h"
#include "scan_texts.h"
#include "tasker/json.h"
#include "tasker/scan.h"

static struct tsk_json *parser;
static struct json_tokener *lenient;

static bool takes(const char *text, size_t len, struct tsk_err *err)
{
    char *copy = exact(text, len);
    bool taken = tsk_scan_check(copy, len, err) == 0;
    free(copy);
    return taken;
}

static void test_texts(void)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        struct tsk_err err = TSK_ERR_INIT;
        if (!CHECK(takes(good[i], strlen(good[i]), &err)))
            fprintf(stderr, "    %s: %s\n", good[i], err.text);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct tsk_err err = TSK_ERR_INIT;
        if (!CHECK(!takes(bad[i].text, strlen(bad[i].text), &err)) ||
            !CHECK(err.kind == TSK_DATA && strstr(err.text, bad[i].error)))
            fprintf(stderr, "    %s: %s\n", bad[i].text, err.text);
    }
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(!takes("{\"a\":\0 1}", 9, &err));
    CHECK(!takes("{\"a\0\":1}", 8, &err));
    CHECK(!takes("1\0", 2, &err));
    CHECK(takes("[1]x", 3, &err));
}

/* Each byte at each place of a string that is longer than what is looked at in one go. */
static void test_places(void)
{
    for (size_t place = 1; place < 30; place++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[33];
            struct tsk_err err = TSK_ERR_INIT;
            memset(text, 'x', sizeof text);
            text[0] = text[sizeof text - 1] = '"';
            text[place] = (char)byte;
            bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
            if (!CHECK_INT(takes(text, sizeof text, &err), plain))
                fprintf(stderr, "    byte %d at %zu\n", byte, place);
        }
    }
}

/* What the text after so many opening brackets may be, as json-c counts. */
static void test_depth(void)
{
    static const char *const inner[] = {"", "1", "\"x\"", "[]", "{}"};
    for (int levels = TSK_JSON_DEPTH - 3; levels < TSK_JSON_DEPTH + 3; levels++) {
        for (size_t i = 0; i < COUNT(inner); i++) {
            for (int object = 0; object < (*inner[i] ? 2 : 1); object++) {
                struct tsk_buf text = TSK_BUF_INIT;
                struct tsk_err err = TSK_ERR_INIT;
                for (int k = 0; k < levels; k++)
                    tsk_buf_str(&text, object ? "{\"a\":" : "[");
                tsk_buf_str(&text, inner[i]);
                for (int k = 0; k < levels; k++)
                    tsk_buf_str(&text, object ? "}" : "]");
                json_tokener_reset(lenient);
                struct json_object *value =
                    json_tokener_parse_ex(lenient, text.data, (int)text.len);
                bool taken = takes(text.data, text.len, &err);
                CHECK_INT(taken, value != NULL);
                if (!taken)
                    CHECK_STR(err.text, "JSON is nested deeper than 64");
                json_object_put(value);
                tsk_buf_fini(&text);
            }
        }
    }
}

/* --- Members. */

static const struct tsk_scan_key some_keys[] = {
    TSK_SCAN_KEY("message_type"),
    TSK_SCAN_KEY("batch_id"),
    TSK_SCAN_KEY("step_id"),
    TSK_SCAN_KEY("status"),
    TSK_SCAN_KEY("error"),
    TSK_SCAN_KEY("offset"),
    TSK_SCAN_KEY("a"),
    TSK_SCAN_KEY(""),
    TSK_SCAN_KEY("step_summaries"),
};

static const char *name_of(const struct tsk_scan_key *key, char out[64])
{
    snprintf(out, 64, "%.*s", (int)key->len - 3, key->text + 1);
    return out;
}

static bool same_number(const struct tsk_scan_value *value, struct json_object *json)
{
    return json_object_is_type(json, json_type_int) && json_object_get_int64(json) == value->number;
}

/* Whether what the scanner says of a member is what json-c has of it. */
static bool same_value(const struct tsk_scan_value *value, struct json_object *json)
{
    switch (value->kind) {
    case TSK_SCAN_NONE:
        return !json;
    case TSK_SCAN_BOOL:
        return json_object_is_type(json, json_type_boolean) &&
               (*value->text == 't') == json_object_get_boolean(json);
    case TSK_SCAN_INT:
        return same_number(value, json);
    case TSK_SCAN_NUMBER:
        return json_object_is_type(json, json_type_double) ||
               (json_object_is_type(json, json_type_int) &&
                json_object_get_uint64(json) > INT64_MAX);
    case TSK_SCAN_TEXT:
        return json_object_is_type(json, json_type_string) &&
               (size_t)json_object_get_string_len(json) == value->len &&
               !memcmp(json_object_get_string(json), value->text, value->len);
    case TSK_SCAN_ESCAPED:
        return json_object_is_type(json, json_type_string) && memchr(value->text, '\\', value->len);
    case TSK_SCAN_OBJECT:
        return json_object_is_type(json, json_type_object);
    case TSK_SCAN_ARRAY:
        return json_object_is_type(json, json_type_array);
    }
    return false;
}

static bool same_elements(const struct tsk_scan_value *array, struct json_object *json)
{
    struct tsk_scan_value rest = *array, element;
    size_t i = 0;
    for (; tsk_scan_next(&rest, &element); i++) {
        if (!same_value(&element, json_object_array_get_idx(json, i)))
            return false;
    }
    return i == json_object_array_length(json);
}

/* Whether a text of an object may have names that a plain look does not tell. */
static bool has_odd_names(const char *text, size_t len)
{
    return memchr(text, '\\', len) != NULL;
}

static bool has_twice(const char *text, size_t len)
{
    for (size_t i = 0; i < COUNT(some_keys); i++) {
        size_t n = some_keys[i].len - 1, found = 0;
        for (size_t at = 0; at + n <= len; at++)
            found += !memcmp(text + at, some_keys[i].text, n);
        if (found > 1)
            return true;
    }
    return false;
}

static bool members_agree(const char *text, size_t len, struct json_object *json)
{
    struct tsk_scan_value values[COUNT(some_keys)];
    bool object = json_object_is_type(json, json_type_object);
    if (!tsk_scan_object(text, len, some_keys, COUNT(some_keys), values))
        return !object || has_odd_names(text, len) || has_twice(text, len);
    for (size_t i = 0; i < COUNT(some_keys); i++) {
        char name[64];
        struct json_object *member = tsk_json_get(json, name_of(&some_keys[i], name));
        if (!same_value(&values[i], member))
            return false;
        if (values[i].kind == TSK_SCAN_ARRAY && !same_elements(&values[i], member))
            return false;
    }
    return object;
}

static void test_members(void)
{
    static const char text[] = " { \"b\" : 1 , \"a\" : -12 , \"t\" : \"x y\" , \"o\":{\"a\":[]},"
                               "\"e\":\"\\n\",\"l\":[ 1 , {} ,[2]],\"n\":null,\"f\":1.0} ";
    static const struct tsk_scan_key keys[] = {
        TSK_SCAN_KEY("a"), TSK_SCAN_KEY("b"), TSK_SCAN_KEY("t"),
        TSK_SCAN_KEY("o"), TSK_SCAN_KEY("e"), TSK_SCAN_KEY("l"),
        TSK_SCAN_KEY("n"), TSK_SCAN_KEY("x"), TSK_SCAN_KEY("f"),
    };
    struct tsk_scan_value v[COUNT(keys)], element;
    if (!CHECK(tsk_scan_object(text, sizeof text - 1, keys, COUNT(keys), v)))
        return;
    CHECK(v[0].kind == TSK_SCAN_INT && v[0].number == -12);
    CHECK(v[1].kind == TSK_SCAN_INT && v[1].number == 1);
    CHECK(tsk_scan_is(&v[2], "x y") && !tsk_scan_is(&v[2], "x") && !tsk_scan_is(&v[0], "-12"));
    CHECK(v[3].kind == TSK_SCAN_OBJECT && v[3].len == 8 && !memcmp(v[3].text, "{\"a\":[]}", 8));
    CHECK(v[4].kind == TSK_SCAN_ESCAPED && v[4].len == 2 && !memcmp(v[4].text, "\\n", 2));
    CHECK(v[5].kind == TSK_SCAN_ARRAY && v[5].len == 14);
    CHECK(v[6].kind == TSK_SCAN_NONE && v[7].kind == TSK_SCAN_NONE);
    CHECK(v[8].kind == TSK_SCAN_NUMBER);
    CHECK(tsk_scan_next(&v[5], &element) && element.number == 1);
    CHECK(tsk_scan_next(&v[5], &element) && element.kind == TSK_SCAN_OBJECT && element.len == 2);
    CHECK(tsk_scan_next(&v[5], &element) && element.kind == TSK_SCAN_ARRAY && element.len == 3);
    CHECK(!tsk_scan_next(&v[5], &element));
    CHECK(!tsk_scan_object("{\"a\":1,\"a\":null}", 16, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("{\"a\":null,\"a\":1}", 16, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("{\"\\u0061\":1}", 12, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("[]", 2, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("{} {}", 5, keys, COUNT(keys), v));
    CHECK(tsk_scan_object("{\"z\":1,\"z\":2}", 13, keys, COUNT(keys), v));
}

/* --- At random. */

/* As json-c alone parses it, with its own check of UTF-8. Returns whether it is JSON to it. */
static bool json_c_takes(const char *text, size_t len, struct json_object **out)
{
    while (len && strchr(" \t\r\n", text[len - 1]) && text[len - 1])
        len--;
    json_tokener_reset(lenient);
    *out = json_tokener_parse_ex(lenient, text, (int)len);
    enum json_tokener_error why = json_tokener_get_error(lenient);
    if (why == json_tokener_continue && len) {
        *out = json_tokener_parse_ex(lenient, "", 1);
        return json_tokener_get_error(lenient) == json_tokener_success;
    }
    return why == json_tokener_success && json_tokener_get_parse_end(lenient) >= len;
}

/* Of what json-c takes, what is to be refused. */
static bool too_lenient(const char *reason)
{
    static const char *const reasons[] = {
        "control character", "NaN and Infinity", "64 bits",           "invalid UTF-8",
        "leading zero",      "number expected",  "ends in the middle"};
    for (size_t i = 0; i < COUNT(reasons); i++) {
        if (strstr(reason, reasons[i]))
            return true;
    }
    return false;
}

static bool agree(const char *text, size_t len, long *json_texts)
{
    struct tsk_err err = TSK_ERR_INIT, other = TSK_ERR_INIT;
    struct json_object *json, *ours;
    bool taken = tsk_scan_check(text, len, &err) == 0, by_json_c = json_c_takes(text, len, &json);
    bool ok = taken ? by_json_c : !by_json_c || too_lenient(err.text);
    ok &= taken == (tsk_json_parse(parser, text, len, &ours, &other) == 0);
    ok &= taken ? members_agree(text, len, ours) : strcmp(err.text, other.text) == 0;
    *json_texts += taken;
    json_object_put(json);
    json_object_put(ours);
    return ok;
}

int main(void)
{
    parser = tsk_json_new();
    lenient = json_tokener_new_ex(TSK_JSON_DEPTH);
    json_tokener_set_flags(lenient, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    test_texts();
    test_places();
    test_depth();
    test_members();
    test_random(agree);
    json_tokener_free(lenient);
    tsk_json_free(parser);
    return check_done();
}
