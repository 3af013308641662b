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

/* Tells what is no mistake. */
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

/* ---- template_value.c */

/* Returns node as JSON (the caller's; NULL is null). What cannot be is told. */
struct json_object *tsk_reading_json(struct tsk_reading *reading, yaml_node_t *node);

/* A scalar as text with its variables put in (the caller's); NULL and told if it is none. */
char *tsk_reading_text(struct tsk_reading *reading, const char *key, yaml_node_t *node);

/* The value of a key of len bytes in a mapping; NULL if there is none, or if map is no mapping. */
yaml_node_t *tsk_template_member(yaml_document_t *document, const yaml_node_t *map, const char *key,
                                 size_t len);

/* Whether node is a list; else that is told. */
bool tsk_reading_list(struct tsk_reading *reading, const char *key, const yaml_node_t *node);

/* Mappings, each over those before it: member by member in all depth, or only at its top. */
struct tsk_layers {
    struct tsk_layer {
        yaml_node_t *map;
        bool deep;
    } * items;
    size_t count, cap;
};

/* Adds the value of a key, which has to be a mapping; null adds nothing. */
void tsk_layer_add(struct tsk_reading *reading, struct tsk_layers *layers, const char *key,
                   yaml_node_t *value, bool deep);

/* Returns what layers are together, an object of the caller's, and empties them. A value that
 * another lies over is read as unused. */
struct json_object *tsk_layers_json(struct tsk_reading *reading, struct tsk_layers *layers);

/* ---- template_graph.c */

enum tsk_step_type {
    TSK_STEP_STANDARD,
    TSK_STEP_DECISION,
    TSK_STEP_CONVERGENCE,
    TSK_STEP_BATCHABLE,
    TSK_STEP_BATCH_WORKER,
};

/* What a step is to others: its type, and the names of those that it waits for. */
struct tsk_links {
    enum tsk_step_type type;
    struct tsk_link {
        char *name;
        size_t line;
    } * items;
    size_t count, cap;
};

/* Finds the steps that each one waits for, and their levels; tells unknown ones and cycles. links
 * are in the order of template->steps. */
void tsk_reading_graph(struct tsk_reading *reading, const struct tsk_links *const *links);

#endif
