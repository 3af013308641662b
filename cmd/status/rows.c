/* Statements, and their rows as a table or as JSON. Statements are made of static texts: a text of
 * a user only ever comes in as a parameter. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status/rows.h"
#include "common/diag.h"
#include "common/out.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

void query_fini(struct query *query)
{
    tsk_buf_fini(&query->sql);
    tsk_buf_fini(&query->pattern);
    free(query->values);
    query->values = NULL;
    query->count = query->cap = 0;
}

void query_text(struct query *query, const char *text)
{
    tsk_buf_str(&query->sql, text);
}

size_t query_value(struct query *query, struct tsk_value value)
{
    query->values = tsk_grow(query->values, &query->cap, query->count + 1, sizeof *query->values);
    query->values[query->count++] = value;
    return query->count;
}

void query_add(struct query *query, const char *text, struct tsk_value value)
{
    size_t number = 0;
    for (; *text; text++) {
        if (*text != '?') {
            tsk_buf_char(&query->sql, *text);
            continue;
        }
        if (!number)
            number = query_value(query, value);
        tsk_buf_printf(&query->sql, "$%zu", number);
    }
}

void query_and(struct query *query, const char *text, const char *condition, struct tsk_value value)
{
    struct tsk_buf whole = TSK_BUF_INIT;
    tsk_buf_str(&whole, " AND ");
    for (; *text; text++) {
        if (*text == '@')
            tsk_buf_str(&whole, condition);
        else
            tsk_buf_char(&whole, *text);
    }
    query_add(query, whole.data, value);
    tsk_buf_fini(&whole);
}

const char *query_handler(struct query *query, enum tsk_store_kind kind, const char *handler)
{
    bool glob = strpbrk(handler, "*?") != NULL;
    tsk_buf_reset(&query->pattern);
    if (glob)
        tsk_store_glob(kind, handler, &query->pattern);
    else
        tsk_buf_str(&query->pattern, handler);
    if (!glob)
        return "= ?";
    return kind == TSK_STORE_SQLITE ? TSK_GLOB_SQLITE("?") : TSK_GLOB_POSTGRESQL("?");
}

void query_limited(struct query *query, int64_t limit)
{
    if (limit)
        query_add(query, " LIMIT ?", tsk_value_int(limit + 1));
}

int64_t query_run(struct query *query, struct tsk_store *store, tsk_row_fn *row, void *ctx,
                  struct tsk_err *err)
{
    return tsk_store_run(store, query->sql.data, query->values, query->count, row, ctx, err);
}

enum tsk_exit query_store(const struct tsk_conf *conf, tsk_store_fn *fn, void *ctx)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!store)
        return diag_no_store(&err); /* who asks what is in it expects one */
    tsk_store_set_use(store, TSK_STORE_LOOK);
    int rc = tsk_store_read(store, fn, ctx, 0, &err);
    tsk_store_free(store);
    return rc < 0 ? diag_err(&err) : TSK_OK;
}

bool query_no_operands(const char *subcommand, char *const *operands, size_t count)
{
    if (!count)
        return true;
    diag_error("%s: unexpected operand \"%s\"", subcommand, operands[0]);
    return false;
}

int64_t query_limit(const struct options *opts, int64_t fallback)
{
    return opts->limit < 0 ? fallback : opts->limit;
}

/* Rows for people and for programs. Whatever stands in the store may come from anybody: a table
 * shows control characters as \xNN, and JSON has what JSON has. */
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
