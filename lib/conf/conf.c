/* The table of keys and one value for each of them.
 *
 * Whatever a value comes from, the built-in defaults among them, it goes through tsk_conf_put(),
 * which checks it against its row of the table; so a flag, a variable and a line of the file can
 * never differ in what they allow. A value keeps its text, its number where it is one, and its
 * origin. The layers are put together in conf_load.c, the file is read in conf_file.c. */
#include "tasker/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"

#include "conf/conf_private.h"
#include "base/parse_private.h"

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

bool tsk_conf_is_section(const char *name)
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

int tsk_conf_put(struct tsk_conf *conf, enum tsk_conf_key key, const char *text, const char *dir,
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
    if (tsk_conf_put(conf, key, text, NULL, origin, err) == 0)
        return 0;
    return tsk_err_prefix(err, "%s: ", origin);
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
        tsk_conf_unknown(TSK_USAGE, "key", name, err);
        result = tsk_err_prefix(err, "%s: ", origin);
    } else {
        result = tsk_conf_put(conf, key, equals + 1, NULL, origin, err);
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
        if (tsk_conf_put(conf, (enum tsk_conf_key)i, specs[i].fallback, NULL, "default", NULL) < 0)
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

void tsk_conf_note_file(struct tsk_conf *conf, const char *path, bool section)
{
    replace(&conf->file, path);
    conf->section = section;
}

bool tsk_conf_has_section(const struct tsk_conf *conf)
{
    return conf->section;
}

void tsk_conf_add_note(struct tsk_conf *conf, bool warning, const char *fmt, ...)
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

void tsk_conf_note_environment(struct tsk_conf *conf, const char *name)
{
    replace(&conf->environment, name);
}
