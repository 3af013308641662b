/* A batch on its way: the bytes that go out, and what its receipt needs. */
#ifndef PUBLISH_PARCEL_H
#define PUBLISH_PARCEL_H

#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/message.h"

struct parcel {
    char batch_id[TSK_ID_SIZE];
    struct tsk_buf text;          /* the batch, as it is sent */
    size_t count;                 /* steps */
    struct json_object *step_ids; /* arrays, as in the receipt */
    struct json_object *steps;
    const char *file; /* where it stands, or its first step; borrowed */
    int64_t line;
    struct json_object *error;     /* of the worker that rejected it last, or NULL */
    char rejected_by[TSK_ID_SIZE]; /* that worker */
};

/* Returns a parcel without steps. */
struct parcel *parcel_new(const char *file, int64_t line);
void parcel_free(struct parcel *parcel); /* NULL is fine */

/* Makes it of a whole batch that came as raw: its bytes stay as they are, but what every batch has
 * to have (batch_id, protocol_version, created_at) is put in where it is missing. */
void parcel_fill(struct parcel *parcel, const struct tsk_batch *batch, const char *raw, size_t len);

/* Makes it of single steps: the start, each step's bytes as they came, the end. */
void parcel_begin(struct parcel *parcel);
void parcel_add(struct parcel *parcel, const struct tsk_step *step, const char *raw, size_t len);
void parcel_end(struct parcel *parcel);

#endif
