/* Batches on their way out, looked up: what became of one that is to be sent, and which were never
 * accepted. */
#include <string.h>

#include "tasker/outbound.h"
#include "tasker/settle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- of some by their names */

#define GIVEN_BACK                                                                                 \
    "(SELECT count(*) FROM received_results g WHERE g.source = '" TSK_SETTLE_SOURCE                \
    "' || b.batch_id AND g.stream_offset = 2) > 0"
#define SEEN                                                                                       \
    "SELECT b.batch_id, CASE WHEN " GIVEN_BACK " THEN 'cancelled' ELSE b.state END, b.publisher,"  \
    " b.offered_to, b.accepted_by, coalesce(b.source, (SELECT r.source FROM received_results r"    \
    " WHERE r.batch_id = b.batch_id AND r.source NOT LIKE '%:%' ORDER BY r.id LIMIT 1)),"          \
    " b.result_endpoint, b.delivery, b.published_at, b.claimed_until, b.sends,"                    \
    " (SELECT count(*) FROM received_results r WHERE r.batch_id = b.batch_id),"                    \
    " (SELECT count(*) FROM received_results f"                                                    \
    " WHERE " TSK_OUTBOUND_REFUSES(                                                                \
        "f", "b.batch_id") "), CASE WHEN b.state = 'created' "                                     \
                           "AND b.publisher = $2 THEN NULL ELSE b.body END, b.dropped"             \
                           " FROM batches b WHERE b.batch_id "

static const char look_sqlite[] = SEEN "IN (SELECT value FROM json_each($1))";
static const char look_postgresql[] =
    SEEN "= ANY (ARRAY(SELECT json_array_elements_text(CAST($1 AS json))))";

struct look {
    tsk_outbound_seen_fn *fn;
    void *ctx;
};

static int tell_seen(void *ctx, const struct tsk_value *row, size_t columns)
{
    const struct look *look = ctx;
    struct tsk_outbound_seen seen = {.batch_id = row[0].data,
                                     .state = row[1].data,
                                     .publisher = row[2].data,
                                     .offered_to = row[3].data,
                                     .accepted_by = row[4].data,
                                     .source = row[5].data,
                                     .result_endpoint = row[6].data,
                                     .delivery = row[7].data,
                                     .published_at = row[8].number,
                                     .claimed_until = row[9].number,
                                     .sends = row[10].number,
                                     .news = row[11].number > 0,
                                     .refused = row[12].number > 0,
                                     .body = row[13].data,
                                     .len = row[13].len,
                                     .dropped = row[14].data};
    (void)columns;
    look->fn(look->ctx, &seen);
    return 0;
}

int tsk_outbound_look(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                      const char *ids, tsk_outbound_seen_fn *fn, void *ctx, struct tsk_err *err)
{
    struct look look = {fn, ctx};
    struct tsk_value values[] = {tsk_value_text(ids), tsk_value_text(claim->publisher)};
    const char *sql = TSK_SQL(store, look_sqlite, look_postgresql);
    return tsk_store_run(store, sql, values, COUNT(values), tell_seen, &look, err) < 0 ? -1 : 0;
}

/* Whether what is there is the same batch, whenever it was made. */
static bool is_same(const struct tsk_outbound_seen *seen, const struct tsk_outbound_body *body)
{
    size_t rest = body->stamp + body->stamp_len;
    return seen->len == body->len && memcmp(seen->body, body->data, body->stamp) == 0 &&
           memcmp(seen->body + rest, body->data + rest, body->len - rest) == 0;
}

enum tsk_outbound_verdict tsk_outbound_judge(const struct tsk_outbound_seen *seen,
                                             const struct tsk_outbound_claim *claim,
                                             const struct tsk_outbound_body *body)
{
    bool created = strcmp(seen->state, "created") == 0;
    bool ours = seen->publisher && strcmp(seen->publisher, claim->publisher) == 0;
    if (seen->body && seen->len && !is_same(seen, body))
        return TSK_OUTBOUND_OTHER; /* no body: only the ledger knows it */
    if (!created)
        return TSK_OUTBOUND_PAST;
    if (ours)
        return TSK_OUTBOUND_SEND;
    if (seen->news)
        return TSK_OUTBOUND_PAST;
    return seen->claimed_until > claim->now ? TSK_OUTBOUND_TAKEN : TSK_OUTBOUND_FREE;
}

int tsk_outbound_take(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                      const char *batch_id, struct tsk_err *err)
{
    static const char sql[] =
        "UPDATE batches SET publisher = $2, claimed_until = $4 WHERE batch_id = $1"
        " AND state = 'created' AND (claimed_until <= $3 OR publisher = $2)";
    struct tsk_value values[] = {tsk_value_text(batch_id), tsk_value_text(claim->publisher),
                                 tsk_value_int(claim->now), tsk_value_int(claim->until)};
    int64_t changed = tsk_store_run(store, sql, values, COUNT(values), NULL, NULL, err);
    return changed < 0 ? -1 : changed > 0;
}

/* ---- all that were accepted by nobody */

#define AFTER " AND (b.created_at, b.id) > ($1, $2)"
#define UNKNOWN " AND (SELECT count(*) FROM received_results r WHERE r.batch_id = b.batch_id) = 0"
#define CLAIM "UPDATE batches SET publisher = $4, claimed_until = $5 WHERE id "
#define FREE                                                                                       \
    "(SELECT b.id FROM batches b WHERE b.state = 'created' AND b.claimed_until <= $6" AFTER        \
        UNKNOWN " ORDER BY b.created_at, b.id LIMIT $3"

int tsk_outbound_claim_unsent(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                              struct tsk_outbound_place after, int64_t most, struct tsk_err *err)
{
    static const char sqlite[] = CLAIM "IN " FREE ")";
    static const char postgresql[] = CLAIM "= ANY (ARRAY" FREE " FOR UPDATE SKIP LOCKED))";
    struct tsk_value values[] = {
        tsk_value_int(after.created_at),  tsk_value_int(after.id),     tsk_value_int(most),
        tsk_value_text(claim->publisher), tsk_value_int(claim->until), tsk_value_int(claim->now)};
    return tsk_store_send(store, TSK_SQL(store, sqlite, postgresql), values, COUNT(values), err);
}

#define UNSENT                                                                                     \
    "SELECT b.created_at, b.id, b.batch_id, b.offered_to, b.body, b.dropped FROM batches b"        \
    " WHERE b.state = 'created'" AFTER UNKNOWN
#define IN_ORDER " ORDER BY b.created_at, b.id LIMIT $3"

struct each {
    tsk_outbound_unsent_fn *fn;
    void *ctx;
};

static int tell_unsent(void *ctx, const struct tsk_value *row, size_t columns)
{
    const struct each *each = ctx;
    struct tsk_outbound_unsent unsent = {.place = {row[0].number, row[1].number},
                                         .batch_id = row[2].data,
                                         .offered_to = row[3].data,
                                         .body = row[4].data,
                                         .len = row[4].len,
                                         .dropped = row[5].data};
    (void)columns;
    each->fn(each->ctx, &unsent);
    return 0;
}

int tsk_outbound_each_unsent(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                             struct tsk_outbound_place after, int64_t most,
                             tsk_outbound_unsent_fn *fn, void *ctx, struct tsk_err *err)
{
    static const char ours[] = UNSENT " AND b.publisher = $4" IN_ORDER;
    static const char free_ones[] = UNSENT " AND b.claimed_until <= $4" IN_ORDER;
    struct each each = {fn, ctx};
    struct tsk_value values[] = {
        tsk_value_int(after.created_at), tsk_value_int(after.id), tsk_value_int(most),
        claim->publisher ? tsk_value_text(claim->publisher) : tsk_value_int(claim->now)};
    const char *sql = claim->publisher ? ours : free_ones;
    return tsk_store_run(store, sql, values, COUNT(values), tell_unsent, &each, err) < 0 ? -1 : 0;
}

int tsk_outbound_next_free(struct tsk_store *store, const struct tsk_outbound_claim *claim,
                           int64_t by, int64_t *at, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT min(b.claimed_until) FROM batches b WHERE b.state = 'created'"
        " AND b.publisher <> $1 AND b.claimed_until > $2 AND b.claimed_until <= $3" UNKNOWN;
    struct tsk_value values[] = {tsk_value_text(claim->publisher), tsk_value_int(claim->now),
                                 tsk_value_int(by)};
    *at = 0;
    return tsk_store_get_int(store, sql, values, COUNT(values), at, err) < 0 ? -1 : 0;
}
