/* tasker-status tasks, batches, steps: the newest rows that the filters let through.
 *
 * A statement has only the conditions that were asked for, so that the database can choose the
 * index that fits them. The age is that since the row was made, for all three. */
#include "status/lists.h"

#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "status/metrics.h"
#include "tasker/clock.h"
#include "tasker/parse.h"

enum { LIMIT = 50, STATES_MOST = 16 };

void list_select(struct query *query, const struct list *list)
{
    query_text(query, list->select);
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

/* Adds "column IN (…)" of the words of --state; states is where they are kept. */
static void add_states(struct query *query, const char *column, char *states)
{
    char *rest = NULL;
    const char *before = " IN (";
    query_text(query, " AND ");
    query_text(query, column);
    for (char *word = strtok_r(states, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        query_text(query, before);
        query_add(query, "?", tsk_value_text(word));
        before = ", ";
    }
    query_text(query, ")");
}

/* Whether all words of --state are states of the list, and not too many; else tells which not. */
static bool states_ok(const struct list *list, const char *text)
{
    struct tsk_err err = TSK_ERR_INIT;
    char *states = tsk_strdup(text), *rest = NULL;
    size_t count = 0;
    int rc = 0;
    for (char *word = strtok_r(states, ",", &rest); word && rc == 0;
         word = strtok_r(NULL, ",", &rest), count++) {
        int64_t place;
        rc = tsk_parse_choice(word, list->states, &place, &err);
    }
    if (rc == 0 && (!count || count > STATES_MOST))
        rc = tsk_err_set(&err, TSK_USAGE, "\"%s\" is no list of states (can be: %s)", text,
                         list->states);
    if (rc < 0)
        diag_error("%s: --state: %s", list->name, err.text);
    free(states);
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
    char *states;
    int64_t limit;
};

static int print(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct listing *listing = ctx;
    const struct list *list = listing->list;
    const struct options *opts = listing->opts;
    struct query *query = &listing->query;
    struct report report = list_report(list, opts);
    report.limit = listing->limit;
    report.hint = opts->limit < 0 ? "--limit N shows more, --limit 0 all" : NULL;
    list_select(query, list);
    if (listing->states)
        add_states(query, list->state, listing->states);
    list_age(query, opts, list->created);
    list_handler(query, tsk_store_kind(store), opts, list->handler);
    list_category(query, opts, list->category);
    if (opts->task)
        query_and(query, list->task, "", tsk_value_int(opts->task));
    if (opts->batch)
        query_and(query, list->batch, "", tsk_value_text(opts->batch));
    query_text(query, list->order);
    query_limited(query, listing->limit);
    int64_t rows = query_run(query, store, report_row, &report, err);
    report_end(&report);
    return rows < 0 ? -1 : 0;
}

static enum tsk_exit run(const struct list *list, const struct options *opts,
                         const struct tsk_conf *conf, char *const *operands, size_t count)
{
    if (!query_no_operands(list->name, operands, count) ||
        (opts->state && !states_ok(list, opts->state)))
        return TSK_USAGE;
    struct listing listing = {.list = list, .opts = opts, .limit = query_limit(opts, LIMIT)};
    listing.states = tsk_strdup(opts->state);
    enum tsk_exit status = query_store(conf, print, &listing);
    query_fini(&listing.query);
    free(listing.states);
    return status;
}

enum tsk_exit status_tasks(const struct options *opts, const struct tsk_conf *conf,
                           char *const *operands, size_t count)
{
    if (opts->format == FORMAT_PROMETHEUS)
        return metrics_print(METRICS_TASKS, "tasks", opts, conf, operands, count);
    return run(&list_tasks, opts, conf, operands, count);
}

enum tsk_exit status_batches(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    if (opts->format == FORMAT_PROMETHEUS)
        return metrics_print(METRICS_BATCHES, "batches", opts, conf, operands, count);
    return run(&list_batches, opts, conf, operands, count);
}

enum tsk_exit status_steps(const struct options *opts, const struct tsk_conf *conf,
                           char *const *operands, size_t count)
{
    if (opts->format == FORMAT_PROMETHEUS)
        return metrics_print(METRICS_STEPS, "steps", opts, conf, operands, count);
    return run(&list_steps, opts, conf, operands, count);
}
