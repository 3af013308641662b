/* The words of the wire that two programs must agree on (PROTOCOL sections 1 to 3). The topics of
 * results are their message types: tsk_type_name. A subscription to a topic of one's own,
 * "KIND.NAME " with the space, is how a peer makes itself known. */
#ifndef TASKER_TOPIC_H
#define TASKER_TOPIC_H

#include <stdbool.h>

#include "tasker/message.h"

#define TSK_TOPIC_STEPS "steps"          /* batches for whoever listens */
#define TSK_TOPIC_WORKER "worker."       /* batches for one worker; its subscription registers it */
#define TSK_TOPIC_STOPPING "stopping."   /* a worker that accepts nothing more subscribes to its own */
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

#endif
