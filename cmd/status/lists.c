/* tasker-status tasks, batches, steps and slow: a table of columns and a statement for each list.
 */
#include <stdlib.h>
#include <string.h>

#include "status/lists.h"
#include "common/diag.h"
#include "tasker/clock.h"
#include "tasker/parse.h"
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
                                               "s.last_attempted_at, s.processed_at, "
                                               "s.next_retry_at, s.retryable, s.timeout_ms, "
                                               "s.worker_id, s.error_category, s.error, "
                                               "s.handler_config, s.results, "
                                               "CASE WHEN s.task IS NULL THEN 0 ELSE 1 END, "
                                               "s.created_by, "
                                               "(SELECT c.name FROM steps c WHERE c.id = "
                                               "s.created_by), s.template_name, "
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

/* tasker-status tasks, batches, steps: the newest rows that the filters let through.
 *
 * A statement has only the conditions that were asked for, so that the database can choose the
 * index that fits them. The age is that since the row was made, for all three. */
enum { LIMIT = 50 };

void list_select(struct query *query, const struct list *list, enum tsk_store_kind kind)
{
    query_text(query, list->select);
    if (list->join_sqlite)
        query_text(query, kind == TSK_STORE_SQLITE ? list->join_sqlite : list->join_postgresql);
    query_text(query, " WHERE 1 = 1");
}

void list_handler(struct query *query, enum tsk_store_kind kind, const struct options *opts,
                  const char *text)
{
    if (!opts->handler)
        return;
    struct tsk_buf condition = TSK_BUF_INIT;
    const char *match = query_handler(query, kind, opts->handler);
    tsk_buf_printf(&condition, "s.handler_class %s", match);
    query_and(query, text, condition.data, tsk_value_text(query->pattern.data));
    tsk_buf_fini(&condition);
}

/* A step in error of which no category was told is shown as "unknown". */
void list_category(struct query *query, const struct options *opts, const char *text)
{
    if (!opts->category)
        return;
    bool unknown = strcmp(opts->category, "unknown") == 0;
    query_and(query, text,
              unknown ? "(s.error_category = ? OR (s.error_category IS NULL AND s.state = 'error'))"
                      : "s.error_category = ?",
              tsk_value_text(opts->category));
}

void list_age(struct query *query, const struct options *opts, const char *column)
{
    int64_t now = tsk_wall_ms();
    if (opts->older_than >= 0)
        query_and(query, "@ <= ?", column, tsk_value_int(now - opts->older_than));
    if (opts->newer_than >= 0)
        query_and(query, "@ > ?", column, tsk_value_int(now - opts->newer_than));
}

/* Sets *states to the words of --state, a bit for each state of the list. Returns whether there are
 * only such; else it is told which is not. */
static bool read_states(const struct list *list, const char *text, unsigned *states)
{
    struct tsk_err err = TSK_ERR_INIT;
    char *words = tsk_strdup(text), *rest = NULL;
    int rc = 0;
    for (char *word = strtok_r(words, ",", &rest); word && rc == 0;
         word = strtok_r(NULL, ",", &rest)) {
        int64_t place = 0;
        rc = tsk_parse_choice(word, list->states, &place, &err);
        *states |= 1u << place;
    }
    if (rc == 0 && !*states)
        rc = tsk_err_set(&err, TSK_USAGE, "\"%s\" is no list of states (can be: %s)", text,
                         list->states);
    if (rc < 0)
        diag_error("%s: --state: %s", list->name, err.text);
    free(words);
    return rc == 0;
}

struct report list_report(const struct list *list, const struct options *opts)
{
    return (struct report){.message_type = list->message_type,
                           .columns = list->columns,
                           .count = list->count,
                           .json = opts->format == FORMAT_JSON};
}

struct listing {
    const struct list *list;
    const struct options *opts;
    struct query query;
    unsigned states; /* of --state; 0: all */
    int64_t limit;
};

/* Adds the filters that were given, but for --state. */
static void add_filters(struct query *query, enum tsk_store_kind kind, const struct list *list,
                        const struct options *opts)
{
    list_age(query, opts, list->created);
    list_handler(query, kind, opts, list->handler);
    list_category(query, opts, list->category);
    if (opts->task)
        query_and(query, list->task, "", tsk_value_int(opts->task));
    if (opts->batch)
        query_and(query, list->batch, "", tsk_value_text(opts->batch));
}

/* Adds a statement with the filters, and one of state (of len bytes; 0: of any). */
static void add_select(struct listing *listing, enum tsk_store_kind kind, const char *state,
                       size_t len)
{
    const struct list *list = listing->list;
    const struct options *opts = listing->opts;
    struct query *query = &listing->query;
    list_select(query, list, kind);
    if (len)
        query_and(query, "@ = ?", list->state, tsk_value_chars(state, len));
    add_filters(query, kind, list, opts);
    query_text(query, list->order);
    query_limited(query, listing->limit);
}

/* Adds one for each state of --state: the newest of one state are found by an index, those of
 * several are not. */
static void add_states(struct listing *listing, enum tsk_store_kind kind)
{
    struct query *query = &listing->query;
    const char *word = listing->list->states, *before = "";
    for (unsigned left = listing->states; left; left >>= 1) {
        size_t len = strcspn(word, ",");
        if (left & 1) {
            tsk_buf_printf(&query->sql, "%sSELECT * FROM (", before);
            add_select(listing, kind, word, len);
            tsk_buf_printf(&query->sql, ") AS of_%.*s", (int)len, word);
            before = " UNION ALL ";
        }
        word += len + (word[len] != 0);
    }
    query_text(query, listing->list->order_all);
    query_limited(query, listing->limit);
}

static int print(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct listing *listing = ctx;
    struct report report = list_report(listing->list, listing->opts);
    report.limit = listing->limit;
    report.hint = listing->opts->limit < 0 ? "--limit N shows more, --limit 0 all" : NULL;
    if (listing->states)
        add_states(listing, tsk_store_kind(store));
    else
        add_select(listing, tsk_store_kind(store), NULL, 0);
    int64_t rows = query_run(&listing->query, store, report_row, &report, err);
    report_end(&report);
    return rows < 0 ? -1 : 0;
}

static enum tsk_exit run(const struct list *list, const struct options *opts,
                         const struct tsk_conf *conf, char *const *operands, size_t count)
{
    struct listing listing = {.list = list, .opts = opts, .limit = query_limit(opts, LIMIT)};
    if (!query_no_operands(list->name, operands, count) ||
        (opts->state && !read_states(list, opts->state, &listing.states)))
        return TSK_USAGE;
    enum tsk_exit status = query_store(conf, print, &listing);
    query_fini(&listing.query);
    return status;
}

enum tsk_exit status_tasks(const struct options *opts, const struct tsk_conf *conf,
                           char *const *operands, size_t count)
{
    return run(&list_tasks, opts, conf, operands, count);
}

enum tsk_exit status_batches(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    return run(&list_batches, opts, conf, operands, count);
}

enum tsk_exit status_steps(const struct options *opts, const struct tsk_conf *conf,
                           char *const *operands, size_t count)
{
    return run(&list_steps, opts, conf, operands, count);
}

/* ---- tasker-status slow: the steps and the batches that took longest */

enum { SLOW_LIMIT = 10 };

static const struct report_column slow_step_columns[] = {
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

static const struct report_column slow_batch_columns[] = {
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

/* What is slow, with the list whose filters it has. */
static const struct slow_kind {
    const struct list *list;
    const char *message_type, *title;
    const struct report_column *columns;
    size_t count;
    const char *select, *order;
} slow_kinds[] = {
    {&list_steps, "slow_step", "slowest steps:", slow_step_columns, COUNT(slow_step_columns),
     "SELECT s.id, s.execution_ms, s.step_id, s.name, s.handler_class, s.task_id, " QUERY_BATCH_OF(
         "s.id") ", s.state, s.timeout_ms, s.worker_id, s.created_at, s.processed_at FROM steps s "
                 "WHERE s.execution_ms IS NOT NULL",
     " ORDER BY s.execution_ms DESC, s.id DESC"},
    {&list_batches, "slow_batch", "slowest batches:", slow_batch_columns, COUNT(slow_batch_columns),
     "SELECT b.id, v.execution_ms, b.batch_id, b.state, b.total_steps, v.completed_steps, "
     "v.failed_steps, b.accepted_by, b.created_at, v.ended_at FROM settled_batches v "
     "JOIN batches b ON b.id = v.batch WHERE v.execution_ms IS NOT NULL",
     " ORDER BY v.execution_ms DESC, v.batch DESC"},
};

enum { SLOW_KINDS = COUNT(slow_kinds) };

struct slow {
    const struct options *opts;
    struct query queries[SLOW_KINDS];
};

static int print_slow(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct slow *slow = ctx;
    const struct options *opts = slow->opts;
    int64_t limit = query_limit(opts, SLOW_LIMIT);
    for (size_t i = 0; i < SLOW_KINDS; i++) {
        const struct slow_kind *kind = &slow_kinds[i];
        struct query *query = &slow->queries[i];
        struct report report = {.message_type = kind->message_type,
                                .columns = kind->columns,
                                .count = kind->count,
                                .json = opts->format == FORMAT_JSON,
                                .title = kind->title,
                                .limit = limit};
        query_text(query, kind->select);
        add_filters(query, tsk_store_kind(store), kind->list, opts);
        query_text(query, kind->order);
        query_limited(query, limit);
        int64_t rows = query_run(query, store, report_row, &report, err);
        report_end(&report);
        if (rows < 0)
            return -1;
    }
    return 0;
}

enum tsk_exit status_slow(const struct options *opts, const struct tsk_conf *conf,
                          char *const *operands, size_t count)
{
    if (!query_no_operands("slow", operands, count))
        return TSK_USAGE;
    struct slow slow = {.opts = opts};
    enum tsk_exit status = query_store(conf, print_slow, &slow);
    for (size_t i = 0; i < SLOW_KINDS; i++)
        query_fini(&slow.queries[i]);
    return status;
}
