/* Reads the YAML of a template: mistakes, mappings, and values as JSON by YAML's core schema (1.2),
 * where yes and no are text, with ${NAME} put in before the type of a plain value is looked at, so
 * that ${PORT} can be a number. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/parse.h"
#include "submit/template_private.h"

#define DIGITS "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"

enum { NODES_MOST = 100000, NAME_MOST = 100 };

bool tsk_mistake(struct tsk_reading *reading, size_t line, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    reading->mistakes++;
    reading->tell(reading->ctx, reading->path, line, false, what);
    return false;
}

void tsk_note(struct tsk_reading *reading, size_t line, const char *fmt, ...)
{
    char what[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    reading->tell(reading->ctx, reading->path, line, true, what);
}

void tsk_unknown_key(struct tsk_reading *reading, size_t line, const char *key,
                     const char *const *names, size_t count)
{
    struct tsk_err text;
    tsk_unknown(&text, TSK_CONFIG, "key", key, tsk_nearest(key, names, count));
    tsk_mistake(reading, line, "%s", text.text);
}

void tsk_each_pair(struct tsk_reading *reading, yaml_node_t *map, const char *what, tsk_pair_fn *fn,
                   void *ctx)
{
    if (map->type != YAML_MAPPING_NODE) {
        tsk_mistake(reading, tsk_yaml_line(map), "%s has to be a mapping, not %s", what,
                    tsk_yaml_kind(map));
        return;
    }
    struct tsk_map *seen = tsk_map_new(NULL);
    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top;
         pair++) {
        yaml_node_t *node = yaml_document_get_node(reading->document, pair->key);
        const char *key = tsk_yaml_text(node);
        char quoted[TSK_QUOTE_SIZE];
        if (!key)
            tsk_mistake(reading, tsk_yaml_line(node), "a key has to be text, not %s",
                        tsk_yaml_kind(node));
        else if (tsk_map_get(seen, key))
            tsk_mistake(reading, tsk_yaml_line(node), "duplicate key %s", tsk_quote(key, quoted));
        else {
            tsk_map_put(seen, key, node);
            fn(reading, ctx, key, tsk_yaml_line(node),
               yaml_document_get_node(reading->document, pair->value));
        }
    }
    tsk_map_free(seen);
}

yaml_node_t *tsk_template_member(yaml_document_t *document, const yaml_node_t *map, const char *key,
                                 size_t len)
{
    for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         map->type == YAML_MAPPING_NODE && pair < map->data.mapping.pairs.top; pair++) {
        const char *name = tsk_yaml_text(yaml_document_get_node(document, pair->key));
        if (name && strlen(name) == len && memcmp(name, key, len) == 0)
            return yaml_document_get_node(document, pair->value);
    }
    return NULL;
}

bool tsk_reading_list(struct tsk_reading *reading, const char *key, const yaml_node_t *node)
{
    return node->type == YAML_SEQUENCE_NODE ||
           tsk_mistake(reading, tsk_yaml_line(node), "%s has to be a list, not %s", key,
                       tsk_yaml_kind(node));
}

/* ---- values */

/* Reads one variable at text, behind "${", up to its "}", and adds its value. Returns what follows,
 * or NULL with what is wrong in why; if that is not set, with kind TSK_NO. */
static const char *add_variable(struct tsk_buf *out, const char *text, struct tsk_err *why)
{
    const char *end = strchr(text, '}');
    const char *other = end ? strstr(text, ":-") : NULL;
    char name[NAME_MOST];
    if (other > end)
        other = NULL;
    size_t len = (size_t)((other ? other : end ? end : text) - text);
    if (!end || !len || len >= sizeof name) {
        tsk_err_set(why, TSK_CONFIG, "${ without a name and a }");
        return NULL;
    }
    memcpy(name, text, len);
    name[len] = '\0';
    const char *value = getenv(name);
    if (value && *value)
        tsk_buf_str(out, value);
    else if (other)
        tsk_buf_add(out, other + 2, (size_t)(end - other - 2));
    else {
        tsk_err_set(why, TSK_NO, "the environment variable %s is not set", name);
        return NULL;
    }
    return end + 1;
}

/* Puts the variables into text. Returns it (the caller's), or NULL and tells why. */
static char *put_in(struct tsk_reading *reading, size_t line, const char *text)
{
    struct tsk_buf out = TSK_BUF_INIT;
    struct tsk_err why;
    tsk_buf_str(&out, "");
    while (text && *text) {
        if (strncmp(text, "$${", 3) == 0) {
            tsk_buf_str(&out, "${");
            text += 3;
        } else if (strncmp(text, "${", 2) == 0) {
            text = add_variable(&out, text + 2, &why);
        } else {
            tsk_buf_char(&out, *text++);
        }
    }
    if (text)
        return out.data;
    if (reading->unused && why.kind == TSK_NO)
        tsk_note(reading, line, "%s; this value is not in use", why.text);
    else
        tsk_mistake(reading, line, "%s", why.text);
    tsk_buf_fini(&out);
    return NULL;
}

char *tsk_reading_text(struct tsk_reading *reading, const char *key, yaml_node_t *node)
{
    const char *text = tsk_yaml_text(node);
    if (text)
        return put_in(reading, tsk_yaml_line(node), text);
    tsk_mistake(reading, tsk_yaml_line(node), "%s has to be text, not %s", key,
                tsk_yaml_kind(node));
    return NULL;
}

static bool is_word(const char *text, const char *lower)
{
    static const char *const forms[][3] = {
        {"true", "True", "TRUE"}, {"false", "False", "FALSE"}, {"null", "Null", "NULL"}};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(forms[i][0], lower) != 0)
            continue;
        return !strcmp(text, forms[i][0]) || !strcmp(text, forms[i][1]) ||
               !strcmp(text, forms[i][2]);
    }
    return false;
}

/* Reads a number in digits of base, up to 64 bits. */
static bool read_based(const char *digits, int base, struct tsk_buf *json)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(digits, &end, base);
    tsk_buf_printf(json, "%llu", number);
    return errno == 0 && end > digits && !*end;
}

/* Writes a number of the core schema as JSON, with its own digits: JSON has no plus sign, no
 * leading zero, and a digit on both sides of a point. Returns false if all of text is not one. */
static bool write_number(const char *text, struct tsk_buf *json)
{
    const char *at = text + (*text == '-' || *text == '+');
    size_t whole = strspn(at, DIGITS), zeros = strspn(at, "0"), part = 0;
    zeros -= zeros && zeros == whole;
    tsk_buf_str(json, *text == '-' ? "-" : "");
    tsk_buf_add(json, whole ? at + zeros : "0", whole ? whole - zeros : 1);
    at += whole;
    if (*at == '.') {
        part = strspn(at + 1, DIGITS);
        tsk_buf_add(json, at, part ? part + 1 : 0);
        at += part + 1;
    }
    if ((*at == 'e' || *at == 'E') && (whole || part)) {
        size_t sign = at[1] == '-' || at[1] == '+';
        size_t digits = strspn(at + 1 + sign, DIGITS);
        tsk_buf_add(json, at, 1 + sign + digits);
        at += digits ? 1 + sign + digits : 0;
    }
    return (whole || part) && !*at;
}

static bool is_nonfinite(const char *text)
{
    static const char *const names[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"};
    text += *text == '-' || *text == '+';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(names[i], text))
            return true;
    }
    return false;
}

/* Reads a number. Returns false if text is none; NULL in *value and tells it if JSON has no such
 * number. */
static bool read_number(struct tsk_reading *reading, size_t line, const char *text,
                        struct json_object **value)
{
    struct tsk_buf json = TSK_BUF_INIT;
    struct tsk_json *parser = tsk_json_new();
    bool hex = !strncmp(text, "0x", 2) && text[2] && !text[2 + strspn(text + 2, HEX_DIGITS)];
    bool octal = !strncmp(text, "0o", 2) && text[2] && !text[2 + strspn(text + 2, "01234567")];
    bool number =
        hex || octal ? read_based(text + 2, hex ? 16 : 8, &json) : write_number(text, &json);
    if (number)
        tsk_json_parse(parser, json.data, json.len, value, NULL);
    else if (hex || octal)
        tsk_mistake(reading, line, "%.60s is over 64 bits: write it in decimal", text);
    else if (is_nonfinite(text))
        tsk_mistake(reading, line, "JSON has no number %s: put it in quotes as a text", text);
    number |= hex || octal || is_nonfinite(text);
    tsk_json_free(parser);
    tsk_buf_fini(&json);
    return number;
}

static struct json_object *plain_value(struct tsk_reading *reading, size_t line, const char *text)
{
    struct json_object *value = NULL;
    if (!*text || !strcmp(text, "~") || is_word(text, "null"))
        return NULL;
    if (is_word(text, "true") || is_word(text, "false"))
        return json_object_new_boolean(is_word(text, "true"));
    return read_number(reading, line, text, &value) ? value : json_object_new_string(text);
}

static struct json_object *scalar_value(struct tsk_reading *reading, yaml_node_t *node)
{
    bool plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    char *text = tsk_reading_text(reading, "a value", node);
    if (!text)
        return NULL;
    struct json_object *value =
        plain ? plain_value(reading, tsk_yaml_line(node), text) : json_object_new_string(text);
    free(text);
    return value;
}

static void add_member(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                       yaml_node_t *value)
{
    (void)line;
    tsk_json_put(ctx, key, tsk_reading_json(reading, value));
}

struct json_object *tsk_reading_json(struct tsk_reading *reading, yaml_node_t *node)
{
    if (++reading->nodes > NODES_MOST) {
        if (reading->nodes == NODES_MOST + 1)
            tsk_mistake(reading, tsk_yaml_line(node), "too many values, with all aliases");
        return NULL;
    }
    if (node->type == YAML_SCALAR_NODE)
        return scalar_value(reading, node);
    if (node->type == YAML_MAPPING_NODE) {
        struct json_object *object = json_object_new_object();
        tsk_each_pair(reading, node, "it", add_member, object);
        return object;
    }
    struct json_object *list = json_object_new_array();
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++)
        json_object_array_add(
            list, tsk_reading_json(reading, yaml_document_get_node(reading->document, *item)));
    return list;
}

/* ---- layers */

struct below {
    struct json_object *object; /* of what lies above */
    bool deep;
};

static void add_below(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                      yaml_node_t *value)
{
    const struct below *below = ctx;
    struct json_object *above;
    (void)line;
    if (!json_object_object_get_ex(below->object, key, &above)) {
        tsk_json_put(below->object, key, tsk_reading_json(reading, value));
    } else if (below->deep && json_object_is_type(above, json_type_object) &&
               value->type == YAML_MAPPING_NODE) {
        tsk_each_pair(reading, value, "it", add_below, &(struct below){above, true});
    } else {
        bool was = reading->unused;
        reading->unused = true;
        json_object_put(tsk_reading_json(reading, value));
        reading->unused = was;
    }
}

void tsk_layer_add(struct tsk_reading *reading, struct tsk_layers *layers, const char *key,
                   yaml_node_t *value, bool deep)
{
    if (tsk_yaml_null(value))
        return;
    if (value->type != YAML_MAPPING_NODE) {
        tsk_mistake(reading, tsk_yaml_line(value), "%s has to be a mapping, not %s", key,
                    tsk_yaml_kind(value));
        return;
    }
    layers->items = tsk_grow(layers->items, &layers->cap, layers->count + 1, sizeof *layers->items);
    layers->items[layers->count++] = (struct tsk_layer){value, deep};
}

struct json_object *tsk_layers_json(struct tsk_reading *reading, struct tsk_layers *layers)
{
    struct below below = {json_object_new_object(), true};
    while (layers->count--) {
        tsk_each_pair(reading, layers->items[layers->count].map, "it", add_below, &below);
        below.deep = layers->items[layers->count].deep;
    }
    free(layers->items);
    *layers = (struct tsk_layers){NULL, 0, 0};
    return below.object;
}
