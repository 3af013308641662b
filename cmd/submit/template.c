/* A template: its steps, the section of the environment, the keys of its top, and what must agree.
 * Reading goes on after a mistake, so that all are told at once.
 *
 * A draft notes where the file says what of a step: at its own place, and in the section of the
 * environment, which replaces that. Its values are read at the end, so that a value which is
 * replaced needs no variables. Both spellings (template.h) are in one table: a key of either leads
 * to the same part. */
#include "submit/template.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/parse.h"
#include "submit/schema.h"
#include "submit/template_private.h"
#include "tasker/message.h"
#include "tasker/retry.h"

/* Notes a key that does nothing here, unless its value is empty. */
static void without_effect(struct tsk_reading *reading, size_t line, const char *key,
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

/* ---- one step */

/* What a step has. Those of one line are read from mappings of their own. */
enum part {
    NAME,
    DESCRIPTION,
    DEPENDS_ONE,
    DEPENDS,
    SKIPPABLE,
    JOIN,
    UNSATISFIED,
    WHEN_SKIPPED,
    OPTIONAL,
    TYPE,
    SECONDS,
    CONFIG,
    INITIALIZATION,
    BATCH,
    CLASS,
    METHOD,
    RETRYABLE,
    LIMIT,
    OLD_LIMIT,
    GROWTH,
    BASE,
    CAP,
    HANDLER,
    RETRY,
    WITHOUT_EFFECT,
    REFUSED,
    PARTS
};

struct tsk_draft {
    char *name;
    size_t line;
    struct {
        yaml_node_t *node, *in; /* the value, and the step's mapping, here or in a section */
        const char *key;
    } parts[PARTS];
    enum part said[PARTS]; /* the order of those that were ever said */
    size_t said_count;
    struct tsk_layers configs; /* all that is said of handler_config and initialization */
    struct tsk_links links;
    int64_t type, growth, base_ms, cap_ms; /* type: an index of type_words */
    char *method;
};

struct key {
    const char *name;
    enum part part;
};

static const struct key step_keys[] = {
    {"name", NAME},
    {"description", DESCRIPTION},
    {"handler_class", CLASS},
    {"handler_config", CONFIG},
    {"depends_on_step", DEPENDS_ONE},
    {"depends_on_steps", DEPENDS},
    {"default_retryable", RETRYABLE},
    {"retryable", RETRYABLE},
    {"default_retry_limit", LIMIT},
    {"retry_limit", LIMIT},
    {"timeout_seconds", SECONDS},
    {"retry_backoff", GROWTH},
    {"backoff_base_ms", BASE},
    {"max_backoff_ms", CAP},
    {"skippable", SKIPPABLE},
    {"dependent_system", WITHOUT_EFFECT},
    {"custom_events", WITHOUT_EFFECT},
    {"concurrent", WITHOUT_EFFECT},
    {"join", JOIN},
    {"unsatisfied", UNSATISFIED},
    {"when_skipped", WHEN_SKIPPED},
    {"optional", OPTIONAL},
    /* the form of "steps" */
    {"handler", HANDLER},
    {"dependencies", DEPENDS},
    {"depends_on", DEPENDS},
    {"retry", RETRY},
    {"type", TYPE},
    {"step_type", TYPE},
    {"batch_config", BATCH},
    {"system_dependency", WITHOUT_EFFECT},
    {"publishes_events", WITHOUT_EFFECT},
    {"result_schema", WITHOUT_EFFECT},
    {"lifecycle", WITHOUT_EFFECT},
    {"metadata", WITHOUT_EFFECT},
    {"composition", REFUSED},
};
static const struct key handler_keys[] = {{"callable", CLASS},
                                          {"initialization", INITIALIZATION},
                                          {"method", METHOD},
                                          {"resolver", WITHOUT_EFFECT}};
static const struct key retry_keys[] = {
    {"retryable", RETRYABLE},   {"max_attempts", LIMIT},           {"limit", OLD_LIMIT},
    {"backoff", GROWTH},        {"backoff_base_ms", BASE},         {"max_backoff_ms", CAP},
    {"jitter", WITHOUT_EFFECT}, {"initial_delay", WITHOUT_EFFECT}, {"max_delay", WITHOUT_EFFECT},
};

/* The words of TYPE, in the order of enum tsk_step_type; the last two are older names. */
static const char type_words[] = "standard,decision,deferred_convergence,batchable,batch_worker,"
                                 "decision_point,deferred";

/* ---- values */

static char *read_text(struct tsk_reading *reading, const char *key, yaml_node_t *node)
{
    return tsk_yaml_null(node) ? NULL : tsk_reading_text(reading, key, node);
}

static void read_bool(struct tsk_reading *reading, const char *key, bool *out, yaml_node_t *node)
{
    static const char words[] = "false,true,no,yes,off,on";
    int64_t place;
    char *text = read_text(reading, key, node);
    if (text && tsk_parse_choice(text, words, &place, NULL) == 0)
        *out = place % 2;
    else if (text)
        tsk_mistake(reading, tsk_yaml_line(node), "%s has to be true or false", key);
    free(text);
}

static bool read_int(struct tsk_reading *reading, const char *key, int64_t least, int64_t most,
                     int64_t *out, yaml_node_t *node)
{
    struct tsk_err why;
    char *text = read_text(reading, key, node);
    char *dot = text ? strchr(text, '.') : NULL;
    if (dot && dot > text && dot[1 + strspn(dot + 1, "0123456789")] == '\0') {
        if (dot[1 + strspn(dot + 1, "0")])
            tsk_note(reading, tsk_yaml_line(node), "%s: %s is taken as %.*s", key, text,
                     (int)(dot - text), text);
        *dot = '\0';
    }
    bool ok = text && tsk_parse_int(text, least, most, out, &why) == 0;
    if (text && !ok)
        tsk_mistake(reading, tsk_yaml_line(node), "%s: %s", key, why.text);
    free(text);
    return ok;
}

static void read_choice(struct tsk_reading *reading, const char *key, const char *words,
                        int64_t *out, yaml_node_t *node)
{
    struct tsk_err why;
    char *text = read_text(reading, key, node);
    if (text && tsk_parse_choice(text, words, out, &why) < 0)
        tsk_mistake(reading, tsk_yaml_line(node), "%s: %s", key, why.text);
    free(text);
}

static void add_depend(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                       yaml_node_t *node)
{
    char *name = tsk_reading_text(reading, key, node);
    if (!name)
        return;
    struct tsk_links *links = &draft->links;
    links->items = tsk_grow(links->items, &links->cap, links->count + 1, sizeof *links->items);
    links->items[links->count++] = (struct tsk_link){name, tsk_yaml_line(node)};
}

static void read_depends(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                         yaml_node_t *node)
{
    if (tsk_yaml_null(node))
        return;
    if (node->type != YAML_SEQUENCE_NODE) {
        add_depend(reading, draft, key, node); /* depends_on_step, or a list of one */
        return;
    }
    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++)
        add_depend(reading, draft, key, yaml_document_get_node(reading->document, *item));
}

/* Reads what is said of a part into step, or into the draft where a step has no such member. */
static void read_part(struct tsk_reading *reading, struct tsk_draft *draft, enum part part,
                      struct tsk_template_step *step)
{
    const char *key = draft->parts[part].key;
    yaml_node_t *node = draft->parts[part].node;
    int64_t seconds;
    switch (part) {
    case DESCRIPTION:
        step->description = read_text(reading, key, node);
        break;
    case CLASS:
        step->handler_class = read_text(reading, key, node);
        break;
    case METHOD:
        draft->method = read_text(reading, key, node);
        break;
    case DEPENDS_ONE:
    case DEPENDS:
        read_depends(reading, draft, key, node);
        break;
    case SKIPPABLE:
        read_bool(reading, key, &step->skippable, node);
        break;
    case OPTIONAL:
        read_bool(reading, key, &step->optional, node);
        break;
    case RETRYABLE:
        read_bool(reading, key, &step->retryable, node);
        break;
    case JOIN:
        read_choice(reading, key, TSK_JOIN_WORDS, &step->join, node);
        break;
    case UNSATISFIED:
        read_choice(reading, key, TSK_UNSATISFIED_WORDS, &step->unsatisfied, node);
        break;
    case WHEN_SKIPPED:
        read_choice(reading, key, TSK_WHEN_SKIPPED_WORDS, &step->when_skipped, node);
        break;
    case TYPE:
        read_choice(reading, key, type_words, &draft->type, node);
        break;
    case GROWTH:
        read_choice(reading, key, TSK_GROWTH_WORDS, &draft->growth, node);
        break;
    case BASE:
        read_int(reading, key, 0, 86400000, &draft->base_ms, node);
        break;
    case CAP:
        read_int(reading, key, 0, 86400000, &draft->cap_ms, node);
        break;
    case OLD_LIMIT:
    case LIMIT:
        read_int(reading, key, 0, 1000000, &step->retry_limit, node);
        break;
    case SECONDS:
        if (read_int(reading, key, 1, 31536000, &seconds, node))
            step->timeout_ms = seconds * 1000;
        break;
    default:
        break;
    }
}

/* ---- what is said where */

static void step_fini(struct tsk_template_step *step)
{
    free(step->name);
    free(step->handler_class);
    free(step->description);
    free(step->backoff);
    free(step->depends);
    json_object_put(step->handler_config);
}

static struct tsk_draft *draft_new(void);
static void draft_check(struct tsk_reading *reading, struct tsk_draft *draft);

static void forget(struct tsk_reading *reading, struct tsk_draft *draft, enum part part,
                   const yaml_node_t *in)
{
    if (!draft->parts[part].node || draft->parts[part].in == in)
        return;
    struct tsk_draft *replaced = draft_new(); /* checked, although it counts no more */
    replaced->parts[part] = draft->parts[part];
    replaced->said[replaced->said_count++] = part;
    draft_check(reading, replaced);
    draft->parts[part].node = NULL;
}

struct saying {
    struct tsk_draft *draft;
    yaml_node_t *in;
    const struct key *keys;
    size_t count;
};

static void read_keys(struct tsk_reading *reading, const struct saying *saying, yaml_node_t *map,
                      const char *what);

#define SAYING(draft, in, keys) (&(struct saying){draft, in, keys, sizeof(keys) / sizeof *(keys)})

/* A part that is a mapping of others. A retry in a section replaces that of the step as a whole. */
static void say_mapping(struct tsk_reading *reading, struct tsk_draft *draft, enum part part,
                        yaml_node_t *value, yaml_node_t *in)
{
    if (tsk_yaml_null(value))
        return;
    for (enum part p = RETRYABLE; part == RETRY && p <= CAP; p++)
        forget(reading, draft, p, in);
    if (part == RETRY)
        read_keys(reading, SAYING(draft, in, retry_keys), value, "retry");
    else
        read_keys(reading, SAYING(draft, in, handler_keys), value, "handler");
}

static void say_part(struct tsk_reading *reading, struct tsk_draft *draft, enum part part,
                     const char *key, yaml_node_t *value, yaml_node_t *in)
{
    if (part == DEPENDS_ONE || part == DEPENDS) {
        forget(reading, draft, DEPENDS_ONE, in);
        forget(reading, draft, DEPENDS, in);
    } else if (tsk_yaml_null(value)) {
        return;
    }
    if (draft->parts[part].node && draft->parts[part].in == in) {
        tsk_mistake(reading, tsk_yaml_line(value), "%s and %s are the same: one of them",
                    draft->parts[part].key, key);
        return;
    }
    forget(reading, draft, part, in);
    if (!draft->parts[part].key)
        draft->said[draft->said_count++] = part;
    draft->parts[part].node = value;
    draft->parts[part].in = in;
    draft->parts[part].key = key;
}

static void say(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                yaml_node_t *value)
{
    const struct saying *saying = ctx;
    struct tsk_draft *draft = saying->draft;
    const char **names = tsk_alloc((saying->count + 1) * sizeof *names);
    size_t i = 0;
    while (i < saying->count && strcmp(saying->keys[i].name, key) != 0)
        names[i] = saying->keys[i].name, i++;
    enum part part = i < saying->count ? saying->keys[i].part : PARTS;
    if (part == PARTS)
        tsk_unknown_key(reading, line, key, names, saying->count);
    else if (part == WITHOUT_EFFECT)
        without_effect(reading, line, saying->keys[i].name, value);
    else if (part == REFUSED)
        tsk_mistake(reading, line, "%s: a step that has no handler cannot be run here", key);
    else if (part == CONFIG || part == INITIALIZATION)
        tsk_layer_add(reading, &draft->configs, key, value, part == CONFIG);
    else if (part == RETRY || (part == HANDLER && value->type != YAML_SCALAR_NODE))
        say_mapping(reading, draft, part, value, saying->in);
    else
        say_part(reading, draft, part == HANDLER ? CLASS : part, saying->keys[i].name, value,
                 saying->in);
    free(names);
}

static void read_keys(struct tsk_reading *reading, const struct saying *saying, yaml_node_t *map,
                      const char *what)
{
    tsk_each_pair(reading, map, what, say, (void *)saying);
}

/* ---- drafts */

static struct tsk_draft *draft_new(void)
{
    struct tsk_draft *draft = tsk_alloc(sizeof *draft);
    draft->base_ms = draft->cap_ms = -1;
    return draft;
}

static void draft_free(struct tsk_draft *draft)
{
    while (draft->links.count)
        free(draft->links.items[--draft->links.count].name);
    free(draft->links.items);
    free(draft->configs.items);
    free(draft->method);
    free(draft->name);
    free(draft);
}

/* Notes what a mapping says; what it does not name stays as it is. */
static void draft_read(struct tsk_reading *reading, struct tsk_draft *draft, yaml_node_t *map)
{
    if (!draft->line)
        draft->line = tsk_yaml_line(map);
    read_keys(reading, SAYING(draft, map, step_keys), map, "a step");
    yaml_node_t *name = draft->parts[NAME].node;
    if (!draft->name && name)
        draft->name = tsk_reading_text(reading, "name", name);
}

/* Adds batch_config to the configuration, for the handler that has to make batches of the size. */
static void add_batch_config(struct tsk_reading *reading, const struct tsk_draft *draft,
                             struct tsk_template_step *step)
{
    yaml_node_t *node = draft->parts[BATCH].node;
    if (node && node->type == YAML_MAPPING_NODE)
        tsk_json_put(step->handler_config, "batch_config", tsk_reading_json(reading, node));
    else if (node)
        tsk_mistake(reading, tsk_yaml_line(node), "batch_config has to be a mapping, not %s",
                    tsk_yaml_kind(node));
}

/* Parts are read in the order in which they are said, so that mistakes are told so. */
static void read_parts(struct tsk_reading *reading, struct tsk_draft *draft,
                       struct tsk_template_step *step)
{
    for (size_t i = 0; i < draft->said_count; i++) {
        enum part part = draft->said[i];
        if (draft->parts[part].node && !(part == OLD_LIMIT && draft->parts[LIMIT].node))
            read_part(reading, draft, part, step);
    }
}

static void draft_read_all(struct tsk_reading *reading, struct tsk_draft *draft,
                           struct tsk_template_step *step)
{
    struct tsk_buf class = TSK_BUF_INIT;
    char backoff[TSK_BACKOFF_SIZE];
    *step = (struct tsk_template_step){
        .line = draft->line, .retryable = true, .retry_limit = TSK_RETRY_LIMIT, .when_skipped = -1};
    read_parts(reading, draft, step);
    step->handler_config = tsk_layers_json(reading, &draft->configs);
    add_batch_config(reading, draft, step);
    if (step->handler_class && draft->method && strcmp(draft->method, "call") != 0) {
        tsk_buf_printf(&class, "%s#%s", step->handler_class, draft->method);
        free(step->handler_class);
        step->handler_class = class.data;
        tsk_note(reading, tsk_yaml_line(draft->parts[METHOD].node),
                 "method %.80s: the handler_class is \"%.160s\"", draft->method, class.data);
    }
    if (draft->growth || draft->base_ms >= 0 || draft->cap_ms >= 0)
        step->backoff = tsk_strdup(tsk_backoff_text((enum tsk_growth)draft->growth, draft->base_ms,
                                                    draft->cap_ms, backoff));
}

/* Checks what was noted, as unused, and frees the draft. */
static void draft_check(struct tsk_reading *reading, struct tsk_draft *draft)
{
    struct tsk_template_step step;
    bool was = reading->unused;
    reading->unused = true;
    draft_read_all(reading, draft, &step);
    step_fini(&step);
    draft_free(draft);
    reading->unused = was;
}

/* Reads what was noted into step, all but depends, and tells what a whole step must have. */
static void draft_finish(struct tsk_reading *reading, struct tsk_draft *draft,
                         struct tsk_template_step *step)
{
    draft_read_all(reading, draft, step);
    draft->links.type = draft->type <= TSK_STEP_BATCH_WORKER       ? (enum tsk_step_type)draft->type
                        : draft->type == TSK_STEP_BATCH_WORKER + 1 ? TSK_STEP_DECISION
                                                                   : TSK_STEP_CONVERGENCE;
    step->name = tsk_strdup(draft->name);
    if (!step->name || !*step->name)
        tsk_mistake(reading, step->line, "a step without a name");
    else if (!step->handler_class || !*step->handler_class)
        tsk_mistake(reading, step->line, "step \"%.80s\": %s is missing", step->name,
                    reading->template->steps_form ? "handler.callable" : "handler_class");
}

/* The parts of a file. */
struct file {
    yaml_node_t *schema, *input_schema, *named_steps, *step_templates, *steps,
        *environments;                   /* or NULL */
    struct tsk_layers configs, contexts; /* handler_config, default_context: of the task */
    struct tsk_draft **drafts;
    struct tsk_map *by_name; /* draft by name; borrowed */
    size_t count, cap;       /* of drafts */
};

/* ---- environments */

struct section {
    struct file *file;
    bool applies; /* else it is only checked, on copies */
};

/* Lays a mapping over a step, or over none, where the section does not apply. */
static void override_step(struct tsk_reading *reading, const struct section *section,
                          struct tsk_draft *draft, yaml_node_t *map)
{
    if (section->applies) {
        draft_read(reading, draft, map);
        return;
    }
    struct tsk_draft *scratch = draft_new();
    draft_read(reading, scratch, map);
    draft_check(reading, scratch);
}

/* Lays a mapping over the step of that name, or over each if that is ALL. */
static void override_named(struct tsk_reading *reading, const struct section *section,
                           const char *name, size_t line, yaml_node_t *map)
{
    const struct file *file = section->file;
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

static void read_override_list(struct tsk_reading *reading, struct section *section,
                               const char *key, const yaml_node_t *list)
{
    if (!tsk_reading_list(reading, key, list))
        return;
    for (yaml_node_item_t *item = list->data.sequence.items.start;
         item < list->data.sequence.items.top; item++) {
        yaml_node_t *map = yaml_document_get_node(reading->document, *item);
        yaml_node_t *named = tsk_template_member(reading->document, map, "name", 4);
        const char *name = named ? tsk_yaml_text(named) : NULL;
        if (name)
            override_named(reading, section, name, tsk_yaml_line(map), map);
        else
            tsk_mistake(reading, tsk_yaml_line(map), "a step without a name");
    }
}

/* Adds a layer for the environment that runs; one of another environment is only checked. */
static void section_layer(struct tsk_reading *reading, const struct section *section,
                          const char *key, yaml_node_t *value)
{
    bool config = strcmp(key, "handler_config") == 0, was = reading->unused;
    struct tsk_layers scratch = {NULL, 0, 0};
    struct tsk_layers *layers = !section->applies ? &scratch
                                : config          ? &section->file->configs
                                                  : &section->file->contexts;
    tsk_layer_add(reading, layers, key, value, config);
    reading->unused = true;
    json_object_put(tsk_layers_json(reading, &scratch));
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
        without_effect(reading, line, names[known], value);
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

static void check_names(struct tsk_reading *reading, struct file *file)
{
    const yaml_node_t *list = file->named_steps;
    struct tsk_map *named = tsk_map_new(NULL);
    bool good = list && tsk_reading_list(reading, "named_steps", list);
    for (yaml_node_item_t *item = good ? list->data.sequence.items.start : NULL;
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
        const char *name = file->drafts[i]->name;
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
    return tsk_template_member(document, node, part, len);
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

static void read_sections(struct tsk_reading *reading, struct file *file)
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
    template->handler_config = tsk_layers_json(reading, &file->configs);
    template->default_context = tsk_layers_json(reading, &file->contexts);
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
    struct file *file = ctx;
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
    else if (strcmp(key, "handler_config") == 0)
        tsk_layer_add(reading, &file->configs, key, value, true);
    else if (strcmp(key, "default_context") == 0)
        tsk_layer_add(reading, &file->contexts, key, value, false);
    else if (keys[i].text)
        set_text(reading, key, keys[i].text, value);
    else if (keys[i].node && !tsk_yaml_null(value))
        *keys[i].node = value;
    else if (!keys[i].node)
        without_effect(reading, line, keys[i].name, value);
}

/* ---- steps */

static void add_step(struct tsk_reading *reading, struct file *file, yaml_node_t *node)
{
    struct tsk_draft *draft = draft_new();
    draft_read(reading, draft, node);
    const char *name = draft->name;
    file->drafts = tsk_grow(file->drafts, &file->cap, file->count + 1, sizeof *file->drafts);
    file->drafts[file->count++] = draft;
    if (!name)
        return;
    if (tsk_map_get(file->by_name, name))
        tsk_mistake(reading, tsk_yaml_line(node), "duplicate step \"%.80s\"", name);
    else
        tsk_map_put(file->by_name, name, draft);
}

static void read_steps(struct tsk_reading *reading, struct file *file)
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
    if (!tsk_reading_list(reading, key, list))
        return;
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

static void finish_steps(struct tsk_reading *reading, struct file *file)
{
    struct tsk_template *template = reading->template;
    template->steps = tsk_alloc((file->count + 1) * sizeof *template->steps);
    template->count = file->count;
    const struct tsk_links **links = tsk_alloc((file->count + 1) * sizeof *links);
    for (size_t i = 0; i < file->count; i++) {
        draft_finish(reading, file->drafts[i], &template->steps[i]);
        links[i] = &file->drafts[i]->links;
    }
    tsk_reading_graph(reading, links);
    free(links);
}

static void read_file(struct tsk_reading *reading, struct file *file)
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
    read_sections(reading, file);
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
    struct file file = {.by_name = NULL};
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
    read_file(&reading, &file);
    tsk_map_free(file.by_name);
    for (size_t i = 0; i < file.count; i++)
        draft_free(file.drafts[i]);
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

void tsk_template_free(struct tsk_template *template)
{
    if (!template)
        return;
    for (size_t i = 0; i < template->count; i++)
        step_fini(&template->steps[i]);
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
