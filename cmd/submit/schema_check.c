/* A schema held against what a schema may be: one table of keywords, and for each the check of its
 * value. A schema that passes can be used without a further look at its shape. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "submit/schema_private.h"

enum { DEPTH_MOST = TSK_JSON_DEPTH, WHAT_SIZE = 320 };

struct check {
    struct json_object *root;
    tsk_schema_fn *tell;
    void *ctx;
    size_t count;
};

void tsk_place_write(const struct tsk_place *place, struct tsk_buf *buf)
{
    if (!place) {
        tsk_buf_reset(buf);
        tsk_buf_str(buf, "");
        return;
    }
    tsk_place_write(place->up, buf);
    tsk_buf_char(buf, '/');
    if (!place->key) {
        tsk_buf_printf(buf, "%zu", place->index);
        return;
    }
    for (const char *c = place->key; *c; c++) {
        if (*c == '~' || *c == '/')
            tsk_buf_str(buf, *c == '~' ? "~0" : "~1");
        else
            tsk_buf_char(buf, *c);
    }
}

struct json_object *tsk_schema_get(struct json_object *schema, const char *key, bool *is_null)
{
    struct json_object *value = NULL;
    bool there = json_object_object_get_ex(schema, key, &value);
    if (is_null)
        *is_null = there && !value;
    return value;
}

static void wrong(struct check *check, const struct tsk_place *place, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void wrong(struct check *check, const struct tsk_place *place, const char *fmt, ...)
{
    struct tsk_buf where = TSK_BUF_INIT;
    char what[WHAT_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    tsk_place_write(place, &where);
    check->count++;
    check->tell(check->ctx, where.data, what);
    tsk_buf_fini(&where);
}

typedef void check_fn(struct check *check, const struct tsk_place *place,
                      struct json_object *value);

static void check_schema(struct check *check, const struct tsk_place *place,
                         struct json_object *schema);

static void check_nothing(struct check *check, const struct tsk_place *place,
                          struct json_object *value)
{
    (void)check;
    (void)place;
    (void)value;
}

static bool check_is(struct check *check, const struct tsk_place *place, struct json_object *value,
                     enum json_type type, const char *what)
{
    if (json_object_is_type(value, type))
        return true;
    wrong(check, place, "has to be %s, not %s", what, tsk_schema_kind(value));
    return false;
}

static void check_type_name(struct check *check, const struct tsk_place *place,
                            struct json_object *value)
{
    if (check_is(check, place, value, json_type_string, "the name of a type") &&
        !tsk_schema_type_known(json_object_get_string(value)))
        wrong(check, place,
              "\"%s\" is no type: there are null, boolean, integer, number, string, array and "
              "object",
              json_object_get_string(value));
}

/* Calls fn for each entry of a list. */
static void each_entry(struct check *check, const struct tsk_place *place, struct json_object *list,
                       check_fn *fn)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct tsk_place entry = {place, NULL, i};
        fn(check, &entry, json_object_array_get_idx(list, i));
    }
}

static void check_type(struct check *check, const struct tsk_place *place,
                       struct json_object *value)
{
    if (!json_object_is_type(value, json_type_array))
        check_type_name(check, place, value);
    else if (json_object_array_length(value))
        each_entry(check, place, value, check_type_name);
    else
        wrong(check, place, "has to name at least one type");
}

static void check_list(struct check *check, const struct tsk_place *place,
                       struct json_object *value)
{
    if (check_is(check, place, value, json_type_array, "a list") &&
        !json_object_array_length(value))
        wrong(check, place, "has to have at least one entry");
}

static void check_names(struct check *check, const struct tsk_place *place,
                        struct json_object *value)
{
    if (!check_is(check, place, value, json_type_array, "a list of names"))
        return;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        struct tsk_place entry = {place, NULL, i};
        check_is(check, &entry, json_object_array_get_idx(value, i), json_type_string, "a text");
    }
}

static void check_count(struct check *check, const struct tsk_place *place,
                        struct json_object *value)
{
    if (!tsk_schema_is(value, "integer") || json_object_get_double(value) < 0)
        wrong(check, place, "has to be a whole number from 0");
}

static void check_number(struct check *check, const struct tsk_place *place,
                         struct json_object *value)
{
    if (!tsk_schema_is(value, "number"))
        wrong(check, place, "has to be a number, not %s", tsk_schema_kind(value));
}

static void check_exclusive(struct check *check, const struct tsk_place *place,
                            struct json_object *value)
{
    if (!json_object_is_type(value, json_type_boolean))
        check_number(check, place, value);
}

static void check_step(struct check *check, const struct tsk_place *place,
                       struct json_object *value)
{
    if (!tsk_schema_is(value, "number") || !(json_object_get_double(value) > 0))
        wrong(check, place, "has to be a number above 0");
}

static void check_bool(struct check *check, const struct tsk_place *place,
                       struct json_object *value)
{
    check_is(check, place, value, json_type_boolean, "true or false");
}

static void check_pattern(struct check *check, const struct tsk_place *place,
                          struct json_object *value)
{
    char why[160];
    if (check_is(check, place, value, json_type_string, "a regular expression") &&
        !tsk_schema_pattern_valid(json_object_get_string(value), why, sizeof why))
        wrong(check, place, "is no regular expression: %s", why);
}

static void check_format(struct check *check, const struct tsk_place *place,
                         struct json_object *value)
{
    if (check_is(check, place, value, json_type_string, "the name of a format") &&
        !tsk_schema_format_known(json_object_get_string(value)))
        wrong(check, place, "the format \"%s\" is not supported", json_object_get_string(value));
}

static void check_schemas(struct check *check, const struct tsk_place *place,
                          struct json_object *value)
{
    check_list(check, place, value);
    if (json_object_is_type(value, json_type_array))
        each_entry(check, place, value, check_schema);
}

static void check_members(struct check *check, const struct tsk_place *place,
                          struct json_object *value)
{
    if (!check_is(check, place, value, json_type_object, "an object of schemas"))
        return;
    json_object_object_foreach(value, key, schema)
    {
        struct tsk_place member = {place, key, 0};
        check_schema(check, &member, schema);
    }
}

static void check_items(struct check *check, const struct tsk_place *place,
                        struct json_object *value)
{
    if (json_object_is_type(value, json_type_array))
        wrong(check, place, "a list of schemas, one an entry, is not supported");
    else
        check_schema(check, place, value);
}

static struct json_object *follow(struct json_object *root, const char *ref)
{
    struct json_object *found = NULL;
    return json_pointer_get(root, ref, &found) == 0 ? found : NULL;
}

struct json_object *tsk_schema_find(struct json_object *root, const char *ref)
{
    if (strcmp(ref, "#") == 0)
        return root;
    return ref[0] == '#' && ref[1] == '/' ? follow(root, ref + 1) : NULL;
}

static bool is_schema(struct json_object *value)
{
    return json_object_is_type(value, json_type_object) ||
           json_object_is_type(value, json_type_boolean);
}

/* Follows references that lead to references: one that comes back to itself checks nothing and
 * never ends. */
static bool leads_nowhere(struct json_object *root, const char *ref)
{
    for (int hops = 0; ref && hops < DEPTH_MOST; hops++)
        ref = tsk_json_str(tsk_schema_find(root, ref), "$ref");
    return ref != NULL;
}

static void check_ref(struct check *check, const struct tsk_place *place, struct json_object *value)
{
    if (!check_is(check, place, value, json_type_string, "a text"))
        return;
    const char *ref = json_object_get_string(value);
    if (ref[0] != '#')
        wrong(check, place, "\"%s\": references out of the schema are not supported", ref);
    else if (!is_schema(tsk_schema_find(check->root, ref)))
        wrong(check, place, "\"%s\" names no schema", ref);
    else if (leads_nowhere(check->root, ref))
        wrong(check, place, "\"%s\" leads in a circle", ref);
}

static const struct {
    const char *name;
    check_fn *check;
} keywords[] = {
    {"type", check_type},
    {"enum", check_list},
    {"const", check_nothing},
    {"properties", check_members},
    {"required", check_names},
    {"additionalProperties", check_schema},
    {"items", check_items},
    {"minItems", check_count},
    {"maxItems", check_count},
    {"uniqueItems", check_bool},
    {"minLength", check_count},
    {"maxLength", check_count},
    {"pattern", check_pattern},
    {"format", check_format},
    {"minimum", check_number},
    {"maximum", check_number},
    {"exclusiveMinimum", check_exclusive},
    {"exclusiveMaximum", check_exclusive},
    {"multipleOf", check_step},
    {"allOf", check_schemas},
    {"anyOf", check_schemas},
    {"oneOf", check_schemas},
    {"not", check_schema},
    {"$ref", check_ref},
    {"definitions", check_members},
    {"$defs", check_members},
    {"title", check_nothing},
    {"description", check_nothing},
    {"default", check_nothing},
    {"examples", check_nothing},
    {"$schema", check_nothing},
    {"$id", check_nothing},
    {"$comment", check_nothing},
    {"deprecated", check_nothing},
    {"readOnly", check_nothing},
    {"writeOnly", check_nothing},
};

enum { KEYWORDS = sizeof keywords / sizeof *keywords };

static void check_keyword(struct check *check, const struct tsk_place *place, const char *key,
                          struct json_object *value)
{
    for (size_t i = 0; i < KEYWORDS; i++) {
        if (strcmp(keywords[i].name, key) == 0) {
            keywords[i].check(check, place, value);
            return;
        }
    }
    wrong(check, place, "\"%s\" is not supported", key);
}

static void check_schema(struct check *check, const struct tsk_place *place,
                         struct json_object *schema)
{
    if (json_object_is_type(schema, json_type_boolean))
        return;
    if (!check_is(check, place, schema, json_type_object, "a schema (an object, true or false)"))
        return;
    json_object_object_foreach(schema, key, value)
    {
        struct tsk_place member = {place, key, 0};
        check_keyword(check, &member, key, value);
    }
}

size_t tsk_schema_check(struct json_object *schema, tsk_schema_fn *tell, void *ctx)
{
    struct check check = {schema, tell, ctx, 0};
    check_schema(&check, NULL, schema);
    return check.count;
}
