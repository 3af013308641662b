/* The sections of a template beside its steps: the schema, the configuration of the task, the names
 * of the steps, and what is said for single environments. */
#include <stdlib.h>
#include <string.h>

#include "tasker/schema.h"
#include "template_private.h"

/* ---- environments */

struct section {
    struct tsk_template_file *file;
    bool applies; /* else it is only checked, on copies */
};

/* Lays a mapping over the step of that name. */
static void override_step(struct tsk_reading *reading, const struct section *section,
                          const char *name, size_t line, yaml_node_t *map)
{
    struct tsk_draft *draft = tsk_map_get(section->file->by_name, name);
    if (!draft) {
        tsk_mistake(reading, line, "there is no step \"%.80s\" to override", name);
        return;
    }
    struct tsk_draft *target = section->applies ? draft : tsk_draft_copy(draft);
    tsk_draft_read(reading, target, map);
    if (target != draft)
        tsk_draft_free(target);
}

static void read_override(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                          yaml_node_t *value)
{
    override_step(reading, ctx, key, line, value);
}

static const char *name_in(const struct tsk_reading *reading, const yaml_node_t *map)
{
    for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         map->type == YAML_MAPPING_NODE && pair < map->data.mapping.pairs.top; pair++) {
        const char *key = tsk_yaml_text(yaml_document_get_node(reading->document, pair->key));
        if (key && strcmp(key, "name") == 0)
            return tsk_yaml_text(yaml_document_get_node(reading->document, pair->value));
    }
    return NULL;
}

static void read_override_list(struct tsk_reading *reading, struct section *section,
                               const yaml_node_t *list)
{
    if (list->type != YAML_SEQUENCE_NODE) {
        tsk_mistake(reading, tsk_yaml_line(list), "step_templates has to be a list, not %s",
                    tsk_yaml_kind(list));
        return;
    }
    for (yaml_node_item_t *item = list->data.sequence.items.start;
         item < list->data.sequence.items.top; item++) {
        yaml_node_t *map = yaml_document_get_node(reading->document, *item);
        const char *name = name_in(reading, map);
        if (name)
            override_step(reading, section, name, tsk_yaml_line(map), map);
        else
            tsk_mistake(reading, tsk_yaml_line(map), "a step without a name");
    }
}

static void overlay_config(struct tsk_reading *reading, bool applies, yaml_node_t *value)
{
    struct tsk_template *template = reading->template;
    if (value->type != YAML_MAPPING_NODE) {
        tsk_mistake(reading, tsk_yaml_line(value), "handler_config has to be a mapping, not %s",
                    tsk_yaml_kind(value));
        return;
    }
    struct json_object *over = tsk_reading_json(reading, value);
    if (applies)
        template->handler_config = tsk_json_overlay(template->handler_config, over);
    else
        json_object_put(over);
}

static void read_section(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                         yaml_node_t *value)
{
    static const char *const names[] = {"handler_config", "step_templates", "step_overrides"};
    struct section *section = ctx;
    if (strcmp(key, names[0]) != 0 && strcmp(key, names[1]) != 0 && strcmp(key, names[2]) != 0)
        tsk_unknown_key(reading, line, key, names, 3);
    else if (tsk_yaml_null(value))
        return;
    else if (strcmp(key, "handler_config") == 0)
        overlay_config(reading, section->applies, value);
    else if (strcmp(key, "step_templates") == 0)
        read_override_list(reading, section, value);
    else
        tsk_each_pair(reading, value, key, read_override, section);
}

static void read_environment(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                             yaml_node_t *value)
{
    struct section section = {ctx, strcmp(key, reading->environment) == 0};
    (void)line;
    if (!tsk_yaml_null(value))
        tsk_each_pair(reading, value, key, read_section, &section);
}

/* ---- what must agree */

static void check_names(struct tsk_reading *reading, struct tsk_template_file *file)
{
    const yaml_node_t *list = file->named_steps;
    struct tsk_map *named = tsk_map_new(NULL);
    if (list && list->type != YAML_SEQUENCE_NODE)
        tsk_mistake(reading, tsk_yaml_line(list), "named_steps has to be a list, not %s",
                    tsk_yaml_kind(list));
    for (yaml_node_item_t *item =
             list && list->type == YAML_SEQUENCE_NODE ? list->data.sequence.items.start : NULL;
         item && item < list->data.sequence.items.top; item++) {
        const yaml_node_t *node = yaml_document_get_node(reading->document, *item);
        const char *name = tsk_yaml_text(node);
        if (name && tsk_map_get(file->by_name, name))
            tsk_map_put(named, name, file);
        else
            tsk_mistake(reading, tsk_yaml_line(node), "named_steps: there is no step \"%.80s\"",
                        name ? name : tsk_yaml_kind(node));
    }
    for (size_t i = 0; tsk_map_count(named) && i < file->count; i++) {
        const char *name = tsk_draft_name(file->drafts[i]);
        if (name && !tsk_map_get(named, name))
            tsk_mistake(reading, tsk_yaml_line(list), "named_steps lacks \"%.80s\"", name);
    }
    tsk_map_free(named);
}

struct in_schema {
    struct tsk_reading *reading;
    yaml_node_t *schema;
};

/* The value of key (a part of a JSON pointer, of len bytes) in node, or NULL. */
static yaml_node_t *child(struct in_schema *in, yaml_node_t *node, const char *part, size_t len)
{
    yaml_document_t *document = in->reading->document;
    if (node->type == YAML_SEQUENCE_NODE) {
        size_t i = strtoul(part, NULL, 10);
        size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
        return i < count ? yaml_document_get_node(document, node->data.sequence.items.start[i])
                         : NULL;
    }
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         node->type == YAML_MAPPING_NODE && pair < node->data.mapping.pairs.top; pair++) {
        const char *key = tsk_yaml_text(yaml_document_get_node(document, pair->key));
        if (key && strlen(key) == len && strncmp(key, part, len) == 0)
            return yaml_document_get_node(document, pair->value);
    }
    return NULL;
}

/* The line of the place in the schema that a JSON pointer names, as near as it can be followed. */
static size_t line_of(struct in_schema *in, const char *where)
{
    yaml_node_t *node = in->schema, *next = node;
    while (next && *where == '/') {
        size_t len = strcspn(++where, "/");
        next = child(in, node, where, len);
        node = next ? next : node;
        where += len;
    }
    return tsk_yaml_line(node);
}

static void tell_schema(void *ctx, const char *where, const char *what)
{
    struct in_schema *in = ctx;
    tsk_mistake(in->reading, line_of(in, where), "schema%s%.120s: %s", *where ? ", at " : "", where,
                what);
}

static void read_schema(struct tsk_reading *reading, yaml_node_t *node)
{
    struct in_schema in = {reading, node};
    reading->template->schema = tsk_reading_json(reading, node);
    tsk_schema_check(reading->template->schema, tell_schema, &in);
}

void tsk_template_sections(struct tsk_reading *reading, struct tsk_template_file *file)
{
    if (file->handler_config)
        overlay_config(reading, true, file->handler_config);
    if (file->schema)
        read_schema(reading, file->schema);
    check_names(reading, file);
    if (file->environments)
        tsk_each_pair(reading, file->environments, "environments", read_environment, file);
}
