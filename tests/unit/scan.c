/* The scanner beside json-c, which it stands in for: over texts of all kinds and random changes of
 * them, what it takes json-c takes too, with the same members; what it refuses json-c refuses, or
 * is known to be too lenient about. */
#include <stdlib.h>

#include "check.h"
#include "scan_texts.h"
#include "tasker/json.h"

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

/* What is written of a text that is no payload, and of one that is. */
static void test_written(void)
{
    static const struct {
        const char *text, *plain, *payload;
    } cases[] = {
        {"[1, -0, 1.0e2, 1E400, 1e-400]", "[1,-0,1.0e2,1E400,1e-400]", NULL},
        {"[18446744073709551616,-9223372036854775809,9223372036854775808]", NULL, NULL},
        {"[0.1000000000000000055511151231257827,123456789012345678901234567890.50]", NULL, NULL},
        {"[\"\\ud800\",\"\\u0000x\",\"\\u00e9\\/\",\"\\ud83d\\ude00\"]",
         "[\"\\ud800\",\"\\u0000x\",\"\xC3\xA9/\",\"\xF0\x9F\x98\x80\"]", NULL},
        {"{\"a\":1,\"a\":2,\"\\u0061b\":[ ]}", "{\"a\":2,\"ab\":[]}", NULL},
        {"{\n  \"a\": [\r\n    1\n  ]\n}", "{\"a\":[1]}", "{  \"a\": [    1  ]}"},
        {"\"\\u0041\"", "\"A\"", NULL},
        {"null", NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tsk_buf text = TSK_BUF_INIT, want = TSK_BUF_INIT;
        struct json_object *json = NULL;
        size_t len;
        tsk_buf_printf(&text, "{\"x\":%s, \"output\":%s}", cases[i].text, cases[i].text);
        tsk_buf_printf(&want, "{\"x\":%s,\"output\":%s}",
                       cases[i].plain ? cases[i].plain : cases[i].text,
                       cases[i].payload ? cases[i].payload : cases[i].text);
        CHECK(tsk_json_parse(parser, text.data, text.len, &json, NULL) == 0);
        CHECK_STR(tsk_json_text(json, &len), want.data);
        struct json_object *copy = NULL; /* as the steps of a template are copied */
        CHECK(json_object_deep_copy(json, &copy, NULL) == 0);
        CHECK_STR(tsk_json_text(copy, &len), want.data);
        json_object_put(copy);
        json_object_put(json);
        tsk_buf_fini(&text);
        tsk_buf_fini(&want);
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
        return json_object_is_type(json, json_type_int);
    case TSK_SCAN_NUMBER:
        return json_object_is_type(json, json_type_double);
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
    struct tsk_scan_value v[COUNT(keys)];
    if (!CHECK(tsk_scan_object(text, sizeof text - 1, keys, COUNT(keys), v)))
        return;
    CHECK(v[0].kind == TSK_SCAN_INT && v[0].len == 3 && !memcmp(v[0].text, "-12", 3));
    CHECK(v[1].kind == TSK_SCAN_INT && v[1].len == 1 && *v[1].text == '1');
    CHECK(v[2].kind == TSK_SCAN_TEXT && v[2].len == 3 && !memcmp(v[2].text, "x y", 3));
    CHECK(v[3].kind == TSK_SCAN_OBJECT && v[3].len == 8 && !memcmp(v[3].text, "{\"a\":[]}", 8));
    CHECK(v[4].kind == TSK_SCAN_ESCAPED && v[4].len == 2 && !memcmp(v[4].text, "\\n", 2));
    CHECK(v[5].kind == TSK_SCAN_ARRAY && v[5].len == 14);
    CHECK(v[6].kind == TSK_SCAN_NONE && v[7].kind == TSK_SCAN_NONE);
    CHECK(v[8].kind == TSK_SCAN_NUMBER);
    CHECK(!tsk_scan_object("{\"a\":1,\"a\":null}", 16, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("{\"a\":null,\"a\":1}", 16, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("{\"\\u0061\":1}", 12, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("[]", 2, keys, COUNT(keys), v));
    CHECK(!tsk_scan_object("{} {}", 5, keys, COUNT(keys), v));
    CHECK(tsk_scan_object("{\"z\":1,\"z\":2}", 13, keys, COUNT(keys), v));
}

/* --- At random. */

static void renew(void)
{
    if (lenient)
        json_tokener_free(lenient);
    lenient = json_tokener_new_ex(TSK_JSON_DEPTH);
    json_tokener_set_flags(lenient, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
}

/* As json-c alone parses it, with its own check of UTF-8. Returns whether it is JSON to it. A reset
 * is not enough: json-c 0.16 keeps half a surrogate pair of the text before. */
static bool json_c_takes(const char *text, size_t len, struct json_object **out)
{
    while (len && strchr(" \t\r\n", text[len - 1]) && text[len - 1])
        len--;
    renew();
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
        "control character", "NaN and Infinity", "name with a NUL",   "invalid UTF-8",
        "leading zero",      "number expected",  "ends in the middle"};
    for (size_t i = 0; i < COUNT(reasons); i++) {
        if (strstr(reason, reasons[i]))
            return true;
    }
    return false;
}

/* Whether a is what json-c makes of the same text, but for numbers, which it cuts to 64 bits. */
static bool same_tree(struct json_object *a, struct json_object *b)
{
    enum json_type type = json_object_get_type(a);
    if (type == json_type_int || type == json_type_double)
        return json_object_is_type(b, json_type_int) || json_object_is_type(b, json_type_double);
    if (type == json_type_array) {
        size_t count = json_object_array_length(a);
        bool same = json_object_is_type(b, type) && count == json_object_array_length(b);
        for (size_t i = 0; same && i < count; i++)
            same = same_tree(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i));
        return same;
    }
    if (type != json_type_object)
        return json_object_equal(a, b);
    bool same = json_object_is_type(b, type) &&
                json_object_object_length(a) == json_object_object_length(b);
    json_object_object_foreach(a, key, member)
    {
        same = same && same_tree(member, tsk_json_get(b, key));
    }
    return same;
}

/* Whether a text is written as it was read where it is a payload: without line breaks, and without
 * the white space around it. */
static bool kept(const char *text, size_t len)
{
    struct tsk_buf line = TSK_BUF_INIT, want = TSK_BUF_INIT;
    struct json_object *json = NULL;
    tsk_buf_str(&line, "{\"step_id\":1,\"output\":");
    tsk_buf_add(&line, text, len);
    tsk_buf_str(&line, "}");
    tsk_buf_str(&want, "{\"step_id\":1,\"output\":");
    for (; len && strchr(" \t\r\n", *text); text++)
        len--;
    for (; len && strchr(" \t\r\n", text[len - 1]);)
        len--;
    for (size_t i = 0; i < len; i++) {
        if (!strchr("\r\n", text[i]))
            tsk_buf_char(&want, text[i]);
    }
    tsk_buf_str(&want, "}");
    bool ok = tsk_json_parse(parser, line.data, line.len, &json, NULL) < 0 || /* one level more */
              strcmp(tsk_json_text(json, &len), want.data) == 0;
    json_object_put(json);
    tsk_buf_fini(&line);
    tsk_buf_fini(&want);
    return ok;
}

/* Whether what was written is read as the same again, and its numbers are as they were. */
static bool written(const char *text, size_t len, struct json_object *json)
{
    struct json_object *again = NULL;
    size_t size;
    char *first = tsk_strdup(json ? tsk_json_text(json, &size) : "null");
    bool ok = tsk_json_parse(parser, first, strlen(first), &again, NULL) == 0 &&
              same_tree(json, again) &&
              strcmp(first, again ? tsk_json_text(again, &size) : "null") == 0;
    if (json_object_is_type(json, json_type_int) || json_object_is_type(json, json_type_double))
        ok &= !strncmp(text + strspn(text, " \t\r\n"), first, strlen(first)) && len > 0;
    json_object_put(again);
    free(first);
    return ok;
}

static bool agree(const char *text, size_t len, long *json_texts)
{
    struct tsk_err err = TSK_ERR_INIT, other = TSK_ERR_INIT;
    struct json_object *json, *ours;
    bool taken = tsk_scan_check(text, len, &err) == 0, by_json_c = json_c_takes(text, len, &json);
    bool ok = taken ? by_json_c : !by_json_c || too_lenient(err.text);
    ok &= taken == (tsk_json_parse(parser, text, len, &ours, &other) == 0);
    ok &= taken ? members_agree(text, len, ours) : strcmp(err.text, other.text) == 0;
    ok = ok && (!taken || (same_tree(ours, json) && written(text, len, ours) && kept(text, len)));
    *json_texts += taken;
    json_object_put(json);
    json_object_put(ours);
    return ok;
}

int main(void)
{
    parser = tsk_json_new();
    renew();
    test_texts();
    test_places();
    test_depth();
    test_written();
    test_members();
    test_random(agree);
    json_tokener_free(lenient);
    tsk_json_free(parser);
    return check_done();
}
