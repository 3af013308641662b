/* Values of a template: a YAML node as JSON by YAML's core schema (1.2), where yes and no are text,
 * with ${NAME} put in before the type of a plain value is looked at, so that ${PORT} can be a
 * number. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parse_private.h"
#include "template_private.h"

enum { NODES_MOST = 100000, NAME_MOST = 100 };

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

/* Whether all of text is a number, which becomes *value. */
static bool read_number(const char *text, struct json_object **value)
{
    char *end;
    const char *digits = text + (*text == '-' || *text == '+');
    bool whole = *digits && digits[strspn(digits, "0123456789")] == '\0';
    bool fraction = strpbrk(digits, "0123456789") && !digits[strspn(digits, "0123456789.eE+-")];
    errno = 0;
    if (whole) {
        long long number = strtoll(text, &end, 10);
        if (errno == 0) {
            *value = json_object_new_int64(number);
            return true;
        }
    }
    if (!fraction || strchr("eE", *digits))
        return false;
    errno = 0;
    double number = strtod(text, &end);
    if (*end || errno || !isfinite(number))
        return false;
    *value = json_object_new_double(number);
    return true;
}

static struct json_object *plain_value(const char *text)
{
    struct json_object *value = NULL;
    if (!*text || !strcmp(text, "~") || is_word(text, "null"))
        return NULL;
    if (is_word(text, "true") || is_word(text, "false"))
        return json_object_new_boolean(is_word(text, "true"));
    return read_number(text, &value) ? value : json_object_new_string(text);
}

static struct json_object *scalar_value(struct tsk_reading *reading, yaml_node_t *node)
{
    bool plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    char *text = tsk_reading_text(reading, "a value", node);
    if (!text)
        return NULL;
    struct json_object *value = plain ? plain_value(text) : json_object_new_string(text);
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

struct json_object *tsk_reading_layers(struct tsk_reading *reading, const struct tsk_layer *layers,
                                       size_t count)
{
    struct below below = {json_object_new_object(), true};
    while (count--) {
        tsk_each_pair(reading, layers[count].map, "it", add_below, &below);
        below.deep = layers[count].deep;
    }
    return below.object;
}
