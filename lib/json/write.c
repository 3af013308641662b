#include "tasker/json.h"

#include <string.h>

#include "tasker/clock.h"

static void put_key(struct tsk_buf *buf, const char *key)
{
    char last = buf->len ? buf->data[buf->len - 1] : '{';
    if (last != '{' && last != '[')
        tsk_buf_char(buf, ',');
    if (!key)
        return;
    size_t len = strlen(key);
    char *to = tsk_buf_reserve(buf, len + 3);
    *to++ = '"';
    memcpy(to, key, len);
    memcpy(to + len, "\":", 3);
    buf->len += len + 3;
}

void tsk_write_open(struct tsk_buf *buf, const char *key, char bracket)
{
    put_key(buf, key);
    tsk_buf_char(buf, bracket);
}

void tsk_write_close(struct tsk_buf *buf, char bracket)
{
    tsk_buf_char(buf, bracket);
}

static void add_escaped(struct tsk_buf *buf, char c)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = strchr(plain, c);
    if (found)
        tsk_buf_printf(buf, "\\%c", letters[found - plain]);
    else
        tsk_buf_printf(buf, "\\u%04x", (unsigned char)c);
}

void tsk_write_str(struct tsk_buf *buf, const char *key, const char *text)
{
    put_key(buf, key);
    if (!text) {
        tsk_buf_add(buf, "null", 4);
        return;
    }
    tsk_buf_char(buf, '"');
    for (;;) {
        size_t plain = 0;
        while ((unsigned char)text[plain] >= ' ' && text[plain] != '"' && text[plain] != '\\')
            plain++;
        tsk_buf_add(buf, text, plain);
        text += plain;
        if (!*text)
            break;
        add_escaped(buf, *text++);
    }
    tsk_buf_char(buf, '"');
}

void tsk_write_int(struct tsk_buf *buf, const char *key, int64_t value)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--at = '-';
    put_key(buf, key);
    tsk_buf_add(buf, at, (size_t)(digits + sizeof digits - at));
}

void tsk_write_bool(struct tsk_buf *buf, const char *key, bool value)
{
    put_key(buf, key);
    tsk_buf_str(buf, value ? "true" : "false");
}

void tsk_write_time(struct tsk_buf *buf, const char *key, int64_t wall_ms)
{
    char text[TSK_TIME_SIZE];
    tsk_time_format(wall_ms, text);
    tsk_write_str(buf, key, text);
}

void tsk_write_json(struct tsk_buf *buf, const char *key, struct json_object *value)
{
    size_t len;
    const char *text = tsk_json_text(value, &len);
    tsk_write_raw(buf, key, text, len);
}

void tsk_write_object(struct tsk_buf *buf, const char *key, struct json_object *value)
{
    if (value)
        tsk_write_json(buf, key, value);
    else
        tsk_write_raw(buf, key, "{}", 2);
}

void tsk_write_raw(struct tsk_buf *buf, const char *key, const char *json, size_t len)
{
    put_key(buf, key);
    tsk_buf_add(buf, json, len);
}
