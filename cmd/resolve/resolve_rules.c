/* What an operator may do, and when. */
#include "resolve/operator.h"

static const struct {
    const char *word, *past;
} words[TSK_RESOLVE_ACTIONS] = {
    [TSK_RESOLVE_RETRY] = {"retry", "retried"},
    [TSK_RESOLVE_RESET] = {"reset", "reset"},
    [TSK_RESOLVE_RESOLVE] = {"resolve", "resolved"},
    [TSK_RESOLVE_CANCEL] = {"cancel", "cancelled"},
};

const char *tsk_resolve_word(enum tsk_resolve_action action)
{
    return words[action].word;
}

const char *tsk_resolve_past(enum tsk_resolve_action action)
{
    return words[action].past;
}

static enum tsk_state end_to(enum tsk_state state, const struct tsk_resolve_facts *facts)
{
    if (facts->state == state)
        return facts->runs ? state : TSK_STATE_NONE;
    return tsk_state_allowed(TSK_SUBJECT_STEP, facts->state, state) ? state : TSK_STATE_NONE;
}

/* A task that somebody has ended runs no step any more. */
static bool task_is_over(const struct tsk_resolve_facts *facts)
{
    return facts->task == TSK_STATE_CANCELLED || facts->task == TSK_STATE_RESOLVED;
}

static enum tsk_state retry_to(const struct tsk_resolve_facts *facts)
{
    bool waits = facts->state == TSK_STATE_PENDING && facts->backs_off;
    return (facts->state == TSK_STATE_ERROR || waits) && !task_is_over(facts) ? TSK_STATE_PENDING
                                                                              : TSK_STATE_NONE;
}

static enum tsk_state reset_to(const struct tsk_resolve_facts *facts)
{
    if (!facts->attempts || task_is_over(facts) || tsk_state_ended(TSK_SUBJECT_STEP, facts->state))
        return TSK_STATE_NONE;
    return facts->state == TSK_STATE_ERROR ? TSK_STATE_PENDING : facts->state;
}

enum tsk_state tsk_resolve_step_to(enum tsk_resolve_action action,
                                   const struct tsk_resolve_facts *facts)
{
    switch (action) {
    case TSK_RESOLVE_RETRY:
        return retry_to(facts);
    case TSK_RESOLVE_RESET:
        return reset_to(facts);
    case TSK_RESOLVE_RESOLVE:
        return end_to(TSK_STATE_RESOLVED, facts);
    default:
        return end_to(TSK_STATE_CANCELLED, facts);
    }
}

enum tsk_state tsk_resolve_task_to(enum tsk_resolve_action action, enum tsk_state state, bool runs)
{
    enum tsk_state to = action == TSK_RESOLVE_RESOLVE ? TSK_STATE_RESOLVED : TSK_STATE_CANCELLED;
    if (state == to)
        return runs ? to : TSK_STATE_NONE;
    return tsk_state_allowed(TSK_SUBJECT_TASK, state, to) ? to : TSK_STATE_NONE;
}

void tsk_resolve_choices(const struct tsk_resolve_facts *facts, struct tsk_buf *out)
{
    size_t left = 0;
    for (int i = 0; i < TSK_RESOLVE_ACTIONS; i++)
        left += tsk_resolve_step_to((enum tsk_resolve_action)i, facts) != TSK_STATE_NONE;
    tsk_buf_str(out, left ? "it can be " : "nothing more can be done to it");
    for (int i = 0; i < TSK_RESOLVE_ACTIONS; i++) {
        if (tsk_resolve_step_to((enum tsk_resolve_action)i, facts) == TSK_STATE_NONE)
            continue;
        left--;
        tsk_buf_printf(out, "%s%s", words[i].past, left > 1 ? ", " : left == 1 ? " or " : "");
    }
}
