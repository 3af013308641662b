/* A value held against a schema that is known to be one (schema_check.c): each group of keywords is
 * a function, and each tells all that it finds. What the parts of anyOf, oneOf and not find is only
 * counted: that none of five alternatives fits is one mistake, not five. */
#include "submit/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "submit/schema_private.h"

enum {
    TOLD_MOST = 100,
    REFS_MOST = 64,
    WHAT_SIZE = 320,
    SHOWN = 80,
    UNIQUE_MOST = 10000,
    WORK_MOST = 10000000,
    REF_WORK = 20 /* without references the work is bounded by the size of the schema */
};

struct walk {
    struct json_object *root;
    tsk_schema_fn *tell; /* NULL: only counted */
    void *ctx;
    size_t count;
    int refs;      /* followed at this very place */
    int64_t *work; /* left of WORK_MOST: a look at a value costs 1, and nesting may be endless */
};

static void wrong(struct walk *walk, const struct tsk_place *place, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void wrong(struct walk *walk, const struct tsk_place *place, const char *fmt, ...)
{
    struct tsk_buf where = TSK_BUF_INIT;
    char what[WHAT_SIZE];
    va_list args;
    if (++walk->count > TOLD_MOST || !walk->tell)
        return;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    tsk_place_write(place, &where);
    walk->tell(walk->ctx, where.data, what);
    tsk_buf_fini(&where);
}

/* A value as JSON for a message, cut. Good until the value's text is made again. */
static const char *show(struct json_object *value, char out[SHOWN])
{
    snprintf(out, SHOWN, "%s", value ? json_object_to_json_string(value) : "null");
    if (strlen(out) == SHOWN - 1)
        memcpy(out + SHOWN - 4, "...", 4);
    return out;
}

static void match(struct walk *walk, const struct tsk_place *place, struct json_object *schema,
                  struct json_object *value);

/* How many mistakes value has by schema, telling none. */
static size_t count_wrong(const struct walk *walk, struct json_object *schema,
                          struct json_object *value)
{
    struct walk quiet = {walk->root, NULL, NULL, 0, walk->refs, walk->work};
    match(&quiet, NULL, schema, value);
    return quiet.count;
}

static void match_type(struct walk *walk, const struct tsk_place *place, struct json_object *schema,
                       struct json_object *value)
{
    struct json_object *type = tsk_schema_get(schema, "type", NULL);
    struct tsk_buf names = TSK_BUF_INIT;
    bool fits = !type;
    if (json_object_is_type(type, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(type); i++) {
            const char *name = json_object_get_string(json_object_array_get_idx(type, i));
            fits |= tsk_schema_is(value, name);
            tsk_buf_printf(&names, "%s%s", i ? " or " : "", name);
        }
    } else if (type) {
        fits = tsk_schema_is(value, json_object_get_string(type));
        tsk_buf_str(&names, json_object_get_string(type));
    }
    if (!fits)
        wrong(walk, place, "has to be of type %s, and is %s", names.data, tsk_schema_kind(value));
    tsk_buf_fini(&names);
}

static void match_enum(struct walk *walk, const struct tsk_place *place, struct json_object *schema,
                       struct json_object *value)
{
    struct json_object *list = tsk_schema_get(schema, "enum", NULL);
    bool null_const;
    struct json_object *only = tsk_schema_get(schema, "const", &null_const);
    char shown[SHOWN], wanted[SHOWN];
    bool fits = !list;
    for (size_t i = 0; list && i < json_object_array_length(list) && !fits; i++)
        fits = tsk_schema_equal(json_object_array_get_idx(list, i), value);
    if (!fits)
        wrong(walk, place, "%s is none of %s", show(value, shown), show(list, wanted));
    if ((only || null_const) && !tsk_schema_equal(only, value))
        wrong(walk, place, "%s is not %s", show(value, shown), show(only, wanted));
}

/* A limit that may be a number of its own, or true beside the inclusive one (draft 4). sign: 1 for
 * a least, -1 for a greatest. */
static void match_limit(struct walk *walk, const struct tsk_place *place,
                        struct json_object *schema, struct json_object *value, int sign,
                        const char *inclusive, const char *exclusive)
{
    struct json_object *with = tsk_schema_get(schema, inclusive, NULL);
    struct json_object *without = tsk_schema_get(schema, exclusive, NULL);
    char shown[SHOWN], wanted[SHOWN];
    if (json_object_is_type(without, json_type_boolean)) {
        bool strict = json_object_get_boolean(without);
        without = strict ? with : NULL;
        with = strict ? NULL : with;
    }
    if (with && tsk_schema_compare(value, with) * sign < 0)
        wrong(walk, place, "%s is %s %s", show(value, shown), sign > 0 ? "less than" : "more than",
              show(with, wanted));
    if (without && tsk_schema_compare(value, without) * sign <= 0)
        wrong(walk, place, "%s is not %s %s", show(value, shown),
              sign > 0 ? "more than" : "less than", show(without, wanted));
}

static void match_number(struct walk *walk, const struct tsk_place *place,
                         struct json_object *schema, struct json_object *value)
{
    struct json_object *step = tsk_schema_get(schema, "multipleOf", NULL);
    char shown[SHOWN], wanted[SHOWN];
    match_limit(walk, place, schema, value, 1, "minimum", "exclusiveMinimum");
    match_limit(walk, place, schema, value, -1, "maximum", "exclusiveMaximum");
    if (step && !tsk_schema_multiple(value, step))
        wrong(walk, place, "%s is no multiple of %s", show(value, shown), show(step, wanted));
}

/* Holds a length against two keywords. what is what is counted. */
static void match_count(struct walk *walk, const struct tsk_place *place,
                        struct json_object *schema, int64_t count, const char *least,
                        const char *most, const char *what)
{
    struct json_object *low = tsk_schema_get(schema, least, NULL);
    struct json_object *high = tsk_schema_get(schema, most, NULL);
    char wanted[SHOWN];
    if (low && (double)count < json_object_get_double(low))
        wrong(walk, place, "has %lld %s, fewer than %s", (long long)count, what, show(low, wanted));
    if (high && (double)count > json_object_get_double(high))
        wrong(walk, place, "has %lld %s, more than %s", (long long)count, what, show(high, wanted));
}

static void match_text(struct walk *walk, const struct tsk_place *place, struct json_object *schema,
                       struct json_object *value)
{
    const char *pattern = tsk_json_str(schema, "pattern"), *format = tsk_json_str(schema, "format");
    const char *text = json_object_get_string(value);
    size_t len = (size_t)json_object_get_string_len(value);
    char shown[SHOWN];
    match_count(walk, place, schema, tsk_schema_length(value), "minLength", "maxLength",
                "characters");
    int found = pattern ? tsk_schema_matches(pattern, text, len) : 1;
    if (found == 0)
        wrong(walk, place, "%s does not match %s", show(value, shown), pattern);
    else if (found < 0)
        wrong(walk, place, "it takes too long to match this text with %s", pattern);
    if (format && !tsk_schema_format_fits(format, text, len))
        wrong(walk, place, "%s is no %s", show(value, shown), format);
}

static void match_unique(struct walk *walk, const struct tsk_place *place, struct json_object *list)
{
    size_t count = json_object_array_length(list);
    if (count > UNIQUE_MOST) {
        wrong(walk, place, "has too many entries to see whether all differ (%zu)", count);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!tsk_schema_equal(json_object_array_get_idx(list, i),
                                  json_object_array_get_idx(list, j)))
                continue;
            wrong(walk, place, "entries %zu and %zu are the same", j, i);
            return;
        }
    }
}

static void match_list(struct walk *walk, const struct tsk_place *place, struct json_object *schema,
                       struct json_object *value)
{
    struct json_object *items = tsk_schema_get(schema, "items", NULL);
    size_t count = json_object_array_length(value);
    match_count(walk, place, schema, (int64_t)count, "minItems", "maxItems", "entries");
    if (json_object_get_boolean(tsk_schema_get(schema, "uniqueItems", NULL)))
        match_unique(walk, place, value);
    for (size_t i = 0; items && i < count; i++) {
        struct tsk_place entry = {place, NULL, i};
        match(walk, &entry, items, json_object_array_get_idx(value, i));
    }
}

static void match_required(struct walk *walk, const struct tsk_place *place,
                           struct json_object *schema, struct json_object *value)
{
    struct json_object *names = tsk_schema_get(schema, "required", NULL);
    for (size_t i = 0; names && i < json_object_array_length(names); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        if (!json_object_object_get_ex(value, name, NULL))
            wrong(walk, place, "\"%s\" is missing", name);
    }
}

static void match_object(struct walk *walk, const struct tsk_place *place,
                         struct json_object *schema, struct json_object *value)
{
    struct json_object *known = tsk_schema_get(schema, "properties", NULL), *own;
    struct json_object *others = tsk_schema_get(schema, "additionalProperties", NULL);
    bool closed =
        json_object_is_type(others, json_type_boolean) && !json_object_get_boolean(others);
    match_required(walk, place, schema, value);
    json_object_object_foreach(value, key, member)
    {
        struct tsk_place at = {place, key, 0};
        if (json_object_object_get_ex(known, key, &own))
            match(walk, &at, own, member);
        else if (closed)
            wrong(walk, &at, "is not known here");
        else if (others)
            match(walk, &at, others, member);
    }
}

static void match_alternatives(struct walk *walk, const struct tsk_place *place,
                               struct json_object *schema, struct json_object *value)
{
    struct json_object *any = tsk_schema_get(schema, "anyOf", NULL);
    struct json_object *one = tsk_schema_get(schema, "oneOf", NULL);
    struct json_object *none = tsk_schema_get(schema, "not", NULL);
    size_t fit_any = 0, fit_one = 0;
    for (size_t i = 0; any && i < json_object_array_length(any); i++)
        fit_any += !count_wrong(walk, json_object_array_get_idx(any, i), value);
    for (size_t i = 0; one && i < json_object_array_length(one); i++)
        fit_one += !count_wrong(walk, json_object_array_get_idx(one, i), value);
    if (any && !fit_any)
        wrong(walk, place, "fits none of the alternatives in anyOf");
    if (one && fit_one != 1)
        wrong(walk, place, "has to fit exactly one of the alternatives in oneOf, and fits %zu",
              fit_one);
    if (none && !count_wrong(walk, none, value))
        wrong(walk, place, "fits what it must not be (not)");
}

/* The other schemas that hold at the same place. */
static void match_same_place(struct walk *walk, const struct tsk_place *place,
                             struct json_object *schema, struct json_object *value)
{
    struct json_object *all = tsk_schema_get(schema, "allOf", NULL);
    const char *ref = tsk_json_str(schema, "$ref");
    int refs = walk->refs++;
    if (walk->refs > REFS_MOST) {
        wrong(walk, place, "the schema leads in a circle");
    } else {
        if (ref) {
            *walk->work -= *walk->work < REF_WORK ? *walk->work : REF_WORK;
            match(walk, place, tsk_schema_find(walk->root, ref), value);
        }
        for (size_t i = 0; all && i < json_object_array_length(all); i++)
            match(walk, place, json_object_array_get_idx(all, i), value);
        match_alternatives(walk, place, schema, value);
    }
    walk->refs = refs;
}

/* By what the value is. Below it is another place: what was followed to here does not count. */
static void match_contents(struct walk *walk, const struct tsk_place *place,
                           struct json_object *schema, struct json_object *value)
{
    int refs = walk->refs;
    walk->refs = 0;
    if (tsk_schema_is(value, "number"))
        match_number(walk, place, schema, value);
    else if (json_object_is_type(value, json_type_string))
        match_text(walk, place, schema, value);
    else if (json_object_is_type(value, json_type_array))
        match_list(walk, place, schema, value);
    else if (json_object_is_type(value, json_type_object))
        match_object(walk, place, schema, value);
    walk->refs = refs;
}

static void match(struct walk *walk, const struct tsk_place *place, struct json_object *schema,
                  struct json_object *value)
{
    if (--*walk->work < 0) {
        if (*walk->work == -1 || !walk->tell)
            wrong(walk, place, "it takes too long to hold this against the schema");
        return;
    }
    if (json_object_is_type(schema, json_type_boolean)) {
        if (!json_object_get_boolean(schema))
            wrong(walk, place, "may not be here");
        return;
    }
    match_type(walk, place, schema, value);
    match_enum(walk, place, schema, value);
    match_contents(walk, place, schema, value);
    match_same_place(walk, place, schema, value);
}

size_t tsk_schema_validate(struct json_object *schema, struct json_object *value,
                           tsk_schema_fn *tell, void *ctx)
{
    int64_t work = WORK_MOST;
    struct walk walk = {schema, tell, ctx, 0, 0, &work};
    match(&walk, NULL, schema, value);
    if (work < 0 && !walk.count)
        wrong(&walk, NULL, "it takes too long to hold this against the schema");
    return walk.count;
}
