/* tasker-status orphans: what was begun and of which nothing is heard.
 *
 * A step that waits in a batch of which there is news is no orphan, however long it waits; nor is
 * one that runs within its own time limit. The steps of a silent batch that have not begun are
 * counted there and not listed one by one. */
#include "common/out.h"
#include "status/metrics.h"
#include "status/prom.h"
#include "status/query.h"
#include "status/report.h"
#include "tasker/clock.h"
#include "tasker/outbound.h"

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
    "SELECT 'silent_step', " QUERY_BATCH_OF("o.id") ", o.step_id, o.task_id, "                     \
    "o.state, $1 - o.updated_at, o.updated_at, o.worker_id, NULL, NULL FROM "                      \
    "(SELECT s.id, s.step_id, s.task_id, s.state, s.updated_at, s.worker_id FROM steps s "         \
    "WHERE s.state = 'in_progress' AND s.updated_at + coalesce(s.timeout_ms, 0) <= $2 "            \
    "UNION ALL SELECT s.id, s.step_id, s.task_id, s.state, s.updated_at, s.worker_id FROM steps "  \
    "s "                                                                                           \
    "WHERE s.state = 'enqueued' AND s.updated_at <= $2 AND NOT EXISTS (SELECT 1 FROM "             \
    "batch_steps p JOIN batches b ON b.id = p.batch WHERE p.step = s.id AND b.state IN "           \
    "('created', 'published', 'executing'))) AS o ORDER BY o.updated_at"

/* One look into the index for each batch_id that there is, not one for each message. */
#define UNKNOWN_BATCH                                                                              \
    "WITH RECURSIVE d(batch_id) AS (SELECT min(r.batch_id) FROM received_results r "               \
    "WHERE r.batch_id IS NOT NULL UNION ALL SELECT (SELECT min(r.batch_id) FROM "                  \
    "received_results r WHERE r.batch_id > d.batch_id) FROM d WHERE d.batch_id IS NOT NULL) "      \
    "SELECT 'unknown_batch', o.batch_id, NULL, NULL, NULL, $1 - o.last_at, o.last_at, NULL, "      \
    "NULL, "                                                                                       \
    "(SELECT count(*) FROM received_results r WHERE r.batch_id = o.batch_id) FROM "                \
    "(SELECT d.batch_id, (SELECT r.received_at FROM received_results r "                           \
    "WHERE r.batch_id = d.batch_id ORDER BY r.id DESC LIMIT 1) AS last_at FROM d "                 \
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
    KIND("silent_batch", SILENT_BATCH),
    KIND("silent_step", SILENT_STEP),
    KIND("unknown_batch", UNKNOWN_BATCH),
    KIND("unsent_batch", UNSENT_BATCH),
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

int orphans_metrics(struct tsk_store *store, const struct options *opts, struct tsk_err *err)
{
    int64_t now = tsk_wall_ms(), age = opts->older_than < 0 ? AGE_MS : opts->older_than;
    struct tsk_value values[] = {tsk_value_int(now), tsk_value_int(now - age)};
    prom_family("tasker_orphans", "gauge",
                "Batches and steps of which nothing is heard any more, by kind.");
    for (size_t i = 0; i < KINDS; i++) {
        struct prom_label label = {"kind", kinds[i].name};
        int64_t found = 0;
        if (tsk_store_get_int(store, kinds[i].count, values, 2, &found, err) < 0)
            return -1;
        prom_sample("tasker_orphans", &label, 1, found);
    }
    return 0;
}

enum tsk_exit status_orphans(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    if (opts->format == FORMAT_PROMETHEUS)
        return metrics_print(METRICS_ORPHANS, "orphans", opts, conf, operands, count);
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
