/* A YAML file into a document of libyaml, with limits.
 *
 * The file is parsed twice: first event by event, which finds a wrong byte, wrong syntax, a second
 * document, and nesting or anchors beyond all reason, before anything is built; libyaml takes time
 * that grows with the square of the depth and of the number of anchors. An alias costs nothing, as
 * the document only refers to the node that it names, but who reads the document reads that node
 * again. So the first pass counts each alias as what it stands for, and refuses one to the node
 * that contains it, which has no end. */
#include "conf/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/map.h"

#include "tasker/parse.h"

/* A file of the greatest length has half as many nodes if none is an alias. */
enum { MAX_DEPTH = 32, MAX_ANCHORS = 1000, MAX_NODES = TSK_YAML_MAX_BYTES };

static int read_all(int fd, const char *path, struct tsk_buf *buf, struct tsk_err *err)
{
    tsk_buf_str(buf, "");
    for (;;) {
        ssize_t got = read(fd, tsk_buf_reserve(buf, 65536), 65536);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return tsk_err_sys(err, TSK_CONFIG, "%s", path);
        if (got == 0)
            return 0;
        buf->len += (size_t)got;
        if (buf->len > TSK_YAML_MAX_BYTES)
            return tsk_err_set(err, TSK_CONFIG, "%s: larger than 1 MiB", path);
    }
}

/* Opens without waiting for the writer of a FIFO: one that has none is an empty file. A pipe that a
 * shell has made for this program (/dev/fd/63) has one, and is read to its end. */
static int read_file(const char *path, struct tsk_buf *buf, struct tsk_err *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return tsk_err_sys(err, TSK_CONFIG, "%s", *path ? path : "\"\"");
    if (fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode))
        fcntl(fd, F_SETFL, 0);
    int result = read_all(fd, path, buf, err);
    close(fd);
    return result;
}

/* The line on which the byte at offset stands, from 1; behind the last byte that of the last. */
static size_t line_at(const struct tsk_buf *buf, size_t offset)
{
    size_t line = 1;
    for (size_t i = 0; i < offset && i + 1 < buf->len; i++)
        line += buf->data[i] == '\n';
    return line;
}

/* What to do about a problem, by how libyaml's words for it begin; "" where that is all. */
static const char *hint_for(const char *problem)
{
    static const char *const table[][2] = {
        {"found unexpected end of stream", ": is a quote closed?"},
        {"did not find expected ',' or ']'", ": is a [ closed, is there a comma between two?"},
        {"did not find expected ',' or '}'", ": is a { closed, is there a comma between two?"},
        {"mapping values are not allowed", ": a text with \": \" in it has to be quoted"},
        {"did not find expected key", ": is it indented as the lines before it?"},
        {"did not find expected '-'", ": is it indented as the items before it?"},
        {"could not find expected ':'", ": a key without its colon"},
        {"found undefined alias", ": no &NAME comes before it"},
        {"found unknown escape", ": \\\\ is a backslash between double quotes"},
        {"found character that cannot start", ": a text that begins so has to be quoted"},
        {"invalid", ": the file has to be UTF-8"},
        {"incomplete UTF-8", ": the file has to be UTF-8"},
        {"control characters", ": \"\\xNN\" stands for one, between double quotes"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strncmp(problem, table[i][0], strlen(table[i][0])) == 0)
            return table[i][1];
    }
    return "";
}

/* What is wrong, in words. A tab stands where libyaml wants a blank, and is not to be seen. */
static const char *words_for(const struct tsk_buf *buf, const yaml_parser_t *parser)
{
    size_t at = parser->problem_mark.index;
    if (parser->error == YAML_SCANNER_ERROR &&
        ((at < buf->len && buf->data[at] == '\t') ||
         (parser->problem && strstr(parser->problem, "tab character"))))
        return "there is a tab, and YAML is indented with blanks";
    return parser->problem ? parser->problem : "not YAML";
}

/* For wrong bytes libyaml tells an offset, for the rest a mark, which at the end of the file is on
 * a line that is not there; and where the thing began that it was reading. */
static int syntax_error(const char *path, const struct tsk_buf *buf, const yaml_parser_t *parser,
                        struct tsk_err *err)
{
    const char *problem = words_for(buf, parser), *hint = hint_for(problem);
    if (parser->error == YAML_READER_ERROR)
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: wrong YAML: %s%s", path,
                           line_at(buf, parser->problem_offset), problem, hint);
    size_t line = parser->problem_mark.line + 1, last = line_at(buf, buf->len);
    char place[64] = "the end of the file", context[128] = "";
    if (line <= last)
        snprintf(place, sizeof place, "column %zu", parser->problem_mark.column + 1);
    if (parser->context && parser->context_mark.line + 1 != line)
        snprintf(context, sizeof context, " (%s that begins on line %zu)", parser->context,
                 parser->context_mark.line + 1);
    return tsk_err_set(err, TSK_CONFIG, "%s:%zu: wrong YAML at %s: %s%s%s", path,
                       line <= last ? line : last, place, problem, context, hint);
}

/* A node as a tree, with all aliases written out. */
struct extent {
    size_t nodes, depth; /* depth 0: it contains nothing */
    bool open;           /* its end is still to come */
};

/* The first pass: the nodes that are open, from the root, and those that have an anchor. */
struct limits {
    struct extent levels[MAX_DEPTH + 1], *anchored[MAX_DEPTH + 1]; /* anchored: or NULL */
    size_t depth, documents, anchor_count;
    struct tsk_map *anchors; /* struct extent by name */
};

/* A second anchor of the same name is found by libyaml in the second pass. */
static struct extent *add_anchor(struct limits *limits, const yaml_char_t *name)
{
    limits->anchor_count += name ? 1 : 0;
    if (!name || tsk_map_get(limits->anchors, (const char *)name))
        return NULL;
    struct extent *extent = tsk_alloc(sizeof *extent);
    tsk_map_put(limits->anchors, (const char *)name, extent);
    return extent;
}

/* Adds a whole node to the one that contains it. Returns what is beyond its limit, or NULL. */
static const char *add_node(struct limits *limits, struct extent node)
{
    struct extent *level = &limits->levels[limits->depth];
    level->nodes += node.nodes;
    if (level->depth <= node.depth)
        level->depth = node.depth + 1;
    if (limits->depth + node.depth > MAX_DEPTH)
        return "nested too deeply, with all aliases written out";
    return level->nodes > MAX_NODES ? "too many values, with all aliases written out" : NULL;
}

static const char *add_scalar(struct limits *limits, const yaml_char_t *anchor)
{
    struct extent *extent = add_anchor(limits, anchor);
    if (extent)
        extent->nodes = 1;
    if (limits->anchor_count > MAX_ANCHORS)
        return "too many anchors";
    return add_node(limits, (struct extent){1, 0, false});
}

/* An anchor that is unknown is found by libyaml in the second pass. */
static const char *add_alias(struct limits *limits, const yaml_char_t *name)
{
    const struct extent *extent = tsk_map_get(limits->anchors, (const char *)name);
    if (extent && extent->open)
        return "an alias to a node that contains it";
    return extent ? add_node(limits, *extent) : NULL;
}

static const char *begin_node(struct limits *limits, const yaml_char_t *anchor)
{
    struct extent *extent = add_anchor(limits, anchor);
    if (limits->anchor_count > MAX_ANCHORS)
        return "too many anchors";
    if (limits->depth == MAX_DEPTH)
        return "nested too deeply";
    limits->levels[++limits->depth] = (struct extent){1, 0, false};
    limits->anchored[limits->depth] = extent;
    if (extent)
        extent->open = true;
    return NULL;
}

static const char *end_node(struct limits *limits)
{
    struct extent node = limits->levels[limits->depth];
    if (limits->anchored[limits->depth])
        *limits->anchored[limits->depth] = node;
    limits->depth--;
    return add_node(limits, node);
}

/* Counts event. Returns what is beyond its limit, or NULL. */
static const char *beyond(struct limits *limits, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return add_scalar(limits, event->data.scalar.anchor);
    case YAML_ALIAS_EVENT:
        return add_alias(limits, event->data.alias.anchor);
    case YAML_SEQUENCE_START_EVENT:
        return begin_node(limits, event->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return begin_node(limits, event->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return end_node(limits);
    case YAML_DOCUMENT_START_EVENT:
        return ++limits->documents > 1 ? "a second document begins: only one is read" : NULL;
    default:
        return NULL;
    }
}

static int check_events(yaml_parser_t *parser, const char *path, const struct tsk_buf *buf,
                        struct limits *limits, struct tsk_err *err)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return syntax_error(path, buf, parser, err);
        const char *wrong = beyond(limits, &event);
        size_t line = event.start_mark.line + 1;
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (wrong)
            return tsk_err_set(err, TSK_CONFIG, "%s:%zu: %s", path, line, wrong);
    }
    return 0;
}

/* One pass over the bytes: builds the document, or checks alone if that is NULL. */
static int parse(const char *path, const struct tsk_buf *buf, yaml_document_t *document,
                 struct tsk_err *err)
{
    yaml_parser_t parser;
    int result = 0;
    if (!yaml_parser_initialize(&parser))
        return tsk_err_set(err, TSK_BUG, "%s: out of memory", path);
    struct limits limits = {.anchors = tsk_map_new(free)};
    yaml_parser_set_input_string(&parser, (const unsigned char *)buf->data, buf->len);
    if (!document)
        result = check_events(&parser, path, buf, &limits, err);
    else if (!yaml_parser_load(&parser, document))
        result = syntax_error(path, buf, &parser, err);
    yaml_parser_delete(&parser);
    tsk_map_free(limits.anchors);
    return result;
}

int tsk_yaml_load(const char *path, yaml_document_t *document, struct tsk_err *err)
{
    struct tsk_buf buf = TSK_BUF_INIT;
    int result = read_file(path, &buf, err);
    if (result == 0)
        result = parse(path, &buf, NULL, err);
    if (result == 0)
        result = parse(path, &buf, document, err);
    tsk_buf_fini(&buf);
    return result;
}

const char *tsk_yaml_text(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE)
        return NULL;
    const char *text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

bool tsk_yaml_null(const yaml_node_t *node)
{
    const char *text = tsk_yaml_text(node);
    if (!text || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return !*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

size_t tsk_yaml_line(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

const char *tsk_yaml_kind(const yaml_node_t *node)
{
    if (node->type == YAML_SEQUENCE_NODE)
        return "a list";
    if (node->type == YAML_MAPPING_NODE)
        return "a mapping";
    return tsk_yaml_text(node) ? "text" : "text with a NUL byte";
}

/* Checks the key of a pair and calls fn for it. seen has the keys before it, with their nodes. */
static int one_pair(const char *path, yaml_document_t *document, const yaml_node_pair_t *pair,
                    struct tsk_map *seen, tsk_yaml_fn *fn, void *ctx, struct tsk_err *err)
{
    yaml_node_t *node = yaml_document_get_node(document, pair->key);
    size_t line = tsk_yaml_line(node);
    const char *key = tsk_yaml_text(node);
    if (!key)
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: a key has to be text, not %s", path, line,
                           tsk_yaml_kind(node));
    const yaml_node_t *first = tsk_map_get(seen, key);
    char quoted[TSK_QUOTE_SIZE];
    if (first)
        return tsk_err_set(err, TSK_CONFIG, "%s:%zu: duplicate key %s (first on line %zu)", path,
                           line, tsk_quote(key, quoted), tsk_yaml_line(first));
    tsk_map_put(seen, key, node);
    return fn(ctx, key, line, yaml_document_get_node(document, pair->value), err);
}

/* Ends at the first mistake if note is NULL. */
static int each_pair(const char *path, yaml_document_t *document, yaml_node_t *map, tsk_yaml_fn *fn,
                     tsk_yaml_note *note, void *ctx, struct tsk_err *err)
{
    struct tsk_map *seen = tsk_map_new(NULL);
    int rc = 0;
    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         rc == 0 && pair < map->data.mapping.pairs.top; pair++) {
        rc = one_pair(path, document, pair, seen, fn, ctx, err);
        if (rc < 0 && note) {
            note(ctx, err);
            rc = 0;
        }
    }
    tsk_map_free(seen);
    return rc;
}

int tsk_yaml_each(const char *path, yaml_document_t *document, yaml_node_t *map, tsk_yaml_fn *fn,
                  void *ctx, struct tsk_err *err)
{
    return each_pair(path, document, map, fn, NULL, ctx, err);
}

void tsk_yaml_all(const char *path, yaml_document_t *document, yaml_node_t *map, tsk_yaml_fn *fn,
                  tsk_yaml_note *note, void *ctx)
{
    struct tsk_err err;
    each_pair(path, document, map, fn, note, ctx, &err);
}
