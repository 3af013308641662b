/* To count a million rows by state takes a walk over all of an index. But nearly all rows of a
 * store are complete, and both databases count all rows of a table at once faster than those of a
 * condition: so the others are counted by their state, and the complete ones are what is left. All
 * in one transaction, so that it fits. */
#include "status/counts.h"

#include <string.h>

#define OTHERS(table, done)                                                                        \
    "SELECT state, count(*) FROM " table " WHERE state < '" done                                   \
    "' GROUP BY state UNION ALL SELECT state, count(*) FROM " table " WHERE state > '" done        \
    "' GROUP BY state"

const struct counted counted_tasks = {
    .table = "tasks",
    .metric = "tasker_tasks",
    .help = "Tasks in the store, by state.",
    .states = {"pending", "in_progress", "complete", "error", "cancelled", "resolved_manually"},
    .done = "complete",
    .all = "SELECT count(*) FROM tasks",
    .rest = OTHERS("tasks", "complete"),
};

const struct counted counted_batches = {
    .table = "batches",
    .metric = "tasker_batches",
    .help = "Batches in the store, by state.",
    .states = {"created", "published", "executing", "completed", "failed", "timeout", "cancelled"},
    .done = "completed",
    .all = "SELECT count(*) FROM batches",
    .rest = OTHERS("batches", "completed"),
};

const struct counted counted_steps = {
    .table = "steps",
    .metric = "tasker_steps",
    .help = "Steps in the store, by state.",
    .states = {"pending", "enqueued", "in_progress", "complete", "error", "cancelled",
               "resolved_manually"},
    .done = "complete",
    .all = "SELECT count(*) FROM steps",
    .rest = OTHERS("steps", "complete"),
};

static int take_state(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tally *tally = ctx;
    for (size_t i = 0; columns == 2 && i < STATES_MOST && tally->what->states[i]; i++) {
        if (strcmp(tally->what->states[i], row[0].data) == 0)
            tally->by_state[i] = row[1].number;
    }
    tally->others += row[1].number;
    return 0;
}

int counts_get(struct tsk_store *store, const struct counted *what, struct tally *tally,
               struct tsk_err *err)
{
    *tally = (struct tally){.what = what};
    if (tsk_store_get_int(store, what->all, NULL, 0, &tally->all, err) < 0 ||
        tsk_store_run(store, what->rest, NULL, 0, take_state, tally, err) < 0)
        return -1;
    for (size_t i = 0; i < STATES_MOST && what->states[i]; i++) {
        if (strcmp(what->states[i], what->done) == 0)
            tally->by_state[i] = tally->all - tally->others;
    }
    return 0;
}
