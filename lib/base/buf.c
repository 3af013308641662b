/* Memory that is there or ends the process, and buffers that grow by doubling. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"

static void *must(void *memory)
{
    if (!memory)
        abort(); /* out of memory: see the header */
    return memory;
}

void *tsk_alloc(size_t size)
{
    return must(calloc(1, size ? size : 1));
}

void *tsk_alloc_raw(size_t size)
{
    return must(malloc(size ? size : 1));
}

char *tsk_strdup(const char *text)
{
    return text ? must(strdup(text)) : NULL;
}

void *tsk_grow(void *array, size_t *cap, size_t need, size_t elem)
{
    if (need <= *cap)
        return array;
    size_t wanted = *cap ? *cap : 8;
    while (wanted < need)
        wanted *= 2;
    if (wanted > SIZE_MAX / elem)
        abort();
    char *grown = must(realloc(array, wanted * elem));
    memset(grown + *cap * elem, 0, (wanted - *cap) * elem);
    *cap = wanted;
    return grown;
}

void tsk_buf_fini(struct tsk_buf *buf)
{
    free(buf->data);
    *buf = (struct tsk_buf)TSK_BUF_INIT;
}

void tsk_buf_reset(struct tsk_buf *buf)
{
    buf->len = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

char *tsk_buf_reserve(struct tsk_buf *buf, size_t extra)
{
    size_t need = buf->len + extra + 1;
    if (need > buf->cap) {
        size_t cap = buf->cap ? buf->cap : 64;
        while (cap < need)
            cap *= 2;
        buf->data = must(realloc(buf->data, cap));
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

void tsk_buf_add(struct tsk_buf *buf, const void *data, size_t len)
{
    char *end = tsk_buf_reserve(buf, len);
    if (len)
        memcpy(end, data, len);
    end[len] = '\0';
    buf->len += len;
}

void tsk_buf_str(struct tsk_buf *buf, const char *text)
{
    tsk_buf_add(buf, text, strlen(text));
}

void tsk_buf_char(struct tsk_buf *buf, char c)
{
    tsk_buf_add(buf, &c, 1);
}

void tsk_buf_vprintf(struct tsk_buf *buf, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n > 0) {
        char *end = tsk_buf_reserve(buf, (size_t)n);
        vsnprintf(end, (size_t)n + 1, fmt, again);
        buf->len += (size_t)n;
    }
    va_end(again);
}

void tsk_buf_printf(struct tsk_buf *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    tsk_buf_vprintf(buf, fmt, args);
    va_end(args);
}

void tsk_buf_consume(struct tsk_buf *buf, size_t len)
{
    if (!len)
        return;
    memmove(buf->data, buf->data + len, buf->len - len + 1);
    buf->len -= len;
}

const char *tsk_plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- Which characters are shown as they are. A name that looks like another one, or a line that
 * ends in the middle of a text, misleads the reader of a log. */

size_t tsk_utf8_length(const char *text, size_t left)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char c = at[0];
    size_t len = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : 0;
    if (c >= 0xF0 && c < 0xF5)
        len = 4;
    if (!len || len > left)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = (c == 0xE0 && at[1] < 0xA0) || (c == 0xF0 && at[1] < 0x90);
    bool outside = (c == 0xED && at[1] >= 0xA0) || (c == 0xF4 && at[1] >= 0x90);
    return overlong || outside ? 0 : len;
}

/* The code point of a character of up to three bytes; of a longer one something that is hidden
 * nowhere. */
static unsigned code_point(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    if (len == 1)
        return at[0];
    if (len == 2)
        return (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu);
    return len == 3 ? (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu) : 0x10000;
}

static bool is_hidden(unsigned code)
{
    static const struct {
        unsigned first, last;
    } ranges[] = {
        {0x00, 0x1F},     {0x7F, 0x9F},     {0xAD, 0xAD},     {0x061C, 0x061C}, {0x180E, 0x180E},
        {0x200B, 0x200F}, {0x2028, 0x202E}, {0x2060, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    }
    return false;
}

size_t tsk_plain_length(const char *text, size_t left)
{
    size_t len = tsk_utf8_length(text, left);
    return len && !is_hidden(code_point(text, len)) ? len : 0;
}

void tsk_plain_add(struct tsk_buf *buf, const char *text, size_t len)
{
    tsk_buf_str(buf, "");
    while (len) {
        size_t n = tsk_plain_length(text, len);
        if (n)
            tsk_buf_add(buf, text, n);
        else
            tsk_buf_printf(buf, "\\x%02x", (unsigned char)*text);
        n = n ? n : 1;
        text += n;
        len -= n;
    }
}

void tsk_plain_str(struct tsk_buf *buf, const char *text)
{
    if (text)
        tsk_plain_add(buf, text, strlen(text));
}

void tsk_plain_json(struct tsk_buf *buf, const char *json, size_t len)
{
    while (len) {
        size_t n = tsk_utf8_length(json, len);
        unsigned code = n ? code_point(json, n) : 0x10000;
        if (is_hidden(code))
            tsk_buf_printf(buf, "\\u%04x", code);
        else
            tsk_buf_add(buf, json, n ? n : 1);
        n = n ? n : 1;
        json += n;
        len -= n;
    }
}

/* ---- One allocation: the count, the lengths, the text. */

struct tsk_blob {
    atomic_size_t holders;
    size_t len, head; /* of the whole, and of what stands before the body */
    char data[];
};

struct tsk_blob *tsk_blob_new(const char *topic, const char *body, size_t len)
{
    size_t topic_len = strlen(topic), head = topic_len ? topic_len + 1 : 0;
    struct tsk_blob *blob = tsk_alloc_raw(sizeof *blob + head + len + 1);
    atomic_init(&blob->holders, 1);
    blob->len = head + len;
    blob->head = head;
    memcpy(blob->data, topic, topic_len);
    if (head)
        blob->data[topic_len] = ' ';
    if (len)
        memcpy(blob->data + head, body, len);
    blob->data[blob->len] = '\0';
    return blob;
}

void tsk_blob_hold(struct tsk_blob *blob)
{
    atomic_fetch_add_explicit(&blob->holders, 1, memory_order_relaxed);
}

void tsk_blob_release(struct tsk_blob *blob)
{
    if (blob && atomic_fetch_sub_explicit(&blob->holders, 1, memory_order_acq_rel) == 1)
        free(blob);
}

bool tsk_blob_shared(const struct tsk_blob *blob)
{
    return atomic_load_explicit(&blob->holders, memory_order_acquire) > 1;
}

char *tsk_blob_data(struct tsk_blob *blob, size_t *len)
{
    *len = blob->len;
    return blob->data;
}

const char *tsk_blob_body(const struct tsk_blob *blob, size_t *len)
{
    *len = blob->len - blob->head;
    return blob->data + blob->head;
}

struct tsk_blob *tsk_blob_of(void *data)
{
    return (struct tsk_blob *)((char *)data - offsetof(struct tsk_blob, data));
}
