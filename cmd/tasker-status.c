/* tasker-status: what is configured, what is there, and what the store knows.
 *
 * It answers the two questions that cost the most time when messages do not arrive: what does this
 * machine believe its configuration is, and does anything that speaks the protocol stand at the
 * other end. It changes nothing: a look at a peer is one ordinary connection. And it shows what is
 * in the store, which it only reads; only store --init and --prune change it. */
#include <stddef.h>
#include <string.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "status/metrics.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/parse.h"

#define AGE_MOST 3155760000000 /* a hundred years */

static const struct opt table[] = {
    {'f', "format", "FORMAT", OPT_CHOICE, offsetof(struct options, format),
     "form of the output: text, json or prometheus [text]", 0, 0, "text,json,prometheus"},
    {'t', "timeout", "DURATION", OPT_DURATION, offsetof(struct options, timeout),
     "endpoints: time for each handshake, answer and --listen; workers: for all [1s]", 1, 86400000,
     NULL},
    {'l', "listen", NULL, OPT_FLAG, offsetof(struct options, listen),
     "endpoints: where nothing listens, do so and tell who subscribes", 0, 0, NULL},
    {'s', "state", "STATE", OPT_STRING, offsetof(struct options, state),
     "only those in this state, or one of these, by commas", 0, 0, NULL},
    {0, "older-than", "DURATION", OPT_DURATION, offsetof(struct options, older_than),
     "only those made so long ago; errors, orphans: without news for so long; store: ended then", 0,
     AGE_MOST, NULL},
    {0, "newer-than", "DURATION", OPT_DURATION, offsetof(struct options, newer_than),
     "only those made since then; errors: seen since then", 0, AGE_MOST, NULL},
    {'H', "handler", "CLASS", OPT_STRING, offsetof(struct options, handler),
     "only those of this handler_class, or glob of * and ?", 0, 0, NULL},
    {0, "task", "ID", OPT_INT, offsetof(struct options, task), "only those of this task", 1,
     INT64_MAX, NULL},
    {'b', "batch", "ID", OPT_STRING, offsetof(struct options, batch), "only those of this batch", 0,
     0, NULL},
    {0, "category", "CATEGORY", OPT_STRING, offsetof(struct options, category),
     "only those with errors of this category", 0, 0, NULL},
    {'n', "limit", "N", OPT_INT, offsetof(struct options, limit),
     "at most so many, 0: all [50; slow: 10; show: 1000; errors: 0]", 0, INT64_MAX - 1, NULL},
    {'r', "raw", NULL, OPT_FLAG, offsetof(struct options, raw),
     "show: the bytes of messages as they came, too", 0, 0, NULL},
    {0, "init", NULL, OPT_FLAG, offsetof(struct options, init),
     "store: make it, if it is not there, and do nothing else", 0, 0, NULL},
    {0, "prune", NULL, OPT_FLAG, offsetof(struct options, prune),
     "store: take away what ended --older-than so long ago", 0, 0, NULL},
    {0, "dry-run", NULL, OPT_FLAG, offsetof(struct options, dry_run),
     "store --prune: only tell how much it would be", 0, 0, NULL},
    {0, "store", "URL", OPT_KEY, TSK_STORE_URL, "where state is kept", 0, 0, NULL},
    {0, "batch-endpoint", "ENDPOINT", OPT_KEY, TSK_ZEROMQ_BATCH_ENDPOINT, "where batches go out", 0,
     0, NULL},
    {0, "result-endpoint", "ENDPOINT", OPT_KEY, TSK_ZEROMQ_RESULT_ENDPOINT,
     "where results come back", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-status",
    .synopsis = "config [option ...] [SECTION | SECTION.KEY ...]\n"
                "endpoints [option ...] [ENDPOINT | batch_endpoint | result_endpoint ...]\n"
                "workers [option ...] [ENDPOINT ...]\n"
                "tasks | batches | steps | errors | slow | orphans | metrics [option ...]\n"
                "show [option ...] [task | batch | step] ID\n"
                "store [option ...]\n"
                "store --init | --prune --older-than DURATION [--dry-run]",
    .description =
        "Shows the configuration with the origin of each value; or looks at endpoints:\n"
        "who listens, whether a ZMTP handshake can be made, who is subscribed; or lists\n"
        "the workers that are there, by their own messages; or shows what is in the\n"
        "store: tasks, batches and steps, the history of one, what failed, what was slow,\n"
        "what is silent, and all of it as metrics; or the store as such: its health, how\n"
        "much is in it, and what ended long ago is taken away.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

/* Options that not all subcommands have. */
enum {
    TIMEOUT = 1 << 0,
    LISTEN = 1 << 1,
    STATE = 1 << 2,
    OLDER = 1 << 3,
    NEWER = 1 << 4,
    HANDLER = 1 << 5,
    TASK = 1 << 6,
    BATCH = 1 << 7,
    CATEGORY = 1 << 8,
    LIMIT = 1 << 9,
    RAW = 1 << 10,
    PROMETHEUS = 1 << 11,
    INIT = 1 << 12,
    PRUNE = 1 << 13,
    DRY_RUN = 1 << 14,
    AGE = OLDER | NEWER,
    FILTERS = STATE | AGE | HANDLER | TASK | BATCH | CATEGORY | LIMIT | PROMETHEUS,
};

static const struct {
    unsigned bit;
    const char *name;
} limited[] = {
    {TIMEOUT, "--timeout"},  {LISTEN, "--listen"},    {STATE, "--state"},
    {OLDER, "--older-than"}, {NEWER, "--newer-than"}, {HANDLER, "--handler"},
    {TASK, "--task"},        {BATCH, "--batch"},      {CATEGORY, "--category"},
    {LIMIT, "--limit"},      {RAW, "--raw"},          {PROMETHEUS, "--format prometheus"},
    {INIT, "--init"},        {PRUNE, "--prune"},      {DRY_RUN, "--dry-run"},
};

static unsigned given(const struct options *opts)
{
    unsigned bits = 0;
    bits |= opts->timeout >= 0 ? TIMEOUT : 0;
    bits |= opts->listen ? LISTEN : 0;
    bits |= opts->state ? STATE : 0;
    bits |= opts->older_than >= 0 ? OLDER : 0;
    bits |= opts->newer_than >= 0 ? NEWER : 0;
    bits |= opts->handler ? HANDLER : 0;
    bits |= opts->task ? TASK : 0;
    bits |= opts->batch ? BATCH : 0;
    bits |= opts->category ? CATEGORY : 0;
    bits |= opts->limit >= 0 ? LIMIT : 0;
    bits |= opts->raw ? RAW : 0;
    bits |= opts->format == FORMAT_PROMETHEUS ? PROMETHEUS : 0;
    bits |= opts->init ? INIT : 0;
    bits |= opts->prune ? PRUNE : 0;
    bits |= opts->dry_run ? DRY_RUN : 0;
    return bits;
}

struct subcommand {
    const char *name;
    status_fn *run;
    unsigned has;     /* of these options */
    unsigned metrics; /* enum metrics: what --format prometheus prints of it */
};

static const struct subcommand subcommands[] = {
    {"config", status_config, 0, 0},
    {"endpoints", status_endpoints, TIMEOUT | LISTEN, 0},
    {"workers", status_workers, TIMEOUT, 0},
    {"tasks", status_tasks, FILTERS, METRICS_TASKS},
    {"batches", status_batches, FILTERS, METRICS_BATCHES},
    {"steps", status_steps, FILTERS, METRICS_STEPS},
    {"show", status_show, BATCH | LIMIT | RAW, 0},
    {"errors", status_errors, AGE | HANDLER | CATEGORY | LIMIT | PROMETHEUS, METRICS_ERRORS},
    {"slow", status_slow, AGE | HANDLER | TASK | BATCH | LIMIT | PROMETHEUS, METRICS_SLOW},
    {"orphans", status_orphans, OLDER | LIMIT | PROMETHEUS, METRICS_ORPHANS},
    {"metrics", status_metrics, OLDER | PROMETHEUS, 0},
    {"store", status_store, OLDER | INIT | PRUNE | DRY_RUN, 0},
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

/* The names of the subcommands that have one of these options (0: of all), in words. */
static void add_names(struct tsk_buf *out, unsigned bits)
{
    size_t left = 0;
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        left += !bits || (subcommands[i].has & bits);
    for (size_t i = 0; i < SUBCOMMANDS; i++) {
        if (bits && !(subcommands[i].has & bits))
            continue;
        left--;
        tsk_buf_printf(out, "%s%s", subcommands[i].name,
                       left > 1    ? ", "
                       : left == 1 ? " and "
                                   : "");
    }
}

/* Tells what is wrong with the subcommand. */
static enum tsk_exit usage(const char *name)
{
    const char *names[SUBCOMMANDS];
    struct tsk_buf all = TSK_BUF_INIT;
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        names[i] = subcommands[i].name;
    add_names(&all, 0);
    const char *near = name ? tsk_nearest(name, names, SUBCOMMANDS) : NULL;
    if (!name)
        diag_error("a subcommand is missing: there are %s", all.data);
    else if (near)
        diag_error("unknown subcommand \"%s\" (did you mean %s?)", name, near);
    else
        diag_error("unknown subcommand \"%s\": there are %s", name, all.data);
    diag_error("see \"%s --help\"", program.name);
    tsk_buf_fini(&all);
    return TSK_USAGE;
}

/* Whether options were given that this subcommand does not have. */
static bool misused(const struct options *opts, const struct subcommand *sub)
{
    unsigned wrong = given(opts) & ~sub->has;
    for (size_t i = 0; i < sizeof limited / sizeof *limited; i++) {
        if (!(wrong & limited[i].bit))
            continue;
        struct tsk_buf names = TSK_BUF_INIT;
        add_names(&names, limited[i].bit);
        diag_error("%s: %s is for %s", sub->name, limited[i].name, names.data);
        tsk_buf_fini(&names);
        return true;
    }
    return false;
}

static enum tsk_exit run(const struct subcommand *sub, const struct options *opts,
                         const struct tsk_conf *conf, char *const *operands, size_t count)
{
    if (sub->metrics && opts->format == FORMAT_PROMETHEUS)
        return metrics_print(sub->metrics, sub->name, opts, conf, operands, count);
    return sub->run(opts, conf, operands, count);
}

int main(int argc, char **argv)
{
    struct options opts = {.timeout = -1, .older_than = -1, .newer_than = -1, .limit = -1};
    struct tsk_conf *conf = NULL;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    const struct subcommand *sub = first < argc ? find(argv[first]) : NULL;
    enum tsk_exit status = TSK_USAGE;
    if (!sub)
        status = usage(first < argc ? argv[first] : NULL);
    else if (!misused(&opts, sub))
        status = run(sub, &opts, conf, argv + first + 1, (size_t)(argc - first - 1));
    tsk_conf_free(conf);
    return out_close(status);
}
