/* The ledger between receiving and printing. What a message is to be printed as is made when it is
 * received, and waits with it: mostly that is the message itself, and nothing is copied.
 *
 * What waits is bounded. For a moment, as long as the store takes what is there, the bus is not
 * read then. Longer than that it must be: a libzmq whose queue is full answers no heartbeats, and
 * when the connection has ended by that, it may abort as soon as the queue is read (issue 3937
 * there). So what comes is refused; its worker holds it, and is asked to send it again when there
 * is room.
 *
 * Print and confirm follow the store, so all that asks "did it come?" looks at what is printed. And
 * what asks "is it late?" must not count the time that messages waited here: keep_look. */
#include "collect/keep.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "tasker/clock.h"
#include "tasker/message.h"

enum {
    BEHIND_MS = 100,
    UNREAD_MOST_MS = 250,
    FULL_PERCENT = 100,
    DROP_PERCENT = 200,
    AGAIN_PERCENT = 50
};

/* TSK_SOURCE_LOST is that of what it says itself of a batch: the same for all collectors. */
enum { OWN_SOURCE_SIZE = sizeof TSK_SOURCE_LOST + TSK_ID_SIZE };

struct keep_line {
    struct keep_line *next;
    struct result result; /* its batch_id is that of the entry */
    char *text;           /* NULL: the message as it came */
    size_t len;
    bool own; /* of the collector itself: it is no result that came */
};

static struct keep_line *line_new(const char *text, size_t len)
{
    struct keep_line *line = tsk_alloc(sizeof *line);
    line->len = len;
    if (text) {
        line->text = tsk_alloc(len + 1);
        memcpy(line->text, text, len);
    }
    return line;
}

static void lines_free(struct keep_line *line)
{
    for (struct keep_line *next; line; line = next) {
        next = line->next;
        free(line->text);
        free(line);
    }
}

void keep_add(struct keep_line **lines, const struct result *result, const char *text, size_t len)
{
    while (*lines)
        lines = &(*lines)->next;
    *lines = line_new(text, len);
    (*lines)->result = *result;
}

/* The topic, if any database takes it for text. */
static bool is_plain(const char *topic)
{
    for (; *topic; topic++) {
        if (*topic < ' ' || *topic > '~')
            return false;
    }
    return true;
}

void keep_message(struct collect *c, const struct tsk_frame *frame, const char *source,
                  int64_t offset, struct keep_line *lines, const char *batch_id, const char *reason)
{
    bool plain = is_plain(frame->topic), single = lines && !lines->next;
    char too_long[80];
    if (!c->ledger || (!lines && !reason && !source))
        return;
    if (!source && tsk_ledger_fill(c->ledger) >= DROP_PERCENT) {
        c->dropped++;
        lines_free(lines);
        return;
    }
    if (frame->whole && !single) {
        snprintf(too_long, sizeof too_long, "%zu bytes are too many: this is the beginning",
                 frame->whole);
        reason = too_long;
    }
    struct tsk_ledger_entry entry = {
        .topic = plain ? frame->topic : "",
        .raw = plain ? frame->body : frame->raw,
        .len = plain ? frame->len : frame->raw_len,
        .message_type = single ? tsk_type_name(lines->result.type) : NULL,
        .batch_id = batch_id,
        .step_id = single ? lines->result.step_id : 0,
        .source = source,
        .offset = offset,
        .reason = reason,
        .at = c->now,
        .ctx = lines,
    };
    if (frame->whole && single) { /* what could be read of it */
        entry.raw = lines->text;
        entry.len = lines->len;
    }
    tsk_ledger_append(c->ledger, &entry);
}

void keep_own(struct collect *c, const char *batch_id, struct json_object *error)
{
    char source[OWN_SOURCE_SIZE];
    size_t len;
    if (!c->ledger) {
        out_json(error);
        return;
    }
    snprintf(source, sizeof source, TSK_SOURCE_LOST "%s", batch_id);
    const char *text = tsk_json_text(error, &len);
    struct keep_line *line = line_new(NULL, len);
    line->own = true;
    struct tsk_ledger_entry entry = {.topic = tsk_type_name(TSK_TYPE_ERROR),
                                     .raw = text,
                                     .len = len,
                                     .message_type = tsk_type_name(TSK_TYPE_ERROR),
                                     .batch_id = batch_id,
                                     .source = source,
                                     .offset = 1,
                                     .at = c->now,
                                     .ctx = line};
    tsk_ledger_append(c->ledger, &entry);
}

bool keep_due(void *ctx, const struct batch *batch, enum batch_due why)
{
    struct collect *c = ctx;
    char own[OWN_SOURCE_SIZE];
    if (!c->ledger)
        return why == BATCH_UNREACHED || report_due(c, batch, why);
    snprintf(own, sizeof own, TSK_SOURCE_LOST "%s", batch->id);
    tsk_ledger_look(c->ledger, batch->id, own, c->now);
    return false;
}

/* With --count no more is printed than was asked for, though more is in the store. */
static bool may_print(const struct collect *c)
{
    return c->opts->follow || !c->opts->count || c->printed < c->opts->count;
}

static void print_entry(struct collect *c, const struct tsk_ledger_entry *entry)
{
    for (struct keep_line *line = entry->ctx; line; line = line->next) {
        const char *text = line->text ? line->text : entry->raw;
        struct result result = line->result;
        result.batch_id = entry->batch_id ? entry->batch_id : "";
        if (line->own)
            out_line(text, line->len);
        else if (may_print(c))
            collect_result(c, &result, text, line->len, NULL, 0);
    }
    lines_free(entry->ctx);
}

/* A publisher puts its batches into its store before it sends them. */
static void tell_unknown(const struct collect *c, const struct tsk_ledger_entry *entry)
{
    if (!entry->found_count)
        diag_warn(
            "the store %s does not know batch %s, of which there is a receipt: has "
            "tasker-publish another store (store.url)? Its results are kept, and settle nothing",
            tsk_ledger_name(c->ledger), entry->batch_id);
}

void keep_receipt(struct collect *c, const char *batch_id)
{
    if (!c->ledger || c->asked_known)
        return;
    c->asked_known = true; /* one batch tells whose store it is */
    tsk_ledger_look_known(c->ledger, batch_id, c->now);
}

static void take_entry(struct collect *c, const struct tsk_ledger_entry *entry)
{
    c->unsaved++;
    if (entry->look && entry->offset) {
        tell_unknown(c, entry);
        return;
    }
    if (entry->look) {
        keep_found(c, entry);
        return;
    }
    print_entry(c, entry);
    tsk_stream_durable(c->stream, entry->source, entry->offset);
    if (lost_stopped(c->lost, entry->source) && tsk_stream_kept(c->stream, entry->source))
        batches_recheck(c->batches);
}

static void tell_failure(struct collect *c, const struct tsk_ledger_state *state)
{
    int64_t waiting = tsk_ledger_waiting(c->ledger);
    enum tsk_exit kind = state->err.kind;
    if (!state->ever && (kind == TSK_UNAVAILABLE || kind == TSK_CONFIG)) {
        c->status = tsk_exit_worse(c->status, diag_err(&state->err));
        c->refused = true;
        return;
    }
    diag_warn("the store fails, and is tried again: %s; %" PRId64
              " messages wait for it, and what comes is neither printed nor confirmed",
              state->err.text, waiting);
    c->failing = true;
}

static void tell_back(struct collect *c)
{
    diag_warn("the store %s is back: %" PRId64 " message%s waited for it",
              tsk_ledger_name(c->ledger), tsk_ledger_waiting(c->ledger),
              tsk_plural(tsk_ledger_waiting(c->ledger)));
    c->failing = false;
}

bool keep_pump(struct collect *c)
{
    struct tsk_ledger_state state;
    const struct tsk_ledger_entry *entry;
    bool any = false;
    if (!c->ledger || c->refused)
        return false;
    tsk_ledger_state(c->ledger, &state);
    if (state.failing && !c->failing)
        tell_failure(c, &state);
    else if (!state.failing && c->failing)
        tell_back(c);
    for (; (entry = tsk_ledger_take(c->ledger)) != NULL; any = true)
        take_entry(c, entry);
    c->refusing &= tsk_ledger_fill(c->ledger) > AGAIN_PERCENT;
    return any;
}

bool keep_waits(struct collect *c)
{
    if (!c->ledger || c->refusing || tsk_ledger_fill(c->ledger) < FULL_PERCENT) {
        c->full_since = 0;
        return false;
    }
    if (!c->full_since)
        c->full_since = c->now;
    c->refusing = c->now >= keep_deadline(c);
    return !c->refusing;
}

int64_t keep_deadline(const struct collect *c)
{
    return c->full_since ? c->full_since + c->unread_most : -1;
}

void keep_look(struct collect *c)
{
    int64_t oldest = c->ledger ? tsk_ledger_oldest(c->ledger) : -1;
    if (oldest < 0 || c->now - oldest < BEHIND_MS)
        return;
    lost_pause(c->lost, c->now - oldest, c->now);
    batches_behind(c->batches, c->now);
    c->heard_at = c->now;
}

/* Waits for the writer or a signal. Returns false if there was another signal. */
static bool wait_for_writer(struct collect *c, int64_t until)
{
    struct pollfd fds[] = {{.fd = tsk_ledger_fd(c->ledger), .events = POLLIN},
                           {.fd = signals_fd(), .events = POLLIN}};
    tsk_ledger_flush(c->ledger);
    return poll(fds, 2, tsk_left_ms(until)) <= 0 || !fds[1].revents ||
           !(signals_read(NULL) & SIGNALS_STOP);
}

void keep_finish(struct collect *c)
{
    int64_t until = tsk_now_ms() + c->patience;
    struct tsk_ledger_state state;
    if (!c->ledger)
        return;
    for (bool none = false; !c->refused && !none;) { /* what is printed may be followed by more */
        none = tsk_ledger_waiting(c->ledger) == 0;
        if (keep_pump(c)) {
            until = tsk_now_ms() + c->patience;
            none = false;
        } else if (!none && (tsk_now_ms() >= until || !wait_for_writer(c, until))) {
            break;
        }
    }
    int64_t left = tsk_ledger_waiting(c->ledger);
    if (c->refused || left == 0)
        return;
    tsk_ledger_state(c->ledger, &state);
    diag_error("%" PRId64 " message%s not in the store, so not printed and not confirmed: %s", left,
               left == 1 ? " is" : "s are",
               state.err.kind ? state.err.text : "it did not answer in time");
    c->status = tsk_exit_worse(c->status, TSK_TEMPFAIL);
}

int keep_open(struct collect *c, const struct tsk_conf *conf, struct tsk_err *err)
{
    c->ledger = tsk_ledger_new(conf, c->id, err);
    if (!c->ledger)
        return err->kind == TSK_OK ? 0 : -1;
    int64_t half = tsk_conf_int(conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL) / 2;
    c->unread_most = half < UNREAD_MOST_MS ? half : UNREAD_MOST_MS;
    tsk_stream_await_durable(c->stream);
    tsk_poller_set(c->poller, tsk_ledger_fd(c->ledger), TSK_READ, &c->ledger);
    diag_info("messages go into the store %s", tsk_ledger_name(c->ledger));
    return 0;
}

void keep_close(struct collect *c)
{
    const struct tsk_ledger_entry *entry;
    if (!c->ledger)
        return;
    while ((entry = tsk_ledger_drop(c->ledger)) != NULL)
        lines_free(entry->ctx);
    tsk_ledger_free(c->ledger);
}
