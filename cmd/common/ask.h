/* Asks a peer that sends for its status. */
#ifndef COMMON_ASK_H
#define COMMON_ASK_H

#include "tasker/bus.h"
#include "tasker/conf.h"
#include "tasker/json.h"
#include "tasker/message.h"

/* Subscribes at endpoint to a status of its own for at most timeout ms. step ("STEP_ID.BATCH_ID",
 * or NULL) has a worker add what its outbox holds of that step. Returns the publisher_status or
 * worker_status, which the caller frees, or NULL with err: TSK_TEMPFAIL if no answer came, TSK_DATA
 * if the answer is no status, any other kind if the socket could not be opened. */
struct json_object *ask_status(const struct tsk_conf *conf, enum tsk_channel channel,
                               const char *endpoint, const char *step, int64_t timeout,
                               struct tsk_err *err);

#endif
