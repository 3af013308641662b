/* What the store is told before a batch is sent and after it was accepted. */
#ifndef PUBLISH_RECORD_H
#define PUBLISH_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "publish/parcel.h"
#include "tasker/clock.h"
#include "tasker/conf.h"
#include "tasker/store.h"

struct post;

struct parcels {
    struct parcel **items;
    size_t count, cap;
};

/* Batches that are in the store, and not yet sent by anybody (--pending). */
struct unsent {
    bool wanted, ended;
    bool again; /* others' claims run out: look once more, at again_at */
    int64_t again_at;
    int64_t since; /* tsk_wall_ms: claims that were renewed after it are of those who live */
    struct tsk_outbound_place place;
    struct parcels page; /* read in the transaction */
    struct tsk_outbound_place last;
    size_t rows, most;
    int64_t next_free;
};

struct record {
    struct tsk_store *store; /* NULL: there is none */
    char publisher[TSK_UUID_SIZE];
    int64_t claim_ms, step_timeout;
    struct parcels due;    /* those with something to record; ours if not held by the dispatch */
    struct parcels others; /* those that another publisher has; ours */
    int64_t look_at;       /* when to look at them again; -1: there are none */
    int64_t renew_at;      /* when our claims are to be renewed; -1: there are none */
    int64_t lapse_at;      /* from when on they may run out before a batch is there */
    int64_t away_since;    /* since when the store has not been there; -1: it is */
    bool away_told;
    int64_t next_try, pause;
    bool gave_up;
    struct tsk_err err;
    struct tsk_outbound_claim claim; /* of the transaction that is on its way */
    struct unsent unsent;
};

/* ---- record.c: the transactions */

/* Gets the store that is configured; stop_fd as in tsk_store_new. Returns 0, also if that is none,
 * or -1. */
int record_open(struct record *record, const struct tsk_conf *conf, int stop_fd,
                struct tsk_err *err);

/* Gives up the claims that are left, and all parcels. */
void record_close(struct post *post);

/* Something is to be recorded of a parcel. */
void record_note(struct record *record, struct parcel *parcel, unsigned what);

/* Records all that is at hand in one transaction, and does what may be done then. A store that is
 * away is tried again later. Returns false if it is time to give up: post->status and record->err
 * tell why. */
bool record_all(struct post *post);

/* Whether batches may be sent: not while our claims on them may be over. */
bool record_may_send(const struct record *record, int64_t now);

/* When there will be something to do; -1: never. */
int64_t record_deadline(const struct post *post, int64_t now);

/* How many parcels are here and not in the dispatch. */
size_t record_count(const struct record *record);

/* ---- --pending */

/* Whether there are any, or may be soon. Returns 1, 0 or -1. */
int pending_any(struct post *post, struct tsk_err *err);

/* Prints those that would be sent. Returns the status to end with. */
enum tsk_exit pending_dry_run(const struct tsk_conf *conf);

#endif
