/* Templates by name or path, each read once; and --check. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
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

void templates_init(struct templates *templates, const struct options *opts,
                    const struct tsk_conf *conf)
{
    templates->conf = conf;
    templates->by_user = opts->template != NULL;
    templates->folder = folder_of(conf);
    templates->loaded = tsk_map_new(free_template);
}

void templates_fini(struct templates *templates)
{
    free(templates->folder);
    tsk_map_free(templates->loaded);
}

/* Tells a mistake of a template, and a note if ctx is not NULL (--check) or with -v. */
static void tell(void *ctx, const char *path, size_t line, bool note, const char *what)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text, "note: %s", what);
    if (!note || ctx)
        diag_input(path, (int64_t)line, note ? text.data : what);
    else
        diag_info("%s:%zu: %s", path, line, text.data);
    tsk_buf_fini(&text);
}

/* Whoever writes NAMESPACE/NAME means a template of that namespace: err tells what to write. */
static void hint_namespace(const char *name, struct tsk_err *err)
{
    const char *slash = strrchr(name, '/');
    if (!slash || slash == name || !slash[1])
        return;
    char *text = tsk_strdup(err->text);
    tsk_err_set(err, TSK_CONFIG,
                "%s; a template of a namespace is named by --namespace %.*s --template %s", text,
                (int)(slash - name), name, slash + 1);
    free(text);
}

const struct tsk_template *templates_get(struct templates *templates, const char *namespace_name,
                                         const char *name, const char *version, struct tsk_err *err)
{
    struct tsk_buf key = TSK_BUF_INIT;
    const char *space = namespace_name ? namespace_name : "";
    tsk_buf_printf(&key, "%zu:%s%zu:%s%s", strlen(space), space, strlen(name), name,
                   version ? version : "");
    struct tsk_template *template = tsk_map_get(templates->loaded, key.data);
    bool file = tsk_template_is_path(name) ||
                (templates->by_user && strchr(name, '/') && access(name, F_OK) == 0);
    char *path = template ? NULL
                 : file
                     ? tsk_strdup(name)
                     : tsk_template_locate(templates->folder, namespace_name, name, version, err);
    if (path)
        template = tsk_template_load(path, tsk_conf_environment(templates->conf), tell, NULL, err);
    else if (!template && !file)
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
    struct tsk_map *paths; /* of the templates of this operand, by what they are */
    size_t files;
    enum tsk_exit status;
};

/* Adds NAMESPACE/NAME VERSION of template. */
static void add_title(struct tsk_buf *out, const struct tsk_template *template)
{
    tsk_plain_str(out, template->namespace_name);
    tsk_buf_char(out, '/');
    tsk_plain_str(out, template->name);
    tsk_buf_char(out, ' ');
    tsk_plain_str(out, template->version);
}

static void tell_right(const char *path, const struct tsk_template *template)
{
    struct tsk_buf line = TSK_BUF_INIT;
    tsk_plain_str(&line, path);
    tsk_buf_str(&line, ": ");
    add_title(&line, template);
    tsk_buf_printf(&line, ", %zu step%s", template->count, tsk_plural((int64_t) template->count));
    if (template->steps_form)
        tsk_buf_str(&line, ", form steps");
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

/* Two files of a folder that are the same version of a task: neither would be taken. */
static void check_twin(struct checking *checking, const struct tsk_template *template)
{
    struct tsk_buf title = TSK_BUF_INIT;
    add_title(&title, template);
    const char *first = tsk_map_get(checking->paths, title.data);
    if (first) {
        diag_error("%s and %s are both the template of %s", first, template->path, title.data);
        checking->status = TSK_CONFIG;
    } else {
        tsk_map_put(checking->paths, title.data, tsk_strdup(template->path));
    }
    tsk_buf_fini(&title);
}

static void check_file(void *ctx, const char *path, const struct tsk_err *skipped)
{
    struct checking *checking = ctx;
    struct tsk_err err = TSK_ERR_INIT;
    if (skipped && skipped->kind == TSK_OK) {
        diag_warn("%s", skipped->text);
        return;
    }
    struct tsk_template *template = NULL;
    checking->files++;
    if (!skipped)
        template = tsk_template_load(path, checking->environment, tell, checking, &err);
    if (template) {
        tell_right(path, template);
        check_twin(checking, template);
    } else {
        diag_err(skipped ? skipped : &err);
        checking->status = TSK_CONFIG;
    }
    tsk_template_free(template);
}

static void check_folder(struct checking *checking, const char *path)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_map *paths = checking->paths;
    checking->paths = tsk_map_new(free);
    if (tsk_template_files(path, check_file, checking, &err) < 0)
        checking->status = diag_err(&err);
    tsk_map_free(checking->paths);
    checking->paths = paths;
}

static void check_path(struct checking *checking, const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        check_folder(checking, path);
    else
        check_file(checking, path, NULL);
}

enum tsk_exit templates_check(const struct tsk_conf *conf, char *const *operands, size_t count)
{
    struct checking checking = {tsk_conf_environment(conf), tsk_map_new(free), 0, TSK_OK};
    char *folder = folder_of(conf);
    for (size_t i = 0; i < count; i++)
        check_path(&checking, operands[i]);
    if (!count)
        check_folder(&checking, folder);
    if (!checking.files && checking.status == TSK_OK) {
        diag_error("there is no template in %s", count ? "what was named" : folder);
        checking.status = TSK_CONFIG;
    }
    tsk_map_free(checking.paths);
    free(folder);
    return checking.status;
}
