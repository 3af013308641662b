/* tasker-publish: give batches to workers, and return when they are accepted.
 *
 * It reads batch lines, and step lines which it groups, hands each batch to one worker (or, where
 * only plain subscribers are, to all of them as the seed did), and prints a receipt for each. Its
 * parts are in cmd/publish: source.c (lines in), group.c and parcel.c (batches made of them),
 * record.c (what is written to the store, and what follows; with --pending batches come from
 * there), post.c (the loop), answers.c (what workers say), receipt.c (lines out), giveup.c (what
 * was not done). With --raw it plays back recorded messages instead: raw.c. */
#include <stddef.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "publish/post.h"
#include "publish/raw.h"

struct opts {
    int64_t batch_size, batch_delay, workers;
    bool dry_run, raw, pending;
    int recorded; /* --pace: 0 at-once, 1 recorded */
};

static const struct opt table[] = {
    {'n', "dry-run", NULL, OPT_FLAG, offsetof(struct opts, dry_run),
     "print the batches that would be sent, and open no socket", 0, 0, NULL},
    {'b', "batch-size", "N", OPT_INT, offsetof(struct opts, batch_size),
     "put at most so many single steps into a batch [10]", 1, 1000000, NULL},
    {'d', "batch-delay", "DURATION", OPT_DURATION, offsetof(struct opts, batch_delay),
     "send a batch of single steps this long after its first one [100ms]", 0, 86400000, NULL},
    {'w', "wait", "DURATION", OPT_KEY, TSK_ZEROMQ_WAIT,
     "how long to wait for the port, and for a worker", 0, 0, NULL},
    {'W', "workers", "N", OPT_INT, offsetof(struct opts, workers),
     "wait for so many registered workers before the first batch", 1, 100000, NULL},
    {'p', "pending", NULL, OPT_FLAG, offsetof(struct opts, pending),
     "send what the store has and no worker accepted yet", 0, 0, NULL},
    {'r', "raw", NULL, OPT_FLAG, offsetof(struct opts, raw),
     "send messages that tasker-collect --tap recorded, as they are", 0, 0, NULL},
    {0, "pace", "PACE", OPT_CHOICE, offsetof(struct opts, recorded),
     "with --raw: at-once, or as recorded", 0, 0, "at-once,recorded"},
    {0, "batch-endpoint", "ENDPOINT", OPT_KEY, TSK_ZEROMQ_BATCH_ENDPOINT, "where batches go out", 0,
     0, NULL},
    {0, "store", "URL", OPT_KEY, TSK_STORE_URL, "where batches are recorded: sqlite:PATH, none ...",
     0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-publish",
    .synopsis = "[option ...] [FILE ...]\n"
                "--pending [option ...]\n"
                "--raw [option ...] [FILE ...]",
    .description = "Reads batches and steps as JSON lines, gives them to workers, and prints a\n"
                   "receipt for each batch that a worker has accepted. Other lines are passed on.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

static enum tsk_exit dry_run(struct source *source)
{
    struct tsk_lines *lines = source_lines(source);
    struct parcel *parcel;
    enum source_state state;
    while (!out_failed() && (state = source_next(source, 0, &parcel)) != SOURCE_END) {
        if (state == SOURCE_PARCEL) {
            out_line(parcel->text.data, parcel->text.len);
            parcel_free(parcel);
        } else if (state == SOURCE_MORE) {
            if (!tsk_lines_regular(lines))
                out_flush();
            tsk_lines_fill(lines);
        }
    }
    return source_status(source);
}

static enum tsk_exit publish(const struct opts *opts, const struct tsk_conf *conf,
                             char *const *files, size_t count)
{
    struct source *source =
        source_new(conf, files, count, (size_t)opts->batch_size, opts->batch_delay);
    enum tsk_exit status = opts->dry_run
                               ? dry_run(source)
                               : post_run(conf, source, (size_t)opts->workers, opts->pending);
    source_free(source);
    return status;
}

static enum tsk_exit publish_pending(const struct opts *opts, const struct tsk_conf *conf)
{
    static char nothing[] = "/dev/null", *const files[] = {nothing};
    return opts->dry_run ? pending_dry_run(conf) : publish(opts, conf, files, 1);
}

/* Returns what is wrong with the options together, or NULL. */
static const char *clash(const struct opts *opts, size_t count)
{
    if (opts->pending && (opts->raw || count))
        return "--pending does not go with --raw and files";
    if (opts->raw && (opts->dry_run || opts->workers))
        return "--raw does not go with --dry-run and --workers";
    if (opts->recorded && !opts->raw)
        return "--pace is only of use with --raw";
    return NULL;
}

int main(int argc, char **argv)
{
    struct opts opts = {.batch_size = 10, .batch_delay = 100};
    struct tsk_conf *conf;
    enum tsk_exit status = TSK_USAGE;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    size_t count = (size_t)(argc - first);
    const char *wrong = clash(&opts, count);
    if (wrong)
        diag_error("%s", wrong);
    else if (opts.raw)
        status = raw_run(conf, argv + first, count, opts.recorded);
    else if (opts.pending)
        status = publish_pending(&opts, conf);
    else
        status = publish(&opts, conf, argv + first, count);
    tsk_conf_free(conf);
    return out_close(status);
}
