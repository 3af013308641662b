/* Private to lib/template*.c: a file while it is read. */
#ifndef LIB_TEMPLATE_PRIVATE_H
#define LIB_TEMPLATE_PRIVATE_H

#include "tasker/buf.h"
#include "tasker/map.h"
#include "submit/template.h"

#include "conf/yaml.h"

struct tsk_reading {
    const char *path, *environment;
    yaml_document_t *document;
    struct tsk_template *template;
    tsk_template_fn *tell;
    void *ctx;
    size_t mistakes;
    bool unused;                    /* what is read counts for nothing: it needs no variables */
    struct tsk_map *without_effect; /* keys that are known and do nothing here */
    size_t without_effect_line;     /* of the first */
    size_t nodes; /* made into JSON so far: aliases could make more than anybody can hold */
};

/* Tells a mistake. Returns false, so that "return tsk_mistake(…)" reads well. */
bool tsk_mistake(struct tsk_reading *reading, size_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Tells what is no mistake: a key that does nothing here, once a file with all others of the kind,
 * unless its value is empty; or anything else. */
void tsk_without_effect(struct tsk_reading *reading, size_t line, const char *key,
                        const yaml_node_t *value);
void tsk_note(struct tsk_reading *reading, size_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Calls fn for each pair of map whose key is text and stands there once; other keys are told. A
 * node that is not a mapping is told too, as "WHAT has to be a mapping". */
typedef void tsk_pair_fn(struct tsk_reading *reading, void *ctx, const char *key, size_t line,
                         yaml_node_t *value);
void tsk_each_pair(struct tsk_reading *reading, yaml_node_t *map, const char *what, tsk_pair_fn *fn,
                   void *ctx);

/* Tells of a key that none of names is, with the nearest one. */
void tsk_unknown_key(struct tsk_reading *reading, size_t line, const char *key,
                     const char *const *names, size_t count);

/* ---- template_value.c: YAML values as JSON, with variables put in */

/* Returns node as JSON (the caller's; NULL is null). What cannot be is told. */
struct json_object *tsk_reading_json(struct tsk_reading *reading, yaml_node_t *node);

/* A scalar as text with its variables put in (the caller's); NULL and told if it is none. */
char *tsk_reading_text(struct tsk_reading *reading, const char *key, yaml_node_t *node);

/* A mapping that lies over those before it: member by member in all depth, or only at its top. */
struct tsk_layer {
    yaml_node_t *map;
    bool deep;
};

/* Returns what layers are together, an object of the caller's. A value that another lies over is
 * read as unused. */
struct json_object *tsk_reading_layers(struct tsk_reading *reading, const struct tsk_layer *layers,
                                       size_t count);

/* ---- template_step.c */

struct tsk_draft; /* a step with the names, still to be found, of those it waits for */

struct tsk_draft *tsk_draft_new(void);
void tsk_draft_free(void *draft);
const char *tsk_draft_name(const struct tsk_draft *draft);

/* Notes what a mapping says; what it does not name stays as it is. */
void tsk_draft_read(struct tsk_reading *reading, struct tsk_draft *draft, yaml_node_t *map);

/* Reads what was noted, for its mistakes alone. */
void tsk_draft_check(struct tsk_reading *reading, struct tsk_draft *draft);

/* Reads what was noted into step, all but depends, and tells what a whole step must have. */
void tsk_draft_finish(struct tsk_reading *reading, struct tsk_draft *draft,
                      struct tsk_template_step *step);

/* What a step is to others; the words are in template_step.c. */
enum tsk_step_type {
    TSK_STEP_STANDARD,
    TSK_STEP_DECISION,
    TSK_STEP_CONVERGENCE,
    TSK_STEP_BATCHABLE,
    TSK_STEP_BATCH_WORKER,
};
enum tsk_step_type tsk_draft_type(const struct tsk_draft *draft);

void tsk_template_step_fini(struct tsk_template_step *step);

/* ---- template_types.c */

/* Makes the steps what their types ask for, when they know which ones they wait for. */
void tsk_reading_types(struct tsk_reading *reading, struct tsk_draft *const *drafts);

/* ---- template_sections.c */

/* The parts of a file. */
struct tsk_template_file {
    yaml_node_t *schema, *input_schema, *named_steps, *step_templates, *steps,
        *environments;                        /* or NULL */
    struct tsk_layer configs[2], contexts[2]; /* handler_config, default_context: of the task */
    size_t config_count, context_count;
    struct tsk_draft **drafts;
    struct tsk_map *by_name; /* draft by name; borrowed */
    size_t count, cap;       /* of drafts */
};

/* Reads all but the steps, which are there as drafts already, and lays the section of the
 * environment over them. */
void tsk_template_sections(struct tsk_reading *reading, struct tsk_template_file *file);

/* Adds a layer of a member of the task. */
void tsk_template_layer(struct tsk_reading *reading, const char *key, struct tsk_layer *layers,
                        size_t *count, yaml_node_t *value, bool deep);

/* ---- template_graph.c */

/* Finds the steps that each one waits for, and their levels; tells unknown ones and circles. drafts
 * are in the order of template->steps. */
void tsk_reading_graph(struct tsk_reading *reading, struct tsk_draft *const *drafts);

/* The names that draft waits for, and where they stand. */
size_t tsk_draft_depends(const struct tsk_draft *draft);
const char *tsk_draft_depend(const struct tsk_draft *draft, size_t i, size_t *line);

#endif
