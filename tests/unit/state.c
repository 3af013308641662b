/* The tables of transitions, whole: each pair of states of each subject is looked at. */
#include "tasker/state.h"

#include <stdio.h>

#include "check.h"

/* What tasker(7) allows, written once more: FROM > TO EVENT, "-" for one that is not there yet. */
static const struct allowed {
    const char *from, *to, *event;
} tasks[] =
    {
        {NULL, "pending", "task.created"},
        {"pending", "in_progress", "task.started"},
        {"pending", "error", "task.failed"},
        {"pending", "cancelled", "task.cancelled"},
        {"pending", "resolved_manually", "task.resolved_manually"},
        {"in_progress", "complete", "task.completed"},
        {"in_progress", "error", "task.failed"},
        {"in_progress", "cancelled", "task.cancelled"},
        {"in_progress", "resolved_manually", "task.resolved_manually"},
        {"error", "cancelled", "task.cancelled"},
        {"error", "resolved_manually", "task.resolved_manually"},
        {"complete", "resolved_manually", "task.resolved_manually"},
        {"cancelled", "resolved_manually", "task.resolved_manually"},
},
  steps[] =
      {
          {NULL, "pending", "step_created"},
          {"pending", "enqueued", "step_enqueued"},
          {"pending", "in_progress", "step.started"},
          {"pending", "error", "step.failed"},
          {"pending", "cancelled", "step.cancelled"},
          {"pending", "resolved_manually", "step.resolved_manually"},
          {"enqueued", "pending", "step.given_back"},
          {"enqueued", "in_progress", "step.started"},
          {"enqueued", "error", "step.failed"},
          {"enqueued", "cancelled", "step.cancelled"},
          {"enqueued", "resolved_manually", "step.resolved_manually"},
          {"in_progress", "complete", "step.completed"},
          {"in_progress", "error", "step.failed"},
          {"in_progress", "cancelled", "step.cancelled"},
          {"in_progress", "resolved_manually", "step.resolved_manually"},
          {"error", "pending", "step.retried"},
          {"error", "cancelled", "step.cancelled"},
          {"error", "resolved_manually", "step.resolved_manually"},
          {"complete", "resolved_manually", "step.resolved_manually"},
          {"cancelled", "resolved_manually", "step.resolved_manually"},
},
  batches[] = {
      {NULL, "created", "batch_initialization"},
      {"created", "published", "zmq_publish_success"},
      {"created", "cancelled", "batch_cancelled"},
      {"published", "executing", "batch_started"},
      {"published", "timeout", "batch_timeout"},
      {"published", "cancelled", "batch_cancelled"},
      {"executing", "completed", "batch_completed"},
      {"executing", "failed", "batch_failed"},
      {"executing", "timeout", "batch_timeout"},
      {"executing", "cancelled", "batch_cancelled"},
};

static const struct {
    enum tsk_subject subject;
    const struct allowed *all;
    size_t count;
} tables[] = {
    {TSK_SUBJECT_TASK, tasks, sizeof tasks / sizeof *tasks},
    {TSK_SUBJECT_STEP, steps, sizeof steps / sizeof *steps},
    {TSK_SUBJECT_BATCH, batches, sizeof batches / sizeof *batches},
};

static const char *event_wanted(size_t table, enum tsk_state from, enum tsk_state to)
{
    for (size_t i = 0; i < tables[table].count; i++) {
        const struct allowed *one = &tables[table].all[i];
        if (tsk_state_find(tables[table].subject, one->from) == from &&
            tsk_state_find(tables[table].subject, one->to) == to)
            return one->event;
    }
    return NULL;
}

static void test_every_pair(void)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        size_t allowed = 0;
        for (int from = TSK_STATE_NONE; from < TSK_STATES; from++) {
            for (int to = TSK_STATE_NONE; to < TSK_STATES; to++) {
                const char *event = tsk_state_event(tables[t].subject, from, to);
                if (!CHECK_STR(event, event_wanted(t, from, to)))
                    fprintf(stderr, "    table %zu, from %d to %d\n", t, from, to);
                CHECK(tsk_state_allowed(tables[t].subject, from, to) == (event != NULL));
                allowed += event != NULL;
            }
        }
        CHECK_INT(allowed, tables[t].count);
    }
}

static void test_names(void)
{
    CHECK(tsk_state_name(TSK_STATE_NONE) == NULL);
    for (int state = TSK_STATE_PENDING; state < TSK_STATES; state++) {
        bool step = state <= TSK_STATE_RESOLVED;
        bool batch = state >= TSK_STATE_CREATED || state == TSK_STATE_CANCELLED;
        bool task = step && state != TSK_STATE_ENQUEUED;
        const char *name = tsk_state_name(state);
        CHECK_INT(tsk_state_find(TSK_SUBJECT_STEP, name), step ? state : TSK_STATE_NONE);
        CHECK_INT(tsk_state_find(TSK_SUBJECT_TASK, name), task ? state : TSK_STATE_NONE);
        CHECK_INT(tsk_state_find(TSK_SUBJECT_BATCH, name), batch ? state : TSK_STATE_NONE);
    }
    CHECK_INT(tsk_state_find(TSK_SUBJECT_STEP, "done"), TSK_STATE_NONE);
    CHECK_INT(tsk_state_find(TSK_SUBJECT_STEP, NULL), TSK_STATE_NONE);
}

/* What has ended is left by a hand alone, and what has not can be left. */
static void test_ends(void)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (int from = TSK_STATE_PENDING; from < TSK_STATES; from++) {
            bool left = false;
            for (int to = TSK_STATE_PENDING; to < TSK_STATES; to++)
                left |= to != TSK_STATE_RESOLVED && tsk_state_allowed(tables[t].subject, from, to);
            if (tsk_state_find(tables[t].subject, tsk_state_name(from)))
                CHECK(tsk_state_ended(tables[t].subject, from) == !left);
        }
    }
    for (int state = TSK_STATE_NONE; state < TSK_STATES; state++)
        CHECK(tsk_state_satisfies(state) ==
              (state == TSK_STATE_COMPLETE || state == TSK_STATE_RESOLVED));
}

int main(void)
{
    test_every_pair();
    test_names();
    test_ends();
    return check_done();
}
