/* What comes in on stdin or from the files named: receipts, and whatever else passes by. All of it
 * goes on to stdout as it came. A receipt tells of a batch to wait for and where its results are;
 * a result, or the last word of tasker-publish on a batch, counts as if it had come by the bus. */
#include "collect/collect.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "collect/keep.h"
#include "common/diag.h"
#include "common/out.h"
#include "tasker/parse.h"

enum { LINES_A_ROUND = 1000 };

void input_bad(struct collect *c, const struct tsk_line *line, const char *reason,
               enum tsk_exit kind)
{
    diag_input(line->file, line->number, reason);
    c->status = tsk_exit_worse(c->status, kind);
}

static void print_held(void *ctx, const struct result *result, const char *data, size_t len)
{
    collect_print(ctx, result, data, len);
}

static void take_receipt(struct collect *c, struct json_object *receipt,
                         const struct tsk_line *line)
{
    const char *wrong = batches_receipt(c->batches, receipt, c->now);
    const char *source = tsk_json_str(receipt, "source");
    if (wrong) {
        input_bad(c, line, wrong, TSK_DATA);
        return;
    }
    out_line(line->data, line->len);
    if (source && tsk_name_valid(source))
        tsk_stream_want(c->stream, source, c->now);
    endpoints_receipt(c, receipt, line);
    keep_receipt(c, tsk_json_str(receipt, "batch_id"));
    held_release(c->held, tsk_json_str(receipt, "batch_id"), print_held, c);
}

static void take_line(struct collect *c, const struct tsk_line *line)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct json_object *object = tsk_json_object(c->parser, line->data, line->len, &err);
    if (!object) {
        input_bad(c, line, err.text, TSK_DATA);
        return;
    }
    enum tsk_type type = tsk_type_of_line(object);
    if (type == TSK_TYPE_PUBLISHED) {
        take_receipt(c, object, line);
    } else {
        out_line(line->data, line->len);
        c->unpublished += type == TSK_TYPE_STEP || type == TSK_TYPE_BATCH;
        if (type == TSK_TYPE_PARTIAL || type == TSK_TYPE_COMPLETION || type == TSK_TYPE_ERROR) {
            struct result result = result_read(type, object);
            batches_note(c->batches, &result, c->now);
        }
    }
    json_object_put(object);
}

static void take_end(struct collect *c)
{
    c->input_end = true;
    if (!batches_seen(c->batches) && !c->everything)
        diag_info("no receipt on the input: nothing to wait for (see --all and --follow)");
    if (c->unpublished)
        diag_warn("%" PRId64
                  " %s that nobody has published passed on: is tasker-publish missing in "
                  "front?",
                  c->unpublished, c->unpublished == 1 ? "step or batch" : "steps or batches");
    held_close(c->held);
    batches_close(c->batches);
}

/* Watches the descriptor that the input now has; -1 takes it off (before it may be closed). */
static void watch(struct collect *c, int fd)
{
    if (fd == c->input_fd)
        return;
    if (c->input_fd >= 0)
        tsk_poller_set(c->poller, c->input_fd, 0, NULL);
    if (fd >= 0)
        tsk_poller_set(c->poller, fd, TSK_READ, &c->lines);
    c->input_fd = fd;
}

void input_ready(struct collect *c)
{
    watch(c, -1);
    tsk_lines_fill(c->lines);
}

/* Whether the input can be read without waiting. Results must not overtake receipts that lie there:
 * so much would have to be held that some would be dropped. */
static bool is_readable(struct collect *c)
{
    struct pollfd pfd = {.fd = tsk_lines_fd(c->lines), .events = POLLIN};
    return pfd.fd < 0 || poll(&pfd, 1, 0) > 0;
}

bool input_pump(struct collect *c)
{
    struct tsk_line line;
    for (int i = 0; i < LINES_A_ROUND && !c->input_end && !out_failed(); i++) {
        switch (tsk_lines_next(c->lines, &line)) {
        case TSK_LINE_OK:
            take_line(c, &line);
            break;
        case TSK_LINE_BAD:
            input_bad(c, &line, line.reason, line.kind);
            break;
        case TSK_LINE_END:
            take_end(c);
            return false;
        case TSK_LINE_MORE:
            if (!is_readable(c)) {
                watch(c, tsk_lines_fd(c->lines));
                return false;
            }
            input_ready(c);
            break;
        }
    }
    return !c->input_end;
}
