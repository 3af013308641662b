/* What the lists of tasks, batches and steps are made of. */
#include "status/lists.h"
#include "tasker/state.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct report_column task_columns[] = {
    {"task_id", "TASK", REPORT_INT},        {"namespace", "NAMESPACE", REPORT_TEXT},
    {"name", "NAME", REPORT_TEXT},          {"version", "VERSION", REPORT_TEXT},
    {"state", "STATE", REPORT_TEXT},        {"steps", "STEPS", REPORT_INT},
    {"steps_done", "DONE", REPORT_INT},     {"steps_in_error", "IN ERROR", REPORT_INT},
    {"priority", NULL, REPORT_INT},         {"created_at", "CREATED", REPORT_TIME},
    {"updated_at", "CHANGED", REPORT_TIME}, {"initiator", NULL, REPORT_TEXT},
    {"source_system", NULL, REPORT_TEXT},   {"reason", NULL, REPORT_TEXT},
    {"correlation_id", NULL, REPORT_TEXT},  {"tags", NULL, REPORT_JSON},
    {"context", NULL, REPORT_JSON},         {"held", "HELD", REPORT_TEXT},
};

const struct list list_tasks = {
    .name = "tasks",
    .message_type = "task_status",
    .columns = task_columns,
    .count = COUNT(task_columns),
    .select = "SELECT t.task_id, t.namespace, t.name, t.version, t.state, "
              "(SELECT count(*) FROM steps s WHERE s.task = t.task_id), "
              "(SELECT count(CASE WHEN s.state IN ('complete', 'resolved_manually') THEN 1 END) "
              "FROM steps s WHERE s.task = t.task_id), "
              "(SELECT count(CASE WHEN s.state = 'error' THEN 1 END) FROM steps s "
              "WHERE s.task = t.task_id), "
              "t.priority, t.created_at, t.updated_at, t.initiator, t.source_system, t.reason, "
              "t.correlation_id, t.tags, t.context, (SELECT h.reason FROM held_namespaces h "
              "WHERE h.namespace = t.namespace) FROM tasks t",
    .states = "pending,in_progress,complete,error,cancelled,resolved_manually",
    .state = "t.state",
    .created = "t.created_at",
    .handler = "EXISTS (SELECT 1 FROM steps s WHERE s.task = t.task_id AND @)",
    .task = "t.task_id = ?",
    .batch = "t.task_id IN (SELECT s.task FROM batches b JOIN batch_steps p ON p.batch = b.id "
             "JOIN steps s ON s.id = p.step WHERE b.batch_id = ?)",
    .category = "EXISTS (SELECT 1 FROM steps s WHERE s.task = t.task_id AND @)",
    .key = "t.task_id = ?",
    .order = " ORDER BY t.created_at DESC, t.task_id DESC",
    .order_all = " ORDER BY 10 DESC, 1 DESC",
};

static const struct report_column batch_columns[] = {
    {NULL, NULL, REPORT_INT},
    {"batch_id", "BATCH", REPORT_TEXT},
    {"state", "STATE", REPORT_TEXT},
    {"total_steps", "STEPS", REPORT_INT},
    {"completed_steps", "DONE", REPORT_INT},
    {"failed_steps", "FAILED", REPORT_INT},
    {"execution_ms", "TIME", REPORT_MS},
    {"created_at", "CREATED", REPORT_TIME},
    {"published_at", NULL, REPORT_TIME},
    {"updated_at", "CHANGED", REPORT_TIME},
    {"accepted_by", "WORKER", REPORT_TEXT},
    {"verdict", "VERDICT", REPORT_TEXT},
    {"timeout_ms", NULL, REPORT_MS},
    {"sends", NULL, REPORT_INT},
    {"delivery", NULL, REPORT_TEXT},
    {"source", NULL, REPORT_TEXT},
    {"result_endpoint", NULL, REPORT_TEXT},
    {"publisher", NULL, REPORT_TEXT},
    {"revision", NULL, REPORT_INT},
    {"first_at", NULL, REPORT_TIME},
    {"ended_at", NULL, REPORT_TIME},
    {"completed_at", NULL, REPORT_TIME},
    {"error", "ERROR", REPORT_ERROR},
};

const struct list list_batches = {
    .name = "batches",
    .message_type = "batch_status",
    .columns = batch_columns,
    .count = COUNT(batch_columns),
    .select = "SELECT b.id, b.batch_id, b.state, b.total_steps, v.completed_steps, v.failed_steps, "
              "v.execution_ms, b.created_at, b.published_at, b.updated_at, b.accepted_by, "
              "v.verdict, b.timeout_ms, b.sends, b.delivery, b.source, b.result_endpoint, "
              "b.publisher, v.revision, v.first_at, v.ended_at, v.completed_at, v.error "
              "FROM batches b",
    .join_sqlite = TSK_LEFT_JOIN_SQLITE("settled_batches", "v", "v.batch = b.id"),
    .join_postgresql = TSK_LEFT_JOIN_POSTGRESQL("settled_batches", "v", "v.batch = b.id"),
    .states = "created,published,executing,completed,failed,timeout,cancelled",
    .state = "b.state",
    .created = "b.created_at",
    .handler = "EXISTS (SELECT 1 FROM batch_steps p JOIN steps s ON s.id = p.step "
               "WHERE p.batch = b.id AND @)",
    .task = "EXISTS (SELECT 1 FROM batch_steps p JOIN steps s ON s.id = p.step "
            "WHERE p.batch = b.id AND s.task_id = ?)",
    .batch = "b.batch_id = ?",
    .category = "EXISTS (SELECT 1 FROM batch_steps p JOIN steps s ON s.id = p.step "
                "WHERE p.batch = b.id AND @)",
    .key = "b.id = ?",
    .order = " ORDER BY b.created_at DESC, b.id DESC",
    .order_all = " ORDER BY 8 DESC, 1 DESC",
};

static const struct report_column step_columns[] = {
    {NULL, NULL, REPORT_INT},
    {"step_id", "STEP", REPORT_INT},
    {"name", "NAME", REPORT_TEXT},
    {"handler_class", "HANDLER", REPORT_TEXT},
    {"task_id", "TASK", REPORT_INT},
    {"batch_id", "BATCH", REPORT_TEXT},
    {"state", "STATE", REPORT_TEXT},
    {"attempts", "ATTEMPTS", REPORT_INT},
    {"retry_limit", NULL, REPORT_INT},
    {"attempts_before", NULL, REPORT_INT},
    {"execution_ms", "TIME", REPORT_MS},
    {"created_at", "CREATED", REPORT_TIME},
    {"updated_at", "CHANGED", REPORT_TIME},
    {"last_attempted_at", NULL, REPORT_TIME},
    {"processed_at", NULL, REPORT_TIME},
    {"next_retry_at", NULL, REPORT_TIME},
    {"retryable", NULL, REPORT_BOOL},
    {"timeout_ms", NULL, REPORT_MS},
    {"worker_id", NULL, REPORT_TEXT},
    {"error_category", "CATEGORY", REPORT_TEXT},
    {"error", "ERROR", REPORT_ERROR},
    {"handler_config", NULL, REPORT_JSON},
    {"results", NULL, REPORT_JSON},
    {"known_task", NULL, REPORT_BOOL},
    {"created_by", NULL, REPORT_INT},
    {"created_by_name", NULL, REPORT_TEXT},
    {"template_step", NULL, REPORT_TEXT},
    {"index", NULL, REPORT_INT},
    {"count", NULL, REPORT_INT},
};

const struct list list_steps = {
    .name = "steps",
    .message_type = "step_status",
    .columns = step_columns,
    .count = COUNT(step_columns),
    .select = "SELECT s.id, s.step_id, s.name, s.handler_class, s.task_id, " QUERY_BATCH_OF(
        "s.id") ", " TSK_STEP_STATE_SHOWN("s") ", s.attempts, s.retry_limit, s.attempts_before, "
                "s.execution_ms, s.created_at, s.updated_at, "
                "s.last_attempted_at, s.processed_at, s.next_retry_at, s.retryable, s.timeout_ms, "
                "s.worker_id, s.error_category, s.error, s.handler_config, s.results, "
                "CASE WHEN s.task IS NULL THEN 0 ELSE 1 END, s.created_by, "
                "(SELECT c.name FROM steps c WHERE c.id = s.created_by), s.template_name, "
                "s.created_index, s.created_count FROM steps s",
    .states = "pending,enqueued,in_progress,complete,error,cancelled,resolved_manually",
    .state = "s.state",
    .created = "s.created_at",
    .handler = "@",
    .task = "s.task_id = ?",
    .batch = "s.id IN (SELECT p.step FROM batches b JOIN batch_steps p ON p.batch = b.id "
             "WHERE b.batch_id = ?)",
    .category = "@",
    .key = "s.id = ?",
    .order = " ORDER BY s.created_at DESC, s.id DESC",
    .order_all = " ORDER BY 12 DESC, 1 DESC",
};
