/* One loop over the bus, the input, the clock and signals.
 *
 * The bus is read in rounds, so that a flood of results cannot keep the input waiting, nor the
 * other way round. When nothing is left to do, what was printed is written out, then confirmed
 * upstream, and missing messages are asked for. Time limits are looked at only then, so that
 * results that lie there are never late. The bus is read last before each sleep: any other use of
 * it, to send or to connect, can use up the edge by which it tells that there is more to read. */
#include "collect/collect.h"

#include <inttypes.h>

#include "collect/keep.h"
#include "common/life.h"
#include "common/out.h"
#include "common/signals.h"
#include "tasker/clock.h"
#include "tasker/message.h"

enum {
    FRAMES_A_ROUND = 1000,
    SAVE_MS = 20,
    SAVE_EACH = 2000 /* messages, so that the outboxes stay small in a flood */
};

/* Whether the run ends by silence or --timeout as a whole, having no receipts to wait for. */
static bool waits_for_anybody(const struct collect *c)
{
    if (c->opts->follow)
        return false;
    return c->opts->count || (c->input_end && !batches_seen(c->batches));
}

bool collect_done(const struct collect *c)
{
    const struct options *opts = c->opts;
    if (c->stop || c->refused || out_failed())
        return true;
    if (opts->follow)
        return false;
    if (opts->count)
        return c->printed >= opts->count || c->timed_out;
    if (!c->input_end || batches_awaited(c->batches))
        return false;
    return batches_seen(c->batches) || !opts->all || c->timed_out;
}

void collect_result(struct collect *c, const struct result *result, const char *data, size_t len,
                    const char *source, int64_t offset)
{
    if (c->everything || batches_know(c->batches, result->batch_id))
        collect_print(c, result, data, len);
    else
        held_add(c->held, result, data, len, source, offset);
}

void collect_print(struct collect *c, const struct result *result, const char *data, size_t len)
{
    out_line(data, len);
    c->printed++;
    batches_note(c->batches, result, c->now);
}

static void send_up(struct collect *c, const char *topic, const char *key,
                    const struct tsk_stream_order *order)
{
    struct tsk_buf body = TSK_BUF_INIT;
    struct tsk_err err = TSK_ERR_INIT;
    tsk_buf_printf(&body, "{\"source\":\"%s\",\"%s\":%" PRId64 ",\"collector_id\":\"%s\"}",
                   order->source, key, order->offset, c->id);
    if (tsk_bus_send(c->bus, topic, body.data, body.len, &err) < 0)
        diag_warn("cannot send %s: %s", topic, err.text);
    diag_debug("%s %s", topic, body.data);
    tsk_buf_fini(&body);
}

void collect_confirm(struct collect *c, const struct tsk_stream_order *order)
{
    send_up(c, TSK_TOPIC_COLLECTED, "offset", order);
    farewell_confirmed(c, order->source, order->offset);
}

/* Writes out what was printed, then confirms it upstream. */
static void save(struct collect *c)
{
    struct tsk_stream_order order;
    if (out_flush() < 0)
        return;
    c->unsaved = 0;
    c->saved_at = c->now;
    tsk_stream_hold_none(c->stream);
    held_mark(c->held, c->stream);
    while (tsk_stream_confirm(c->stream, &order))
        collect_confirm(c, &order);
}

static void ask_replays(struct collect *c)
{
    struct tsk_stream_order order;
    if (c->refusing)
        return;
    while (tsk_stream_ask(c->stream, c->now, &order))
        send_up(c, TSK_TOPIC_REPLAY, "after", &order);
    while (tsk_stream_stalled(c->stream, c->now, &order))
        diag_warn("source %s is silent and owes %" PRId64 " message%s", order.source, order.offset,
                  tsk_plural(order.offset));
}

static int64_t overall_deadline(const struct collect *c)
{
    int64_t deadline = -1;
    if (!waits_for_anybody(c))
        return -1;
    if (c->opts->timeout >= 0)
        deadline = c->started + c->opts->timeout;
    if (c->silence >= 0)
        deadline = tsk_earlier(deadline, c->heard_at + c->silence);
    return deadline;
}

/* When a batch or the run as a whole is due. */
static int64_t limit_deadline(const struct collect *c)
{
    return tsk_earlier(batches_deadline(c->batches), overall_deadline(c));
}

static void check_time(struct collect *c)
{
    int64_t overall = overall_deadline(c);
    endpoints_check(c);
    if (!tsk_limit_over(limit_deadline(c), c->now, &c->limit_at))
        return;
    c->limit_at = 0;
    batches_check(c->batches, c->now, c->heard_at, endpoints_reached, keep_due, c);
    c->timed_out |= overall >= 0 && overall <= c->now;
}

static int64_t next_deadline(const struct collect *c)
{
    int64_t deadline = tsk_limit_next(limit_deadline(c), c->limit_at);
    deadline = tsk_earlier(deadline, keep_deadline(c));
    if (!c->refusing)
        deadline = tsk_earlier(deadline, tsk_stream_deadline(c->stream));
    if (c->unsaved)
        deadline = tsk_earlier(deadline, c->saved_at + SAVE_MS);
    deadline = tsk_earlier(deadline, endpoints_deadline(c->endpoints));
    return tsk_earlier(deadline, life_deadline(c->bus));
}

/* Begins a round: sees whether this process was held up since the last, or slept for too long. */
static void look_at_clock(struct collect *c)
{
    int64_t now = tsk_now_ms();
    lost_pause(c->lost, now - c->now - c->asked, now);
    c->now = now;
    c->asked = 0;
}

static void wait_for_more(struct collect *c, bool busy)
{
    struct tsk_event events[6];
    int64_t tick = lost_tick(c->lost);
    int64_t until = tsk_earlier(next_deadline(c), tick < 0 ? -1 : c->now + tick);
    int timeout = busy ? 0 : tsk_left_ms(until);
    size_t count = tsk_poller_wait(c->poller, timeout, events, 6);
    c->asked = timeout < 0 ? INT64_MAX / 2 : timeout;
    for (size_t i = 0; i < count; i++) {
        if (events[i].tag == &c->lines)
            input_ready(c);
        else if (events[i].tag == &c->stop)
            c->stop |= (signals_read(NULL) & SIGNALS_STOP) != 0;
    }
}

static bool save_due(const struct collect *c)
{
    return c->unsaved >= SAVE_EACH || c->now - c->saved_at >= SAVE_MS;
}

/* Nothing was at hand in the last round. */
static void idle(struct collect *c)
{
    check_time(c);
    out_flush();
    ask_replays(c);
    if (c->ledger)
        tsk_ledger_flush(c->ledger);
    if (c->unsaved && save_due(c))
        save(c);
}

/* Much is at hand, perhaps for long. */
static void keep_up(struct collect *c)
{
    if (!save_due(c))
        return;
    ask_replays(c);
    save(c);
}

static enum tsk_exit end_status(const struct collect *c)
{
    bool missing = c->gave_up || batches_open(c->batches) || c->printed < c->opts->count;
    enum tsk_exit status = c->status;
    if (missing && !c->opts->follow)
        status = tsk_exit_worse(status, TSK_TEMPFAIL);
    if (c->opts->strict && c->unreadable.total)
        status = tsk_exit_worse(status, TSK_DATA);
    return status;
}

enum tsk_exit collect_run(struct collect *c)
{
    while (!collect_done(c)) {
        look_at_clock(c);
        life_tell(c->bus);
        bool busy = input_pump(c);
        busy |= receive(c, FRAMES_A_ROUND) > 0;
        busy |= keep_pump(c);
        keep_look(c);
        if (busy)
            keep_up(c);
        else
            idle(c);
        busy |= receive(c, FRAMES_A_ROUND) > 0;
        if (!collect_done(c))
            wait_for_more(c, busy);
    }
    keep_finish(c);
    save(c);
    farewell(c);
    if (!c->opts->follow)
        report_open(c);
    report_summary(c);
    return end_status(c);
}
