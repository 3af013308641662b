/* A settlement takes in rows: it feeds a reconciliation, and notes of each step what that one has
 * no need to know: when its messages came, what it put out, its whole error. Which of them stand is
 * for the verdict to say; so the first end of each kind is kept, and an attempt that is newer than
 * all so far makes them void, as it does in the reconciliation (reconcile_step.c).
 *
 * Outputs may be long and steps many. Up to TEXTS_MOST bytes of them are kept; of the rest it is
 * only known which row of the ledger has it. */
#include "workflow/settle_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS_MOST (16u << 20)
#define BEGINNING_MOST 100 /* bytes shown of a message that cannot be read */

struct tsk_settle *tsk_settle_new(const struct tsk_reconcile_opts *rules)
{
    struct tsk_settle *s = tsk_alloc(sizeof *s);
    s->rules = *rules;
    s->rules.settle_ms = s->rules.timeout_ms = -1;
    s->rules.receipts = TSK_RECEIPTS_ALL;
    s->rules.timeout_fails = true;
    s->json = tsk_json_new();
    return s;
}

static void forget(struct tsk_settle *s)
{
    tsk_reconcile_free(s->reconcile);
    tsk_names_fini(&s->names);
    free(s->error);
    s->reconcile = NULL;
    s->error = NULL;
}

void tsk_settle_free(struct tsk_settle *s)
{
    if (!s)
        return;
    forget(s);
    tsk_json_free(s->json);
    tsk_buf_fini(&s->texts);
    tsk_buf_fini(&s->creates);
    free(s->steps);
    free(s->found);
    free(s);
}

void tsk_settle_set_judge(struct tsk_settle *s, tsk_settle_judge_fn *judge, void *ctx)
{
    s->judge = judge;
    s->judge_ctx = ctx;
}

void tsk_settle_begin(struct tsk_settle *s, const struct tsk_settle_batch *batch,
                      tsk_verdict_fn *tell, void *ctx)
{
    forget(s);
    tsk_buf_reset(&s->texts);
    s->tell = tell;
    s->ctx = ctx;
    s->batch = *batch;
    strncpy(s->id, batch->batch_id, sizeof s->id - 1);
    s->batch.batch_id = s->id;
    s->count = s->known = s->last = s->found_count = 0;
    s->now = INT64_MIN;
    s->first_at = s->heard_at = s->completion_at = s->error_at = -1;
    s->completed_at = s->time_ms = -1;
    s->concluded = s->timed_out = s->given_back = s->refused = false;
    s->verdict = TSK_INCOMPLETE;
    s->revision = 0;
}

static struct tsk_fold_step *add_step(struct tsk_settle *s, int64_t step_id)
{
    s->steps = tsk_grow(s->steps, &s->cap, s->count + 1, sizeof *s->steps);
    struct tsk_fold_step *step = &s->steps[s->count++];
    *step = (struct tsk_fold_step){.step_id = step_id, .hand_at = -1};
    step->started_at = step->completed_at = step->failed_at = -1;
    step->retry_at = step->time_ms = -1;
    return step;
}

void tsk_settle_step(struct tsk_settle *s, const struct tsk_settle_step *from)
{
    struct tsk_fold_step *step = add_step(s, from->step_id);
    s->known = s->count;
    step->row = from->row;
    step->task_id = from->task_id;
    step->since = from->since;
    step->round_places = (uint8_t)from->round_places;
    step->hand = (uint8_t)from->hand.state;
    step->hand_at = from->hand.at;
    step->hand_from = (uint8_t)from->hand_from;
    step->attempt = (uint32_t)from->attempt;
    step->limit = (uint32_t)from->retry_limit;
    step->name = tsk_names_add(&s->names, from->name);
    step->backoff = tsk_names_add(&s->names, from->backoff);
    step->owns = (uint8_t)from->owns;
}

/* --- Verdicts. */

struct tsk_fold_discrepancy *tsk_settle_found(struct tsk_settle *s, int64_t step_id)
{
    s->found = tsk_grow(s->found, &s->found_cap, s->found_count + 1, sizeof *s->found);
    struct tsk_fold_discrepancy *one = &s->found[s->found_count++];
    *one = (struct tsk_fold_discrepancy){.step_id = step_id};
    return one;
}

static void take_discrepancy(struct tsk_settle *s, const struct tsk_discrepancy *from)
{
    struct tsk_fold_discrepancy *one = tsk_settle_found(s, from->step_id);
    struct tsk_buf text = TSK_BUF_INIT;
    one->type = from->type;
    one->detail = from->detail;
    if (!from->field && !from->partial)
        return;
    tsk_buf_str(&text, from->detail);
    if (from->field)
        tsk_buf_printf(&text, ": %s is %" PRId64 ", counted %" PRId64, from->field, from->actual,
                       from->expected);
    else
        tsk_buf_printf(&text, ": %s, %s", from->partial, from->summary);
    one->detail = NULL;
    one->made = tsk_names_add(&s->names, text.data);
    tsk_buf_fini(&text);
}

static void take_step(struct tsk_settle *s, struct tsk_fold_step *step,
                      const struct tsk_verdict_step *from)
{
    step->status = (uint8_t)from->status;
    step->outcome = (uint8_t)from->outcome;
    step->told = (uint32_t)from->attempt;
    step->retry_at = from->retry_at;
    step->time_ms = from->time_ms;
    step->worker = tsk_names_add(&s->names, from->worker_id);
    step->category = tsk_names_add(&s->names, from->category);
    step->reason = tsk_names_add(&s->names, from->reason);
    step->unused = from->unused;
}

/* Both lists are in order of step_id; what only the verdict has is put behind. */
static void take_steps(struct tsk_settle *s, const struct tsk_verdict *verdict)
{
    struct tsk_verdict_step from;
    size_t at = 0;
    for (size_t i = 0; i < verdict->steps; i++) {
        tsk_verdict_step(verdict, i, &from);
        while (at < s->known && s->steps[at].step_id < from.step_id)
            at++;
        bool known = at < s->known && s->steps[at].step_id == from.step_id;
        take_step(s, known ? &s->steps[at] : add_step(s, from.step_id), &from);
    }
}

/* The first verdict is the one that counts; a later one only tells of what came late. */
static void take_verdict(void *ctx, const struct tsk_verdict *verdict)
{
    struct tsk_settle *s = ctx;
    size_t len;
    s->revision = verdict->revision;
    for (size_t i = 0; i < verdict->discrepancy_count; i++)
        take_discrepancy(s, &verdict->discrepancies[i]);
    if (!s->concluded) {
        s->concluded = true;
        s->verdict = verdict->kind;
        s->completed_at = verdict->completed_at;
        s->time_ms = verdict->time_ms;
        if (verdict->error)
            s->error = tsk_strdup(tsk_json_text(verdict->error, &len));
        take_steps(s, verdict);
    }
    if (s->tell)
        s->tell(s->ctx, verdict);
}

/* --- Messages. */

/* Gives the reconciliation what the store knows in place of a receipt. */
static void publish(struct tsk_settle *s)
{
    struct tsk_rentry *entries = tsk_alloc((s->count + 1) * sizeof *entries);
    for (size_t i = 0; i < s->count; i++) {
        const struct tsk_fold_step *step = &s->steps[i];
        entries[i] = (struct tsk_rentry){.step_id = step->step_id,
                                         .task_id = step->task_id,
                                         .attempt = step->attempt,
                                         .limit = step->limit,
                                         .step_name = tsk_names_get(&s->names, step->name),
                                         .backoff = tsk_names_get(&s->names, step->backoff)};
    }
    s->reconcile = tsk_reconcile_new(&s->rules, take_verdict, s);
    tsk_reconcile_publish(s->reconcile, s->id, entries, s->count, s->batch.published_at);
    free(entries);
}

/* Messages of a step come in a row, and steps mostly in their order. */
static struct tsk_fold_step *find_step(struct tsk_settle *s, int64_t step_id)
{
    size_t low = 0, high = s->known;
    for (size_t i = s->last; i < s->known && i < s->last + 2; i++) {
        if (s->steps[i].step_id == step_id)
            return &s->steps[s->last = i];
    }
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->steps[mid].step_id < step_id)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == s->known || s->steps[low].step_id != step_id)
        return NULL;
    return &s->steps[s->last = low];
}

static void keep(struct tsk_settle *s, struct tsk_kept *kept, const char *text, size_t len)
{
    kept->id = s->message;
    kept->place = SIZE_MAX;
    if (len > TEXTS_MOST - s->texts.len)
        return;
    kept->place = s->texts.len;
    kept->len = (uint32_t)len;
    tsk_buf_add(&s->texts, text, len);
}

/* Notes when a partial result came. Returns its step if it brought an end that is news, or NULL. */
static struct tsk_fold_step *note_partial(struct tsk_settle *s, const struct tsk_rpartial *partial)
{
    struct tsk_fold_step *step = find_step(s, partial->step_id);
    uint32_t attempt = partial->attempt < UINT32_MAX ? (uint32_t)partial->attempt : UINT32_MAX - 1;
    if (!step || s->concluded)
        return NULL;
    uint32_t known = step->heard ? step->heard : step->attempt;
    if (attempt && attempt < known)
        return NULL;
    if (attempt > known)
        step->started_at = step->completed_at = step->failed_at = -1;
    if (attempt)
        step->heard = attempt;
    if (step->started_at < 0)
        step->started_at = s->now;
    bool completed = partial->status == TSK_STEP_COMPLETED;
    int64_t *at = completed ? &step->completed_at : &step->failed_at;
    if (partial->status == TSK_STEP_IN_PROGRESS || *at >= 0)
        return NULL;
    *at = s->now;
    *(completed ? &step->results : &step->error) = (struct tsk_kept){0, 0, 0};
    if (completed)
        step->creates = step->refusal = 0;
    return step;
}

static void note_first(int64_t *at, int64_t now)
{
    if (*at < 0)
        *at = now;
}

/* Notes that the batch was heard of. */
static void note_news(struct tsk_settle *s, bool timeout)
{
    if (!s->reconcile)
        publish(s);
    note_first(&s->first_at, s->now);
    if (!timeout)
        note_first(&s->heard_at, s->now);
}

static void take_partial(struct tsk_settle *s, struct json_object *message)
{
    struct tsk_rpartial partial;
    size_t len;
    tsk_rpartial_read(&partial, message);
    partial.ended = s->now; /* not by the worker's clock: a back-off begins at the receipt */
    struct tsk_fold_step *step = note_partial(s, &partial);
    bool completed = partial.status == TSK_STEP_COMPLETED;
    struct json_object *value = tsk_json_get(message, completed ? "output" : "error");
    if (step && value) {
        const char *text = tsk_json_text(value, &len);
        keep(s, completed ? &step->results : &step->error, text, len);
        if (completed)
            tsk_settle_weigh(s, step, &partial, text, len);
    }
    if (step && partial.refused && !value) {
        const char *error = tsk_json_text(tsk_json_get(message, TSK_JSON_REFUSED), &len);
        step->refusal = tsk_names_add(&s->names, error);
    }
    note_news(s, false);
    tsk_reconcile_partial(s->reconcile, &partial, s->now);
}

static bool is_timeout(struct json_object *message)
{
    const char *category = tsk_json_str(tsk_json_get(message, "error"), "error_category");
    return category && strcmp(category, "timeout") == 0;
}

static bool gives_back(struct json_object *message)
{
    return tsk_error_unused(tsk_json_get(message, "error"));
}

/* Whether it gives a batch back that was heard of before. Nobody else's message gives one back:
 * that it says so is forgotten. */
static bool is_idle_back(const struct tsk_settle *s, enum tsk_type type,
                         struct json_object *message)
{
    if (type != TSK_TYPE_ERROR || !gives_back(message))
        return false;
    if (s->source && strncmp(s->source, TSK_SETTLE_SOURCE, strlen(TSK_SETTLE_SOURCE)) == 0)
        return s->first_at >= 0;
    json_object_object_del(tsk_json_get(message, "error"), TSK_ATTEMPT_USED_KEY);
    return false;
}

/* Whether it is a collector's own, of its patience. */
static bool is_impatience(const struct tsk_settle *s, enum tsk_type type,
                          struct json_object *message)
{
    return s->source && strncmp(s->source, TSK_SOURCE_LOST, strlen(TSK_SOURCE_LOST)) == 0 &&
           type == TSK_TYPE_ERROR && is_timeout(message);
}

/* Takes in a message whose shape is known to be right. */
static void feed(struct tsk_settle *s, enum tsk_type type, struct json_object *message)
{
    bool timeout = type == TSK_TYPE_ERROR && is_timeout(message);
    bool ends = type == TSK_TYPE_ERROR && !s->concluded;
    s->given_back |= ends && gives_back(message);
    note_news(s, timeout);
    if (type == TSK_TYPE_COMPLETION && !s->concluded)
        note_first(&s->completion_at, s->now);
    if (ends) {
        tsk_json_put_time(message, "timestamp", s->now); /* as in take_partial */
        s->error_at = s->now;
        s->timed_out = timeout;
    }
    tsk_reconcile_feed(s->reconcile, message, s->now, NULL);
    if (ends)
        tsk_reconcile_finish(s->reconcile);
}

static int take_result(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct tsk_settle *s = ctx;
    const char *batch_id = tsk_json_str(message, "batch_id");
    (void)changed;
    if (!batch_id || strcmp(batch_id, s->id) != 0 || type == TSK_TYPE_WORKER ||
        is_impatience(s, type, message) || is_idle_back(s, type, message))
        return 0;
    if (type == TSK_TYPE_PARTIAL)
        take_partial(s, message);
    else
        feed(s, type, message);
    return 0;
}

/* Whether a message is beyond a limit, and may have been a result. */
static bool is_beyond(struct tsk_settle *s, const struct tsk_settle_message *message)
{
    struct tsk_err err = TSK_ERR_INIT;
    json_object_put(tsk_json_salvage(s->json, message->data, message->len, &err));
    return err.kind != TSK_OK;
}

/* Notes a message that was refused. One is enough to show what kind it is, however many there are.
 */
static void note_refused(struct tsk_settle *s, const struct tsk_settle_message *message)
{
    struct tsk_buf text = TSK_BUF_INIT;
    size_t len = message->len < BEGINNING_MOST ? message->len : BEGINNING_MOST;
    if (s->refused || !is_beyond(s, message))
        return;
    s->refused = true;
    struct json_object *beginning = tsk_json_lossy(message->data, len);
    tsk_buf_printf(&text, "a message of it is refused: %s: %s", message->reason,
                   json_object_get_string(beginning));
    struct tsk_fold_discrepancy *one = tsk_settle_found(s, 0);
    one->type = TSK_REFUSED_ENTRY;
    one->made = tsk_names_add(&s->names, text.data);
    tsk_buf_fini(&text);
    json_object_put(beginning);
}

void tsk_settle_message(struct tsk_settle *s, const struct tsk_settle_message *message)
{
    int64_t before = s->now;
    if (message->reason) {
        note_refused(s, message);
        return;
    }
    s->message = message->id;
    s->source = message->source;
    if (message->received_at > s->now)
        s->now = message->received_at;
    struct json_object *json = tsk_json_salvage(s->json, message->data, message->len, NULL);
    if (json)
        tsk_result_normalise(message->topic, json, take_result, s, NULL);
    else
        s->now = before; /* what cannot be read has no time either */
    json_object_put(json);
}

void tsk_settle_end(struct tsk_settle *s)
{
    if (s->reconcile)
        tsk_reconcile_finish(s->reconcile);
    tsk_settle_conclude(s);
}
