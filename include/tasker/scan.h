/* JSON text looked through in one pass: is it JSON at all, and what stands in the few members that
 * the caller names. Nothing is allocated and nothing is copied, so that it costs a small part of
 * what building the values does. tsk_json_parse builds its values by the same grammar.
 */
#ifndef TASKER_SCAN_H
#define TASKER_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"

enum tsk_scan_kind {
    TSK_SCAN_NONE,    /* the member is absent or null, which mean the same */
    TSK_SCAN_BOOL,    /* true or false, as its text says */
    TSK_SCAN_INT,     /* an integer of int64_t */
    TSK_SCAN_NUMBER,  /* any other number */
    TSK_SCAN_TEXT,    /* a string in which nothing is escaped: its text is its value */
    TSK_SCAN_ESCAPED, /* any other string */
    TSK_SCAN_OBJECT,
    TSK_SCAN_ARRAY,
};

struct tsk_scan_value {
    enum tsk_scan_kind kind;
    const char *text; /* where it stands, strings without their quotes; no NUL follows */
    size_t len;       /* bytes */
    int64_t number;   /* TSK_SCAN_INT; else 0 */
};

/* A name, as TSK_SCAN_KEY("name") makes it. */
struct tsk_scan_key {
    const char *text; /* with its quotes and a colon, as it mostly stands in a text */
    size_t len;
};

#define TSK_SCAN_KEY(name)                                                                         \
    {                                                                                              \
        "\"" name "\":", sizeof name + 2                                                           \
    }

/* Whether text is strict JSON (RFC 8259): one value with nothing but white space around it, UTF-8
 * throughout, nested no deeper than TSK_JSON_DEPTH, no NUL in the name of a member. Numbers may
 * have any length. Returns 0, or -1 with kind TSK_DATA. text needs no NUL after it. */
int tsk_scan_check(const char *text, size_t len, struct tsk_err *err);

/* Reads a text that must be an object: values[i] becomes its member keys[i]. It is quickest where
 * the members come in the order of keys. Returns false, and values mean nothing, if it is no JSON
 * by tsk_scan_check or no object, or if a plain look cannot tell its members: a name is escaped, or
 * one of keys is there twice. Then tsk_json_object has to say. */
bool tsk_scan_object(const char *text, size_t len, const struct tsk_scan_key *keys, size_t count,
                     struct tsk_scan_value *values);

/* Walks over the elements of an array that tsk_scan_object gave. rest is that value, and becomes
 * what is left of it. Returns false after the last. */
bool tsk_scan_next(struct tsk_scan_value *rest, struct tsk_scan_value *element);

/* Whether value is a text (TSK_SCAN_TEXT) and is this one. */
bool tsk_scan_is(const struct tsk_scan_value *value, const char *text);

#endif
