/* The transitions, one row each. The seed's rules are here without its traps: a published batch may
 * time out, a batch that is lost before anything was heard of it ends as one that was executing, a
 * cancelled step can be resolved by hand, so that it blocks no task for ever, and nothing leaves a
 * state for the same one. */
#include "tasker/state.h"

#include <stddef.h>
#include <string.h>

static const char *const names[TSK_STATES] = {
    [TSK_STATE_PENDING] = "pending",
    [TSK_STATE_ENQUEUED] = "enqueued",
    [TSK_STATE_IN_PROGRESS] = "in_progress",
    [TSK_STATE_COMPLETE] = "complete",
    [TSK_STATE_ERROR] = "error",
    [TSK_STATE_CANCELLED] = "cancelled",
    [TSK_STATE_RESOLVED] = "resolved_manually",
    [TSK_STATE_CREATED] = "created",
    [TSK_STATE_PUBLISHED] = "published",
    [TSK_STATE_EXECUTING] = "executing",
    [TSK_STATE_COMPLETED] = "completed",
    [TSK_STATE_FAILED] = "failed",
    [TSK_STATE_TIMEOUT] = "timeout",
};

#define IN(state) (1u << TSK_STATE_##state)

static const struct transition {
    unsigned from; /* a set of states, as bits */
    enum tsk_state to;
    const char *event;
} task_table[] =
    {
        {IN(NONE), TSK_STATE_PENDING, TSK_EVENT_TASK_CREATED},
        {IN(PENDING), TSK_STATE_IN_PROGRESS, TSK_EVENT_TASK_STARTED},
        {IN(IN_PROGRESS), TSK_STATE_COMPLETE, "task.completed"},
        {IN(PENDING) | IN(IN_PROGRESS), TSK_STATE_ERROR, "task.failed"},
        {IN(PENDING) | IN(IN_PROGRESS) | IN(ERROR), TSK_STATE_CANCELLED, "task.cancelled"},
        {IN(PENDING) | IN(IN_PROGRESS) | IN(COMPLETE) | IN(ERROR) | IN(CANCELLED),
         TSK_STATE_RESOLVED, "task.resolved_manually"},
},
  step_table[] =
      {
          {IN(NONE), TSK_STATE_PENDING, TSK_EVENT_STEP_CREATED},
          {IN(PENDING), TSK_STATE_ENQUEUED, TSK_EVENT_STEP_ENQUEUED},
          {IN(PENDING) | IN(ENQUEUED), TSK_STATE_IN_PROGRESS, "step.started"},
          {IN(IN_PROGRESS), TSK_STATE_COMPLETE, "step.completed"},
          {IN(PENDING) | IN(ENQUEUED) | IN(IN_PROGRESS), TSK_STATE_ERROR, "step.failed"},
          {IN(PENDING) | IN(ENQUEUED) | IN(IN_PROGRESS) | IN(ERROR), TSK_STATE_CANCELLED,
           "step.cancelled"},
          {IN(ERROR), TSK_STATE_PENDING, "step.retried"},
          {IN(ENQUEUED), TSK_STATE_PENDING, "step.given_back"},
          {IN(PENDING) | IN(ENQUEUED) | IN(IN_PROGRESS) | IN(COMPLETE) | IN(ERROR) | IN(CANCELLED),
           TSK_STATE_RESOLVED, "step.resolved_manually"},
},
  batch_table[] = {
      {IN(NONE), TSK_STATE_CREATED, TSK_EVENT_BATCH_CREATED},
      {IN(CREATED), TSK_STATE_PUBLISHED, TSK_EVENT_BATCH_PUBLISHED},
      {IN(PUBLISHED), TSK_STATE_EXECUTING, "batch_started"},
      {IN(EXECUTING), TSK_STATE_COMPLETED, "batch_completed"},
      {IN(EXECUTING), TSK_STATE_FAILED, "batch_failed"},
      {IN(PUBLISHED) | IN(EXECUTING), TSK_STATE_TIMEOUT, "batch_timeout"},
      {IN(CREATED) | IN(PUBLISHED) | IN(EXECUTING), TSK_STATE_CANCELLED, "batch_cancelled"},
};

#define TABLE(table)                                                                               \
    {                                                                                              \
        table, sizeof(table) / sizeof *(table)                                                     \
    }

static const struct {
    const struct transition *all;
    size_t count;
} tables[] = {
    [TSK_SUBJECT_TASK] = TABLE(task_table),
    [TSK_SUBJECT_STEP] = TABLE(step_table),
    [TSK_SUBJECT_BATCH] = TABLE(batch_table),
};

const char *tsk_state_name(enum tsk_state state)
{
    return names[state];
}

enum tsk_state tsk_state_find(enum tsk_subject subject, const char *name)
{
    for (size_t i = 0; name && i < tables[subject].count; i++) {
        enum tsk_state state = tables[subject].all[i].to;
        if (strcmp(names[state], name) == 0)
            return state;
    }
    return TSK_STATE_NONE;
}

const char *tsk_state_event(enum tsk_subject subject, enum tsk_state from, enum tsk_state to)
{
    for (size_t i = 0; i < tables[subject].count; i++) {
        const struct transition *one = &tables[subject].all[i];
        if (one->to == to && one->from & 1u << from)
            return one->event;
    }
    return NULL;
}

bool tsk_state_ended(enum tsk_subject subject, enum tsk_state state)
{
    if (subject == TSK_SUBJECT_BATCH)
        return state >= TSK_STATE_COMPLETED || state == TSK_STATE_CANCELLED;
    return state == TSK_STATE_COMPLETE || state == TSK_STATE_CANCELLED ||
           state == TSK_STATE_RESOLVED;
}

bool tsk_state_satisfies(enum tsk_state state)
{
    return state == TSK_STATE_COMPLETE || state == TSK_STATE_RESOLVED;
}
