/* Namespaces that an operator holds: nothing of them is claimed. */
#ifndef STATUS_HELD_H
#define STATUS_HELD_H

#include "tasker/json.h"
#include "tasker/store.h"

struct held {
    struct held_one {
        char *name, *reason, *by;
        int64_t since; /* wall ms */
    } * items;
    size_t count, cap;
};

/* Reads them, in place of what is there; to be freed by held_fini. Returns 0, or -1. */
int held_get(struct tsk_store *store, struct held *held, struct tsk_err *err);
void held_fini(struct held *held);

/* A line each; nothing where none is held. */
void held_show(const struct held *held);

/* [{"namespace","since","by","reason"}]; the caller's. */
struct json_object *held_json(const struct held *held);

#endif
