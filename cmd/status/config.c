/* tasker-status config: what the configuration is and where each value came from. It shows what
 * every program would see, since all of them load it the same way. */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/table.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/json.h"
#include "tasker/parse.h"
#include "tasker/store.h"

#define SHOWN 1100 /* bytes of a store url without its password */

/* "section.key" of a key; to be freed. */
static char *full_name(enum tsk_conf_key key)
{
    const struct tsk_conf_spec *spec = tsk_conf_spec(key);
    struct tsk_buf name = TSK_BUF_INIT;
    tsk_buf_printf(&name, "%s.%s", spec->section, spec->key);
    return name.data;
}

/* Whether operand names this key or its section. */
static bool names_key(const char *operand, enum tsk_conf_key key)
{
    const struct tsk_conf_spec *spec = tsk_conf_spec(key);
    size_t len = strlen(spec->section);
    if (strncmp(operand, spec->section, len))
        return false;
    return !operand[len] || (operand[len] == '.' && strcmp(operand + len + 1, spec->key) == 0);
}

static bool is_asked(char *const *operands, size_t count, enum tsk_conf_key key)
{
    for (size_t i = 0; i < count; i++) {
        if (names_key(operands[i], key))
            return true;
    }
    return count == 0;
}

/* Tells of an operand that names nothing, with the nearest name that there is. */
static enum tsk_exit unknown(const char *operand)
{
    char *names[TSK_CONF_COUNT];
    const char *known[2 * TSK_CONF_COUNT];
    size_t count = 0;
    for (int key = 0; key < TSK_CONF_COUNT; key++) {
        names[key] = full_name((enum tsk_conf_key)key);
        known[count++] = names[key];
        known[count++] = tsk_conf_spec((enum tsk_conf_key)key)->section;
    }
    const char *near = tsk_nearest(operand, known, count);
    if (near)
        diag_error("\"%s\" is no section or key (did you mean %s?)", operand, near);
    else
        diag_error("\"%s\" is no section or key", operand);
    for (int key = 0; key < TSK_CONF_COUNT; key++)
        free(names[key]);
    return TSK_USAGE;
}

static enum tsk_exit check_operands(char *const *operands, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int key = 0;
        while (key < TSK_CONF_COUNT && !names_key(operands[i], (enum tsk_conf_key)key))
            key++;
        if (key == TSK_CONF_COUNT)
            return unknown(operands[i]);
    }
    return TSK_OK;
}

/* A value as text that anybody may see. shown is for one that cannot be as it is. */
static const char *text_of(const struct tsk_conf *conf, enum tsk_conf_key key, char shown[SHOWN])
{
    const char *value = tsk_conf_str(conf, key);
    if (tsk_conf_spec(key)->type != TSK_CONF_STORE)
        return value;
    tsk_store_url_shown(value, shown, SHOWN);
    return shown;
}

/* A value in its own type; sizes in bytes, durations in ms. */
static struct json_object *typed_value(const struct tsk_conf *conf, enum tsk_conf_key key)
{
    char shown[SHOWN];
    const char *text = text_of(conf, key, shown);
    switch (tsk_conf_spec(key)->type) {
    case TSK_CONF_BOOL:
        return json_object_new_boolean(tsk_conf_int(conf, key) != 0);
    case TSK_CONF_INT:
    case TSK_CONF_SIZE:
    case TSK_CONF_DURATION:
        return json_object_new_int64(tsk_conf_int(conf, key));
    default:
        return tsk_json_lossy(text, strlen(text));
    }
}

static const char *unit_of(enum tsk_conf_type type)
{
    return type == TSK_CONF_SIZE ? "bytes" : type == TSK_CONF_DURATION ? "ms" : NULL;
}

static void put_value(struct json_object *values, const struct tsk_conf *conf,
                      enum tsk_conf_key key)
{
    const struct tsk_conf_spec *spec = tsk_conf_spec(key);
    const char *origin = tsk_conf_origin(conf, key);
    struct json_object *value = json_object_new_object();
    char *name = full_name(key);
    tsk_json_put(value, "value", typed_value(conf, key));
    if (unit_of(spec->type))
        tsk_json_put_str(value, "unit", unit_of(spec->type));
    tsk_json_put(value, "origin", tsk_json_lossy(origin, strlen(origin)));
    tsk_json_put_str(value, "default", spec->fallback);
    tsk_json_put_str(value, "help", spec->help);
    tsk_json_put(values, name, value);
    free(name);
}

static void show_json(const struct tsk_conf *conf, char *const *operands, size_t count)
{
    struct json_object *all = json_object_new_object(), *values = json_object_new_object();
    const char *file = tsk_conf_file(conf);
    tsk_json_put_str(all, "message_type", "configuration");
    tsk_json_put(all, "file", file ? tsk_json_lossy(file, strlen(file)) : NULL);
    tsk_json_put_str(all, "environment", tsk_conf_environment(conf));
    for (int key = 0; key < TSK_CONF_COUNT; key++) {
        if (is_asked(operands, count, (enum tsk_conf_key)key))
            put_value(values, conf, (enum tsk_conf_key)key);
    }
    tsk_json_put(all, "values", values);
    out_json(all);
    json_object_put(all);
}

static void show_text(const struct tsk_conf *conf, char *const *operands, size_t count)
{
    struct table table = {.columns = 3};
    const char *path = tsk_conf_file(conf);
    struct tsk_buf file = TSK_BUF_INIT;
    tsk_plain_str(&file, path ? path : "none, only built-in defaults and what is below");
    out_printf("file         %s", file.data);
    out_printf("environment  %s", tsk_conf_environment(conf));
    out_printf("%s", "");
    tsk_buf_fini(&file);
    table_add(&table, "KEY");
    table_add(&table, "VALUE");
    table_add(&table, "ORIGIN");
    for (int key = 0; key < TSK_CONF_COUNT; key++) {
        if (!is_asked(operands, count, (enum tsk_conf_key)key))
            continue;
        char *name = full_name((enum tsk_conf_key)key);
        char shown[SHOWN];
        const char *value = text_of(conf, (enum tsk_conf_key)key, shown);
        table_add(&table, name);
        table_add(&table, *value ? value : "\"\"");
        table_add(&table, tsk_conf_origin(conf, (enum tsk_conf_key)key));
        free(name);
    }
    table_end(&table);
}

enum tsk_exit status_config(const struct options *opts, const struct tsk_conf *conf,
                            char *const *operands, size_t count)
{
    enum tsk_exit status = check_operands(operands, count);
    if (status)
        return status;
    if (opts->format == FORMAT_JSON)
        show_json(conf, operands, count);
    else
        show_text(conf, operands, count);
    return TSK_OK;
}
