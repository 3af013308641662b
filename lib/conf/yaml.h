/* YAML files as the configuration and the handler registry read them: small, one document, and
 * every error with FILE:LINE. */
#ifndef LIB_YAML_H
#define LIB_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "tasker/err.h"

#define TSK_YAML_MAX_BYTES (1024 * 1024)

/* Reads the file at path. Returns 0 and the document, which the caller ends with
 * yaml_document_delete() and which has no root node if the file is empty; or -1 with kind
 * TSK_CONFIG (and errno in code if the file cannot be read). */
int tsk_yaml_load(const char *path, yaml_document_t *document, struct tsk_err *err);

/* The text of a scalar; NULL for any other node, and for one that holds a NUL byte. Borrowed. */
const char *tsk_yaml_text(const yaml_node_t *node);

/* Whether node is a scalar that means "nothing": empty and not quoted, ~ or null. */
bool tsk_yaml_null(const yaml_node_t *node);

/* The line on which node begins, from 1. */
size_t tsk_yaml_line(const yaml_node_t *node);

/* "a list", "a mapping", "text": what node is, for messages. */
const char *tsk_yaml_kind(const yaml_node_t *node);

/* One pair of a mapping; line is that of the key. Returns 0 to go on, or -1 with err filled. */
typedef int tsk_yaml_fn(void *ctx, const char *key, size_t line, yaml_node_t *value,
                        struct tsk_err *err);

/* Calls fn for each pair of map, in order, after checking that its key is text and the only one of
 * that name. Returns 0, or -1 with FILE:LINE in the text or as fn left it. */
int tsk_yaml_each(const char *path, yaml_document_t *document, yaml_node_t *map, tsk_yaml_fn *fn,
                  void *ctx, struct tsk_err *err);

/* The same, but goes on after a mistake: note is told of each. */
typedef void tsk_yaml_note(void *ctx, const struct tsk_err *err);
void tsk_yaml_all(const char *path, yaml_document_t *document, yaml_node_t *map, tsk_yaml_fn *fn,
                  tsk_yaml_note *note, void *ctx);

#endif
