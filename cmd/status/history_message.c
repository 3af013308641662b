/* A message of the ledger: what it says, and on request its bytes. Nothing is taken for granted of
 * them, since a peer may send anything. */
#include <inttypes.h>
#include <string.h>

#include "common/out.h"
#include "status/history.h"
#include "tasker/clock.h"
#include "tasker/message.h"
#include "tasker/buf.h"

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

void history_message(struct report *report, const struct tsk_value *row, const struct options *opts)
{
    if (opts->format == FORMAT_JSON)
        print_json(report, row, opts);
    else
        print_text(report, row, opts);
}
