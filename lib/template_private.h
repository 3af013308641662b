/* Private to lib/template*.c: a file while it is read. */
#ifndef LIB_TEMPLATE_PRIVATE_H
#define LIB_TEMPLATE_PRIVATE_H

#include "tasker/buf.h"
#include "tasker/map.h"
#include "tasker/template.h"

#include "yaml_private.h"

struct tsk_reading {
    const char *path, *environment;
    yaml_document_t *document;
    struct tsk_template *template;
    tsk_template_fn *tell;
    void *ctx;
    size_t mistakes;
    size_t nodes; /* made into JSON so far: aliases could make more than anybody can hold */
};

/* Tells a mistake. Returns false, so that "return tsk_mistake(…)" reads well. */
bool tsk_mistake(struct tsk_reading *reading, size_t line, const char *fmt, ...)
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

/* Lays over on base: members of objects one by one. Takes both, returns the result. */
struct json_object *tsk_json_overlay(struct json_object *base, struct json_object *over);

/* ---- template_step.c */

struct tsk_draft; /* a step with the names, still to be found, of those it waits for */

struct tsk_draft *tsk_draft_new(void);
void tsk_draft_free(void *draft);
const char *tsk_draft_name(const struct tsk_draft *draft);

/* Reads a mapping into draft; what it does not name stays as it is. */
void tsk_draft_read(struct tsk_reading *reading, struct tsk_draft *draft, yaml_node_t *map);

/* A copy, to be tried on. */
struct tsk_draft *tsk_draft_copy(const struct tsk_draft *draft);

/* Tells what a whole step must have and draft has not; and puts it into step, all but depends. */
void tsk_draft_finish(struct tsk_reading *reading, struct tsk_draft *draft,
                      struct tsk_template_step *step);

/* ---- template_sections.c */

/* The parts of a file. */
struct tsk_template_file {
    yaml_node_t *schema, *named_steps, *step_templates, *environments,
        *handler_config; /* or NULL */
    char *unused;        /* texts that are known and of no use here */
    struct tsk_draft **drafts;
    struct tsk_map *by_name; /* draft by name; borrowed */
    size_t count, cap;       /* of drafts */
};

/* Reads all but the steps, which are there as drafts already, and lays the section of the
 * environment over them. */
void tsk_template_sections(struct tsk_reading *reading, struct tsk_template_file *file);

/* ---- template_graph.c */

/* Finds the steps that each one waits for, and their levels; tells unknown ones and circles. drafts
 * are in the order of template->steps. */
void tsk_reading_graph(struct tsk_reading *reading, struct tsk_draft *const *drafts);

/* The names that draft waits for, and where they stand. */
size_t tsk_draft_depends(const struct tsk_draft *draft);
const char *tsk_draft_depend(const struct tsk_draft *draft, size_t i, size_t *line);

#endif
