/* One step of a template. Its keys are a table; a draft gathers what the file says of a step, in
 * its place and in the section of the environment, before it is held against what it must have. */
#include <stdlib.h>
#include <string.h>

#include "parse_private.h"
#include "tasker/retry.h"
#include "template_private.h"

struct depend {
    char *name;
    size_t line;
};

struct tsk_draft {
    struct tsk_template_step step; /* depends is not used */
    struct depend *depends;
    size_t count, cap;
    char *dependent_system, *backoff; /* said, and of no use here */
};

typedef void field_fn(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                      void *field, yaml_node_t *value);

static void read_text(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                      void *field, yaml_node_t *value)
{
    char **text = field;
    (void)draft;
    if (tsk_yaml_null(value))
        return;
    free(*text);
    *text = tsk_reading_text(reading, key, value);
}

static void read_bool(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                      void *field, yaml_node_t *value)
{
    static const char words[] = "false,true,no,yes,off,on";
    struct tsk_err why;
    int64_t place;
    (void)draft;
    if (tsk_yaml_null(value))
        return;
    char *text = tsk_reading_text(reading, key, value);
    if (text && tsk_parse_choice(text, words, &place, &why) == 0)
        *(bool *)field = place % 2;
    else if (text)
        tsk_mistake(reading, tsk_yaml_line(value), "%s has to be true or false", key);
    free(text);
}

static bool read_int(struct tsk_reading *reading, const char *key, int64_t least, int64_t most,
                     int64_t *out, yaml_node_t *value)
{
    struct tsk_err why;
    char *text = tsk_reading_text(reading, key, value);
    bool ok = text && tsk_parse_int(text, least, most, out, &why) == 0;
    if (text && !ok)
        tsk_mistake(reading, tsk_yaml_line(value), "%s: %s", key, why.text);
    free(text);
    return ok;
}

static void read_limit(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                       void *field, yaml_node_t *value)
{
    (void)draft;
    if (!tsk_yaml_null(value))
        read_int(reading, key, 0, 1000000, field, value);
}

static void read_seconds(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                         void *field, yaml_node_t *value)
{
    int64_t seconds;
    (void)draft;
    if (!tsk_yaml_null(value) && read_int(reading, key, 1, 31536000, &seconds, value))
        *(int64_t *)field = seconds * 1000;
}

static void read_config(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                        void *field, yaml_node_t *value)
{
    struct json_object **config = field;
    (void)draft;
    if (tsk_yaml_null(value))
        return;
    if (value->type != YAML_MAPPING_NODE) {
        tsk_mistake(reading, tsk_yaml_line(value), "%s has to be a mapping, not %s", key,
                    tsk_yaml_kind(value));
        return;
    }
    *config = tsk_json_overlay(*config, tsk_reading_json(reading, value));
}

static void read_choice(struct tsk_reading *reading, const char *key, const char *words,
                        int64_t *out, yaml_node_t *value)
{
    struct tsk_err why;
    char *text = tsk_yaml_null(value) ? NULL : tsk_reading_text(reading, key, value);
    if (text && tsk_parse_choice(text, words, out, &why) < 0)
        tsk_mistake(reading, tsk_yaml_line(value), "%s: %s", key, why.text);
    free(text);
}

static void read_join(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                      void *field, yaml_node_t *value)
{
    (void)draft;
    read_choice(reading, key, TSK_JOIN_WORDS, field, value);
}

static void read_unsatisfied(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                             void *field, yaml_node_t *value)
{
    (void)draft;
    read_choice(reading, key, TSK_UNSATISFIED_WORDS, field, value);
}

/* There is one formula for all (retry.h); another name is not taken for it in silence. */
static void read_backoff(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                         void *field, yaml_node_t *value)
{
    read_text(reading, draft, key, field, value);
    const char *text = *(char **)field;
    if (text && strcmp(text, "exponential") != 0)
        tsk_mistake(reading, tsk_yaml_line(value),
                    "%s: the only back-off is exponential (base, cap and jitter are set in the "
                    "configuration, section retry)",
                    key);
}

static void clear_depends(struct tsk_draft *draft)
{
    while (draft->count)
        free(draft->depends[--draft->count].name);
}

static void add_depend(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                       yaml_node_t *node)
{
    char *name = tsk_reading_text(reading, key, node);
    if (!name)
        return;
    draft->depends =
        tsk_grow(draft->depends, &draft->cap, draft->count + 1, sizeof *draft->depends);
    draft->depends[draft->count++] = (struct depend){name, tsk_yaml_line(node)};
}

static void read_depends(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                         void *field, yaml_node_t *value)
{
    (void)field;
    if (tsk_yaml_null(value))
        return;
    if (value->type != YAML_SEQUENCE_NODE) {
        add_depend(reading, draft, key, value); /* depends_on_step, or a list of one */
        return;
    }
    for (yaml_node_item_t *item = value->data.sequence.items.start;
         item < value->data.sequence.items.top; item++)
        add_depend(reading, draft, key, yaml_document_get_node(reading->document, *item));
}

#define AT(field) offsetof(struct tsk_draft, field)
static const struct {
    const char *name;
    field_fn *read;
    size_t at;
} fields[] = {
    {"name", read_text, AT(step.name)},
    {"description", read_text, AT(step.description)},
    {"handler_class", read_text, AT(step.handler_class)},
    {"handler_config", read_config, AT(step.handler_config)},
    {"depends_on_step", read_depends, 0},
    {"depends_on_steps", read_depends, 0},
    {"default_retryable", read_bool, AT(step.retryable)},
    {"retryable", read_bool, AT(step.retryable)},
    {"default_retry_limit", read_limit, AT(step.retry_limit)},
    {"retry_limit", read_limit, AT(step.retry_limit)},
    {"timeout_seconds", read_seconds, AT(step.timeout_ms)},
    {"retry_backoff", read_backoff, AT(backoff)},
    {"skippable", read_bool, AT(step.skippable)},
    {"dependent_system", read_text, AT(dependent_system)},
    {"join", read_join, AT(step.join)},
    {"unsatisfied", read_unsatisfied, AT(step.unsatisfied)},
    {"optional", read_bool, AT(step.optional)},
};

enum { FIELDS = sizeof fields / sizeof *fields };

struct tsk_draft *tsk_draft_new(void)
{
    struct tsk_draft *draft = tsk_alloc(sizeof *draft);
    draft->step.retryable = true;
    draft->step.retry_limit = TSK_RETRY_LIMIT;
    draft->step.handler_config = json_object_new_object();
    return draft;
}

static void step_fini(struct tsk_template_step *step)
{
    free(step->name);
    free(step->handler_class);
    free(step->description);
    free(step->backoff);
    json_object_put(step->handler_config);
}

void tsk_draft_free(void *value)
{
    struct tsk_draft *draft = value;
    if (!draft)
        return;
    clear_depends(draft);
    step_fini(&draft->step);
    free(draft->depends);
    free(draft->dependent_system);
    free(draft->backoff);
    free(draft);
}

struct tsk_draft *tsk_draft_copy(const struct tsk_draft *draft)
{
    struct tsk_draft *copy = tsk_alloc(sizeof *copy);
    copy->step = draft->step;
    copy->step.name = tsk_strdup(draft->step.name);
    copy->step.handler_class = tsk_strdup(draft->step.handler_class);
    copy->step.description = tsk_strdup(draft->step.description);
    copy->step.handler_config = NULL;
    json_object_deep_copy(draft->step.handler_config, &copy->step.handler_config, NULL);
    return copy;
}

const char *tsk_draft_name(const struct tsk_draft *draft)
{
    return draft->step.name;
}

size_t tsk_draft_depends(const struct tsk_draft *draft)
{
    return draft->count;
}

const char *tsk_draft_depend(const struct tsk_draft *draft, size_t i, size_t *line)
{
    *line = draft->depends[i].line;
    return draft->depends[i].name;
}

static void read_field(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                       yaml_node_t *value)
{
    const char *names[FIELDS];
    struct tsk_draft *draft = ctx;
    for (size_t i = 0; i < FIELDS; i++) {
        names[i] = fields[i].name;
        if (strcmp(key, fields[i].name) == 0) {
            fields[i].read(reading, draft, key, (char *)draft + fields[i].at, value);
            return;
        }
    }
    tsk_unknown_key(reading, line, key, names, FIELDS);
}

/* Whether map itself says for what its step waits: that takes the place of what was said before. */
static bool names_depends(const struct tsk_reading *reading, const yaml_node_t *map)
{
    for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         pair < map->data.mapping.pairs.top; pair++) {
        const char *key = tsk_yaml_text(yaml_document_get_node(reading->document, pair->key));
        if (key && strncmp(key, "depends_on_step", 15) == 0)
            return true;
    }
    return false;
}

void tsk_draft_read(struct tsk_reading *reading, struct tsk_draft *draft, yaml_node_t *map)
{
    if (!draft->step.line)
        draft->step.line = tsk_yaml_line(map);
    if (map->type == YAML_MAPPING_NODE && names_depends(reading, map))
        clear_depends(draft);
    tsk_each_pair(reading, map, "a step", read_field, draft);
}

void tsk_draft_finish(struct tsk_reading *reading, struct tsk_draft *draft,
                      struct tsk_template_step *step)
{
    const struct tsk_template_step *said = &draft->step;
    if (!said->name || !*said->name)
        tsk_mistake(reading, said->line, "a step without a name");
    else if (!said->handler_class || !*said->handler_class)
        tsk_mistake(reading, said->line, "step \"%.80s\": handler_class is missing", said->name);
    *step = draft->step;
    draft->step = (struct tsk_template_step){.name = tsk_strdup(step->name)};
}
