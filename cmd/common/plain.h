/* Text from peers and users, fit for a terminal. */
#ifndef COMMON_PLAIN_H
#define COMMON_PLAIN_H

#include <stddef.h>

#include "tasker/buf.h"

/* As tsk_plain_add; NULL adds nothing. */
void plain_add(struct tsk_buf *buf, const char *text);

/* The width of text on a terminal, taken as its number of characters (not bytes). */
size_t plain_width(const char *text);

#endif
