/* Text of users and peers, fit for people: the one place that knows which characters a terminal
 * acts on, which hide and which turn the direction of writing. */
#ifndef TASKER_PLAIN_H
#define TASKER_PLAIN_H

#include <stddef.h>

#include "tasker/buf.h"

/* Returns the length of the UTF-8 character at text (RFC 3629: no overlong form, no surrogate,
 * nothing beyond U+10FFFF), or 0 if there is none. left (1 or more) bytes are there. */
size_t tsk_utf8_length(const char *text, size_t left);

/* As tsk_utf8_length, but 0 as well for a character that is not shown as it is: a control (C0, DEL,
 * C1), a control of the direction of writing, one of no width, a separator of lines. */
size_t tsk_plain_length(const char *text, size_t left);

/* Adds text to buf. Each byte of a character that is not shown as it is, or is no UTF-8, becomes
 * \xNN. */
void tsk_plain_add(struct tsk_buf *buf, const char *text, size_t len);

/* Adds JSON text to buf. Each such character of a string becomes \uNNNN: its value is the same. */
void tsk_plain_json(struct tsk_buf *buf, const char *json, size_t len);

#endif
