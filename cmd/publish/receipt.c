/* Receipts: the lines that say who has a batch and where its results will be. */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "publish/post.h"
#include "tasker/clock.h"

/* Adds a member of the worker's answer, null if it told none. */
static void add_answered(struct json_object *receipt, struct json_object *answer, const char *key)
{
    tsk_json_put_str(receipt, key, answer ? tsk_json_str(answer, key) : NULL);
}

/* The receipt of a batch that was published at a time; answer may be NULL. */
static struct json_object *make(const struct parcel *parcel, int64_t at, const char *delivery,
                                struct json_object *answer, int64_t attempts)
{
    struct json_object *receipt = json_object_new_object();
    tsk_json_put_str(receipt, "message_type", tsk_type_name(TSK_TYPE_PUBLISHED));
    tsk_json_put_str(receipt, "batch_id", parcel->batch_id);
    if (at)
        tsk_json_put_time(receipt, "published_at", at);
    else
        tsk_json_put(receipt, "published_at", NULL);
    tsk_json_put_str(receipt, "delivery", delivery);
    add_answered(receipt, answer, "worker_id");
    add_answered(receipt, answer, "source");
    add_answered(receipt, answer, "result_endpoint");
    tsk_json_put_int(receipt, "total_steps", (int64_t)parcel->count);
    tsk_json_put_shared(receipt, "step_ids", parcel->step_ids);
    tsk_json_put_shared(receipt, "steps", parcel->steps);
    tsk_json_put_int(receipt, "attempts", attempts);
    if (parcel->subscribers)
        tsk_json_put_int(receipt, "subscribers", parcel->subscribers);
    if (parcel->not_taken)
        tsk_json_put_bool(receipt, "not_taken", true);
    return receipt;
}

static void forget(struct receipts *receipts)
{
    for (size_t i = 0; i < receipts->count; i++) {
        free(receipts->items[i].place);
        free(receipts->items[i].worker_id);
    }
    receipts->count = 0;
}

/* Notes whose receipt was printed last. Steps that are published again are a new batch, and what
 * came from the store is not asked for by its batch_id. */
static void note(struct post *post, const struct parcel *parcel, const char *worker_id)
{
    struct receipts *receipts = &post->receipts;
    if (receipts->count && out_taken(receipts->items[receipts->count - 1].end))
        forget(receipts);
    receipts->items =
        tsk_grow(receipts->items, &receipts->cap, receipts->count + 1, sizeof *receipts->items);
    struct given *given = &receipts->items[receipts->count++];
    memcpy(given->batch_id, parcel->batch_id, sizeof given->batch_id);
    given->place = tsk_strdup(parcel->place);
    given->worker_id = tsk_strdup(worker_id);
    given->again = post->record.store && !post->record.unsent.wanted && parcel->named;
    given->end = out_place();
}

/* Takes receipt, and frees the parcel. */
static void print(struct post *post, struct parcel *parcel, struct json_object *receipt)
{
    out_json(receipt);
    note(post, parcel, tsk_json_str(receipt, "worker_id"));
    json_object_put(receipt);
    parcel_free(parcel);
}

static void name_lost(const struct given *given)
{
    diag_error("%s, and its receipt not written: batch %s (%s)%s%s%s",
               given->worker_id ? "accepted" : "sent", given->batch_id, given->place,
               given->worker_id ? ", by " : "", given->worker_id ? given->worker_id : "",
               given->again ? "; published again it gets its receipt, and is not sent" : "");
}

void receipts_end(struct post *post)
{
    struct receipts *receipts = &post->receipts;
    out_flush();
    for (size_t i = 0; i < receipts->count; i++) {
        if (!out_taken(receipts->items[i].end))
            name_lost(&receipts->items[i]);
    }
    forget(receipts);
    free(receipts->items);
}

void receipt_print(struct post *post, struct parcel *parcel)
{
    print(post, parcel,
          make(parcel, parcel->at, parcel->reply ? "confirmed" : "unconfirmed", parcel->reply,
               parcel->attempts));
}

void receipt_again(struct post *post, struct parcel *parcel)
{
    struct json_object *past = parcel->past;
    int64_t at = 0, sends = 0;
    tsk_json_int(past, "published_at", &at);
    tsk_json_int(past, "sends", &sends);
    const char *delivery = tsk_json_str(past, "delivery");
    struct json_object *receipt =
        make(parcel, at, delivery ? delivery : "unconfirmed", past, sends);
    tsk_json_put_bool(receipt, "duplicate", true);
    print(post, parcel, receipt);
}

struct json_object *receipt_refusal(const struct parcel *parcel)
{
    struct json_object *error = json_object_get(parcel->error);
    if (!error)
        error = tsk_error_object("the worker gave no reason", "BatchRejected", "permanent", false);
    struct json_object *line = tsk_batch_error(parcel->batch_id, error);
    tsk_json_put_str(line, "worker_id", parcel->rejected_by);
    tsk_json_put_int(line, "total_steps", (int64_t)parcel->count);
    tsk_json_put_shared(line, "step_ids", parcel->step_ids);
    return line;
}

void receipt_rejected(struct parcel *parcel)
{
    const char *why = tsk_json_str(tsk_json_get(parcel->line_error, "error"), "message");
    out_json(parcel->line_error);
    diag_error("batch %s (%s) was rejected by every worker: %s", parcel->batch_id, parcel->place,
               why ? why : "no reason given");
    parcel_free(parcel);
}
