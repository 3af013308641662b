/* Private to lib/schema*.c. */
#ifndef LIB_SCHEMA_PRIVATE_H
#define LIB_SCHEMA_PRIVATE_H

#include <stdbool.h>

#include "tasker/buf.h"
#include "submit/schema.h"

/* A place in a document, as the way to it; on the stack of whoever walks. */
struct tsk_place {
    const struct tsk_place *up; /* NULL: the whole */
    const char *key;            /* a member, or NULL */
    size_t index;               /* else an entry */
};

/* Writes place as a JSON pointer to buf (emptied before). */
void tsk_place_write(const struct tsk_place *place, struct tsk_buf *buf);

/* The keyword's value in schema, or NULL where it is absent. A JSON null counts as absent, except
 * that *is_null (if not NULL) tells of it. */
struct json_object *tsk_schema_get(struct json_object *schema, const char *key, bool *is_null);

/* What a "$ref" of the whole schema root names: a schema, or NULL if there is none there. */
struct json_object *tsk_schema_find(struct json_object *root, const char *ref);

/* ---- schema_value.c: what values are */

/* The name of value's type for people: "a text", "a whole number" … */
const char *tsk_schema_kind(struct json_object *value);

/* Whether value is of the type that a schema names ("integer" …), and whether there is such a type.
 * 3.0 is an integer too. */
bool tsk_schema_is(struct json_object *value, const char *type);
bool tsk_schema_type_known(const char *type);

/* Whether both are the same JSON value: 1 and 1.0 are, members may stand in any order. */
bool tsk_schema_equal(struct json_object *a, struct json_object *b);

/* How many characters a JSON text has. */
int64_t tsk_schema_length(struct json_object *text);

/* -1, 0, 1: how two numbers compare, exactly where both are integers. */
int tsk_schema_compare(struct json_object *a, struct json_object *b);

/* Whether number is a multiple of step, which is above 0; for fractions as near as a double can
 * tell. */
bool tsk_schema_multiple(struct json_object *number, struct json_object *step);

/* ---- schema_text.c: patterns and formats */

/* Whether pattern is a regular expression; else what is wrong with it is in why. */
bool tsk_schema_pattern_valid(const char *pattern, char *why, size_t size);

/* Whether text has a place that matches: 1, 0, or -1 if that took too long to find out. */
int tsk_schema_matches(const char *pattern, const char *text, size_t len);

bool tsk_schema_format_known(const char *format);
bool tsk_schema_format_fits(const char *format, const char *text, size_t len);

#endif
