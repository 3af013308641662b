/* What became of a batch after a worker has accepted it: what the ledger has of it, and what the
 * worker itself reports, which is asked for a short time. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/ask.h"
#include "ready/explain.h"
#include "tasker/clock.h"

#define WAIT_MS 1500 /* a worker that lives answers at once */

static void tell_silent(struct explain *explain, const struct explain_accepted *accepted)
{
    explain_add(explain, accepted->worker);
    if (accepted->heard < 0)
        tsk_buf_str(&explain->line, " does not answer, and nothing was ever heard of it");
    else
        tsk_buf_str(&explain->line, " does not answer; it has not been heard of since ");
    if (accepted->heard >= 0)
        explain_add_time(explain, accepted->heard);
    tsk_buf_str(&explain->line, " (asked at ");
    explain_add(explain, accepted->endpoint);
    tsk_buf_str(&explain->line, "); a tasker-collect that runs reports it as lost");
}

/* Asks the worker for its status, which is the caller's; NULL: no answer. */
static struct json_object *ask(struct explain *explain, const struct explain_accepted *accepted)
{
    char step[TSK_ID_SIZE];
    struct tsk_err err = TSK_ERR_INIT;
    if (strcmp(explain->silent, accepted->endpoint) == 0)
        return NULL;
    int len = snprintf(step, sizeof step, "%" PRId64 ".%s", explain->id, accepted->batch);
    bool fits = len < (int)(sizeof step - TSK_UUID_SIZE);
    struct json_object *status = ask_status(explain->conf, TSK_RESULTS, accepted->endpoint,
                                            fits ? step : NULL, WAIT_MS, &err);
    if (!status)
        snprintf(explain->silent, sizeof explain->silent, "%s", accepted->endpoint);
    return status;
}

static void add_end(struct explain *explain, int64_t ended)
{
    tsk_buf_str(&explain->line, "it ended ");
    explain_add_time(explain, ended);
    tsk_buf_str(&explain->line, "; ");
}

/* Prints when the step ended, by the worker's clock: status has the time of both. Returns false if
 * the worker does not know. */
static bool tell_end(struct explain *explain, const char *worker, struct json_object *status)
{
    const char *at = tsk_json_str(status, "step_ended_at");
    const char *asked = tsk_json_str(status, "timestamp");
    int64_t offset = 0, unconfirmed = 0, collectors = 0, ended, then;
    if (!at || !asked || tsk_time_parse(at, &ended) < 0 || tsk_time_parse(asked, &then) < 0)
        return false;
    tsk_json_int(status, "step_offset", &offset);
    tsk_json_int(status, "unconfirmed", &unconfirmed);
    tsk_json_int(status, "collectors", &collectors);
    explain->now = tsk_wall_ms();
    add_end(explain, explain->now - (then - ended));
    tsk_buf_str(&explain->line, "the result is in the outbox of ");
    explain_add(explain, worker);
    tsk_buf_str(&explain->line, offset < unconfirmed
                                    ? ", and a collector took it that does not write to this store"
                                : collectors ? ", and a collector is taking it"
                                             : ", and no collector takes it: run tasker-collect");
    return true;
}

static void tell_status(struct explain *explain, const struct explain_accepted *accepted,
                        struct json_object *status)
{
    const char *source = tsk_json_str(status, "source");
    int64_t running = 0, queued = 0;
    tsk_json_int(status, "running", &running);
    tsk_json_int(status, "queued", &queued);
    bool same = source && strcmp(source, accepted->source) == 0;
    if (same && tell_end(explain, accepted->worker, status))
        return;
    explain_add(explain, accepted->worker);
    if (same)
        tsk_buf_printf(&explain->line, " lives: %" PRId64 " running, %" PRId64 " queued", running,
                       queued);
    else
        tsk_buf_str(&explain->line, " is another process now: what it had accepted is lost with "
                                    "it; a tasker-collect that runs reports that");
}

/* Prints what the ledger has of the step. */
static void tell_ledger(struct explain *explain, const struct tsk_value *message)
{
    struct tsk_json *parser = tsk_json_new();
    bool any = message->type == TSK_BYTES;
    struct json_object *result =
        any ? tsk_json_object(parser, message->data, message->len, NULL) : NULL;
    const char *status = tsk_json_str(result, "status"), *at = tsk_json_str(result, "timestamp");
    int64_t ended;
    if (status && at && strcmp(status, "in_progress") != 0 && tsk_time_parse(at, &ended) == 0) {
        add_end(explain, ended);
        tsk_buf_str(&explain->line, "its result is in the ledger: run tasker-reconcile");
    } else {
        tsk_buf_str(&explain->line, "the ledger has news of its batch: run tasker-reconcile");
    }
    json_object_put(result);
    tsk_json_free(parser);
}

void explain_worker(struct explain *explain, const struct explain_accepted *accepted)
{
    explain_begin(explain);
    if (accepted->unsettled) {
        tell_ledger(explain, accepted->result);
    } else if (!*accepted->endpoint || !*accepted->source) {
        tsk_buf_str(&explain->line, "nobody knows where its worker is: the worker did not report "
                                    "its address, as a plain one does not");
    } else {
        struct json_object *status = ask(explain, accepted);
        if (status)
            tell_status(explain, accepted, status);
        else
            tell_silent(explain, accepted);
        json_object_put(status);
    }
    explain_end(explain);
}
