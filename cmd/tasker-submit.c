/* tasker-submit: turn task requests and a template into stored tasks and their steps.
 *
 * It reads requests, holds each against its template (the schema of the context among it), makes
 * the task, its steps and dependencies in one transaction, and prints one line a task. Its parts
 * are in cmd/submit: templates.c (finding and checking them), requests.c (lines in, tasks out),
 * draw.c (pictures). */
#include <stddef.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "submit/submit.h"

static const struct opt table[] = {
    {'T', "template", "NAME", OPT_STRING, offsetof(struct options, template),
     "the template of all requests: the name of a task, or a file", 0, 0, NULL},
    {'x', "context", "FILE", OPT_STRING, offsetof(struct options, context),
     "submit one task with this context: a file, or JSON itself", 0, 0, NULL},
    {'C', "check", NULL, OPT_FLAG, offsetof(struct options, check),
     "check templates, the operands or all of the folder, and exit", 0, 0, NULL},
    {'n', "dry-run", NULL, OPT_FLAG, offsetof(struct options, dry_run),
     "check requests and print what would be made, and open no store", 0, 0, NULL},
    {0, "dot", NULL, OPT_FLAG, offsetof(struct options, dot),
     "draw --template, or --task, for Graphviz", 0, 0, NULL},
    {0, "mermaid", NULL, OPT_FLAG, offsetof(struct options, mermaid),
     "draw --template, or --task, for Mermaid", 0, 0, NULL},
    {0, "task", "ID", OPT_INT, offsetof(struct options, task),
     "with --dot and --mermaid: a task of the store, with its states", 1, INT64_MAX, NULL},
    {0, "namespace", "NAME", OPT_STRING, offsetof(struct options, namespace_name),
     "namespace of requests that name none", 0, 0, NULL},
    {0, "template-version", "VERSION", OPT_STRING, offsetof(struct options, version),
     "version of requests that name none [the newest]", 0, 0, NULL},
    {0, "initiator", "TEXT", OPT_STRING, offsetof(struct options, initiator),
     "initiator of requests that name none", 0, 0, NULL},
    {0, "source-system", "TEXT", OPT_STRING, offsetof(struct options, source_system),
     "source system of requests that name none", 0, 0, NULL},
    {0, "reason", "TEXT", OPT_STRING, offsetof(struct options, reason),
     "reason of requests that name none", 0, 0, NULL},
    {0, "tag", "TEXT", OPT_LIST, offsetof(struct options, tags),
     "a tag of requests that name none; can be given again", 0, 0, NULL},
    {'p', "priority", "N", OPT_INT, offsetof(struct options, priority),
     "priority of requests that name none; greater is earlier [0]", INT32_MIN, INT32_MAX, NULL},
    {0, "correlation-id", "TEXT", OPT_STRING, offsetof(struct options, correlation_id),
     "correlation id of requests that name none", 0, 0, NULL},
    {0, "bypass", "STEP", OPT_LIST, offsetof(struct options, bypass),
     "a skippable step not to be run; can be given again", 0, 0, NULL},
    {'k', "idempotency-key", "KEY", OPT_STRING, offsetof(struct options, idempotency_key),
     "with --context: a second submission with it is the first task", 0, 0, NULL},
    {0, "store", "URL", OPT_KEY, TSK_STORE_URL, "where tasks are kept", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-submit",
    .synopsis = "[option ...] [FILE ...]\n"
                "--template NAME --context FILE|JSON [option ...]\n"
                "--check [option ...] [TEMPLATE | FOLDER ...]\n"
                "--dot | --mermaid --template NAME | --task ID",
    .description = "Reads task requests as JSON lines, holds each against its template, makes the\n"
                   "task with its steps and dependencies in the store, and prints a line a task.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

/* Returns what is wrong with the options together, or NULL. */
static const char *clash(const struct options *opts, size_t operands)
{
    bool draws = opts->dot || opts->mermaid;
    if (opts->dot && opts->mermaid)
        return "--dot and --mermaid do not go together";
    if (opts->check && (draws || opts->dry_run || opts->context || opts->template))
        return "--check goes with no other mode, and takes templates as operands";
    if (draws && (!opts->template == !opts->task || operands || opts->context || opts->dry_run))
        return "--dot and --mermaid draw one thing: --template or --task";
    if (opts->task && !draws)
        return "--task is only of use with --dot or --mermaid";
    if (opts->context && operands)
        return "--context is the whole input: no operands go with it";
    if (opts->context && !opts->template)
        return "--context needs --template";
    if (opts->idempotency_key && !opts->context)
        return "--idempotency-key is for --context; lines have an idempotency_key of their own";
    return NULL;
}

int main(int argc, char **argv)
{
    struct options opts = {.priority = INT64_MIN};
    struct tsk_conf *conf;
    enum tsk_exit status = TSK_USAGE;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    size_t count = (size_t)(argc - first);
    const char *wrong = clash(&opts, count);
    if (wrong)
        diag_error("%s", wrong);
    else if (opts.check)
        status = templates_check(conf, argv + first, count);
    else if (opts.dot || opts.mermaid)
        status = draw_run(&opts, conf);
    else
        status = requests_run(&opts, conf, argv + first, count);
    free(opts.tags.items);
    free(opts.bypass.items);
    tsk_conf_free(conf);
    return out_close(status);
}
