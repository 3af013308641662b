/* The publisher at work: its state, shared by the parts in this folder. */
#ifndef PUBLISH_POST_H
#define PUBLISH_POST_H

#include <stdbool.h>
#include <stdint.h>

#include "publish/record.h"
#include "publish/source.h"
#include "tasker/bus.h"
#include "tasker/conf.h"
#include "publish/dispatch.h"
#include "tasker/map.h"
#include "tasker/os.h"

enum { POST_QUIET_MS = 200 }; /* after the last subscription: plain subscribers are no workers */

/* A receipt that was printed, and of which it is not known yet that stdout has it. */
struct given {
    char batch_id[TSK_ID_SIZE];
    char *place, *worker_id; /* worker_id: NULL if none has confirmed it */
    bool again;              /* whether the batch can be published again to have its receipt */
    int64_t end;             /* see out_place */
};

struct receipts {
    struct given *items; /* in the order of end */
    size_t count, cap;
};

/* The results side, which has to be there before plain subscribers are sent anything. */
struct results_side {
    struct tsk_bus *bus; /* while it is looked for, else NULL */
    size_t plain;        /* plain subscribers for which it was looked for */
    int64_t since;       /* when looking for it began */
};

/* Batches that plain subscribers were sent and did not take yet. */
struct handed {
    struct parcel **items;
    size_t count, cap;
    int64_t moved_at; /* when one was sent or taken last; 0: never */
    bool told_several, blocked;
};

struct post {
    const struct tsk_conf *conf;
    struct source *source;
    struct tsk_dispatch *dispatch; /* its tags are parcels, owned by it in effect */
    struct record record;          /* what the store is told */
    struct tsk_bus *bus;           /* NULL while another process holds the port */
    struct results_side results;
    struct handed handed;
    struct tsk_poller *poller;
    struct tsk_json *parser;          /* for answers */
    struct tsk_map *result_endpoints; /* of registered workers that accepted something, by name */
    size_t workers;                   /* as --workers, or 0 */
    int64_t wait;                     /* ms */
    int64_t started, opened;          /* when it began, when it had its port */
    int64_t next_open;                /* when to try again to have the port */
    int64_t limit_at;                 /* for tsk_limit_over, of the wait for a worker */
    int64_t last_tick;                /* when warnings were looked at last */
    bool input_wanted, input_ended;
    bool stop;            /* a signal came */
    struct tsk_err taken; /* why the port could not be had at the last try */
    int64_t added, accepted;
    struct receipts receipts; /* those that may yet be lost */
    enum tsk_exit status;
};

/* ---- post.c */

/* Publishes all that source gives and, if pending, all that the store has and nobody accepted.
 * Returns the status to end with. */
enum tsk_exit post_run(const struct tsk_conf *conf, struct source *source, size_t workers,
                       bool pending);

/* How many more batches there may be on their way. */
size_t post_room(const struct post *post);

/* A parcel has left the dispatch: somebody accepted it (with reply; NULL: it was sent to plain
 * subscribers), or all have rejected it. It is recorded, and then told. */
void post_accepted(struct post *post, struct parcel *parcel, struct json_object *reply,
                   int64_t attempts);
void post_rejected(struct post *post, struct parcel *parcel);

/* ---- results_side.c */

/* Holds plain subscribers back until the results side is there. */
void results_side_look(struct post *post, int64_t now);
void results_side_close(struct post *post);

/* ---- handed.c */

/* Sends a batch to plain subscribers. Returns as tsk_bus_send. */
int handed_send(struct post *post, struct parcel *parcel, const struct tsk_buf *text,
                struct tsk_err *err);

/* Accepts the batches that all plain subscribers have. To be called before anything else is done
 * with the bus, since libzmq may forget then what waits for a subscriber that has left. */
void handed_look(struct post *post);

/* The batch goes to a worker instead, or leaves; no effect on one that no plain subscriber has. */
void handed_forget(struct post *post, struct parcel *parcel);
int64_t handed_deadline(const struct post *post);

/* Disconnects subscribers that take nothing for too long. Returns true if it cannot. */
bool handed_stuck(struct post *post);

/* Returns whether the last batches still wait for a slow subscriber. */
bool handed_lingers(struct post *post);

/* ---- answers.c: what comes from the other side */

/* Deals with all that has come. Returns whether there was anything. */
bool post_receive(struct post *post);

/* ---- receipt.c: what goes to stdout */

/* Prints the receipt of a batch that was accepted, or sent to plain subscribers, and frees the
 * parcel. */
void receipt_print(struct post *post, struct parcel *parcel);

/* Prints the receipt of one that was published before, as the store has it; frees the parcel. */
void receipt_again(struct post *post, struct parcel *parcel);

/* Returns what is told of a batch that every worker has rejected (the caller's). */
struct json_object *receipt_refusal(const struct parcel *parcel);

/* Prints that in place of a receipt; frees the parcel. */
void receipt_rejected(struct parcel *parcel);

/* Writes out what is printed, and names each batch whose receipt stdout did not take whole. */
void receipts_end(struct post *post);

/* ---- giveup.c: when to give up, and what was not done */

/* Tells why, and names each batch that was not accepted, also those that are still to be read. */
void post_give_up(struct post *post, const char *why);

/* When waiting for the port or for a worker has lasted long enough; -1: it does not last. */
int64_t post_wait_deadline(const struct post *post);

/* Gives up if that is now. Returns whether it did. */
bool post_timed_out(struct post *post);

/* Tells of workers that owe an answer, and of the wait for a worker, every ten seconds. */
void post_warn(struct post *post, int64_t now);

#endif
