/* Strict JSON as values of json-c: one whole value a text, UTF-8 checked, depth limited. scan.h
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

#include "tasker/err.h"

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

/* The same for one text that a store has kept (NULL: none), with a parser of its own. Returns it,
 * or NULL. */
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

#endif
