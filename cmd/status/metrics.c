/* --format prometheus: counts of the store and samples, a line each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status/metrics.h"
#include "common/diag.h"
#include "common/out.h"
#include "status/rows.h"
#include "status/trouble.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

struct prom_label {
    const char *name, *value;
};

/* Starts a family: its lines of HELP and TYPE. */
static void prom_family(const char *name, const char *type, const char *help)
{
    out_printf("# HELP %s %s", name, help);
    out_printf("# TYPE %s %s", name, type);
}

static void add_escaped(struct tsk_buf *line, const char *text)
{
    struct tsk_buf plain = TSK_BUF_INIT;
    tsk_plain_str(&plain, text);
    for (const char *c = plain.data; c && *c; c++) {
        if (*c == '\\' || *c == '"')
            tsk_buf_char(line, '\\');
        tsk_buf_char(line, *c);
    }
    tsk_buf_fini(&plain);
}

static void add_name(struct tsk_buf *line, const char *name, const struct prom_label *labels,
                     size_t count)
{
    tsk_buf_str(line, name);
    for (size_t i = 0; i < count; i++) {
        tsk_buf_printf(line, "%s%s=\"", i ? "," : "{", labels[i].name);
        add_escaped(line, labels[i].value);
        tsk_buf_char(line, '"');
    }
    tsk_buf_str(line, count ? "} " : " ");
}

/* A sample. Values of labels may be any text. */
static void prom_sample(const char *name, const struct prom_label *labels, size_t count,
                        int64_t value)
{
    struct tsk_buf line = TSK_BUF_INIT;
    add_name(&line, name, labels, count);
    tsk_buf_printf(&line, "%" PRId64, value);
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

/* The same in seconds, of milliseconds. */
static void prom_seconds(const char *name, const struct prom_label *labels, size_t count,
                         int64_t ms)
{
    struct tsk_buf line = TSK_BUF_INIT;
    add_name(&line, name, labels, count);
    tsk_buf_printf(&line, "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
    out_line(line.data, line.len);
    tsk_buf_fini(&line);
}

/* To count a million rows by state takes a walk over all of an index. But nearly all rows of a
 * store are complete, and both databases count all rows of a table at once faster than those of a
 * condition: so the others are counted by their state, and the complete ones are what is left. All
 * in one transaction, so that it fits. */
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

/* tasker-status metrics, and what the other subcommands print with --format prometheus.
 *
 * All are gauges: what is counted is what stands in the store, and retention takes rows away. */
static int print_counted(struct tsk_store *store, const struct counted *what, struct tsk_err *err)
{
    struct tally tally;
    if (counts_get(store, what, &tally, err) < 0)
        return -1;
    prom_family(what->metric, "gauge", what->help);
    for (size_t i = 0; i < STATES_MOST && what->states[i]; i++) {
        struct prom_label label = {"state", what->states[i]};
        prom_sample(what->metric, &label, 1, tally.by_state[i]);
    }
    return 0;
}

/* A family of one sample, the answer of a statement. */
struct single {
    const char *metric, *help, *sql;
    enum {
        NUMBER,
        MILLISECONDS,
        SINCE
    } unit; /* SINCE: a time, shown as seconds from then to now */
};

static const struct single of_ledger[] = {
    {"tasker_ledger_messages", "Messages in the ledger.", "SELECT count(*) FROM received_results",
     NUMBER},
    {"tasker_ledger_malformed_messages", "Messages in the ledger that could not be read.",
     "SELECT count(*) FROM received_results WHERE reason IS NOT NULL", NUMBER},
    {"tasker_unsettled_batches", "Batches of which the ledger has news that are not settled.",
     "SELECT count(DISTINCT batch_id) FROM unsettled", NUMBER},
    {"tasker_oldest_unsettled_seconds",
     "Since the last message of the batch that has waited longest to be settled; 0 if none waits.",
     "SELECT received_at FROM received_results WHERE batch_id = (SELECT batch_id FROM unsettled "
     "ORDER BY id LIMIT 1) ORDER BY id DESC LIMIT 1",
     SINCE},
};

static const struct single of_batches[] = {
    {"tasker_oldest_unfinished_batch_seconds",
     "Since the oldest batch was made that was published and has not ended; 0 if there is none.",
     "SELECT min(created_at) FROM (SELECT min(created_at) AS created_at FROM batches "
     "WHERE state = 'published' UNION ALL SELECT min(created_at) FROM batches "
     "WHERE state = 'executing') AS oldest",
     SINCE},
    {"tasker_oldest_unsent_batch_seconds",
     "Since the oldest batch was made that no worker has accepted; 0 if there is none.",
     "SELECT min(created_at) FROM batches WHERE state = 'created'", SINCE},
};

static const struct single of_slow[] = {
    {"tasker_slowest_step_seconds", "Time that the slowest step in the store took; 0 if none did.",
     "SELECT max(execution_ms) FROM steps WHERE execution_ms IS NOT NULL", MILLISECONDS},
    {"tasker_slowest_batch_seconds",
     "Time that the slowest batch in the store took; 0 if none did.",
     "SELECT max(execution_ms) FROM settled_batches WHERE execution_ms IS NOT NULL", MILLISECONDS},
};

static int print_singles(struct tsk_store *store, const struct single *singles, size_t count,
                         struct tsk_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct single *single = &singles[i];
        int64_t value = 0;
        int there = tsk_store_get_int(store, single->sql, NULL, 0, &value, err);
        if (there < 0)
            return -1;
        if (there && single->unit == SINCE)
            value = value < tsk_wall_ms() ? tsk_wall_ms() - value : 0;
        prom_family(single->metric, "gauge", single->help);
        if (single->unit == NUMBER)
            prom_sample(single->metric, NULL, 0, value);
        else
            prom_seconds(single->metric, NULL, 0, value);
    }
    return 0;
}

#define SINGLES(store, array, err) print_singles(store, array, sizeof(array) / sizeof *(array), err)

static int print_store(struct tsk_store *store, struct tsk_err *err)
{
    int64_t version, size;
    char schema[24];
    if (tsk_store_version(store, &version, err) < 0 || tsk_store_size(store, &size, err) < 0)
        return -1;
    snprintf(schema, sizeof schema, "%" PRId64, version);
    struct prom_label labels[] = {
        {"backend", tsk_store_kind(store) == TSK_STORE_SQLITE ? "sqlite" : "postgresql"},
        {"schema", schema}};
    prom_family("tasker_store_info", "gauge", "The store: its back end and its schema; always 1.");
    prom_sample("tasker_store_info", labels, 2, 1);
    prom_family("tasker_store_size_bytes", "gauge", "Bytes that the store takes on disk.");
    prom_sample("tasker_store_size_bytes", NULL, 0, size);
    return SINGLES(store, of_ledger, err);
}

static void print_error(const char *of, const char *category, const char *handler, int64_t count)
{
    struct prom_label labels[] = {{"of", of}, {"category", category}, {"handler", handler}};
    prom_sample("tasker_errors", labels, 3, count);
}

static int print_errors(struct tsk_store *store, const struct options *opts, struct tsk_err *err)
{
    prom_family("tasker_errors", "gauge",
                "Failed steps, failed batches and unreadable messages in the store.");
    return errors_count(store, opts, print_error, err);
}

static void print_orphan(const char *kind, int64_t count)
{
    struct prom_label label = {"kind", kind};
    prom_sample("tasker_orphans", &label, 1, count);
}

static int print_orphans(struct tsk_store *store, const struct options *opts, struct tsk_err *err)
{
    prom_family("tasker_orphans", "gauge",
                "Batches and steps of which nothing is heard any more, by kind.");
    return orphans_count(store, opts, print_orphan, err);
}

struct printing {
    unsigned which;
    const struct options *opts;
};

static int print(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    const struct printing *printing = ctx;
    unsigned which = printing->which;
    if (((which & METRICS_STORE) && print_store(store, err) < 0) ||
        ((which & METRICS_TASKS) && print_counted(store, &counted_tasks, err) < 0) ||
        ((which & METRICS_BATCHES) && print_counted(store, &counted_batches, err) < 0) ||
        ((which & METRICS_BATCHES) && SINGLES(store, of_batches, err) < 0) ||
        ((which & METRICS_STEPS) && print_counted(store, &counted_steps, err) < 0) ||
        ((which & METRICS_ERRORS) && print_errors(store, printing->opts, err) < 0) ||
        ((which & METRICS_SLOW) && SINGLES(store, of_slow, err) < 0) ||
        ((which & METRICS_ORPHANS) && print_orphans(store, printing->opts, err) < 0))
        return -1;
    return 0;
}

/* The first filter that was given, or NULL. */
static const char *filter_given(unsigned which, const struct options *opts)
{
    const struct {
        bool given;
        const char *name;
    } filters[] = {
        {opts->state != NULL, "--state"},
        {opts->newer_than >= 0, "--newer-than"},
        {opts->handler != NULL, "--handler"},
        {opts->task != 0, "--task"},
        {opts->batch != NULL, "--batch"},
        {opts->category != NULL, "--category"},
        {opts->limit >= 0, "--limit"},
        {opts->older_than >= 0 && !(which & METRICS_ORPHANS), "--older-than"},
    };
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (filters[i].given)
            return filters[i].name;
    }
    return NULL;
}

enum tsk_exit metrics_print(unsigned which, const char *subcommand, const struct options *opts,
                            const struct tsk_conf *conf, char *const *operands, size_t count)
{
    const char *filter = filter_given(which, opts);
    struct printing printing = {which, opts};
    if (!query_no_operands(subcommand, operands, count))
        return TSK_USAGE;
    if (filter) {
        diag_error("%s: %s is not for --format prometheus: metrics are of the whole store",
                   subcommand, filter);
        return TSK_USAGE;
    }
    return query_store(conf, print, &printing);
}

enum tsk_exit status_metrics(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    if (opts->format == FORMAT_JSON) {
        diag_error("metrics: there is only --format prometheus");
        return TSK_USAGE;
    }
    return metrics_print(METRICS_ALL, "metrics", opts, conf, operands, count);
}
