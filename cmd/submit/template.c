/* A template as a whole: the keys of its top, the section of the environment, and what must agree.
 * Reading goes on after a mistake, so that all are told at once. */
#include "submit/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/parse.h"
#include "submit/template_private.h"

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

void tsk_without_effect(struct tsk_reading *reading, size_t line, const char *key,
                        const yaml_node_t *value)
{
    if (tsk_yaml_null(value) ||
        (value->type == YAML_SEQUENCE_NODE &&
         value->data.sequence.items.start == value->data.sequence.items.top) ||
        (value->type == YAML_MAPPING_NODE &&
         value->data.mapping.pairs.start == value->data.mapping.pairs.top))
        return;
    if (!tsk_map_count(reading->without_effect))
        reading->without_effect_line = line;
    tsk_map_put(reading->without_effect, key, reading);
}

/* Tells all keys without effect in one line. */
static void tell_without_effect(struct tsk_reading *reading)
{
    struct tsk_buf text = TSK_BUF_INIT;
    for (struct tsk_map_entry *e = tsk_map_first(reading->without_effect); e; e = tsk_map_next(e))
        tsk_buf_printf(&text, "%s%s", text.len ? ", " : "", tsk_map_key(e));
    if (text.len)
        tsk_note(reading, reading->without_effect_line, "without effect here: %s", text.data);
    tsk_buf_fini(&text);
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

/* ---- the top */

static void set_text(struct tsk_reading *reading, const char *key, char **text, yaml_node_t *value)
{
    if (tsk_yaml_null(value))
        return;
    free(*text);
    *text = tsk_reading_text(reading, key, value);
}

static void read_top(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                     yaml_node_t *value)
{
    struct tsk_template_file *file = ctx;
    struct tsk_template *template = reading->template;
    struct {
        const char *name;
        char **text;
        yaml_node_t **node; /* neither: it has no effect */
    } keys[] = {
        {"name", &template->name, NULL},
        {"namespace_name", &template->namespace_name, NULL},
        {"namespace", &template->namespace_name, NULL},
        {"version", &template->version, NULL},
        {"description", &template->description, NULL},
        {"handler_config", NULL, NULL},
        {"default_context", NULL, NULL},
        {"schema", NULL, &file->schema},
        {"input_schema", NULL, &file->input_schema},
        {"named_steps", NULL, &file->named_steps},
        {"step_templates", NULL, &file->step_templates},
        {"steps", NULL, &file->steps},
        {"environments", NULL, &file->environments},
        {"module_namespace", NULL, NULL},
        {"task_handler_class", NULL, NULL},
        {"default_dependent_system", NULL, NULL},
        {"default_options", NULL, NULL},
        {"custom_events", NULL, NULL},
        {"concurrent", NULL, NULL},
        {"metadata", NULL, NULL},
        {"system_dependencies", NULL, NULL},
        {"domain_events", NULL, NULL},
        {"lifecycle", NULL, NULL},
        {"task_handler", NULL, NULL},
        {"loaded_from", NULL, NULL},
    };
    enum { KEYS = sizeof keys / sizeof *keys };
    const char *names[KEYS];
    size_t i = 0;
    for (; i < KEYS && strcmp(key, keys[i].name) != 0; i++)
        names[i] = keys[i].name;
    if (i == KEYS)
        tsk_unknown_key(reading, line, key, names, KEYS);
    else if (strcmp(key, "handler_config") == 0 && !tsk_yaml_null(value))
        tsk_template_layer(reading, key, file->configs, &file->config_count, value, true);
    else if (strcmp(key, "default_context") == 0 && !tsk_yaml_null(value))
        tsk_template_layer(reading, key, file->contexts, &file->context_count, value, false);
    else if (keys[i].text)
        set_text(reading, key, keys[i].text, value);
    else if (keys[i].node && !tsk_yaml_null(value))
        *keys[i].node = value;
    else if (!keys[i].node)
        tsk_without_effect(reading, line, keys[i].name, value);
}

/* ---- steps */

static void add_step(struct tsk_reading *reading, struct tsk_template_file *file, yaml_node_t *node)
{
    struct tsk_draft *draft = tsk_draft_new();
    tsk_draft_read(reading, draft, node);
    const char *name = tsk_draft_name(draft);
    file->drafts = tsk_grow(file->drafts, &file->cap, file->count + 1, sizeof *file->drafts);
    file->drafts[file->count++] = draft;
    if (!name)
        return;
    if (tsk_map_get(file->by_name, name))
        tsk_mistake(reading, tsk_yaml_line(node), "duplicate step \"%.80s\"", name);
    else
        tsk_map_put(file->by_name, name, draft);
}

static void read_steps(struct tsk_reading *reading, struct tsk_template_file *file)
{
    const yaml_node_t *list = file->steps ? file->steps : file->step_templates;
    const char *key = file->steps ? "steps" : "step_templates";
    reading->template->steps_form = file->steps != NULL;
    if (!list) {
        tsk_mistake(reading, 1, "step_templates is missing");
        return;
    }
    if (file->steps && file->step_templates)
        tsk_mistake(reading, tsk_yaml_line(file->steps),
                    "steps and step_templates are two spellings of the same: one of them");
    if (list->type != YAML_SEQUENCE_NODE) {
        tsk_mistake(reading, tsk_yaml_line(list), "%s has to be a list, not %s", key,
                    tsk_yaml_kind(list));
        return;
    }
    const yaml_node_item_t *item = list->data.sequence.items.start;
    const yaml_node_item_t *end = list->data.sequence.items.top;
    if (item == end)
        tsk_mistake(reading, tsk_yaml_line(list), "%s has no step", key);
    if (end - item > TSK_TEMPLATE_STEPS_MOST)
        tsk_mistake(reading, tsk_yaml_line(list), "more than %d steps", TSK_TEMPLATE_STEPS_MOST);
    else
        for (; item < end; item++)
            add_step(reading, file, yaml_document_get_node(reading->document, *item));
}

static void finish_steps(struct tsk_reading *reading, struct tsk_template_file *file)
{
    struct tsk_template *template = reading->template;
    template->steps = tsk_alloc((file->count + 1) * sizeof *template->steps);
    template->count = file->count;
    for (size_t i = 0; i < file->count; i++)
        tsk_draft_finish(reading, file->drafts[i], &template->steps[i]);
    tsk_reading_graph(reading, file->drafts);
}

static void read_all(struct tsk_reading *reading, struct tsk_template_file *file)
{
    struct tsk_template *template = reading->template;
    yaml_node_t *root = yaml_document_get_root_node(reading->document);
    if (!root) {
        tsk_mistake(reading, 1, "the file is empty");
        return;
    }
    tsk_each_pair(reading, root, "a template", read_top, file);
    if (!template->name || !*template->name)
        tsk_mistake(reading, 1, "name is missing");
    else if (tsk_template_is_path(template->name))
        tsk_mistake(reading, 1, "name \"%.80s\" is that of a file: no request could name it",
                    template->name);
    read_steps(reading, file);
    tsk_template_sections(reading, file);
    finish_steps(reading, file);
    tell_without_effect(reading);
}

static struct tsk_template *template_new(const char *path)
{
    struct tsk_template *template = tsk_alloc(sizeof *template);
    template->path = tsk_strdup(path);
    template->namespace_name = tsk_strdup("default");
    template->version = tsk_strdup("0.1.0");
    return template;
}

struct tsk_template *tsk_template_load(const char *path, const char *environment,
                                       tsk_template_fn *tell, void *ctx, struct tsk_err *err)
{
    yaml_document_t document;
    struct tsk_template_file file = {.by_name = NULL};
    if (tsk_yaml_load(path, &document, err) < 0)
        return NULL;
    struct tsk_reading reading = {.path = path,
                                  .environment = environment,
                                  .document = &document,
                                  .template = template_new(path),
                                  .tell = tell,
                                  .ctx = ctx,
                                  .without_effect = tsk_map_new(NULL)};
    file.by_name = tsk_map_new(NULL);
    read_all(&reading, &file);
    tsk_map_free(file.by_name);
    for (size_t i = 0; i < file.count; i++)
        tsk_draft_free(file.drafts[i]);
    free(file.drafts);
    tsk_map_free(reading.without_effect);
    yaml_document_delete(&document);
    if (!reading.mistakes)
        return reading.template;
    tsk_template_free(reading.template);
    tsk_err_set(err, TSK_CONFIG, "%s: %zu mistake%s", path, reading.mistakes,
                tsk_plural((int64_t)reading.mistakes));
    return NULL;
}

void tsk_template_step_fini(struct tsk_template_step *step)
{
    free(step->name);
    free(step->handler_class);
    free(step->description);
    free(step->backoff);
    free(step->depends);
    json_object_put(step->handler_config);
}

void tsk_template_free(struct tsk_template *template)
{
    if (!template)
        return;
    for (size_t i = 0; i < template->count; i++)
        tsk_template_step_fini(&template->steps[i]);
    free(template->steps);
    free(template->path);
    free(template->namespace_name);
    free(template->name);
    free(template->version);
    free(template->description);
    json_object_put(template->schema);
    json_object_put(template->handler_config);
    json_object_put(template->default_context);
    free(template);
}

size_t tsk_template_find(const struct tsk_template *template, const char *name)
{
    size_t i = 0;
    while (i < template->count &&
           (!template->steps[i].name || strcmp(template->steps[i].name, name) != 0))
        i++;
    return i;
}
