/* From lines to the reconciliation. Reading blocks, but never for longer than until the next
 * verdict is due; what was printed is flushed before any wait, so that the next stage of a pipe
 * sees it at once. A signal ends it as the end of input does, so that Ctrl-C in a pipeline loses
 * no verdict. While following, a reader of stdout that went away ends it too: nobody would ever
 * hear a verdict again. */
#include "reconcile/reconcile.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/line.h"
#include "tasker/message.h"
#include "tasker/bus.h"

struct loop {
    struct tsk_reconcile *reconcile;
    struct settling *settling; /* or NULL */
    struct look look;
    const struct options *opts;
    struct tsk_lines *lines;
    struct tsk_json *json;
    int signals; /* descriptor, or -1 */
    int64_t now;
    enum tsk_exit status;
};

static void bad_line(struct loop *loop, const struct tsk_line *line, enum tsk_exit kind,
                     const char *reason)
{
    diag_input(line->file, line->number, reason);
    loop->status = tsk_exit_worse(loop->status, kind);
}

/* Feeds a recorded message of the results channel to the reconciliation in memory: a record is
 * looked at, and never stored. Its topic may say what it is. The steps channel is ignored. */
static int feed_tapped(struct loop *loop, struct json_object *json, const struct tsk_line *line,
                       struct tsk_err *err)
{
    struct tsk_tapped tapped;
    int taken = tsk_tapped_read(&tapped, json, line->data, line->len, false, err);
    const char *type = tsk_type_name(tsk_type_find(tapped.topic));
    struct json_object *raw = NULL; /* of a message beyond a limit */
    if (!taken && type && !tapped.message && tapped.body.len)
        tapped.message = raw =
            tsk_json_salvage(loop->json, tapped.body.data, tapped.body.len, NULL);
    if (!taken && type && tapped.message && !tsk_json_get(tapped.message, "message_type"))
        tsk_json_put_str(tapped.message, "message_type", type);
    if (!taken && tapped.message)
        taken = tsk_reconcile_feed(loop->reconcile, tapped.message, loop->now, err);
    tsk_tapped_fini(&tapped);
    json_object_put(raw);
    return taken;
}

static int feed(struct loop *loop, struct json_object *json, const struct tsk_line *line,
                struct tsk_err *err)
{
    if (tsk_tapped_is(json))
        return feed_tapped(loop, json, line, err);
    int taken = loop->settling ? lines_take(loop->settling->lines, json, line, err) : 0;
    return taken ? taken : tsk_reconcile_feed(loop->reconcile, json, loop->now, err);
}

/* Returns as tsk_reconcile_feed. */
static int feed_line(struct loop *loop, const struct tsk_line *line, struct tsk_err *err)
{
    struct json_object *message = tsk_json_salvage(loop->json, line->data, line->len, err);
    int taken = message ? feed(loop, message, line, err) : -1;
    json_object_put(message);
    return taken;
}

/* Lines that are not for this program go on as they came; a table is no place for them. */
static void take_line(struct loop *loop, const struct tsk_line *line)
{
    struct tsk_err err = TSK_ERR_INIT;
    int taken = feed_line(loop, line, &err);
    if (taken < 0 || err.kind != TSK_OK) /* all of it, or an entry */
        bad_line(loop, line, err.kind, err.text);
    if (taken < 0)
        return;
    if (loop->opts->pass || (!taken && !loop->opts->text))
        out_line(line->data, line->len);
}

/* When the next verdict, or look at the ledger, is due. */
static int64_t due_at(const struct loop *loop)
{
    int64_t due = tsk_reconcile_due(loop->reconcile);
    if (loop->settling)
        due = tsk_earlier(due, lines_due(loop->settling->lines));
    if (loop->settling && loop->opts->follow)
        due = tsk_earlier(due, loop->look.at);
    return due;
}

/* Waits until there is input or a verdict is due. Returns 1 for input, 0 for neither, or -1 to
 * end. */
static int wait_input(struct loop *loop)
{
    struct pollfd fds[] = {{.fd = tsk_lines_fd(loop->lines), .events = POLLIN},
                           {.fd = loop->signals, .events = POLLIN},
                           {.fd = loop->opts->follow ? STDOUT_FILENO : -1, .events = 0}};
    if (fds[0].fd < 0)
        return 1; /* a file is to be opened */
    int ready = poll(fds, 3, tsk_left_ms(due_at(loop)));
    if (ready <= 0)
        return 0;
    if (fds[1].revents && signals_read(NULL) & SIGNALS_STOP)
        return -1;
    if (fds[2].revents & POLLERR) {
        diag_error("standard output: the reader went away");
        loop->status = tsk_exit_worse(loop->status, TSK_IO);
        return -1;
    }
    return fds[0].revents != 0;
}

/* Settles what is due. Returns false if the store failed. */
static bool settle(struct loop *loop)
{
    int64_t now = tsk_now_ms();
    if (!loop->settling)
        return true;
    if (!lines_turn(loop->settling->lines, now, false))
        return false;
    return !loop->opts->follow || now < loop->look.at || ledger_look(loop->settling, &loop->look);
}

/* Between two reads. Returns whether to go on. */
static bool refill(struct loop *loop)
{
    if (!settle(loop) || out_flush() < 0)
        return false;
    int input = wait_input(loop);
    if (input > 0)
        tsk_lines_fill(loop->lines);
    loop->now = tsk_now_ms();
    tsk_reconcile_settle(loop->reconcile, loop->now);
    return input >= 0;
}

static void run(struct loop *loop)
{
    struct tsk_line line;
    loop->now = tsk_now_ms();
    while (!out_failed()) {
        switch (tsk_lines_next(loop->lines, &line)) {
        case TSK_LINE_OK:
            take_line(loop, &line);
            break;
        case TSK_LINE_BAD:
            bad_line(loop, &line, line.kind, line.reason);
            break;
        case TSK_LINE_MORE:
            if (!refill(loop))
                return;
            break;
        case TSK_LINE_END:
            return;
        }
    }
}

enum tsk_exit read_all(struct tsk_reconcile *reconcile, struct settling *settling,
                       const struct options *opts, char *const *operands, size_t count, size_t max)
{
    struct loop loop = {
        .reconcile = reconcile, .settling = settling, .opts = opts, .signals = signals_fd()};
    loop.lines = tsk_lines_new(operands, count, max);
    loop.json = tsk_json_new();
    run(&loop);
    tsk_json_free(loop.json);
    tsk_lines_free(loop.lines);
    ledger_look_fini(&loop.look);
    return loop.status;
}
