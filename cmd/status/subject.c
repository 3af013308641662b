/* tasker-status show: all that the store knows of one batch, task or step.
 *
 * A number may be the id of any of the three; without the word before it is taken for the one that
 * there is. The step_id of a step that came in a batch written by hand is only unique in its batch:
 * all of that id are shown, unless --batch names one. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "status/history.h"
#include "status/lists.h"
#include "tasker/parse.h"

enum { LIMIT = 1000 };

static const char *const names[SUBJECTS] = {"task", "batch", "step"};

/* What is looked for, and what was found. */
struct show {
    const struct options *opts;
    const char *id;
    int64_t number; /* the id as a number; 0: it is none */
    bool wanted[SUBJECTS];
    int64_t *keys[SUBJECTS]; /* found ones */
    size_t count[SUBJECTS], cap[SUBJECTS];
    int64_t limit, published; /* steps of that task_id without a task, where no task was found */
    struct query row[SUBJECTS], task_steps;
};

/* ---- finding */

struct finding {
    struct show *show;
    enum subject subject;
};

static int take_key(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct finding *finding = ctx;
    struct show *show = finding->show;
    enum subject s = finding->subject;
    show->keys[s] = tsk_grow(show->keys[s], &show->cap[s], show->count[s] + 1, sizeof **show->keys);
    show->keys[s][show->count[s]++] = columns ? row[0].number : 0;
    return 0;
}

static int find(struct show *show, struct tsk_store *store, enum subject subject,
                struct tsk_err *err)
{
    static const char task[] = "SELECT task_id FROM tasks WHERE task_id = $1";
    static const char batch[] = "SELECT id FROM batches WHERE batch_id = $1";
    static const char step[] = "SELECT id FROM steps WHERE step_id = $1 ORDER BY id DESC";
    static const char step_of[] =
        "SELECT p.step FROM batches b JOIN batch_steps p ON p.batch = b.id "
        "WHERE p.step_id = $1 AND b.batch_id = $2";
    struct finding finding = {show, subject};
    struct tsk_value values[] = {subject == SUBJECT_BATCH ? tsk_value_text(show->id)
                                                          : tsk_value_int(show->number),
                                 tsk_value_text(show->opts->batch)};
    bool within = subject == SUBJECT_STEP && show->opts->batch;
    const char *sql = subject == SUBJECT_TASK    ? task
                      : subject == SUBJECT_BATCH ? batch
                      : within                   ? step_of
                                                 : step;
    if (!show->wanted[subject] || (subject != SUBJECT_BATCH && !show->number))
        return 0;
    return tsk_store_run(store, sql, values, within ? 2 : 1, take_key, &finding, err) < 0 ? -1 : 0;
}

/* A step that came in a batch written by hand has a task_id of no task in the store. */
static int count_published(struct show *show, struct tsk_store *store, struct tsk_err *err)
{
    static const char sql[] = "SELECT count(*) FROM steps WHERE task_id = $1 AND task IS NULL";
    struct tsk_value value = tsk_value_int(show->number);
    if (!show->wanted[SUBJECT_TASK] || !show->number || show->count[SUBJECT_TASK])
        return 0;
    return tsk_store_get_int(store, sql, &value, 1, &show->published, err);
}

/* Fails if nothing was found, or more than one kind. */
static int decide(struct show *show, struct tsk_err *err)
{
    struct tsk_buf kinds = TSK_BUF_INIT;
    size_t found = 0;
    for (int s = 0; s < SUBJECTS; s++) {
        if (show->count[s])
            tsk_buf_printf(&kinds, "%sa %s", found++ ? " and " : "", names[s]);
    }
    int rc = 0;
    if (found > 1)
        rc = tsk_err_set(err, TSK_USAGE, "show: \"%s\" is %s: say which, as in \"show step %s\"",
                         show->id, kinds.data, show->id);
    tsk_buf_reset(&kinds);
    for (int s = 0; s < SUBJECTS; s++) {
        if (show->wanted[s])
            tsk_buf_printf(&kinds, "%s%s", kinds.len ? " or " : "", names[s]);
    }
    if (!found && show->published)
        rc = tsk_err_set(err, TSK_NO,
                         "show: there is no %s \"%s\" in the store, but %" PRId64
                         " step%s published with that task_id: \"tasker-status steps --task %s\"",
                         kinds.data, show->id, show->published, tsk_plural(show->published),
                         show->id);
    else if (!found)
        rc = tsk_err_set(err, TSK_NO, "show: there is no %s \"%s\"%s%s in the store", kinds.data,
                         show->id, show->opts->batch ? " in batch " : "",
                         show->opts->batch ? show->opts->batch : "");
    tsk_buf_fini(&kinds);
    return rc;
}

/* ---- what belongs to it */

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct report_column batch_step_columns[] = {
    {"step_id", "STEP", REPORT_INT},         {"sequence", NULL, REPORT_INT},
    {"name", "NAME", REPORT_TEXT},           {"handler_class", "HANDLER", REPORT_TEXT},
    {"attempt", "ATTEMPT", REPORT_INT},      {"status", "STATUS", REPORT_TEXT},
    {"outcome", "OUTCOME", REPORT_TEXT},     {"state", "STATE NOW", REPORT_TEXT},
    {"execution_ms", "TIME", REPORT_MS},     {"retry_at", NULL, REPORT_TIME},
    {"worker_id", "WORKER", REPORT_TEXT},    {"error_category", "CATEGORY", REPORT_TEXT},
    {"error_message", "ERROR", REPORT_TEXT},
};

/* $1 is the batch, $2 how many at most. Where not all are shown those that are not done come
 * first. */
#define BATCH_STEPS(order)                                                                         \
    "SELECT p.step_id, p.sequence_order, s.name, s.handler_class, p.attempt, v.status, "           \
    "v.outcome, s.state, v.execution_ms, v.retry_at, v.worker_id, v.error_category, "              \
    "v.error_message FROM batch_steps p JOIN steps s ON s.id = p.step LEFT JOIN settled_steps v "  \
    "ON v.batch = p.batch AND v.step_id = p.step_id WHERE p.batch = $1 ORDER BY " order            \
    "p.sequence_order LIMIT $2"

static const char batch_steps[] = BATCH_STEPS("");
static const char batch_steps_open_first[] =
    BATCH_STEPS("CASE WHEN v.outcome = 'done' OR s.state = 'complete' THEN 1 ELSE 0 END, ");

static const struct report_column discrepancy_columns[] = {
    {"type", "TYPE", REPORT_TEXT},
    {"step_id", "STEP", REPORT_INT},
    {"detail", "DETAIL", REPORT_TEXT},
};

static const char discrepancies[] =
    "SELECT type, step_id, detail FROM discrepancies WHERE batch = $1 ORDER BY place";

static const struct report_column run_columns[] = {
    {"batch_id", "BATCH", REPORT_TEXT},          {"attempt", "ATTEMPT", REPORT_INT},
    {"batch_state", "BATCH STATE", REPORT_TEXT}, {"status", "STATUS", REPORT_TEXT},
    {"outcome", "OUTCOME", REPORT_TEXT},         {"execution_ms", "TIME", REPORT_MS},
    {"retry_at", "RETRY AT", REPORT_TIME},       {"worker_id", "WORKER", REPORT_TEXT},
    {"error_category", "CATEGORY", REPORT_TEXT}, {"error_message", "ERROR", REPORT_TEXT},
};

static const char runs[] =
    "SELECT b.batch_id, p.attempt, b.state, v.status, v.outcome, v.execution_ms, v.retry_at, "
    "v.worker_id, v.error_category, v.error_message FROM batch_steps p JOIN batches b "
    "ON b.id = p.batch LEFT JOIN settled_steps v ON v.batch = p.batch AND v.step_id = p.step_id "
    "WHERE p.step = $1 ORDER BY p.attempt, p.batch";

/* Prints the rows of a statement about key, as a table of its own. */
static int print_part(struct show *show, struct tsk_store *store, struct report *report,
                      const char *sql, int64_t key, bool limited, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(key),
                                 tsk_value_int(show->limit ? show->limit : INT64_MAX)};
    report->json = show->opts->format == FORMAT_JSON;
    int64_t rows = tsk_store_run(store, sql, values, limited ? 2 : 1, report_row, report, err);
    report_end(report);
    return rows < 0 ? -1 : 0;
}

static int print_batch(struct show *show, struct tsk_store *store, int64_t key, struct tsk_err *err)
{
    static const char count[] = "SELECT count(*) FROM batch_steps WHERE batch = $1";
    struct report steps = {.message_type = "batch_step",
                           .columns = batch_step_columns,
                           .count = COUNT(batch_step_columns),
                           .title = "steps:"};
    struct report differences = {.message_type = "discrepancy",
                                 .columns = discrepancy_columns,
                                 .count = COUNT(discrepancy_columns),
                                 .title = "discrepancies:"};
    struct tsk_value value = tsk_value_int(key);
    int64_t all = 0;
    if (tsk_store_get_int(store, count, &value, 1, &all, err) < 0)
        return -1;
    bool some = show->limit && all > show->limit;
    if (print_part(show, store, &steps, some ? batch_steps_open_first : batch_steps, key, true,
                   err) < 0)
        return -1;
    history_left_out(show->opts, "steps", all - steps.rows);
    return print_part(show, store, &differences, discrepancies, key, false, err);
}

static int print_step(struct show *show, struct tsk_store *store, int64_t key, struct tsk_err *err)
{
    struct report report = {.message_type = "step_run",
                            .columns = run_columns,
                            .count = COUNT(run_columns),
                            .title = "batches that it was in:"};
    return print_part(show, store, &report, runs, key, false, err);
}

static int print_task(struct show *show, struct tsk_store *store, int64_t key, struct tsk_err *err)
{
    struct report report = list_report(&list_steps, show->opts);
    struct query *query = &show->task_steps;
    report.title = "steps:";
    list_select(query, &list_steps, tsk_store_kind(store));
    query_and(query, "s.task = ?", "", tsk_value_int(key));
    query_text(query, " ORDER BY s.id");
    int64_t rows = query_run(query, store, report_row, &report, err);
    report_end(&report);
    return rows < 0 ? -1 : 0;
}

/* ---- all of it */

static int print_subject(struct show *show, struct tsk_store *store, enum subject subject,
                         int64_t key, struct tsk_err *err)
{
    static const struct list *const lists[SUBJECTS] = {&list_tasks, &list_batches, &list_steps};
    static int (*const parts[SUBJECTS])(struct show *, struct tsk_store *, int64_t,
                                        struct tsk_err *) = {print_task, print_batch, print_step};
    struct report report = list_report(lists[subject], show->opts);
    struct query *query = &show->row[subject];
    report.tall = true;
    query->values[0] = tsk_value_int(key);
    if (show->opts->format != FORMAT_JSON)
        out_printf("%s %s", names[subject], show->id);
    int64_t rows = query_run(query, store, report_row, &report, err);
    report_end(&report);
    if (rows < 0 || parts[subject](show, store, key, err) < 0)
        return -1;
    return history_print(store, subject, key, show->opts, show->limit, err);
}

static void prepare(struct show *show, enum subject subject, enum tsk_store_kind kind)
{
    static const struct list *const lists[SUBJECTS] = {&list_tasks, &list_batches, &list_steps};
    list_select(&show->row[subject], lists[subject], kind);
    query_and(&show->row[subject], lists[subject]->key, "", tsk_value_int(0));
}

static int print(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct show *show = ctx;
    for (int s = 0; s < SUBJECTS; s++) {
        if (find(show, store, (enum subject)s, err) < 0)
            return -1;
    }
    if (count_published(show, store, err) < 0 || decide(show, err) < 0)
        return -1;
    for (int s = 0; s < SUBJECTS; s++) {
        prepare(show, (enum subject)s, tsk_store_kind(store));
        for (size_t i = 0; i < show->count[s]; i++) {
            if (i && show->opts->format != FORMAT_JSON)
                out_printf("%s", "");
            if (print_subject(show, store, (enum subject)s, show->keys[s][i], err) < 0)
                return -1;
        }
    }
    return 0;
}

/* Reads "[task | batch | step] ID". */
static bool read_operands(struct show *show, char *const *operands, size_t count)
{
    int wanted = -1;
    struct tsk_err err = TSK_ERR_INIT;
    if (count == 0 || count > 2) {
        diag_error(count ? "show: one id at a time" : "show: an id is missing");
        return false;
    }
    for (int s = 0; s < SUBJECTS && count == 2; s++) {
        if (strcmp(operands[0], names[s]) == 0)
            wanted = s;
    }
    if (count == 2 && wanted < 0) {
        diag_error("show: \"%s\" is not task, batch or step", operands[0]);
        return false;
    }
    show->id = operands[count - 1];
    if (tsk_parse_int(show->id, 1, INT64_MAX, &show->number, &err) < 0)
        show->number = 0;
    for (int s = 0; s < SUBJECTS; s++)
        show->wanted[s] = wanted < 0 ? !show->opts->batch || s == SUBJECT_STEP : s == wanted;
    if (!show->number && (wanted == SUBJECT_TASK || wanted == SUBJECT_STEP)) {
        diag_error("show: the id of a %s is a number, not \"%s\"", names[wanted], show->id);
        return false;
    }
    if (!show->number && !tsk_name_valid(show->id)) {
        diag_error("show: \"%s\" is not %s", show->id, TSK_NAME_RULE);
        return false;
    }
    if (show->opts->batch && !show->wanted[SUBJECT_STEP]) {
        diag_error("show: --batch is for show step");
        return false;
    }
    return true;
}

enum tsk_exit status_show(const struct options *opts, const struct tsk_conf *conf,
                          char *const *operands, size_t count)
{
    struct show show = {.opts = opts, .limit = query_limit(opts, LIMIT)};
    if (opts->format == FORMAT_PROMETHEUS) {
        diag_error("show: --format prometheus is for what is of the whole store");
        return TSK_USAGE;
    }
    if (!read_operands(&show, operands, count))
        return TSK_USAGE;
    enum tsk_exit status = query_store(conf, print, &show);
    for (int s = 0; s < SUBJECTS; s++) {
        free(show.keys[s]);
        query_fini(&show.row[s]);
    }
    query_fini(&show.task_steps);
    return status;
}
