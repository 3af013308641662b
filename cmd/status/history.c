/* Transitions are read first, into memory, each in a few bytes; then the messages come from the
 * ledger in its own order, and the transitions are printed between them by their time. At the same
 * millisecond a transition that a program made stands before a message, and one that was settled
 * from the ledger after it.
 *
 * Where older ones are left out of one of the two, those of the other that are as old are left out
 * too, so that what is printed is whole from its first line on. */
#include "status/history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/out.h"
#include "tasker/clock.h"
#include "tasker/state.h"
#include "tasker/buf.h"

/* Offsets are into texts. */
struct transition {
    int64_t at, sort_key, step_id; /* step_id 0: not of a step */
    size_t from, to, event, metadata;
    char subject; /* 't', 'b', 's' */
    char origin;  /* 'p', 'l', 'o', as the word begins */
};

struct history {
    const struct options *opts;
    struct report report; /* for its parser */
    struct transition *items;
    size_t count, cap, printed;
    struct tsk_buf texts;
    int64_t transitions_left_out, messages_left_out;
    bool begun; /* a message was seen */
};

/* The statements about a subject; $1 is its key, $2 how many at most. */
struct about {
    const char *own, *steps, *steps_count; /* steps NULL: it is one */
    const char *messages, *messages_count;
};

#define OWN(table, column)                                                                         \
    "SELECT created_at, sort_key, NULL, from_state, to_state, event, metadata, origin FROM " table \
    " WHERE " column " = $1 ORDER BY sort_key"
#define STEPS(where, order)                                                                        \
    "SELECT t.created_at, t.sort_key, s.step_id, t.from_state, t.to_state, t.event, t.metadata, "  \
    "t.origin FROM step_transitions t JOIN steps s ON s.id = t.step WHERE " where " = $1 " order   \
    " LIMIT $2"
#define MESSAGES(where)                                                                            \
    "SELECT r.id, r.received_at, r.collector_id, r.topic, r.message_type, r.batch_id, r.step_id, " \
    "r.source, r.stream_offset, r.reason, r.raw_message FROM (SELECT m.id FROM received_results "  \
    "m WHERE " where " ORDER BY m.id DESC LIMIT $2) AS newest "                                    \
    "JOIN received_results r ON r.id = newest.id ORDER BY newest.id"
#define COUNT(where) "SELECT count(*) FROM received_results m WHERE " where

#define OF_BATCH "m.batch_id = (SELECT b.batch_id FROM batches b WHERE b.id = $1)"
#define OF_TASK                                                                                    \
    "m.batch_id IN (SELECT b.batch_id FROM steps s JOIN batch_steps p ON p.step = s.id "           \
    "JOIN batches b ON b.id = p.batch WHERE s.task = $1) AND (m.step_id IS NULL OR m.step_id IN "  \
    "(SELECT s.step_id FROM steps s WHERE s.task = $1))"
#define OF_STEP                                                                                    \
    "m.batch_id IN (SELECT b.batch_id FROM batch_steps p JOIN batches b ON b.id = p.batch "        \
    "WHERE p.step = $1) AND (m.step_id IS NULL OR m.step_id = (SELECT s.step_id FROM steps s "     \
    "WHERE s.id = $1))"

static const struct about abouts[SUBJECTS] = {
    [SUBJECT_TASK] = {OWN("task_transitions", "task"),
                      STEPS("s.task", "ORDER BY t.created_at DESC, t.step DESC, t.sort_key DESC"),
                      "SELECT count(*) FROM step_transitions t JOIN steps s ON s.id = t.step "
                      "WHERE s.task = $1",
                      MESSAGES(OF_TASK), COUNT(OF_TASK)},
    [SUBJECT_BATCH] = {OWN("batch_transitions", "batch"),
                       STEPS("t.batch", "ORDER BY t.created_at DESC"),
                       "SELECT count(*) FROM step_transitions t WHERE t.batch = $1",
                       MESSAGES(OF_BATCH), COUNT(OF_BATCH)},
    [SUBJECT_STEP] = {NULL, STEPS("t.step", "ORDER BY t.sort_key DESC"),
                      "SELECT count(*) FROM step_transitions t WHERE t.step = $1",
                      MESSAGES(OF_STEP), COUNT(OF_STEP)},
};

/* ---- transitions */

/* Keeps a text; the same one again and again, as most are, only once. */
static size_t keep(struct history *history, const struct tsk_value *value, size_t before)
{
    const char *text = value->type == TSK_NULL ? "" : value->data;
    if (history->count && strcmp(history->texts.data + before, text) == 0)
        return before;
    size_t place = history->texts.len;
    tsk_buf_add(&history->texts, text, strlen(text) + 1);
    return place;
}

static void add(struct history *history, const struct tsk_value *row, char subject)
{
    static const struct transition none = {.subject = 0};
    const struct transition *before = history->count ? &history->items[history->count - 1] : &none;
    struct transition item = {
        .at = row[0].number,
        .sort_key = row[1].number,
        .step_id = row[2].type == TSK_INT ? row[2].number : 0,
        .from = keep(history, &row[3], before->from),
        .to = keep(history, &row[4], before->to),
        .event = keep(history, &row[5], before->event),
        .metadata = keep(history, &row[6], before->metadata),
        .subject = subject,
        .origin = row[7].data[0],
    };
    history->items =
        tsk_grow(history->items, &history->cap, history->count + 1, sizeof *history->items);
    history->items[history->count++] = item;
}

static int take_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    if (columns)
        add(ctx, row, 't');
    return 0;
}

static int take_batch(void *ctx, const struct tsk_value *row, size_t columns)
{
    if (columns)
        add(ctx, row, 'b');
    return 0;
}

static int take_step(void *ctx, const struct tsk_value *row, size_t columns)
{
    if (columns)
        add(ctx, row, 's');
    return 0;
}

static int rank(const struct transition *item)
{
    return item->origin == 'l' ? 2 : 0;
}

static int compare(const void *left, const void *right)
{
    const struct transition *a = left, *b = right;
    if (a->at != b->at)
        return a->at < b->at ? -1 : 1;
    if (rank(a) != rank(b))
        return rank(a) < rank(b) ? -1 : 1;
    if (a->subject != b->subject)
        return a->subject < b->subject ? -1 : 1;
    if (a->sort_key != b->sort_key)
        return a->sort_key < b->sort_key ? -1 : 1;
    return a->step_id < b->step_id ? -1 : a->step_id > b->step_id;
}

static int read_transitions(struct history *history, struct tsk_store *store, enum subject subject,
                            const struct tsk_value *values, struct tsk_err *err)
{
    const struct about *about = &abouts[subject];
    int64_t all = 0;
    if (about->own &&
        tsk_store_run(store, about->own, values, 1,
                      subject == SUBJECT_TASK ? take_task : take_batch, history, err) < 0)
        return -1;
    size_t own = history->count;
    if (tsk_store_get_int(store, about->steps_count, values, 1, &all, err) < 0 ||
        tsk_store_run(store, about->steps, values, 2, take_step, history, err) < 0)
        return -1;
    history->transitions_left_out = all - (int64_t)(history->count - own);
    if (history->count)
        qsort(history->items, history->count, sizeof *history->items, compare);
    return 0;
}

/* ---- printing */

static const char *origin_name(char origin)
{
    return origin == 'p' ? "program" : origin == 'l' ? "ledger" : "operator";
}

/* An operator's: who, and why. Returns whether that is what metadata has. */
static bool put_reason(struct tsk_buf *line, const char *metadata)
{
    struct json_object *about = tsk_json_stored(metadata);
    const char *by = tsk_json_str(about, "by"), *reason = tsk_json_str(about, "reason");
    if (by && reason) {
        tsk_buf_str(line, " by ");
        tsk_plain_str(line, by);
        tsk_buf_str(line, ": ");
        tsk_plain_str(line, reason);
    }
    json_object_put(about);
    return by && reason;
}

static void print_text(const struct history *history, const struct transition *item)
{
    const char *texts = history->texts.data;
    const char *from = texts + item->from;
    struct tsk_buf line = TSK_BUF_INIT;
    char time[TSK_TIME_SIZE];
    tsk_time_format(item->at, time);
    tsk_buf_printf(&line, "%s  ", time);
    if (item->subject == 's')
        tsk_buf_printf(&line, "step %" PRId64 " attempt %" PRId64 ": ", item->step_id,
                       tsk_step_key_attempt(item->sort_key));
    else
        tsk_buf_str(&line, item->subject == 't' ? "task: " : "batch: ");
    if (*from)
        tsk_buf_printf(&line, "%s to ", from);
    tsk_buf_printf(&line, "%s (", texts + item->to);
    tsk_plain_str(&line, texts + item->event);
    tsk_buf_printf(&line, ", %s)", origin_name(item->origin));
    bool told = item->origin == 'o' && put_reason(&line, texts + item->metadata);
    if (!told && texts[item->metadata] && strcmp(texts + item->metadata, "{}") != 0) {
        tsk_buf_char(&line, ' ');
        tsk_plain_str(&line, texts + item->metadata);
    }
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

static void print_json(struct history *history, const struct transition *item)
{
    const char *texts = history->texts.data, *from = texts + item->from;
    struct json_object *line = json_object_new_object();
    struct tsk_value metadata = tsk_value_text(texts + item->metadata);
    bool step = item->subject == 's';
    tsk_json_put_str(line, "message_type", "transition");
    tsk_json_put_str(line, "of", step ? "step" : item->subject == 't' ? "task" : "batch");
    tsk_json_put_time(line, "at", item->at);
    tsk_json_put(line, "step_id", step ? json_object_new_int64(item->step_id) : NULL);
    tsk_json_put(line, "attempt",
                 step ? json_object_new_int64(tsk_step_key_attempt(item->sort_key)) : NULL);
    tsk_json_put_str(line, "from_state", *from ? from : NULL);
    tsk_json_put_str(line, "to_state", texts + item->to);
    tsk_json_put_str(line, "event", texts + item->event);
    tsk_json_put_str(line, "origin", origin_name(item->origin));
    tsk_json_put(line, "metadata", report_json(&history->report.parser, REPORT_JSON, &metadata));
    out_json(line);
    json_object_put(line);
}

/* Prints the transitions that stand before a message of that time. */
static void print_until(struct history *history, int64_t at)
{
    for (; history->printed < history->count && !out_failed(); history->printed++) {
        const struct transition *item = &history->items[history->printed];
        if (item->at > at || (item->at == at && rank(item) > 1))
            return;
        if (history->opts->format == FORMAT_JSON)
            print_json(history, item);
        else
            print_text(history, item);
    }
}

/* At the first message: leaves out the transitions that are older, if older messages are. */
static void begin(struct history *history, int64_t at)
{
    history->begun = true;
    while (history->messages_left_out && history->printed < history->count &&
           history->items[history->printed].at < at) {
        history->printed++;
        history->transitions_left_out++;
    }
}

static int take_message(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct history *history = ctx;
    int64_t at = columns ? row[1].number : 0;
    if (!history->begun)
        begin(history, at);
    if (history->transitions_left_out && history->printed == 0 && history->count &&
        at < history->items[0].at) {
        history->messages_left_out++;
        return 0;
    }
    print_until(history, at);
    history_message(&history->report, row, history->opts);
    return out_failed();
}

void history_left_out(const struct options *opts, const char *what, int64_t count)
{
    if (!count)
        return;
    if (opts->format != FORMAT_JSON) {
        out_printf("... and %" PRId64 " older %s (--limit N shows more, --limit 0 all)", count,
                   what);
        return;
    }
    struct json_object *line = json_object_new_object();
    tsk_json_put_str(line, "message_type", "left_out");
    tsk_json_put_str(line, "what", what);
    tsk_json_put_int(line, "count", count);
    out_json(line);
    json_object_put(line);
}

int history_print(struct tsk_store *store, enum subject subject, int64_t key,
                  const struct options *opts, int64_t limit, struct tsk_err *err)
{
    const struct about *about = &abouts[subject];
    struct history history = {.opts = opts};
    struct tsk_value values[] = {tsk_value_int(key), tsk_value_int(limit ? limit : INT64_MAX)};
    int64_t all = 0;
    int rc = read_transitions(&history, store, subject, values, err);
    if (rc == 0 && tsk_store_get_int(store, about->messages_count, values, 1, &all, err) < 0)
        rc = -1;
    history.messages_left_out = limit && all > limit ? all - limit : 0;
    if (rc == 0 && opts->format != FORMAT_JSON && (history.count || all))
        out_printf("history:");
    if (rc == 0 &&
        tsk_store_run(store, about->messages, values, 2, take_message, &history, err) < 0)
        rc = -1;
    if (rc == 0) {
        print_until(&history, INT64_MAX);
        history_left_out(opts, "transitions", history.transitions_left_out);
        history_left_out(opts, "messages", history.messages_left_out);
    }
    report_end(&history.report);
    tsk_buf_fini(&history.texts);
    free(history.items);
    return rc;
}
