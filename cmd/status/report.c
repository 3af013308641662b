/* Rows for people and for programs. Whatever stands in the store may come from anybody: a table
 * shows control characters as \xNN, and JSON has what JSON has. */
#include "status/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/out.h"
#include "common/plain.h"
#include "tasker/clock.h"

enum { BLOCK_ROWS = 10000 }; /* after so many a table begins anew, so that it can be printed */

/* Whether the three bytes are a character that ends a line or turns the direction of writing. */
static bool is_turning(const unsigned char *data)
{
    return data[0] == 0xE2 && ((data[1] == 0x80 && data[2] >= 0xA8 && data[2] <= 0xAE) ||
                               (data[1] == 0x81 && data[2] >= 0xA6 && data[2] <= 0xA9));
}

/* Bytes of the UTF-8 character at data; 0 if there is none, or a control character (C1 too). */
static size_t shown_length(const unsigned char *data, size_t len)
{
    size_t n = *data < 0x80 ? 1 : *data >= 0xF0 ? 4 : *data >= 0xE0 ? 3 : 2;
    if (n == 1)
        return *data >= 0x20 && *data != 0x7F;
    if (n > len || *data < 0xC2 || *data > 0xF4)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((data[i] & 0xC0) != 0x80)
            return 0;
    }
    unsigned second = data[1];
    if ((*data == 0xC2 && second < 0xA0) || (*data == 0xE0 && second < 0xA0) ||
        (*data == 0xED && second >= 0xA0) || (*data == 0xF0 && second < 0x90) ||
        (*data == 0xF4 && second >= 0x90) || (n == 3 && is_turning(data)))
        return 0;
    return n;
}

void report_plain(struct tsk_buf *out, const char *data, size_t len)
{
    tsk_buf_str(out, "");
    while (len) {
        size_t n = shown_length((const unsigned char *)data, len);
        if (n)
            tsk_buf_add(out, data, n);
        else
            tsk_buf_printf(out, "\\x%02x", (unsigned char)*data);
        n = n ? n : 1;
        data += n;
        len -= n;
    }
}

void report_duration(struct tsk_buf *out, int64_t ms)
{
    long long s = ms / 1000;
    if (ms < 1000)
        tsk_buf_printf(out, "%lld ms", (long long)ms);
    else if (s < 60)
        tsk_buf_printf(out, "%lld.%lld s", s, (long long)(ms % 1000 / 100));
    else if (s < 3600)
        tsk_buf_printf(out, "%lldm %llds", s / 60, s % 60);
    else if (s < 86400)
        tsk_buf_printf(out, "%lldh %lldm", s / 3600, s % 3600 / 60);
    else
        tsk_buf_printf(out, "%lldd %lldh", s / 86400, s % 86400 / 3600);
}

static struct json_object *parse(struct tsk_json **parser, const struct tsk_value *value)
{
    struct json_object *json = NULL;
    if (!*parser)
        *parser = tsk_json_new();
    if (tsk_json_parse(*parser, value->data, value->len, &json, NULL) < 0)
        return tsk_json_lossy(value->data, value->len);
    return json;
}

/* The message of an error, or the whole of it where it has none. */
static void add_error(struct report *report, struct tsk_buf *out, const struct tsk_value *value)
{
    struct json_object *json = parse(&report->parser, value);
    const char *message = tsk_json_str(json, "message");
    if (message)
        report_plain(out, message, strlen(message));
    else
        report_plain(out, value->data, value->len);
    json_object_put(json);
}

static void add_number(struct tsk_buf *out, enum report_type type, int64_t number)
{
    char time[TSK_TIME_SIZE];
    if (type == REPORT_MS) {
        report_duration(out, number);
    } else if (type == REPORT_BOOL) {
        tsk_buf_str(out, number ? "yes" : "no");
    } else if (type == REPORT_TIME) {
        tsk_time_format(number, time);
        tsk_buf_str(out, time);
    } else {
        tsk_buf_printf(out, "%" PRId64, number);
    }
}

void report_text(struct report *report, struct tsk_buf *out, enum report_type type,
                 const struct tsk_value *value)
{
    tsk_buf_str(out, "");
    if (value->type == TSK_INT)
        add_number(out, type, value->number);
    else if (value->type != TSK_NULL && type == REPORT_ERROR)
        add_error(report, out, value);
    else if (value->type != TSK_NULL)
        report_plain(out, value->data, value->len);
}

struct json_object *report_json(struct tsk_json **parser, enum report_type type,
                                const struct tsk_value *value)
{
    char time[TSK_TIME_SIZE];
    if (value->type == TSK_NULL)
        return NULL;
    if (value->type != TSK_INT)
        return type == REPORT_JSON || type == REPORT_ERROR
                   ? parse(parser, value)
                   : tsk_json_lossy(value->data, value->len);
    if (type == REPORT_BOOL)
        return json_object_new_boolean(value->number != 0);
    if (type != REPORT_TIME)
        return json_object_new_int64(value->number);
    tsk_time_format(value->number, time);
    return json_object_new_string(time);
}

void report_line(struct json_object *line)
{
    struct tsk_buf out = TSK_BUF_INIT;
    size_t len;
    const unsigned char *text = (const unsigned char *)tsk_json_text(line, &len);
    for (size_t i = 0; i < len; i++) {
        size_t left = len - i;
        if (text[i] == 0x7F) {
            tsk_buf_str(&out, "\\u007f");
        } else if (left > 1 && text[i] == 0xC2 && text[i + 1] < 0xA0) {
            tsk_buf_printf(&out, "\\u%04x", text[++i]);
        } else if (left > 2 && is_turning(text + i)) {
            tsk_buf_printf(&out, "\\u20%02x", (text[i + 1] & 1) << 6 | (text[i + 2] & 0x3F));
            i += 2;
        } else {
            tsk_buf_char(&out, (char)text[i]);
        }
    }
    out_line(out.data, out.len);
    tsk_buf_fini(&out);
}

static void print_json(struct report *report, const struct tsk_value *row)
{
    struct json_object *line = json_object_new_object();
    tsk_json_put_str(line, "message_type", report->message_type);
    for (size_t i = 0; i < report->count; i++) {
        const struct report_column *column = &report->columns[i];
        if (column->name)
            tsk_json_put(line, column->name, report_json(&report->parser, column->type, &row[i]));
    }
    report_line(line);
    json_object_put(line);
}

static void print_tall(struct report *report, const struct tsk_value *row)
{
    struct tsk_buf text = TSK_BUF_INIT;
    for (size_t i = 0; i < report->count; i++) {
        if (!report->columns[i].name || row[i].type == TSK_NULL)
            continue;
        tsk_buf_reset(&text);
        enum report_type type = report->columns[i].type;
        report_text(report, &text, type == REPORT_ERROR ? REPORT_JSON : type, &row[i]);
        out_printf("%-18s %s", report->columns[i].name, text.data);
    }
    tsk_buf_fini(&text);
}

static void add_heads(struct report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct report_column *column = &report->columns[i];
        if (!column->head)
            continue;
        if (column->type == REPORT_INT || column->type == REPORT_MS)
            report->table.right |= 1u << report->table.columns;
        report->table.columns++;
    }
    for (size_t i = 0; i < report->count; i++) {
        if (report->columns[i].head)
            table_add(&report->table, report->columns[i].head);
    }
}

static void add_cells(struct report *report, const struct tsk_value *row)
{
    struct tsk_buf text = TSK_BUF_INIT;
    if (report->rows == 1 && report->title)
        out_printf("%s", report->title);
    if (report->rows % BLOCK_ROWS == 1) {
        table_end(&report->table);
        report->table = (struct table){.sparse = true};
        add_heads(report);
    }
    for (size_t i = 0; i < report->count; i++) {
        if (!report->columns[i].head)
            continue;
        tsk_buf_reset(&text);
        report_text(report, &text, report->columns[i].type, &row[i]);
        table_add(&report->table, text.data);
    }
    tsk_buf_fini(&text);
}

int report_row(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct report *report = ctx;
    if (report->limit && report->rows == report->limit) {
        report->more = true;
        return 1;
    }
    report->rows++;
    report->key = columns && row[0].type == TSK_INT ? row[0].number : 0;
    if (report->json)
        print_json(report, row);
    else if (report->tall)
        print_tall(report, row);
    else
        add_cells(report, row);
    return out_failed();
}

void report_end(struct report *report)
{
    table_end(&report->table);
    tsk_json_free(report->parser);
    report->parser = NULL;
    if (report->more && report->hint && !report->json)
        out_printf("... and more than these %" PRId64 ": %s", report->rows, report->hint);
}
