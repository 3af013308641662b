/* Tasks: a request for one held against a template, and the task with its steps and dependencies in
 * the store. */
#ifndef TASKER_TASK_H
#define TASKER_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "tasker/json.h"
#include "tasker/store.h"
#include "submit/template.h"

/* A request. Texts and objects are borrowed from the line that it was read from. */
struct tsk_task_request {
    struct json_object *json;                    /* the whole line */
    const char *namespace_name, *name, *version; /* NULL: not told */
    struct json_object *context;                 /* an object; NULL: {} */
    const char *initiator, *source_system, *reason, *correlation_id, *idempotency_key;
    struct json_object *tags, *bypass_steps; /* lists of texts, or NULL */
    int64_t priority;
};

/* Reads a request. Returns 0, or -1 with kind TSK_DATA: an unknown member (with the nearest known
 * one), or one of the wrong type. message_type "task_request" may be there. */
int tsk_task_request_read(struct tsk_task_request *request, struct json_object *json,
                          struct tsk_err *err);

/* Adds to the context of a request what default_context of the template has and it has not. */
void tsk_task_defaults(struct tsk_task_request *request, const struct tsk_template *template);

/* Holds a request against a template: its context against the schema, bypass_steps against the
 * steps (each must be there and be skippable). Tells each mistake. Returns how many there are. */
typedef void tsk_task_fn(void *ctx, const char *what);
size_t tsk_task_check(const struct tsk_task_request *request, const struct tsk_template *template,
                      tsk_task_fn *tell, void *ctx);

enum tsk_identity {
    TSK_IDENTITY_UNIQUE, /* each request is a new task, but for its idempotency_key */
    TSK_IDENTITY_STRICT, /* the same template and context are the same task */
};

/* What a second request like this one has in common with it (the caller's); NULL: nothing. The
 * idempotency_key, within namespace and name; or else, if strict, a digest of namespace, name,
 * version and context, whatever the order of members. */
char *tsk_task_identity(const struct tsk_task_request *request, const struct tsk_template *template,
                        enum tsk_identity how);

struct tsk_task_made {
    int64_t task_id;
    int64_t steps; /* made; optional ones are not */
    bool created;  /* false: it was there already, by its identity */
    bool differs;  /* then: with another context */
};

/* Makes the task, its steps and dependencies, and their first transitions; within a transaction for
 * writing (tsk_store_write). identity may be NULL. now is a tsk_wall_ms value. Returns 0, or -1. */
int tsk_task_create(struct tsk_store *store, const struct tsk_template *template,
                    const struct tsk_task_request *request, const char *identity, int64_t now,
                    struct tsk_task_made *made, struct tsk_err *err);

#endif
