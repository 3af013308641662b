/* What the readers of text in lib share for their messages. */
#ifndef LIB_PARSE_PRIVATE_H
#define LIB_PARSE_PRIVATE_H

#include "tasker/parse.h"

#define TSK_QUOTE_SIZE 112

/* Writes text in double quotes into out, fit for one line of a message (tsk_plain_add), and cut
 * with "..." where it is long. Returns out. */
const char *tsk_quote(const char *text, char out[TSK_QUOTE_SIZE]);

/* Fills err with: unknown WHAT "NAME" (did you mean "NEAR"?), the last part only if near is not
 * NULL. Returns -1. */
int tsk_unknown(struct tsk_err *err, enum tsk_exit kind, const char *what, const char *name,
                const char *near);

#endif
