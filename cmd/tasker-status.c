/* tasker-status: what is configured, and what is there.
 *
 * It answers the two questions that cost the most time when messages do not arrive: what does this
 * machine believe its configuration is, and does anything that speaks the protocol stand at the
 * other end. It changes nothing: a look at a peer is one ordinary connection. Its parts are in
 * cmd/status: config.c; endpoints.c (which ones, and the verdict), look.c (one of them), peer.c
 * (what the peer tells), show.c (how it is printed); workers.c (which there are), gather.c (asking
 * them all at once). */
#include <stddef.h>
#include <string.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "status/status.h"
#include "tasker/parse.h"

static const struct opt table[] = {
    {'f', "format", "FORMAT", OPT_CHOICE, offsetof(struct options, json),
     "form of the output: text or json [text]", 0, 0, "text,json"},
    {'t', "timeout", "DURATION", OPT_DURATION, offsetof(struct options, timeout),
     "endpoints: time for each handshake, answer and --listen; workers: for all [1s]", 1, 86400000,
     NULL},
    {'l', "listen", NULL, OPT_FLAG, offsetof(struct options, listen),
     "endpoints: where nothing listens, do so and tell who subscribes", 0, 0, NULL},
    {0, "batch-endpoint", "ENDPOINT", OPT_KEY, TSK_ZEROMQ_BATCH_ENDPOINT, "where batches go out", 0,
     0, NULL},
    {0, "result-endpoint", "ENDPOINT", OPT_KEY, TSK_ZEROMQ_RESULT_ENDPOINT,
     "where results come back", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-status",
    .synopsis = "config [option ...] [SECTION | SECTION.KEY ...]\n"
                "endpoints [option ...] [ENDPOINT | batch_endpoint | result_endpoint ...]\n"
                "workers [option ...] [ENDPOINT ...]",
    .description = "Shows the configuration with the origin of each value; or looks at endpoints:\n"
                   "who listens, whether a ZMTP handshake can be made, who is subscribed; or lists\n"
                   "the workers that are there, by their own messages.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

struct subcommand {
    const char *name;
    enum tsk_exit (*run)(const struct options *opts, const struct tsk_conf *conf,
                         char *const *operands, size_t count);
};

static const struct subcommand subcommands[] = {
    {"config", status_config},
    {"endpoints", status_endpoints},
    {"workers", status_workers},
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
        diag_error("a subcommand is missing: config, endpoints or workers");
    else if (near)
        diag_error("unknown subcommand \"%s\" (did you mean %s?)", name, near);
    else
        diag_error("unknown subcommand \"%s\": there are config, endpoints and workers", name);
    diag_error("see \"%s --help\"", program.name);
    return TSK_USAGE;
}

/* Whether options were given that this subcommand does not have. */
static bool misused(const struct options *opts, const struct subcommand *sub)
{
    if (opts->listen && sub->run != status_endpoints)
        diag_error("%s: --listen is for endpoints", sub->name);
    else if (opts->timeout >= 0 && sub->run == status_config)
        diag_error("%s: --timeout is for endpoints and workers", sub->name);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct options opts = {.timeout = -1};
    struct tsk_conf *conf = NULL;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    const struct subcommand *sub = first < argc ? find(argv[first]) : NULL;
    enum tsk_exit status = TSK_USAGE;
    if (!sub)
        status = usage(first < argc ? argv[first] : NULL);
    else if (!misused(&opts, sub))
        status = sub->run(&opts, conf, argv + first + 1, (size_t)(argc - first - 1));
    tsk_conf_free(conf);
    return out_close(status);
}
