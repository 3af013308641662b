/* Steps that an operator has ended: one that waits is dropped, one that runs is stopped as at its
 * time limit. Each of them ends as any other does, with a result that says so. The store knows of
 * it already; whoever sends the message wants to hear what becomes of it here, and is answered.
 *
 * A batch that is not accepted yet only has its steps marked, as one does that comes with marks. */
#include <string.h>

#include "common/diag.h"
#include "work/work.h"

static struct run *find_run(const struct batch *batch, int64_t step_id)
{
    for (size_t i = 0; batch && i < batch->data.count; i++) {
        if (batch->runs[i].step->step_id == step_id)
            return &batch->runs[i];
    }
    return NULL;
}

static void drop(struct work *work, struct run *run)
{
    run_list_remove(&work->queue, run);
    finish_cancelled(work, run); /* its batch may be gone now */
}

/* Returns what the step was, in the words of the answer. */
static const char *cancel_one(struct work *work, const char *batch_id, int64_t step_id)
{
    struct batch *batch = tsk_map_get(work->batches, batch_id);
    struct run *run = find_run(batch, step_id);
    struct run *deferred = find_run(tsk_map_get(work->deferred, batch_id), step_id);
    if (deferred)
        deferred->cancelled = true;
    if (!run)
        return deferred ? "queued" : tsk_map_get(work->finished, batch_id) ? "ended" : "unknown";
    if (run->ended)
        return "ended";
    run->cancelled = true;
    if (run->process && !run->process->child.told)
        run_take_back(work, false);
    if (!run->process) {
        drop(work, run);
        return "queued";
    }
    run_cancel(work, run);
    return "running";
}

static void answer(struct work *work, const char *to, const char *batch_id,
                   struct json_object *steps)
{
    char topic[TSK_TOPIC_SIZE] = TSK_TOPIC_STATUS;
    struct json_object *message = json_object_new_object();
    struct tsk_err err;
    size_t len;
    strcat(topic, to);
    tsk_json_put_str(message, "message_type", TSK_MESSAGE_CANCEL_ANSWER);
    tsk_json_put_str(message, "batch_id", batch_id);
    tsk_json_put_str(message, "worker_id", work->id);
    tsk_json_put_str(message, "source", work->source);
    tsk_json_put(message, "steps", steps);
    const char *text = tsk_json_text(message, &len);
    if (tsk_bus_send(work->results, topic, text, len, &err) < 0)
        diag_error("cannot answer an operator: %s", err.text);
    json_object_put(message);
}

static struct json_object *cancel_all(struct work *work, const char *batch_id,
                                      struct json_object *ids)
{
    struct json_object *steps = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        struct json_object *id = json_object_array_get_idx(ids, i), *step;
        if (!json_object_is_type(id, json_type_int))
            continue;
        int64_t step_id = json_object_get_int64(id);
        const char *was = cancel_one(work, batch_id, step_id);
        diag_info("batch %s: step %lld: cancelled by an operator; it was %s", batch_id,
                  (long long)step_id, was);
        step = json_object_new_object();
        tsk_json_put_int(step, "step_id", step_id);
        tsk_json_put_str(step, "was", was);
        json_object_array_add(steps, step);
    }
    return steps;
}

void cancel_message(struct work *work, struct json_object *message)
{
    const char *worker = tsk_json_str(message, "worker_id");
    const char *batch_id = tsk_json_str(message, "batch_id");
    const char *to = tsk_json_str(message, "answer_to");
    struct json_object *ids = tsk_json_get(message, "step_ids");
    if (worker && strcmp(worker, work->id) != 0)
        return; /* all workers hear it */
    if (!batch_id || !tsk_name_valid(batch_id) || !json_object_is_type(ids, json_type_array)) {
        diag_warn("a cancel message without \"batch_id\" or \"step_ids\"");
        return;
    }
    struct json_object *steps = cancel_all(work, batch_id, ids);
    if (to && tsk_name_valid(to))
        answer(work, to, batch_id, steps);
    else
        json_object_put(steps);
}
