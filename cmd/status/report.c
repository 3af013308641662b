/* Rows for people and for programs. Whatever stands in the store may come from anybody: a table
 * shows control characters as \xNN, and JSON has what JSON has. */
#include "status/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/out.h"
#include "tasker/clock.h"
#include "tasker/buf.h"

enum { BLOCK_ROWS = 10000 }; /* after so many a table begins anew, so that it can be printed */

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
    tsk_json_keep(json, value->data, value->len);
    return json;
}

/* The message of an error, or the whole of it where it has none. */
static void add_error(struct report *report, struct tsk_buf *out, const struct tsk_value *value)
{
    struct json_object *json = parse(&report->parser, value);
    const char *message = tsk_json_str(json, "message");
    if (message)
        tsk_plain_str(out, message);
    else
        tsk_plain_add(out, value->data, value->len);
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
        tsk_plain_add(out, value->data, value->len);
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

static void print_json(struct report *report, const struct tsk_value *row)
{
    struct json_object *line = json_object_new_object();
    tsk_json_put_str(line, "message_type", report->message_type);
    for (size_t i = 0; i < report->count; i++) {
        const struct report_column *column = &report->columns[i];
        if (column->name)
            tsk_json_put(line, column->name, report_json(&report->parser, column->type, &row[i]));
    }
    out_json(line);
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
