/* What people are told, and the batch_error lines that tell the programs downstream the same. */
#include "collect/collect.h"
#include "collect/keep.h"

#include <inttypes.h>

#include "common/diag.h"
#include "tasker/bus.h"
#include "tasker/buf.h"

enum { TOLD_A_SECOND = 5, NAMED_MOST = 20 };

/* What is missing of it: "its completion and the results of 2 of 3 steps: 1001, 1002". */
static void missing_text(const struct batch *batch, struct tsk_buf *text)
{
    size_t missing = batch->count - batch->ended_count, named = 0;
    tsk_buf_str(text, batch->complete ? "" : "its completion");
    if (!missing)
        return;
    tsk_buf_printf(text, "%sthe results of %zu of %zu step%s:", batch->complete ? "" : " and ",
                   missing, batch->count, tsk_plural((int64_t)batch->count));
    for (size_t i = 0; i < batch->count && named < NAMED_MOST; i++) {
        if (!batch->ended[i])
            tsk_buf_printf(text, "%s %" PRId64, named++ ? "," : "", batch->steps[i]);
    }
    if (missing > named)
        tsk_buf_printf(text, " and %zu more", missing - named);
}

static bool is_unreached(const struct collect *c, const struct batch *batch)
{
    return batch->source[0] && tsk_stream_heard(c->stream, batch->source) < 0 &&
           !endpoints_reached((void *)c, batch);
}

static void add_unreached(const struct collect *c, const struct batch *batch, struct tsk_buf *text)
{
    const char *endpoint =
        batch->endpoint && !tsk_bus_binds(c->bus) ? batch->endpoint : tsk_bus_endpoint(c->bus);
    const char *why = tsk_bus_why_not(c->bus, endpoint);
    tsk_buf_printf(text, "never reached worker %s at %s%s%s, so its steps may have run: ",
                   batch->worker[0] ? batch->worker : batch->source, endpoint, why ? ": " : "",
                   why ? why : "");
}

/* Why a batch is given up, for both kinds of reader. */
static void reason_text(const struct collect *c, const struct batch *batch, enum batch_due why,
                        struct tsk_buf *text)
{
    if ((why == BATCH_LATE || why == BATCH_SILENT) && is_unreached(c, batch))
        add_unreached(c, batch, text);
    else if (why == BATCH_LATE)
        tsk_buf_printf(text, "not complete within %" PRId64 " ms: ", c->opts->timeout);
    else if (why == BATCH_LOST)
        tsk_buf_printf(text, "lost with worker %s, of which nothing is heard any more: ",
                       batch->worker[0] ? batch->worker : batch->source);
    else if (why == BATCH_GONE)
        tsk_buf_printf(text, "worker %s has ended it and holds nothing more of it: ",
                       batch->worker[0] ? batch->worker : batch->source);
    else if (batch->worker[0])
        tsk_buf_printf(text, "nothing heard from worker %s for %" PRId64 " ms: ", batch->worker,
                       c->silence);
    else
        tsk_buf_printf(text, "nothing heard from any worker for %" PRId64 " ms: ", c->silence);
    missing_text(batch, text);
    tsk_buf_str(text, " did not come");
}

static void print_batch_error(struct collect *c, const struct batch *batch, enum batch_due why,
                              const char *reason)
{
    static const struct {
        const char *type, *category;
        bool retryable; /* not where the steps were run, whatever came of it */
    } errors[] = {[BATCH_LATE] = {"BatchTimeout", "timeout", true},
                  [BATCH_SILENT] = {"BatchTimeout", "timeout", true},
                  [BATCH_LOST] = {"WorkerLost", "infrastructure", true},
                  [BATCH_GONE] = {"ResultsLost", "infrastructure", false}};
    struct json_object *error =
        tsk_error_object(reason, errors[why].type, errors[why].category, errors[why].retryable);
    struct json_object *line = tsk_batch_error(batch->id, error);
    struct json_object *missing = json_object_new_array();
    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->ended[i])
            json_object_array_add(missing, json_object_new_int64(batch->steps[i]));
    }
    if (batch->worker[0])
        tsk_json_put_str(line, "worker_id", batch->worker);
    tsk_json_put(line, "missing_step_ids", missing);
    tsk_json_put_bool(line, "completion_missing", !batch->complete);
    keep_own(c, batch->id, line);
    json_object_put(line);
}

bool report_due(void *ctx, const struct batch *batch, enum batch_due why)
{
    struct collect *c = ctx;
    struct tsk_buf text = TSK_BUF_INIT;
    if (why == BATCH_SETTLED) {
        missing_text(batch, &text);
        diag_warn("batch %s: complete, but without %s", batch->id, text.data);
    } else {
        reason_text(c, batch, why, &text);
        diag_error("batch %s: %s", batch->id, text.data);
        print_batch_error(c, batch, why, text.data);
        c->gave_up = true;
    }
    tsk_buf_fini(&text);
    return true;
}

static void tell_open(void *ctx, const struct batch *batch)
{
    struct tsk_buf text = TSK_BUF_INIT;
    (void)ctx;
    missing_text(batch, &text);
    diag_error("batch %s: stopped without %s", batch->id, text.data);
    tsk_buf_fini(&text);
}

void report_open(struct collect *c)
{
    batches_each(c->batches, tell_open, c);
    if (c->printed < c->opts->count)
        diag_error("stopped after %" PRId64 " of %" PRId64 " result%s", c->printed, c->opts->count,
                   tsk_plural(c->opts->count));
}

void report_lost(const char *source, int64_t lost)
{
    if (lost <= 0)
        return;
    diag_warn("source %s: %" PRId64
              " message%s lost: it has them no more, or does not send them again",
              source, lost, tsk_plural(lost));
}

/* frame may be NULL: nothing could be received. */
void report_unreadable(struct collect *c, const struct tsk_frame *frame, const char *reason)
{
    struct complaints *u = &c->unreadable;
    u->total++;
    if (c->now - u->window >= 1000) {
        u->window = c->now;
        u->told = 0;
    }
    if (u->told++ >= TOLD_A_SECOND) {
        u->hidden++;
        return;
    }
    if (u->hidden)
        diag_warn("%" PRId64 " more message%s could not be read", u->hidden, tsk_plural(u->hidden));
    u->hidden = 0;
    diag_warn("message on topic \"%.64s\" of %s cannot be read: %s%s%.80s",
              frame ? frame->topic : "", tsk_bus_endpoint(c->bus), reason,
              frame && frame->len ? ": " : "", frame ? frame->body : "");
}

void report_summary(struct collect *c)
{
    const struct tsk_stream_stats *stats = tsk_stream_stats(c->stream);
    if (c->unreadable.hidden)
        diag_warn("%" PRId64 " more message%s could not be read", c->unreadable.hidden,
                  tsk_plural(c->unreadable.hidden));
    if (c->dropped)
        diag_warn("%" PRId64
                  " message%s of peers that cannot send again dropped: too much waited for "
                  "the store",
                  c->dropped, tsk_plural(c->dropped));
    if (held_dropped(c->held))
        diag_warn("%" PRId64 " result%s of batches without a receipt dropped: no more can be held",
                  held_dropped(c->held), tsk_plural(held_dropped(c->held)));
    if (stats->forgotten)
        diag_warn("%" PRId64 " source%s forgotten, which still owed %" PRId64 " message%s",
                  stats->forgotten, tsk_plural(stats->forgotten), stats->owed,
                  tsk_plural(stats->owed));
    if (held_unclaimed(c->held))
        diag_info("%" PRId64 " result%s of batches without a receipt not printed (--all does)",
                  held_unclaimed(c->held), tsk_plural(held_unclaimed(c->held)));
    diag_info("%" PRId64 " result%s printed, %" PRId64 " duplicate%s dropped, %" PRId64
              " replay%s asked for, %" PRId64 " message%s lost, %" PRId64 " unreadable",
              c->printed, tsk_plural(c->printed), stats->duplicates, tsk_plural(stats->duplicates),
              stats->replays, tsk_plural(stats->replays), stats->lost, tsk_plural(stats->lost),
              c->unreadable.total);
}
