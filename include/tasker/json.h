/* Strict JSON as values of json-c: one whole value a text, UTF-8 checked, depth limited. json.h
 * says what is JSON. No value changes on its way: a number is written as it was read, whatever its
 * size, precision and form, and a payload (a member output, previous_results, task_context,
 * handler_config, context or progress: data of users, which no program here changes) in its own
 * bytes, without its line breaks. A name with a NUL is refused: as a C string it would be another
 * name. */
#ifndef TASKER_JSON_H
#define TASKER_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSK_JSON_DEPTH 64
/* Levels of it for what tasker lays around a value that it is given: the most that is ever there
 * are a batch, its steps, a step, previous_results and the list that N of a kind become. */
#define TSK_JSON_ROOM 5

/* A parser that is used again and again; not for two threads at once. */
struct tsk_json;

struct tsk_json *tsk_json_new(void);
void tsk_json_free(struct tsk_json *parser); /* NULL is fine */

/* Parses text, which must be one JSON value and nothing more. Returns 0 and the value (which may
 * be NULL: JSON null), owned by the caller (json_object_put); or -1 with kind TSK_DATA; then
 * TSK_JSON_LIMIT, which is below 0 too, if it was JSON up to where it is beyond a limit. */
#define TSK_JSON_LIMIT (-2)
int tsk_json_parse(struct tsk_json *parser, const char *text, size_t len, struct json_object **out,
                   struct tsk_err *err);

/* Makes value (NULL is fine), which was parsed from text, be written as this text, without its line
 * breaks and the white space around it. Its members must not be changed any more. */
void tsk_json_keep(struct json_object *value, const char *text, size_t len);

/* As tsk_json_parse for a text that must be an object. Returns it, or NULL with err set. */
struct json_object *tsk_json_object(struct tsk_json *parser, const char *text, size_t len,
                                    struct tsk_err *err);

/* As tsk_json_object, but a text that is JSON beyond a limit gives what is within the limits: a
 * value nested too deep is absent, and so are a member with a NUL in its name and a payload with
 * either in it. Each object around then has the member TSK_JSON_REFUSED, a string that says what
 * was refused, and err has the same text. err is untouched where nothing is wrong. */
#define TSK_JSON_REFUSED "refused_value"
struct json_object *tsk_json_salvage(struct tsk_json *parser, const char *text, size_t len,
                                     struct tsk_err *err);

/* As tsk_json_object for one text that a store has kept (NULL: none), with a parser of its own.
 * Returns it, or NULL. */
struct json_object *tsk_json_stored(const char *text);

/* Whether value is nested at most so many levels; a text or a number is none, [] is one. */
bool tsk_json_within(struct json_object *value, int levels);

/* A member by name. Returns a borrowed value, or NULL where it is absent or null. */
struct json_object *tsk_json_get(struct json_object *object, const char *key);

/* Whether value is a string without a NUL: as a C string a name would end at it and be another. */
bool tsk_json_is_name(struct json_object *value);

/* A string member. Returns borrowed text, or NULL where it is absent, no string, or holds a NUL. */
const char *tsk_json_str(struct json_object *object, const char *key);

/* An integer member. Returns 1 and the value; 0 where it is absent or null; -1 if it is no
 * integer (doubles without a fraction count as integers: 3.0 is 3). */
int tsk_json_int(struct json_object *object, const char *key, int64_t *out);

/* A boolean member. Returns 1 and the value, 0 where absent or null, -1 where it is no boolean. */
int tsk_json_bool(struct json_object *object, const char *key, bool *out);

/* Set a member; the object owns what it is given. A NULL text or value becomes JSON null. */
void tsk_json_put(struct json_object *object, const char *key, struct json_object *value);
void tsk_json_put_str(struct json_object *object, const char *key, const char *text);
void tsk_json_put_int(struct json_object *object, const char *key, int64_t value);
void tsk_json_put_bool(struct json_object *object, const char *key, bool value);
void tsk_json_put_time(struct json_object *object, const char *key, int64_t wall_ms);

/* Set a member to another reference of a value that somebody else keeps; NULL becomes {}. */
void tsk_json_put_shared(struct json_object *object, const char *key, struct json_object *value);

/* Whether bytes are UTF-8 and have no NUL. */
bool tsk_json_is_text(const char *data, size_t len);

/* Returns a new string value of any bytes: what is not UTF-8 is replaced by U+FFFD. */
struct json_object *tsk_json_lossy(const char *data, size_t len);

/* Returns the text on one line, owned by the object and good until it is changed or freed. */
const char *tsk_json_text(struct json_object *value, size_t *len);

/* ---- JSON text looked through in one pass: is it JSON at all, and what stands in the few members
 * that the caller names. Nothing is allocated and nothing is copied, so that it costs a small part
 * of what building the values does. tsk_json_parse builds its values by the same grammar.
 */

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

/* ---- JSON written straight into a buffer, for messages of which there are many: to build json-c
 * objects only to print them takes longer than all else that is done for one. What comes out is
 * what tsk_json_text would give.
 *
 * An object is begun by tsk_write_open, in a buffer that is empty, and ended by tsk_write_close;
 * the members in between know by the buffer whether they need a comma. key is NULL for an element
 * of an array, or a whole text. Keys are names that need no escape, and texts are UTF-8. */

/* bracket: one of { [ and of } ] */
void tsk_write_open(struct tsk_buf *buf, const char *key, char bracket);
void tsk_write_close(struct tsk_buf *buf, char bracket);

/* A NULL text or value becomes null. */
void tsk_write_str(struct tsk_buf *buf, const char *key, const char *text);
void tsk_write_int(struct tsk_buf *buf, const char *key, int64_t value);
void tsk_write_bool(struct tsk_buf *buf, const char *key, bool value);
void tsk_write_time(struct tsk_buf *buf, const char *key, int64_t wall_ms);
void tsk_write_json(struct tsk_buf *buf, const char *key, struct json_object *value);

/* The same, but that NULL becomes {}. */
void tsk_write_object(struct tsk_buf *buf, const char *key, struct json_object *value);

/* A value that is JSON already, on one line. */
void tsk_write_raw(struct tsk_buf *buf, const char *key, const char *json, size_t len);

#ifdef __cplusplus
}
#endif

#endif
