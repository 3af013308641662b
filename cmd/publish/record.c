/* What the store is told, in transactions that hold all that is at hand: batches before they are
 * sent for the first time, the worker that each is sent to, and those that were accepted. While one
 * is written more comes in, and makes the next: so a stream of batches costs few of them, and a
 * single one waits for nobody. */
#include "publish/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "publish/post.h"

enum {
    TELL_MS = 1000, /* what is over sooner was just another's transaction */
    PAUSE_LEAST_MS = 20,
    PAUSE_MOST_MS = 500,
    LOCK_WAIT_MS = 100 /* at once, for the loop must not stand still: the rest by trying again */
};

int record_open(struct record *record, const struct tsk_conf *conf, int stop_fd,
                struct tsk_err *err)
{
    struct tsk_err why = TSK_ERR_INIT;
    record->look_at = record->renew_at = record->away_since = -1;
    record->claim_ms = tsk_conf_int(conf, TSK_STORE_CLAIM);
    record->step_timeout = tsk_conf_int(conf, TSK_WORKER_STEP_TIMEOUT);
    tsk_uuid(record->publisher);
    record->store = tsk_store_new(conf, stop_fd, &why);
    if (record->store)
        tsk_store_set_lock_wait(record->store, LOCK_WAIT_MS);
    if (record->store || why.kind == TSK_OK)
        return 0;
    *err = why;
    return -1;
}

static int release(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    const struct record *record = ctx;
    return tsk_outbound_release(store, record->publisher, err);
}

static void free_all(struct parcels *parcels, bool held)
{
    for (size_t i = 0; i < parcels->count; i++) {
        if (held || !parcels->items[i]->held)
            parcel_free(parcels->items[i]);
    }
    free(parcels->items);
}

void record_close(struct post *post)
{
    struct record *record = &post->record;
    if (record->store && record->gave_up && record->renew_at >= 0 && record->away_since < 0)
        tsk_store_write(record->store, release, record, 0, NULL); /* else they run out */
    free_all(&record->due, false);
    free_all(&record->others, true);
    free_all(&record->unsent.page, true);
    tsk_store_free(record->store);
}

static void append(struct parcels *parcels, struct parcel *parcel)
{
    parcels->items =
        tsk_grow(parcels->items, &parcels->cap, parcels->count + 1, sizeof *parcels->items);
    parcels->items[parcels->count++] = parcel;
}

void record_note(struct record *record, struct parcel *parcel, unsigned what)
{
    if (!parcel->todo)
        append(&record->due, parcel);
    parcel->todo |= what;
}

size_t record_count(const struct record *record)
{
    size_t count = record->others.count;
    for (size_t i = 0; i < record->due.count; i++)
        count += !record->due.items[i]->held;
    return count;
}

/* ---- the transaction */

static void fill_step(struct tsk_outbound_step *step, struct json_object *note,
                      struct json_object *config)
{
    tsk_json_int(note, "step_id", &step->step_id);
    tsk_json_int(note, "task_id", &step->task_id);
    tsk_json_int(note, "attempt", &step->attempt);
    tsk_json_int(note, "retry_limit", &step->retry_limit);
    tsk_json_int(note, "timeout_ms", &step->timeout_ms);
    step->name = tsk_json_str(note, "step_name");
    step->handler_class = tsk_json_str(note, "handler_class");
    step->handler_config = config ? tsk_json_text(config, NULL) : NULL;
}

static int add(struct tsk_store *store, const struct record *record, const struct parcel *parcel,
               struct tsk_err *err)
{
    struct tsk_outbound_step *steps = tsk_alloc(parcel->count * sizeof *steps);
    for (size_t i = 0; i < parcel->count; i++)
        fill_step(&steps[i], json_object_array_get_idx(parcel->steps, i),
                  json_object_array_get_idx(parcel->configs, i));
    struct tsk_outbound_batch batch = {.batch_id = parcel->batch_id,
                                       .body = parcel->text.data,
                                       .len = parcel->text.len,
                                       .offered_to = parcel->target,
                                       .timeout_ms = parcel->timeout_ms,
                                       .step_timeout = record->step_timeout,
                                       .steps = steps,
                                       .count = parcel->count};
    int rc = tsk_outbound_add(store, &record->claim, &batch, err);
    free(steps);
    return rc;
}

static int accept(struct tsk_store *store, const struct parcel *parcel, struct tsk_err *err)
{
    struct json_object *reply = parcel->reply;
    struct tsk_outbound_acceptance acceptance = {.batch_id = parcel->batch_id,
                                                 .worker_id = tsk_json_str(reply, "worker_id"),
                                                 .source = tsk_json_str(reply, "source"),
                                                 .result_endpoint =
                                                     tsk_json_str(reply, "result_endpoint"),
                                                 .confirmed = reply != NULL,
                                                 .at = parcel->at,
                                                 .sends = parcel->attempts};
    return tsk_outbound_accept(store, &acceptance, err);
}

static int refuse(struct tsk_store *store, const struct record *record, const struct parcel *parcel,
                  struct tsk_err *err)
{
    size_t len;
    const char *text = tsk_json_text(parcel->line_error, &len);
    return tsk_outbound_refuse(store, &record->claim, parcel->batch_id, text, len, err);
}

static int put_down(struct tsk_store *store, const struct record *record,
                    const struct parcel *parcel, struct tsk_err *err)
{
    if (parcel->todo & RECORD_ADD && add(store, record, parcel, err) < 0)
        return -1;
    if (parcel->todo & RECORD_ACCEPT)
        return accept(store, parcel, err);
    if (parcel->todo & RECORD_REFUSE)
        return refuse(store, record, parcel, err);
    if (parcel->todo & RECORD_OFFER && !(parcel->todo & RECORD_ADD))
        return tsk_outbound_offer(store, parcel->batch_id, parcel->target, err);
    return 0;
}

/* ---- what was there before */

struct look {
    const struct record *record;
    struct tsk_map *parcels; /* by batch_id */
};

static void note_past(struct parcel *parcel, const struct tsk_outbound_seen *seen)
{
    struct json_object *past = json_object_new_object();
    tsk_json_put_str(past, "state", seen->state);
    tsk_json_put_bool(past, "refused", seen->refused && !seen->accepted_by);
    tsk_json_put_str(past, "worker_id", seen->accepted_by ? seen->accepted_by : seen->offered_to);
    tsk_json_put_str(past, "source", seen->source);
    tsk_json_put_str(past, "result_endpoint", seen->result_endpoint);
    tsk_json_put_str(past, "delivery", seen->delivery);
    tsk_json_put_int(past, "published_at", seen->published_at);
    tsk_json_put_int(past, "sends", seen->sends);
    json_object_put(parcel->past);
    parcel->past = past;
}

static void note_seen(void *ctx, const struct tsk_outbound_seen *seen)
{
    const struct look *look = ctx;
    struct parcel *parcel = tsk_map_get(look->parcels, seen->batch_id);
    if (!parcel)
        return;
    struct tsk_outbound_body body = {parcel->text.data, parcel->text.len, parcel->stamp,
                                     parcel->stamp_len};
    parcel->verdict = tsk_outbound_judge(seen, &look->record->claim, &body);
    if (parcel->verdict == TSK_OUTBOUND_SEND && seen->news && !(parcel->todo & RECORD_ADD))
        parcel->verdict = TSK_OUTBOUND_PAST; /* it was sent, and a worker has it */
    /* it goes out as it is there */
    if (seen->body && seen->len && parcel->verdict != TSK_OUTBOUND_OTHER)
        memcpy(parcel->text.data, seen->body, parcel->text.len);
    parcel_set(&parcel->told, seen->offered_to);
    parcel_set(&parcel->dropped, seen->dropped);
    if (parcel->verdict == TSK_OUTBOUND_PAST)
        note_past(parcel, seen);
}

/* Claims one that is nobody's. */
static int take_free(struct tsk_store *store, const struct record *record, struct parcel *parcel,
                     struct tsk_err *err)
{
    if (parcel->verdict != TSK_OUTBOUND_FREE)
        return 0;
    int rc = tsk_outbound_take(store, &record->claim, parcel->batch_id, err);
    parcel->verdict = rc > 0 ? TSK_OUTBOUND_SEND : TSK_OUTBOUND_TAKEN;
    return rc;
}

/* Finds out what is to be done with each batch that was added, or found to be there. */
static int look_up(struct tsk_store *store, const struct record *record, struct tsk_err *err)
{
    struct look look = {record, tsk_map_new(NULL)};
    struct json_object *ids = json_object_new_array();
    int rc = 0;
    for (size_t i = 0; i < record->due.count; i++) {
        struct parcel *parcel = record->due.items[i];
        if (!(parcel->todo & (RECORD_ADD | RECORD_LOOK)))
            continue;
        parcel->verdict = TSK_OUTBOUND_TAKEN;
        tsk_map_put(look.parcels, parcel->batch_id, parcel);
        json_object_array_add(ids, json_object_new_string(parcel->batch_id));
    }
    if (tsk_map_count(look.parcels))
        rc = tsk_outbound_look(store, &record->claim, tsk_json_text(ids, NULL), note_seen, &look,
                               err);
    for (struct tsk_map_entry *e = tsk_map_first(look.parcels); e && rc >= 0; e = tsk_map_next(e))
        rc = take_free(store, record, tsk_map_value(e), err);
    json_object_put(ids);
    tsk_map_free(look.parcels);
    return rc < 0 ? -1 : 0;
}

static void record_done(struct post *post, int64_t now);
static bool pending_is_due(const struct post *post, int64_t now);
static int pending_read(struct post *post, struct tsk_err *err);
static void pending_done(struct post *post, int64_t now);

static int write_all(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct post *post = ctx;
    struct record *record = &post->record;
    int64_t now = tsk_now_ms();
    record->claim.publisher = record->publisher;
    record->claim.now = tsk_wall_ms();
    record->claim.until = record->claim.now + record->claim_ms;
    for (size_t i = 0; i < record->due.count; i++) {
        if (put_down(store, record, record->due.items[i], err) < 0)
            return -1;
    }
    if (record->renew_at >= 0 && now >= record->renew_at &&
        tsk_outbound_renew(store, &record->claim, err) < 0)
        return -1;
    if (look_up(store, record, err) < 0)
        return -1;
    return pending_is_due(post, now) ? pending_read(post, err) : 0;
}

/* ---- when */

bool record_may_send(const struct record *record, int64_t now)
{
    return !record->store || record->renew_at < 0 || now < record->lapse_at;
}

/* Batches are ours for a while from before on. */
static void note_claims(struct post *post, int64_t before)
{
    struct record *record = &post->record;
    bool renewed = record->renew_at >= 0 && before >= record->renew_at;
    if (!tsk_dispatch_count(post->dispatch) && (renewed || record->renew_at < 0)) {
        record->renew_at = -1;
    } else if (renewed || record->renew_at < 0) {
        record->renew_at = before + record->claim_ms / 3;
        record->lapse_at = before + record->claim_ms / 3 * 2;
    }
}

/* Whether there is something to record now. */
static bool record_is_due(const struct post *post, int64_t now)
{
    const struct record *record = &post->record;
    if (!record->store || (record->away_since >= 0 && now < record->next_try))
        return false;
    return record->due.count || (record->renew_at >= 0 && now >= record->renew_at) ||
           (record->look_at >= 0 && now >= record->look_at) || pending_is_due(post, now);
}

int64_t record_deadline(const struct post *post, int64_t now)
{
    const struct record *record = &post->record;
    int64_t at = tsk_earlier(record->renew_at, record->look_at);
    if (!record->store)
        return -1;
    if (record->unsent.again)
        at = tsk_earlier(at, record->unsent.again_at);
    if (record->away_since >= 0)
        return record->next_try;
    return record->due.count || pending_is_due(post, now) ? now : at;
}

/* Looks at those of others again: with all else, as if they were new. */
static void look_again(struct record *record, int64_t now)
{
    if (record->look_at < 0 || now < record->look_at)
        return;
    for (size_t i = 0; i < record->others.count; i++)
        record_note(record, record->others.items[i], RECORD_ADD);
    record->others.count = 0;
    record->look_at = -1;
}

static void doubt(void *ctx, const struct tsk_dispatch_batch *batch)
{
    record_note(ctx, batch->tag, RECORD_LOOK);
}

static bool store_failed(struct post *post, int64_t now)
{
    struct record *record = &post->record;
    if (record->away_since < 0) {
        record->away_since = now;
        record->away_told = false;
        record->pause = PAUSE_LEAST_MS;
    }
    if (record->err.kind != TSK_TEMPFAIL || tsk_now_ms() >= record->away_since + post->wait) {
        post->status = tsk_exit_worse(post->status, record->err.kind);
        return false;
    }
    if (!record->away_told && tsk_now_ms() >= record->away_since + TELL_MS) {
        diag_warn("%s; waiting for it", record->err.text);
        record->away_told = true;
    }
    record->next_try = tsk_now_ms() + record->pause;
    record->pause = record->pause * 2 < PAUSE_MOST_MS ? record->pause * 2 : PAUSE_MOST_MS;
    return true;
}

bool record_all(struct post *post)
{
    struct record *record = &post->record;
    int64_t now = tsk_now_ms();
    if (!record_is_due(post, now))
        return true;
    look_again(record, now);
    if (!record_may_send(record, now)) /* another one may have taken over what we hold */
        tsk_dispatch_each_batch(post->dispatch, doubt, record);
    if (tsk_store_write(record->store, write_all, post, 0, &record->err) < 0)
        return store_failed(post, now);
    if (record->away_since >= 0 && record->away_told)
        diag_warn("the store is there again");
    record->away_since = -1;
    record_done(post, now);
    pending_done(post, now);
    note_claims(post, now);
    return true;
}

/* ---- What follows when the store has been told: batches that are down may be sent, those that
 * were accepted have their receipt, and those that are nothing to send are done with. */

enum { LOOK_EVERY_MS = 200 }; /* at batches that another publisher has */

static int64_t record_prefer_until(const struct post *post, int64_t now)
{
    return (post->bus ? post->opened : now) + post->wait;
}

static void take_back(struct post *post, struct parcel *parcel)
{
    if (parcel->held)
        tsk_dispatch_drop(post->dispatch, parcel->batch_id);
    handed_forget(post, parcel);
    parcel->held = false;
}

/* It is down, and ours to send. The worker that it was offered to before, by a publisher that did
 * not come to say what became of it, may know it. */
static void may_go(struct post *post, struct parcel *parcel, int64_t now)
{
    parcel->taken_since = 0;
    parcel_mark(parcel, post->parser);
    if (!parcel->held)
        parcel->held =
            tsk_dispatch_add(post->dispatch, parcel->batch_id, (int64_t)parcel->count, parcel);
    if (parcel->told && (!parcel->target || strcmp(parcel->told, parcel->target) != 0))
        tsk_dispatch_prefer(post->dispatch, parcel->batch_id, parcel->told,
                            record_prefer_until(post, now));
    tsk_dispatch_allow(post->dispatch, parcel->batch_id, NULL);
    if (parcel->told)
        tsk_dispatch_allow(post->dispatch, parcel->batch_id, parcel->told);
    /* the store names another, or none */
    if (tsk_dispatch_offered(post->dispatch, parcel->batch_id))
        record_note(&post->record, parcel, RECORD_OFFER);
}

/* Counts a batch that this publisher sent, and of which the ledger has news, as accepted: its
 * worker runs it, though the answer was lost. Returns whether it is such a batch. */
static bool accept_known(struct post *post, struct parcel *parcel, int64_t now)
{
    const char *worker = tsk_json_str(parcel->past, "worker_id");
    bool refused = false;
    int64_t attempts;
    tsk_json_bool(parcel->past, "refused", &refused);
    if (!parcel->held || !worker || refused || tsk_json_str(parcel->past, "delivery") ||
        strcmp(tsk_json_str(parcel->past, "state"), "cancelled") == 0 ||
        !tsk_dispatch_accept(post->dispatch, parcel->batch_id, worker, NULL, now, &attempts))
        return false;
    diag_info("batch %s: worker %s has it: the ledger has news of it", parcel->batch_id, worker);
    post_accepted(post, parcel, parcel->past, attempts);
    return true;
}

static void is_taken(struct post *post, struct parcel *parcel, int64_t now)
{
    struct record *record = &post->record;
    take_back(post, parcel);
    if (!parcel->taken_since) {
        parcel->taken_since = now;
        diag_info("batch %s: another publisher has it", parcel->batch_id);
    }
    if (now >= parcel->taken_since + post->wait) {
        diag_error("batch %s (%s): another publisher has it, and nobody accepted it in time",
                   parcel->batch_id, parcel->place);
        post->status = tsk_exit_worse(post->status, TSK_TEMPFAIL);
        parcel_free(parcel);
        return;
    }
    record->others.items = tsk_grow(record->others.items, &record->others.cap,
                                    record->others.count + 1, sizeof *record->others.items);
    record->others.items[record->others.count++] = parcel;
    record->look_at = now + LOOK_EVERY_MS;
}

/* It was published before. Where somebody took it, its receipt is given once more. */
static void is_past(struct post *post, struct parcel *parcel)
{
    const char *state = tsk_json_str(parcel->past, "state");
    bool refused = false;
    tsk_json_bool(parcel->past, "refused", &refused);
    take_back(post, parcel);
    if (refused || strcmp(state, "cancelled") == 0) {
        diag_error("batch %s (%s): %s before: not sent again", parcel->batch_id, parcel->place,
                   refused ? "rejected" : "cancelled");
        post->status = tsk_exit_worse(post->status, TSK_NO);
        parcel_free(parcel);
        return;
    }
    diag_warn("batch %s (%s): already published (it is %s): not sent again", parcel->batch_id,
              parcel->place, strcmp(state, "created") == 0 ? "known to the ledger" : state);
    receipt_again(post, parcel);
}

static void is_other(struct post *post, struct parcel *parcel)
{
    take_back(post, parcel);
    diag_error("batch %s (%s): the store has another batch of this batch_id: not sent",
               parcel->batch_id, parcel->place);
    post->status = tsk_exit_worse(post->status, TSK_DATA);
    parcel_free(parcel);
}

static void added(struct post *post, struct parcel *parcel, int64_t now)
{
    switch (parcel->verdict) {
    case TSK_OUTBOUND_SEND:
    case TSK_OUTBOUND_FREE:
        may_go(post, parcel, now);
        break;
    case TSK_OUTBOUND_TAKEN:
        is_taken(post, parcel, now);
        break;
    case TSK_OUTBOUND_PAST:
        if (!accept_known(post, parcel, now))
            is_past(post, parcel);
        break;
    case TSK_OUTBOUND_OTHER:
        is_other(post, parcel);
        break;
    }
}

static void done(struct post *post, struct parcel *parcel, int64_t now)
{
    unsigned todo = parcel->todo;
    parcel->todo = 0;
    if (todo & RECORD_ACCEPT) {
        receipt_print(post, parcel);
    } else if (todo & RECORD_REFUSE) {
        receipt_rejected(parcel);
    } else if (todo & (RECORD_ADD | RECORD_LOOK)) {
        added(post, parcel, now);
    } else if (todo & RECORD_OFFER) {
        parcel_set(&parcel->told, parcel->target);
        tsk_dispatch_allow(post->dispatch, parcel->batch_id, parcel->target);
    }
}

/* Does for each parcel what may be done now that it is recorded. */
static void record_done(struct post *post, int64_t now)
{
    struct parcels due = post->record.due;
    post->record.due = (struct parcels){NULL, 0, 0};
    for (size_t i = 0; i < due.count; i++)
        done(post, due.items[i], now);
    free(due.items);
}

/* ---- --pending: what is in the store and was accepted by nobody, oldest first. It is claimed page
 * by page, as there is room for more. A batch that another publisher has is not waited for, if that
 * one lives: it renews its claims. One that was killed does not, and then they run out. */

#define DRY_RUN_PAGE 100

static bool pending_is_due(const struct post *post, int64_t now)
{
    const struct unsent *unsent = &post->record.unsent;
    if (!unsent->wanted || unsent->ended || !post->bus || !post_room(post))
        return false;
    return !unsent->again || now >= unsent->again_at;
}

static void add_row(void *ctx, const struct tsk_outbound_unsent *row)
{
    struct post *post = ctx;
    struct unsent *unsent = &post->record.unsent;
    struct tsk_batch batch;
    struct tsk_err err;
    unsent->rows++;
    unsent->last = row->place;
    struct json_object *json = tsk_json_object(post->parser, row->body, row->len, &err);
    if (!json || tsk_batch_read(&batch, json, true, &err) < 0) {
        diag_error("batch %s (%s): %s", row->batch_id, tsk_store_name(post->record.store),
                   err.text);
        post->status = tsk_exit_worse(post->status, TSK_DATA);
        return;
    }
    struct parcel *parcel = parcel_new(tsk_store_name(post->record.store), 0);
    parcel_fill(parcel, &batch, row->body, row->len);
    tsk_batch_fini(&batch);
    parcel_set(&parcel->told, row->offered_to);
    parcel_set(&parcel->dropped, row->dropped);
    unsent->page.items = tsk_grow(unsent->page.items, &unsent->page.cap, unsent->page.count + 1,
                                  sizeof *unsent->page.items);
    unsent->page.items[unsent->page.count++] = parcel;
}

static void drop_page(struct unsent *unsent)
{
    for (size_t i = 0; i < unsent->page.count; i++)
        parcel_free(unsent->page.items[i]);
    unsent->page.count = unsent->rows = 0;
}

/* Within the transaction: claims and reads the next batches, if there is room for some. */
static int pending_read(struct post *post, struct tsk_err *err)
{
    struct record *record = &post->record;
    struct unsent *unsent = &record->unsent;
    struct tsk_outbound_place after = unsent->place;
    drop_page(unsent); /* of a try that failed */
    if (unsent->again)
        after = (struct tsk_outbound_place){0, 0};
    unsent->last = after;
    unsent->most = post_room(post);
    if (tsk_outbound_claim_unsent(record->store, &record->claim, after, (int64_t)unsent->most,
                                  err) < 0 ||
        tsk_outbound_each_unsent(record->store, &record->claim, after, (int64_t)unsent->most,
                                 add_row, post, err) < 0)
        return -1;
    if (unsent->rows == unsent->most)
        return 0;
    return tsk_outbound_next_free(record->store, &record->claim, unsent->since + record->claim_ms,
                                  &unsent->next_free, err);
}

static void send_row(struct post *post, struct parcel *parcel, int64_t now)
{
    struct tsk_dispatch *dispatch = post->dispatch;
    parcel->held = tsk_dispatch_add(dispatch, parcel->batch_id, (int64_t)parcel->count, parcel);
    if (!parcel->held) { /* read once more */
        parcel_free(parcel);
        return;
    }
    post->added++;
    parcel_mark(parcel, post->parser);
    if (parcel->told)
        tsk_dispatch_prefer(dispatch, parcel->batch_id, parcel->told,
                            record_prefer_until(post, now));
    tsk_dispatch_allow(dispatch, parcel->batch_id, NULL);
}

/* After it: hands them to the dispatch. */
static void pending_done(struct post *post, int64_t now)
{
    struct unsent *unsent = &post->record.unsent;
    if (!unsent->most) /* none were asked for */
        return;
    for (size_t i = 0; i < unsent->page.count; i++)
        send_row(post, unsent->page.items[i], now);
    unsent->page.count = 0;
    unsent->place = unsent->last;
    unsent->again = unsent->rows < unsent->most && unsent->next_free;
    unsent->ended = unsent->rows < unsent->most && !unsent->next_free;
    if (unsent->again)
        unsent->again_at = now + (unsent->next_free - post->record.claim.now) + 1;
    unsent->rows = unsent->most = 0;
}

/* ---- only looking */

static void count_row(void *ctx, const struct tsk_outbound_unsent *row)
{
    (void)row;
    ++*(int *)ctx;
}

struct any {
    struct post *post;
    int found;
};

static int look_for_any(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct any *any = ctx;
    struct tsk_outbound_place start = {0, 0};
    struct tsk_outbound_claim claim = {NULL, tsk_wall_ms(), 0};
    int64_t at = 0, by = any->post->record.unsent.since + any->post->record.claim_ms;
    any->found = 0;
    if (tsk_outbound_each_unsent(store, &claim, start, 1, count_row, &any->found, err) < 0)
        return -1;
    claim.publisher = any->post->record.publisher;
    if (tsk_outbound_next_free(store, &claim, by, &at, err) < 0)
        return -1;
    any->found += at != 0;
    return 0;
}

int pending_any(struct post *post, struct tsk_err *err)
{
    struct any any = {post, 0};
    if (tsk_store_read(post->record.store, look_for_any, &any, post->wait, err) < 0)
        return -1;
    return any.found > 0;
}

struct dry_run {
    struct tsk_outbound_place place;
    size_t rows;
};

static void print_row(void *ctx, const struct tsk_outbound_unsent *row)
{
    struct dry_run *run = ctx;
    run->place = row->place;
    run->rows++;
    out_line(row->body, row->len);
}

static int print_page(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct dry_run *run = ctx;
    struct tsk_outbound_claim claim = {NULL, tsk_wall_ms(), 0};
    run->rows = 0;
    return tsk_outbound_each_unsent(store, &claim, run->place, DRY_RUN_PAGE, print_row, run, err);
}

enum tsk_exit pending_dry_run(const struct tsk_conf *conf)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct dry_run run = {{0, 0}, 0};
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    int rc = store ? 0 : -1;
    if (store)
        tsk_store_set_use(store, TSK_STORE_LOOK);
    do {
        if (rc == 0)
            rc = tsk_store_read(store, print_page, &run, 0, &err);
    } while (rc == 0 && run.rows == DRY_RUN_PAGE && !out_failed());
    tsk_store_free(store);
    if (rc < 0 && err.kind == TSK_OK)
        err.kind = TSK_CONFIG;
    return rc < 0 ? diag_err(&err) : TSK_OK;
}
