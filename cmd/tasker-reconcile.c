/* tasker-reconcile: hold what was published, the partial results and the completions against each
 * other, and print a verdict a batch.
 *
 * The rules are in the library (tasker/reconcile.h, tasker/settle.h). Here are the options; the
 * parts are in cmd/reconcile, see reconcile/reconcile.h. */
#include <stddef.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/signals.h"
#include "reconcile/reconcile.h"
#include "tasker/clock.h"
#include "tasker/message.h"
#include "tasker/parse.h"

#define SETTLE_MS 2000
#define SINCE_MOST INT64_C(315360000000) /* ten years, in ms */

static const struct opt table[] = {
    {'F', "follow", NULL, OPT_FLAG, offsetof(struct options, follow),
     "run as a service: settle each batch soon after its last news", 0, 0, NULL},
    {'s', "settle", "DURATION", OPT_DURATION, offsetof(struct options, settle),
     "with --follow: wait so long for stragglers of a batch [2s]", 0, 86400000, NULL},
    {'t', "timeout", "DURATION", OPT_DURATION, offsetof(struct options, timeout),
     "a batch of which nothing is heard for so long has timed out", 1, 31536000000, NULL},
    {'f', "format", "FORMAT", OPT_CHOICE, offsetof(struct options, text),
     "form of the verdicts: json or text [json]", 0, 0, "json,text"},
    {'p', "pass", NULL, OPT_FLAG, offsetof(struct options, pass),
     "pass on receipts and results too", 0, 0, NULL},
    {'r', "receipts", "WHICH", OPT_CHOICE, offsetof(struct options, receipts),
     "batches that must have a receipt: auto, all or none [auto]", 0, 0, "auto,all,none"},
    {'l', "ledger", NULL, OPT_FLAG, offsetof(struct options, ledger),
     "settle what the store's ledger has news of, in place of lines", 0, 0, NULL},
    {'S', "since", "WHEN", OPT_STRING, offsetof(struct options, since),
     "with --ledger: what it has got since then, a time or a duration ago, settled or not", 0, 0,
     NULL},
    {'b', "batch", "BATCH", OPT_LIST, offsetof(struct options, batches),
     "settle this batch from the ledger (may be repeated)", 0, 0, NULL},
    {'n', "dry-run", NULL, OPT_FLAG, offsetof(struct options, dry_run),
     "with --ledger or --batch: tell what would change, and change nothing", 0, 0, NULL},
    {0, "rebuild", NULL, OPT_FLAG, offsetof(struct options, rebuild),
     "make all that is derived from the ledger anew", 0, 0, NULL},
    {0, "store", "URL", OPT_KEY, TSK_STORE_URL, "where batches and the ledger are", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-reconcile",
    .synopsis = "[option ...] [FILE ...]\n[option ...] --ledger | --batch BATCH ... | --rebuild",
    .description = "Holds receipts, partial results and completions against each other and prints "
                   "a\nverdict for each batch. Other lines are passed on.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

static struct tsk_reconcile_opts rules(const struct options *opts, const struct tsk_conf *conf)
{
    struct tsk_reconcile_opts how = TSK_RECONCILE_OPTS_INIT;
    how.retry = tsk_retry_rules(conf);
    if (opts->follow)
        how.settle_ms = opts->settle >= 0 ? opts->settle : SETTLE_MS;
    how.timeout_ms = opts->timeout;
    how.wall = tsk_wall_ms;
    how.receipts = (enum tsk_receipts)opts->receipts;
    return how;
}

/* Whether the store is all that is looked at. */
static bool by_ledger(const struct options *opts)
{
    return opts->ledger || opts->rebuild || opts->batches.count;
}

/* Returns what is wrong with the options together, or NULL. */
static const char *clash(const struct options *opts, int operands)
{
    bool lines = !by_ledger(opts);
    int64_t ms;
    if (opts->settle >= 0 && (!opts->follow || !lines))
        return "--settle is only of use with --follow, and lines that are read";
    if (opts->text && opts->pass)
        return "--pass does not go with --format=text";
    if (lines && opts->dry_run)
        return "--dry-run is only of use with --ledger or --batch";
    if (opts->since && !opts->ledger)
        return "--since is only of use with --ledger";
    if (!lines && (operands || opts->pass || opts->timeout >= 0 || opts->receipts))
        return "with --ledger, --batch and --rebuild no lines are read: no FILE, --pass, --timeout "
               "or --receipts goes with them";
    if (opts->ledger + opts->rebuild + (opts->batches.count > 0) > 1)
        return "of --ledger, --batch and --rebuild only one at a time";
    if (!lines && opts->follow && (!opts->ledger || opts->since || opts->dry_run))
        return "--follow goes with --ledger alone";
    if (opts->rebuild && opts->dry_run)
        return "--dry-run does not go with --rebuild";
    if (opts->since && tsk_time_parse(opts->since, &ms) < 0 &&
        tsk_parse_duration(opts->since, 0, SINCE_MOST, &ms, NULL) < 0)
        return "--since is neither a time (as 2026-01-24T12:00:00Z) nor a duration (as 30m, 2h)";
    return NULL;
}

/* From lines to verdicts, in memory or through the store. */
static enum tsk_exit run_lines(struct told *told, struct settling *settling,
                               const struct tsk_reconcile_opts *how, char *const *operands,
                               size_t count, size_t max)
{
    struct tsk_reconcile *reconcile = tsk_reconcile_new(how, told_verdict, told);
    enum tsk_exit status = read_all(reconcile, settling, told->opts, operands, count, max);
    tsk_reconcile_finish(reconcile);
    tsk_reconcile_free(reconcile);
    if (settling && (settling->failed || !lines_turn(settling->lines, tsk_now_ms(), true)))
        diag_error(
            "the store failed, so open batches have no verdict; \"tasker-reconcile --ledger\""
            " gives it");
    return status;
}

static enum tsk_exit run(const struct options *opts, const struct tsk_conf *conf,
                         char *const *operands, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct told told = {.opts = opts};
    struct tsk_reconcile_opts how = rules(opts, conf);
    size_t max = tsk_receipt_most(tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES));
    enum tsk_exit status;
    bool stops = opts->follow || !by_ledger(opts);
    if (stops && signals_open(false, &err) < 0)
        return diag_err(&err);
    struct settling *settling = settling_new(conf, &how, opts, &told, &status);
    if (status == TSK_OK && by_ledger(opts))
        ledger_settle(settling);
    else if (status == TSK_OK)
        status = run_lines(&told, settling, &how, operands, count, max);
    if (opts->text && !opts->dry_run && !opts->rebuild)
        told_totals(&told.totals);
    status = tsk_exit_worse(status, told.status);
    if (settling)
        status = tsk_exit_worse(status, settling->status);
    settling_free(settling);
    told_fini(&told);
    if (stops)
        signals_close();
    return status;
}

int main(int argc, char **argv)
{
    struct options opts = {.settle = -1, .timeout = -1};
    struct tsk_conf *conf;
    enum tsk_exit status = TSK_USAGE;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    const char *wrong = clash(&opts, argc - first);
    if (wrong)
        diag_error("%s", wrong);
    else
        status = run(&opts, conf, argv + first, (size_t)(argc - first));
    free(opts.batches.items);
    tsk_conf_free(conf);
    return wrong ? status : out_close(status);
}
