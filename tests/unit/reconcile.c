/* The reconciliation, without sockets and files: every verdict, every kind of discrepancy, every
 * outcome, the times at which verdicts come, any order of the same messages, bounded memory. */
#include "tasker/reconcile.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "workflow/reconcile_private.h"
#include "check.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

#ifdef __SANITIZE_ADDRESS__
#define MEMORY_MEANS_LITTLE true /* freed memory is kept aside there */
#else
#define MEMORY_MEANS_LITTLE false
#endif

/* What was told: the verdicts as JSON, of the last one what the tests look at most. */
struct told {
    int count;
    enum tsk_verdict_kind kind;
    int64_t revision;
    int types[TSK_LATE_RESULT + 1]; /* discrepancies of each type, in all verdicts */
    int discrepancies;
    struct tsk_buf json;
};

struct test {
    struct tsk_reconcile *reconcile;
    struct tsk_json *parser;
    struct told told;
    int64_t now;
    struct tsk_err err;
};

static void tell(void *ctx, const struct tsk_verdict *verdict)
{
    struct told *told = ctx;
    told->count++;
    told->kind = verdict->kind;
    told->revision = verdict->revision;
    for (size_t i = 0; i < verdict->discrepancy_count; i++)
        told->types[verdict->discrepancies[i].type]++;
    told->discrepancies += (int)verdict->discrepancy_count;
    tsk_buf_reset(&told->json);
    tsk_verdict_json(verdict, &told->json);
}

static void begin_with(struct test *test, const struct tsk_reconcile_opts *opts)
{
    *test = (struct test){.parser = tsk_json_new()};
    test->reconcile = tsk_reconcile_new(opts, tell, &test->told);
}

static void begin(struct test *test)
{
    const struct tsk_reconcile_opts opts = TSK_RECONCILE_OPTS_INIT;
    begin_with(test, &opts);
}

static void end(struct test *test)
{
    tsk_reconcile_free(test->reconcile);
    tsk_json_free(test->parser);
    tsk_buf_fini(&test->told.json);
}

static int feed(struct test *test, const char *text)
{
    struct json_object *message = tsk_json_object(test->parser, text, strlen(text), &test->err);
    if (!CHECK(message)) {
        fprintf(stderr, "%s: %s\n", test->err.text, text);
        return -2;
    }
    int rc = tsk_reconcile_feed(test->reconcile, message, test->now, &test->err);
    json_object_put(message);
    return rc;
}

__attribute__((format(printf, 2, 3))) static int feedf(struct test *test, const char *fmt, ...)
{
    struct tsk_buf text = TSK_BUF_INIT;
    va_list args;
    va_start(args, fmt);
    tsk_buf_vprintf(&text, fmt, args);
    va_end(args);
    int rc = feed(test, text.data);
    tsk_buf_fini(&text);
    return rc;
}

static void finish(struct test *test)
{
    tsk_reconcile_finish(test->reconcile);
    CHECK_INT(tsk_reconcile_open(test->reconcile), 0);
}

/* Messages of batch b with the steps 1 and 2, both completed. */
static const char *const receipt =
    "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"total_steps\":2,\"step_ids\":[1,2],"
    "\"steps\":[{\"step_id\":1,\"task_id\":9,\"step_name\":\"one\",\"attempt\":1,"
    "\"retry_limit\":3},{\"step_id\":2,\"task_id\":9,\"step_name\":\"two\",\"attempt\":1,"
    "\"retry_limit\":3}],\"published_at\":\"2026-01-24T12:00:00Z\"}";
static const char *const completion =
    "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":2,"
    "\"completed_steps\":2,\"failed_steps\":0,\"in_progress_steps\":0,\"step_summaries\":["
    "{\"step_id\":1,\"final_status\":\"completed\"},{\"step_id\":2,\"final_status\":"
    "\"completed\"}]}";

static int partial(struct test *test, int step, const char *status, int sequence)
{
    return feedf(test,
                 "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":%d,"
                 "\"attempt\":1,\"status\":\"%s\",\"sequence\":%d}",
                 step, status, sequence);
}

static void both_steps(struct test *test)
{
    for (int step = 1; step <= 2; step++) {
        CHECK_INT(partial(test, step, "in_progress", 1), 1);
        CHECK_INT(partial(test, step, "completed", 2), 1);
    }
}

static bool told_has(const struct test *test, const char *text)
{
    bool has = test->told.json.data && strstr(test->told.json.data, text);
    if (!has)
        fprintf(stderr, "lacks %s\nis %s\n", text,
                test->told.json.data ? test->told.json.data : "");
    return has;
}

/* Checks that there was one verdict, of this kind, with this many discrepancies, of which one is
 * of type. */
static void expect(struct test *test, int line, enum tsk_verdict_kind kind, int discrepancies,
                   enum tsk_discrepancy_type type)
{
    bool ok = test->told.count == 1 && test->told.kind == kind &&
              test->told.discrepancies == discrepancies &&
              (!discrepancies || test->told.types[type] >= 1);
    if (!check_that(ok, __FILE__, line, "the verdict"))
        fprintf(stderr, "%d verdicts, the last %s\n", test->told.count,
                test->told.json.data ? test->told.json.data : "");
}

#define EXPECT(test, kind, discrepancies, type) expect(test, __LINE__, kind, discrepancies, type)
#define NONE TSK_LATE_RESULT

/* --- */

static void test_consistent(void)
{
    struct test t;
    begin(&t);
    CHECK_INT(feed(&t, receipt), 1);
    both_steps(&t);
    CHECK_INT(t.told.count, 0);
    CHECK_INT(feed(&t, completion), 1);
    EXPECT(&t, TSK_CONSISTENT, 0, NONE);
    CHECK(told_has(&t, "\"outcome\":\"done\""));
    CHECK(told_has(&t, "\"step_name\":\"two\""));
    CHECK(told_has(&t, "\"published_at\":\"2026-01-24T12:00:00.000Z\""));
    /* All once more, exactly: nothing new. */
    feed(&t, receipt);
    both_steps(&t);
    feed(&t, completion);
    finish(&t);
    CHECK_INT(t.told.count, 1);
    end(&t);
}

static void test_repeated_messages_are_harmless(void)
{
    struct test t;
    begin(&t);
    for (int i = 0; i < 3; i++)
        feed(&t, receipt);
    for (int i = 0; i < 3; i++)
        partial(&t, 1, "in_progress", 1);
    for (int i = 0; i < 3; i++)
        partial(&t, 1, "completed", 2);
    partial(&t, 1, "in_progress", 1);
    for (int i = 0; i < 2; i++)
        feed(&t, completion);
    partial(&t, 2, "in_progress", 1);
    CHECK_INT(t.told.count, 0);
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 2, TSK_MISSING_PARTIAL); /* step 2: completed by its summary */
    CHECK_INT(t.told.types[TSK_OUT_OF_ORDER], 1);       /* it began after the completion */
    end(&t);
}

static void test_missing(void)
{
    struct test t;
    begin(&t); /* no partial result of step 2 */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    feed(&t, completion);
    CHECK_INT(t.told.count, 0);
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_MISSING_PARTIAL);
    end(&t);

    begin(&t); /* no completion */
    feed(&t, receipt);
    both_steps(&t);
    finish(&t);
    EXPECT(&t, TSK_INCOMPLETE, 1, TSK_MISSING_COMPLETION);
    CHECK(told_has(&t, "\"outcome\":\"done\""));
    end(&t);

    begin(&t); /* nothing but the receipt */
    feed(&t, receipt);
    finish(&t);
    EXPECT(&t, TSK_INCOMPLETE, 3, TSK_MISSING_PARTIAL);
    CHECK(told_has(&t, "\"missing\":2"));
    CHECK(told_has(&t, "\"outcome\":\"unknown\""));
    end(&t);

    begin(&t); /* no summary of step 2 */
    feed(&t, receipt);
    both_steps(&t);
    feed(&t, "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":2,"
             "\"step_summaries\":[{\"step_id\":1,\"final_status\":\"completed\"}]}");
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_MISSING_SUMMARY);
    end(&t);
}

static void test_mismatches(void)
{
    struct test t;
    begin(&t);
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    partial(&t, 2, "failed", 1);
    feed(&t, completion);
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_STATUS_MISMATCH);
    CHECK(told_has(&t, "\"partial\":\"failed\",\"summary\":\"completed\""));
    CHECK(told_has(&t, "\"outcome\":\"unknown\""));
    end(&t);

    begin(&t);
    feed(&t, receipt);
    both_steps(&t);
    feed(&t, "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":3,"
             "\"completed_steps\":1,\"failed_steps\":1,\"in_progress_steps\":1,"
             "\"step_summaries\":[{\"step_id\":1,\"final_status\":\"completed\"},"
             "{\"step_id\":2,\"final_status\":\"completed\"}]}");
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 4, TSK_COUNT_MISMATCH);
    CHECK(told_has(&t, "\"field\":\"total_steps\",\"expected\":2,\"actual\":3"));
    end(&t);

    begin(&t); /* the receipt itself */
    feed(&t, "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"total_steps\":7,"
             "\"step_ids\":[1,2]}");
    both_steps(&t);
    feed(&t, completion);
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_COUNT_MISMATCH);
    end(&t);

    begin(&t); /* a completion without summaries is held against the partial results */
    feed(&t, receipt);
    both_steps(&t);
    feed(&t, "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":2,"
             "\"completed_steps\":1,\"failed_steps\":1}");
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 2, TSK_COUNT_MISMATCH);
    end(&t);
}

static void test_unknown(void)
{
    struct test t;
    begin(&t);
    feed(&t, receipt);
    both_steps(&t);
    partial(&t, 3, "completed", 1);
    feed(&t, completion);
    finish(&t);
    CHECK_INT(t.told.types[TSK_UNKNOWN_STEP], 1);
    CHECK_INT(t.told.types[TSK_MISSING_SUMMARY], 1);
    EXPECT(&t, TSK_DISCREPANT, 2, TSK_UNKNOWN_STEP);
    end(&t);

    begin(&t); /* another batch has a receipt, so this one should have had one */
    feed(&t, "{\"message_type\":\"batch_published\",\"batch_id\":\"other\",\"step_ids\":[]}");
    both_steps(&t);
    feed(&t, completion);
    CHECK_INT(t.told.count, 0);
    finish(&t);
    CHECK_INT(t.told.count, 2);
    CHECK_INT(t.told.types[TSK_UNKNOWN_BATCH], 1);
    CHECK_INT(t.told.kind, TSK_DISCREPANT);
    end(&t);

    begin(&t); /* no receipts at all: none is missed */
    both_steps(&t);
    feed(&t, completion);
    EXPECT(&t, TSK_CONSISTENT, 0, NONE);
    CHECK(told_has(&t, "\"receipt\":false"));
    feed(&t, receipt); /* and one that agrees is no news */
    finish(&t);
    CHECK_INT(t.told.count, 1);
    end(&t);

    struct tsk_reconcile_opts opts = TSK_RECONCILE_OPTS_INIT;
    opts.receipts = TSK_RECEIPTS_ALL;
    begin_with(&t, &opts);
    both_steps(&t);
    feed(&t, completion);
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_UNKNOWN_BATCH);
    end(&t);
}

static void test_conflicts(void)
{
    struct test t;
    begin(&t); /* the summary decides */
    feed(&t, receipt);
    both_steps(&t);
    partial(&t, 2, "failed", 3);
    feed(&t, completion);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_CONFLICTING_RESULT);
    CHECK(told_has(&t, "\"completed\":2,\"failed\":0"));
    end(&t);

    begin(&t); /* nobody decides */
    feed(&t, receipt);
    both_steps(&t);
    partial(&t, 2, "failed", 3);
    finish(&t);
    CHECK_INT(t.told.types[TSK_CONFLICTING_RESULT], 1);
    CHECK(told_has(&t, "\"status\":\"failed\",\"outcome\":\"unknown\""));
    end(&t);

    begin(&t); /* two completions */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    feed(&t, completion);
    feed(&t, "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":1,"
             "\"step_summaries\":[{\"step_id\":1,\"final_status\":\"failed\"}]}");
    finish(&t);
    CHECK(t.told.types[TSK_CONFLICTING_RESULT] >= 2);
    CHECK_INT(t.told.kind, TSK_DISCREPANT);
    end(&t);
}

static void test_order(void)
{
    struct test t;
    begin(&t); /* a gap in the sequence */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    partial(&t, 2, "in_progress", 1);
    partial(&t, 2, "completed", 3);
    feed(&t, completion);
    CHECK_INT(t.told.count, 0); /* number 2 may still come */
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_OUT_OF_ORDER);
    end(&t);

    begin(&t); /* backwards */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    partial(&t, 2, "completed", 2);
    partial(&t, 2, "in_progress", 1);
    feed(&t, completion);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_OUT_OF_ORDER);
    end(&t);

    begin(&t); /* a partial result after the completion */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    feed(&t, completion);
    CHECK_INT(t.told.count, 0);
    partial(&t, 2, "completed", 1);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_OUT_OF_ORDER);
    CHECK(told_has(&t, "\"completed\":2"));
    end(&t);

    begin(&t); /* many progress reports in order, and peers that always send 1 or nothing */
    feed(&t, receipt);
    for (int i = 1; i <= 100; i++)
        partial(&t, 1, "in_progress", i);
    partial(&t, 1, "completed", 101);
    partial(&t, 2, "in_progress", 1);
    partial(&t, 2, "completed", 1);
    feed(&t, completion);
    EXPECT(&t, TSK_CONSISTENT, 0, NONE);
    end(&t);

    begin(&t); /* a gap far behind */
    feed(&t, receipt);
    for (int i = 1; i <= 100; i++)
        partial(&t, 1, "in_progress", i);
    partial(&t, 1, "completed", 102);
    partial(&t, 2, "completed", 1);
    feed(&t, completion);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_OUT_OF_ORDER);
    end(&t);
}

static void test_attempts(void)
{
    static const char *const second =
        "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":2,\"attempt\":2,"
        "\"status\":\"completed\"}";
    struct test t;
    begin(&t); /* an older attempt after a newer one changes nothing */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    feed(&t, second);
    partial(&t, 2, "failed", 1);
    feed(&t, completion);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_LATE_RESULT);
    CHECK(told_has(&t, "\"completed\":2"));
    CHECK(told_has(&t, "\"attempt\":2"));
    end(&t);

    begin(&t); /* a newer attempt replaces an older one */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    partial(&t, 2, "failed", 1);
    feed(&t, second);
    feed(&t, completion);
    EXPECT(&t, TSK_CONSISTENT, 0, NONE);
    end(&t);

    begin(&t); /* the receipt tells a newer attempt than the result is of */
    partial(&t, 1, "completed", 1);
    feed(&t, "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"steps\":["
             "{\"step_id\":1,\"attempt\":4}]}");
    finish(&t);
    CHECK_INT(t.told.types[TSK_LATE_RESULT], 1);
    CHECK(told_has(&t, "\"attempt\":4,\"status\":\"missing\""));
    end(&t);
}

static void test_late(void)
{
    struct test t;
    begin(&t);
    feed(&t, receipt);
    both_steps(&t);
    feed(&t, completion);
    EXPECT(&t, TSK_CONSISTENT, 0, NONE);
    partial(&t, 1, "failed", 3); /* contradicts what was known */
    partial(&t, 7, "completed", 1);
    both_steps(&t); /* known before */
    feed(&t, completion);
    CHECK_INT(t.told.count, 1);
    finish(&t);
    CHECK_INT(t.told.count, 2);
    CHECK_INT(t.told.revision, 2);
    CHECK_INT(t.told.kind, TSK_DISCREPANT);
    CHECK_INT(t.told.types[TSK_LATE_RESULT], 2);
    CHECK_INT(t.told.types[TSK_CONFLICTING_RESULT], 1);
    CHECK(
        told_has(&t, "\"step_id\":1,\"attempt\":1,\"status\":\"failed\",\"outcome\":\"unknown\""));
    partial(&t, 1, "failed", 3); /* told already */
    finish(&t);
    CHECK_INT(t.told.count, 2);
    feed(&t, "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"error\":\"gone\"}");
    finish(&t);
    CHECK_INT(t.told.revision, 3);
    end(&t);
}

static void failed_step(struct test *t, const char *more)
{
    feedf(t,
          "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":5,"
          "\"status\":\"failed\",\"timestamp\":\"2026-01-24T12:00:00Z\"%s}",
          more);
    feed(t, "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":1,"
            "\"failed_steps\":1,\"step_summaries\":[{\"step_id\":5,\"final_status\":\"failed\"}]}");
    finish(t);
    CHECK_INT(t->told.count, 1);
}

static void test_outcomes(void)
{
    static const struct {
        int attempt, limit;
        const char *more, *outcome;
    } cases[] = {
        {1, 3, ",\"retryable\":true", "retry"},
        {2, 3, ",\"retryable\":true", "retry"},
        {3, 3, ",\"retryable\":true", "failed"},
        {1, 0, ",\"retryable\":true", "failed"},
        {1, 1, ",\"retryable\":true", "failed"},
        {1, 3, ",\"retryable\":false", "failed"},
        {1, 3, "", "failed"},
        {1, 3, ",\"error\":{\"error_category\":\"timeout\"}", "retry"},
        {1, 3, ",\"error\":{\"error_category\":\"validation\"}", "failed"},
        {1, 3, ",\"error\":{\"error_category\":\"validation\",\"retryable\":true}", "retry"},
        {1, 3, ",\"retryable\":false,\"error\":{\"retryable\":true}", "failed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test t;
        struct tsk_buf want = TSK_BUF_INIT;
        begin(&t);
        feedf(&t,
              "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"steps\":["
              "{\"step_id\":5,\"attempt\":%d,\"retry_limit\":%d}]}",
              cases[i].attempt, cases[i].limit);
        failed_step(&t, cases[i].more);
        tsk_buf_printf(&want, "\"outcome\":\"%s\"", cases[i].outcome);
        if (!CHECK(told_has(&t, want.data)))
            fprintf(stderr, "case %zu\n", i);
        CHECK((strstr(t.told.json.data, "retry_at") != NULL) == (cases[i].outcome[0] == 'r'));
        tsk_buf_fini(&want);
        end(&t);
    }
}

static void test_retry_at(void)
{
    struct tsk_reconcile_opts opts = TSK_RECONCILE_OPTS_INIT;
    struct test t;
    opts.retry.jitter = 0;
    begin_with(&t, &opts);
    failed_step(&t, ",\"retryable\":true,\"attempt\":2");
    CHECK(told_has(&t, "\"retry_at\":\"2026-01-24T12:00:02.000Z\""));
    end(&t);
    begin_with(&t, &opts);
    failed_step(&t, ",\"retryable\":true,\"error\":{\"retry_after_ms\":1500}");
    CHECK(told_has(&t, "\"retry_at\":\"2026-01-24T12:00:01.500Z\""));
    end(&t);
    begin_with(&t, &opts); /* capped, however far */
    failed_step(&t, ",\"retryable\":true,\"error\":{\"retry_after_ms\":9223372036854775807}");
    CHECK(told_has(&t, "\"retry_at\":\"2026-01-24T12:01:00.000Z\""));
    end(&t);
    begin_with(&t, &opts); /* the worker tells the limit where there is no receipt */
    failed_step(&t, ",\"retryable\":true,\"execution_metadata\":{\"retry_limit\":1}");
    CHECK(told_has(&t, "\"outcome\":\"failed\""));
    end(&t);
}

/* A failure whose sender's clock is ahead counts as of now. */
static int64_t eleven(void)
{
    int64_t ms = -1;
    tsk_time_parse("2026-01-24T11:00:00Z", &ms);
    return ms;
}

static void test_clock_ahead(void)
{
    struct tsk_reconcile_opts opts = TSK_RECONCILE_OPTS_INIT;
    struct test t;
    opts.retry.jitter = 0;
    opts.wall = eleven;
    begin_with(&t, &opts);
    failed_step(&t, ",\"retryable\":true");
    CHECK(told_has(&t, "\"retry_at\":\"2026-01-24T11:00:01.000Z\""));
    end(&t);
    begin_with(&t, &opts);
    feed(&t, receipt);
    feed(&t, "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"timestamp\":"
             "\"2026-01-25T12:00:00Z\",\"error\":{\"error_category\":\"infrastructure\"}}");
    finish(&t);
    CHECK(told_has(&t, "\"retry_at\":\"2026-01-24T11:00:01.000Z\""));
    end(&t);
}

/* A step that was never started is tried again in the same attempt, though that is its last. */
static void test_not_started(void)
{
    struct test t;
    begin(&t);
    failed_step(&t, ",\"retryable\":true,\"error\":{\"attempt_used\":false,\"retry_after_ms\":0},"
                    "\"execution_metadata\":{\"retry_limit\":1}");
    CHECK(told_has(&t, "\"attempt\":1,\"attempt_used\":false,\"status\":\"failed\","
                       "\"outcome\":\"retry\",\"retry_at\":\"2026-01-24T12:00:00.000Z\""));
    end(&t);
    begin(&t); /* but not where that could not help */
    failed_step(&t, ",\"retryable\":false,\"error\":{\"attempt_used\":false}");
    CHECK(told_has(&t, "\"outcome\":\"failed\""));
    end(&t);
}

static void test_batch_error(void)
{
    struct test t;
    begin(&t);
    feed(&t, receipt);
    feed(&t, "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"timestamp\":"
             "\"2026-01-24T12:00:00Z\",\"error\":{\"message\":\"no handler\","
             "\"error_category\":\"permanent\",\"retryable\":false}}");
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 0, NONE);
    CHECK(told_has(&t, "no handler"));
    CHECK(told_has(&t, "\"status\":\"missing\",\"outcome\":\"failed\""));
    end(&t);

    begin(&t); /* could be tried again */
    feed(&t, receipt);
    feed(&t, "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"timestamp\":"
             "\"2026-01-24T12:00:00Z\",\"error\":{\"error_category\":\"infrastructure\"}}");
    finish(&t);
    CHECK(told_has(&t, "\"outcome\":\"retry\",\"retry_at\":\"2026-01-24T12:00:0"));
    end(&t);

    begin(&t); /* out of time: one step ended, of the other nobody knows */
    feed(&t, receipt);
    partial(&t, 1, "completed", 1);
    feed(&t, "{\"message_type\":\"batch_error\",\"batch_id\":\"b\","
             "\"error\":{\"error_category\":\"timeout\",\"retryable\":true}}");
    finish(&t);
    EXPECT(&t, TSK_TIMED_OUT, 2, TSK_MISSING_PARTIAL);
    CHECK(told_has(&t, "\"outcome\":\"unknown\""));
    end(&t);

    begin(&t); /* without a batch_id it stands alone */
    feed(&t, "{\"message_type\":\"batch_error\",\"error\":\"what was that?\"}");
    EXPECT(&t, TSK_DISCREPANT, 0, NONE);
    CHECK(told_has(&t, "\"batch_id\":null"));
    finish(&t);
    end(&t);
}

static void test_times(void)
{
    struct tsk_reconcile_opts opts = TSK_RECONCILE_OPTS_INIT;
    struct test t;
    opts.settle_ms = 2000;
    opts.timeout_ms = 10000;
    begin_with(&t, &opts);
    CHECK_INT(tsk_reconcile_due(t.reconcile), -1);
    t.now = 100;
    feed(&t, receipt);
    CHECK_INT(tsk_reconcile_due(t.reconcile), 10100);
    t.now = 500;
    partial(&t, 1, "completed", 1);
    CHECK_INT(tsk_reconcile_due(t.reconcile), 10500);
    t.now = 600;
    feed(&t, completion);
    CHECK_INT(tsk_reconcile_due(t.reconcile), 2600);
    tsk_reconcile_settle(t.reconcile, 2599);
    CHECK_INT(t.told.count, 0);
    tsk_reconcile_settle(t.reconcile, 2600);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_MISSING_PARTIAL);
    CHECK_INT(tsk_reconcile_due(t.reconcile), -1);
    end(&t);

    begin_with(&t, &opts);
    feed(&t, receipt);
    tsk_reconcile_settle(t.reconcile, 9999);
    CHECK_INT(t.told.count, 0);
    tsk_reconcile_settle(t.reconcile, 10000);
    EXPECT(&t, TSK_TIMED_OUT, 3, TSK_MISSING_COMPLETION);
    end(&t);
}

/* Refused messages leave nothing behind. */
static void test_refused(void)
{
    static const char *const bad[] = {
        "{\"message_type\":\"batch_published\"}",
        "{\"message_type\":\"batch_published\",\"batch_id\":5,\"step_ids\":[]}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b c\",\"step_ids\":[]}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b\"}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"step_ids\":[1,0]}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"step_ids\":{}}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"step_ids\":[null]}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"steps\":[{}]}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"steps\":[{\"step_id\":1,"
        "\"attempt\":\"x\"}]}",
        "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"step_ids\":[1],"
        "\"total_steps\":-1}",
        "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"status\":\"completed\"}",
        "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":-1,"
        "\"status\":\"completed\"}",
        "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
        "\"status\":\"perhaps\"}",
        "{\"message_type\":\"partial_result\",\"step_id\":1,\"status\":\"completed\"}",
        "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"step_summaries\":7}",
        "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":\"many\"}",
        "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"error\":7}",
        "{\"batch_id\":\"b\",\"results\":[{\"step_id\":1},{}]}",
    };
    struct test t;
    begin(&t);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!CHECK_INT(feed(&t, bad[i]), -1) || !CHECK_INT(t.err.kind, TSK_DATA))
            fprintf(stderr, "case %zu: %s\n", i, bad[i]);
    }
    CHECK_INT(feed(&t, "{\"message_type\":\"worker_status\"}"), 0);
    CHECK_INT(feed(&t, "{\"message_type\":\"batch_reconciled\",\"batch_id\":\"b\"}"), 0);
    CHECK_INT(feed(&t, "{\"message_type\":\"step\"}"), 0);
    CHECK_INT(feed(&t, "{\"any\":1}"), 0);
    finish(&t);
    CHECK_INT(t.told.count, 0);
    end(&t);
}

static void test_foreign_shapes(void)
{
    struct test t;
    begin(&t); /* the older message, alone and in CamelCase company */
    CHECK_INT(feed(&t, "{\"batch_id\":\"b\",\"results\":[{\"step_id\":1,\"status\":\"completed\"},"
                       "{\"step_id\":2,\"status\":\"error\",\"error\":{\"type\":\"Oops\"}}]}"),
              1);
    EXPECT(&t, TSK_CONSISTENT, 0, NONE);
    CHECK(told_has(&t, "\"completed\":1,\"failed\":1"));
    end(&t);

    begin(&t);
    feed(&t, "{\"message_type\":\"PartialResult\",\"batch_id\":\"b\",\"step_id\":1,"
             "\"status\":\"Completed\",\"execution_time_ms\":null,\"attempt\":0}");
    feed(&t, "{\"message_type\":\"BatchCompletion\",\"batch_id\":\"b\",\"total_steps\":1}");
    EXPECT(&t, TSK_CONSISTENT, 0, NONE);
    end(&t);

    begin(&t); /* a completion that says nothing settles nothing before the end */
    feed(&t, "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\"}");
    CHECK_INT(t.told.count, 0);
    partial(&t, 1, "completed", 1);
    CHECK_INT(t.told.count, 0);
    finish(&t);
    EXPECT(&t, TSK_DISCREPANT, 1, TSK_OUT_OF_ORDER);
    end(&t);
}

/* Names of any characters come out as JSON. */
static void test_escapes(void)
{
    static const char name[] = "a\\\"b\\\\c\\u0001\\nd\\u00e9";
    struct json_object *out = NULL;
    struct test t;
    begin(&t);
    feedf(&t,
          "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,\"attempt\":1,"
          "\"status\":\"completed\",\"step_name\":\"%s\",\"worker_id\":\"%s\"}",
          name, name);
    finish(&t);
    CHECK_INT(tsk_json_parse(t.parser, t.told.json.data, t.told.json.len, &out, &t.err), 0);
    struct json_object *step = json_object_array_get_idx(tsk_json_get(out, "steps"), 0);
    CHECK_STR(tsk_json_str(step, "step_name"), "a\"b\\c\001\nd\303\251");
    CHECK_STR(tsk_json_str(step, "worker_id"), "a\"b\\c\001\nd\303\251");
    json_object_put(out);
    end(&t);
}

/* --- Any order: the same steps come out. */

static uint32_t dice(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void shuffle(char **lines, size_t count, uint32_t *seed)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = dice(seed) % i;
        char *kept = lines[i - 1];
        lines[i - 1] = lines[j];
        lines[j] = kept;
    }
}

static char *line_of(int step, int attempt, const char *status, int sequence)
{
    struct tsk_buf buf = TSK_BUF_INIT;
    tsk_buf_printf(&buf,
                   "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":%d,"
                   "\"attempt\":%d,\"status\":\"%s\",\"sequence\":%d,\"retryable\":%s,"
                   "\"timestamp\":\"2026-01-24T12:00:00Z\",\"worker_id\":\"w\"}",
                   step, attempt, status, sequence, step % 2 ? "true" : "false");
    return buf.data;
}

/* Ten steps: 3 fails, 4 fails for good, 5 fails and completes in its second attempt. */
static size_t make_lines(char *lines[40])
{
    struct tsk_buf ids = TSK_BUF_INIT, sums = TSK_BUF_INIT, buf = TSK_BUF_INIT;
    size_t n = 0;
    for (int step = 1; step <= 10; step++) {
        bool fails = step == 3 || step == 4;
        int last = step == 5 ? 2 : 1;
        for (int attempt = 1; attempt <= last; attempt++) {
            bool ends_well = !fails && attempt == last;
            lines[n++] = line_of(step, attempt, "in_progress", 1);
            lines[n++] = line_of(step, attempt, ends_well ? "completed" : "failed", 2);
        }
        tsk_buf_printf(&ids, "%s{\"step_id\":%d,\"retry_limit\":5,\"step_name\":\"s\"}",
                       step > 1 ? "," : "", step);
        tsk_buf_printf(&sums, "%s{\"step_id\":%d,\"attempt\":%d,\"final_status\":\"%s\"}",
                       step > 1 ? "," : "", step, last, fails ? "failed" : "completed");
    }
    tsk_buf_printf(&buf, "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"steps\":[%s]}",
                   ids.data);
    lines[n++] = tsk_strdup(buf.data);
    tsk_buf_reset(&buf);
    tsk_buf_printf(&buf,
                   "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":10,"
                   "\"completed_steps\":8,\"failed_steps\":2,\"step_summaries\":[%s]}",
                   sums.data);
    lines[n++] = tsk_strdup(buf.data);
    tsk_buf_fini(&ids);
    tsk_buf_fini(&sums);
    tsk_buf_fini(&buf);
    return n;
}

/* The steps of the first verdict on all lines, as JSON (to be freed). */
static char *steps_of(char **lines, size_t count)
{
    const struct tsk_reconcile_opts opts = {TSK_RETRY_INIT,   3,    -1,   -1,
                                            TSK_RECEIPTS_ALL, NULL, false};
    struct test t;
    begin_with(&t, &opts);
    for (size_t i = 0; i < count && !t.told.count; i++)
        feed(&t, lines[i]);
    if (!t.told.count)
        finish(&t);
    const char *from = strstr(t.told.json.data, "\"steps\"");
    const char *to = strstr(from, "\"discrepancies\"");
    struct tsk_buf steps = TSK_BUF_INIT;
    tsk_buf_add(&steps, from, (size_t)(to - from));
    end(&t);
    return steps.data;
}

static void test_any_order(void)
{
    char *lines[40];
    size_t count = make_lines(lines);
    uint32_t seed = 42;
    char *want = steps_of(lines, count);
    CHECK(strstr(want, "\"step_id\":3,\"step_name\":\"s\",\"attempt\":1,\"status\":\"failed\","
                       "\"outcome\":\"retry\""));
    CHECK(strstr(want, "\"step_id\":5,\"step_name\":\"s\",\"attempt\":2,\"status\":\"completed\""));
    for (int round = 0; round < 300; round++) {
        shuffle(lines, count, &seed);
        char *got = steps_of(lines, count);
        bool same = CHECK_STR(got, want);
        free(got);
        if (!same)
            break;
    }
    free(want);
    for (size_t i = 0; i < count; i++)
        free(lines[i]);
}

/* --- Much; less of it under a wrapper (valgrind), which is slow. */

static int much(int count)
{
    const char *wrapper = getenv("UNIT_WRAPPER");
    return wrapper && *wrapper ? count / 20 : count;
}

static long peak_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void one_batch(struct test *t, int number)
{
    feedf(t, "{\"message_type\":\"batch_published\",\"batch_id\":\"n%d\",\"step_ids\":[1]}",
          number);
    feedf(t,
          "{\"message_type\":\"partial_result\",\"batch_id\":\"n%d\",\"step_id\":1,"
          "\"status\":\"completed\",\"step_name\":\"name %d\"}",
          number, number);
    feedf(t,
          "{\"message_type\":\"batch_completion\",\"batch_id\":\"n%d\",\"total_steps\":1,"
          "\"step_summaries\":[{\"step_id\":1,\"final_status\":\"completed\"}]}",
          number);
}

/* What is remembered is bounded: the latest for certain, the oldest not. */
static void test_past(void)
{
    struct tsk_past past = {.limit = 1000};
    for (uint64_t key = 1; key <= 100000; key++)
        tsk_past_put(&past, key << 16, (unsigned)(key & 0xFF) + 1);
    CHECK(past.now.size + past.before.size <= 4096);
    CHECK_INT(tsk_past_get(&past, 1u << 16), 0);
    for (uint64_t key = 100000 - 499; key <= 100000; key++)
        CHECK_INT(tsk_past_get(&past, key << 16), (key & 0xFF) + 1);
    tsk_past_fini(&past);
}

static void test_many_batches(void)
{
    struct test t;
    begin(&t);
    int number = 0;
    while (number < much(20000))
        one_batch(&t, number++);
    long before = peak_kib();
    while (number < much(150000))
        one_batch(&t, number++);
    CHECK_INT(t.told.count, much(150000));
    CHECK_INT(tsk_reconcile_open(t.reconcile), 0);
    CHECK(MEMORY_MEANS_LITTLE ||
          peak_kib() - before < 16384); /* the tables of the past fill up; no more */
    end(&t);
}

/* 100 000 steps in one batch, reported backwards, without anything quadratic. */
static void test_large_batch(void)
{
    const int steps = much(100000);
    struct tsk_buf ids = TSK_BUF_INIT, sums = TSK_BUF_INIT;
    struct test t;
    begin(&t);
    for (int i = 1; i <= steps; i++) {
        const char *comma = i > 1 ? "," : "";
        tsk_buf_printf(&ids, "%s%d", comma, i);
        tsk_buf_printf(&sums, "%s{\"step_id\":%d,\"final_status\":\"completed\"}", comma, i);
    }
    int64_t began = tsk_now_ms();
    feedf(&t, "{\"message_type\":\"batch_published\",\"batch_id\":\"b\",\"step_ids\":[%s]}",
          ids.data);
    feedf(&t,
          "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":%d,"
          "\"step_summaries\":[%s]}",
          steps, sums.data);
    for (int i = steps; i > 0; i--)
        partial(&t, i, "completed", 1);
    CHECK_INT(t.told.count, 1);
    CHECK_INT(t.told.types[TSK_OUT_OF_ORDER], steps);
    CHECK(tsk_now_ms() - began < 30000); /* seconds under valgrind; hours if it were quadratic */
    tsk_buf_fini(&ids);
    tsk_buf_fini(&sums);
    end(&t);
}

/* Batches that wait for a receipt that never comes do not pile up. */
static void test_waiting_is_bounded(void)
{
    const int count = much(100000);
    struct test t;
    begin(&t);
    for (int i = 0; i < count; i++) {
        feedf(&t,
              "{\"message_type\":\"partial_result\",\"batch_id\":\"w%d\",\"step_id\":1,"
              "\"status\":\"failed\",\"retryable\":true}",
              i);
        feedf(&t,
              "{\"message_type\":\"batch_completion\",\"batch_id\":\"w%d\",\"total_steps\":1,"
              "\"step_summaries\":[{\"step_id\":1,\"final_status\":\"failed\"}]}",
              i);
    }
    CHECK(tsk_reconcile_open(t.reconcile) <= 65536);
    CHECK(t.told.count >= count - 65536);
    finish(&t);
    CHECK_INT(t.told.count, count);
    CHECK_INT(t.told.discrepancies, 0);
    end(&t);
}

int main(void)
{
    test_consistent();
    test_repeated_messages_are_harmless();
    test_missing();
    test_mismatches();
    test_unknown();
    test_conflicts();
    test_order();
    test_attempts();
    test_late();
    test_outcomes();
    test_retry_at();
    test_clock_ahead();
    test_not_started();
    test_batch_error();
    test_times();
    test_refused();
    test_foreign_shapes();
    test_escapes();
    test_any_order();
    test_past();
    test_many_batches();
    test_large_batch();
    test_waiting_is_bounded();
    tsk_reconcile_free(NULL);
    return check_done();
}
