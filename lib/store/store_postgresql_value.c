/* Values to PostgreSQL and back. Numbers go out as text, since the type that the server gives a
 * parameter is its own affair; texts and bytes go with their length. All columns come in binary
 * form, where bytes are themselves and not twice as many digits. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "store/store_postgresql.h"

/* The types that the store's statements give, as pg_type has them. */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_CHAR = 18,
    TYPE_NAME = 19,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_TEXT = 25,
    TYPE_OID = 26,
    TYPE_UNKNOWN = 705,
    TYPE_VARCHAR = 1043,
    TYPE_NUMERIC = 1700,
    TYPE_VOID = 2278,
};

int tsk_pg_params(struct pg_params *params, const struct tsk_value *values, size_t count,
                  struct tsk_err *err)
{
    if (count > PG_VALUES_MOST)
        return tsk_err_set(err, TSK_BUG, "a statement has too many parameters");
    for (size_t i = 0; i < count; i++) {
        if (values[i].len > INT_MAX / 2)
            return tsk_err_set(err, TSK_DATA, "a value of %zu bytes is too long", values[i].len);
        params->lengths[i] = (int)values[i].len;
        params->formats[i] = values[i].type != TSK_INT;
        params->values[i] = NULL;
        if (values[i].type == TSK_INT) {
            snprintf(params->text[i], sizeof params->text[i], "%" PRId64, values[i].number);
            params->values[i] = params->text[i];
        } else if (values[i].type != TSK_NULL) {
            params->values[i] = values[i].data ? values[i].data : "";
        }
    }
    return 0;
}

/* A big-endian integer of so many bytes, with its sign. */
static int64_t integer(const char *data, int len)
{
    uint64_t bits = (unsigned char)data[0] & 0x80 ? UINT64_MAX : 0;
    for (int i = 0; i < len; i++)
        bits = bits << 8 | (unsigned char)data[i];
    return (int64_t)bits;
}

/* A numeric without a fraction, as sum() of BIGINT gives: a head of four (digits, weight, sign,
 * scale), then digits to the base 10000. Returns false for one that is none. */
static bool whole_numeric(const char *data, int len, int64_t *out)
{
    enum { NEGATIVE = 0x4000 };
    if (len < 8)
        return false;
    int64_t digits = integer(data, 2), weight = integer(data + 2, 2);
    int64_t sign = integer(data + 4, 2), scale = integer(data + 6, 2), number = 0;
    if ((sign && sign != NEGATIVE) || scale || digits > weight + 1 || len < 8 + 2 * digits)
        return false;
    for (int64_t i = 0; i <= weight && digits; i++) {
        int64_t digit = i < digits ? integer(data + 8 + 2 * i, 2) : 0;
        if (number > (INT64_MAX - digit) / 10000)
            return false;
        number = number * 10000 + digit;
    }
    *out = sign ? -number : number;
    return true;
}

static int column(const PGresult *result, int row, int i, struct tsk_value *value,
                  struct tsk_err *err)
{
    const char *data = tsk_pq.getvalue(result, row, i);
    int len = tsk_pq.getlength(result, row, i);
    Oid type = tsk_pq.ftype(result, i);
    int64_t number;
    *value = tsk_value_null();
    if (tsk_pq.getisnull(result, row, i))
        return 0;
    switch (type) {
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
        *value = tsk_value_int(integer(data, len));
        return 0;
    case TYPE_BOOL:
        *value = tsk_value_int(data[0] != 0);
        return 0;
    case TYPE_OID:
        *value = tsk_value_int(integer(data, len) & UINT32_MAX);
        return 0;
    case TYPE_NUMERIC:
        if (!whole_numeric(data, len, &number))
            return tsk_err_set(err, TSK_BUG, "a column has a number with a fraction");
        *value = tsk_value_int(number);
        return 0;
    case TYPE_BYTEA:
        *value = tsk_value_bytes(data, (size_t)len);
        return 0;
    case TYPE_CHAR:
    case TYPE_NAME:
    case TYPE_TEXT:
    case TYPE_UNKNOWN:
    case TYPE_VARCHAR:
    case TYPE_VOID:
        *value = tsk_value_chars(data, (size_t)len);
        return 0;
    default:
        return tsk_err_set(err, TSK_BUG, "a column is of a type (%u) that is not used here", type);
    }
}

int tsk_pg_row(const PGresult *result, int i, struct tsk_value row[PG_VALUES_MOST],
               struct tsk_err *err)
{
    int columns = tsk_pq.nfields(result);
    if (columns > PG_VALUES_MOST)
        return tsk_err_set(err, TSK_BUG, "a statement has too many columns");
    for (int c = 0; c < columns; c++) {
        if (column(result, i, c, &row[c], err) < 0)
            return -1;
    }
    return 0;
}
