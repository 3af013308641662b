/* Memory and growing byte buffers. Running out of memory ends the process by abort(): the one
 * case in which the library ends a program, since no caller could do anything better. */
#ifndef TASKER_BUF_H
#define TASKER_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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

/* ---- Text of users and peers, fit for people: the one place that knows which characters a
 * terminal acts on, which hide and which turn the direction of writing. */

/* Returns the length of the UTF-8 character at text (RFC 3629: no overlong form, no surrogate,
 * nothing beyond U+10FFFF), or 0 if there is none. left (1 or more) bytes are there. */
size_t tsk_utf8_length(const char *text, size_t left);

/* As tsk_utf8_length, but 0 as well for a character that is not shown as it is: a control (C0, DEL,
 * C1), a control of the direction of writing, one of no width, a separator of lines. */
size_t tsk_plain_length(const char *text, size_t left);

/* Adds text to buf. Each byte of a character that is not shown as it is, or is no UTF-8, becomes
 * \xNN. */
void tsk_plain_add(struct tsk_buf *buf, const char *text, size_t len);
void tsk_plain_str(struct tsk_buf *buf, const char *text); /* NULL adds nothing */

/* Adds JSON text to buf. Each such character of a string becomes \uNNNN: its value is the same. */
void tsk_plain_json(struct tsk_buf *buf, const char *json, size_t len);

/* ---- A message as it goes over the wire, "TOPIC BODY", with a count of those who hold it: what
 * keeps it to send it again, and each queue of libzmq that it stands in, whose threads let go of it
 * whenever they like. So it is in memory once, however many hold it. */

struct tsk_blob;

/* Returns a copy of topic, a space (none after an empty topic) and body, held once. A NUL follows
 * that is not counted. */
struct tsk_blob *tsk_blob_new(const char *topic, const char *body, size_t len);

/* One more holds it, or one less; with the last it is freed. Any thread may call these. NULL is
 * fine for the second. */
void tsk_blob_hold(struct tsk_blob *blob);
void tsk_blob_release(struct tsk_blob *blob);

/* Returns whether more than one holds it. */
bool tsk_blob_shared(const struct tsk_blob *blob);

/* The whole; and the body in it, to the end of the whole. Borrowed. */
char *tsk_blob_data(struct tsk_blob *blob, size_t *len);
const char *tsk_blob_body(const struct tsk_blob *blob, size_t *len);

/* The blob whose tsk_blob_data is data. */
struct tsk_blob *tsk_blob_of(void *data);

#ifdef __cplusplus
}
#endif

#endif
