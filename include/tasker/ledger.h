/* Rows of the ledger: each message that a collector received, once, as it came. They are added within a
 * transaction of the caller's; cmd/collect/ledger.h writes them in a thread. A message is in the ledger
 * once, however often it is added and by whom: source and offset identify it. */
#ifndef TASKER_LEDGER_H
#define TASKER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"
#include "tasker/rows.h"
#include "tasker/store.h"

/* A message that the ledger had. */
struct tsk_ledger_found {
    const char *topic, *raw; /* a NUL follows raw */
    size_t len;
};

struct tsk_ledger_entry {
    const char *topic; /* printable ASCII, "" if it has none */
    const char *raw;   /* the message as it came, without topic and space */
    size_t len;
    const char *message_type; /* as PROTOCOL has it; NULL: not known */
    const char *batch_id;     /* NULL: none that is a name */
    int64_t step_id;          /* 0: none */
    const char *source;       /* NULL: of no stream; it then gets a place in the writer's own */
    int64_t offset;
    const char *reason; /* why it could not be read; NULL: it was */
    int64_t at;         /* tsk_now_ms when it came */
    void *ctx;          /* the caller's */
    /* of tsk_ledger_look and tsk_ledger_look_open, when it is taken */
    bool look;
    const struct tsk_ledger_found *found;
    size_t found_count;
};

/* For a transaction of the caller's (tsk_store_write), without a writer: adds a message, unless its
 * source and offset are there, and marks a batch as one with news. source must be given; at and ctx
 * are not used. received_at is of the calendar, in ms. tsk_ledger_insert returns whether it was
 * added, where the store can tell at no cost (PostgreSQL: 1), or -1. tsk_ledger_add adds it to
 * rows, which were begun with tsk_ledger_rows; it returns 0, or -1. */
extern const struct tsk_rows_sql tsk_ledger_rows;
int tsk_ledger_add(struct tsk_rows *rows, const struct tsk_ledger_entry *entry,
                   const char *collector_id, int64_t received_at, struct tsk_err *err);
int tsk_ledger_insert(struct tsk_store *store, const struct tsk_ledger_entry *entry,
                      const char *collector_id, int64_t received_at, struct tsk_err *err);
int tsk_ledger_mark(struct tsk_store *store, const char *batch_id, struct tsk_err *err);

/* What a program of tasker itself has to say of a batch: a batch_error, at a place of its own. */
struct tsk_ledger_own {
    const char *source; /* how the source begins, "reconcile:"; the batch_id follows */
    int64_t offset;
    const char *batch_id;
    const char *text; /* of the message */
    size_t len;
};

/* Within such a transaction too: adds it, unless it is there, and marks the batch. The name before
 * the colon is noted as who received it. Returns 0, or -1. */
int tsk_ledger_put_own(struct tsk_store *store, const struct tsk_ledger_own *own,
                       int64_t received_at, struct tsk_err *err);

#endif
