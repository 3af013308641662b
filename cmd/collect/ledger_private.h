/* Private to lib/ledger*.c. */
#ifndef LIB_LEDGER_PRIVATE_H
#define LIB_LEDGER_PRIVATE_H

#include <pthread.h>

#include "tasker/clock.h"
#include "collect/ledger.h"

/* An entry that waits: one piece of memory with all its texts. */
struct tsk_ledger_node {
    struct tsk_ledger_node *next;
    struct tsk_ledger_entry entry;
    int64_t number;                 /* of all that were given, from 1 */
    int64_t received_at;            /* of the calendar, in ms */
    size_t size;                    /* bytes of memory */
    struct tsk_ledger_found *found; /* each with its texts in one piece of memory, raw */
    size_t found_cap;
};

struct tsk_ledger {
    /* the caller's alone */
    struct tsk_ledger_node *first,
        *last;                     /* last is the thread's to read its next, under the lock */
    struct tsk_ledger_node *taken; /* the one given out last */
    int64_t given, seen;           /* entries given; of these known to be durable */
    size_t bytes, bytes_most;
    char own[TSK_UUID_SIZE + 16]; /* source of messages that have none */
    int64_t own_offset;
    /* the thread's alone */
    struct tsk_store *store;
    struct tsk_ledger_node **group;
    size_t group_most;
    int64_t delay;
    char *collector_id;
    /* of both, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct tsk_ledger_node *next; /* the first that is not durable */
    int64_t waiting;              /* so many from there on */
    int64_t flushed;              /* up to this one nothing more is to be waited for */
    bool ending, told;            /* told: the pipe has its byte */
    struct tsk_ledger_state state;
    /* set once */
    pthread_t thread;
    int tell[2], stop[2];
};

/* The thread; ctx is the ledger. */
void *tsk_ledger_run(void *ctx);

/* Returns a copy of entry (but for its ctx) with that source, received now. */
struct tsk_ledger_node *tsk_ledger_node_new(const struct tsk_ledger_entry *entry,
                                            const char *source);

void tsk_ledger_node_free(struct tsk_ledger_node *node); /* NULL is fine */

/* Finds what node asks for. Returns 0, or -1 with err. */
int tsk_ledger_find(struct tsk_store *store, struct tsk_ledger_node *node, struct tsk_err *err);

/* Writes a group, in one transaction, in order. Returns 0, or -1 with err. */
int tsk_ledger_write(struct tsk_store *store, const char *collector_id,
                     struct tsk_ledger_node **nodes, size_t count, struct tsk_err *err);

#endif
