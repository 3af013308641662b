/* A settlement takes in rows: it feeds a reconciliation, and notes of each step what that one has
 * no need to know: when its messages came, what it put out, its whole error. Which of them stand is
 * for the verdict to say; so the first end of each kind is kept, and an attempt that is newer than
 * all so far makes them void, as it does in the reconciliation (reconcile_batch.c).
 *
 * Outputs may be long and steps many. Up to TEXTS_MOST bytes of them are kept; of the rest it is
 * only known which row of the ledger has it. */
#include "tasker/settle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "workflow/reconcile_private.h"
#include "tasker/flow.h"
#include "tasker/state.h"

/* A text of a message: a place in texts, or the row of the ledger. */
struct kept_text {
    int64_t id;   /* 0: there is none */
    size_t place; /* SIZE_MAX: it was too much to keep */
    uint32_t len;
};

struct fold_step {
    int64_t row, step_id, task_id, since, hand_at;
    int64_t started_at, completed_at, failed_at; /* received; -1: not */
    int64_t retry_at, time_ms;                   /* of the verdict */
    struct kept_text results, error;
    uint32_t creates, refusal; /* JSON: what its output asks for; the error, if that cannot be */
    uint32_t attempt, limit, name, backoff;
    uint32_t heard;                    /* the attempt of what was heard; 0: not told */
    uint32_t told;                     /* the attempt that the verdict tells */
    uint32_t worker, category, reason; /* of the verdict */
    uint8_t hand, hand_from, owns;
    uint8_t round_places;    /* of the caller's */
    uint8_t status, outcome; /* of the verdict */
    bool unused;             /* by the verdict, no attempt */
};

struct fold_discrepancy {
    enum tsk_discrepancy_type type;
    bool refused; /* refused_transition, which is no type of a verdict */
    int64_t step_id;
    const char *detail; /* static; or NULL: the text at made */
    uint32_t made;
};

struct tsk_settle {
    struct tsk_reconcile_opts rules;
    struct tsk_json *json;
    tsk_verdict_fn *tell;
    void *ctx;
    tsk_settle_judge_fn *judge;
    void *judge_ctx;
    struct tsk_reconcile *reconcile; /* of the batch; NULL before its first message */
    struct tsk_settle_batch batch;   /* batch_id is id */
    char id[TSK_ID_SIZE];
    struct fold_step *steps;
    size_t count, cap, known; /* the first known ones were sent */
    size_t last;              /* the step that was looked for last */
    struct tsk_names names;
    struct tsk_buf texts, creates;
    struct fold_discrepancy *found;
    size_t found_count, found_cap;
    const char *source;    /* of the message that is being taken in; or NULL */
    int64_t now;           /* the latest received_at so far */
    int64_t message;       /* the row of the ledger that is being taken in */
    int64_t first_at;      /* of any message; -1: none */
    int64_t heard_at;      /* of any but a timeout */
    int64_t completion_at; /* of the first completion */
    int64_t error_at;      /* of the batch_error that ended it */
    bool concluded;        /* it had its first verdict */
    bool timed_out;        /* by that batch_error */
    bool given_back;       /* by that: it was sent to nobody */
    bool refused;          /* a message of it, since it is beyond a limit */
    enum tsk_verdict_kind verdict;
    int64_t revision, completed_at, time_ms;
    char *error; /* JSON */
    struct tsk_settled_batch settled;
};

static struct fold_discrepancy *add_found(struct tsk_settle *s, int64_t step_id)
{
    s->found = tsk_grow(s->found, &s->found_cap, s->found_count + 1, sizeof *s->found);
    struct fold_discrepancy *one = &s->found[s->found_count++];
    *one = (struct fold_discrepancy){.step_id = step_id};
    return one;
}

/* ---- What a step put out, and its error, as they stand in the messages; and what is thought of
 * it. */

struct wanted {
    int64_t step_id;
    const char *key;
    struct tsk_buf *buf;
};

static int take_wanted(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct wanted *wanted = ctx;
    int64_t step_id = 0;
    size_t len;
    (void)changed;
    if (type != TSK_TYPE_PARTIAL || tsk_json_int(message, "step_id", &step_id) != 1 ||
        step_id != wanted->step_id || !tsk_json_get(message, wanted->key))
        return 0;
    const char *text = tsk_json_text(tsk_json_get(message, wanted->key), &len);
    tsk_buf_add(wanted->buf, text, len);
    return 1;
}

void tsk_settle_text(struct tsk_settle *s, const struct tsk_settle_message *message,
                     int64_t step_id, bool error, struct tsk_buf *buf)
{
    struct wanted wanted = {step_id, error ? "error" : "output", buf};
    struct json_object *json = tsk_json_salvage(s->json, message->data, message->len, NULL);
    if (json)
        tsk_result_normalise(message->topic, json, take_wanted, &wanted, NULL);
    json_object_put(json);
}

static void weigh(struct tsk_settle *s, struct fold_step *step, struct tsk_result *partial,
                  const char *output, size_t output_len)
{
    struct tsk_err err = TSK_ERR_INIT;
    size_t len, place = (size_t)(step - s->steps);
    int64_t attempt = step->heard ? step->heard : step->attempt;
    if (!s->judge || !tsk_create_possible(output, output_len))
        return;
    tsk_buf_reset(&s->creates);
    if (s->judge(s->judge_ctx, place, attempt, output, output_len, &s->creates, &err) == 0) {
        step->creates = s->creates.len ? tsk_names_add(&s->names, s->creates.data) : 0;
        return;
    }
    /* names in it are cut at some byte */
    struct json_object *whole = tsk_json_lossy(err.text, strlen(err.text));
    const char *reason = json_object_get_string(whole);
    struct json_object *error =
        tsk_error_object(reason, TSK_CREATE_TYPE, TSK_CREATE_CATEGORY, false);
    step->refusal = tsk_names_add(&s->names, tsk_json_text(error, &len));
    json_object_put(error);
    tsk_buf_reset(&s->creates);
    tsk_buf_str(&s->creates, reason);
    json_object_put(whole);
    partial->refused = true;
    partial->category = TSK_CREATE_CATEGORY;
    partial->reason = s->creates.data;
}

/* ---- Taking in. */

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

static struct fold_step *add_step(struct tsk_settle *s, int64_t step_id)
{
    s->steps = tsk_grow(s->steps, &s->cap, s->count + 1, sizeof *s->steps);
    struct fold_step *step = &s->steps[s->count++];
    *step = (struct fold_step){.step_id = step_id, .hand_at = -1};
    step->started_at = step->completed_at = step->failed_at = -1;
    step->retry_at = step->time_ms = -1;
    return step;
}

void tsk_settle_step(struct tsk_settle *s, const struct tsk_settle_step *from)
{
    struct fold_step *step = add_step(s, from->sent.step_id);
    s->known = s->count;
    step->row = from->row;
    step->task_id = from->sent.task_id;
    step->since = from->since;
    step->round_places = (uint8_t)from->round_places;
    step->hand = (uint8_t)from->hand.state;
    step->hand_at = from->hand.at;
    step->hand_from = (uint8_t)from->hand_from;
    step->attempt = (uint32_t)from->sent.attempt;
    step->limit = (uint32_t)from->sent.retry_limit;
    step->name = tsk_names_add(&s->names, from->sent.step_name);
    step->backoff = tsk_names_add(&s->names, from->sent.backoff);
    step->owns = (uint8_t)from->owns;
}

/* --- Verdicts. */

static void take_discrepancy(struct tsk_settle *s, const struct tsk_discrepancy *from)
{
    struct fold_discrepancy *one = add_found(s, from->step_id);
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

static void take_step(struct tsk_settle *s, struct fold_step *step, const struct tsk_result *from)
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
    struct tsk_result from;
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
    struct tsk_result *entries = tsk_alloc((s->count + 1) * sizeof *entries);
    for (size_t i = 0; i < s->count; i++) {
        const struct fold_step *step = &s->steps[i];
        entries[i] = (struct tsk_result){.step_id = step->step_id,
                                         .task_id = step->task_id,
                                         .attempt = step->attempt,
                                         .retry_limit = step->limit,
                                         .step_name = tsk_names_get(&s->names, step->name),
                                         .backoff = tsk_names_get(&s->names, step->backoff)};
    }
    s->reconcile = tsk_reconcile_new(&s->rules, take_verdict, s);
    tsk_reconcile_publish(s->reconcile, s->id, entries, s->count, s->batch.published_at);
    free(entries);
}

/* Messages of a step come in a row, and steps mostly in their order. */
static struct fold_step *find_step(struct tsk_settle *s, int64_t step_id)
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

static void keep(struct tsk_settle *s, struct kept_text *kept, const char *text, size_t len)
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
static struct fold_step *note_partial(struct tsk_settle *s, const struct tsk_result *partial)
{
    struct fold_step *step = find_step(s, partial->step_id);
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
    *(completed ? &step->results : &step->error) = (struct kept_text){0, 0, 0};
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
    struct tsk_result partial;
    size_t len;
    tsk_result_partial(&partial, message);
    partial.ended = s->now; /* not by the worker's clock: a back-off begins at the receipt */
    struct fold_step *step = note_partial(s, &partial);
    bool completed = partial.status == TSK_STEP_COMPLETED;
    struct json_object *value = tsk_json_get(message, completed ? "output" : "error");
    if (step && value) {
        const char *text = tsk_json_text(value, &len);
        keep(s, completed ? &step->results : &step->error, text, len);
        if (completed)
            weigh(s, step, &partial, text, len);
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
    struct fold_discrepancy *one = add_found(s, 0);
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

/* ---- What a settlement gives: the states of the batch and of its steps with the transitions that
 * led there, and what is stored besides. Times are those at which the ledger got the messages. */

/* A subject on its way through its states. */
struct walk {
    enum tsk_subject subject;
    struct tsk_settle_state is, hand;
    enum tsk_state hand_from; /* what the operator found it in; NONE: not told */
    struct tsk_transition *moves;
    size_t *count;
    bool by_hand;                            /* it is so by what an operator did */
    bool gives_way;                          /* then it asks for no more */
    enum tsk_state refused_from, refused_to; /* NONE: nothing was */
    int round_places;                        /* how much higher the places are */
    bool refused_hand;                       /* that was an operator's */
};

/* Of a step the last one counts, which is its end; of a batch the first. */
static void refuse(struct walk *walk, enum tsk_state to, bool hand)
{
    if (walk->refused_to != TSK_STATE_NONE && walk->subject == TSK_SUBJECT_BATCH)
        return;
    walk->refused_from = walk->is.state;
    walk->refused_to = to;
    walk->refused_hand = hand;
}

static void let_hand(struct walk *walk)
{
    struct tsk_settle_state hand = walk->hand;
    if (hand.state == TSK_STATE_NONE)
        return;
    walk->hand.state = TSK_STATE_NONE;
    if (walk->is.state != hand.state &&
        !tsk_state_allowed(walk->subject, walk->is.state, hand.state)) {
        refuse(walk, hand.state, true);
        return;
    }
    walk->is = hand;
    walk->by_hand = true;
}

/* Whether what an operator did comes before the next move, at a time. Where it is known in what
 * state the operator found it, that counts and not the clock: the ledger had nothing more then. */
static bool hand_is_first(const struct walk *walk, int64_t at)
{
    if (walk->hand_from == TSK_STATE_NONE)
        return walk->hand.at <= at;
    return walk->hand_from == walk->is.state;
}

static void move(struct walk *walk, int place, enum tsk_state to, int64_t at)
{
    if (hand_is_first(walk, at))
        let_hand(walk);
    if (walk->by_hand && walk->gives_way)
        return;
    const char *event = tsk_state_event(walk->subject, walk->is.state, to);
    if (!event) {
        refuse(walk, to, false);
        return;
    }
    walk->moves[(*walk->count)++] =
        (struct tsk_transition){place + walk->round_places, walk->is.state, to, event, at};
    walk->is = (struct tsk_settle_state){to, at};
    walk->by_hand = false;
}

/* --- Steps. */

/* Whether it failed with its whole batch, with no end of its own. */
static bool is_lost(const struct fold_step *step)
{
    return !tsk_status_final(step->status) && step->outcome != TSK_OUTCOME_UNKNOWN;
}

/* Whether it is pending as it was before this attempt, which was not used: its batch was sent to
 * nobody, or the worker never started it. */
static bool is_back(const struct tsk_settle *s, const struct fold_step *step)
{
    return is_lost(step) ? s->given_back : step->unused && step->outcome == TSK_OUTCOME_RETRY;
}

/* When it ended; -1: it did not. */
static int64_t end_of(const struct tsk_settle *s, const struct fold_step *step)
{
    int64_t at = s->completion_at;
    if (is_lost(step))
        return s->error_at;
    if (!tsk_status_final(step->status))
        return -1;
    if (step->status == TSK_STEP_COMPLETED && step->completed_at >= 0)
        at = step->completed_at;
    if (step->status == TSK_STEP_FAILED && step->failed_at >= 0)
        at = step->failed_at;
    return at >= 0 ? at : s->now;
}

/* When it began; -1: it did not. Who ended began, and be it that nobody told. */
static int64_t begin_of(const struct tsk_settle *s, const struct fold_step *step)
{
    if (step->status == TSK_STEP_MISSING)
        return -1;
    if (step->started_at >= 0)
        return step->started_at;
    return tsk_status_final(step->status) ? end_of(s, step) : s->completion_at;
}

static int64_t retry_of(const struct tsk_settle *s, const struct fold_step *step)
{
    if (step->outcome != TSK_OUTCOME_RETRY)
        return -1;
    if (step->retry_at >= 0)
        return step->retry_at;
    struct tsk_retry retry =
        tsk_retry_with(&s->rules.retry, tsk_names_get(&s->names, step->backoff));
    return end_of(s, step) + tsk_retry_delay(&retry, step->step_id, step->told, -1);
}

/* Whether it was not done, as is only right for one that an operator has ended: that it was
 * stopped, or lost, asks for no transition then. */
static bool gives_way(const struct fold_step *step)
{
    return tsk_state_ended(TSK_SUBJECT_STEP, (enum tsk_state)step->hand) &&
           step->outcome != TSK_OUTCOME_DONE;
}

static struct walk walk_step(const struct tsk_settle *s, const struct fold_step *step,
                             struct tsk_transition *moves, size_t *count)
{
    struct walk walk = {.subject = TSK_SUBJECT_STEP,
                        .is = {TSK_STATE_ENQUEUED, step->since},
                        .hand = {(enum tsk_state)step->hand, step->hand_at},
                        .hand_from = (enum tsk_state)step->hand_from,
                        .gives_way = gives_way(step),
                        .round_places = step->round_places,
                        .moves = moves,
                        .count = count};
    int64_t begin = begin_of(s, step), end = end_of(s, step);
    bool done = step->outcome == TSK_OUTCOME_DONE;
    *count = 0;
    if (is_back(s, step)) {
        move(&walk, TSK_PLACE_BACK, TSK_STATE_PENDING, end);
        begin = end = -1;
    }
    if (begin >= 0)
        move(&walk, TSK_PLACE_STARTED, TSK_STATE_IN_PROGRESS, begin);
    if (end >= 0)
        move(&walk, TSK_PLACE_ENDED, done ? TSK_STATE_COMPLETE : TSK_STATE_ERROR, end);
    if (end >= 0 && step->outcome == TSK_OUTCOME_RETRY && walk.is.state == TSK_STATE_ERROR)
        move(&walk, TSK_PLACE_RETRIED, TSK_STATE_PENDING, end);
    let_hand(&walk);
    return walk;
}

static struct tsk_settle_text text_of(const struct tsk_settle *s, const struct kept_text *kept)
{
    if (!kept->id || kept->place == SIZE_MAX)
        return (struct tsk_settle_text){NULL, 0, kept->id};
    return (struct tsk_settle_text){s->texts.data + kept->place, kept->len, kept->id};
}

static void fill_texts(const struct tsk_settle *s, const struct fold_step *step,
                       struct tsk_settled_step *out)
{
    if (step->status == TSK_STEP_COMPLETED && step->completed_at >= 0)
        out->results = text_of(s, &step->results);
    if (step->status == TSK_STEP_FAILED && step->failed_at >= 0)
        out->error = text_of(s, &step->error);
    if (step->status == TSK_STEP_COMPLETED && step->outcome == TSK_OUTCOME_FAILED &&
        step->refusal) {
        const char *error = tsk_names_get(&s->names, step->refusal);
        out->error = (struct tsk_settle_text){error, strlen(error), 0};
    }
    if (step->outcome == TSK_OUTCOME_DONE && step->completed_at >= 0)
        out->creates = tsk_names_get(&s->names, step->creates);
    if (is_lost(step) && s->error && !s->given_back)
        out->error = (struct tsk_settle_text){s->error, strlen(s->error), 0};
}

void tsk_settled_step(const struct tsk_settle *s, size_t i, struct tsk_settled_step *out)
{
    const struct fold_step *step = &s->steps[i];
    *out = (struct tsk_settled_step){
        .row = step->row,
        .owns = step->owns,
        .known = i < s->known,
        .given_back = is_back(s, step),
        .news = !(s->given_back && is_lost(step)) &&
                (step->status != TSK_STEP_MISSING || step->outcome != TSK_OUTCOME_UNKNOWN),
        .attempt = step->attempt,
        .result = {.step_id = step->step_id,
                   .attempt = step->told,
                   .status = (enum tsk_step_status)step->status,
                   .outcome = (enum tsk_outcome)step->outcome,
                   .retry_at = s->given_back && is_lost(step) ? -1 : retry_of(s, step),
                   .time_ms = step->time_ms,
                   .worker_id = tsk_names_get(&s->names, step->worker),
                   .category = tsk_names_get(&s->names, step->category),
                   .reason = tsk_names_get(&s->names, step->reason)},
        .retryable =
            step->outcome != TSK_OUTCOME_FAILED || !tsk_retry_left(step->told, step->limit),
        .next_retry_at = -1,
        .started_at = begin_of(s, step),
        .since = step->since,
        .ended_at = end_of(s, step),
    };
    fill_texts(s, step, out);
    if (!out->known)
        return;
    struct walk walk = walk_step(s, step, out->moves, &out->move_count);
    out->state = walk.is;
    out->next_retry_at =
        walk.is.state == TSK_STATE_PENDING && !walk.by_hand ? out->result.retry_at : -1;
}

size_t tsk_settled_steps(const struct tsk_settle *s)
{
    return s->count;
}

/* --- The batch. */

/* What its steps have come to. */
struct sums {
    size_t completed, failed, ended, done;
    int64_t last; /* when the last of them ended; -1 */
};

static struct sums sum_up(const struct tsk_settle *s)
{
    struct sums sums = {0, 0, 0, 0, -1};
    for (size_t i = 0; i < s->known; i++) {
        const struct fold_step *step = &s->steps[i];
        int64_t end = end_of(s, step);
        bool refused = step->status == TSK_STEP_COMPLETED && step->outcome == TSK_OUTCOME_FAILED;
        sums.completed += step->status == TSK_STEP_COMPLETED && !refused;
        sums.failed += step->status == TSK_STEP_FAILED || refused;
        sums.ended += end >= 0;
        sums.done += step->outcome == TSK_OUTCOME_DONE;
        if (end > sums.last)
            sums.last = end;
    }
    return sums;
}

static bool all_named(const struct tsk_settle *s)
{
    return (int64_t)s->known >= s->batch.total;
}

static enum tsk_state end_state(const struct tsk_settle *s, const struct sums *sums)
{
    if (s->given_back)
        return TSK_STATE_CANCELLED;
    if (sums->done == s->known && all_named(s))
        return TSK_STATE_COMPLETED;
    return s->error_at >= 0 && s->timed_out ? TSK_STATE_TIMEOUT : TSK_STATE_FAILED;
}

static struct walk walk_batch(struct tsk_settle *s, const struct sums *sums)
{
    struct tsk_settled_batch *out = &s->settled;
    struct walk walk = {.subject = TSK_SUBJECT_BATCH,
                        .is = s->batch.base,
                        .hand = s->batch.hand,
                        .moves = out->moves,
                        .count = &out->move_count};
    out->move_count = 0;
    if (out->news && s->batch.base.state == TSK_STATE_CREATED && !s->given_back)
        move(&walk, TSK_BATCH_KEY_PUBLISHED, TSK_STATE_PUBLISHED, s->first_at);
    if (s->heard_at >= 0 && !s->given_back)
        move(&walk, TSK_BATCH_KEY_EXECUTING, TSK_STATE_EXECUTING, s->heard_at);
    if (out->ended_at >= 0)
        move(&walk, TSK_BATCH_KEY_ENDED, end_state(s, sums), out->ended_at);
    let_hand(&walk);
    return walk;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* --- Discrepancies. */

static void add_refusal(struct tsk_settle *s, int64_t step_id, const struct walk *walk)
{
    struct tsk_buf text = TSK_BUF_INIT;
    if (walk->refused_to == TSK_STATE_NONE)
        return;
    struct fold_discrepancy *one = add_found(s, step_id);
    tsk_buf_printf(&text, "%s wants it %s, and it was %s",
                   walk->refused_hand ? "an operator" : "the ledger",
                   tsk_state_name(walk->refused_to), tsk_state_name(walk->refused_from));
    one->refused = true;
    one->made = tsk_names_add(&s->names, text.data);
    tsk_buf_fini(&text);
}

/* Whether a discrepancy of a batch that goes on may just be news that have not come yet. */
static bool may_pass(enum tsk_discrepancy_type type)
{
    return type == TSK_MISSING_PARTIAL || type == TSK_MISSING_COMPLETION ||
           type == TSK_MISSING_SUMMARY || type == TSK_COUNT_MISMATCH || type == TSK_OUT_OF_ORDER;
}

static void drop_passing(struct tsk_settle *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->found_count; i++) {
        if (!may_pass(s->found[i].type))
            s->found[kept++] = s->found[i];
    }
    s->found_count = kept;
}

static void conclude(struct tsk_settle *s)
{
    struct tsk_settled_batch *out = &s->settled;
    struct sums sums = sum_up(s);
    bool told = s->completion_at >= 0 && sums.ended == s->known && all_named(s);
    *out = (struct tsk_settled_batch){
        .news = s->first_at >= 0,
        .verdict = s->verdict,
        .revision = s->revision,
        .steps = (int64_t)s->known,
        .completed = (int64_t)sums.completed,
        .failed = (int64_t)sums.failed,
        .first_at = s->first_at,
        .ended_at = -1,
        .completed_at = s->completed_at,
        .execution_ms = s->time_ms,
        .error = s->error,
    };
    if (told || s->error_at >= 0)
        out->ended_at = later(later(sums.last, s->completion_at), s->error_at);
    if (out->execution_ms < 0 && out->ended_at >= 0 && s->heard_at >= 0)
        out->execution_ms = out->ended_at - s->heard_at;
    struct walk walk = walk_batch(s, &sums);
    out->state = walk.is;
    out->ended = tsk_state_ended(TSK_SUBJECT_BATCH, walk.is.state);
    if (!out->ended)
        drop_passing(s);
    add_refusal(s, 0, &walk);
    for (size_t i = 0; i < s->known; i++) {
        struct tsk_transition moves[TSK_STEP_MOVES];
        size_t count;
        if (!s->steps[i].hand)
            continue;
        walk = walk_step(s, &s->steps[i], moves, &count);
        add_refusal(s, s->steps[i].step_id, &walk);
    }
}

void tsk_settle_end(struct tsk_settle *s)
{
    if (!s->reconcile && s->batch.silent_too)
        publish(s);
    if (s->reconcile)
        tsk_reconcile_finish(s->reconcile);
    conclude(s);
}

void tsk_settled_batch(const struct tsk_settle *s, struct tsk_settled_batch *out)
{
    *out = s->settled;
}

size_t tsk_settled_discrepancies(const struct tsk_settle *s)
{
    return s->found_count;
}

void tsk_settled_discrepancy(const struct tsk_settle *s, size_t i,
                             struct tsk_settled_discrepancy *out)
{
    const struct fold_discrepancy *one = &s->found[i];
    out->type = one->refused ? "refused_transition" : tsk_discrepancy_name(one->type);
    out->detail = one->detail ? one->detail : tsk_names_get(&s->names, one->made);
    out->step_id = one->step_id;
}
