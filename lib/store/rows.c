/* Rows as arrays, in the form in which PostgreSQL sends and receives them: a head of five numbers
 * (dimensions, whether there are nulls, type of the elements, how many, number of the first), then
 * each element with its length, -1 for a null. All numbers are of four bytes, the highest first. */
#include <limits.h>
#include <string.h>

#include "tasker/json.h"
#include "tasker/store.h"

enum { ROWS_MOST = 1000, BYTES_MOST = 1 << 20, HEAD = 20 };

enum { TYPE_BYTEA = 17, TYPE_INT8 = 20, TYPE_TEXT = 25 };

void tsk_rows_init(struct tsk_rows *rows, struct tsk_store *store, const struct tsk_rows_sql *sql)
{
    *rows = (struct tsk_rows){.store = store, .sql = sql};
}

void tsk_rows_fini(struct tsk_rows *rows)
{
    for (size_t i = 0; i < TSK_ROWS_COLUMNS; i++)
        tsk_buf_fini(&rows->columns[i]);
    rows->count = rows->bytes = 0;
}

static size_t columns_of(const struct tsk_rows *rows)
{
    return strlen(rows->sql->types);
}

static void put_number(char *to, uint64_t number, size_t bytes)
{
    for (size_t i = bytes; i-- > 0; number >>= 8)
        to[i] = (char)(number & 0xff);
}

static void add_number(struct tsk_buf *buf, uint64_t number, size_t bytes)
{
    put_number(tsk_buf_reserve(buf, bytes), number, bytes);
    buf->len += bytes;
}

static void add_element(struct tsk_buf *column, const struct tsk_value *value)
{
    static const char head[HEAD];
    if (!column->len)
        tsk_buf_add(column, head, HEAD); /* filled in when it goes out */
    if (value->type == TSK_NULL) {
        add_number(column, UINT32_MAX, 4);
    } else if (value->type == TSK_INT) {
        add_number(column, 8, 4);
        add_number(column, (uint64_t)value->number, 8);
    } else {
        add_number(column, value->len, 4);
        if (value->len)
            tsk_buf_add(column, value->data, value->len);
    }
}

/* Whether a value is of its column, and one that the store takes. */
static int check_value(char type, const struct tsk_value *value, struct tsk_err *err)
{
    static const enum tsk_value_type types[] = {
        ['i'] = TSK_INT, ['t'] = TSK_TEXT, ['b'] = TSK_BYTES};
    if (value->type != TSK_NULL && value->type != types[(unsigned char)type])
        return tsk_err_set(err, TSK_BUG, "a value is not of the type of its column");
    if (value->len > INT_MAX / 2)
        return tsk_err_set(err, TSK_DATA, "a value of %zu bytes is too long", value->len);
    if (value->type == TSK_TEXT && !tsk_json_is_text(value->data, value->len))
        return tsk_err_set(err, TSK_DATA, "a text for the store is not UTF-8, or has a NUL");
    return 0;
}

int tsk_rows_add(struct tsk_rows *rows, const struct tsk_value *values, struct tsk_err *err)
{
    size_t columns = columns_of(rows);
    if (tsk_store_kind(rows->store) != TSK_STORE_POSTGRESQL)
        return tsk_store_send(rows->store, rows->sql->one, values, columns, err);
    for (size_t i = 0; i < columns; i++) {
        if (check_value(rows->sql->types[i], &values[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < columns; i++) {
        add_element(&rows->columns[i], &values[i]);
        rows->bytes += values[i].len;
    }
    rows->count++;
    return rows->count < ROWS_MOST && rows->bytes < BYTES_MOST ? 0 : tsk_rows_end(rows, err);
}

static void fill_head(struct tsk_buf *column, char type, size_t count)
{
    unsigned of = type == 'i' ? TYPE_INT8 : type == 't' ? TYPE_TEXT : TYPE_BYTEA;
    const uint64_t head[] = {1, 1, of, count, 1};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        put_number(column->data + 4 * i, head[i], 4);
}

int tsk_rows_end(struct tsk_rows *rows, struct tsk_err *err)
{
    struct tsk_value values[TSK_ROWS_COLUMNS] = {{TSK_NULL, 0, NULL, 0}};
    size_t columns = columns_of(rows);
    if (!rows->count)
        return 0;
    for (size_t i = 0; i < columns; i++) {
        fill_head(&rows->columns[i], rows->sql->types[i], rows->count);
        values[i] = tsk_value_bytes(rows->columns[i].data, rows->columns[i].len);
    }
    int rc = tsk_store_send(rows->store, rows->sql->many, values, columns, err);
    for (size_t i = 0; i < columns; i++)
        tsk_buf_reset(&rows->columns[i]);
    rows->count = rows->bytes = 0;
    return rc;
}
