/* A batch on its way: the bytes that go out, what its receipt needs, and what the store is to be
 * told of it. */
#ifndef PUBLISH_PARCEL_H
#define PUBLISH_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/buf.h"
#include "tasker/json.h"
#include "tasker/message.h"
#include "tasker/outbound.h"

/* What to do with a batch in the next transaction, by bit. LOOK: read what the store says of a
 * batch that was added before. */
enum {
    RECORD_ADD = 1,
    RECORD_OFFER = 2,
    RECORD_ACCEPT = 4,
    RECORD_REFUSE = 8,
    RECORD_LOOK = 16,
};

struct parcel {
    char batch_id[TSK_ID_SIZE];
    struct tsk_buf text;          /* the batch, as it is sent */
    size_t stamp, stamp_len;      /* where in it the time stands that was put in; 0, 0: nowhere */
    bool named;                   /* whether its batch_id came with it */
    size_t count;                 /* steps */
    struct json_object *step_ids; /* arrays, as in the receipt */
    struct json_object *steps;
    struct json_object *configs;   /* the handler_config of each step, or null */
    int64_t timeout_ms;            /* that the batch itself names; or 0 */
    char *place;                   /* where it stands, or its first step: FILE:LINE, or the store */
    struct json_object *error;     /* of the worker that rejected it last, or NULL */
    char rejected_by[TSK_ID_SIZE]; /* that worker */

    struct tsk_blob *blob; /* as sent to plain subscribers that did not take it yet; or NULL */
    int64_t subscribers;   /* how many these were */
    bool not_taken;        /* one of them was disconnected before it took the batch */
    unsigned todo;             /* RECORD_… */
    bool held;                 /* whether the dispatch has it */
    char *target;              /* the worker that it is offered to; NULL: none */
    char *told;                /* the one that the store knows of; NULL: none */
    char *dropped;             /* JSON: the steps that are not to be run; NULL: none */
    struct tsk_buf marked;     /* it with marks on these, which is then sent in place of text */
    struct json_object *reply; /* what the receipt tells; NULL: it was given to plain subscribers */
    struct json_object *line_error; /* what is told when every worker rejected it */
    int64_t at, attempts; /* when it was accepted (or rejected), and how often it was sent */
    int64_t taken_since;  /* since when it is another publisher's; 0: it is not */
    enum tsk_outbound_verdict verdict;
    struct json_object *past; /* what the store says of it where it was published before */
};

/* Returns a parcel without steps. */
struct parcel *parcel_new(const char *file, int64_t line);
void parcel_free(struct parcel *parcel); /* NULL is fine */

/* Sets *text to a copy of value (NULL: none). */
void parcel_set(char **text, const char *value);

/* Makes it of a whole batch that came as raw: its bytes stay as they are, but what every batch has
 * to have (batch_id, protocol_version, created_at) is put in where it is missing. */
void parcel_fill(struct parcel *parcel, const struct tsk_batch *batch, const char *raw, size_t len);

/* Makes marked, if some steps are dropped: their metadata then say "cancelled". */
void parcel_mark(struct parcel *parcel, struct tsk_json *parser);

/* Makes it of single steps: the start, each step's bytes as they came, the end. */
void parcel_begin(struct parcel *parcel);
void parcel_add(struct parcel *parcel, const struct tsk_step *step, const char *raw, size_t len);
void parcel_end(struct parcel *parcel);

#endif
