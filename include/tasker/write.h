/* JSON written straight into a buffer, for messages of which there are many: to build json-c
 * objects only to print them takes longer than all else that is done for one. What comes out is
 * what tsk_json_text would give.
 *
 * An object is begun by tsk_write_open, in a buffer that is empty, and ended by tsk_write_close;
 * the members in between know by the buffer whether they need a comma. key is NULL for an element
 * of an array, or a whole text. Keys are names that need no escape, and texts are UTF-8. */
#ifndef TASKER_WRITE_H
#define TASKER_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/json.h"

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

#endif
