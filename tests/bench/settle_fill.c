/* settle_fill URL BATCHES STEPS >LINES: fills a store with batches that went well, as publish and
 * collect would: of each step its start and its end, and of each batch its completion are in the
 * ledger, and nothing is settled. The messages go to stdout too, one a line, for a program that
 * only parses them. */
#include <string.h>

#include "bench.h"
#include "collect/ledger.h"
#include "tasker/tasker.h"

enum { GROUP = 50 };

struct fill {
    long batch, last, steps; /* from batch on, before last */
    int64_t offset;
    struct tsk_buf lines;
};

static int add_message(struct tsk_store *store, struct fill *fill, const char *batch_id,
                       const char *type, int64_t step, size_t from, struct tsk_err *err)
{
    struct tsk_ledger_entry entry = {.topic = type,
                                     .raw = fill->lines.data + from,
                                     .len = fill->lines.len - from,
                                     .message_type = type,
                                     .batch_id = batch_id,
                                     .step_id = step,
                                     .source = "bench",
                                     .offset = ++fill->offset};
    int rc = tsk_ledger_insert(store, &entry, "bench", 1000000 + fill->offset, err);
    tsk_buf_char(&fill->lines, '\n');
    return rc < 0 ? -1 : 0;
}

static int add_partial(struct tsk_store *store, struct fill *fill, const char *batch_id,
                       int64_t step, bool ends, struct tsk_err *err)
{
    size_t from = fill->lines.len;
    tsk_buf_printf(&fill->lines,
                   "{\"message_type\":\"partial_result\",\"batch_id\":\"%s\",\"step_id\":%ld,"
                   "\"task_id\":%ld,\"step_name\":\"validate_order\",\"attempt\":1,"
                   "\"status\":\"%s\",\"output\":%s,\"error\":null,\"retryable\":false,"
                   "\"execution_time_ms\":%d,\"worker_id\":\"vm-2683\",\"sequence\":%d,"
                   "\"timestamp\":\"2026-11-23T12:00:00.000Z\",\"execution_metadata\":{"
                   "\"handler_class\":\"Order::Validate\",\"timeout_ms\":30000,\"retry_limit\":3,"
                   "\"handler_config\":{},\"started_at\":\"2026-11-23T12:00:00.000Z\"},"
                   "\"source\":\"bench\",\"offset\":%ld}",
                   batch_id, (long)step, (long)(step / 10 + 1), ends ? "completed" : "in_progress",
                   ends ? "{\"valid\":true,\"total\":12.5}" : "null", ends ? 4 : 0, ends + 1,
                   (long)fill->offset + 1);
    return add_message(store, fill, batch_id, "partial_result", step, from, err);
}

static int add_completion(struct tsk_store *store, struct fill *fill, const char *batch_id,
                          int64_t first, struct tsk_err *err)
{
    size_t from = fill->lines.len;
    tsk_buf_printf(&fill->lines,
                   "{\"message_type\":\"batch_completion\",\"batch_id\":\"%s\","
                   "\"protocol_version\":\"2.0\",\"total_steps\":%ld,\"completed_steps\":%ld,"
                   "\"failed_steps\":0,\"in_progress_steps\":0,\"step_summaries\":[",
                   batch_id, fill->steps, fill->steps);
    for (long i = 0; i < fill->steps; i++)
        tsk_buf_printf(&fill->lines,
                       "%s{\"step_id\":%ld,\"final_status\":\"completed\",\"execution_time_ms\":4,"
                       "\"worker_id\":\"vm-2683\",\"attempt\":1}",
                       i ? "," : "", (long)first + i);
    tsk_buf_printf(&fill->lines, "],\"source\":\"bench\",\"offset\":%ld}", (long)fill->offset + 1);
    return add_message(store, fill, batch_id, "batch_completion", 0, from, err);
}

static int add_outbound(struct tsk_store *store, struct fill *fill, const char *batch_id,
                        int64_t first, struct tsk_err *err)
{
    struct tsk_outbound_claim claim = {"bench", 1000, 2000};
    struct tsk_outbound_step *steps = bench_alloc((size_t)fill->steps * sizeof *steps);
    for (long i = 0; i < fill->steps; i++)
        steps[i] = (struct tsk_outbound_step){.step_id = first + i,
                                              .task_id = (first + i) / 10 + 1,
                                              .attempt = 1,
                                              .retry_limit = 3,
                                              .name = "validate_order",
                                              .handler_class = "Order::Validate"};
    struct tsk_outbound_batch batch = {.batch_id = batch_id,
                                       .body = "{}",
                                       .len = 2,
                                       .step_timeout = 1000,
                                       .steps = steps,
                                       .count = (size_t)fill->steps};
    struct tsk_outbound_acceptance taken = {
        .batch_id = batch_id, .worker_id = "vm-2683", .source = "bench", .at = 2000, .sends = 1};
    int rc = tsk_outbound_add(store, &claim, &batch, err);
    free(steps);
    return rc < 0 ? -1 : tsk_outbound_accept(store, &taken, err);
}

static int add_batches(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct fill *fill = ctx;
    char batch_id[32];
    fill->offset = fill->batch * (2 * fill->steps + 1);
    tsk_buf_reset(&fill->lines);
    for (long b = fill->batch; b < fill->last; b++) {
        int64_t first = b * fill->steps + 1;
        snprintf(batch_id, sizeof batch_id, "bench.%ld", b);
        if (add_outbound(store, fill, batch_id, first, err) < 0)
            return -1;
        for (int64_t i = 0; i < 2 * fill->steps; i++) {
            if (add_partial(store, fill, batch_id, first + i / 2, i % 2, err) < 0)
                return -1;
        }
        if (add_completion(store, fill, batch_id, first, err) < 0 ||
            tsk_ledger_mark(store, batch_id, err) < 0)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        bench_die("usage: settle_fill URL BATCHES STEPS");
    long batches = bench_number(argv[2]);
    struct fill fill = {.steps = bench_number(argv[3])};
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    if (tsk_conf_set(conf, TSK_STORE_URL, argv[1], "the command line", &err) < 0)
        bench_die("%s", err.text);
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!store)
        bench_die("%s", err.text);
    for (; fill.batch < batches; fill.batch = fill.last) {
        fill.last = fill.batch + GROUP < batches ? fill.batch + GROUP : batches;
        if (tsk_store_write(store, add_batches, &fill, 0, &err) < 0)
            bench_die("%s", err.text);
        fwrite(fill.lines.data, 1, fill.lines.len, stdout);
    }
    tsk_buf_fini(&fill.lines);
    tsk_store_free(store);
    tsk_conf_free(conf);
    return fflush(stdout) == 0 ? 0 : 74;
}
