/* What the files settle*.c share. */
#ifndef LIB_SETTLE_PRIVATE_H
#define LIB_SETTLE_PRIVATE_H

#include "workflow/reconcile_private.h"
#include "tasker/json.h"
#include "tasker/settle.h"

/* A text of a message: a place in texts, or the row of the ledger. */
struct tsk_kept {
    int64_t id;   /* 0: there is none */
    size_t place; /* SIZE_MAX: it was too much to keep */
    uint32_t len;
};

struct tsk_fold_step {
    int64_t row, step_id, task_id, since, hand_at;
    int64_t started_at, completed_at, failed_at; /* received; -1: not */
    int64_t retry_at, time_ms;                   /* of the verdict */
    struct tsk_kept results, error;
    uint32_t creates, refusal; /* JSON: what its output asks for; the error, if that cannot be */
    uint32_t attempt, limit, name, backoff;
    uint32_t heard;                    /* the attempt of what was heard; 0: not told */
    uint32_t told;                     /* the attempt that the verdict tells */
    uint32_t worker, category, reason; /* of the verdict */
    uint8_t hand, hand_from, owns;
    uint8_t round_places; /* of the caller's */
    uint8_t status, outcome; /* of the verdict */
    bool unused;             /* by the verdict, no attempt */
};

struct tsk_fold_discrepancy {
    enum tsk_discrepancy_type type;
    bool refused; /* refused_transition, which is no type of a verdict */
    int64_t step_id;
    const char *detail; /* static; or NULL: the text at made */
    uint32_t made;
};

struct tsk_settle {
    struct tsk_reconcile_opts rules;
    struct tsk_json *json;
    tsk_verdict_fn *tell;
    void *ctx;
    tsk_settle_judge_fn *judge;
    void *judge_ctx;
    struct tsk_reconcile *reconcile; /* of the batch; NULL before its first message */
    struct tsk_settle_batch batch;   /* batch_id is id */
    char id[TSK_ID_SIZE];
    struct tsk_fold_step *steps;
    size_t count, cap, known; /* the first known ones were sent */
    size_t last;              /* the step that was looked for last */
    struct tsk_names names;
    struct tsk_buf texts, creates;
    struct tsk_fold_discrepancy *found;
    size_t found_count, found_cap;
    const char *source;    /* of the message that is being taken in; or NULL */
    int64_t now;           /* the latest received_at so far */
    int64_t message;       /* the row of the ledger that is being taken in */
    int64_t first_at;      /* of any message; -1: none */
    int64_t heard_at;      /* of any but a timeout */
    int64_t completion_at; /* of the first completion */
    int64_t error_at;      /* of the batch_error that ended it */
    bool concluded;        /* it had its first verdict */
    bool timed_out;        /* by that batch_error */
    bool given_back;       /* by that: it was sent to nobody */
    bool refused;          /* a message of it, since it is beyond a limit */
    enum tsk_verdict_kind verdict;
    int64_t revision, completed_at, time_ms;
    char *error; /* JSON */
    struct tsk_settled_batch settled;
};

/* settle_rows.c: what follows, once all is taken in. */
void tsk_settle_conclude(struct tsk_settle *settle);

/* settle_text.c: has an output judged. What is wrong with it goes into partial, and is good until
 * the next one. */
void tsk_settle_weigh(struct tsk_settle *settle, struct tsk_fold_step *step,
                      struct tsk_rpartial *partial, const char *output, size_t output_len);

/* settle.c */
struct tsk_fold_discrepancy *tsk_settle_found(struct tsk_settle *settle, int64_t step_id);

#endif
