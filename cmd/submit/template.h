/* Task templates: YAML files in the shape of the system that tasker grew from, so that its users'
 * files work as they are.
 *
 *     name: process_order            # of the task
 *     namespace_name: fulfillment    # or namespace
 *     version: "1.0.0"
 *     description: text
 *     default_context: {...}         # members of a context that does not have them
 *     schema: {...}                  # of the context (schema.h)
 *     handler_config: {...}          # of the task
 *     named_steps: [...]             # if it is there, the names of the steps below
 *     step_templates:
 *       - name: ship                 # and handler_class
 *         handler_config: {...}
 *         depends_on_step: pay       # or depends_on_steps: [pay, pack]
 *         default_retryable: true    # or retryable; false: no failure is worth another attempt
 *         default_retry_limit: 3     # or retry_limit: attempts in all
 *         timeout_seconds: 30
 *         retry_backoff: exponential # or linear, fibonacci, fixed, none: the formula of retry.h
 *         backoff_base_ms, max_backoff_ms: as in section retry of the configuration
 *         description: text;         skippable: false
 *         join: all_ok               # or all_done, any_ok: of the steps that it waits for
 *         unsatisfied: cancel        # or block: what follows if join can never be satisfied
 *         when_skipped: skip         # or run: what follows if nothing before it was run; where it
 *                                    # does not say, run with join all_done or optional, else skip
 *         optional: false            # made only when another step's create_steps asks for it
 *     environments:
 *       production:                  # for the environment that runs, laid over what is above
 *         handler_config, default_context: {...}
 *         step_templates: [{name: ship, ...}]
 *         step_overrides: {ship: {...}}
 *
 * Mappings are laid over mappings member by member, all else is put in its place. ${NAME} in a
 * value that is used stands for an environment variable, ${NAME:-TEXT} for TEXT where that is not
 * set; $${ is ${.
 *
 * The same in the form that this system has today:
 *
 *     input_schema: {...}            # for schema
 *     steps:                         # for step_templates
 *       - name: ship
 *         type: standard             # or decision, batchable, batch_worker, deferred_convergence
 *         handler:                   # handler_class, and handler_config
 *           {callable: Order::Ship, method: call, initialization: {...}}
 *         dependencies: [pay, pack]  # or depends_on
 *         retry: {retryable: true, max_attempts: 3, backoff: linear, backoff_base_ms: 1000,
 *                 max_backoff_ms: 30000}
 *         batch_config: {...}        # a member of handler_config
 *     environments:
 *       production:
 *         steps: [{name: ship, ...}] # ALL is each; initialization is laid over at its top alone
 *
 * Steps that wait for a decision are optional, and so are batch workers. Keys that have a meaning
 * there and none here are noted. */
#ifndef TASKER_TEMPLATE_H
#define TASKER_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"
#include "tasker/flow.h"
#include "tasker/json.h"

#define TSK_TEMPLATE_STEPS_MOST 10000

struct tsk_template_step {
    char *name, *handler_class, *description; /* description may be NULL */
    char *backoff;                            /* its own (retry.h), or NULL */
    struct json_object *handler_config;       /* an object */
    bool retryable, optional, skippable;
    int64_t retry_limit;
    int64_t timeout_ms; /* 0: none named */
    int64_t join;       /* enum tsk_join */
    int64_t unsatisfied;
    int64_t when_skipped; /* enum tsk_when_skipped; -1 while reading: not told */
    size_t *depends; /* places, in the template, of the steps that it waits for */
    size_t depends_count;
    size_t level; /* 0: it waits for none; else one more than the deepest of those */
    size_t line;  /* in the file */
};

struct tsk_template {
    char *path, *namespace_name, *name, *version, *description;
    struct json_object *schema;         /* NULL: any context will do */
    struct json_object *handler_config; /* an object */
    struct json_object *default_context; /* members of a context that does not have them */
    struct tsk_template_step *steps;
    size_t count;
    bool steps_form; /* its file has the form of "steps" */
};

/* Gets a mistake, or a note of what is none: the line on which it stands, and what it is. Good
 * until it returns. */
typedef void tsk_template_fn(void *ctx, const char *path, size_t line, bool note, const char *what);

/* Reads the template at path for an environment ("production"), telling every mistake in it: those
 * of the other environments' sections too. Returns it, the caller's; or NULL with kind TSK_CONFIG:
 * the file cannot be read or is no YAML (tell was not called), or how many mistakes there are. */
struct tsk_template *tsk_template_load(const char *path, const char *environment,
                                       tsk_template_fn *tell, void *ctx, struct tsk_err *err);
void tsk_template_free(struct tsk_template *template); /* NULL is fine */

/* Finds a step by name. Returns its place, or template->count. */
size_t tsk_template_find(const struct tsk_template *template, const char *name);

/* Calls fn for each YAML file (.yaml, .yml) in a folder and in those within it, in the order of
 * their names, each file and folder once however many links lead to it; names that begin with a dot
 * are left out. For what cannot be read, is deeper than 16 folders or follows 10000 paths, skipped
 * says why: its kind is TSK_OK for what is no regular file (a FIFO, a device). Returns 0, or -1
 * with kind TSK_CONFIG if folder cannot be read. */
typedef void tsk_template_file_fn(void *ctx, const char *path, const struct tsk_err *skipped);
int tsk_template_files(const char *folder, tsk_template_file_fn *fn, void *ctx,
                       struct tsk_err *err);

/* Whether a name is that of a file: it begins with /, ./ or ../, or ends with .yaml or .yml. No
 * task can have such a name. */
bool tsk_template_is_path(const char *name);

/* Finds the file of a task in a folder (tsk_template_files), by what the files themselves say they
 * are. namespace_name and version may be NULL: any; of several versions the newest by semantic
 * versioning is taken. Returns its path (the caller's); or NULL with kind TSK_DATA if there is none
 * (the nearest name is told) or more than one namespace has it, or TSK_CONFIG if the folder, or the
 * file that has the name of the task, cannot be read, or two files are the same version. Files that
 * are no templates are passed over. */
char *tsk_template_locate(const char *folder, const char *namespace_name, const char *name,
                          const char *version, struct tsk_err *err);

#endif
