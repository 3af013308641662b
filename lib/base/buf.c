/* Memory that is there or ends the process, and buffers that grow by doubling. */
#include "tasker/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
