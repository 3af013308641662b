/* tasker-reconcile: hold what was published, the partial results and the completions against each
 * other, and print a verdict a batch.
 *
 * The thinking is all in the library (tasker/reconcile.h), a function of the lines alone. Here are
 * the options, the exit status and the printing; cmd/reconcile has the loop that reads (loop.c) and
 * the form for people (text.c). */
#include <stddef.h>

#include "common/diag.h"
#include "common/opt.h"
#include "common/out.h"
#include "reconcile/reconcile.h"
#include "tasker/buf.h"

#define SETTLE_MS 2000

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
};

static const struct program program = {
    .name = "tasker-reconcile",
    .synopsis = "[option ...] [FILE ...]",
    .description = "Holds receipts, partial results and completions against each other and prints "
                   "a\nverdict for each batch. Other lines are passed on.",
    .opts = table,
    .count = sizeof table / sizeof *table,
    .least = 0,
    .most = (size_t)-1,
};

struct state {
    const struct options *opts;
    struct tsk_buf buf;
    struct totals totals;
    enum tsk_exit status;
};

static enum tsk_exit status_of(const struct tsk_verdict *verdict)
{
    if (verdict->kind == TSK_INCOMPLETE || verdict->kind == TSK_TIMED_OUT)
        return TSK_TEMPFAIL;
    return verdict->kind == TSK_DISCREPANT || verdict->failed ? TSK_NO : TSK_OK;
}

static void add_totals(struct totals *totals, const struct tsk_verdict *verdict)
{
    totals->verdicts[verdict->kind]++;
    if (totals->steps < INT64_MAX - verdict->total) /* a peer may claim any number of steps */
        totals->steps += verdict->total;
    totals->completed += verdict->completed;
    totals->failed += verdict->failed;
    totals->in_progress += verdict->in_progress;
    if (totals->missing < INT64_MAX - verdict->missing)
        totals->missing += verdict->missing;
    totals->retry += verdict->retry;
}

static void tell(void *ctx, const struct tsk_verdict *verdict)
{
    struct state *state = ctx;
    state->status = tsk_exit_worse(state->status, status_of(verdict));
    add_totals(&state->totals, verdict);
    if (state->opts->text) {
        text_verdict(verdict);
        return;
    }
    tsk_buf_reset(&state->buf);
    tsk_verdict_json(verdict, &state->buf);
    out_line(state->buf.data, state->buf.len);
}

static struct tsk_reconcile_opts rules(const struct options *opts, const struct tsk_conf *conf)
{
    struct tsk_reconcile_opts how = TSK_RECONCILE_OPTS_INIT;
    how.retry.base_ms = tsk_conf_int(conf, TSK_RETRY_BASE);
    how.retry.cap_ms = tsk_conf_int(conf, TSK_RETRY_CAP);
    how.retry.jitter = (int)tsk_conf_int(conf, TSK_RETRY_JITTER);
    if (opts->follow)
        how.settle_ms = opts->settle >= 0 ? opts->settle : SETTLE_MS;
    how.timeout_ms = opts->timeout;
    how.receipts = (enum tsk_receipts)opts->receipts;
    return how;
}

/* Returns what is wrong with the options together, or NULL. */
static const char *clash(const struct options *opts)
{
    if (opts->settle >= 0 && !opts->follow)
        return "--settle is only of use with --follow";
    if (opts->text && opts->pass)
        return "--pass does not go with --format=text";
    return NULL;
}

int main(int argc, char **argv)
{
    struct options opts = {.settle = -1, .timeout = -1};
    struct tsk_conf *conf;
    int first = opt_parse(&program, argc, argv, &opts, &conf);
    const char *wrong = clash(&opts);
    if (wrong) {
        diag_error("%s", wrong);
        tsk_conf_free(conf);
        return TSK_USAGE;
    }
    struct state state = {.opts = &opts};
    struct tsk_reconcile_opts how = rules(&opts, conf);
    struct tsk_reconcile *reconcile = tsk_reconcile_new(&how, tell, &state);
    enum tsk_exit read = read_all(reconcile, &opts, argv + first, (size_t)(argc - first),
                                  (size_t)tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES));
    tsk_reconcile_finish(reconcile);
    if (opts.text)
        text_totals(&state.totals);
    tsk_reconcile_free(reconcile);
    tsk_buf_fini(&state.buf);
    tsk_conf_free(conf);
    return out_close(tsk_exit_worse(state.status, read));
}
