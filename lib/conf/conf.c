/* The table of keys and one value for each of them.
 *
 * Whatever a value comes from, the built-in defaults among them, it goes through put(),
 * which checks it against its row of the table; so a flag, a variable and a line of the file can
 * never differ in what they allow. A value keeps its text, its number where it is one, and its
 * origin. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/parse.h"
#include "conf/yaml.h"
#include "tasker/buf.h"
#include "tasker/conf.h"

static const struct tsk_conf_spec specs[] = {
#define X(S, K, s, k, type, def, lo, hi, choices, help)                                            \
    {s, k, TSK_CONF_##type, def, lo, hi, choices, help},
    TSK_CONF_KEYS(X)
#undef X
};

struct value {
    char *text;
    int64_t number;
    char *origin;
};

struct tsk_conf {
    struct value values[TSK_CONF_COUNT];
    char *file;
    char *environment;
    bool section;                   /* the file has one for the environment */
    struct tsk_buf warning, remark; /* as tsk_conf_warning and tsk_conf_remark tell them */
};

const struct tsk_conf_spec *tsk_conf_spec(enum tsk_conf_key key)
{
    return &specs[key];
}

enum tsk_conf_key tsk_conf_find(const char *section, const char *key)
{
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        if (strcmp(specs[i].section, section) == 0 && strcmp(specs[i].key, key) == 0)
            return (enum tsk_conf_key)i;
    }
    return TSK_CONF_COUNT;
}

static bool is_section(const char *name)
{
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        if (strcmp(specs[i].section, name) == 0)
            return true;
    }
    return false;
}

static int read_bool(const char *text, struct value *value, struct tsk_err *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i]) == 0) {
            value->number = (int64_t)(i % 2);
            value->text = tsk_strdup(words[i % 2]);
            return 0;
        }
    }
    char quoted[TSK_QUOTE_SIZE];
    return tsk_err_set(err, TSK_USAGE, "%s is neither true nor false", tsk_quote(text, quoted));
}

/* Each item is checked; spaces around the commas are dropped, so that users need not do so. */
static int read_endpoints(const char *text, struct value *value, struct tsk_err *err)
{
    struct tsk_buf all = TSK_BUF_INIT, item = TSK_BUF_INIT;
    int result = 0;
    for (bool more = true; more && result == 0;) {
        size_t len = strcspn(text, ",");
        more = text[len] == ',';
        const char *start = text + strspn(text, " ");
        const char *end = text + len;
        while (end > start && end[-1] == ' ')
            end--;
        tsk_buf_reset(&item);
        tsk_buf_add(&item, start, end > start ? (size_t)(end - start) : 0);
        result = tsk_parse_endpoint(item.data, err);
        if (all.len)
            tsk_buf_char(&all, ',');
        tsk_buf_str(&all, item.data);
        text += len + 1; /* beyond the NUL at the end, where it is not looked at again */
    }
    tsk_buf_fini(&item);
    value->text = all.data;
    return result;
}

static int check_string(enum tsk_conf_key key, const char *text, struct tsk_err *err)
{
    char quoted[TSK_QUOTE_SIZE];
    if (specs[key].most && strlen(text) > (size_t)specs[key].most)
        return tsk_err_set(err, TSK_USAGE, "%s has more than %lld characters",
                           tsk_quote(text, quoted), (long long)specs[key].most);
    if (key == TSK_WORKER_ID && *text && !tsk_name_valid(text))
        return tsk_err_set(err, TSK_USAGE, "%s is not a name (letters, digits and . _ : -)",
                           tsk_quote(text, quoted));
    return 0;
}

static int read_number(const struct tsk_conf_spec *spec, const char *text, struct value *value,
                       struct tsk_err *err)
{
    if (spec->type == TSK_CONF_SIZE)
        return tsk_parse_size(text, spec->least, spec->most, &value->number, err);
    if (spec->type == TSK_CONF_DURATION)
        return tsk_parse_duration(text, spec->least, spec->most, &value->number, err);
    return tsk_parse_int(text, spec->least, spec->most, &value->number, err);
}

static void read_path(const char *text, const char *dir, struct value *value)
{
    if (!dir || !*text || *text == '/')
        return;
    struct tsk_buf path = TSK_BUF_INIT;
    tsk_buf_printf(&path, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", text);
    value->text = path.data;
}

/* What is wrong with a store that is none; it is quoted unless a password may be in it. */
static int not_a_store(const char *text, struct tsk_err *err)
{
    const char *meant = tsk_store_meant(text);
    char quoted[80] = "";
    if (*text && strlen(text) < sizeof quoted - 8 && !strpbrk(text, "@?"))
        snprintf(quoted, sizeof quoted, "\"%s\": ", text);
    if (meant)
        return tsk_err_set(err, TSK_USAGE, "%sdid you mean %s...?", quoted, meant);
    return tsk_err_set(err, TSK_USAGE,
                       "%sa store is sqlite, sqlite:PATH, postgresql://HOST/NAME or none; a path "
                       "alone needs a slash, or .db at its end",
                       quoted);
}

/* A path in it is relative as read_path says; a path alone becomes a url. What is wrong is told
 * without the url: it may hold a password. One that is given as a flag could be read by everybody
 * in the list of processes. */
static int read_store(const char *text, const char *dir, const char *origin, struct value *value,
                      struct tsk_err *err)
{
    char shown[2];
    struct tsk_buf url = TSK_BUF_INIT;
    bool bare = tsk_store_is_path(text);
    int kind = bare ? TSK_STORE_SQLITE : tsk_store_kind_of(text);
    const char *path = bare ? text : text + 7;
    if (kind < 0)
        return not_a_store(text, err);
    if (!strncmp(origin, "--", 2) && tsk_store_url_shown(text, shown, sizeof shown))
        return tsk_err_set(err, TSK_USAGE,
                           "a password may not stand on the command line, where others can read it:"
                           " use PGPASSWORD, ~/.pgpass or the configuration file");
    if (kind != TSK_STORE_SQLITE || (!bare && strcmp(text, "sqlite") == 0))
        return 0;
    if (!*path)
        return tsk_err_set(
            err, TSK_USAGE,
            "\"sqlite:\" names no file: sqlite:PATH does, and sqlite alone is the one "
            "in the usual place");
    read_path(path, dir, value);
    tsk_buf_printf(&url, "sqlite:%s", value->text ? value->text : path);
    free(value->text);
    value->text = url.data;
    return 0;
}

/* Fills value->number, and value->text where it is not to be as it was written. */
static int read_value(enum tsk_conf_key key, const char *text, const char *dir, const char *origin,
                      struct value *value, struct tsk_err *err)
{
    switch (specs[key].type) {
    case TSK_CONF_BOOL:
        return read_bool(text, value, err);
    case TSK_CONF_ENUM:
        return tsk_parse_choice(text, specs[key].choices, &value->number, err);
    case TSK_CONF_ENDPOINTS:
        return read_endpoints(text, value, err);
    case TSK_CONF_STRING:
        return check_string(key, text, err);
    case TSK_CONF_PATH:
        read_path(text, dir, value);
        return 0;
    case TSK_CONF_STORE:
        return read_store(text, dir, origin, value, err);
    case TSK_CONF_INT:
    case TSK_CONF_SIZE:
    case TSK_CONF_DURATION:
        break;
    }
    return read_number(&specs[key], text, value, err);
}

static void value_fini(struct value *value)
{
    free(value->text);
    free(value->origin);
}

/* Sets key from text, where a relative PATH is taken from dir (NULL: left as it is). Returns 0, or
 * -1 with kind TSK_USAGE and a text that names neither key nor origin. */
static int put(struct tsk_conf *conf, enum tsk_conf_key key, const char *text, const char *dir,
               const char *origin, struct tsk_err *err)
{
    struct value value = {NULL, 0, NULL};
    if (read_value(key, text, dir, origin, &value, err) < 0) {
        value_fini(&value);
        return -1;
    }
    if (!value.text)
        value.text = tsk_strdup(text);
    value.origin = tsk_strdup(origin);
    value_fini(&conf->values[key]);
    conf->values[key] = value;
    return 0;
}

int tsk_conf_set(struct tsk_conf *conf, enum tsk_conf_key key, const char *text, const char *origin,
                 struct tsk_err *err)
{
    if (put(conf, key, text, NULL, origin, err) == 0)
        return 0;
    return tsk_err_prefix(err, "%s: ", origin);
}

/* ---- names: of environments, sections, keys */

static const char *const environments[] = {"development", "test", "production", "staging"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { NAME_SIZE = 64 }; /* "section.key" and "TASKER_SECTION_KEY" of all keys fit */

/* Names "section.key" of which only the key was written, or a wrong section with it. */
static const char *same_key(const char *word, char out[NAME_SIZE])
{
    const char *dot = strchr(word, '.');
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        const struct tsk_conf_spec *spec = tsk_conf_spec((enum tsk_conf_key)i);
        if (strcmp(spec->key, dot ? dot + 1 : word) == 0) {
            snprintf(out, NAME_SIZE, "%s.%s", spec->section, spec->key);
            return out;
        }
    }
    return NULL;
}

/* The section, environment or "section.key" nearest to word. */
static const char *nearest_name(const char *word, char out[NAME_SIZE])
{
    char full[TSK_CONF_COUNT][NAME_SIZE];
    const char *names[2 * TSK_CONF_COUNT + COUNT(environments)];
    size_t count = 0;
    for (size_t i = 0; i < COUNT(environments); i++)
        names[count++] = environments[i];
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        const struct tsk_conf_spec *spec = tsk_conf_spec((enum tsk_conf_key)i);
        snprintf(full[i], NAME_SIZE, "%s.%s", spec->section, spec->key);
        names[count++] = full[i];
        names[count++] = spec->section;
    }
    const char *found = tsk_nearest(word, names, count);
    if (found)
        snprintf(out, NAME_SIZE, "%s", found);
    return found ? out : same_key(word, out);
}

static bool is_usual(const char *name)
{
    for (size_t i = 0; i < COUNT(environments); i++) {
        if (strcmp(environments[i], name) == 0)
            return true;
    }
    return false;
}

/* Whether name may be that of an environment that is none of the usual ones: it is no slip in one
 * of them, nor, if nothing is below it, in a section. */
static bool may_be_environment(const char *name, bool has_sections)
{
    char near[NAME_SIZE];
    const char *slip = has_sections ? tsk_nearest(name, environments, COUNT(environments))
                                    : nearest_name(name, near);
    return tsk_name_valid(name) && !is_section(name) && !slip;
}

/* As tsk_unknown, with the key, section or environment that is near. */
static int unknown_name(enum tsk_exit kind, const char *what, const char *name, struct tsk_err *err)
{
    char near[NAME_SIZE];
    return tsk_unknown(err, kind, what, name, nearest_name(name, near));
}

int tsk_conf_assign(struct tsk_conf *conf, const char *assignment, const char *origin,
                    struct tsk_err *err)
{
    char quoted[TSK_QUOTE_SIZE];
    const char *equals = strchr(assignment, '=');
    if (!equals)
        return tsk_err_set(err, TSK_USAGE, "%s: %s is not SECTION.KEY=VALUE", origin,
                           tsk_quote(assignment, quoted));
    char *name = tsk_strdup(assignment);
    name[equals - assignment] = '\0';
    char *dot = strchr(name, '.');
    enum tsk_conf_key key = TSK_CONF_COUNT;
    if (dot) {
        *dot = '\0';
        key = tsk_conf_find(name, dot + 1);
        *dot = '.';
    }
    int result;
    if (key == TSK_CONF_COUNT) {
        unknown_name(TSK_USAGE, "key", name, err);
        result = tsk_err_prefix(err, "%s: ", origin);
    } else {
        result = put(conf, key, equals + 1, NULL, origin, err);
        if (result < 0)
            tsk_err_prefix(err, "%s: %s: ", origin, name);
    }
    free(name);
    return result;
}

struct tsk_conf *tsk_conf_new(void)
{
    struct tsk_conf *conf = tsk_alloc(sizeof *conf);
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        if (put(conf, (enum tsk_conf_key)i, specs[i].fallback, NULL, "default", NULL) < 0)
            abort(); /* the table contradicts itself: no test can have passed */
    }
    conf->environment = tsk_strdup("development");
    return conf;
}

void tsk_conf_free(struct tsk_conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < TSK_CONF_COUNT; i++)
        value_fini(&conf->values[i]);
    free(conf->file);
    free(conf->environment);
    tsk_buf_fini(&conf->warning);
    tsk_buf_fini(&conf->remark);
    free(conf);
}

int64_t tsk_conf_int(const struct tsk_conf *conf, enum tsk_conf_key key)
{
    return conf->values[key].number;
}

const char *tsk_conf_str(const struct tsk_conf *conf, enum tsk_conf_key key)
{
    return conf->values[key].text;
}

const char *tsk_conf_origin(const struct tsk_conf *conf, enum tsk_conf_key key)
{
    return conf->values[key].origin;
}

bool tsk_conf_is_set(const struct tsk_conf *conf, enum tsk_conf_key key)
{
    return strcmp(conf->values[key].origin, "default") != 0;
}

const char *tsk_conf_file(const struct tsk_conf *conf)
{
    return conf->file;
}

const char *tsk_conf_environment(const struct tsk_conf *conf)
{
    return conf->environment;
}

static void replace(char **place, const char *text)
{
    char *copy = tsk_strdup(text);
    free(*place);
    *place = copy;
}

static __attribute__((format(printf, 3, 4))) void add_note(struct tsk_conf *conf, bool warning,
                                                           const char *fmt, ...)
{
    struct tsk_buf *note = warning ? &conf->warning : &conf->remark;
    va_list args;
    va_start(args, fmt);
    tsk_buf_str(note, note->len ? "; " : "");
    tsk_buf_vprintf(note, fmt, args);
    va_end(args);
}

const char *tsk_conf_warning(const struct tsk_conf *conf)
{
    return conf->warning.data;
}

const char *tsk_conf_remark(const struct tsk_conf *conf)
{
    return conf->remark.data;
}

/* ---- The configuration file: sections of keys, and per environment the same again.
 *
 * The walk is as deep as the format, so neither nesting nor an alias that holds itself can lead it
 * astray. The sections of all environments are checked, also those that are not in use, so that a
 * mistake in "production" is found on the day that it is made; they are set in a configuration
 * that is then thrown away. */

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
    int result = put(reader->conf, key, text, reader->dir, origin.data, err);
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
    unknown_name(TSK_CONFIG, what, name, err);
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
    if (!is_section(name))
        return unknown(reader, line, "section", name, err);
    reader->section = name;
    return read_map(reader, name, line, value, read_key, err);
}

/* Whether what stands under name is an environment: a usual one, the one that runs, or any with a
 * section in it. */
static bool is_environment(const struct reader *reader, const char *name, const yaml_node_t *value)
{
    if (is_usual(name) || strcmp(name, reader->environment) == 0)
        return true;
    if (value->type != YAML_MAPPING_NODE)
        return tsk_yaml_null(value) && may_be_environment(name, false);
    for (const yaml_node_pair_t *pair = value->data.mapping.pairs.start;
         pair < value->data.mapping.pairs.top; pair++) {
        const char *key = tsk_yaml_text(yaml_document_get_node(reader->document, pair->key));
        if (key && is_section(key))
            return may_be_environment(name, true);
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

/* Reads the file at path into conf: its sections, then those that it has for environment. Returns
 * 0, or -1 with kind TSK_CONFIG, FILE:LINE in the text, and errno in code if it cannot be read. */
static int read_conf(struct tsk_conf *conf, const char *path, const char *environment,
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
    if (result == 0) {
        replace(&conf->file, path);
        conf->section = reader.override != NULL;
    }
    yaml_document_delete(&document);
    tsk_conf_free(reader.scratch);
    free(reader.dir);
    return result;
}

/* ---- The layers of the configuration in their order: the file, what it has for the environment,
 * the variables. (The flags come after, one by one, from the program.)
 *
 * A TASKER_SECTION_KEY variable that no key has is an error, since a mistyped name would otherwise
 * be a setting that does nothing. But a service that is named like a section makes its own (see
 * is_service_link), and they are ignored. All other TASKER_ variables belong to somebody else: to
 * the choice of file and environment, or to the handlers, in which programs of tasker may be run.
 */

extern char **environ; /* POSIX names it but leaves its declaration to the program */

/* Begins like a key of the section worker, but is the mark by which a worker finds its children. */
static const char exempt[] = "TASKER_WORKER_MARK";

/* An unset variable and an empty one are the same. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* Sets *by to what names the environment: "--environment", "TASKER_ENV" ...; NULL: nothing. */
static int choose_environment(struct tsk_conf *conf, const char *name, const char **by,
                              struct tsk_err *err)
{
    static const char *const names[] = {"TASKER_ENV", "APP_ENV", "RAILS_ENV", "RACK_ENV"};
    const char *from = NULL;
    *by = name ? "--environment" : NULL;
    for (size_t i = 0; !name && i < COUNT(names); i++) {
        name = variable(names[i]);
        from = names[i];
    }
    if (!name)
        name = environments[0];
    else if (!tsk_name_valid(name) || is_section(name)) {
        char quoted[TSK_QUOTE_SIZE];
        return tsk_err_set(err, TSK_CONFIG, "%s%s%s%s is not the name of an environment",
                           from ? "$" : "", from ? from : "", from ? ": " : "",
                           tsk_quote(name, quoted));
    }
    if (from && variable(from))
        *by = from;
    replace(&conf->environment, name);
    return 0;
}

/* Notes that the file has no section for the environment. APP_ENV and its like are set for other
 * programs too, and development is what everybody has. */
static void note_section(struct tsk_conf *conf, const char *by)
{
    const char *file = tsk_conf_file(conf), *name = tsk_conf_environment(conf);
    if (!by || !file || conf->section)
        return;
    bool ours = strcmp(by, "--environment") == 0 || strcmp(by, "TASKER_ENV") == 0;
    add_note(conf, ours && strcmp(name, environments[0]) != 0,
             "%s%s is %s, but %s has no section \"%s\": its common values are used",
             *by == '-' ? "" : "$", by, name, file, name);
}

static void variable_name(const struct tsk_conf_spec *spec, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, "TASKER_%s_%s", spec->section, spec->key);
    for (char *c = out; *c; c++)
        *c = (char)toupper((unsigned char)*c);
}

/* Whether name begins with TASKER_SECTION_ for some section. */
static bool has_section(const char *name)
{
    char known[NAME_SIZE];
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        const struct tsk_conf_spec *spec = tsk_conf_spec((enum tsk_conf_key)i);
        variable_name(spec, known);
        if (strncmp(name, known, strlen("TASKER_") + strlen(spec->section) + 1) == 0)
            return true;
    }
    return false;
}

static int unknown_variable(const char *name, struct tsk_err *err)
{
    char known[TSK_CONF_COUNT][NAME_SIZE];
    const char *names[TSK_CONF_COUNT];
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        variable_name(tsk_conf_spec((enum tsk_conf_key)i), known[i]);
        names[i] = known[i];
    }
    return tsk_unknown(err, TSK_CONFIG, "environment variable", name,
                       tsk_nearest(name, names, TSK_CONF_COUNT));
}

static int set_from_variables(struct tsk_conf *conf, struct tsk_err *err)
{
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        char name[NAME_SIZE], origin[NAME_SIZE + 1];
        variable_name(tsk_conf_spec((enum tsk_conf_key)i), name);
        const char *value = variable(name);
        snprintf(origin, sizeof origin, "$%s", name);
        if (value && tsk_conf_set(conf, (enum tsk_conf_key)i, value, origin, err) < 0) {
            if (err)
                err->kind = TSK_CONFIG;
            return -1;
        }
    }
    return 0;
}

/* Whether text is the end of a link's name behind _PORT_: "5555_TCP", "5555_TCP_ADDR". */
static bool is_port_link(const char *text)
{
    static const char *const ends[] = {"", "_ADDR", "_PORT", "_PROTO", "_PORT_START", "_PORT_END"};
    size_t digits = strspn(text, "0123456789");
    const char *protocol = text + digits + 1;
    size_t len = digits && text[digits] == '_' ? strcspn(protocol, "_") : 0;
    bool known = (len == 3 && (!strncmp(protocol, "TCP", 3) || !strncmp(protocol, "UDP", 3))) ||
                 (len == 4 && !strncmp(protocol, "SCTP", 4));
    for (size_t i = 0; known && i < COUNT(ends); i++) {
        if (strcmp(protocol + len, ends[i]) == 0)
            return true;
    }
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), tail = strlen(end);
    return len >= tail && strcmp(text + len - tail, end) == 0;
}

/* Whether a variable has the form in which Kubernetes tells each container of the services of its
 * namespace, and Docker of linked containers: a service "tasker-worker" makes TASKER_WORKER_PORT,
 * TASKER_WORKER_SERVICE_HOST and so on. */
static bool is_service_link(const char *name, const char *value)
{
    if (ends_with(name, "_PORT") && strstr(value, "://"))
        return true;
    if (ends_with(name, "_SERVICE_HOST") || ends_with(name, "_SERVICE_PORT") ||
        strstr(name, "_SERVICE_PORT_"))
        return true;
    for (const char *at = strstr(name, "_PORT_"); at; at = strstr(at + 1, "_PORT_")) {
        if (is_port_link(at + strlen("_PORT_")))
            return true;
    }
    return (ends_with(name, "_NAME") && *value == '/') || strstr(name, "_ENV_");
}

static bool known_variable(const char *name)
{
    char known[NAME_SIZE];
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        variable_name(tsk_conf_spec((enum tsk_conf_key)i), known);
        if (strcmp(name, known) == 0)
            return true;
    }
    return strcmp(name, exempt) == 0;
}

static int check_variables(struct tsk_conf *conf, struct tsk_err *err)
{
    struct tsk_buf links = TSK_BUF_INIT;
    int result = 0;
    for (char **entry = environ; entry && *entry && result == 0; entry++) {
        if (strncmp(*entry, "TASKER_", 7) != 0)
            continue;
        char *name = tsk_strdup(*entry);
        size_t len = strcspn(name, "=");
        const char *value = *entry + len + (name[len] == '=');
        name[len] = '\0';
        if (!has_section(name) || known_variable(name))
            ;
        else if (is_service_link(name, value))
            tsk_buf_printf(&links, "%s%s", links.len ? ", " : "", name);
        else
            result = unknown_variable(name, err);
        free(name);
    }
    if (links.len)
        add_note(conf, false, "service links of Kubernetes or Docker are ignored: %s", links.data);
    tsk_buf_fini(&links);
    return result;
}

/* Reads the file at DIR/REST if it is there: 1 if so, 0 if not, or -1. */
static int try_file(struct tsk_conf *conf, const char *dir, const char *rest, struct tsk_err *err)
{
    struct tsk_err local = TSK_ERR_INIT;
    struct tsk_buf path = TSK_BUF_INIT;
    tsk_buf_printf(&path, "%s%s", dir, rest);
    int result = read_conf(conf, path.data, tsk_conf_environment(conf), &local) == 0 ? 1 : -1;
    tsk_buf_fini(&path);
    if (result < 0 && (local.code == ENOENT || local.code == ENOTDIR))
        return 0;
    if (result < 0 && err)
        *err = local;
    return result;
}

static int find_file(struct tsk_conf *conf, struct tsk_err *err)
{
    const char *xdg = variable("XDG_CONFIG_HOME");
    const char *home = variable("HOME");
    int found = try_file(conf, "", "config/tasker.yaml", err);
    if (found == 0 && xdg && *xdg == '/') /* a relative one is to be ignored, the XDG rules say */
        found = try_file(conf, xdg, "/tasker/tasker.yaml", err);
    else if (found == 0 && home)
        found = try_file(conf, home, "/.config/tasker/tasker.yaml", err);
    if (found == 0)
        found = try_file(conf, "", "/etc/tasker/tasker.yaml", err);
    return found < 0 ? -1 : 0;
}

static int load_file(struct tsk_conf *conf, const char *path, struct tsk_err *err)
{
    if (path)
        return read_conf(conf, path, tsk_conf_environment(conf), err);
    path = variable("TASKER_CONFIG");
    if (!path)
        return find_file(conf, err);
    if (read_conf(conf, path, tsk_conf_environment(conf), err) == 0)
        return 0;
    return err && err->code ? tsk_err_prefix(err, "$TASKER_CONFIG: ") : -1;
}

int tsk_conf_load(struct tsk_conf *conf, const char *path, const char *environment,
                  struct tsk_err *err)
{
    const char *by;
    if (choose_environment(conf, environment, &by, err) < 0 || load_file(conf, path, err) < 0)
        return -1;
    note_section(conf, by);
    return check_variables(conf, err) < 0 ? -1 : set_from_variables(conf, err);
}
