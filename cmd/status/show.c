/* tasker-status show: all that the store knows of one batch, task or step. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "status/lists.h"
#include "status/rows.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/message.h"
#include "tasker/parse.h"
#include "tasker/state.h"

enum subject { SUBJECT_TASK, SUBJECT_BATCH, SUBJECT_STEP, SUBJECTS };

/* ---- a message of the ledger: what it says, and on request its bytes; a peer may send anything */

enum { ID, AT, COLLECTOR, TOPIC, TYPE, BATCH, STEP, SOURCE, OFFSET, REASON, RAW };

/* The message as JSON (the caller's), or NULL where it is none. */
static struct json_object *parse(struct report *report, const struct tsk_value *raw)
{
    struct json_object *message = NULL;
    if (!report->parser)
        report->parser = tsk_json_new();
    const char *start = raw->len ? memchr(raw->data, '{', raw->len) : NULL;
    if (!start)
        return NULL;
    /* the topic may stand before it, as on the wire */
    size_t len = raw->len - (size_t)(start - raw->data);
    if (tsk_json_parse(report->parser, start, len, &message, NULL) < 0)
        return NULL;
    return message;
}

/* Whether all of it is UTF-8 without a NUL, so that it can stand in JSON as it is. */
static bool is_text(const struct tsk_value *raw)
{
    struct json_object *lossy = tsk_json_lossy(raw->data, raw->len);
    size_t len = (size_t)json_object_get_string_len(lossy);
    bool same = len == raw->len && memcmp(json_object_get_string(lossy), raw->data, len) == 0 &&
                !memchr(raw->data, '\0', raw->len);
    json_object_put(lossy);
    return same;
}

static struct json_object *base64(const struct tsk_value *raw)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct tsk_buf out = TSK_BUF_INIT;
    tsk_buf_str(&out, "");
    for (size_t i = 0; i < raw->len; i += 3) {
        unsigned bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < raw->len ? (unsigned char)raw->data[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            tsk_buf_char(&out, i + k > raw->len ? '=' : digits[bits >> (18 - 6 * k) & 63]);
    }
    struct json_object *text = json_object_new_string_len(out.data, (int)out.len);
    tsk_buf_fini(&out);
    return text;
}

static void print_json(struct report *report, const struct tsk_value *row,
                       const struct options *opts)
{
    static const struct report_column columns[] = {
        [ID] = {"ledger_id", NULL, REPORT_INT},
        [AT] = {"at", NULL, REPORT_TIME},
        [COLLECTOR] = {"collector_id", NULL, REPORT_TEXT},
        [TOPIC] = {"topic", NULL, REPORT_TEXT},
        [TYPE] = {"type", NULL, REPORT_TEXT},
        [BATCH] = {"batch_id", NULL, REPORT_TEXT},
        [STEP] = {"step_id", NULL, REPORT_INT},
        [SOURCE] = {"source", NULL, REPORT_TEXT},
        [OFFSET] = {"offset", NULL, REPORT_INT},
        [REASON] = {"reason", NULL, REPORT_TEXT},
    };
    struct json_object *line = json_object_new_object();
    tsk_json_put_str(line, "message_type", "ledger_message");
    for (size_t i = 0; i < RAW; i++)
        tsk_json_put(line, columns[i].name, report_json(&report->parser, columns[i].type, &row[i]));
    tsk_json_put_int(line, "bytes", (int64_t)row[RAW].len);
    tsk_json_put(line, "message", parse(report, &row[RAW]));
    if (opts->raw && is_text(&row[RAW]))
        tsk_json_put(line, "raw", tsk_json_lossy(row[RAW].data, row[RAW].len));
    else if (opts->raw)
        tsk_json_put(line, "raw_base64", base64(&row[RAW]));
    out_json(line);
    json_object_put(line);
}

static void add_text(struct tsk_buf *line, const char *before, const char *text)
{
    if (!text)
        return;
    tsk_buf_str(line, before);
    tsk_plain_str(line, text);
}

static void add_number(struct tsk_buf *line, const char *before, struct json_object *message,
                       const char *key, const char *after)
{
    int64_t number;
    if (tsk_json_int(message, key, &number) == 1)
        tsk_buf_printf(line, "%s%" PRId64 "%s", before, number, after);
}

/* What the message says of itself. */
static void add_gist(struct tsk_buf *line, struct json_object *message)
{
    struct json_object *error = tsk_json_get(message, "error");
    add_text(line, " ", tsk_json_str(message, "status"));
    add_number(line, ", attempt ", message, "attempt", "");
    add_number(line, ", ", message, "execution_time_ms", " ms");
    add_number(line, ": of ", message, "total_steps", " steps");
    add_number(line, " ", message, "completed_steps", " completed");
    add_number(line, ", ", message, "failed_steps", " failed");
    add_number(line, ", ", message, "total_execution_time_ms", " ms");
    add_text(line, ", by ", tsk_json_str(message, "worker_id"));
    add_text(line, ": ", tsk_json_str(error, "error_category"));
    add_text(line, ": ", tsk_json_str(error, "message"));
}

static void print_text(struct report *report, const struct tsk_value *row,
                       const struct options *opts)
{
    struct tsk_buf line = TSK_BUF_INIT;
    char time[TSK_TIME_SIZE];
    tsk_time_format(row[AT].number, time);
    tsk_buf_printf(&line, "%s  ", time);
    if (row[STEP].type == TSK_INT)
        tsk_buf_printf(&line, "step %" PRId64 ": ", row[STEP].number);
    else {
        tsk_buf_str(&line, "batch ");
        report_text(report, &line, REPORT_TEXT, &row[BATCH]);
        tsk_buf_str(&line, ": ");
    }
    tsk_buf_str(&line, "message ");
    const struct tsk_value *type = row[TYPE].type == TSK_NULL ? &row[TOPIC] : &row[TYPE];
    report_text(report, &line, REPORT_TEXT, type);
    if (row[REASON].type != TSK_NULL) {
        tsk_buf_str(&line, ", malformed: ");
        report_text(report, &line, REPORT_TEXT, &row[REASON]);
    } else {
        struct json_object *message = parse(report, &row[RAW]);
        add_gist(&line, message);
        json_object_put(message);
    }
    out_line(line.data, line.len);
    tsk_buf_reset(&line);
    if (opts->raw) {
        tsk_buf_str(&line, "    ");
        tsk_plain_add(&line, row[RAW].data, row[RAW].len);
        out_line(line.data, line.len);
    }
    tsk_buf_fini(&line);
}

static void history_message(struct report *report, const struct tsk_value *row,
                            const struct options *opts)
{
    if (opts->format == FORMAT_JSON)
        print_json(report, row, opts);
    else
        print_text(report, row, opts);
}

/* Transitions are read first, into memory, each in a few bytes; then the messages come from the
 * ledger in its own order, and the transitions are printed between them by their time. At the same
 * millisecond a transition that a program made stands before a message, and one that was settled
 * from the ledger after it.
 *
 * Where older ones are left out of one of the two, those of the other that are as old are left out
 * too, so that what is printed is whole from its first line on. */
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
    char subject; /* of the transitions that are read now */
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
#define MESSAGE_COUNT(where) "SELECT count(*) FROM received_results m WHERE " where

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
                      MESSAGES(OF_TASK), MESSAGE_COUNT(OF_TASK)},
    [SUBJECT_BATCH] = {OWN("batch_transitions", "batch"),
                       STEPS("t.batch", "ORDER BY t.created_at DESC"),
                       "SELECT count(*) FROM step_transitions t WHERE t.batch = $1",
                       MESSAGES(OF_BATCH), MESSAGE_COUNT(OF_BATCH)},
    [SUBJECT_STEP] = {NULL, STEPS("t.step", "ORDER BY t.sort_key DESC"),
                      "SELECT count(*) FROM step_transitions t WHERE t.step = $1",
                      MESSAGES(OF_STEP), MESSAGE_COUNT(OF_STEP)},
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

/* The columns of OWN and STEPS. */
enum { T_AT, T_SORT_KEY, T_STEP_ID, T_FROM, T_TO, T_EVENT, T_METADATA, T_ORIGIN };

static int take_transition(void *ctx, const struct tsk_value *row, size_t columns)
{
    static const struct transition none = {.subject = 0};
    struct history *history = ctx;
    const struct transition *before = history->count ? &history->items[history->count - 1] : &none;
    (void)columns;
    struct transition item = {
        .at = row[T_AT].number,
        .sort_key = row[T_SORT_KEY].number,
        .step_id = row[T_STEP_ID].type == TSK_INT ? row[T_STEP_ID].number : 0,
        .from = keep(history, &row[T_FROM], before->from),
        .to = keep(history, &row[T_TO], before->to),
        .event = keep(history, &row[T_EVENT], before->event),
        .metadata = keep(history, &row[T_METADATA], before->metadata),
        .subject = history->subject,
        .origin = row[T_ORIGIN].data[0],
    };
    history->items =
        tsk_grow(history->items, &history->cap, history->count + 1, sizeof *history->items);
    history->items[history->count++] = item;
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
    history->subject = subject == SUBJECT_TASK ? 't' : 'b';
    if (about->own &&
        tsk_store_run(store, about->own, values, 1, take_transition, history, err) < 0)
        return -1;
    history->subject = 's';
    size_t own = history->count;
    if (tsk_store_get_int(store, about->steps_count, values, 1, &all, err) < 0 ||
        tsk_store_run(store, about->steps, values, 2, take_transition, history, err) < 0)
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

static void print_transition(const struct history *history, const struct transition *item)
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

static void print_transition_json(struct history *history, const struct transition *item)
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
            print_transition_json(history, item);
        else
            print_transition(history, item);
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

static void history_left_out(const struct options *opts, const char *what, int64_t count)
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

static int history_print(struct tsk_store *store, enum subject subject, int64_t key,
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

/* tasker-status show: all that the store knows of one batch, task or step.
 *
 * A number may be the id of any of the three; without the word before it is taken for the one that
 * there is. The step_id of a step that came in a batch written by hand is only unique in its batch:
 * all of that id are shown, unless --batch names one. */
enum { LIMIT = 1000 };

static const char *const names[SUBJECTS] = {"task", "batch", "step"};

/* What is looked for, and what was found. */
struct show {
    const struct options *opts;
    const char *id;
    int64_t number; /* the id as a number; 0: it is none */
    bool wanted[SUBJECTS];
    int64_t *keys[SUBJECTS]; /* found ones */
    size_t count[SUBJECTS], cap[SUBJECTS];
    int64_t limit, published; /* steps of that task_id without a task, where no task was found */
    struct query row[SUBJECTS], task_steps;
};

/* ---- finding */

struct finding {
    struct show *show;
    enum subject subject;
};

static int take_key(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct finding *finding = ctx;
    struct show *show = finding->show;
    enum subject s = finding->subject;
    show->keys[s] = tsk_grow(show->keys[s], &show->cap[s], show->count[s] + 1, sizeof **show->keys);
    show->keys[s][show->count[s]++] = columns ? row[0].number : 0;
    return 0;
}

static int find(struct show *show, struct tsk_store *store, enum subject subject,
                struct tsk_err *err)
{
    static const char task[] = "SELECT task_id FROM tasks WHERE task_id = $1";
    static const char batch[] = "SELECT id FROM batches WHERE batch_id = $1";
    static const char step[] = "SELECT id FROM steps WHERE step_id = $1 ORDER BY id DESC";
    static const char step_of[] =
        "SELECT p.step FROM batches b JOIN batch_steps p ON p.batch = b.id "
        "WHERE p.step_id = $1 AND b.batch_id = $2";
    struct finding finding = {show, subject};
    struct tsk_value values[] = {subject == SUBJECT_BATCH ? tsk_value_text(show->id)
                                                          : tsk_value_int(show->number),
                                 tsk_value_text(show->opts->batch)};
    bool within = subject == SUBJECT_STEP && show->opts->batch;
    const char *sql = subject == SUBJECT_TASK    ? task
                      : subject == SUBJECT_BATCH ? batch
                      : within                   ? step_of
                                                 : step;
    if (!show->wanted[subject] || (subject != SUBJECT_BATCH && !show->number))
        return 0;
    return tsk_store_run(store, sql, values, within ? 2 : 1, take_key, &finding, err) < 0 ? -1 : 0;
}

/* A step that came in a batch written by hand has a task_id of no task in the store. */
static int count_published(struct show *show, struct tsk_store *store, struct tsk_err *err)
{
    static const char sql[] = "SELECT count(*) FROM steps WHERE task_id = $1 AND task IS NULL";
    struct tsk_value value = tsk_value_int(show->number);
    if (!show->wanted[SUBJECT_TASK] || !show->number || show->count[SUBJECT_TASK])
        return 0;
    return tsk_store_get_int(store, sql, &value, 1, &show->published, err);
}

/* Fails if nothing was found, or more than one kind. */
static int decide(struct show *show, struct tsk_err *err)
{
    struct tsk_buf kinds = TSK_BUF_INIT;
    size_t found = 0;
    for (int s = 0; s < SUBJECTS; s++) {
        if (show->count[s])
            tsk_buf_printf(&kinds, "%sa %s", found++ ? " and " : "", names[s]);
    }
    int rc = 0;
    if (found > 1)
        rc = tsk_err_set(err, TSK_USAGE, "show: \"%s\" is %s: say which, as in \"show step %s\"",
                         show->id, kinds.data, show->id);
    tsk_buf_reset(&kinds);
    for (int s = 0; s < SUBJECTS; s++) {
        if (show->wanted[s])
            tsk_buf_printf(&kinds, "%s%s", kinds.len ? " or " : "", names[s]);
    }
    if (!found && show->published)
        rc = tsk_err_set(err, TSK_NO,
                         "show: there is no %s \"%s\" in the store, but %" PRId64
                         " step%s published with that task_id: \"tasker-status steps --task %s\"",
                         kinds.data, show->id, show->published, tsk_plural(show->published),
                         show->id);
    else if (!found)
        rc = tsk_err_set(err, TSK_NO, "show: there is no %s \"%s\"%s%s in the store", kinds.data,
                         show->id, show->opts->batch ? " in batch " : "",
                         show->opts->batch ? show->opts->batch : "");
    tsk_buf_fini(&kinds);
    return rc;
}

/* ---- what belongs to it */

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct report_column batch_step_columns[] = {
    {"step_id", "STEP", REPORT_INT},         {"sequence", NULL, REPORT_INT},
    {"name", "NAME", REPORT_TEXT},           {"handler_class", "HANDLER", REPORT_TEXT},
    {"attempt", "ATTEMPT", REPORT_INT},      {"status", "STATUS", REPORT_TEXT},
    {"outcome", "OUTCOME", REPORT_TEXT},     {"state", "STATE NOW", REPORT_TEXT},
    {"execution_ms", "TIME", REPORT_MS},     {"retry_at", NULL, REPORT_TIME},
    {"worker_id", "WORKER", REPORT_TEXT},    {"error_category", "CATEGORY", REPORT_TEXT},
    {"error_message", "ERROR", REPORT_TEXT},
};

/* $1 is the batch, $2 how many at most. Where not all are shown those that are not done come
 * first. */
#define BATCH_STEPS(order)                                                                         \
    "SELECT p.step_id, p.sequence_order, s.name, s.handler_class, p.attempt, v.status, "           \
    "v.outcome, s.state, v.execution_ms, v.retry_at, v.worker_id, v.error_category, "              \
    "v.error_message FROM batch_steps p JOIN steps s ON s.id = p.step LEFT JOIN settled_steps v "  \
    "ON v.batch = p.batch AND v.step_id = p.step_id WHERE p.batch = $1 ORDER BY " order            \
    "p.sequence_order LIMIT $2"

static const char batch_steps[] = BATCH_STEPS("");
static const char batch_steps_open_first[] =
    BATCH_STEPS("CASE WHEN v.outcome = 'done' OR s.state = 'complete' THEN 1 ELSE 0 END, ");

static const struct report_column discrepancy_columns[] = {
    {"type", "TYPE", REPORT_TEXT},
    {"step_id", "STEP", REPORT_INT},
    {"detail", "DETAIL", REPORT_TEXT},
};

static const char discrepancies[] =
    "SELECT type, step_id, detail FROM discrepancies WHERE batch = $1 ORDER BY place";

static const struct report_column run_columns[] = {
    {"batch_id", "BATCH", REPORT_TEXT},          {"attempt", "ATTEMPT", REPORT_INT},
    {"batch_state", "BATCH STATE", REPORT_TEXT}, {"status", "STATUS", REPORT_TEXT},
    {"outcome", "OUTCOME", REPORT_TEXT},         {"execution_ms", "TIME", REPORT_MS},
    {"retry_at", "RETRY AT", REPORT_TIME},       {"worker_id", "WORKER", REPORT_TEXT},
    {"error_category", "CATEGORY", REPORT_TEXT}, {"error_message", "ERROR", REPORT_TEXT},
};

static const char runs[] =
    "SELECT b.batch_id, p.attempt, b.state, v.status, v.outcome, v.execution_ms, v.retry_at, "
    "v.worker_id, v.error_category, v.error_message FROM batch_steps p JOIN batches b "
    "ON b.id = p.batch LEFT JOIN settled_steps v ON v.batch = p.batch AND v.step_id = p.step_id "
    "WHERE p.step = $1 ORDER BY p.attempt, p.batch";

/* Prints the rows of a statement about key, as a table of its own. */
static int print_part(struct show *show, struct tsk_store *store, struct report *report,
                      const char *sql, int64_t key, bool limited, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(key),
                                 tsk_value_int(show->limit ? show->limit : INT64_MAX)};
    report->json = show->opts->format == FORMAT_JSON;
    int64_t rows = tsk_store_run(store, sql, values, limited ? 2 : 1, report_row, report, err);
    report_end(report);
    return rows < 0 ? -1 : 0;
}

static int print_batch(struct show *show, struct tsk_store *store, int64_t key, struct tsk_err *err)
{
    static const char count[] = "SELECT count(*) FROM batch_steps WHERE batch = $1";
    struct report steps = {.message_type = "batch_step",
                           .columns = batch_step_columns,
                           .count = COUNT(batch_step_columns),
                           .title = "steps:"};
    struct report differences = {.message_type = "discrepancy",
                                 .columns = discrepancy_columns,
                                 .count = COUNT(discrepancy_columns),
                                 .title = "discrepancies:"};
    struct tsk_value value = tsk_value_int(key);
    int64_t all = 0;
    if (tsk_store_get_int(store, count, &value, 1, &all, err) < 0)
        return -1;
    bool some = show->limit && all > show->limit;
    if (print_part(show, store, &steps, some ? batch_steps_open_first : batch_steps, key, true,
                   err) < 0)
        return -1;
    history_left_out(show->opts, "steps", all - steps.rows);
    return print_part(show, store, &differences, discrepancies, key, false, err);
}

static int print_step(struct show *show, struct tsk_store *store, int64_t key, struct tsk_err *err)
{
    struct report report = {.message_type = "step_run",
                            .columns = run_columns,
                            .count = COUNT(run_columns),
                            .title = "batches that it was in:"};
    return print_part(show, store, &report, runs, key, false, err);
}

static int print_task(struct show *show, struct tsk_store *store, int64_t key, struct tsk_err *err)
{
    struct report report = list_report(&list_steps, show->opts);
    struct query *query = &show->task_steps;
    report.title = "steps:";
    list_select(query, &list_steps, tsk_store_kind(store));
    query_and(query, "s.task = ?", "", tsk_value_int(key));
    query_text(query, " ORDER BY s.id");
    int64_t rows = query_run(query, store, report_row, &report, err);
    report_end(&report);
    return rows < 0 ? -1 : 0;
}

/* ---- all of it */

static int print_subject(struct show *show, struct tsk_store *store, enum subject subject,
                         int64_t key, struct tsk_err *err)
{
    static const struct list *const lists[SUBJECTS] = {&list_tasks, &list_batches, &list_steps};
    static int (*const parts[SUBJECTS])(struct show *, struct tsk_store *, int64_t,
                                        struct tsk_err *) = {print_task, print_batch, print_step};
    struct report report = list_report(lists[subject], show->opts);
    struct query *query = &show->row[subject];
    report.tall = true;
    query->values[0] = tsk_value_int(key);
    if (show->opts->format != FORMAT_JSON)
        out_printf("%s %s", names[subject], show->id);
    int64_t rows = query_run(query, store, report_row, &report, err);
    report_end(&report);
    if (rows < 0 || parts[subject](show, store, key, err) < 0)
        return -1;
    return history_print(store, subject, key, show->opts, show->limit, err);
}

static void prepare(struct show *show, enum subject subject, enum tsk_store_kind kind)
{
    static const struct list *const lists[SUBJECTS] = {&list_tasks, &list_batches, &list_steps};
    list_select(&show->row[subject], lists[subject], kind);
    query_and(&show->row[subject], lists[subject]->key, "", tsk_value_int(0));
}

static int print(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct show *show = ctx;
    for (int s = 0; s < SUBJECTS; s++) {
        if (find(show, store, (enum subject)s, err) < 0)
            return -1;
    }
    if (count_published(show, store, err) < 0 || decide(show, err) < 0)
        return -1;
    for (int s = 0; s < SUBJECTS; s++) {
        prepare(show, (enum subject)s, tsk_store_kind(store));
        for (size_t i = 0; i < show->count[s]; i++) {
            if (i && show->opts->format != FORMAT_JSON)
                out_printf("%s", "");
            if (print_subject(show, store, (enum subject)s, show->keys[s][i], err) < 0)
                return -1;
        }
    }
    return 0;
}

/* Reads "[task | batch | step] ID". */
static bool read_operands(struct show *show, char *const *operands, size_t count)
{
    int wanted = -1;
    struct tsk_err err = TSK_ERR_INIT;
    if (count == 0 || count > 2) {
        diag_error(count ? "show: one id at a time" : "show: an id is missing");
        return false;
    }
    for (int s = 0; s < SUBJECTS && count == 2; s++) {
        if (strcmp(operands[0], names[s]) == 0)
            wanted = s;
    }
    if (count == 2 && wanted < 0) {
        diag_error("show: \"%s\" is not task, batch or step", operands[0]);
        return false;
    }
    show->id = operands[count - 1];
    if (tsk_parse_int(show->id, 1, INT64_MAX, &show->number, &err) < 0)
        show->number = 0;
    for (int s = 0; s < SUBJECTS; s++)
        show->wanted[s] = wanted < 0 ? !show->opts->batch || s == SUBJECT_STEP : s == wanted;
    if (!show->number && (wanted == SUBJECT_TASK || wanted == SUBJECT_STEP)) {
        diag_error("show: the id of a %s is a number, not \"%s\"", names[wanted], show->id);
        return false;
    }
    if (!show->number && !tsk_name_valid(show->id)) {
        diag_error("show: \"%s\" is not %s", show->id, TSK_NAME_RULE);
        return false;
    }
    if (show->opts->batch && !show->wanted[SUBJECT_STEP]) {
        diag_error("show: --batch is for show step");
        return false;
    }
    return true;
}

enum tsk_exit status_show(const struct options *opts, const struct tsk_conf *conf,
                          char *const *operands, size_t count)
{
    struct show show = {.opts = opts, .limit = query_limit(opts, LIMIT)};
    if (opts->format == FORMAT_PROMETHEUS) {
        diag_error("show: --format prometheus is for what is of the whole store");
        return TSK_USAGE;
    }
    if (!read_operands(&show, operands, count))
        return TSK_USAGE;
    enum tsk_exit status = query_store(conf, print, &show);
    for (int s = 0; s < SUBJECTS; s++) {
        free(show.keys[s]);
        query_fini(&show.row[s]);
    }
    query_fini(&show.task_steps);
    return status;
}
