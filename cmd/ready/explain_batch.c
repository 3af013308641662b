/* Where the batch is that has claimed a step. */
#include <inttypes.h>

#include "ready/explain.h"
#include "tasker/json.h"
#include "tasker/outbound.h"

static const char get_batch[] =
    "SELECT b.batch_id, b.state, b.created_at, b.published_at, b.accepted_by, b.offered_to, "
    "b.publisher, b.claimed_until, (SELECT r.raw_message FROM received_results r "
    "WHERE " TSK_OUTBOUND_REFUSES(
        "r",
        "b.batch_id") "), b.source, b.result_endpoint, "
                      "(SELECT count(*) FROM unsettled u WHERE u.batch_id = b.batch_id), "
                      "(SELECT h.received_at FROM received_results h WHERE h.source = b.source "
                      "ORDER BY h.stream_offset DESC LIMIT 1), "
                      "(SELECT h.raw_message FROM received_results h WHERE h.batch_id = b.batch_id "
                      "AND h.step_id = x.step ORDER BY h.id DESC LIMIT 1) FROM "
                      "batch_steps x JOIN batches b ON b.id = x.batch WHERE x.step = $1 "
                      "ORDER BY x.attempt DESC, b.id DESC LIMIT 1";

enum {
    BATCH_ID,
    STATE,
    CREATED_AT,
    PUBLISHED_AT,
    ACCEPTED_BY,
    OFFERED_TO,
    PUBLISHER,
    CLAIMED_UNTIL,
    REFUSAL,
    SOURCE,
    ENDPOINT,
    UNSETTLED,
    HEARD,
    RESULT,
};

/* Every worker has refused it, or it is too long; until reconcile looks at that, it stays so. */
static void tell_refused(struct explain *explain, const struct tsk_value *message)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *json = tsk_json_object(parser, message->data, message->len, NULL);
    const char *why = tsk_json_str(tsk_json_get(json, "error"), "message");
    tsk_buf_str(&explain->line, "refused: ");
    explain_add(explain, why ? why : "no reason is told");
    tsk_buf_str(&explain->line, "; the next tasker-reconcile ends the batch");
    json_object_put(json);
    tsk_json_free(parser);
}

static void tell_unsent(struct explain *explain, const struct tsk_value *row)
{
    int64_t back = row[CLAIMED_UNTIL].number > row[CREATED_AT].number ? row[CLAIMED_UNTIL].number
                                                                      : row[CREATED_AT].number;
    if (row[PUBLISHER].type == TSK_TEXT && row[CLAIMED_UNTIL].number > explain->now) {
        tsk_buf_str(&explain->line, "not sent yet: tasker-publish ");
        explain_add(explain, tsk_value_str(&row[PUBLISHER]));
        tsk_buf_str(&explain->line, " has it and waits for a worker");
        return;
    }
    tsk_buf_str(&explain->line, "not sent yet: is tasker-publish running, and a worker? "
                                "tasker-publish --pending sends it; if nobody does, "
                                "tasker-reconcile gives it back after ");
    explain_add_time(explain, back + explain->claim_timeout);
}

static int on_batch(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct explain *explain = ctx;
    (void)columns;
    explain_begin(explain);
    tsk_buf_printf(&explain->line, "claimed in batch %s (%s), created ",
                   tsk_value_str(&row[BATCH_ID]), tsk_value_str(&row[STATE]));
    explain_add_time(explain, row[CREATED_AT].number);
    explain_end(explain);
    explain_begin(explain);
    if (row[REFUSAL].type == TSK_BYTES && row[PUBLISHED_AT].type != TSK_INT) {
        tell_refused(explain, &row[REFUSAL]);
    } else if (row[PUBLISHED_AT].type == TSK_INT) {
        tsk_buf_str(&explain->line, "accepted by ");
        explain_add(explain, *tsk_value_str(&row[ACCEPTED_BY]) ? tsk_value_str(&row[ACCEPTED_BY])
                                                               : "nobody known");
        tsk_buf_char(&explain->line, ' ');
        explain_add_time(explain, row[PUBLISHED_AT].number);
        explain_end(explain);
        struct explain_accepted accepted = {
            .batch = tsk_value_str(&row[BATCH_ID]),
            .worker = tsk_value_str(&row[ACCEPTED_BY]),
            .source = tsk_value_str(&row[SOURCE]),
            .endpoint = tsk_value_str(&row[ENDPOINT]),
            .unsettled = row[UNSETTLED].number > 0,
            .result = &row[RESULT],
            .heard = row[HEARD].type == TSK_INT ? row[HEARD].number : -1,
        };
        explain_worker(explain, &accepted);
        return 0;
    } else if (*tsk_value_str(&row[OFFERED_TO])) {
        tsk_buf_str(&explain->line, "sent to ");
        explain_add(explain, tsk_value_str(&row[OFFERED_TO]));
        tsk_buf_str(&explain->line, ", not accepted yet");
    } else {
        tell_unsent(explain, row);
    }
    explain_end(explain);
    return 0;
}

int explain_batch(struct explain *explain, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_int(explain->id);
    return tsk_store_run(explain->store, get_batch, &value, 1, on_batch, explain, err) < 0 ? -1 : 0;
}
