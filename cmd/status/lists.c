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
    list_age(query, opts, list->created);
    list_handler(query, kind, opts, list->handler);
    list_category(query, opts, list->category);
    if (opts->task)
        query_and(query, list->task, "", tsk_value_int(opts->task));
    if (opts->batch)
        query_and(query, list->batch, "", tsk_value_text(opts->batch));
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
