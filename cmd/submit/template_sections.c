/* The sections of a template beside its steps: the schema, the configuration of the task, the names
 * of the steps, and what is said for single environments. */
#include <stdlib.h>
#include <string.h>

#include "submit/schema.h"
#include "submit/template_private.h"

/* ---- environments */

struct section {
    struct tsk_template_file *file;
    bool applies; /* else it is only checked, on copies */
};

/* Lays a mapping over a step, or over none, where the section does not apply. */
static void override_step(struct tsk_reading *reading, const struct section *section,
                          struct tsk_draft *draft, yaml_node_t *map)
{
    if (section->applies) {
        tsk_draft_read(reading, draft, map);
        return;
    }
    struct tsk_draft *scratch = tsk_draft_new();
    tsk_draft_read(reading, scratch, map);
    tsk_draft_check(reading, scratch);
    tsk_draft_free(scratch);
}

/* Lays a mapping over the step of that name, or over each if that is ALL. */
static void override_named(struct tsk_reading *reading, const struct section *section,
                           const char *name, size_t line, yaml_node_t *map)
{
    const struct tsk_template_file *file = section->file;
    struct tsk_draft *draft = tsk_map_get(file->by_name, name);
    size_t count = section->applies ? file->count : 1;
    if (draft)
        override_step(reading, section, draft, map);
    else if (strcmp(name, "ALL") != 0)
        tsk_mistake(reading, line, "there is no step \"%.80s\" to override", name);
    for (size_t i = 0; !draft && strcmp(name, "ALL") == 0 && i < count; i++)
        override_step(reading, section, file->drafts[i], map);
}

static void read_override(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                          yaml_node_t *value)
{
    override_named(reading, ctx, key, line, value);
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
                               const char *key, const yaml_node_t *list)
{
    if (list->type != YAML_SEQUENCE_NODE) {
        tsk_mistake(reading, tsk_yaml_line(list), "%s has to be a list, not %s", key,
                    tsk_yaml_kind(list));
        return;
    }
    for (yaml_node_item_t *item = list->data.sequence.items.start;
         item < list->data.sequence.items.top; item++) {
        yaml_node_t *map = yaml_document_get_node(reading->document, *item);
        const char *name = name_in(reading, map);
        if (name)
            override_named(reading, section, name, tsk_yaml_line(map), map);
        else
            tsk_mistake(reading, tsk_yaml_line(map), "a step without a name");
    }
}

void tsk_template_layer(struct tsk_reading *reading, const char *key, struct tsk_layer *layers,
                        size_t *count, yaml_node_t *value, bool deep)
{
    if (value->type != YAML_MAPPING_NODE)
        tsk_mistake(reading, tsk_yaml_line(value), "%s has to be a mapping, not %s", key,
                    tsk_yaml_kind(value));
    else
        layers[(*count)++] = (struct tsk_layer){value, deep};
}

/* Adds a layer for the environment that runs; one of another environment is only checked. */
static void section_layer(struct tsk_reading *reading, const struct section *section,
                          const char *key, yaml_node_t *value)
{
    struct tsk_template_file *file = section->file;
    bool config = strcmp(key, "handler_config") == 0, was = reading->unused;
    struct tsk_layer scratch[1];
    size_t none = 0;
    if (section->applies && config)
        tsk_template_layer(reading, key, file->configs, &file->config_count, value, true);
    else if (section->applies)
        tsk_template_layer(reading, key, file->contexts, &file->context_count, value, false);
    if (section->applies)
        return;
    tsk_template_layer(reading, key, scratch, &none, value, true);
    reading->unused = true;
    json_object_put(tsk_reading_layers(reading, scratch, none));
    reading->unused = was;
}

static void read_section(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                         yaml_node_t *value)
{
    static const char *const names[] = {"handler_config", "default_context", "step_overrides",
                                        "step_templates", "steps",           "default_options",
                                        "task_handler"};
    struct section *section = ctx;
    size_t known = 0;
    while (known < 7 && strcmp(key, names[known]) != 0)
        known++;
    if (known == 7)
        tsk_unknown_key(reading, line, key, names, 7);
    else if (known > 4)
        tsk_without_effect(reading, line, names[known], value);
    else if (tsk_yaml_null(value))
        return;
    else if (known < 2)
        section_layer(reading, section, key, value);
    else if (known > 2)
        read_override_list(reading, section, key, value);
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
    struct tsk_template *template = reading->template;
    if (file->schema && file->input_schema)
        tsk_mistake(reading, tsk_yaml_line(file->input_schema),
                    "schema and input_schema are the same: one of them");
    else if (file->schema || file->input_schema)
        read_schema(reading, file->schema ? file->schema : file->input_schema);
    check_names(reading, file);
    if (file->environments)
        tsk_each_pair(reading, file->environments, "environments", read_environment, file);
    template->handler_config = tsk_reading_layers(reading, file->configs, file->config_count);
    template->default_context = tsk_reading_layers(reading, file->contexts, file->context_count);
}
