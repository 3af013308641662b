/* JSON Schema in one table: each keyword has a check of what a schema gives for it, and a function
 * that holds a value against that. Schemas and values are walked in the same way. What the parts of
 * anyOf, oneOf and not find is only counted: that none of five alternatives fits is one mistake.
 *
 * Patterns are those of PCRE2, since JSON Schema means the syntax of JavaScript (\d, (?:…)), which
 * POSIX does not have. A pattern comes from a template, the text from any client: so the work of a
 * match is limited. */
#include "submit/schema.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tasker/buf.h"
#include "tasker/clock.h"

enum {
    TOLD_MOST = 100,
    REFS_MOST = 64,
    WHAT_SIZE = 320,
    SHOWN = 80,
    UNIQUE_MOST = 10000,
    WORK_MOST = 10000000,
    REF_WORK = 20, /* without references the work is bounded by the size of the schema */
    MATCH_LIMIT = 1000000,
    HOST_MOST = 253,
    LABEL_MOST = 63
};

/* A location in a document: the path to it, on the stack of the walk. */
struct at {
    const struct at *up; /* NULL: the whole */
    const char *key;     /* a member, or NULL */
    size_t index;        /* else an entry */
};

struct walk {
    struct json_object *root; /* the whole schema */
    tsk_schema_fn *tell;      /* NULL: only counted */
    void *ctx;
    size_t count;
    int64_t *work; /* left of WORK_MOST for a value; NULL: the schema itself is checked */
    int refs;      /* followed at this location */
};

/* Adds at as a JSON pointer. */
static void add_pointer(struct tsk_buf *out, const struct at *at)
{
    if (!at)
        return;
    add_pointer(out, at->up);
    tsk_buf_char(out, '/');
    if (!at->key)
        tsk_buf_printf(out, "%zu", at->index);
    for (const char *c = at->key; c && *c; c++) {
        if (*c == '~' || *c == '/')
            tsk_buf_str(out, *c == '~' ? "~0" : "~1");
        else
            tsk_buf_char(out, *c);
    }
}

static void wrong(struct walk *walk, const struct at *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void wrong(struct walk *walk, const struct at *at, const char *fmt, ...)
{
    struct tsk_buf where = TSK_BUF_INIT;
    char what[WHAT_SIZE];
    va_list args;
    if ((++walk->count > TOLD_MOST && walk->work) || !walk->tell)
        return;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    tsk_buf_str(&where, "");
    add_pointer(&where, at);
    walk->tell(walk->ctx, where.data, what);
    tsk_buf_fini(&where);
}

/* ---- values */

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

static const char *kind_of(struct json_object *value)
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

static bool is_type(const char *type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, type) == 0)
            return true;
    }
    return false;
}

/* Whether value is of the type that a schema names. 3.0 is an integer too. */
static bool is_of_type(struct json_object *value, const char *type)
{
    if (strcmp(type, "number") == 0)
        return is_number(value);
    if (strcmp(type, "integer") == 0)
        return is_whole(value);
    size_t i = 0;
    while (strcmp(types[i].name, type) != 0)
        i++;
    return json_object_is_type(value, types[i].type);
}

/* Returns the text of a number that is written as an integer, of any size; else NULL. */
static const char *integer_text(struct json_object *number)
{
    size_t len;
    const char *text = tsk_json_text(number, &len);
    return strspn(text + (*text == '-'), "0123456789") + (*text == '-') == len ? text : NULL;
}

static int compare(struct json_object *a, struct json_object *b)
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
        return compare(a, b) == 0;
    if (json_object_get_type(a) != json_object_get_type(b))
        return false;
    if (json_object_is_type(a, json_type_array))
        return equal_lists(a, b);
    if (json_object_is_type(a, json_type_object))
        return equal_objects(a, b);
    return json_object_equal(a, b);
}

static int64_t length_of(struct json_object *text)
{
    const char *data = json_object_get_string(text);
    int64_t count = 0;
    for (int i = 0; i < json_object_get_string_len(text); i++)
        count += (data[i] & 0xC0) != 0x80; /* what goes on within a character is not counted */
    return count;
}

static bool is_multiple(struct json_object *number, struct json_object *step)
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

/* ---- patterns and formats */

static pcre2_code *compile(const char *pattern, int *code, PCRE2_SIZE *at)
{
    return pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX, code, at, NULL);
}

static bool is_pattern(const char *pattern, char *why, size_t size)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR text[128];
    pcre2_code *compiled = compile(pattern, &code, &at);
    if (compiled) {
        pcre2_code_free(compiled);
        return true;
    }
    pcre2_get_error_message(code, text, sizeof text);
    snprintf(why, size, "%s, at character %zu", (const char *)text, at + 1);
    return false;
}

static int pattern_matches(const char *pattern, const char *text, size_t len)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled = compile(pattern, &code, &at);
    if (!compiled)
        return -1;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(context, MATCH_LIMIT);
    int rc = pcre2_match(compiled, (PCRE2_SPTR)text, len, 0, 0, data, context);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    pcre2_code_free(compiled);
    return rc >= 0 ? 1 : rc == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

static bool is_date(const char *text)
{
    int64_t days;
    const char *end = tsk_date_read(text, &days);
    return end && !*end;
}

static bool is_time(const char *text)
{
    int64_t ms;
    const char *end = tsk_daytime_read(text, &ms);
    return end && !*end;
}

static bool is_date_time(const char *text)
{
    int64_t ms;
    return tsk_time_parse(text, &ms) == 0;
}

/* Labels of letters, digits and inner hyphens, between dots. */
static bool is_hostname(const char *text)
{
    size_t len = strlen(text);
    if (!len || len > HOST_MOST)
        return false;
    for (const char *label = text; label; label = strchr(label, '.')) {
        label += *label == '.' && label != text;
        size_t size = strcspn(label, ".");
        if (!size || size > LABEL_MOST || label[0] == '-' || label[size - 1] == '-')
            return false;
        for (size_t i = 0; i < size; i++) {
            if (!isalnum((unsigned char)label[i]) && label[i] != '-')
                return false;
        }
    }
    return true;
}

static bool is_email(const char *text)
{
    const char *at = strrchr(text, '@');
    if (!at || at == text || at - text > 64 || strpbrk(text, " \t\r\n"))
        return false;
    return at[1] == '[' ? at[strlen(at) - 1] == ']' : is_hostname(at + 1);
}

static bool is_ipv4(const char *text)
{
    struct in_addr address;
    return inet_pton(AF_INET, text, &address) == 1;
}

static bool is_ipv6(const char *text)
{
    struct in6_addr address;
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* SCHEME:REST, of the characters that may stand in one. */
static bool is_uri(const char *text)
{
    const char *colon = strchr(text, ':');
    if (!isalpha((unsigned char)*text) || !colon || !colon[1])
        return false;
    for (const char *c = text; c < colon; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("+-.", *c))
            return false;
    }
    for (const char *c = colon + 1; *c; c++) {
        if (!isgraph((unsigned char)*c) || strchr("<>\"{}|\\^`", *c))
            return false;
        if (*c == '%' && !(isxdigit((unsigned char)c[1]) && isxdigit((unsigned char)c[2])))
            return false;
    }
    return true;
}

static bool is_uuid(const char *text)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return !text[36];
}

static bool is_regex(const char *text)
{
    char why[160];
    return is_pattern(text, why, sizeof why);
}

static const struct {
    const char *name;
    bool (*fits)(const char *text);
} formats[] = {
    {"date-time", is_date_time}, {"date", is_date},   {"time", is_time}, {"email", is_email},
    {"hostname", is_hostname},   {"ipv4", is_ipv4},   {"ipv6", is_ipv6}, {"uri", is_uri},
    {"uuid", is_uuid},           {"regex", is_regex},
};

enum { FORMATS = sizeof formats / sizeof *formats };

/* Returns the index of a format, or FORMATS. */
static size_t find_format(const char *format)
{
    size_t i = 0;
    while (i < FORMATS && strcmp(formats[i].name, format) != 0)
        i++;
    return i;
}

/* ---- keywords in a schema */

typedef void check_fn(struct walk *walk, const struct at *at, struct json_object *value);

static check_fn check_schema;

static bool check_is(struct walk *walk, const struct at *at, struct json_object *value,
                     enum json_type type, const char *what)
{
    if (json_object_is_type(value, type))
        return true;
    wrong(walk, at, "has to be %s, not %s", what, kind_of(value));
    return false;
}

/* Calls fn for each entry of a list. */
static void each_entry(struct walk *walk, const struct at *at, struct json_object *list,
                       check_fn *fn)
{
    for (size_t i = 0; i < json_object_array_length(list); i++)
        fn(walk, &(struct at){at, NULL, i}, json_object_array_get_idx(list, i));
}

static void check_type_name(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (check_is(walk, at, value, json_type_string, "the name of a type") &&
        !is_type(json_object_get_string(value)))
        wrong(walk, at,
              "\"%s\" is no type: there are null, boolean, integer, number, string, array and "
              "object",
              json_object_get_string(value));
}

static void check_type(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_array))
        check_type_name(walk, at, value);
    else if (json_object_array_length(value))
        each_entry(walk, at, value, check_type_name);
    else
        wrong(walk, at, "has to name at least one type");
}

static void check_list(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (check_is(walk, at, value, json_type_array, "a list") && !json_object_array_length(value))
        wrong(walk, at, "has to have at least one entry");
}

static void check_text(struct walk *walk, const struct at *at, struct json_object *value)
{
    check_is(walk, at, value, json_type_string, "a text");
}

static void check_names(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (check_is(walk, at, value, json_type_array, "a list of names"))
        each_entry(walk, at, value, check_text);
}

static void check_count(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (!is_whole(value) || json_object_get_double(value) < 0)
        wrong(walk, at, "has to be a whole number from 0");
}

static void check_number(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (!is_number(value))
        wrong(walk, at, "has to be a number, not %s", kind_of(value));
}

static void check_exclusive(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_boolean))
        check_number(walk, at, value);
}

static void check_step(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (!is_number(value) || !(json_object_get_double(value) > 0))
        wrong(walk, at, "has to be a number above 0");
}

static void check_bool(struct walk *walk, const struct at *at, struct json_object *value)
{
    check_is(walk, at, value, json_type_boolean, "true or false");
}

static void check_pattern(struct walk *walk, const struct at *at, struct json_object *value)
{
    char why[160];
    if (check_is(walk, at, value, json_type_string, "a regular expression") &&
        !is_pattern(json_object_get_string(value), why, sizeof why))
        wrong(walk, at, "is no regular expression: %s", why);
}

static void check_format(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (check_is(walk, at, value, json_type_string, "the name of a format") &&
        find_format(json_object_get_string(value)) == FORMATS)
        wrong(walk, at, "the format \"%s\" is not supported", json_object_get_string(value));
}

static void check_schemas(struct walk *walk, const struct at *at, struct json_object *value)
{
    check_list(walk, at, value);
    if (json_object_is_type(value, json_type_array))
        each_entry(walk, at, value, check_schema);
}

static void check_members(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (!check_is(walk, at, value, json_type_object, "an object of schemas"))
        return;
    json_object_object_foreach(value, key, schema)
        check_schema(walk, &(struct at){at, key, 0}, schema);
}

static void check_items(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (json_object_is_type(value, json_type_array))
        wrong(walk, at, "a list of schemas, one an entry, is not supported");
    else
        check_schema(walk, at, value);
}

/* What a "$ref" of the whole schema root names, or NULL. */
static struct json_object *find_ref(struct json_object *root, const char *ref)
{
    struct json_object *found = NULL;
    if (strcmp(ref, "#") == 0)
        return root;
    return !strncmp(ref, "#/", 2) && json_pointer_get(root, ref + 1, &found) == 0 ? found : NULL;
}

/* Follows references that lead to references: one that comes back to itself checks nothing and
 * never ends. */
static bool leads_nowhere(struct json_object *root, const char *ref)
{
    for (int hops = 0; ref && hops < TSK_JSON_DEPTH; hops++)
        ref = tsk_json_str(find_ref(root, ref), "$ref");
    return ref != NULL;
}

static void check_ref(struct walk *walk, const struct at *at, struct json_object *value)
{
    if (!check_is(walk, at, value, json_type_string, "a text"))
        return;
    const char *ref = json_object_get_string(value);
    struct json_object *found = find_ref(walk->root, ref);
    if (ref[0] != '#')
        wrong(walk, at, "\"%s\": references out of the schema are not supported", ref);
    else if (!json_object_is_type(found, json_type_object) &&
             !json_object_is_type(found, json_type_boolean))
        wrong(walk, at, "\"%s\" names no schema", ref);
    else if (leads_nowhere(walk->root, ref))
        wrong(walk, at, "\"%s\" leads in a circle", ref);
}

/* ---- keywords held against a value */

/* One keyword of a schema, and the value. */
struct rule {
    struct walk *walk;
    const struct at *at; /* of the value */
    struct json_object *schema;
    const char *key;
    struct json_object *given; /* what schema has for the keyword; NULL: JSON null */
    struct json_object *value;
};

static void match(struct walk *walk, const struct at *at, struct json_object *schema,
                  struct json_object *value);

/* Matches a part of a value. References that were followed to the value count no more. */
static void match_child(const struct rule *rule, const char *key, size_t index,
                        struct json_object *schema, struct json_object *value)
{
    int refs = rule->walk->refs;
    rule->walk->refs = 0;
    match(rule->walk, &(struct at){rule->at, key, index}, schema, value);
    rule->walk->refs = refs;
}

/* Matches the value by another schema. */
static void match_also(const struct rule *rule, struct walk *walk, struct json_object *schema)
{
    if (++walk->refs > REFS_MOST)
        wrong(walk, rule->at, "the schema leads in a circle");
    else
        match(walk, rule->at, schema, rule->value);
    walk->refs--;
}

/* Whether the value fits schema; tells nothing. */
static bool fits(const struct rule *rule, struct json_object *schema)
{
    struct walk quiet = *rule->walk;
    quiet.tell = NULL;
    quiet.count = 0;
    match_also(rule, &quiet, schema);
    return quiet.count == 0;
}

static size_t count_fitting(const struct rule *rule)
{
    size_t count = 0;
    for (size_t i = 0; i < json_object_array_length(rule->given); i++)
        count += fits(rule, json_object_array_get_idx(rule->given, i));
    return count;
}

/* A value as JSON for a message, cut. Good until the value's text is made again. */
static const char *show(struct json_object *value, char out[SHOWN])
{
    snprintf(out, SHOWN, "%s", value ? json_object_to_json_string(value) : "null");
    if (strlen(out) == SHOWN - 1)
        memcpy(out + SHOWN - 4, "...", 4);
    return out;
}

/* Tells "VALUE WHAT GIVEN". */
static void wrong_value(const struct rule *rule, const char *what, struct json_object *given)
{
    char shown[SHOWN], wanted[SHOWN];
    wrong(rule->walk, rule->at, "%s %s %s", show(rule->value, shown), what, show(given, wanted));
}

static void match_type(const struct rule *rule)
{
    struct json_object *type = rule->given;
    struct tsk_buf names = TSK_BUF_INIT;
    bool list = json_object_is_type(type, json_type_array), fit = false;
    for (size_t i = 0; i < (list ? json_object_array_length(type) : 1); i++) {
        const char *name = json_object_get_string(list ? json_object_array_get_idx(type, i) : type);
        fit |= is_of_type(rule->value, name);
        tsk_buf_printf(&names, "%s%s", i ? " or " : "", name);
    }
    if (!fit)
        wrong(rule->walk, rule->at, "has to be of type %s, and is %s", names.data,
              kind_of(rule->value));
    tsk_buf_fini(&names);
}

static void match_enum(const struct rule *rule)
{
    for (size_t i = 0; i < json_object_array_length(rule->given); i++) {
        if (tsk_schema_equal(json_object_array_get_idx(rule->given, i), rule->value))
            return;
    }
    wrong_value(rule, "is none of", rule->given);
}

static void match_const(const struct rule *rule)
{
    if (!tsk_schema_equal(rule->given, rule->value))
        wrong_value(rule, "is not", rule->given);
}

/* minimum, maximum; in draft 4 exclusiveMinimum: true beside minimum makes it exclusive. */
static void match_limit(const struct rule *rule)
{
    bool least = strcmp(rule->key, "minimum") == 0;
    int order = compare(rule->value, rule->given) * (least ? 1 : -1);
    bool exclusive = false;
    tsk_json_bool(rule->schema, least ? "exclusiveMinimum" : "exclusiveMaximum", &exclusive);
    if (order < 0 && !exclusive)
        wrong_value(rule, least ? "is less than" : "is more than", rule->given);
    else if (order <= 0 && exclusive)
        wrong_value(rule, least ? "is not more than" : "is not less than", rule->given);
}

static void match_exclusive(const struct rule *rule)
{
    bool least = strcmp(rule->key, "exclusiveMinimum") == 0;
    if (is_number(rule->given) && compare(rule->value, rule->given) * (least ? 1 : -1) <= 0)
        wrong_value(rule, least ? "is not more than" : "is not less than", rule->given);
}

static void match_multiple(const struct rule *rule)
{
    if (!is_multiple(rule->value, rule->given))
        wrong_value(rule, "is no multiple of", rule->given);
}

/* minLength, maxLength, minItems, maxItems. */
static void match_count(const struct rule *rule)
{
    bool least = strncmp(rule->key, "min", 3) == 0;
    bool text = json_object_is_type(rule->value, json_type_string);
    int64_t count = text ? length_of(rule->value) : (int64_t)json_object_array_length(rule->value);
    double limit = json_object_get_double(rule->given);
    char wanted[SHOWN];
    if (least ? (double)count < limit : (double)count > limit)
        wrong(rule->walk, rule->at, "has %lld %s, %s than %s", (long long)count,
              text ? "characters" : "entries", least ? "fewer" : "more", show(rule->given, wanted));
}

static void match_pattern(const struct rule *rule)
{
    const char *pattern = json_object_get_string(rule->given);
    char shown[SHOWN];
    int found = pattern_matches(pattern, json_object_get_string(rule->value),
                                (size_t)json_object_get_string_len(rule->value));
    if (found == 0)
        wrong(rule->walk, rule->at, "%s does not match %s", show(rule->value, shown), pattern);
    else if (found < 0)
        wrong(rule->walk, rule->at, "it takes too long to match this text with %s", pattern);
}

static void match_format(const struct rule *rule)
{
    const char *format = json_object_get_string(rule->given);
    const char *text = json_object_get_string(rule->value);
    char shown[SHOWN];
    if (strlen(text) != (size_t)json_object_get_string_len(rule->value) ||
        !formats[find_format(format)].fits(text))
        wrong(rule->walk, rule->at, "%s is no %s", show(rule->value, shown), format);
}

static void match_unique(const struct rule *rule)
{
    size_t count = json_object_array_length(rule->value);
    if (!json_object_get_boolean(rule->given))
        return;
    if (count > UNIQUE_MOST) {
        wrong(rule->walk, rule->at, "has too many entries to see whether all differ (%zu)", count);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!tsk_schema_equal(json_object_array_get_idx(rule->value, i),
                                  json_object_array_get_idx(rule->value, j)))
                continue;
            wrong(rule->walk, rule->at, "entries %zu and %zu are the same", j, i);
            return;
        }
    }
}

static void match_items(const struct rule *rule)
{
    for (size_t i = 0; i < json_object_array_length(rule->value); i++)
        match_child(rule, NULL, i, rule->given, json_object_array_get_idx(rule->value, i));
}

static void match_required(const struct rule *rule)
{
    for (size_t i = 0; i < json_object_array_length(rule->given); i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(rule->given, i));
        if (!json_object_object_get_ex(rule->value, name, NULL))
            wrong(rule->walk, rule->at, "\"%s\" is missing", name);
    }
}

static void match_members(const struct rule *rule)
{
    struct json_object *own;
    json_object_object_foreach(rule->value, key, member)
    {
        if (json_object_object_get_ex(rule->given, key, &own))
            match_child(rule, key, 0, own, member);
    }
}

static void match_others(const struct rule *rule)
{
    struct json_object *known = tsk_json_get(rule->schema, "properties");
    bool closed = json_object_is_type(rule->given, json_type_boolean) &&
                  !json_object_get_boolean(rule->given);
    json_object_object_foreach(rule->value, key, member)
    {
        if (json_object_object_get_ex(known, key, NULL))
            continue;
        if (closed)
            wrong(rule->walk, &(struct at){rule->at, key, 0}, "is not known here");
        else
            match_child(rule, key, 0, rule->given, member);
    }
}

static void match_ref(const struct rule *rule)
{
    int64_t *work = rule->walk->work;
    *work -= *work < REF_WORK ? *work : REF_WORK;
    match_also(rule, rule->walk, find_ref(rule->walk->root, json_object_get_string(rule->given)));
}

static void match_all(const struct rule *rule)
{
    for (size_t i = 0; i < json_object_array_length(rule->given); i++)
        match_also(rule, rule->walk, json_object_array_get_idx(rule->given, i));
}

static void match_any(const struct rule *rule)
{
    if (!count_fitting(rule))
        wrong(rule->walk, rule->at, "fits none of the alternatives in anyOf");
}

static void match_one(const struct rule *rule)
{
    size_t count = count_fitting(rule);
    if (count != 1)
        wrong(rule->walk, rule->at,
              "has to fit exactly one of the alternatives in oneOf, and fits %zu", count);
}

static void match_not(const struct rule *rule)
{
    if (fits(rule, rule->given))
        wrong(rule->walk, rule->at, "fits what it must not be (not)");
}

/* ---- the table, in the order in which mistakes of a value are told */

enum about { ALL, NUMBERS, TEXTS, LISTS, OBJECTS };

static const struct {
    const char *name;
    check_fn *check; /* NULL: anything may be given */
    void (*match)(const struct rule *rule);
    enum about about; /* the values that it is matched with */
} keywords[] = {
    {"type", check_type, match_type, ALL},
    {"enum", check_list, match_enum, ALL},
    {"const", NULL, match_const, ALL},
    {"minimum", check_number, match_limit, NUMBERS},
    {"exclusiveMinimum", check_exclusive, match_exclusive, NUMBERS},
    {"maximum", check_number, match_limit, NUMBERS},
    {"exclusiveMaximum", check_exclusive, match_exclusive, NUMBERS},
    {"multipleOf", check_step, match_multiple, NUMBERS},
    {"minLength", check_count, match_count, TEXTS},
    {"maxLength", check_count, match_count, TEXTS},
    {"pattern", check_pattern, match_pattern, TEXTS},
    {"format", check_format, match_format, TEXTS},
    {"minItems", check_count, match_count, LISTS},
    {"maxItems", check_count, match_count, LISTS},
    {"uniqueItems", check_bool, match_unique, LISTS},
    {"items", check_items, match_items, LISTS},
    {"required", check_names, match_required, OBJECTS},
    {"properties", check_members, match_members, OBJECTS},
    {"additionalProperties", check_schema, match_others, OBJECTS},
    {"$ref", check_ref, match_ref, ALL},
    {"allOf", check_schemas, match_all, ALL},
    {"anyOf", check_schemas, match_any, ALL},
    {"oneOf", check_schemas, match_one, ALL},
    {"not", check_schema, match_not, ALL},
    {"definitions", check_members, NULL, ALL},
    {"$defs", check_members, NULL, ALL},
    {"title", NULL, NULL, ALL},
    {"description", NULL, NULL, ALL},
    {"default", NULL, NULL, ALL},
    {"examples", NULL, NULL, ALL},
    {"$schema", NULL, NULL, ALL},
    {"$id", NULL, NULL, ALL},
    {"$comment", NULL, NULL, ALL},
    {"deprecated", NULL, NULL, ALL},
    {"readOnly", NULL, NULL, ALL},
    {"writeOnly", NULL, NULL, ALL},
};

enum { KEYWORDS = sizeof keywords / sizeof *keywords };

static void check_schema(struct walk *walk, const struct at *at, struct json_object *schema)
{
    if (json_object_is_type(schema, json_type_boolean) ||
        !check_is(walk, at, schema, json_type_object, "a schema (an object, true or false)"))
        return;
    json_object_object_foreach(schema, key, value)
    {
        struct at member = {at, key, 0};
        size_t i = 0;
        while (i < KEYWORDS && strcmp(keywords[i].name, key) != 0)
            i++;
        if (i == KEYWORDS)
            wrong(walk, &member, "\"%s\" is not supported", key);
        else if (keywords[i].check)
            keywords[i].check(walk, &member, value);
    }
}

static enum about about(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_int:
    case json_type_double:
        return NUMBERS;
    case json_type_string:
        return TEXTS;
    case json_type_array:
        return LISTS;
    case json_type_object:
        return OBJECTS;
    default:
        return ALL;
    }
}

static void match(struct walk *walk, const struct at *at, struct json_object *schema,
                  struct json_object *value)
{
    struct rule rule = {walk, at, schema, NULL, NULL, value};
    enum about kind = about(value);
    if (--*walk->work < 0) {
        if (*walk->work == -1 || !walk->tell)
            wrong(walk, at, "it takes too long to hold this against the schema");
        return;
    }
    if (json_object_is_type(schema, json_type_boolean)) {
        if (!json_object_get_boolean(schema))
            wrong(walk, at, "may not be here");
        return;
    }
    for (size_t i = 0; i < KEYWORDS && keywords[i].match; i++) {
        rule.key = keywords[i].name;
        if ((keywords[i].about == ALL || keywords[i].about == kind) &&
            json_object_object_get_ex(schema, rule.key, &rule.given))
            keywords[i].match(&rule);
    }
}

size_t tsk_schema_check(struct json_object *schema, tsk_schema_fn *tell, void *ctx)
{
    struct walk walk = {schema, tell, ctx, 0, NULL, 0};
    check_schema(&walk, NULL, schema);
    return walk.count;
}

size_t tsk_schema_validate(struct json_object *schema, struct json_object *value,
                           tsk_schema_fn *tell, void *ctx)
{
    int64_t work = WORK_MOST;
    struct walk walk = {schema, tell, ctx, 0, &work, 0};
    match(&walk, NULL, schema, value);
    if (work < 0 && !walk.count)
        wrong(&walk, NULL, "it takes too long to hold this against the schema");
    return walk.count;
}
