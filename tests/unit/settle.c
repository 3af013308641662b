/* Settling, without a store: ledgers and the rows that follow from them. */
#include "tasker/settle.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "check.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

enum { CREATED = 100, PUBLISHED = 200 };

struct test {
    struct tsk_settle *settle;
    struct tsk_settle_batch batch;
    struct tsk_settle_step steps[8];
    size_t count;
    struct tsk_buf rows;
    int64_t id;
    const char *source;
    int verdicts;
};

static void tell(void *ctx, const struct tsk_verdict *verdict)
{
    struct test *t = ctx;
    (void)verdict;
    t->verdicts++;
}

/* A batch b of count steps 1, 2, …, each with attempt 1 of 3. */
static void begin(struct test *t, size_t count)
{
    static const struct tsk_reconcile_opts rules = TSK_RECONCILE_OPTS_INIT;
    *t = (struct test){.count = count};
    t->settle = tsk_settle_new(&rules);
    t->batch =
        (struct tsk_settle_batch){.batch_id = "b",
                                  .base = {TSK_STATE_PUBLISHED, PUBLISHED},
                                  .hand = {0, -1},
                                  .published_at = PUBLISHED};
    for (size_t i = 0; i < count; i++)
        t->steps[i] = (struct tsk_settle_step){.row = (int64_t)i + 11,
                                               .sent = {.step_id = (int64_t)i + 1,
                                                        .task_id = 5,
                                                        .attempt = 1,
                                                        .retry_limit = 3,
                                                        .step_name = "n"},
                                               .since = CREATED,
                                               .owns = 7};
}

static void start(struct test *t)
{
    tsk_settle_begin(t->settle, &t->batch, tell, t);
    for (size_t i = 0; i < t->count; i++)
        tsk_settle_step(t->settle, &t->steps[i]);
}

static void say(struct test *t, int64_t at, const char *topic, const char *text)
{
    struct tsk_settle_message message = {++t->id, at, topic, t->source, text, strlen(text), NULL};
    tsk_settle_message(t->settle, &message);
}

/* A partial result of batch b. */
static void partial(struct test *t, int64_t at, int64_t step, int attempt, const char *status,
                    const char *more)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text,
                   "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":%" PRId64
                   ",\"attempt\":%d,\"status\":\"%s\"%s}",
                   step, attempt, status, more);
    say(t, at, "partial_result", text.data);
    tsk_buf_fini(&text);
}

static const char out_of_time[] =
    "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"timestamp\":\"1970-01-01T00:00:09Z\","
    "\"error\":{\"message\":\"late\",\"error_category\":\"timeout\",\"retryable\":true}}";
static const char worker_lost[] =
    "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"timestamp\":\"1970-01-01T00:00:09Z\","
    "\"error\":{\"message\":\"gone\",\"error_category\":\"infrastructure\",\"retryable\":true}}";
static const char failed_validation[] =
    ",\"error\":{\"message\":\"bad\",\"error_category\":\"validation\",\"retryable\":false}";
static const char failed_retryable[] =
    ",\"timestamp\":\"1970-01-01T00:00:08Z\",\"error\":{\"message\":\"no "
    "net\",\"error_category\":\"infrastructure\",\"retryable\":true,\"retry_after_ms\":500}";

static void completion(struct test *t, int64_t at, const char *first, const char *second)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text,
                   "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"step_summaries\":["
                   "{\"step_id\":1,\"final_status\":\"%s\"}",
                   first);
    if (second)
        tsk_buf_printf(&text, ",{\"step_id\":2,\"final_status\":\"%s\"}", second);
    tsk_buf_str(&text, "]}");
    say(t, at, "batch_completion", text.data);
    tsk_buf_fini(&text);
}

/* --- Rows as text. */

static void put_moves(struct tsk_buf *rows, const struct tsk_transition *moves, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tsk_buf_printf(rows, " %d:%s>%s@%" PRId64, moves[i].place, tsk_state_name(moves[i].from),
                       tsk_state_name(moves[i].to), moves[i].at);
}

static void put_step(struct test *t, size_t i)
{
    struct tsk_settled_step step;
    tsk_settled_step(t->settle, i, &step);
    tsk_buf_printf(&t->rows, "step %" PRId64, step.result.step_id);
    if (step.known)
        tsk_buf_printf(&t->rows, " %s@%" PRId64, tsk_state_name(step.state.state), step.state.at);
    if (step.news)
        tsk_buf_printf(&t->rows, " %s %s", tsk_step_status_name(step.result.status),
                       tsk_outcome_name(step.result.outcome));
    if (step.result.retry_at >= 0)
        tsk_buf_printf(&t->rows, " retry@%" PRId64, step.result.retry_at);
    if (step.result.category)
        tsk_buf_printf(&t->rows, " %s", step.result.category);
    if (!step.retryable)
        tsk_buf_str(&t->rows, " for-good");
    if (step.results.data)
        tsk_buf_printf(&t->rows, " out=%.*s", (int)step.results.len, step.results.data);
    put_moves(&t->rows, step.moves, step.move_count);
    tsk_buf_char(&t->rows, '\n');
}

/* Ends the batch; its rows are then in t->rows. */
static const char *end(struct test *t)
{
    struct tsk_settled_batch batch;
    struct tsk_settled_discrepancy one;
    tsk_settle_end(t->settle);
    tsk_settled_batch(t->settle, &batch);
    tsk_buf_reset(&t->rows);
    tsk_buf_printf(&t->rows, "batch %s@%" PRId64, tsk_state_name(batch.state.state),
                   batch.state.at);
    if (batch.news)
        tsk_buf_printf(&t->rows, " %s %" PRId64 " %" PRId64 "+%" PRId64,
                       tsk_verdict_name(batch.verdict), batch.revision, batch.completed,
                       batch.failed);
    put_moves(&t->rows, batch.moves, batch.move_count);
    tsk_buf_char(&t->rows, '\n');
    for (size_t i = 0; i < tsk_settled_steps(t->settle); i++)
        put_step(t, i);
    for (size_t i = 0; i < tsk_settled_discrepancies(t->settle); i++) {
        tsk_settled_discrepancy(t->settle, i, &one);
        tsk_buf_printf(&t->rows, "! %s %" PRId64 " %s\n", one.type, one.step_id, one.detail);
    }
    return t->rows.data;
}

static void fini(struct test *t)
{
    tsk_settle_free(t->settle);
    tsk_buf_fini(&t->rows);
}

/* --- Tests. */

static void test_nothing(void)
{
    struct test t;
    begin(&t, 1);
    start(&t);
    CHECK_STR(end(&t), "batch published@200\nstep 1 enqueued@100\n");
    t.batch.base = (struct tsk_settle_state){TSK_STATE_CREATED, CREATED};
    t.batch.published_at = -1;
    start(&t);
    CHECK_STR(end(&t), "batch created@100\nstep 1 enqueued@100\n");
    CHECK_INT(t.verdicts, 0);
    fini(&t);
}

static void all_well(struct test *t)
{
    start(t);
    partial(t, 300, 1, 1, "in_progress", "");
    partial(t, 310, 2, 1, "in_progress", "");
    partial(t, 400, 1, 1, "completed", ",\"output\":{\"a\":[1]}");
    partial(t, 500, 2, 1, "completed", ",\"output\":\"x\"");
    completion(t, 510, "completed", "completed");
}

static void test_all_well(void)
{
    struct test t;
    begin(&t, 2);
    all_well(&t);
    CHECK_STR(end(&t), "batch completed@510 consistent 1 2+0 3:published>executing@300 "
                       "4:executing>completed@510\n"
                       "step 1 complete@400 completed done out={\"a\":[1]} "
                       "2:enqueued>in_progress@300 3:in_progress>complete@400\n"
                       "step 2 complete@500 completed done out=\"x\" "
                       "2:enqueued>in_progress@310 3:in_progress>complete@500\n");
    CHECK_INT(t.verdicts, 1);
    /* The same once more tells nothing. */
    all_well(&t);
    partial(&t, 600, 1, 1, "completed", "");
    completion(&t, 610, "completed", "completed");
    CHECK(strstr(end(&t), "batch completed@510 consistent 1 2+0 3:") == t.rows.data);
    CHECK(!strchr(t.rows.data, '!'));
    fini(&t);
}

static void test_not_recorded(void)
{
    struct test t;
    begin(&t, 1);
    t.batch.base = (struct tsk_settle_state){TSK_STATE_CREATED, CREATED};
    t.batch.published_at = -1;
    start(&t);
    partial(&t, 300, 1, 1, "in_progress", "");
    CHECK_STR(end(&t), "batch executing@300 incomplete 1 0+0 2:created>published@300 "
                       "3:published>executing@300\n"
                       "step 1 in_progress@300 in_progress unknown 2:enqueued>in_progress@300\n");
    fini(&t);
}

static void test_failures(void)
{
    struct test t;
    begin(&t, 2);
    start(&t);
    partial(&t, 300, 1, 1, "failed", failed_validation);
    partial(&t, 310, 2, 1, "failed", failed_retryable);
    completion(&t, 320, "failed", "failed");
    CHECK_STR(end(&t), "batch failed@320 consistent 1 0+2 3:published>executing@300 "
                       "4:executing>failed@320\n"
                       "step 1 error@300 failed failed validation for-good "
                       "2:enqueued>in_progress@300 3:in_progress>error@300\n"
                       "step 2 pending@310 failed retry retry@810 infrastructure "
                       "2:enqueued>in_progress@310 3:in_progress>error@310 "
                       "4:error>pending@310\n");
    /* No attempt is left: the failure is one that could be tried again, and is not. */
    t.steps[1].sent.retry_limit = 1;
    start(&t);
    partial(&t, 310, 2, 1, "failed", failed_retryable);
    CHECK(strstr(end(&t), "step 2 error@310 failed failed infrastructure 2:") != NULL);
    fini(&t);
}

/* A step that a worker never started is pending as before, however few attempts it may have. */
static void test_not_started(void)
{
    static const char not_started[] =
        ",\"error\":{\"error_type\":\"NotRun\",\"error_category\":\"infrastructure\","
        "\"retryable\":true,\"retry_after_ms\":0,\"attempt_used\":false}";
    struct tsk_settled_step step;
    struct test t;
    begin(&t, 2);
    t.steps[0].sent.retry_limit = t.steps[1].sent.retry_limit = 1;
    start(&t);
    partial(&t, 300, 1, 1, "failed", not_started);
    partial(&t, 310, 2, 1, "in_progress", ""); /* told too early: its program was not there */
    partial(&t, 320, 2, 1, "failed", not_started);
    completion(&t, 330, "failed", "failed");
    CHECK(strstr(end(&t), "batch failed@330 consistent 1 0+2 ") == t.rows.data);
    CHECK(strstr(t.rows.data, "\nstep 1 pending@300 failed retry retry@300 infrastructure "
                              "6:enqueued>pending@300\n"
                              "step 2 pending@320 failed retry retry@320 infrastructure "
                              "6:enqueued>pending@320\n"));
    tsk_settled_step(t.settle, 1, &step);
    CHECK(step.given_back);
    fini(&t);
}

/* A batch_error of a worker may say that nothing was started, as often as it likes: each uses an
 * attempt, so that there is an end. */
static void test_refused_again(void)
{
    static const char refused[] =
        "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"error\":{\"error_type\":"
        "\"QueueFull\","
        "\"error_category\":\"infrastructure\",\"retryable\":true,\"attempt_used\":false}}";
    for (int64_t attempt = 1; attempt <= 3; attempt++) {
        struct tsk_settled_step step;
        struct test t;
        begin(&t, 1);
        t.steps[0].sent.attempt = attempt;
        start(&t);
        say(&t, 300, "batch_error", refused);
        CHECK(strstr(end(&t), "batch failed@300 ") == t.rows.data);
        tsk_settled_step(t.settle, 0, &step);
        CHECK(!step.given_back);
        CHECK_INT(step.result.outcome, attempt < 3 ? TSK_OUTCOME_RETRY : TSK_OUTCOME_FAILED);
        fini(&t);
    }
}

/* A worker's clock that is a day ahead, or behind, moves no retry. */
static void test_workers_clock(void)
{
    static const char *const times[] = {"1970-01-02T00:00:00Z", "1970-01-01T00:00:00Z"};
    char more[300];
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct test t;
        begin(&t, 1);
        start(&t);
        snprintf(more, sizeof more,
                 ",\"timestamp\":\"%s\",\"error\":{\"error_category\":\"infrastructure\","
                 "\"retry_after_ms\":500}",
                 times[i]);
        partial(&t, 90000, 1, 1, "failed", more);
        CHECK(strstr(end(&t), " retry retry@90500 "));
        fini(&t);
    }
}

static void test_timeout(void)
{
    struct test t;
    begin(&t, 3);
    start(&t);
    partial(&t, 300, 1, 1, "completed", "");
    partial(&t, 310, 2, 1, "in_progress", "");
    say(&t, 9100, "batch_error", out_of_time);
    int64_t retry_at = 9100 + tsk_retry_delay(&(struct tsk_retry)TSK_RETRY_INIT, 2, 1, -1);
    char want[400];
    snprintf(want, sizeof want,
             "step 2 pending@9100 in_progress retry retry@%" PRId64 " timeout "
             "2:enqueued>in_progress@310 3:in_progress>error@9100 4:error>pending@9100\n",
             retry_at);
    CHECK(strstr(end(&t), "batch timeout@9100 timed_out 1 1+0 3:published>executing@300 "
                          "4:executing>timeout@9100\nstep 1 complete@300 ") == t.rows.data);
    CHECK(strstr(t.rows.data, want) != NULL);
    CHECK(strstr(t.rows.data, "step 3 pending@9100 missing retry retry@") != NULL);
    CHECK(strstr(t.rows.data, " timeout 3:enqueued>error@9100 4:error>pending@9100\n") != NULL);
    fini(&t);
}

/* Nobody picked it up: it never was executing. */
static void test_timeout_unheard(void)
{
    struct test t;
    begin(&t, 1);
    t.steps[0].sent.retry_limit = 0;
    start(&t);
    say(&t, 9100, "batch_error", out_of_time);
    CHECK(strstr(end(&t), "batch timeout@9100 timed_out 1 0+0 4:published>timeout@9100\n"
                          "step 1 error@9100 missing failed timeout 3:enqueued>error@9100\n") ==
          t.rows.data);
    fini(&t);
}

/* A collector that waits no longer ends nothing, but one that saw the worker go does. */
static void test_impatience(void)
{
    struct test t;
    begin(&t, 1);
    t.source = "lost:b";
    start(&t);
    say(&t, 9100, "batch_error", out_of_time);
    CHECK_STR(end(&t), "batch published@200\nstep 1 enqueued@100\n");
    start(&t);
    say(&t, 9100, "batch_error", worker_lost);
    CHECK(strstr(end(&t), "batch failed@9100 ") == t.rows.data);
    t.source = "reconcile:b";
    start(&t);
    say(&t, 9100, "batch_error", out_of_time);
    CHECK(strstr(end(&t), "batch timeout@9100 ") == t.rows.data);
    fini(&t);
}

/* What comes after the end changes no state. */
static void test_late(void)
{
    struct test t;
    begin(&t, 1);
    start(&t);
    say(&t, 9100, "batch_error", worker_lost);
    struct tsk_buf before = TSK_BUF_INIT;
    const char *rows = end(&t);
    CHECK(strstr(rows, "batch failed@9100 discrepant 1 0+0 3:published>executing@9100 "
                       "4:executing>failed@9100\nstep 1 pending@9100 missing retry ") == rows);
    tsk_buf_str(&before, strchr(rows, '\n'));
    start(&t);
    say(&t, 9100, "batch_error", worker_lost);
    partial(&t, 9200, 1, 1, "completed", "");
    completion(&t, 9210, "completed", NULL);
    CHECK(strstr(end(&t), "batch failed@9100 discrepant 2 0+0 ") == t.rows.data);
    CHECK(strncmp(strchr(t.rows.data, '\n'), before.data, before.len) == 0);
    CHECK(strstr(t.rows.data, "! late_result 1 it came after the verdict\n") != NULL);
    tsk_buf_fini(&before);
    fini(&t);
}

/* A worker that is lost when all was done takes nothing back. */
static void test_lost_when_done(void)
{
    struct test t;
    begin(&t, 1);
    start(&t);
    partial(&t, 300, 1, 1, "completed", "");
    CHECK(strstr(end(&t), "batch executing@300 incomplete 1 1+0 ") == t.rows.data);
    CHECK(!strchr(t.rows.data, '!')); /* its completion may yet come */
    start(&t);
    partial(&t, 300, 1, 1, "completed", "");
    say(&t, 9100, "batch_error", worker_lost);
    CHECK(strstr(end(&t), "batch completed@9100 ") == t.rows.data);
    fini(&t);
}

static void test_older_attempt(void)
{
    struct test t;
    begin(&t, 1);
    t.steps[0].sent.attempt = 2;
    start(&t);
    partial(&t, 300, 1, 1, "failed", failed_validation);
    CHECK(strstr(end(&t), "batch executing@300 incomplete 1 0+0 3:published>executing@300\n"
                          "step 1 enqueued@100\n! late_result 1 ") == t.rows.data);
    start(&t);
    partial(&t, 300, 1, 2, "in_progress", "");
    partial(&t, 310, 1, 1, "failed", failed_validation);
    partial(&t, 320, 1, 2, "completed", ",\"output\":1");
    completion(&t, 330, "completed", NULL);
    CHECK(strstr(end(&t), "step 1 complete@320 completed done out=1 2:enqueued>in_progress@300 "
                          "3:in_progress>complete@320\n! late_result 1 ") != NULL);
    fini(&t);
}

static void test_conflicts(void)
{
    struct test t;
    begin(&t, 2);
    start(&t);
    partial(&t, 300, 1, 1, "completed", ",\"output\":1");
    partial(&t, 310, 1, 1, "failed", failed_retryable);
    partial(&t, 320, 2, 1, "completed", ",\"output\":2");
    completion(&t, 330, "completed", "failed");
    CHECK_STR(end(&t),
              "batch failed@330 discrepant 1 2+0 3:published>executing@300 "
              "4:executing>failed@330\n"
              "step 1 complete@300 completed done out=1 2:enqueued>in_progress@300 "
              "3:in_progress>complete@300\n"
              "step 2 error@320 completed unknown out=2 2:enqueued>in_progress@320 "
              "3:in_progress>error@320\n"
              "! conflicting_result 1 two ends of one attempt\n"
              "! status_mismatch 2 partial result and batch_completion disagree: completed, "
              "failed\n");
    fini(&t);
}

static void test_summary_alone(void)
{
    struct test t;
    begin(&t, 1);
    start(&t);
    completion(&t, 330, "completed", NULL);
    CHECK_STR(end(&t), "batch completed@330 discrepant 1 1+0 3:published>executing@330 "
                       "4:executing>completed@330\n"
                       "step 1 complete@330 completed done 2:enqueued>in_progress@330 "
                       "3:in_progress>complete@330\n"
                       "! missing_partial 1 there is no partial result of this attempt\n");
    fini(&t);
}

static void test_unknown_and_unreadable(void)
{
    struct test t;
    begin(&t, 1);
    start(&t);
    say(&t, 250, "partial_result", "{\"batch_id\":");
    say(&t, 260, "partial_result", "[1]");
    say(&t, 270, "partial_result",
        "{\"message_type\":\"partial_result\",\"batch_id\":\"other\",\"step_id\":1,"
        "\"status\":\"failed\"}");
    say(&t, 280, "worker_status", "{\"message_type\":\"worker_status\",\"batch_id\":\"b\"}");
    CHECK_STR(end(&t), "batch published@200\nstep 1 enqueued@100\n");
    start(&t);
    partial(&t, 300, 9, 1, "completed", "");
    CHECK(strstr(end(&t), "step 1 enqueued@100\nstep 9 completed done\n! unknown_step 9 ") != NULL);
    fini(&t);
}

/* The older shape, all results in one message. */
static void test_older_shape(void)
{
    struct test t;
    begin(&t, 2);
    start(&t);
    say(&t, 300, "results",
        "{\"batch_id\":\"b\",\"results\":[{\"step_id\":1,\"status\":\"completed\",\"output\":7},"
        "{\"step_id\":2,\"status\":\"error\",\"error\":\"no\"}]}");
    CHECK(strstr(end(&t), "batch failed@300 consistent 1 1+1 ") == t.rows.data);
    CHECK(strstr(t.rows.data, "step 1 complete@300 completed done out=7 ") != NULL);
    CHECK(strstr(t.rows.data, "step 2 error@300 failed failed ") != NULL);
    fini(&t);
}

/* An operator's doing counts from its time on. */
static void test_hands(void)
{
    struct test t;
    begin(&t, 2);
    t.steps[0].hand = (struct tsk_settle_state){TSK_STATE_CANCELLED, 350};
    t.steps[1].hand = (struct tsk_settle_state){TSK_STATE_RESOLVED, 450};
    start(&t);
    partial(&t, 300, 1, 1, "in_progress", "");
    partial(&t, 400, 1, 1, "completed", "");
    partial(&t, 400, 2, 1, "failed", failed_validation);
    completion(&t, 410, "completed", "failed");
    CHECK_STR(end(&t), "batch failed@410 consistent 1 1+1 3:published>executing@300 "
                       "4:executing>failed@410\n"
                       "step 1 cancelled@350 completed done 2:enqueued>in_progress@300\n"
                       "step 2 resolved_manually@450 failed failed validation for-good "
                       "2:enqueued>in_progress@400 3:in_progress>error@400\n"
                       "! refused_transition 1 the ledger wants it complete, and it was "
                       "cancelled\n");
    t.batch.hand = (struct tsk_settle_state){TSK_STATE_CANCELLED, 250};
    start(&t);
    partial(&t, 300, 2, 1, "completed", "");
    CHECK(strstr(end(&t), "batch cancelled@250 incomplete 1 1+0\n") == t.rows.data);
    CHECK(strstr(t.rows.data, "! refused_transition 0 the ledger wants it executing, and it was "
                              "cancelled\n") != NULL);
    fini(&t);
}

/* Where it is known what state the operator found, that counts and not the clock. */
static void test_found(void)
{
    struct test t;
    begin(&t, 4);
    t.steps[0].hand = (struct tsk_settle_state){TSK_STATE_CANCELLED, 900};
    t.steps[0].hand_from = TSK_STATE_IN_PROGRESS; /* its end came into the ledger later */
    t.steps[1].hand = (struct tsk_settle_state){TSK_STATE_CANCELLED, 900};
    t.steps[1].hand_from = TSK_STATE_ENQUEUED; /* stopped: no discrepancy */
    t.steps[2].hand = (struct tsk_settle_state){TSK_STATE_PENDING, 250}; /* by a slow clock */
    t.steps[2].hand_from = TSK_STATE_ERROR;
    t.steps[3].hand = (struct tsk_settle_state){TSK_STATE_PENDING, 900};
    t.steps[3].hand_from = TSK_STATE_PENDING; /* it does not wait for its back-off */
    start(&t);
    partial(&t, 300, 1, 1, "in_progress", "");
    partial(&t, 400, 1, 1, "completed", "");
    partial(&t, 400, 2, 1, "failed", ",\"error\":{\"error_category\":\"cancelled\"}");
    partial(&t, 400, 3, 1, "failed", failed_validation);
    partial(&t, 400, 4, 1, "failed",
            ",\"error\":{\"error_category\":\"timeout\",\"retryable\":true}");
    end(&t);
    CHECK(strstr(t.rows.data, "step 1 cancelled@900 completed done 2:enqueued>in_progress@300\n"));
    CHECK(strstr(t.rows.data, "step 2 cancelled@900 failed failed cancelled for-good\n"));
    CHECK(strstr(t.rows.data, "step 3 pending@250 failed failed validation for-good "
                              "2:enqueued>in_progress@400 3:in_progress>error@400\n"));
    CHECK(strstr(t.rows.data, "step 4 pending@900 failed retry"));
    CHECK(strstr(t.rows.data, "! refused_transition 1 the ledger wants it complete, and it was "
                              "cancelled\n"));
    CHECK(!strstr(t.rows.data, "refused_transition 2"));
    struct tsk_settled_step step;
    tsk_settled_step(t.settle, 3, &step);
    CHECK_INT(step.next_retry_at, -1);
    CHECK(step.result.retry_at > 0);
    t.steps[3].hand.state = TSK_STATE_NONE;
    start(&t);
    partial(&t, 400, 4, 1, "failed",
            ",\"error\":{\"error_category\":\"timeout\",\"retryable\":true}");
    end(&t);
    tsk_settled_step(t.settle, 3, &step);
    CHECK_INT(step.next_retry_at, step.result.retry_at);
    fini(&t);
}

/* Outputs that are too much to keep are named by the row that has them. */
static void test_much_output(void)
{
    enum { LEN = 5 << 20 };
    struct test t;
    struct tsk_buf more = TSK_BUF_INIT, again = TSK_BUF_INIT;
    struct tsk_settled_step step;
    begin(&t, 4);
    start(&t);
    tsk_buf_str(&more, ",\"output\":\"");
    for (int i = 0; i < LEN; i++)
        tsk_buf_char(&more, 'y');
    tsk_buf_char(&more, '"');
    for (int64_t i = 1; i <= 4; i++)
        partial(&t, 300, i, 1, "completed", more.data);
    tsk_settle_end(t.settle);
    for (size_t i = 0; i < 4; i++) {
        tsk_settled_step(t.settle, i, &step);
        CHECK_INT(step.results.id, (int64_t)i + 1);
        CHECK(i < 3 ? step.results.len == LEN + 2 : step.results.data == NULL);
    }
    tsk_buf_printf(&again,
                   "{\"batch_id\":\"b\",\"step_id\":4,\"status\":\"completed\"%s,\"error\":{}}",
                   more.data);
    struct tsk_settle_message message = {4,         300, "partial_result", NULL, again.data,
                                         again.len, NULL};
    tsk_buf_reset(&more);
    tsk_settle_text(t.settle, &message, 4, false, &more);
    CHECK_INT(more.len, LEN + 2);
    tsk_buf_reset(&more);
    tsk_settle_text(t.settle, &message, 3, false, &more);
    CHECK_INT(more.len, 0);
    tsk_buf_fini(&more);
    tsk_buf_fini(&again);
    fini(&t);
}

int main(void)
{
    test_nothing();
    test_all_well();
    test_not_recorded();
    test_failures();
    test_not_started();
    test_refused_again();
    test_workers_clock();
    test_timeout();
    test_timeout_unheard();
    test_impatience();
    test_late();
    test_lost_when_done();
    test_older_attempt();
    test_conflicts();
    test_summary_alone();
    test_unknown_and_unreadable();
    test_older_shape();
    test_hands();
    test_found();
    test_much_output();
    return check_done();
}
