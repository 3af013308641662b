/* A message as it was seen on the wire, one JSON line each: what tasker-collect --tap records, and
 * what tasker-reconcile and tasker-publish --raw read again.
 *
 *     {"message_type":"tapped","time":"…","endpoint":"…","topic":"…","size":N,"message":{…}}
 *
 * In place of message, which is the JSON object that followed the topic, stands "raw" where that is
 * none (or nested so deep that no line has room for it): a text, in which U+FFFD is put for what is
 * not UTF-8; then raw_base64 has the true bytes. Of a message over max_message_bytes raw is just
 * the beginning, and "truncated" is true. */
#ifndef TASKER_TAPPED_H
#define TASKER_TAPPED_H

#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/json.h"

/* Adds the line (without a newline) of a frame that was received at wall_ms from endpoint. message
 * is frame->body parsed, or NULL if that is no JSON object. Its bytes stay as they came, if they
 * are on one line. */
void tsk_tapped_write(struct tsk_buf *line, const struct tsk_frame *frame, const char *endpoint,
                      int64_t wall_ms, struct json_object *message);

struct tsk_tapped {
    const char *topic;           /* "" where there is none; borrowed from json */
    int64_t wall_ms;             /* when it was received; -1: not told */
    struct json_object *message; /* borrowed from json; NULL if it is no JSON object */
    struct tsk_buf body;         /* the bytes that follow the topic */
};

/* Whether json is such a line, good or bad. */
bool tsk_tapped_is(struct json_object *json);

/* Reads a line, of which json is what text says. The body is made only if need_body: it has the
 * bytes that came where the line was not written anew by somebody, else the same JSON. Returns 0,
 * or -1 with kind TSK_DATA; both ways tsk_tapped_fini is to be called. */
int tsk_tapped_read(struct tsk_tapped *tapped, struct json_object *json, const char *text,
                    size_t len, bool need_body, struct tsk_err *err);
void tsk_tapped_fini(struct tsk_tapped *tapped);

#endif
