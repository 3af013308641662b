/* tasker-resolve: what an operator does to steps, tasks and namespaces of the store, each with a
 * reason that is kept.
 *
 * Here are the options and the subcommands; cmd/resolve has the rules and the transactions
 * (operator.c, hold.c), the targets (targets.c), the groups of steps (steps.c), the words to the
 * workers that have a step (tell.c), the store and the output (session.c). */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "resolve/resolve.h"
#include "tasker/parse.h"

#define WAIT_MS 10000
#define WAIT_MOST 86400000

static const struct opt table[] = {
    {'r', "reason", "TEXT", OPT_STRING, offsetof(struct options, reason),
     "why; it is kept with what was done, and must be given", 0, 0, NULL},
    {0, "by", "NAME", OPT_STRING, offsetof(struct options, by), "who does it [USER@HOST]", 0, 0,
     NULL},
    {0, "task", "ID", OPT_INT, offsetof(struct options, filter.task), "steps of this task", 1,
     INT64_MAX, NULL},
    {0, "namespace", "NAME", OPT_STRING, offsetof(struct options, filter.namespace_name),
     "steps of tasks of this namespace", 0, 0, NULL},
    {'H', "handler", "CLASS", OPT_STRING, offsetof(struct options, filter.handler_class),
     "steps of this handler_class, or glob of * and ?", 0, 0, NULL},
    {0, "category", "CATEGORY", OPT_STRING, offsetof(struct options, filter.category),
     "steps with errors of this category", 0, 0, NULL},
    {'l', "limit", "N", OPT_INT, offsetof(struct options, filter.limit),
     "at most so many of the steps that the filters let pass", 1, INT64_MAX, NULL},
    {'w', "wait", "DURATION", OPT_DURATION, offsetof(struct options, wait),
     "how long to wait for workers to stop running steps [10s]", 0, WAIT_MOST, NULL},
    {'n', "dry-run", NULL, OPT_FLAG, offsetof(struct options, dry_run),
     "print what would be done, and do nothing", 0, 0, NULL},
    {0, "store", "URL", OPT_KEY, TSK_STORE_URL, "where tasks are kept", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-resolve",
    .synopsis = "retry | reset | resolve | cancel --reason TEXT [option ...] [step | task] ID ...\n"
                "retry | reset | resolve | cancel --reason TEXT FILTER ... [option ...]\n"
                "hold | release --reason TEXT [option ...] NAMESPACE ...",
    .description =
        "The operator's hand: has steps tried again now, or with all their attempts; takes\n"
        "them as resolved by other means; cancels them, also where they run; the same of\n"
        "whole tasks; and holds and releases namespaces. An operand \"-\" is a list on stdin.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

static const struct subcommand {
    const char *name;
    enum tsk_exit (*run)(const struct options *opts, const struct tsk_conf *conf,
                         char *const *operands, size_t count);
    int action; /* enum tsk_resolve_action, or whether to hold */
} subcommands[] = {
    {"retry", steps_run, TSK_RESOLVE_RETRY},
    {"reset", steps_run, TSK_RESOLVE_RESET},
    {"resolve", steps_run, TSK_RESOLVE_RESOLVE},
    {"cancel", steps_run, TSK_RESOLVE_CANCEL},
    {"hold", hold_run, true},
    {"release", hold_run, false},
};

#define SUBCOMMANDS (sizeof subcommands / sizeof *subcommands)

static const struct subcommand *find(const char *name)
{
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        if (strcmp(subcommands[i].name, name) == 0)
            return &subcommands[i];
    }
    return NULL;
}

/* Tells what is wrong with the subcommand. */
static enum tsk_exit usage(const char *name)
{
    const char *names[SUBCOMMANDS];
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        names[i] = subcommands[i].name;
    const char *near = name ? tsk_nearest(name, names, SUBCOMMANDS) : NULL;
    if (!name)
        diag_error("what to do is missing: retry, reset, resolve, cancel, hold or release");
    else if (near)
        diag_error("unknown subcommand \"%s\" (did you mean %s?)", name, near);
    else
        diag_error("unknown subcommand \"%s\": there are retry, reset, resolve, cancel, hold and "
                   "release",
                   name);
    return TSK_USAGE;
}

/* Returns what is wrong with the options, or NULL. */
static const char *clash(const struct options *opts, const struct subcommand *sub, size_t operands)
{
    bool filtered = options_filtered(opts), steps = sub->run == steps_run;
    if (!opts->reason || !*opts->reason)
        return "--reason is missing: it is kept with what is done, for whoever asks later";
    if (!tsk_json_is_text(opts->reason, strlen(opts->reason)))
        return "--reason is not UTF-8";
    if (opts->by && (!*opts->by || !tsk_json_is_text(opts->by, strlen(opts->by))))
        return "--by is empty, or not UTF-8";
    if (!steps && (filtered || opts->filter.limit || opts->wait >= 0))
        return "filters, --limit and --wait are for steps: hold and release take namespaces";
    if (filtered && operands)
        return "either ids or filters, not both";
    if (!filtered && opts->filter.limit)
        return "--limit goes with a filter";
    if (!filtered && !operands)
        return steps ? "no step or task is named, and no filter is given" : "no namespace is named";
    return NULL;
}

int main(int argc, char **argv)
{
    struct options opts = {.wait = -1};
    struct tsk_conf *conf;
    enum tsk_exit status = TSK_USAGE;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    size_t count = first < argc ? (size_t)(argc - first - 1) : 0;
    const struct subcommand *sub = first < argc ? find(argv[first]) : NULL;
    const char *wrong = sub ? clash(&opts, sub, count) : NULL;
    if (!sub) {
        status = usage(first < argc ? argv[first] : NULL);
    } else if (wrong) {
        diag_error("%s: %s", sub->name, wrong);
    } else {
        char *by = options_by(&opts);
        opts.by = by;
        opts.action = sub->action;
        opts.wait = opts.wait < 0 ? WAIT_MS : opts.wait;
        status = sub->run(&opts, conf, argv + first + 1, count);
        free(by);
    }
    tsk_conf_free(conf);
    return out_close(status);
}
