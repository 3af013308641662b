/* tasker-status slow: the steps and the batches that took longest. */
#include "status/lists.h"
#include "status/metrics.h"

enum { LIMIT = 10 };

static const struct report_column step_columns[] = {
    {NULL, NULL, REPORT_INT},
    {"execution_ms", "TIME", REPORT_MS},
    {"step_id", "STEP", REPORT_INT},
    {"name", "NAME", REPORT_TEXT},
    {"handler_class", "HANDLER", REPORT_TEXT},
    {"task_id", "TASK", REPORT_INT},
    {"batch_id", "BATCH", REPORT_TEXT},
    {"state", "STATE", REPORT_TEXT},
    {"timeout_ms", "TIME LIMIT", REPORT_MS},
    {"worker_id", "WORKER", REPORT_TEXT},
    {"created_at", "CREATED", REPORT_TIME},
    {"processed_at", NULL, REPORT_TIME},
};

static const char of_steps[] =
    "SELECT s.id, s.execution_ms, s.step_id, s.name, s.handler_class, s.task_id, "
    QUERY_BATCH_OF("s.id")
    ", s.state, s.timeout_ms, s.worker_id, s.created_at, s.processed_at FROM steps s "
    "WHERE s.execution_ms IS NOT NULL";

static const struct report_column batch_columns[] = {
    {NULL, NULL, REPORT_INT},
    {"execution_ms", "TIME", REPORT_MS},
    {"batch_id", "BATCH", REPORT_TEXT},
    {"state", "STATE", REPORT_TEXT},
    {"total_steps", "STEPS", REPORT_INT},
    {"completed_steps", "DONE", REPORT_INT},
    {"failed_steps", "FAILED", REPORT_INT},
    {"accepted_by", "WORKER", REPORT_TEXT},
    {"created_at", "CREATED", REPORT_TIME},
    {"ended_at", NULL, REPORT_TIME},
};

static const char of_batches[] =
    "SELECT b.id, v.execution_ms, b.batch_id, b.state, b.total_steps, v.completed_steps, "
    "v.failed_steps, b.accepted_by, b.created_at, v.ended_at FROM settled_batches v "
    "JOIN batches b ON b.id = v.batch WHERE v.execution_ms IS NOT NULL";

struct slow {
    const struct options *opts;
    struct query steps, batches;
};

/* Adds the filters that slow has, in the words of a list. */
static void add_filters(struct query *query, enum tsk_store_kind kind, const struct list *list,
                        const struct options *opts)
{
    list_age(query, opts, list->created);
    list_handler(query, kind, opts, list->handler);
    if (opts->task)
        query_and(query, list->task, "", tsk_value_int(opts->task));
    if (opts->batch)
        query_and(query, list->batch, "", tsk_value_text(opts->batch));
}

static int print_steps(struct slow *slow, struct tsk_store *store, struct tsk_err *err)
{
    int64_t limit = query_limit(slow->opts, LIMIT);
    struct report report = {.message_type = "slow_step",
                            .columns = step_columns,
                            .count = sizeof step_columns / sizeof *step_columns,
                            .json = slow->opts->format == FORMAT_JSON,
                            .title = "slowest steps:",
                            .limit = limit};
    query_text(&slow->steps, of_steps);
    add_filters(&slow->steps, tsk_store_kind(store), &list_steps, slow->opts);
    query_text(&slow->steps, " ORDER BY s.execution_ms DESC, s.id DESC");
    query_limited(&slow->steps, limit);
    int64_t rows = query_run(&slow->steps, store, report_row, &report, err);
    report_end(&report);
    return rows < 0 ? -1 : 0;
}

static int print_batches(struct slow *slow, struct tsk_store *store, struct tsk_err *err)
{
    int64_t limit = query_limit(slow->opts, LIMIT);
    struct report report = {.message_type = "slow_batch",
                            .columns = batch_columns,
                            .count = sizeof batch_columns / sizeof *batch_columns,
                            .json = slow->opts->format == FORMAT_JSON,
                            .title = "slowest batches:",
                            .limit = limit};
    query_text(&slow->batches, of_batches);
    add_filters(&slow->batches, tsk_store_kind(store), &list_batches, slow->opts);
    query_text(&slow->batches, " ORDER BY v.execution_ms DESC, v.batch DESC");
    query_limited(&slow->batches, limit);
    int64_t rows = query_run(&slow->batches, store, report_row, &report, err);
    report_end(&report);
    return rows < 0 ? -1 : 0;
}

static int print(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct slow *slow = ctx;
    if (print_steps(slow, store, err) < 0)
        return -1;
    return print_batches(slow, store, err);
}

enum tsk_exit status_slow(const struct options *opts, const struct tsk_conf *conf,
                          char *const *operands, size_t count)
{
    if (opts->format == FORMAT_PROMETHEUS)
        return metrics_print(METRICS_SLOW, "slow", opts, conf, operands, count);
    if (!query_no_operands("slow", operands, count))
        return TSK_USAGE;
    struct slow slow = {.opts = opts};
    enum tsk_exit status = query_store(conf, print, &slow);
    query_fini(&slow.steps);
    query_fini(&slow.batches);
    return status;
}
