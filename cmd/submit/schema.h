/* JSON Schema for the context of a task: the keywords that task templates use, by the rules that
 * drafts 4 to 2020-12 have in common (exclusiveMinimum may be a number, or true beside minimum as
 * in draft 4). Whatever else stands in a schema is an error of the schema: nothing that asks for a
 * check is passed over in silence.
 *
 * Known: type (also a list), enum, const, properties, required, additionalProperties, items,
 * minItems, maxItems, uniqueItems, minLength, maxLength, pattern, format, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, multipleOf, allOf, anyOf, oneOf, not, $ref within the schema
 * ("#", "#/definitions/…", "#/$defs/…"), and what checks nothing: title, description, default,
 * examples, $schema, $id, $comment, definitions, $defs, deprecated, readOnly, writeOnly.
 * Formats: date-time, date, time, email, hostname, ipv4, ipv6, uri, uuid, regex.
 *
 * Nothing here keeps state; a schema may be used by several threads as long as none changes it. */
#ifndef TASKER_SCHEMA_H
#define TASKER_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "tasker/json.h"

/* Gets a mistake: where it stands, as a JSON pointer ("" is the whole, "/a/0" the first entry of
 * member a), and what is wrong. Both are good until it returns. */
typedef void tsk_schema_fn(void *ctx, const char *where, const char *what);

/* Checks a schema itself, and tells each mistake in it. Returns how many there are. */
size_t tsk_schema_check(struct json_object *schema, tsk_schema_fn *tell, void *ctx);

/* Holds value (may be NULL: JSON null) against a schema in which tsk_schema_check found no mistake,
 * and tells each place where it does not fit, at most a hundred. Returns how many; 0: it fits. */
size_t tsk_schema_validate(struct json_object *schema, struct json_object *value,
                           tsk_schema_fn *tell, void *ctx);

/* Whether both are the same JSON value: 1 and 1.0 are, members may stand in any order. */
bool tsk_schema_equal(struct json_object *a, struct json_object *b);

#endif
