/* What the types of steps mean here. A decision asks, by the create_steps of its output, for steps
 * that wait for it; a batchable step for so many of its batch worker. Such steps are optional. What
 * lies behind them waits for those that are made, which is what a deferred convergence is. */
#include <string.h>

#include "submit/template_private.h"

/* The step at place that is of a type, among those that step waits for; or NULL. */
static const struct tsk_template_step *waits_for(const struct tsk_template *template,
                                                 struct tsk_draft *const *drafts,
                                                 const struct tsk_template_step *step,
                                                 enum tsk_step_type type)
{
    for (size_t i = 0; i < step->depends_count; i++) {
        if (tsk_draft_type(drafts[step->depends[i]]) == type)
            return &template->steps[step->depends[i]];
    }
    return NULL;
}

static const char *batch_text(const struct tsk_template_step *step, const char *key)
{
    return tsk_json_str(tsk_json_get(step->handler_config, "batch_config"), key);
}

/* A batchable step needs a worker that waits for it. batch_config is on either of the two, and may
 * name the worker. */
static void check_batchable(struct tsk_reading *reading, struct tsk_draft *const *drafts,
                            const struct tsk_template_step *step)
{
    const struct tsk_template *template = reading->template;
    const char *name = batch_text(step, "worker_template");
    for (size_t i = 0; i < template->count; i++) {
        const struct tsk_template_step *worker = &template->steps[i];
        if (tsk_draft_type(drafts[i]) == TSK_STEP_BATCH_WORKER && worker->name &&
            (!name || strcmp(worker->name, name) == 0) &&
            waits_for(template, drafts, worker, TSK_STEP_BATCHABLE) == step)
            return;
    }
    tsk_mistake(reading, step->line,
                "step \"%.80s\" is batchable, but no batch_worker%s%.80s waits "
                "for it",
                step->name, name ? " " : "", name ? name : "");
}

/* A convergence behind workers runs also when there was nothing to split, and, where their failures
 * do not count, when all have ended. */
static void set_convergence(struct tsk_reading *reading, struct tsk_draft *const *drafts,
                            struct tsk_template_step *step)
{
    const struct tsk_template *template = reading->template;
    const struct tsk_template_step *worker =
        waits_for(template, drafts, step, TSK_STEP_BATCH_WORKER);
    const struct tsk_template_step *batchable =
        worker ? waits_for(template, drafts, worker, TSK_STEP_BATCHABLE) : NULL;
    if (!batchable)
        return;
    if (step->when_skipped < 0)
        step->when_skipped = TSK_WHEN_SKIPPED_RUN;
    const char *strategy = batch_text(worker, "failure_strategy");
    if (!strategy)
        strategy = batch_text(batchable, "failure_strategy");
    if (!strategy || strcmp(strategy, "continue_on_failure") != 0)
        return;
    step->join = TSK_JOIN_ALL_DONE;
    tsk_note(reading, step->line,
             "continue_on_failure: step \"%.80s\" has join all_done, so it also runs if \"%.80s\" "
             "fails",
             step->name, batchable->name);
}

void tsk_reading_types(struct tsk_reading *reading, struct tsk_draft *const *drafts)
{
    struct tsk_template *template = reading->template;
    for (size_t i = 0; i < template->count; i++) {
        struct tsk_template_step *step = &template->steps[i];
        enum tsk_step_type type = tsk_draft_type(drafts[i]);
        if (!step->name)
            continue;
        if (type == TSK_STEP_BATCHABLE)
            check_batchable(reading, drafts, step);
        if (type == TSK_STEP_CONVERGENCE)
            set_convergence(reading, drafts, step);
        else if (type == TSK_STEP_BATCH_WORKER ||
                 waits_for(template, drafts, step, TSK_STEP_DECISION))
            step->optional = true;
    }
}
