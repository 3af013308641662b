/* make_results LINES RECEIPTS RESULTS: writes the lines that a publisher and one worker would have
 * made: the receipts into one file, the results into another, and all of them, in an order in which
 * they may come, to stdout. At least so many lines in all, and at most a batch more. Each run gives
 * the same ones.
 *
 * Batches have 10 to 100 steps, ten of which run at a time, those of the next batch beside the last
 * ones of the one before. Receipts come ahead of the results, as the window of a publisher allows.
 * Each step has its in_progress and its end; a few end in an error. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "bench.h"

enum {
    STEPS_LEAST = 10,
    STEPS_MOST = 100,
    SLOTS = 10,       /* steps at a time */
    AHEAD = 32,       /* batches that have a receipt before their first step starts */
    RING = AHEAD * 2, /* batches kept; those that run are never more than SLOTS */
    FAIL_OF = 50,     /* one step of so many fails */
};

#define SOURCE "01a2097a-623b-72ff-980f-d0a8ff8d3e64"
#define WORKER "vm-2683"
#define CLASS "OrderFulfillment::ValidateOrder"

struct batch {
    long number;
    int64_t first_step; /* the ids of its steps begin with this */
    int steps, started, left, failed;
    int took[STEPS_MOST]; /* ms */
    char fate[STEPS_MOST];
};

struct slot {
    struct batch *batch; /* NULL: free */
    int step;
};

struct maker {
    FILE *receipts, *results;
    uint64_t random;
    int64_t wall_ms, offset, next_step;
    long made, planned, wanted;       /* lines */
    long batches_made, batches_begun; /* receipts told; first step started */
    struct batch ring[RING];
    struct slot slots[SLOTS];
    int running;
    size_t len;
    char line[64 * 1024];
};

static int draw(struct maker *m, int below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (int)(m->random % (uint64_t)below);
}

__attribute__((format(printf, 2, 3))) static void put(struct maker *m, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(m->line + m->len, sizeof m->line - m->len, fmt, args);
    va_end(args);
    if (len < 0 || (m->len += (size_t)len) >= sizeof m->line)
        bench_die("a line is too long");
}

static void put_batch_id(struct maker *m, const struct batch *batch)
{
    put(m, "\"batch_id\":\"01a2097a-624b-7c17-be0d-%012lx\"", (unsigned long)batch->number);
}

/* A time is the wall clock of the day in which all of it happens. */
static void put_time(struct maker *m, const char *key, int64_t ms)
{
    put(m, ",\"%s\":\"2026-11-23T%02d:%02d:%02d.%03dZ\"", key, (int)(ms / 3600000 % 24),
        (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
}

static void end_line(struct maker *m, FILE *own)
{
    m->line[m->len++] = '\n';
    fwrite(m->line, 1, m->len, stdout);
    fwrite(m->line, 1, m->len, own);
    m->len = 0;
    m->made++;
}

static void end_result(struct maker *m)
{
    put(m, ",\"source\":\"" SOURCE "\",\"offset\":%" PRId64 "}", ++m->offset);
    end_line(m, m->results);
}

static void make_receipt(struct maker *m, const struct batch *batch)
{
    put(m, "{\"message_type\":\"batch_published\",");
    put_batch_id(m, batch);
    put_time(m, "published_at", m->wall_ms);
    put(m,
        ",\"delivery\":\"confirmed\",\"worker_id\":\"" WORKER "\",\"source\":\"" SOURCE
        "\",\"result_endpoint\":null,\"total_steps\":%d,\"step_ids\":[",
        batch->steps);
    for (int i = 0; i < batch->steps; i++)
        put(m, "%s%" PRId64, i ? "," : "", batch->first_step + i);
    put(m, "],\"steps\":[");
    for (int i = 0; i < batch->steps; i++)
        put(m,
            "%s{\"step_id\":%" PRId64 ",\"task_id\":%ld,\"step_name\":\"validate_order\","
            "\"handler_class\":\"" CLASS "\",\"attempt\":1,\"retry_limit\":3,\"timeout_ms\":30000}",
            i ? "," : "", batch->first_step + i, batch->number);
    put(m, "],\"attempts\":1}");
    end_line(m, m->receipts);
}

/* What the partial results of a step have in common, up to the metadata. */
static void put_partial(struct maker *m, const struct slot *slot, const char *status)
{
    const struct batch *batch = slot->batch;
    put(m, "{\"message_type\":\"partial_result\",");
    put_batch_id(m, batch);
    put(m,
        ",\"step_id\":%" PRId64 ",\"task_id\":%ld,\"step_name\":\"validate_order\",\"attempt\":1,"
        "\"status\":\"%s\"",
        batch->first_step + slot->step, batch->number, status);
}

static void put_metadata(struct maker *m, int took, int sequence)
{
    put(m, "\"execution_time_ms\":%d,\"worker_id\":\"" WORKER "\",\"sequence\":%d", took, sequence);
    put_time(m, "timestamp", m->wall_ms);
    put(m, ",\"execution_metadata\":{\"handler_class\":\"" CLASS "\",\"timeout_ms\":30000,"
           "\"retry_limit\":3,\"handler_config\":{\"timeout_seconds\":30}");
    put_time(m, "started_at", m->wall_ms - took);
}

static void make_start(struct maker *m, const struct slot *slot)
{
    put_partial(m, slot, "in_progress");
    put(m, ",\"output\":null,\"error\":null,\"retryable\":false,");
    put_metadata(m, 0, 1);
    put(m, "}");
    end_result(m);
}

static void put_error(struct maker *m)
{
    put(m, ",\"output\":null,\"error\":{\"message\":\"exit status 75\","
           "\"error_type\":\"HandlerExit\",\"type\":\"HandlerExit\","
           "\"error_category\":\"retryable\",\"backtrace\":[\"order 12345: stock is locked\","
           "\"try again\"],\"retryable\":true,\"exit_status\":75},\"retryable\":true,");
}

static void make_end(struct maker *m, const struct slot *slot)
{
    bool failed = slot->batch->fate[slot->step];
    int took = slot->batch->took[slot->step];
    put_partial(m, slot, failed ? "failed" : "completed");
    if (failed)
        put_error(m);
    else
        put(m,
            ",\"output\":{\"valid\":true,\"lines\":%d,\"total\":%d.%02d,\"currency\":\"EUR\"},"
            "\"error\":null,\"retryable\":false,",
            took % 7 + 1, draw(m, 1000), draw(m, 100));
    put_metadata(m, took, 2);
    put(m, ",\"resources\":{\"user_ms\":%d,\"system_ms\":1,\"max_rss_kb\":6528},", took / 2);
    put(m, "\"output_bytes\":%d,\"error_category\":%s}", failed ? 0 : 63,
        failed ? "\"retryable\"" : "null");
    end_result(m);
}

static void make_completion(struct maker *m, const struct batch *batch)
{
    put(m, "{\"message_type\":\"batch_completion\",");
    put_batch_id(m, batch);
    put(m,
        ",\"protocol_version\":\"2.0\",\"worker_id\":\"" WORKER "\",\"total_steps\":%d,"
        "\"completed_steps\":%d,\"failed_steps\":%d,\"in_progress_steps\":0,\"step_summaries\":[",
        batch->steps, batch->steps - batch->failed, batch->failed);
    for (int i = 0; i < batch->steps; i++)
        put(m,
            "%s{\"step_id\":%" PRId64 ",\"final_status\":\"%s\",\"execution_time_ms\":%d,"
            "\"worker_id\":\"" WORKER "\",\"attempt\":1}",
            i ? "," : "", batch->first_step + i, batch->fate[i] ? "failed" : "completed",
            batch->took[i]);
    put(m, "],\"total_execution_time_ms\":%d", batch->steps * 4);
    put_time(m, "completed_at", m->wall_ms);
    end_result(m);
}

/* Makes a batch and its receipt. Returns false when there are lines enough. */
static bool make_batch(struct maker *m)
{
    if (m->planned >= m->wanted)
        return false;
    struct batch *batch = &m->ring[m->batches_made % RING];
    *batch = (struct batch){.number = ++m->batches_made, .first_step = m->next_step};
    batch->steps = batch->left = STEPS_LEAST + draw(m, STEPS_MOST - STEPS_LEAST + 1);
    m->next_step += batch->steps;
    m->planned += 2 + 2 * batch->steps;
    make_receipt(m, batch);
    return true;
}

/* Starts the next step in a free slot. Returns false if there is none to start. */
static bool start_step(struct maker *m, struct slot *slot)
{
    while (m->batches_made < m->batches_begun + AHEAD && make_batch(m))
        ;
    if (m->batches_begun == m->batches_made)
        return false;
    slot->batch = &m->ring[m->batches_begun % RING];
    slot->step = slot->batch->started++;
    if (slot->batch->started == slot->batch->steps)
        m->batches_begun++;
    slot->batch->took[slot->step] = 1 + draw(m, 12);
    slot->batch->fate[slot->step] = !draw(m, FAIL_OF);
    m->running++;
    make_start(m, slot);
    return true;
}

static void end_step(struct maker *m, struct slot *slot)
{
    struct batch *batch = slot->batch;
    make_end(m, slot);
    batch->failed += batch->fate[slot->step];
    if (!--batch->left)
        make_completion(m, batch);
    slot->batch = NULL;
    m->running--;
}

static void make_all(struct maker *m)
{
    do {
        for (int i = 0; i < SLOTS; i++) {
            if (!m->slots[i].batch && !start_step(m, &m->slots[i]))
                break;
        }
        struct slot *slot = &m->slots[draw(m, SLOTS)];
        if (slot->batch)
            end_step(m, slot);
        m->wall_ms += !draw(m, 3);
    } while (m->running || m->planned < m->wanted);
}

static FILE *open_file(const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        bench_die("%s: %s", path, strerror(errno));
    setvbuf(file, NULL, _IOFBF, 1 << 20);
    return file;
}

int main(int argc, char **argv)
{
    static struct maker maker = {.random = 0x9E3779B97F4A7C15u, .next_step = 1};
    if (argc != 4)
        bench_die("usage: make_results LINES RECEIPTS RESULTS");
    maker.wanted = bench_number(argv[1]);
    maker.receipts = open_file(argv[2]);
    maker.results = open_file(argv[3]);
    setvbuf(stdout, NULL, _IOFBF, 1 << 20);
    make_all(&maker);
    bool bad = fclose(maker.receipts);
    bad |= fclose(maker.results) != 0;
    bad |= fclose(stdout) != 0;
    if (bad)
        bench_die("cannot write all lines");
    return 0;
}
