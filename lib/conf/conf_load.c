/* The layers of the configuration in their order: the file, what it has for the environment, the
 * variables. (The flags come after, one by one, from the program.)
 *
 * A TASKER_SECTION_KEY variable that no key has is an error, since a mistyped name would otherwise
 * be a setting that does nothing. But a service that is named like a section makes its own (see
 * is_service_link), and they are ignored. All other TASKER_ variables belong to somebody else: to
 * the choice of file and environment, or to the handlers, in which programs of tasker may be run.
 */
#include "tasker/conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"

#include "conf/conf_private.h"
#include "base/parse_private.h"

extern char **environ; /* POSIX names it but leaves its declaration to the program */

static const char *const environments[] = {"development", "test", "production", "staging"};

/* Begins like a key of the section worker, but is the mark by which a worker finds its children. */
static const char exempt[] = "TASKER_WORKER_MARK";

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { NAME_SIZE = 64 }; /* "section.key" and "TASKER_SECTION_KEY" of all keys fit */

/* An unset variable and an empty one are the same. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

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

bool tsk_conf_is_environment(const char *name)
{
    for (size_t i = 0; i < COUNT(environments); i++) {
        if (strcmp(environments[i], name) == 0)
            return true;
    }
    return false;
}

bool tsk_conf_names_environment(const char *name, bool has_sections)
{
    char near[NAME_SIZE];
    const char *slip = has_sections ? tsk_nearest(name, environments, COUNT(environments))
                                    : nearest_name(name, near);
    return tsk_name_valid(name) && !tsk_conf_is_section(name) && !slip;
}

int tsk_conf_unknown(enum tsk_exit kind, const char *what, const char *name, struct tsk_err *err)
{
    char near[NAME_SIZE];
    return tsk_unknown(err, kind, what, name, nearest_name(name, near));
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
    else if (!tsk_name_valid(name) || tsk_conf_is_section(name)) {
        char quoted[TSK_QUOTE_SIZE];
        return tsk_err_set(err, TSK_CONFIG, "%s%s%s%s is not the name of an environment",
                           from ? "$" : "", from ? from : "", from ? ": " : "",
                           tsk_quote(name, quoted));
    }
    if (from && variable(from))
        *by = from;
    tsk_conf_note_environment(conf, name);
    return 0;
}

/* Notes that the file has no section for the environment. APP_ENV and its like are set for other
 * programs too, and development is what everybody has. */
static void note_section(struct tsk_conf *conf, const char *by)
{
    const char *file = tsk_conf_file(conf), *name = tsk_conf_environment(conf);
    if (!by || !file || tsk_conf_has_section(conf))
        return;
    bool ours = strcmp(by, "--environment") == 0 || strcmp(by, "TASKER_ENV") == 0;
    tsk_conf_add_note(conf, ours && strcmp(name, environments[0]) != 0,
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
        tsk_conf_add_note(conf, false, "service links of Kubernetes or Docker are ignored: %s",
                          links.data);
    tsk_buf_fini(&links);
    return result;
}

/* Reads the file at DIR/REST if it is there: 1 if so, 0 if not, or -1. */
static int try_file(struct tsk_conf *conf, const char *dir, const char *rest, struct tsk_err *err)
{
    struct tsk_err local = TSK_ERR_INIT;
    struct tsk_buf path = TSK_BUF_INIT;
    tsk_buf_printf(&path, "%s%s", dir, rest);
    int result = tsk_conf_read(conf, path.data, tsk_conf_environment(conf), &local) == 0 ? 1 : -1;
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
        return tsk_conf_read(conf, path, tsk_conf_environment(conf), err);
    path = variable("TASKER_CONFIG");
    if (!path)
        return find_file(conf, err);
    if (tsk_conf_read(conf, path, tsk_conf_environment(conf), err) == 0)
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
