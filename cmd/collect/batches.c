/* Batches under way. Of each only the ids of its steps are kept, and how far each has come. The
 * moment at which any of them is due is cached, so that a result costs a look-up and no search. */
#include "collect/batches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect/early.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/map.h"
#include "tasker/parse.h"

enum { SETTLE_MS = 250, ENDED_MOST = 20000, EARLY_MOST = 20000 };

struct batches {
    struct tsk_map *open;  /* struct batch by id */
    struct batch *last;    /* the one of these looked up last, mostly wanted again; or NULL */
    struct tsk_map *ended; /* a mark by id, oldest first */
    struct early *early;   /* what came of batches without a receipt; NULL: none will come */
    int64_t timeout, silence;
    int64_t next; /* no batch is due before this; -1: none at all */
    int64_t seen;
    size_t asked;
    int64_t behind; /* until then nobody's silence counts; -1: never was */
    const struct tsk_stream *stream;
    struct lost *lost;
};

static void batch_free(void *value)
{
    struct batch *batch = value;
    free(batch->steps);
    free(batch->ended);
    free(batch->sequences);
    free(batch->endpoint);
    free(batch);
}

struct batches *batches_new(int64_t timeout, int64_t silence, const struct tsk_stream *stream,
                            struct lost *lost)
{
    struct batches *batches = tsk_alloc(sizeof *batches);
    batches->open = tsk_map_new(batch_free);
    batches->ended = tsk_map_new(NULL);
    batches->early = early_new(EARLY_MOST);
    batches->timeout = timeout;
    batches->silence = silence;
    batches->next = batches->behind = -1;
    batches->stream = stream;
    batches->lost = lost;
    return batches;
}

void batches_free(struct batches *batches)
{
    if (!batches)
        return;
    tsk_map_free(batches->open);
    tsk_map_free(batches->ended);
    early_free(batches->early);
    free(batches);
}

struct result result_read(enum tsk_type type, struct json_object *message)
{
    struct result result = {type, tsk_json_str(message, "batch_id"), 0, false, 0};
    if (!result.batch_id)
        result.batch_id = "";
    if (type == TSK_TYPE_PARTIAL) {
        const char *status = tsk_json_str(message, "status");
        result.final = status && strcmp(status, "in_progress") != 0;
        tsk_json_int(message, "step_id", &result.step_id);
        tsk_json_int(message, "sequence", &result.sequence);
    }
    return result;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Reads step_ids, each once; a receipt made by hand may have none, and its batch then ends with its
 * completion. Returns what is wrong with them, or NULL. */
static const char *read_steps(struct batch *batch, struct json_object *receipt)
{
    struct json_object *ids = tsk_json_get(receipt, "step_ids");
    if (!ids)
        return NULL;
    if (!json_object_is_type(ids, json_type_array))
        return "receipt: step_ids is not an array";
    size_t count = json_object_array_length(ids);
    batch->steps = tsk_alloc((count + 1) * sizeof *batch->steps);
    batch->ended = tsk_alloc(count + 1);
    batch->sequences = tsk_alloc((count + 1) * sizeof *batch->sequences);
    for (size_t i = 0; i < count; i++) {
        struct json_object *id = json_object_array_get_idx(ids, i);
        if (!json_object_is_type(id, json_type_int) || json_object_get_int64(id) < 1)
            return "receipt: step_ids holds what is not a positive integer";
        batch->steps[i] = json_object_get_int64(id);
    }
    qsort(batch->steps, count, sizeof *batch->steps, compare_ids);
    for (size_t i = 0; i < count; i++) {
        if (!batch->count || batch->steps[batch->count - 1] != batch->steps[i])
            batch->steps[batch->count++] = batch->steps[i];
    }
    return NULL;
}

static void copy_name(char out[TSK_ID_SIZE], struct json_object *object, const char *key)
{
    const char *name = tsk_json_str(object, key);
    if (name && tsk_name_valid(name))
        snprintf(out, TSK_ID_SIZE, "%s", name);
}

/* When it is due since nothing is heard of its worker; why tells of what. */
static int64_t life_deadline(const struct batches *batches, const struct batch *batch,
                             int64_t heard_at, enum batch_due *why)
{
    int64_t deadline = -1;
    if (batches->silence >= 0) {
        int64_t life =
            batch->source[0] ? tsk_stream_heard(batches->stream, batch->source) : heard_at;
        life = life > batches->behind ? life : batches->behind;
        deadline = (life > batch->last ? life : batch->last) + batches->silence;
        *why = BATCH_SILENT;
    }
    int64_t lost =
        batch->source[0] ? lost_deadline(batches->lost, batch->source, batch->since) : -1;
    if (lost < 0 || (deadline >= 0 && deadline <= lost))
        return deadline;
    *why = BATCH_LOST;
    return lost;
}

/* When it is due if nothing more comes; why (may be NULL) tells of what. */
static int64_t batch_deadline(const struct batches *batches, const struct batch *batch,
                              int64_t heard_at, enum batch_due *why)
{
    int64_t deadline = batch->settle_at;
    if (batch->asked)
        return -1;
    if (deadline >= 0 && batches->behind >= 0 && batches->behind + SETTLE_MS > deadline)
        deadline = batches->behind + SETTLE_MS;
    enum batch_due reason = BATCH_SETTLED;
    if (batches->timeout >= 0 && (deadline < 0 || batch->since + batches->timeout < deadline)) {
        deadline = batch->since + batches->timeout;
        reason = BATCH_LATE;
    }
    enum batch_due dead;
    int64_t life = life_deadline(batches, batch, heard_at, &dead);
    if (life >= 0 && (deadline < 0 || life < deadline)) {
        deadline = life;
        reason = dead;
    }
    if (why)
        *why = reason;
    return deadline;
}

struct early_note {
    struct batches *batches;
    int64_t now;
};

static void note_early(void *ctx, const struct result *result)
{
    struct early_note *note = ctx;
    batches_note(note->batches, result, note->now);
}

const char *batches_receipt(struct batches *batches, struct json_object *receipt, int64_t now)
{
    const char *id = tsk_json_str(receipt, "batch_id");
    if (!id || !tsk_name_valid(id))
        return "receipt: batch_id is missing or is not " TSK_NAME_RULE;
    if (batches_know(batches, id))
        return NULL;
    struct batch *batch = tsk_alloc(sizeof *batch);
    const char *wrong = read_steps(batch, receipt);
    if (wrong) {
        batch_free(batch);
        return wrong;
    }
    snprintf(batch->id, sizeof batch->id, "%s", id);
    copy_name(batch->source, receipt, "source");
    copy_name(batch->worker, receipt, "worker_id");
    batch->endpoint = tsk_strdup(tsk_json_str(receipt, "result_endpoint"));
    batch->since = batch->last = now;
    batch->settle_at = -1;
    batches->seen++;
    if (batch->source[0])
        lost_begin(batches->lost, batch->source, now);
    batches->next = tsk_earlier(batches->next, batch_deadline(batches, batch, now, NULL));
    tsk_map_put(batches->open, id, batch);
    struct early_note note = {batches, now};
    if (batches->early)
        early_take(batches->early, id, note_early, &note);
    return NULL;
}

void batches_close(struct batches *batches)
{
    early_free(batches->early);
    batches->early = NULL;
}

static struct batch *find_open(struct batches *batches, const char *batch_id)
{
    if (!batches->last || strcmp(batches->last->id, batch_id) != 0)
        batches->last = tsk_map_get(batches->open, batch_id);
    return batches->last;
}

const char *batches_record(struct batches *batches, struct json_object *receipt, int64_t now)
{
    const char *id = tsk_json_str(receipt, "batch_id");
    int64_t reached = 0;
    if (!id || batches_know(batches, id))
        return NULL;
    const char *wrong = batches_receipt(batches, receipt, now);
    struct batch *batch = wrong ? NULL : find_open(batches, id);
    if (!batch) /* what came of it before has ended it */
        return wrong;
    tsk_json_int(receipt, "reached", &reached);
    batch->recorded = true;
    batch->reached = reached != 0;
    return NULL;
}

bool batches_recorded(struct batches *batches, const char *batch_id)
{
    const struct batch *batch = find_open(batches, batch_id);
    return batch && batch->recorded;
}

bool batches_know(struct batches *batches, const char *batch_id)
{
    return find_open(batches, batch_id) || tsk_map_get(batches->ended, batch_id);
}

static void batch_end(struct batches *batches, struct batch *batch)
{
    static char mark;
    if (tsk_map_count(batches->ended) >= ENDED_MOST)
        tsk_map_remove(batches->ended, tsk_map_key(tsk_map_first(batches->ended)));
    tsk_map_put(batches->ended, batch->id, &mark);
    tsk_map_take(batches->open, batch->id);
    if (batches->last == batch)
        batches->last = NULL;
    if (batch->source[0])
        lost_end(batches->lost, batch->source);
    batches->asked -= batch->asked;
    batch_free(batch);
}

/* Its time has come. One that is unreached stays open: only what the store has of it is wanted. */
static void batch_is_due(struct batches *batches, struct batch *batch, enum batch_due why,
                         batch_due_fn *due, void *ctx)
{
    if (due(ctx, batch, why)) {
        if (why != BATCH_UNREACHED)
            batch_end(batches, batch);
        return;
    }
    batch->asked = true;
    batch->why = why;
    batches->asked++;
}

/* The place of a step in the arrays; their count if the batch has no such step. */
static size_t step_place(const struct batch *batch, int64_t id)
{
    const int64_t *at = NULL;
    if (batch->count) /* else there is no array at all */
        at = bsearch(&id, batch->steps, batch->count, sizeof id, compare_ids);
    return at ? (size_t)(at - batch->steps) : batch->count;
}

static void note_partial(struct batch *batch, const struct result *result)
{
    size_t i = step_place(batch, result->step_id);
    if (i == batch->count)
        return;
    if (result->sequence > batch->sequences[i])
        batch->sequences[i] = result->sequence;
    batch->ended_count += result->final && !batch->ended[i];
    batch->ended[i] |= result->final;
}

void batches_note(struct batches *batches, const struct result *result, int64_t now)
{
    struct batch *batch = find_open(batches, result->batch_id);
    if (!batch) {
        if (batches->early && *result->batch_id && !tsk_map_get(batches->ended, result->batch_id))
            early_note(batches->early, result);
        return;
    }
    batch->last = now;
    batch->heard |= !batch->asked;
    if (result->type == TSK_TYPE_PARTIAL)
        note_partial(batch, result);
    if (result->type == TSK_TYPE_COMPLETION && !batch->complete) {
        batch->complete = true;
        batch->settle_at = now + SETTLE_MS;
        batches->next = tsk_earlier(batches->next, batch->settle_at);
    }
    if (result->type == TSK_TYPE_ERROR || (batch->complete && batch->ended_count == batch->count))
        batch_end(batches, batch);
}

bool batches_lack(struct batches *batches, const struct result *result)
{
    struct batch *batch = find_open(batches, result->batch_id);
    if (!batch || result->type != TSK_TYPE_PARTIAL)
        return batch && !(result->type == TSK_TYPE_COMPLETION && batch->complete);
    size_t i = step_place(batch, result->step_id);
    if (i == batch->count)
        return !batch->count && !batch->heard;
    return !batch->ended[i] && (result->final || result->sequence > batch->sequences[i]);
}

void batches_give_up(struct batches *batches, const char *batch_id, batch_due_fn *due, void *ctx)
{
    struct batch *batch = find_open(batches, batch_id);
    if (!batch || !batch->asked)
        return;
    if (batch->why == BATCH_UNREACHED) {
        batch->asked = false;
        batches->asked--;
        batches_recheck(batches);
        return;
    }
    due(ctx, batch, (enum batch_due)batch->why);
    batch_end(batches, batch);
}

size_t batches_awaited(const struct batches *batches)
{
    return tsk_map_count(batches->open) - batches->asked;
}

size_t batches_open(const struct batches *batches)
{
    return tsk_map_count(batches->open);
}

int64_t batches_seen(const struct batches *batches)
{
    return batches->seen;
}

/* A batch that seems lost is only unreached if its worker never was within reach: the store is
 * asked for it once, and after that its worker's silence counts anew. Returns whether it is that.
 */
static bool is_unreached(struct batches *batches, struct batch *batch, int64_t now,
                         batch_reached_fn *reached, batch_due_fn *due, void *ctx)
{
    if (tsk_stream_heard(batches->stream, batch->source) >= 0 || reached(ctx, batch))
        return false;
    if (!batch->looked)
        batch_is_due(batches, batch, BATCH_UNREACHED, due, ctx);
    batch->looked = true;
    if (!batch->asked)
        lost_postpone(batches->lost, batch->source, now);
    return true;
}

void batches_check(struct batches *batches, int64_t now, int64_t heard_at,
                   batch_reached_fn *reached, batch_due_fn *due, void *ctx)
{
    if (batches->next < 0 || now < batches->next)
        return;
    batches->next = -1;
    for (struct tsk_map_entry *e = tsk_map_first(batches->open), *next; e; e = next) {
        struct batch *batch = tsk_map_value(e);
        enum batch_due why;
        int64_t deadline = batch_deadline(batches, batch, heard_at, &why);
        next = tsk_map_next(e);
        if (deadline >= 0 && deadline <= now && why == BATCH_LOST &&
            is_unreached(batches, batch, now, reached, due, ctx))
            deadline = batch_deadline(batches, batch, heard_at, &why);
        if (deadline < 0 || deadline > now) {
            batches->next = tsk_earlier(batches->next, deadline);
            continue;
        }
        batch_is_due(batches, batch, why, due, ctx);
    }
}

bool batches_wait_for(const struct batches *batches, const char *source)
{
    for (struct tsk_map_entry *e = tsk_map_first(batches->open); e; e = tsk_map_next(e)) {
        const struct batch *batch = tsk_map_value(e);
        if (!batch->asked && !strcmp(batch->source, source))
            return true;
    }
    return false;
}

void batches_forgotten(struct batches *batches, const char *source, int64_t before,
                       batch_due_fn *due, void *ctx)
{
    for (struct tsk_map_entry *e = tsk_map_first(batches->open), *next; e; e = next) {
        struct batch *batch = tsk_map_value(e);
        next = tsk_map_next(e);
        if (batch->asked || batch->since >= before || strcmp(batch->source, source) != 0)
            continue;
        batch_is_due(batches, batch, batch->complete ? BATCH_SETTLED : BATCH_GONE, due, ctx);
    }
}

int64_t batches_deadline(const struct batches *batches)
{
    return batches->next;
}

void batches_behind(struct batches *batches, int64_t now)
{
    batches->behind = now;
}

void batches_recheck(struct batches *batches)
{
    if (batches->next > 0)
        batches->next = 0;
}

void batches_each(const struct batches *batches, void (*fn)(void *ctx, const struct batch *batch),
                  void *ctx)
{
    for (struct tsk_map_entry *e = tsk_map_first(batches->open); e; e = tsk_map_next(e))
        fn(ctx, tsk_map_value(e));
}
