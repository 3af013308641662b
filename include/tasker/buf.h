/* Memory and growing byte buffers. Running out of memory ends the process by abort(): the one
 * case in which the library ends a program, since no caller could do anything better. */
#ifndef TASKER_BUF_H
#define TASKER_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Returns size zeroed bytes, to be freed with free(). Never NULL. */
void *tsk_alloc(size_t size);

/* The same, with anything in it: for what is filled at once. */
void *tsk_alloc_raw(size_t size);

/* Returns a copy of text (NULL gives NULL), to be freed with free(). */
char *tsk_strdup(const char *text);

/* Makes an array of *cap elements of elem bytes hold at least need, doubling; returns the array,
 * moved perhaps, new elements zeroed. */
void *tsk_grow(void *array, size_t *cap, size_t need, size_t elem);

/* A growing buffer; data is always followed by a NUL (data is NULL only before the first use). */
struct tsk_buf {
    char *data;
    size_t len; /* bytes, without the NUL */
    size_t cap;
};

#define TSK_BUF_INIT                                                                               \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void tsk_buf_fini(struct tsk_buf *buf);
void tsk_buf_reset(struct tsk_buf *buf); /* length 0, keeps the memory */

/* Makes room for extra more bytes and returns where they go; the caller then raises len. */
char *tsk_buf_reserve(struct tsk_buf *buf, size_t extra);
void tsk_buf_add(struct tsk_buf *buf, const void *data, size_t len);
void tsk_buf_str(struct tsk_buf *buf, const char *text);
void tsk_buf_char(struct tsk_buf *buf, char c);
void tsk_buf_printf(struct tsk_buf *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void tsk_buf_vprintf(struct tsk_buf *buf, const char *fmt, va_list args);

/* The "s" of a word of which there are n, "" for one. */
const char *tsk_plural(int64_t n);

/* Takes the first len bytes away and moves the rest to the front. */
void tsk_buf_consume(struct tsk_buf *buf, size_t len);

#endif
