/* Batches that were claimed and never accepted. Whether one still may be depends on the clock, and
 * what is derived must not: so its end becomes a message of the ledger first, the same one whoever
 * puts it there. Whoever does so takes the claim on the batch with it, for ever, so that no
 * publisher sends it any more.
 *
 * One that was offered to nobody is given back: its steps are pending as before. One that was about
 * to be sent to a worker may be running there: it has its time limit from then on, and is out of
 * time like one that was accepted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workflow/settler_private.h"
#include "tasker/store.h"

#define LAST "CASE WHEN b.claimed_until > b.created_at THEN b.claimed_until ELSE b.created_at END"
#define LIMIT                                                                                      \
    LAST " + CASE WHEN b.offered_to IS NULL THEN $2 WHEN b.timeout_ms > $2 THEN b.timeout_ms "     \
         "ELSE $2 END"
/* A step that no task has was given by somebody who sends it again. */
#define UNSENT                                                                                     \
    "b.state = 'created' AND b.claimed_until <= $1 AND " LIMIT " <= $1"                            \
    " AND (SELECT count(*) FROM received_results r WHERE r.batch_id = b.batch_id) = 0"             \
    " AND (SELECT count(*) FROM batch_steps p WHERE p.batch = b.id"                                \
    " AND (SELECT s.task FROM steps s WHERE s.id = p.step) IS NULL) = 0"

int tsk_settle_find_unsent(struct tsk_store *store, int64_t now, int64_t claim_timeout,
                           struct tsk_settle_list *list, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT b.id, b.total_steps FROM batches b WHERE " UNSENT " ORDER BY b.id";
    struct tsk_value values[] = {tsk_value_int(now), tsk_value_int(claim_timeout)};
    return tsk_store_run(store, sql, values, 2, tsk_settle_list_take, list, err) < 0 ? -1 : 0;
}

static char *back_text(const char *batch_id, int64_t limit_at)
{
    static const char why[] = "no publisher has sent the batch in time; its steps are given back";
    struct json_object *error = tsk_error_object(why, "claim_timeout", "infrastructure", true);
    tsk_json_put_bool(error, TSK_ATTEMPT_USED_KEY, false);
    return tsk_batch_error_text(batch_id, error, limit_at);
}

struct unsent {
    struct tsk_settler *settler;
    const struct tsk_settle_list *list;
    int64_t now, claim_timeout;
    char batch_id[TSK_ID_SIZE];
    int64_t limit_at;
    bool offered;
};

/* A publisher that wants it at the same time changes the same row: one of the two finds it changed.
 */
static const char take_claim[] =
    "UPDATE batches AS b SET publisher = 'reconcile', claimed_until = 9223372036854775807 WHERE "
    "b.id = $3 AND " UNSENT " RETURNING batch_id, offered_to";

static int take_claimed(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct unsent *unsent = ctx;
    (void)columns;
    snprintf(unsent->batch_id, sizeof unsent->batch_id, "%s", row[0].data);
    unsent->offered = row[1].type == TSK_TEXT;
    unsent->limit_at = unsent->now;
    return 0;
}

static int add_message(struct unsent *unsent, struct tsk_err *err)
{
    char *text = unsent->offered ? tsk_settle_timeout_text(unsent->batch_id, unsent->limit_at)
                                 : back_text(unsent->batch_id, unsent->limit_at);
    struct tsk_ledger_own own = {TSK_SETTLE_SOURCE,
                                 unsent->offered ? TSK_SETTLE_OFFSET : TSK_SETTLE_BACK_OFFSET,
                                 unsent->batch_id, text, strlen(text)};
    int rc = tsk_ledger_put_own(unsent->settler->store, &own, unsent->now, err);
    free(text);
    return rc;
}

static int add_messages(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct unsent *unsent = ctx;
    for (size_t i = 0; i < unsent->list->count; i++) {
        struct tsk_value values[] = {tsk_value_int(unsent->now),
                                     tsk_value_int(unsent->claim_timeout),
                                     tsk_value_int(unsent->list->items[i].batch)};
        int64_t rows = tsk_store_run(store, take_claim, values, 3, take_claimed, unsent, err);
        if (rows < 0 || (rows && add_message(unsent, err) < 0))
            return -1;
    }
    return 0;
}

int tsk_settler_give_back(struct tsk_settler *settler, const struct tsk_settle_list *list,
                          int64_t now, int64_t claim_timeout, int64_t patience, struct tsk_err *err)
{
    struct unsent unsent = {
        .settler = settler, .list = list, .now = now, .claim_timeout = claim_timeout};
    return list->count ? tsk_store_write(settler->store, add_messages, &unsent, patience, err) : 0;
}
