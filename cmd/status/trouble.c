/* tasker-status errors and orphans. Errors: what has failed, by category and handler: steps (as
 * they stand now), batches that failed as a whole, and messages of the ledger that could not be
 * read.
 *
 * Groups are known by what is shown of them, so that two names that differ only in characters that
 * are not shown are one, and no line of the metrics is there twice. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/out.h"
#include "status/lists.h"
#include "status/rows.h"
#include "status/trouble.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/map.h"
#include "tasker/outbound.h"

struct group {
    char *category, *handler; /* as they are shown; the handler may be "" */
    const char *of;           /* "step", "batch", "message" */
    int64_t count, first_at, last_at;
    char *raw_category, *raw_handler; /* of the one seen last, to find an example; or NULL */
    char *example;
};

struct errors {
    const struct options *opts;
    struct tsk_map *groups;
    struct report report; /* only for its parser */
    struct query known, unknown, batches, messages;
    struct group **sorted;
    size_t shown;
};

static void free_group(void *value)
{
    struct group *group = value;
    free(group->category);
    free(group->handler);
    free(group->raw_category);
    free(group->raw_handler);
    free(group->example);
    free(group);
}

static char *plain_copy(const char *data, size_t len)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_plain_add(&text, data, len);
    return text.data;
}

/* A copy of a value as it is (to be freed), or NULL. */
static char *copy(const struct tsk_value *value)
{
    struct tsk_buf text = TSK_BUF_INIT;
    if (value->type != TSK_NULL && value->type != TSK_INT) {
        tsk_buf_str(&text, "");
        tsk_buf_add(&text, value->data, value->len);
    }
    return text.data;
}

/* Finds or makes a group; takes category and handler. */
static struct group *group_of(struct errors *errors, const char *of, char *category, char *handler)
{
    struct tsk_buf key = TSK_BUF_INIT;
    tsk_buf_printf(&key, "%s\n%s\n%s", of, category, handler);
    struct group *group = tsk_map_get(errors->groups, key.data);
    if (group) {
        free(category);
        free(handler);
    } else {
        group = tsk_alloc(sizeof *group);
        *group = (struct group){.category = category, .handler = handler, .of = of};
        tsk_map_put(errors->groups, key.data, group);
    }
    tsk_buf_fini(&key);
    return group;
}

/* Counts some more into a group. Returns whether they are the newest of it. */
static bool count_in(struct group *group, int64_t count, int64_t first_at, int64_t last_at)
{
    bool newest = !group->count || last_at >= group->last_at;
    if (!group->count || first_at < group->first_at)
        group->first_at = first_at;
    if (newest)
        group->last_at = last_at;
    group->count += count;
    return newest;
}

/* Row: category or null, handler_class, count, first, last. */
static int take_steps(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct errors *errors = ctx;
    char *category = columns && row[0].type != TSK_NULL ? plain_copy(row[0].data, row[0].len)
                                                        : tsk_strdup("unknown");
    struct group *group = group_of(errors, "step", category, plain_copy(row[1].data, row[1].len));
    if (count_in(group, row[2].number, row[3].number, row[4].number)) {
        free(group->raw_category);
        free(group->raw_handler);
        group->raw_category = copy(&row[0]);
        group->raw_handler = copy(&row[1]);
    }
    return 0;
}

/* Row: the error, its time. Its category is only in the text. */
static int take_batch(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct errors *errors = ctx;
    struct json_object *error = report_json(&errors->report.parser, REPORT_JSON, &row[0]);
    const char *category = tsk_json_str(error, "error_category");
    const char *wanted = errors->opts->category;
    if (!category)
        category = "unknown";
    if (columns && (!wanted || strcmp(wanted, category) == 0)) {
        char *shown = plain_copy(category, strlen(category));
        struct group *group = group_of(errors, "batch", shown, tsk_strdup(""));
        if (count_in(group, 1, row[1].number, row[1].number)) {
            free(group->example);
            group->example = copy(&row[0]);
        }
    }
    json_object_put(error);
    return 0;
}

/* Row: reason, time. */
static int take_message(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct errors *errors = ctx;
    struct group *group =
        group_of(errors, "message", tsk_strdup("malformed"), tsk_strdup(columns ? "" : NULL));
    if (count_in(group, 1, row[1].number, row[1].number)) {
        free(group->example);
        group->example = copy(&row[0]);
    }
    return 0;
}

/* A step has failed when it came into error last, whatever has become of it since; what an operator
 * has resolved or cancelled is no error any more. */
#define OF_STEPS                                                                                   \
    "SELECT f.error_category, f.handler_class, count(*), min(f.at), max(f.at) FROM (SELECT "       \
    "s.error_category, s.handler_class, " FAILED_AT " AS at FROM steps s WHERE " OPEN
#define FAILED_AT                                                                                  \
    "coalesce((SELECT max(t.created_at) FROM step_transitions t WHERE t.step = s.id AND "          \
    "t.to_state = 'error'), s.updated_at)"
#define OPEN "s.state NOT IN ('resolved_manually', 'cancelled')"
#define UNKNOWN "s.state = 'error' AND s.error_category IS NULL"

static int ask_steps(struct errors *errors, struct tsk_store *store, struct tsk_err *err)
{
    struct query *queries[] = {&errors->known, &errors->unknown};
    static const char *const texts[] = {OF_STEPS " AND s.error_category IS NOT NULL",
                                        OF_STEPS " AND " UNKNOWN};
    for (size_t i = 0; i < 2; i++) {
        query_text(queries[i], texts[i]);
        list_handler(queries[i], tsk_store_kind(store), errors->opts, "@");
        list_category(queries[i], errors->opts, "@");
        query_text(queries[i], ") f WHERE 1 = 1");
        list_age(queries[i], errors->opts, "f.at");
        query_text(queries[i], " GROUP BY f.error_category, f.handler_class");
        if (query_run(queries[i], store, take_steps, errors, err) < 0)
            return -1;
    }
    return 0;
}

/* clang-format off */
#define OF_BATCHES(JOIN)                                                                           \
    QUERY_EACH("batch", "settled_batches", "r.error IS NOT NULL")                                  \
    "SELECT v.error, b.updated_at FROM each_one e"                                                 \
    JOIN("settled_batches", "v", "v.batch = e.batch") JOIN("batches", "b", "b.id = e.batch")       \
    " WHERE 1 = 1"
#define OF_MESSAGES(JOIN)                                                                          \
    QUERY_EACH("received_at", "received_results", "r.reason IS NOT NULL")                          \
    "SELECT m.reason, m.received_at FROM each_one e"                                               \
    JOIN("received_results", "m", "m.received_at = e.received_at AND m.reason IS NOT NULL")        \
    " WHERE 1 = 1"
/* clang-format on */
static const char batches_sqlite[] = OF_BATCHES(TSK_JOIN_SQLITE);
static const char batches_postgresql[] = OF_BATCHES(TSK_JOIN_POSTGRESQL);
static const char messages_sqlite[] = OF_MESSAGES(TSK_JOIN_SQLITE);
static const char messages_postgresql[] = OF_MESSAGES(TSK_JOIN_POSTGRESQL);

/* What has no handler. */
static int ask_others(struct errors *errors, struct tsk_store *store, struct tsk_err *err)
{
    const char *category = errors->opts->category;
    query_text(&errors->batches, TSK_SQL(store, batches_sqlite, batches_postgresql));
    list_age(&errors->batches, errors->opts, "b.updated_at");
    if (query_run(&errors->batches, store, take_batch, errors, err) < 0)
        return -1;
    if (category && strcmp(category, "malformed") != 0)
        return 0;
    query_text(&errors->messages, TSK_SQL(store, messages_sqlite, messages_postgresql));
    list_age(&errors->messages, errors->opts, "m.received_at");
    return query_run(&errors->messages, store, take_message, errors, err) < 0 ? -1 : 0;
}

static int take_example(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct group *group = ctx;
    if (columns && !group->example)
        group->example = copy(&row[0]);
    return 1;
}

#define OF_GROUP                                                                                   \
    "SELECT s.error FROM steps s WHERE s.handler_class = $1 AND s.updated_at >= $2 AND " FAILED_AT \
    " = $2 AND " OPEN

/* Looks for the newest error of a group of steps. */
static int ask_example(struct group *group, struct tsk_store *store, struct tsk_err *err)
{
    static const char known[] = OF_GROUP " AND s.error_category = $3 LIMIT 1";
    static const char unknown[] = OF_GROUP " AND " UNKNOWN " LIMIT 1";
    struct tsk_value values[] = {tsk_value_text(group->raw_handler), tsk_value_int(group->last_at),
                                 tsk_value_text(group->raw_category)};
    if (!group->raw_handler)
        return 0;
    return tsk_store_run(store, group->raw_category ? known : unknown, values,
                         group->raw_category ? 3 : 2, take_example, group, err) < 0
               ? -1
               : 0;
}

/* Most first; then the newest. */
static int compare(const void *left, const void *right)
{
    const struct group *a = *(struct group *const *)left, *b = *(struct group *const *)right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return a->last_at < b->last_at   ? 1
           : a->last_at > b->last_at ? -1
                                     : strcmp(a->handler, b->handler);
}

static void sort(struct errors *errors)
{
    size_t count = tsk_map_count(errors->groups), n = 0;
    errors->sorted = tsk_alloc((count + 1) * sizeof *errors->sorted);
    for (struct tsk_map_entry *e = tsk_map_first(errors->groups); e; e = tsk_map_next(e))
        errors->sorted[n++] = tsk_map_value(e);
    qsort(errors->sorted, count, sizeof *errors->sorted, compare);
    int64_t limit = query_limit(errors->opts, 0);
    errors->shown = limit && (int64_t)count > limit ? (size_t)limit : count;
}

static int collect(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct errors *errors = ctx;
    int rc = ask_steps(errors, store, err);
    if (rc == 0 && !errors->opts->handler)
        rc = ask_others(errors, store, err);
    if (rc == 0)
        sort(errors);
    for (size_t i = 0; rc == 0 && i < errors->shown; i++)
        rc = ask_example(errors->sorted[i], store, err);
    return rc;
}

static struct tsk_value text_or_null(const char *text)
{
    return tsk_value_text(text && *text ? text : NULL);
}

static void print(struct errors *errors)
{
    static const struct report_column columns[] = {
        {"of", "OF", REPORT_TEXT},
        {"category", "CATEGORY", REPORT_TEXT},
        {"handler", "HANDLER", REPORT_TEXT},
        {"count", "COUNT", REPORT_INT},
        {"first_at", NULL, REPORT_TIME},
        {"last_at", "LAST", REPORT_TIME},
        {"example", "EXAMPLE", REPORT_ERROR},
    };
    errors->report.message_type = "error_group";
    errors->report.columns = columns;
    errors->report.count = sizeof columns / sizeof *columns;
    errors->report.json = errors->opts->format == FORMAT_JSON;
    for (size_t i = 0; i < errors->shown; i++) {
        const struct group *group = errors->sorted[i];
        struct tsk_value row[] = {
            tsk_value_text(group->of),      text_or_null(group->category),
            text_or_null(group->handler),   tsk_value_int(group->count),
            tsk_value_int(group->first_at), tsk_value_int(group->last_at),
            tsk_value_text(group->example),
        };
        report_row(&errors->report, row, sizeof row / sizeof *row);
    }
}

static struct errors begin(const struct options *opts)
{
    return (struct errors){.opts = opts, .groups = tsk_map_new(free_group)};
}

static void fini(struct errors *errors)
{
    report_end(&errors->report);
    tsk_map_free(errors->groups);
    query_fini(&errors->known);
    query_fini(&errors->unknown);
    query_fini(&errors->batches);
    query_fini(&errors->messages);
    free(errors->sorted);
}

int errors_count(struct tsk_store *store, const struct options *opts,
                 void (*each)(const char *of, const char *category, const char *handler,
                              int64_t count),
                 struct tsk_err *err)
{
    struct errors errors = begin(opts);
    int rc = collect(store, &errors, err);
    for (size_t i = 0; rc == 0 && i < errors.shown; i++) {
        const struct group *group = errors.sorted[i];
        each(group->of, group->category, group->handler, group->count);
    }
    fini(&errors);
    return rc;
}

enum tsk_exit status_errors(const struct options *opts, const struct tsk_conf *conf,
                            char *const *operands, size_t count)
{
    if (!query_no_operands("errors", operands, count))
        return TSK_USAGE;
    struct errors errors = begin(opts);
    enum tsk_exit status = query_store(conf, collect, &errors);
    if (status == TSK_OK) {
        print(&errors);
        status = errors.shown ? TSK_NO : TSK_OK;
    }
    fini(&errors);
    return status;
}

/* tasker-status orphans: what was begun and of which nothing is heard.
 *
 * A step that waits in a batch of which there is news is no orphan, however long it waits; nor is
 * one that runs within its own time limit. The steps of a silent batch that have not begun are
 * counted there and not listed one by one. */
enum { LIMIT = 50, AGE_MS = 60000 };

/* All statements give these columns; $1 is now, $2 the time since which there must be no news. */
static const struct report_column columns[] = {
    {"kind", "KIND", REPORT_TEXT},
    {"batch_id", "BATCH", REPORT_TEXT},
    {"step_id", "STEP", REPORT_INT},
    {"task_id", "TASK", REPORT_INT},
    {"state", "STATE", REPORT_TEXT},
    {"silent_ms", "SILENT FOR", REPORT_MS},
    {"last_at", "LAST NEWS", REPORT_TIME},
    {"worker_id", "WORKER", REPORT_TEXT},
    {"open_steps", "OPEN STEPS", REPORT_INT},
    {"messages", "MESSAGES", REPORT_INT},
};

#define SILENT_BATCH                                                                               \
    "SELECT 'silent_batch', o.batch_id, NULL, NULL, o.state, $1 - o.last_at, o.last_at, "          \
    "o.accepted_by, (SELECT count(*) FROM batch_steps p JOIN steps s ON s.id = p.step "            \
    "WHERE p.batch = o.id AND s.state IN ('pending', 'enqueued', 'in_progress')), "                \
    "(SELECT count(*) FROM received_results r WHERE r.batch_id = o.batch_id) FROM "                \
    "(SELECT b.id, b.batch_id, b.state, b.accepted_by, coalesce((SELECT r.received_at "            \
    "FROM received_results r WHERE r.batch_id = b.batch_id ORDER BY r.id DESC LIMIT 1), "          \
    "b.published_at, b.created_at) AS last_at FROM batches b "                                     \
    "WHERE b.state IN ('published', 'executing') AND b.created_at <= $2) AS o "                    \
    "WHERE o.last_at <= $2 ORDER BY o.last_at"

#define SILENT_STEP                                                                                \
    "SELECT 'silent_step', " QUERY_BATCH_OF(                                                       \
        "o.id") ", o.step_id, o.task_id, "                                                         \
                "o.state, $1 - o.updated_at, o.updated_at, o.worker_id, NULL, NULL FROM "          \
                "(SELECT s.id, s.step_id, s.task_id, s.state, s.updated_at, s.worker_id FROM "     \
                "steps s "                                                                         \
                "WHERE s.state = 'in_progress' AND s.updated_at + coalesce(s.timeout_ms, 0) <= "   \
                "$2 "                                                                              \
                "UNION ALL SELECT s.id, s.step_id, s.task_id, s.state, s.updated_at, s.worker_id " \
                "FROM steps "                                                                      \
                "s "                                                                               \
                "WHERE s.state = 'enqueued' AND s.updated_at <= $2 AND NOT EXISTS (SELECT 1 FROM " \
                "batch_steps p JOIN batches b ON b.id = p.batch WHERE p.step = s.id AND b.state "  \
                "IN "                                                                              \
                "('created', 'published', 'executing'))) AS o ORDER BY o.updated_at"

/* One look into the index for each batch_id that there is, not one for each message. */
#define UNKNOWN_BATCH                                                                              \
    QUERY_EACH("batch_id", "received_results", "r.batch_id IS NOT NULL")                           \
    "SELECT 'unknown_batch', o.batch_id, NULL, NULL, NULL, $1 - o.last_at, o.last_at, NULL, "      \
    "NULL, "                                                                                       \
    "(SELECT count(*) FROM received_results r WHERE r.batch_id = o.batch_id) FROM "                \
    "(SELECT d.batch_id, (SELECT r.received_at FROM received_results r "                           \
    "WHERE r.batch_id = d.batch_id ORDER BY r.id DESC LIMIT 1) AS last_at FROM each_one d "        \
    "WHERE d.batch_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM batches b "                        \
    "WHERE b.batch_id = d.batch_id)) AS o WHERE o.last_at <= $2 ORDER BY o.last_at"

#define IS_REFUSED                                                                                 \
    "EXISTS (SELECT 1 FROM received_results f WHERE " TSK_OUTBOUND_REFUSES("f", "b.batch_id") ")"
/* The steps of a batch but for those that have ended, such as cancelled ones: none of them, and
 * nobody waits for it. */
#define OPEN_STEPS                                                                                 \
    "b.total_steps - (SELECT count(*) FROM batch_steps p JOIN steps s ON s.id = p.step "           \
    "WHERE p.batch = b.id AND s.state NOT IN ('pending', 'enqueued', 'in_progress'))"
#define UNSENT_BATCH                                                                               \
    "SELECT 'unsent_batch', b.batch_id, NULL, NULL, b.state, $1 - b.created_at, b.created_at, "    \
    "NULL, " OPEN_STEPS ", NULL FROM batches b WHERE b.state = 'created' AND b.created_at <= $2 "  \
    "AND " OPEN_STEPS " > 0 AND NOT " IS_REFUSED " ORDER BY b.created_at"

/* It is refused, and reconcile has not looked at that. */
#define REFUSED_BATCH                                                                              \
    "SELECT 'refused_batch', b.batch_id, NULL, NULL, b.state, $1 - b.created_at, b.created_at, "   \
    "NULL, b.total_steps, NULL FROM batches b WHERE b.state = 'created' AND b.created_at <= $2 "   \
    "AND " IS_REFUSED " ORDER BY b.created_at"

struct kind {
    const char *name, *sql, *count;
};

#define KIND(name, sql)                                                                            \
    {                                                                                              \
        name, sql, "SELECT count(*) FROM (" sql ") AS counted"                                     \
    }

static const struct kind kinds[] = {
    KIND("silent_batch", SILENT_BATCH),   KIND("silent_step", SILENT_STEP),
    KIND("unknown_batch", UNKNOWN_BATCH), KIND("unsent_batch", UNSENT_BATCH),
    KIND("refused_batch", REFUSED_BATCH),
};

enum { KINDS = sizeof kinds / sizeof *kinds };

struct orphans {
    const struct options *opts;
    struct query queries[KINDS];
    struct report report;
    int64_t found;
};

/* Row by row, of one kind; the limit is one of each kind. */
struct taking {
    struct orphans *orphans;
    int64_t rows, limit;
};

static int take(void *ctx, const struct tsk_value *row, size_t count)
{
    struct taking *taking = ctx;
    struct orphans *orphans = taking->orphans;
    if (taking->limit && taking->rows == taking->limit) {
        orphans->report.more = true;
        return 1;
    }
    taking->rows++;
    orphans->found++;
    return report_row(&orphans->report, row, count);
}

static int ask(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct orphans *orphans = ctx;
    const struct options *opts = orphans->opts;
    int64_t now = tsk_wall_ms(), limit = query_limit(opts, LIMIT);
    int64_t age = opts->older_than < 0 ? AGE_MS : opts->older_than;
    for (size_t i = 0; i < KINDS; i++) {
        struct taking taking = {orphans, 0, limit};
        struct query *query = &orphans->queries[i];
        query_text(query, kinds[i].sql);
        query_value(query, tsk_value_int(now));
        query_value(query, tsk_value_int(now - age));
        query_limited(query, limit);
        if (query_run(query, store, take, &taking, err) < 0)
            return -1;
    }
    return 0;
}

int orphans_count(struct tsk_store *store, const struct options *opts,
                  void (*each)(const char *kind, int64_t count), struct tsk_err *err)
{
    int64_t now = tsk_wall_ms(), age = opts->older_than < 0 ? AGE_MS : opts->older_than;
    struct tsk_value values[] = {tsk_value_int(now), tsk_value_int(now - age)};
    for (size_t i = 0; i < KINDS; i++) {
        int64_t found = 0;
        if (tsk_store_get_int(store, kinds[i].count, values, 2, &found, err) < 0)
            return -1;
        each(kinds[i].name, found);
    }
    return 0;
}

enum tsk_exit status_orphans(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    if (!query_no_operands("orphans", operands, count))
        return TSK_USAGE;
    struct orphans orphans = {.opts = opts,
                              .report = {.message_type = "orphan",
                                         .columns = columns,
                                         .count = sizeof columns / sizeof *columns,
                                         .json = opts->format == FORMAT_JSON,
                                         .hint = "--limit N shows more of each kind, 0 all"}};
    enum tsk_exit status = query_store(conf, ask, &orphans);
    report_end(&orphans.report);
    for (size_t i = 0; i < KINDS; i++)
        query_fini(&orphans.queries[i]);
    return status == TSK_OK && orphans.found ? TSK_NO : status;
}
