/* The messages of the protocol (tasker(7)): batches checked, results brought into one shape, errors
 * made. */
#ifndef TASKER_MESSAGE_H
#define TASKER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"
#include "tasker/json.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TSK_PROTOCOL_VERSION "2.0"
/* Attempts in all of a step whose limit no message names. */
#define TSK_RETRY_LIMIT 3
#define TSK_ID_SIZE 129 /* a batch_id, worker_id or collector_id, with its NUL */

/* A step of a batch: checked, defaults filled in. Texts and objects are borrowed from json. */
struct tsk_step {
    int64_t step_id, task_id;
    const char *step_name, *handler_class;
    int64_t sequence, total_steps; /* place in its batch, from 1, and the batch's size */
    int64_t attempt;               /* from 1 */
    int64_t retry_limit;
    const char *backoff;      /* metadata.backoff (retry.h), or NULL */
    int retryable;            /* metadata.retryable: 0, 1; -1: not told */
    int64_t timeout_ms;       /* 0: none named */
    struct json_object *json; /* the step as it came */
};

struct tsk_batch {
    char batch_id[TSK_ID_SIZE]; /* "" if it named none (allowed only to publish) */
    struct tsk_step *steps;
    size_t count;
    struct json_object *json; /* as it came; owned */
};

/* Checks one step object (borrowed) that stands at place (from 1) of total. Missing metadata is
 * never an error: sequence is then place, total_steps total, attempt 1 (also where it is 0),
 * retry_limit 3, timeout_ms that of handler_config.timeout_seconds or else 0. What is null counts
 * as missing. Returns 0, or -1 with kind TSK_DATA and a text like "step_id is missing". */
int tsk_step_read(struct tsk_step *step, struct json_object *json, int64_t place, int64_t total,
                  struct tsk_err *err);

/* Checks a batch; takes json, also on failure (batch is then empty and needs no fini). A missing
 * batch_id is an error if need_id. Returns 0, or -1 with kind TSK_DATA and a text like
 * "step 2: handler_class is missing". Takes n log n time for n steps. */
int tsk_batch_read(struct tsk_batch *batch, struct json_object *json, bool need_id,
                   struct tsk_err *err);
void tsk_batch_fini(struct tsk_batch *batch);

/* What a JSON line or a message is. */
enum tsk_type {
    TSK_TYPE_OTHER, /* none of the below, or no message_type at all */
    TSK_TYPE_BATCH,
    TSK_TYPE_STEP,
    TSK_TYPE_PUBLISHED,
    TSK_TYPE_PARTIAL,
    TSK_TYPE_COMPLETION,
    TSK_TYPE_ERROR,
    TSK_TYPE_WORKER,
    TSK_TYPE_RECONCILED,
};

/* The longest line that a reader of receipts must take where a message has at most so many bytes:
 * else a batch is accepted and runs, and nobody can collect it.
 *
 * A receipt tells of each step its ids, names and limits, and its step_id once more in step_ids; so
 * it can be longer than the batch, but has at most three bytes for each of it. With the comma, a
 * step has 58 bytes there without its two ids and two names, and 99 here without its numbers and
 * names. Names are not longer here than there. An id is only if it was written like 1e15: by 12
 * bytes, and step_id stands here twice. attempt, retry_limit and timeout_ms have at most 10, 10 and
 * 11 digits. So there are 99 + 3 * 12 + 31 = 166 bytes and no more than twice each id and name
 * here, for 58 and each id and name there; and 166 < 3 * 58. (Written as usual, with ids in full
 * and no limits, it is less than twice.) The answer of the worker, which may be as long as a
 * message, is the fourth part; all else are a few names of at most 128 bytes. */
#define TSK_RECEIPT_FACTOR 4
#define TSK_RECEIPT_EXTRA 4096
size_t tsk_receipt_most(int64_t message);

/* The largest attempt, retry_limit and number of steps in a message, and the longest time limit of
 * a step: a year, in ms. */
#define TSK_COUNT_MOST INT64_C(1000000000)
#define TSK_TIMEOUT_MOST INT64_C(31536000000)

/* Reads the name that follows a key in a text which is no JSON, or a piece of some: at is what
 * comes after the key and its quotes. Returns false if no valid name is there. */
bool tsk_name_glimpse(const char *at, char name[TSK_ID_SIZE]);

/* Reads message_type, in snake_case or CamelCase ("PartialResult"). */
enum tsk_type tsk_type_of(struct json_object *message);

/* As tsk_type_of for a line of input, in which a batch and a step need no message_type: without
 * one, an object with steps is a batch, and one with step_id is a step. */
enum tsk_type tsk_type_of_line(struct json_object *object);

/* As tsk_type_of for the name itself, which may also be a topic. */
enum tsk_type tsk_type_find(const char *name);

/* The name on the wire ("partial_result"), static; NULL for TSK_TYPE_OTHER. Also the topic. */
const char *tsk_type_name(enum tsk_type type);

/* Brings a message of the results channel into the shape of tasker(7), PROTOCOL, calling emit for
 * each message that it stands for (the older topic "results" is several). message is borrowed by
 * both, and may be changed in place; emit keeps a reference if it wants one. changed tells whether
 * it differs from what came (else the raw bytes may be passed on as they are). Returns 0 or the
 * first non-zero value of emit; or -1 with kind TSK_DATA if it is no result (emit was not called).
 * A bad entry of a list is refused alone: the completion then has the number of these as
 * TSK_REFUSED_ENTRIES, and err, else untouched, tells what is wrong with the first.
 *
 * A partial result whose output is beyond a limit (tsk_output_error), or of which tsk_json_salvage
 * has refused something, has TSK_JSON_REFUSED as that error, and no output: if it says that the
 * step is completed, the step has failed for good.
 *
 * What emit gets is sure to have message_type in snake_case, a valid batch_id (a batch_error may
 * have none; a worker_status has none), in a partial result a positive step_id and a status that is
 * in_progress, completed or failed, in a completion step_summaries (where there are any) of objects
 * with the same two as step_id and final_status; an error that is an object with error_type and
 * type alike (where one was given); and integers, at least 0, in the fields that are integers.
 * What the peer did not tell stays untold: attempt, sequence, worker_id, execution_time_ms and all
 * else may be absent or null, which mean the same, and no attempt 1 is made up where a receipt may
 * know better. An attempt or sequence of 0, which no peer can mean, becomes null. */
#define TSK_REFUSED_ENTRIES "refused_entries"
typedef int tsk_result_fn(void *ctx, enum tsk_type type, struct json_object *message, bool changed);
int tsk_result_normalise(const char *topic, struct json_object *message, tsk_result_fn *emit,
                         void *ctx, struct tsk_err *err);

/* How a step ended, as far as is known. */
enum tsk_step_status {
    TSK_STEP_MISSING, /* no message names it */
    TSK_STEP_IN_PROGRESS,
    TSK_STEP_COMPLETED,
    TSK_STEP_FAILED,
};

static inline bool tsk_status_final(enum tsk_step_status status)
{
    return status >= TSK_STEP_COMPLETED;
}

/* What follows for a step. */
enum tsk_outcome {
    TSK_OUTCOME_UNKNOWN, /* it did not end, or the messages contradict each other, or they came
                          * after a verdict with a batch_error, which gave the batch up */
    TSK_OUTCOME_DONE,
    TSK_OUTCOME_RETRY,  /* to be run again at retry_at, with the next attempt number (the same one,
                         * if the step was never started) */
    TSK_OUTCOME_FAILED, /* for good */
};

/* What is known of one step: by a message, then by a verdict (reconcile.h), then in the store.
 * Texts are borrowed from where it was read; a text that is not told is NULL. */
struct tsk_result {
    const char *batch_id;      /* of a partial result; else NULL */
    int64_t step_id, task_id;  /* 0: not told */
    int64_t attempt, sequence; /* 0: not told */
    int64_t time_ms;           /* it ran for; -1: not told */
    int64_t retry_limit;       /* -1: not told */
    int64_t ended;             /* wall ms of a failure; -1: not told */
    int64_t retry_after;       /* ms, of a failure; -1: not told */
    enum tsk_step_status status;
    bool retryable; /* of a failure */
    bool unused;    /* of a failure: the step was never started, so its attempt was not used */
    bool refused;   /* it completed with an output that is refused: it has failed for good */
    const char *step_name, *worker_id, *category;
    const char *reason;  /* message of the error */
    const char *backoff; /* its own (retry.h); NULL: as configured */
    /* by a verdict: */
    enum tsk_outcome outcome;
    int64_t retry_at; /* wall ms; -1: no retry, or time unknown */
};

/* Fill result from a partial result, and from an entry of step_summaries, of messages that
 * tsk_result_normalise let pass; and from an entry of a receipt's steps or step_ids, which
 * tsk_receipt_check let pass. */
void tsk_result_partial(struct tsk_result *result, struct json_object *message);
void tsk_result_summary(struct tsk_result *result, struct json_object *summary);
void tsk_result_published(struct tsk_result *result, struct json_object *entry);

/* Checks a whole receipt. Returns 0, or -1 with kind TSK_DATA. */
int tsk_receipt_check(struct json_object *message, struct tsk_err *err);

/* Returns the wall ms of a time stamp of message; -1 where there is none that can be read. */
int64_t tsk_message_time(struct json_object *message, const char *key);

/* Returns what the short members of a result tell that is too long to be parsed, as an object that
 * the caller owns and tsk_result_normalise takes: it has TSK_JSON_REFUSED, an error with this
 * reason. Returns NULL if the text is no such object by tsk_scan_object. */
struct json_object *tsk_result_long(struct tsk_json *parser, const char *text, size_t len,
                                    const char *reason);

/* Returns a new error object of the protocol (owned by the caller). retryable as given. */
struct json_object *tsk_error_object(const char *message, const char *type, const char *category,
                                     bool retryable);

/* Returns the error of a step whose output is beyond a limit: refused (NULL: nothing) is what the
 * reader of its text has refused, and value (NULL is fine) may be nested so deep that the batches
 * of dependent steps have no room for it. Returns NULL if it is within the limits; else an object
 * that the caller owns. */
struct json_object *tsk_output_error(struct json_object *value, const char *refused);

/* The category of a step that a worker has stopped, or not run, since an operator had ended it. */
#define TSK_CATEGORY_CANCELLED "cancelled"

/* The member by which an error (of a partial result or a batch_error) says, with false, that its
 * steps were never started: they have used no attempt. */
#define TSK_ATTEMPT_USED_KEY "attempt_used"
bool tsk_error_unused(struct json_object *error);

/* Whether a failure of category (may be NULL) is worth another attempt, where nobody says. */
bool tsk_category_retryable(const char *category);

/* Returns a new batch_error message (owned by the caller); takes error. */
struct json_object *tsk_batch_error(const char *batch_id, struct json_object *error);

/* Returns the text (owned by the caller) of such a message with a timestamp that is given, and so
 * the same for all who make it of the same; takes error. */
char *tsk_batch_error_text(const char *batch_id, struct json_object *error, int64_t wall_ms);

/* ---- The words of the wire that two programs must agree on (tasker(7), PROTOCOL). The topics of
 * results are their message types: tsk_type_name. A subscription to a topic of one's own,
 * "KIND.NAME " with the space, is how a peer makes itself known. */

#define TSK_TOPIC_STEPS "steps"          /* batches for whoever listens */
#define TSK_TOPIC_WORKER "worker."       /* batches for one worker; its subscription registers it */
#define TSK_TOPIC_STOPPING "stopping."   /* a worker that stops accepting subscribes to its own */
#define TSK_TOPIC_RESULTS "results"      /* results in the older shape */
#define TSK_TOPIC_COLLECTOR "collector." /* what one collector asked for */
#define TSK_TOPIC_STATUS "status."       /* an answer to one who only looks */

/* Upstream, by the side that subscribes. */
#define TSK_TOPIC_ACCEPTED "batch_accepted"
#define TSK_TOPIC_REJECTED "batch_rejected"
#define TSK_TOPIC_COLLECTED "collected"
#define TSK_TOPIC_REPLAY "replay"
#define TSK_TOPIC_CANCEL "cancel" /* by tasker-resolve, to the worker that has the steps */

/* What a publisher says of itself on a status topic. */
#define TSK_MESSAGE_PUBLISHER_STATUS "publisher_status"

/* What a worker answers to a cancel, on the status topic of who asks. */
#define TSK_MESSAGE_CANCEL_ANSWER "cancel_answer"

/* Whether topic begins with kind ("worker."). */
bool tsk_topic_is(const char *topic, const char *kind);

/* Whether subscription is to a topic of one's own of that kind: "KIND.NAME ", with a name that the
 * wire allows, which is then copied. */
bool tsk_topic_own(const char *subscription, const char *kind, char name[TSK_ID_SIZE]);

/* ---- Sources of the ledger that tasker's own programs write under: a message has its place there
 * by what it is made of, so that it is in the ledger once. What comes from a peer never has one of
 * these, or anybody could give a batch back or end its time. */

#define TSK_SOURCE_COLLECTOR "collector:" /* what came without a place; and a UUID */
#define TSK_SOURCE_LINES "lines:"         /* the same of lines that are read; and the batch_id */
#define TSK_SOURCE_LOST "lost:"           /* a collector's own error; and the batch_id */
#define TSK_SOURCE_PUBLISH "publish:"     /* a publisher's; and the batch_id */
#define TSK_SOURCE_READY "ready:"         /* that a batch cannot be sent; and the batch_id */
#define TSK_SOURCE_RECONCILE "reconcile:" /* what is made of the clock; and the batch_id */

/* The reason for which a message that tells one is refused. */
#define TSK_SOURCE_RESERVED "its source is a name that only tasker itself gives"

/* Whether source is one of these. */
bool tsk_source_reserved(const char *source);

#ifdef __cplusplus
}
#endif

#endif
