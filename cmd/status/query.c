/* Statements of static texts: a text of a user only ever comes in as a parameter. */
#include "status/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"

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
