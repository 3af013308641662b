/* Steps that an operator has ended: one that waits is dropped, one that runs is stopped as at its
 * time limit. Each of them ends as any other does, with a result that says so. The store knows of
 * it already; whoever sends the message wants to hear what becomes of it here, and is answered.
 *
 * A batch that is not accepted yet only has its steps marked, as one does that comes with marks. */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "work/work.h"

#define NO_PLACE SIZE_MAX

/* A step that is meant: the ids of a message are looked for together, since there may be thousands
 * of them, and as many steps again. */
struct wanted {
    int64_t step_id;
    size_t place; /* in its batch, or NO_PLACE */
};

static int by_id(const void *left, const void *right)
{
    const struct wanted *a = left, *b = right;
    return a->step_id < b->step_id ? -1 : a->step_id > b->step_id;
}

static struct wanted *find_wanted(struct wanted *wanted, size_t count, int64_t step_id)
{
    struct wanted key = {.step_id = step_id};
    return bsearch(&key, wanted, count, sizeof *wanted, by_id);
}

/* Returns the ids of the message, sorted, each once; free() it. */
static struct wanted *read_wanted(struct json_object *ids, size_t *count)
{
    size_t length = json_object_array_length(ids), all = 0, kept = 0;
    struct wanted *wanted = tsk_alloc((length + 1) * sizeof *wanted);
    for (size_t i = 0; i < length; i++) {
        struct json_object *id = json_object_array_get_idx(ids, i);
        if (json_object_is_type(id, json_type_int))
            wanted[all++] = (struct wanted){json_object_get_int64(id), NO_PLACE};
    }
    qsort(wanted, all, sizeof *wanted, by_id);
    for (size_t i = 0; i < all; i++) {
        if (!kept || wanted[kept - 1].step_id != wanted[i].step_id)
            wanted[kept++] = wanted[i];
    }
    *count = kept;
    return wanted;
}

/* Sets the places: those in a batch that is accepted, or in one that is not yet. */
static void find_places(const struct work *work, const char *batch_id, struct wanted *wanted,
                        size_t count)
{
    const struct batch *batch = tsk_map_get(work->batches, batch_id);
    const struct deferred *deferred = tsk_map_get(work->deferred, batch_id);
    size_t steps = batch ? batch->data.count : deferred ? deferred->count : 0;
    for (size_t i = 0; i < steps; i++) {
        int64_t step_id = batch ? batch->data.steps[i].step_id : deferred->steps[i].step_id;
        struct wanted *found = find_wanted(wanted, count, step_id);
        if (found)
            found->place = i;
    }
}

static void drop(struct work *work, struct run *run)
{
    run_list_remove(&work->queue, run);
    finish_cancelled(work, run); /* its batch may be gone now */
}

/* Returns what the step was, in the words of the answer. The batch is asked for each time, since
 * the step before may have been its last. */
static const char *cancel_one(struct work *work, const char *batch_id, size_t place)
{
    struct batch *batch = tsk_map_get(work->batches, batch_id);
    struct deferred *deferred = tsk_map_get(work->deferred, batch_id);
    if (place == NO_PLACE || (!batch && !deferred))
        return tsk_map_get(work->finished, batch_id) ? "ended" : "unknown";
    if (!batch) {
        deferred->steps[place].cancelled = true;
        return "queued";
    }
    struct run *run = &batch->runs[place];
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
    size_t count;
    struct wanted *wanted = read_wanted(ids, &count);
    find_places(work, batch_id, wanted, count);
    for (size_t i = 0; i < json_object_array_length(ids); i++) {
        struct json_object *id = json_object_array_get_idx(ids, i), *step;
        if (!json_object_is_type(id, json_type_int))
            continue;
        int64_t step_id = json_object_get_int64(id);
        const char *was = cancel_one(work, batch_id, find_wanted(wanted, count, step_id)->place);
        diag_info("batch %s: step %lld: cancelled by an operator; it was %s", batch_id,
                  (long long)step_id, was);
        step = json_object_new_object();
        tsk_json_put_int(step, "step_id", step_id);
        tsk_json_put_str(step, "was", was);
        json_object_array_add(steps, step);
    }
    free(wanted);
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
