/* Templates by name or path, each read once; and --check. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/plain.h"
#include "submit/submit.h"
#include "tasker/buf.h"

static void free_template(void *value)
{
    tsk_template_free(value);
}

/* The folder that is configured, or "tasks" beside the configuration file (the caller's). */
static char *folder_of(const struct tsk_conf *conf)
{
    const char *path = tsk_conf_str(conf, TSK_TASKS_PATH), *file = tsk_conf_file(conf);
    struct tsk_buf text = TSK_BUF_INIT;
    if (*path)
        return tsk_strdup(path);
    const char *slash = file ? strrchr(file, '/') : NULL;
    if (slash)
        tsk_buf_add(&text, file, (size_t)(slash - file));
    tsk_buf_printf(&text, "%s", slash ? "/tasks" : file ? "tasks" : "config/tasks");
    return text.data;
}

void templates_init(struct templates *templates, const struct tsk_conf *conf)
{
    templates->conf = conf;
    templates->folder = folder_of(conf);
    templates->loaded = tsk_map_new(free_template);
}

void templates_fini(struct templates *templates)
{
    free(templates->folder);
    tsk_map_free(templates->loaded);
}

void templates_tell(void *ctx, const char *path, size_t line, const char *what)
{
    (void)ctx;
    diag_input(path, (int64_t)line, what);
}

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"));
}

bool templates_is_path(const char *name)
{
    return strchr(name, '/') || is_yaml(name);
}

/* Whoever writes NAMESPACE/NAME has it taken for a path: err tells what to write instead. */
static void hint_namespace(const char *name, struct tsk_err *err)
{
    const char *slash = strrchr(name, '/');
    if (!slash || slash == name || !slash[1] || is_yaml(name) || access(name, F_OK) == 0)
        return;
    char *text = tsk_strdup(err->text);
    tsk_err_set(err, err->kind,
                "%s; a template of a namespace is named by --namespace %.*s --template %s", text,
                (int)(slash - name), name, slash + 1);
    free(text);
}

const struct tsk_template *templates_get(struct templates *templates, const char *namespace_name,
                                         const char *name, const char *version, struct tsk_err *err)
{
    struct tsk_buf key = TSK_BUF_INIT;
    tsk_buf_printf(&key, "%s\n%s\n%s", namespace_name ? namespace_name : "", name,
                   version ? version : "");
    struct tsk_template *template = tsk_map_get(templates->loaded, key.data);
    bool is_path = templates_is_path(name);
    char *path = template ? NULL
                 : is_path
                     ? tsk_strdup(name)
                     : tsk_template_locate(templates->folder, namespace_name, name, version, err);
    if (path)
        template = tsk_template_load(path, tsk_conf_environment(templates->conf), templates_tell,
                                     NULL, err);
    if (is_path && !template)
        hint_namespace(name, err);
    if (path && template)
        tsk_map_put(templates->loaded, key.data, template);
    free(path);
    tsk_buf_fini(&key);
    return template;
}

/* ---- --check */

struct checking {
    const char *environment;
    size_t files, wrong;
    enum tsk_exit status;
};

static void tell_right(const char *path, const struct tsk_template *template)
{
    struct tsk_buf line = TSK_BUF_INIT;
    plain_add(&line, path);
    tsk_buf_str(&line, ": ");
    plain_add(&line, template->namespace_name);
    tsk_buf_char(&line, '/');
    plain_add(&line, template->name);
    tsk_buf_char(&line, ' ');
    plain_add(&line, template->version);
    tsk_buf_printf(&line, ", %zu step%s", template->count, tsk_plural((int64_t) template->count));
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

static void check_file(struct checking *checking, const char *path)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_template *template =
        tsk_template_load(path, checking->environment, templates_tell, NULL, &err);
    checking->files++;
    if (template)
        tell_right(path, template);
    else
        diag_err(&err);
    if (!template) {
        checking->wrong++;
        checking->status = TSK_CONFIG;
    }
    tsk_template_free(template);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void check_path(struct checking *checking, const char *path, bool named)
{
    struct stat info;
    struct dirent **entries;
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (!folder && (named || is_yaml(path)))
        check_file(checking, path);
    int count = folder ? scandir(path, &entries, NULL, by_name) : 0;
    for (int i = 0; i < count; i++) {
        struct tsk_buf within = TSK_BUF_INIT;
        tsk_buf_printf(&within, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            check_path(checking, within.data, false);
        tsk_buf_fini(&within);
        free(entries[i]);
    }
    if (folder && count >= 0)
        free(entries);
}

enum tsk_exit templates_check(const struct tsk_conf *conf, char *const *operands, size_t count)
{
    struct checking checking = {tsk_conf_environment(conf), 0, 0, TSK_OK};
    char *folder = folder_of(conf);
    for (size_t i = 0; i < count; i++)
        check_path(&checking, operands[i], true);
    if (!count)
        check_path(&checking, folder, false);
    if (!checking.files) {
        diag_error("there is no template in %s", count ? "what was named" : folder);
        checking.status = TSK_CONFIG;
    }
    free(folder);
    return checking.status;
}
