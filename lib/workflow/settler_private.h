/* What the files settler*.c share. */
#ifndef LIB_SETTLER_PRIVATE_H
#define LIB_SETTLER_PRIVATE_H

#include "tasker/flow.h"
#include "tasker/message.h"
#include "tasker/settle.h"

/* What this batch may say of a step's row in the table steps. */
enum {
    TSK_OWNS_STATE = 1,   /* no later attempt was sent */
    TSK_OWNS_COLUMNS = 2, /* the ledger has nothing of a later attempt */
    TSK_OWNS_FIRST = 4,   /* it was in no earlier batch */
    TSK_OWNS_TASK = 8,    /* a task has it, and whoever claims it counts its attempts */
};

struct tsk_settler {
    struct tsk_store *store;
    struct tsk_settle *settle;
    struct tsk_settle_watch watch;
    struct tsk_create_limits limits;
    int64_t assumed; /* see tsk_settler_assume; -1 */
    /* Of the batch at hand, as it was read: */
    int64_t batch;
    char batch_id[TSK_ID_SIZE];
    struct tsk_settle_batch outbound;
    enum tsk_state state;
    int64_t revision; /* 0: nothing is derived yet */
    int64_t limit_at; /* when it is out of time; -1: never */
    uint8_t *states;  /* of its steps, enum tsk_state */
    size_t count, cap;
    bool anew;                  /* what is derived is made anew */
    bool tell;                  /* each batch gets a verdict */
    struct tsk_flow_news *news; /* of the group at hand, for the flow of its tasks */
    size_t news_count, news_cap;
    struct tsk_fan *fan; /* settler_fan.c */
};

/* settler_write.c: replaces what is derived of it. fresh: nothing is there to be taken away. */
int tsk_settler_write(struct tsk_settler *settler, bool fresh, struct tsk_err *err);

/* settler_fan.c: what the outputs of steps ask for. New for each settler; then for each batch:
 * begin, its steps (who they are; optional: the plan of its task, as text, or NULL; accepted: what
 * its row says that it asks for, or NULL; past: whether this batch is not of its last attempt, and
 * what it asked for was found right before; and, of one that was refused before, in which attempt
 * and why), load, before the messages are read; and in the end write, which records what those
 * ask for whose state is this batch's. */
struct tsk_fan *tsk_fan_new(struct tsk_settler *settler);
void tsk_fan_free(struct tsk_fan *fan);
void tsk_fan_begin(struct tsk_fan *fan);
void tsk_fan_step(struct tsk_fan *fan, int64_t step, int64_t task, const char *name,
                  const char *optional, const char *accepted, bool past);
void tsk_fan_refused(struct tsk_fan *fan, int64_t attempt, const char *why); /* the last step */
int tsk_fan_load(struct tsk_fan *fan, struct tsk_err *err);
int tsk_fan_write(struct tsk_fan *fan, struct tsk_err *err);
tsk_settle_judge_fn tsk_fan_judge;

/* settler_look.c: the message that ends a batch out of time (the caller's). */
char *tsk_settle_timeout_text(const char *batch_id, int64_t limit_at);

#endif
