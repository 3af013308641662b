/* Text of users and peers into values: numbers, words of a list, endpoints, names. Every reader is
 * strict: the whole text must be the value. */
#ifndef TASKER_PARSE_H
#define TASKER_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Read a number between least and most. Return 0, or -1 with kind TSK_USAGE and a text that says
 * what is wrong with the value ("\"5x\" is not a duration (as 500ms, 2s, 5m)"). A size is in bytes,
 * with the suffix K, M, G (powers of 1024); a duration is 500ms, 2s, 1.5m, 1h or 7d, without a unit
 * in seconds, and is given in ms. */
int tsk_parse_int(const char *text, int64_t least, int64_t most, int64_t *out, struct tsk_err *err);
int tsk_parse_size(const char *text, int64_t least, int64_t most, int64_t *out,
                   struct tsk_err *err);
int tsk_parse_duration(const char *text, int64_t least, int64_t most, int64_t *out_ms,
                       struct tsk_err *err);

/* Reads one of choices, words by commas. Returns 0 and its place among them, from 0; or -1 with
 * kind TSK_USAGE. */
int tsk_parse_choice(const char *text, const char *choices, int64_t *place, struct tsk_err *err);

/* Checks one endpoint: tcp://HOST:PORT (port 1 to 65535 or *), tcp://[V6]:PORT, ipc://PATH.
 * Returns 0, or -1 with kind TSK_USAGE. */
int tsk_parse_endpoint(const char *text, struct tsk_err *err);

/* Whether name is one that the wire allows as batch_id, worker_id and collector_id; and that rule
 * in words, to stand behind "is not". */
bool tsk_name_valid(const char *name);
#define TSK_NAME_RULE "1 to 128 characters of A-Z a-z 0-9 . _ : -"

/* Returns the one of count names that is nearest to word (edit distance, at most a third of its
 * length), or NULL. */
const char *tsk_nearest(const char *word, const char *const *names, size_t count);

#define TSK_QUOTE_SIZE 112

/* Writes text in double quotes into out, fit for one line of a message (tsk_plain_add), and cut
 * with "..." where it is long. Returns out. */
const char *tsk_quote(const char *text, char out[TSK_QUOTE_SIZE]);

/* Fills err with: unknown WHAT "NAME" (did you mean "NEAR"?), the last part only if near is not
 * NULL. Returns -1. */
int tsk_unknown(struct tsk_err *err, enum tsk_exit kind, const char *what, const char *name,
                const char *near);

#ifdef __cplusplus
}
#endif

#endif
