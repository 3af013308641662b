/* One step of a template. A draft notes where the file says what of a step: at its own place, and
 * in the section of the environment, which takes the place of it. What is said is read at the end,
 * so that a value which is replaced needs no variables; it is then held against what a step must
 * have.
 *
 * There are two spellings (template.h), in one table: a key of either leads to the same part. */
#include <stdlib.h>
#include <string.h>

#include "tasker/parse.h"
#include "tasker/message.h"
#include "tasker/retry.h"
#include "submit/template_private.h"

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

struct depend {
    char *name;
    size_t line;
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
    struct tsk_layer *configs; /* all that is said of handler_config and initialization */
    size_t config_count, config_cap;
    struct depend *depends;
    size_t count, cap;
    int64_t type, growth, base_ms, cap_ms;
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
    draft->depends =
        tsk_grow(draft->depends, &draft->cap, draft->count + 1, sizeof *draft->depends);
    draft->depends[draft->count++] = (struct depend){name, tsk_yaml_line(node)};
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

/* Reads, for its mistakes alone, what counts no more since another takes its place. */
static void read_replaced(struct tsk_reading *reading, const struct tsk_draft *from, enum part part)
{
    struct tsk_draft *scratch = tsk_draft_new();
    struct tsk_template_step step = {.name = NULL};
    bool was = reading->unused;
    reading->unused = true;
    scratch->parts[part] = from->parts[part];
    read_part(reading, scratch, part, &step);
    free(step.description);
    free(step.handler_class);
    tsk_draft_free(scratch);
    reading->unused = was;
}

static void forget(struct tsk_reading *reading, struct tsk_draft *draft, enum part part,
                   const yaml_node_t *in)
{
    if (!draft->parts[part].node || draft->parts[part].in == in)
        return;
    read_replaced(reading, draft, part);
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

static void say_config(struct tsk_reading *reading, struct tsk_draft *draft, const char *key,
                       yaml_node_t *value, bool deep)
{
    if (tsk_yaml_null(value))
        return;
    if (value->type != YAML_MAPPING_NODE) {
        tsk_mistake(reading, tsk_yaml_line(value), "%s has to be a mapping, not %s", key,
                    tsk_yaml_kind(value));
        return;
    }
    draft->configs = tsk_grow(draft->configs, &draft->config_cap, draft->config_count + 1,
                              sizeof *draft->configs);
    draft->configs[draft->config_count++] = (struct tsk_layer){value, deep};
}

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
        tsk_without_effect(reading, line, saying->keys[i].name, value);
    else if (part == REFUSED)
        tsk_mistake(reading, line, "%s: a step that has no handler cannot be run here", key);
    else if (part == CONFIG || part == INITIALIZATION)
        say_config(reading, draft, key, value, part == CONFIG);
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

struct tsk_draft *tsk_draft_new(void)
{
    struct tsk_draft *draft = tsk_alloc(sizeof *draft);
    draft->base_ms = draft->cap_ms = -1;
    return draft;
}

void tsk_draft_free(void *value)
{
    struct tsk_draft *draft = value;
    if (!draft)
        return;
    while (draft->count)
        free(draft->depends[--draft->count].name);
    free(draft->depends);
    free(draft->configs);
    free(draft->method);
    free(draft->name);
    free(draft);
}

const char *tsk_draft_name(const struct tsk_draft *draft)
{
    return draft->name;
}

enum tsk_step_type tsk_draft_type(const struct tsk_draft *draft)
{
    return draft->type <= TSK_STEP_BATCH_WORKER       ? (enum tsk_step_type)draft->type
           : draft->type == TSK_STEP_BATCH_WORKER + 1 ? TSK_STEP_DECISION
                                                      : TSK_STEP_CONVERGENCE;
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

void tsk_draft_read(struct tsk_reading *reading, struct tsk_draft *draft, yaml_node_t *map)
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

static void read_all(struct tsk_reading *reading, struct tsk_draft *draft,
                     struct tsk_template_step *step)
{
    struct tsk_buf class = TSK_BUF_INIT;
    char backoff[TSK_BACKOFF_SIZE];
    *step = (struct tsk_template_step){
        .line = draft->line, .retryable = true, .retry_limit = TSK_RETRY_LIMIT, .when_skipped = -1};
    read_parts(reading, draft, step);
    step->handler_config = tsk_reading_layers(reading, draft->configs, draft->config_count);
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

void tsk_draft_check(struct tsk_reading *reading, struct tsk_draft *draft)
{
    struct tsk_template_step step;
    bool was = reading->unused;
    reading->unused = true;
    read_all(reading, draft, &step);
    tsk_template_step_fini(&step);
    reading->unused = was;
}

void tsk_draft_finish(struct tsk_reading *reading, struct tsk_draft *draft,
                      struct tsk_template_step *step)
{
    read_all(reading, draft, step);
    step->name = tsk_strdup(draft->name);
    if (!step->name || !*step->name)
        tsk_mistake(reading, step->line, "a step without a name");
    else if (!step->handler_class || !*step->handler_class)
        tsk_mistake(reading, step->line, "step \"%.80s\": %s is missing", step->name,
                    reading->template->steps_form ? "handler.callable" : "handler_class");
}
