/* What scan.c and json.c share. Each function takes the place where something begins and
 * returns the one behind it; or NULL if it is not there, with what is wrong noted. */
#ifndef LIB_SCAN_PRIVATE_H
#define LIB_SCAN_PRIVATE_H

#include "tasker/json.h"

struct tsk_scan {
    const char *end;
    enum tsk_scan_kind kind; /* of the last value, or name */
    int64_t number;          /* the last TSK_SCAN_INT */
    bool more;               /* whether another element follows */
    int depth;               /* of what comes next; 0 is the whole */
    const char *wrong;       /* what is wrong; NULL: it ends too early */
    const char *wrong_at;
};

const char *tsk_scan_space(const struct tsk_scan *s, const char *at); /* perhaps none */
const char *tsk_scan_value(struct tsk_scan *s, const char *at);       /* and space before it */

/* The bracket that opens (or that one and the one that closes), and what follows an element. */
const char *tsk_scan_first(struct tsk_scan *s, const char *at, char bracket);
const char *tsk_scan_after(struct tsk_scan *s, const char *at, char bracket);

/* The name of a member, and the colon after it. */
const char *tsk_scan_name(struct tsk_scan *s, const char *at);
const char *tsk_scan_colon(struct tsk_scan *s, const char *at);

/* Whether a value at s->depth is within the limit. */
bool tsk_scan_deeper(struct tsk_scan *s, const char *at);

/* A value of any depth, of which only strings, numbers and the balance of brackets are checked. */
const char *tsk_scan_skip(struct tsk_scan *s, const char *at);

/* Whether nothing but white space is left. */
bool tsk_scan_end(struct tsk_scan *s, const char *at);

/* Notes what is wrong at a place. Returns NULL. */
const char *tsk_scan_wrong(struct tsk_scan *s, const char *at, const char *what);

/* Sets err to what is wrong with text. Returns -1, or TSK_JSON_LIMIT. */
int tsk_scan_fail(const struct tsk_scan *s, const char *text, struct tsk_err *err);

#endif
