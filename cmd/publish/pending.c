/* --pending: what is in the store and was accepted by nobody, oldest first. It is claimed page by
 * page, as there is room for more. A batch that another publisher has is not waited for, if that
 * one lives: it renews its claims. One that was killed does not, and then they run out. */
#include <stdlib.h>

#include "common/diag.h"
#include "common/out.h"
#include "publish/post.h"

#define DRY_RUN_PAGE 100

bool pending_is_due(const struct post *post, int64_t now)
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

int pending_read(struct post *post, struct tsk_err *err)
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

void pending_done(struct post *post, int64_t now)
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
