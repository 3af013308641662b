/* What a handler wrote on standard output, as the output of its step: by the registry's word a JSON
 * value, a text, or (auto) the one if it is that and else the other. What auto takes as a text
 * although it was meant as JSON, perhaps, is said; and no JSON that is beyond a limit becomes a
 * text: whatever it asks for (create_steps) would be lost, so the step fails. */
#include <inttypes.h>
#include <string.h>

#include "common/diag.h"
#include "tasker/json.h"
#include "work/work.h"

#define TRIES 16 /* at places where JSON may begin in a text */

/* Whether an object or a list ends the text, and prose stands before it. */
static bool ends_in_json(const char *text, size_t len)
{
    const char *end = text + len;
    int tries = 0;
    for (const char *at = text; at < end && tries < TRIES; at++) {
        at += strcspn(at, "{[");
        if (at >= end)
            return false;
        bool line = at == text || at[-1] == '\n';
        if ((line || !tries) && tsk_scan_check(at, (size_t)(end - at), NULL) == 0)
            return true;
        tries += line || !tries;
    }
    return false;
}

/* Whether a text that is not JSON looks as if it were to be: it begins as an object, or as a list
 * ("[INFO]" does not). */
static bool begins_as_json(const char *text, size_t len)
{
    size_t space = strspn(text, " \t\r\n");
    char next = space + 1 < len ? text[space + 1] : '\0';
    bool word = (next >= 'A' && next <= 'Z') || (next >= 'a' && next <= 'z');
    return space < len && (text[space] == '{' || (text[space] == '[' && !word));
}

static struct json_object *as_text(const struct tsk_buf *text, bool cut)
{
    size_t len = text->len;
    if (!cut && text->data[len - 1] == '\n')
        len--;
    return tsk_json_lossy(text->data, len);
}

/* Makes the step fail, if it has not failed by its end. Takes error. */
static void take_error(struct outcome *outcome, struct json_object *error)
{
    if (outcome->error)
        json_object_put(error);
    else
        outcome->error = error;
}

static void refuse(struct outcome *outcome, const char *type, const char *reason)
{
    take_error(outcome, tsk_error_object(reason, type, "validation", false));
}

static void warn(struct work *work, struct run *run, struct outcome *outcome, const char *what,
                 const char *reason)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text, "%s%s%s; it is taken as text", what, *reason ? ": " : "", reason);
    if (run_once(work, run, "output"))
        diag_warn("handler %s: step %" PRId64 ": its output %s (output: json in the registry "
                  "makes this an error, output: text says that it is meant; reported once a "
                  "handler)",
                  run->handler->pattern, run->step->step_id, text.data);
    outcome->warning = text.data;
}

/* Looks at an output that is not JSON. */
static void take_other(struct work *work, struct run *run, const struct tsk_err *why,
                       struct outcome *outcome)
{
    const struct tsk_buf *text = &run->process->out_text;
    struct tsk_buf reason = TSK_BUF_INIT;
    tsk_buf_printf(&reason, "its output is not JSON: %s", why->text);
    if (run->handler->output == TSK_OUTPUT_JSON)
        refuse(outcome, "OutputNotJson", reason.data);
    else if (begins_as_json(text->data, text->len))
        warn(work, run, outcome, "begins as JSON and is none", why->text);
    else if (ends_in_json(text->data, text->len))
        warn(work, run, outcome, "has something before its JSON", "");
    tsk_buf_fini(&reason);
}

/* Looks at an output that was cut. */
static void take_cut(const struct work *work, const struct run *run, struct outcome *outcome)
{
    const struct process *process = run->process;
    struct tsk_buf reason = TSK_BUF_INIT;
    tsk_buf_printf(&reason,
                   "its output of %" PRId64 " bytes is over worker.max_output (%" PRId64 ")",
                   process->out_bytes, work->max_output);
    if (run->handler->output == TSK_OUTPUT_JSON ||
        begins_as_json(process->out_text.data, process->out_text.len))
        refuse(outcome, "OutputTooLarge", reason.data);
    tsk_buf_fini(&reason);
}

/* Takes value, which the output is. */
static void take_json(struct outcome *outcome, const struct tsk_buf *text,
                      struct json_object *value)
{
    struct json_object *error = tsk_output_error(value, NULL);
    if (!error) {
        tsk_json_keep(value, text->data, text->len);
        outcome->output = value;
        return;
    }
    take_error(outcome, error);
    outcome->output = as_text(text, false);
    json_object_put(value);
}

/* Whether the result has room for all of its output. */
static bool has_room(struct work *work, const struct run *run, const struct outcome *outcome)
{
    struct tsk_buf message = TSK_BUF_INIT;
    result_partial(work, run, outcome, &message);
    bool whole = message.len + FEED_PLACE <= work->max_message ||
                 result_shorten(work, work->max_message - FEED_PLACE, &message);
    tsk_buf_fini(&message);
    return whole;
}

/* Looks at an output that is no JSON of which a message may hold all. */
static void take_text(struct work *work, struct run *run, int rc, const struct tsk_err *why,
                      struct outcome *outcome)
{
    const struct tsk_buf *text = &run->process->out_text;
    bool cut = run->process->out_bytes > (int64_t)text->len;
    outcome->output = as_text(text, cut);
    if (run->handler->output == TSK_OUTPUT_TEXT)
        return;
    if (cut)
        take_cut(work, run, outcome);
    else if (rc == TSK_JSON_LIMIT)
        take_error(outcome, tsk_output_error(NULL, why->text));
    else
        take_other(work, run, why, outcome);
}

void output_read(struct work *work, struct run *run, struct outcome *outcome)
{
    const struct tsk_buf *text = &run->process->out_text;
    bool cut = run->process->out_bytes > (int64_t)text->len;
    struct json_object *value = NULL;
    struct tsk_err why = TSK_ERR_INIT;
    if (!text->len)
        return;
    int rc = cut || run->handler->output == TSK_OUTPUT_TEXT
                 ? -1
                 : tsk_json_parse(work->json, text->data, text->len, &value, &why);
    if (rc < 0) {
        take_text(work, run, rc, &why, outcome);
        return;
    }
    take_json(outcome, text, value);
    if (!outcome->error && text->len > work->max_message / 4 && !has_room(work, run, outcome))
        refuse(outcome, "OutputTooLarge", "its output is too long for zeromq.max_message_bytes");
}
