/* tasker-collect: results from the wire to stdout.
 *
 * Receipts of tasker-publish come in and go on, and so do all other lines; the results of their
 * batches are added as they come, and it ends when the last of these batches has ended. It keeps
 * its place in each worker's stream of results, asks for what it missed, and confirms what it has
 * written, so that a worker may forget it. Its parts are in cmd/collect: setup.c, loop.c (one loop
 * over all), input.c (lines), receive.c (messages), batches.c (what is to come), held.c (results
 * that came before their receipt) and report.c (what people are told).
 *
 * With --tap it does none of this, but shows all that goes by: tap.c. */
#include <stddef.h>
#include <stdlib.h>

#include "collect/collect.h"
#include "collect/tap.h"
#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"

#define YEAR_MS 31536000000

static const struct opt table[] = {
    {'a', "all", NULL, OPT_FLAG, offsetof(struct options, all),
     "print the results of batches without a receipt too", 0, 0, NULL},
    {'F', "follow", NULL, OPT_FLAG, offsetof(struct options, follow),
     "print everything and go on until stopped", 0, 0, NULL},
    {'N', "count", "N", OPT_INT, offsetof(struct options, count),
     "print everything and end after N results", 1, INT64_MAX, NULL},
    {'t', "timeout", "DURATION", OPT_DURATION, offsetof(struct options, timeout),
     "give a batch up so long after its receipt", 1, YEAR_MS, NULL},
    {'T', "tap", NULL, OPT_FLAG, offsetof(struct options, tap),
     "print every message of endpoints, the operands, unnoticed by all", 0, 0, NULL},
    {0, "topic", "PREFIX", OPT_LIST, offsetof(struct options, topics),
     "with --tap: only messages whose topic begins so", 0, 0, NULL},
    {0, "batch", "ID", OPT_LIST, offsetof(struct options, batches),
     "with --tap: only messages of this batch", 0, 0, NULL},
    {'f', "format", "FORMAT", OPT_CHOICE, offsetof(struct options, text),
     "with --tap: json or text", 0, 0, "json,text"},
    {0, "status", NULL, OPT_FLAG, offsetof(struct options, status),
     "print the workers' status messages too", 0, 0, NULL},
    {0, "strict", NULL, OPT_FLAG, offsetof(struct options, strict),
     "end with 65 if any message could not be read", 0, 0, NULL},
    {0, "id", "NAME", OPT_STRING, offsetof(struct options, id),
     "name of this collector [a new UUID]", 0, 0, NULL},
    {0, "result-endpoint", "ENDPOINT", OPT_KEY, TSK_ZEROMQ_RESULT_ENDPOINT,
     "where results come from", 0, 0, NULL},
    {0, "silence-timeout", "DURATION", OPT_KEY, TSK_ZEROMQ_SILENCE_TIMEOUT,
     "give a batch up when its worker was not heard for so long", 0, 0, NULL},
    {0, "store", "URL", OPT_KEY, TSK_STORE_URL, "where each message is kept", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-collect",
    .synopsis = "[option ...] [FILE ...]\n"
                "--tap [option ...] [ENDPOINT ...]",
    .description = "Prints the results of the batches whose receipts it reads, as they come, and\n"
                   "ends when all of these batches have ended. Or shows all that goes by.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

static enum tsk_exit collect(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct collect state;
    enum tsk_exit status;
    if (collect_open(&state, opts, conf, operands, count, &err) < 0)
        status = diag_err(&err);
    else
        status = collect_run(&state);
    collect_close(&state);
    return status;
}

int main(int argc, char **argv)
{
    struct options opts = {.timeout = -1};
    struct tsk_conf *conf;
    enum tsk_exit status = TSK_USAGE;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    size_t count = (size_t)(argc - first);
    const char *wrong = tap_clash(&opts);
    if (wrong)
        diag_error("%s", wrong);
    else if (opts.tap)
        status = tap_run(&opts, conf, argv + first, count);
    else
        status = collect(&opts, conf, argv + first, count);
    free(opts.topics.items);
    free(opts.batches.items);
    tsk_conf_free(conf);
    return out_close(status);
}
