/* The history of a batch, a task or a step: its transitions and the messages of the ledger that are
 * about it, in the order of time. */
#ifndef STATUS_HISTORY_H
#define STATUS_HISTORY_H

#include "status/query.h"
#include "status/report.h"

enum subject { SUBJECT_TASK, SUBJECT_BATCH, SUBJECT_STEP, SUBJECTS };

/* Prints it for the subject whose key (tasks.task_id, batches.id, steps.id) this is: of its
 * transitions and of its messages the newest limit each (0: all), and what was left out. */
int history_print(struct tsk_store *store, enum subject subject, int64_t key,
                  const struct options *opts, int64_t limit, struct tsk_err *err);

/* history_message.c: prints a message of the ledger. Row: id, received_at, collector_id, topic,
 * message_type, batch_id, step_id, source, stream_offset, reason, raw_message. */
void history_message(struct report *report, const struct tsk_value *row,
                     const struct options *opts);

/* Tells what was left out, if anything was. */
void history_left_out(const struct options *opts, const char *what, int64_t count);

#endif
