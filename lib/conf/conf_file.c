/* The configuration file: sections of keys, and per environment the same again.
 *
 * The walk is as deep as the format, so neither nesting nor an alias that holds itself can lead it
 * astray. The sections of all environments are checked, also those that are not in use, so that a
 * mistake in "production" is found on the day that it is made; they are set in a configuration
 * that is then thrown away. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"

#include "conf/conf_private.h"
#include "conf/yaml_private.h"

struct reader {
    struct tsk_conf *conf;    /* what is read into */
    struct tsk_conf *scratch; /* takes the environments that are not in use */
    const char *path;
    char *dir; /* of path, or NULL */
    const char *environment;
    yaml_document_t *document;
    yaml_node_t *override; /* the sections of environment, for afterwards, or NULL */
    const char *section;   /* the one that is being read */
};

static int wrong_kind(const struct reader *reader, size_t line, const char *name, const char *want,
                      const yaml_node_t *got, struct tsk_err *err)
{
    return tsk_err_set(err, TSK_CONFIG, "%s:%zu: %s has to be %s, not %s", reader->path, line, name,
                       want, tsk_yaml_kind(got));
}

/* Joins a YAML list of endpoints by commas. Returns false if it holds anything but text. */
static bool join_list(const struct reader *reader, const yaml_node_t *list, struct tsk_buf *out)
{
    tsk_buf_str(out, "");
    for (yaml_node_item_t *item = list->data.sequence.items.start;
         item < list->data.sequence.items.top; item++) {
        const char *text = tsk_yaml_text(yaml_document_get_node(reader->document, *item));
        if (!text)
            return false;
        if (out->len)
            tsk_buf_char(out, ',');
        tsk_buf_str(out, text);
    }
    return true;
}

static int set_key(struct reader *reader, enum tsk_conf_key key, const char *text, size_t line,
                   struct tsk_err *err)
{
    struct tsk_buf origin = TSK_BUF_INIT;
    tsk_buf_printf(&origin, "%s:%zu", reader->path, line);
    int result = tsk_conf_put(reader->conf, key, text, reader->dir, origin.data, err);
    if (result < 0) {
        tsk_err_prefix(err, "%s: %s.%s: ", origin.data, tsk_conf_spec(key)->section,
                       tsk_conf_spec(key)->key);
        if (err)
            err->kind = TSK_CONFIG;
    }
    tsk_buf_fini(&origin);
    return result;
}

static int unknown(const struct reader *reader, size_t line, const char *what, const char *name,
                   struct tsk_err *err)
{
    tsk_conf_unknown(TSK_CONFIG, what, name, err);
    return tsk_err_prefix(err, "%s:%zu: ", reader->path, line);
}

static int read_known(struct reader *reader, enum tsk_conf_key key, const char *name, size_t line,
                      const yaml_node_t *value, struct tsk_err *err)
{
    if (tsk_yaml_null(value))
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: %s has no value (\"\" is an empty one)",
                           reader->path, line, name);
    const char *text = tsk_yaml_text(value);
    if (text)
        return set_key(reader, key, text, line, err);
    bool list = tsk_conf_spec(key)->type == TSK_CONF_ENDPOINTS;
    struct tsk_buf joined = TSK_BUF_INIT;
    int result;
    if (list && value->type == YAML_SEQUENCE_NODE && join_list(reader, value, &joined))
        result = set_key(reader, key, joined.data, line, err);
    else
        result =
            wrong_kind(reader, line, name, list ? "text or a list of texts" : "text", value, err);
    tsk_buf_fini(&joined);
    return result;
}

static int read_key(void *ctx, const char *key, size_t line, yaml_node_t *value,
                    struct tsk_err *err)
{
    struct reader *reader = ctx;
    struct tsk_buf name = TSK_BUF_INIT;
    tsk_buf_printf(&name, "%s.%s", reader->section, key);
    enum tsk_conf_key known = tsk_conf_find(reader->section, key);
    int result = known == TSK_CONF_COUNT ? unknown(reader, line, "key", name.data, err)
                                         : read_known(reader, known, name.data, line, value, err);
    tsk_buf_fini(&name);
    return result;
}

/* A section or an environment in which all is commented out is as good as none. */
static int read_map(struct reader *reader, const char *name, size_t line, yaml_node_t *value,
                    tsk_yaml_fn *fn, struct tsk_err *err)
{
    if (tsk_yaml_null(value))
        return 0;
    if (value->type != YAML_MAPPING_NODE)
        return wrong_kind(reader, line, name, "a mapping", value, err);
    return tsk_yaml_each(reader->path, reader->document, value, fn, reader, err);
}

static int read_section(void *ctx, const char *name, size_t line, yaml_node_t *value,
                        struct tsk_err *err)
{
    struct reader *reader = ctx;
    if (!tsk_conf_is_section(name))
        return unknown(reader, line, "section", name, err);
    reader->section = name;
    return read_map(reader, name, line, value, read_key, err);
}

/* Whether what stands under name is an environment: a usual one, the one that runs, or any with a
 * section in it. */
static bool is_environment(const struct reader *reader, const char *name, const yaml_node_t *value)
{
    if (tsk_conf_is_environment(name) || strcmp(name, reader->environment) == 0)
        return true;
    if (value->type != YAML_MAPPING_NODE)
        return tsk_yaml_null(value) && tsk_conf_names_environment(name, false);
    for (const yaml_node_pair_t *pair = value->data.mapping.pairs.start;
         pair < value->data.mapping.pairs.top; pair++) {
        const char *key = tsk_yaml_text(yaml_document_get_node(reader->document, pair->key));
        if (key && tsk_conf_is_section(key))
            return tsk_conf_names_environment(name, true);
    }
    return false;
}

static int read_top(void *ctx, const char *name, size_t line, yaml_node_t *value,
                    struct tsk_err *err)
{
    struct reader *reader = ctx;
    if (!is_environment(reader, name, value))
        return read_section(ctx, name, line, value, err);
    if (strcmp(name, reader->environment) == 0)
        reader->override = value;
    struct tsk_conf *conf = reader->conf;
    reader->conf = reader->scratch;
    int result = read_map(reader, name, line, value, read_section, err);
    reader->conf = conf;
    return result;
}

static int read_document(struct reader *reader, struct tsk_err *err)
{
    yaml_node_t *root = yaml_document_get_root_node(reader->document);
    if (!root)
        return 0;
    if (read_map(reader, "the file", tsk_yaml_line(root), root, read_top, err) < 0)
        return -1;
    return reader->override
               ? read_map(reader, reader->environment, 0, reader->override, read_section, err)
               : 0;
}

static char *directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return NULL;
    char *dir = tsk_strdup(path);
    dir[slash == path ? 1 : slash - path] = '\0';
    return dir;
}

int tsk_conf_read(struct tsk_conf *conf, const char *path, const char *environment,
                  struct tsk_err *err)
{
    yaml_document_t document;
    if (tsk_yaml_load(path, &document, err) < 0)
        return -1;
    struct reader reader = {.conf = conf,
                            .scratch = tsk_conf_new(),
                            .path = path,
                            .dir = directory(path),
                            .environment = environment,
                            .document = &document};
    int result = read_document(&reader, err);
    if (result == 0)
        tsk_conf_note_file(conf, path, reader.override != NULL);
    yaml_document_delete(&document);
    tsk_conf_free(reader.scratch);
    free(reader.dir);
    return result;
}
