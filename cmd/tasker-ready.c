/* tasker-ready: find the steps that can run now, claim them, print them as batches.
 *
 * What can run and how it is claimed is in the library (tasker/claim.h). Here are the options;
 * cmd/ready has the loop (loop.c) and --explain (explain.c). */
#include <stddef.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "ready/ready.h"

static const struct opt table[] = {
    {'F', "follow", NULL, OPT_FLAG, offsetof(struct options, follow),
     "run as a service: claim steps as they become ready", 0, 0, NULL},
    {'b', "batch-size", "N", OPT_INT, offsetof(struct options, batch_size),
     "put at most so many steps into a batch [10]", 1, TSK_CLAIM_MOST, NULL},
    {'g', "group", "WHAT", OPT_CHOICE, offsetof(struct options, group),
     "what the steps of a batch have in common: handler, task or mixed (nothing) [handler]", 0, 0,
     TSK_CLAIM_GROUP_WORDS},
    {'l', "limit", "N", OPT_INT, offsetof(struct options, limit),
     "claim at most so many steps, then end", 1, INT64_MAX, NULL},
    {0, "task", "ID", OPT_INT, offsetof(struct options, task), "only steps of this task", 1,
     INT64_MAX, NULL},
    {0, "namespace", "NAME", OPT_STRING, offsetof(struct options, namespace_name),
     "only steps of tasks of this namespace", 0, 0, NULL},
    {'n', "dry-run", NULL, OPT_FLAG, offsetof(struct options, dry_run),
     "print the batches that would be made, and claim nothing", 0, 0, NULL},
    {'x', "explain", NULL, OPT_FLAG, offsetof(struct options, explain),
     "say why a step, or each step of a task, does not run", 0, 0, NULL},
    {0, "store", "URL", OPT_KEY, TSK_STORE_URL, "where tasks are kept", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-ready",
    .synopsis = "[option ...]\n"
                "--explain [option ...] [step | task] ID",
    .description = "Finds the steps of tasks that can run now, claims them and prints them as\n"
                   "batches, for tasker-publish. Any number of them can run at the same time.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = 2,
};

/* Returns what is wrong with the options together, or NULL. */
static const char *clash(const struct options *opts, size_t operands)
{
    if (opts->explain &&
        (opts->follow || opts->dry_run || opts->limit || opts->task || opts->namespace_name))
        return "--explain goes with no other mode or filter";
    if (!opts->explain && operands)
        return "operands go only with --explain";
    if (opts->follow && (opts->dry_run || opts->limit))
        return "--follow does not go with --dry-run and --limit";
    return NULL;
}

int main(int argc, char **argv)
{
    struct options opts = {.batch_size = 10};
    struct tsk_conf *conf;
    enum tsk_exit status = TSK_USAGE;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    size_t count = (size_t)(argc - first);
    const char *wrong = clash(&opts, count);
    if (wrong)
        diag_error("%s", wrong);
    else if (opts.explain)
        status = ready_explain(conf, argv + first, count);
    else
        status = ready_run(&opts, conf);
    tsk_conf_free(conf);
    return out_close(status);
}
