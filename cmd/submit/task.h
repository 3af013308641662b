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

enum tsk_identity {
    TSK_IDENTITY_UNIQUE, /* each request is a new task, but for its idempotency_key */
    TSK_IDENTITY_STRICT, /* the same template and context are the same task */
};

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
