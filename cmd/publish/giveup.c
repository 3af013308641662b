/* When to give up, and saying what was not done, so that nobody has to guess: each batch by name
 * and place. */
#include <inttypes.h>
#include <stdio.h>

#include "common/diag.h"
#include "common/out.h"
#include "publish/post.h"
#include "tasker/clock.h"

#define WARN_EVERY_MS 10000

/* ctx is the post. */
static void name_held(void *ctx, const struct tsk_dispatch_batch *batch)
{
    const struct post *post = ctx;
    const struct parcel *parcel = batch->tag;
    if (!batch->attempts && parcel->todo & RECORD_ADD)
        diag_error("not in the store and not sent: batch %s (%s)", parcel->batch_id, parcel->place);
    else if (!batch->attempts)
        diag_error("not sent: batch %s (%s)%s", parcel->batch_id, parcel->place,
                   post->record.store && !post->record.unsent.wanted
                       ? "; \"tasker-publish --pending\" sends it later"
                       : "");
    else
        diag_error("sent, not accepted: batch %s (%s)%s%s", parcel->batch_id, parcel->place,
                   batch->worker_id ? ", last to " : "", batch->worker_id ? batch->worker_id : "");
}

/* Names those that were on their way into the store, or are another publisher's. */
static void name_recorded(const struct record *record)
{
    for (size_t i = 0; i < record->due.count; i++) {
        const struct parcel *parcel = record->due.items[i];
        if (parcel->todo & RECORD_ACCEPT)
            diag_error("accepted, and the store not told: batch %s (%s)%s%s", parcel->batch_id,
                       parcel->place, parcel->reply ? ", by " : "",
                       parcel->reply ? tsk_json_str(parcel->reply, "worker_id") : "");
        else if (parcel->todo & RECORD_REFUSE)
            diag_error("rejected by every worker, and the store not told: batch %s (%s)",
                       parcel->batch_id, parcel->place);
        else if (!parcel->held)
            diag_error("another publisher has it: batch %s (%s)", parcel->batch_id, parcel->place);
    }
    for (size_t i = 0; i < record->others.count; i++)
        diag_error("another publisher has it: batch %s (%s)", record->others.items[i]->batch_id,
                   record->others.items[i]->place);
}

/* Names a batch that nobody was told of; takes it. NULL is fine. */
static void name_new(struct post *post, struct parcel *parcel)
{
    if (!parcel)
        return;
    if (post->record.store)
        parcel->todo |= RECORD_ADD;
    name_held(post, &(struct tsk_dispatch_batch){.tag = parcel});
    parcel_free(parcel);
}

/* Reads on in plain files, whose end is near, to name what is there. */
static void name_unread(struct post *post)
{
    struct tsk_lines *lines = source_lines(post->source);
    struct parcel *parcel;
    const char *file;
    int64_t line;
    enum source_state state;
    while ((state = source_next(post->source, tsk_now_ms(), &parcel)) != SOURCE_END) {
        if (state == SOURCE_PARCEL)
            name_new(post, parcel);
        else if (state == SOURCE_MORE && tsk_lines_regular(lines))
            tsk_lines_fill(lines);
        else if (state == SOURCE_MORE)
            break;
    }
    name_new(post, source_close(post->source));
    tsk_lines_where(lines, &file, &line);
    if (tsk_lines_pending(lines))
        diag_error("%s: input from line %" PRId64 " on was not read", file, line + 1);
}

void post_give_up(struct post *post, const char *why)
{
    post->record.gave_up = true;
    diag_error("%s", why);
    tsk_dispatch_each_batch(post->dispatch, name_held, post);
    name_recorded(&post->record);
    if (!post->input_ended)
        name_unread(post);
}

int64_t post_wait_deadline(const struct post *post)
{
    if (!post->bus)
        return post->started + post->wait;
    int64_t since = tsk_dispatch_stranded(post->dispatch);
    if (since < 0)
        return -1;
    return (since > post->opened ? since : post->opened) + post->wait;
}

/* Finds a worker that is registered more than once, which is given no batch. */
static void find_double(void *ctx, const struct tsk_dispatch_worker *worker)
{
    const char **id = ctx;
    if (worker->registered > 1)
        *id = worker->worker_id;
}

/* Writes why no batch could be sent. */
static void say_no_worker(const struct post *post, char *out, size_t size)
{
    const char *twice = NULL;
    tsk_dispatch_each_worker(post->dispatch, find_double, &twice);
    int len = snprintf(out, size, "no worker in time: ");
    if (twice)
        len +=
            snprintf(out + len, size - (size_t)len,
                     "several have the id \"%s\", and so none of them is given a batch; ", twice);
    snprintf(out + len, size - (size_t)len,
             "%zu registered at %s, %zu wanted; waited %" PRId64 " ms",
             tsk_dispatch_registered(post->dispatch), tsk_bus_endpoint(post->bus),
             post->workers ? post->workers : 1, post->wait);
}

bool post_timed_out(struct post *post)
{
    int64_t deadline = post_wait_deadline(post);
    char why[sizeof post->taken.text + 64];
    if (!tsk_limit_over(deadline, tsk_now_ms(), &post->limit_at))
        return false;
    if (!post->bus)
        snprintf(why, sizeof why, "%s; waited %" PRId64 " ms", post->taken.text, post->wait);
    else
        say_no_worker(post, why, sizeof why);
    post->status = tsk_exit_worse(post->status, TSK_TEMPFAIL);
    post_give_up(post, why);
    return true;
}

/* Whether another ten seconds since a moment have passed since the last look. */
static bool is_due(const struct post *post, int64_t since, int64_t now)
{
    int64_t before = post->last_tick > since ? post->last_tick - since : 0;
    return since >= 0 && (now - since) / WARN_EVERY_MS > before / WARN_EVERY_MS;
}

struct look {
    const struct post *post;
    int64_t now;
};

static void warn_worker(void *ctx, const struct tsk_dispatch_worker *worker)
{
    const struct look *look = ctx;
    if (is_due(look->post, worker->silent_since, look->now))
        diag_warn("worker %s has not answered for %" PRId64 " s (batches: %" PRId64 ")",
                  worker->worker_id, (look->now - worker->silent_since) / 1000, worker->unanswered);
}

void post_warn(struct post *post, int64_t now)
{
    struct look look = {post, now};
    int64_t stranded = tsk_dispatch_stranded(post->dispatch);
    size_t registered = tsk_dispatch_registered(post->dispatch);
    tsk_dispatch_each_worker(post->dispatch, warn_worker, &look);
    if (post->bus && registered && is_due(post, stranded, now)) /* if none is: see await_worker */
        diag_warn("still waiting for a worker at %s: %zu registered, batches that wait: %zu",
                  tsk_bus_endpoint(post->bus), registered, tsk_dispatch_count(post->dispatch));
    post->last_tick = now;
}
