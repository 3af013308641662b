/* What the parts of tasker-submit share. */
#ifndef SUBMIT_SUBMIT_H
#define SUBMIT_SUBMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/opt.h"
#include "tasker/conf.h"
#include "tasker/map.h"
#include "submit/task.h"
#include "submit/template.h"

struct options {
    bool check, dry_run, dot, mermaid;
    const char *template, *context, *namespace_name, *version;
    const char *initiator, *source_system, *reason, *correlation_id, *idempotency_key;
    struct opt_list tags, bypass;
    int64_t priority; /* INT64_MIN: not given */
    int64_t task;     /* --task: 0: not given */
};

/* ---- templates.c: each file is read once */

struct templates {
    const struct tsk_conf *conf;
    bool by_user; /* the name is that of --template */
    char *folder;
    struct tsk_map *loaded; /* struct tsk_template by what was asked for */
};

void templates_init(struct templates *templates, const struct options *opts,
                    const struct tsk_conf *conf);
void templates_fini(struct templates *templates);

/* Returns a template (borrowed): of a task by its name in the folder, or of a file, where name is a
 * path (tsk_template_is_path). A user may also name a file without such an end if name has a slash;
 * a request may not, as it comes from anybody. Its mistakes are told. NULL with err. */
const struct tsk_template *templates_get(struct templates *templates, const char *namespace_name,
                                         const char *name, const char *version,
                                         struct tsk_err *err);

/* --check: all files, or all those of folders; nothing named: the folder of templates. */
enum tsk_exit templates_check(const struct tsk_conf *conf, char *const *operands, size_t count);

/* ---- requests.c: requests in, tasks out */
enum tsk_exit requests_run(const struct options *opts, const struct tsk_conf *conf,
                           char *const *files, size_t count);

/* ---- draw.c: --dot and --mermaid */
enum tsk_exit draw_run(const struct options *opts, const struct tsk_conf *conf);

#endif
