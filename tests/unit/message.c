/* Batches are refused for the right reason and get their defaults; results of all kinds of peers
 * come out in one shape. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "tasker/buf.h"
#include "tasker/message.h"

static struct tsk_json *parser;

static struct json_object *parse(const char *text)
{
    struct json_object *value = NULL;
    struct tsk_err err = TSK_ERR_INIT;
    if (tsk_json_parse(parser, text, strlen(text), &value, &err))
        fprintf(stderr, "the test's own JSON is wrong: %s: %s\n", err.text, text);
    return value;
}

#define STEP(more)                                                                                 \
    "{\"step_id\":7,\"task_id\":5,\"step_name\":\"n\",\"handler_class\":\"H\"" more "}"
#define BATCH(steps) "{\"batch_id\":\"b\",\"steps\":[" steps "]}"

static const struct {
    const char *text, *error;
} bad_batches[] = {
    {"[]", "the batch is not an object"},
    {"null", "the batch is not an object"},
    {"{\"steps\":[" STEP("") "]}", "batch_id is missing"},
    {"{\"batch_id\":null,\"steps\":[" STEP("") "]}", "batch_id is missing"},
    {"{\"batch_id\":7,\"steps\":[" STEP("") "]}", "batch_id is not a string"},
    {"{\"batch_id\":\"\",\"steps\":[" STEP("") "]}", "batch_id is empty"},
    {"{\"batch_id\":\"a b\",\"steps\":[" STEP("") "]}", "batch_id is not 1 to 128 characters"},
    {"{\"batch_id\":\"a\\u0000b\",\"steps\":[" STEP("") "]}", "batch_id holds a NUL character"},
    {"{\"batch_id\":\"b\"}", "steps is missing"},
    {"{\"batch_id\":\"b\",\"steps\":{}}", "steps is not an array"},
    {"{\"batch_id\":\"b\",\"steps\":[]}", "steps is empty"},
    {BATCH("7"), "step 1: the step is not an object"},
    {BATCH(STEP("") ",null"), "step 2: the step is not an object"},
    {BATCH(STEP("") "," STEP("")), "step 2: step_id 7 is in the batch twice"},
    {BATCH("{\"task_id\":5}"), "step 1: step_id is missing"},
    {BATCH("{\"step_id\":0}"), "step 1: step_id is not positive"},
    {BATCH("{\"step_id\":-1}"), "step 1: step_id is not positive"},
    {BATCH("{\"step_id\":\"7\"}"), "step 1: step_id is not an integer"},
    {BATCH("{\"step_id\":7.5}"), "step 1: step_id is not an integer"},
    {BATCH("{\"step_id\":7}"), "step 1: task_id is missing"},
    {BATCH("{\"step_id\":7,\"task_id\":1}"), "step 1: step_name is missing"},
    {BATCH("{\"step_id\":7,\"task_id\":1,\"step_name\":\"\"}"), "step 1: step_name is empty"},
    {BATCH("{\"step_id\":7,\"task_id\":1,\"step_name\":1}"), "step_name is not a string"},
    {BATCH("{\"step_id\":7,\"task_id\":1,\"step_name\":\"a\\u0000\"}"), "holds a NUL character"},
    {BATCH("{\"step_id\":7,\"task_id\":1,\"step_name\":\"a\"}"), "handler_class is missing"},
    {BATCH(STEP(",\"task_context\":[]")), "step 1: task_context is not an object"},
    {BATCH(STEP(",\"previous_results\":1")), "step 1: previous_results is not an object"},
    {BATCH(STEP(",\"handler_config\":\"x\"")), "step 1: handler_config is not an object"},
    {BATCH(STEP(",\"metadata\":false")), "step 1: metadata is not an object"},
    {BATCH(STEP(",\"metadata\":{\"attempt\":\"1\"}")), "metadata.attempt is not an integer"},
    {BATCH(STEP(",\"metadata\":{\"attempt\":-1}")), "metadata.attempt is not in 0 to"},
    {BATCH(STEP(",\"metadata\":{\"retry_limit\":1.5}")), "metadata.retry_limit is not an integer"},
    {BATCH(STEP(",\"metadata\":{\"timeout_ms\":99999999999999}")), "metadata.timeout_ms is not in"},
    {BATCH(STEP(",\"handler_config\":{\"timeout_seconds\":\"3\"}")), "timeout_seconds is not a"},
    {BATCH(STEP(",\"handler_config\":{\"timeout_seconds\":1e300}")), "timeout_seconds is not in"},
    {BATCH(STEP(",\"handler_config\":{\"timeout_seconds\":-1}")), "timeout_seconds is not in"},
};

static void test_bad_batches(void)
{
    for (size_t i = 0; i < sizeof bad_batches / sizeof *bad_batches; i++) {
        struct tsk_batch batch;
        struct tsk_err err = TSK_ERR_INIT;
        bool refused = tsk_batch_read(&batch, parse(bad_batches[i].text), true, &err) == -1;
        if (!CHECK(refused && err.kind == TSK_DATA && strstr(err.text, bad_batches[i].error)))
            fprintf(stderr, "    %s\n    got: %s\n", bad_batches[i].text, err.text);
        if (!refused)
            tsk_batch_fini(&batch);
    }
}

static void test_defaults(void)
{
    struct tsk_batch batch;
    struct tsk_err err = TSK_ERR_INIT;
    const char *text = BATCH(STEP("") ",{\"step_id\":9223372036854775807,\"task_id\":5,"
                                      "\"step_name\":\"m\",\"handler_class\":\"I::J\",\"x\":[1],"
                                      "\"handler_config\":{\"timeout_seconds\":0.25},"
                                      "\"task_context\":null,\"metadata\":{\"attempt\":null}}");
    if (!CHECK(tsk_batch_read(&batch, parse(text), true, &err) == 0))
        return;
    CHECK_STR(batch.batch_id, "b");
    CHECK_INT(batch.count, 2);
    CHECK_INT(batch.steps[0].sequence, 1);
    CHECK_INT(batch.steps[0].total_steps, 2);
    CHECK_INT(batch.steps[0].attempt, 1);
    CHECK_INT(batch.steps[0].retry_limit, 3);
    CHECK_INT(batch.steps[0].timeout_ms, 0);
    CHECK_INT(batch.steps[1].step_id, INT64_MAX);
    CHECK_INT(batch.steps[1].sequence, 2);
    CHECK_INT(batch.steps[1].attempt, 1);
    CHECK_INT(batch.steps[1].timeout_ms, 250);
    CHECK_STR(batch.steps[1].handler_class, "I::J");
    CHECK(tsk_json_get(batch.steps[1].json, "x"));
    tsk_batch_fini(&batch);
}

static void test_given(void)
{
    struct tsk_batch batch;
    struct tsk_err err = TSK_ERR_INIT;
    const char *text = "{\"steps\":[" STEP(",\"metadata\":{\"sequence\":4,\"total_steps\":9,"
                                           "\"attempt\":2,\"retry_limit\":0,\"timeout_ms\":77},"
                                           "\"handler_config\":{\"timeout_seconds\":30}") "]}";
    if (!CHECK(tsk_batch_read(&batch, parse(text), false, &err) == 0))
        return;
    CHECK_STR(batch.batch_id, "");
    CHECK_INT(batch.steps[0].sequence, 4);
    CHECK_INT(batch.steps[0].total_steps, 9);
    CHECK_INT(batch.steps[0].attempt, 2);
    CHECK_INT(batch.steps[0].retry_limit, 0);
    CHECK_INT(batch.steps[0].timeout_ms, 77);
    tsk_batch_fini(&batch);
    CHECK(tsk_batch_read(&batch, parse(BATCH(STEP(",\"metadata\":{\"attempt\":0}"))), true, &err) ==
          0);
    CHECK_INT(batch.steps[0].attempt, 1);
    tsk_batch_fini(&batch);
}

/* A hundred thousand steps, the worst order, and a repeated id that is found. */
static void test_many(void)
{
    struct tsk_buf text = TSK_BUF_INIT;
    struct tsk_batch batch;
    struct tsk_err err = TSK_ERR_INIT;
    tsk_buf_str(&text, "{\"batch_id\":\"b\",\"steps\":[");
    for (int i = 100000; i > 0; i--)
        tsk_buf_printf(&text,
                       "{\"step_id\":%d,\"task_id\":1,\"step_name\":\"n\","
                       "\"handler_class\":\"H\"}%s",
                       i == 777 ? 99999 : i, i > 1 ? "," : "]}");
    struct json_object *json = parse(text.data);
    clock_t start = clock();
    CHECK(tsk_batch_read(&batch, json, true, &err) == -1);
    CHECK_STR(err.text, "step 99224: step_id 99999 is in the batch twice");
    const char *wrapper = getenv("UNIT_WRAPPER"); /* valgrind is some thirty times slower */
    CHECK((clock() - start) / CLOCKS_PER_SEC < (wrapper && *wrapper ? 100 : 5));
    tsk_buf_fini(&text);
}

static void test_types(void)
{
    static const struct {
        const char *text;
        enum tsk_type type;
    } cases[] = {
        {"{}", TSK_TYPE_OTHER},
        {"[]", TSK_TYPE_OTHER},
        {"{\"message_type\":1}", TSK_TYPE_OTHER},
        {"{\"message_type\":\"\"}", TSK_TYPE_OTHER},
        {"{\"message_type\":\"batch\"}", TSK_TYPE_BATCH},
        {"{\"message_type\":\"Step\"}", TSK_TYPE_STEP},
        {"{\"message_type\":\"PartialResult\"}", TSK_TYPE_PARTIAL},
        {"{\"message_type\":\"BatchCompletion\"}", TSK_TYPE_COMPLETION},
        {"{\"message_type\":\"batch_published\"}", TSK_TYPE_PUBLISHED},
        {"{\"message_type\":\"partialResult\"}", TSK_TYPE_OTHER},
        {"{\"message_type\":\"AVeryLongWordThatIsNoneOfThoseThatAreKnownToAnybody\"}",
         TSK_TYPE_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_object *json = parse(cases[i].text);
        CHECK_INT(tsk_type_of(json), cases[i].type);
        json_object_put(json);
    }
    CHECK_STR(tsk_type_name(TSK_TYPE_WORKER), "worker_status");
    CHECK(tsk_type_name(TSK_TYPE_OTHER) == NULL);
}

static int collect(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct tsk_buf *out = ctx;
    tsk_buf_printf(out, "%s%s %s\n", tsk_type_name(type), changed ? "*" : "",
                   json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN |
                                                               JSON_C_TO_STRING_NOSLASHESCAPE));
    return 0;
}

/* What goes in with which topic, and what comes out: "TYPE[*] JSON" a line, or the error. */
static const struct {
    const char *topic, *in, *out;
} results[] = {
    {"partial_result",
     "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,\"status\":\"failed\"}",
     "partial_result {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
     "\"status\":\"failed\"}\n"},
    {"partial_result", "{\"batch_id\":\"b\",\"step_id\":1,\"status\":\"completed\"}",
     "partial_result* {\"batch_id\":\"b\",\"step_id\":1,\"status\":\"completed\","
     "\"message_type\":\"partial_result\"}\n"},
    {"anything",
     "{\"message_type\":\"PartialResult\",\"batch_id\":\"b\",\"step_id\":1,\"status\":\"error\","
     "\"execution_time_ms\":null,\"attempt\":0,\"error\":{\"type\":\"E\",\"message\":\"m\"}}",
     "partial_result* {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
     "\"status\":\"failed\",\"execution_time_ms\":null,\"attempt\":null,\"error\":{\"type\":\"E\","
     "\"message\":\"m\",\"error_type\":\"E\"}}\n"},
    {"partial_result",
     "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,\"status\":\"Failed\","
     "\"execution_time_ms\":12.6,\"error\":\"no\"}",
     "partial_result* {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
     "\"status\":\"failed\",\"execution_time_ms\":13,\"error\":{\"message\":\"no\"}}\n"},
    {"partial_result",
     "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,\"status\":\"failed\","
     "\"error\":{\"error_type\":\"E\",\"type\":\"F\"}}",
     "partial_result* {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
     "\"status\":\"failed\",\"error\":{\"error_type\":\"E\",\"type\":\"E\"}}\n"},
    {"batch_completion",
     "{\"message_type\":\"BatchCompletion\",\"batch_id\":\"b\",\"total_steps\":1,"
     "\"step_summaries\":[{\"step_id\":1,\"final_status\":\"error\"}]}",
     "batch_completion* "
     "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":1,"
     "\"step_summaries\":[{\"step_id\":1,\"final_status\":\"failed\"}]}\n"},
    {"batch_error", "{\"message_type\":\"batch_error\",\"batch_id\":null,\"error\":null}",
     "batch_error {\"message_type\":\"batch_error\",\"batch_id\":null,\"error\":null}\n"},
    {"worker_status", "{\"message_type\":\"worker_status\",\"worker_id\":\"w\"}",
     "worker_status {\"message_type\":\"worker_status\",\"worker_id\":\"w\"}\n"},
    {"results",
     "{\"batch_id\":\"b\",\"worker_id\":\"w\",\"results\":["
     "{\"step_id\":1,\"status\":\"completed\",\"output\":{\"a\":1},\"error\":null,"
     "\"metadata\":{\"attempt\":2}},{\"step_id\":2,\"status\":\"error\",\"error\":\"x\"}]}",
     "partial_result* {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
     "\"status\":\"completed\",\"output\":{\"a\":1},\"error\":null,\"execution_metadata\":"
     "{\"attempt\":2},\"attempt\":2,\"worker_id\":\"w\"}\n"
     "partial_result* {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":2,"
     "\"status\":\"failed\",\"error\":{\"message\":\"x\"},\"worker_id\":\"w\"}\n"
     "batch_completion* {\"step_summaries\":[{\"step_id\":1,\"execution_time_ms\":null,"
     "\"worker_id\":\"w\",\"attempt\":2,\"final_status\":\"completed\"},{\"step_id\":2,"
     "\"execution_time_ms\":null,\"worker_id\":\"w\",\"attempt\":null,\"final_status\":\"failed\"}]"
     ","
     "\"message_type\":\"batch_completion\",\"total_steps\":2,\"completed_steps\":1,"
     "\"failed_steps\":1,\"in_progress_steps\":0,\"batch_id\":\"b\",\"worker_id\":\"w\"}\n"},
    {"results", "{\"batch_id\":\"b\",\"results\":[{\"step_id\":1,\"status\":\"in_progress\"}]}",
     "partial_result* {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
     "\"status\":\"in_progress\"}\n"},
    {"results", "{\"batch_id\":\"b\",\"results\":[{\"step_id\":1,\"status\":\"failed\"},7]}",
     "partial_result* {\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
     "\"status\":\"failed\"}\n"
     "batch_completion* {\"step_summaries\":[{\"step_id\":1,\"execution_time_ms\":null,"
     "\"worker_id\":null,\"attempt\":null,\"final_status\":\"failed\"}],"
     "\"message_type\":\"batch_completion\",\"total_steps\":2,\"refused_entries\":1,"
     "\"completed_steps\":0,\"failed_steps\":1,\"in_progress_steps\":0,\"batch_id\":\"b\"}\n"},
    {"results", "{\"batch_id\":\"b\",\"results\":[{\"step_id\":0,\"status\":\"failed\"},7]}",
     "results, entry 1: step_id is not a positive integer"},
    {"results", "{\"batch_id\":\"b\",\"results\":[{\"step_id\":1}]}",
     "results, entry 1: status is missing"},
    {"results", "{\"results\":[]}", "batch_id is missing"},
    {"results", "{\"batch_id\":\"b\",\"results\":{}}", "message_type is missing"},
    {"partial_result", "[]", "the message is not an object"},
    {"hello", "{\"batch_id\":\"b\"}", "message_type is missing"},
    {"hello", "{\"message_type\":\"hello\"}", "message_type is none that is known"},
    {"partial_result", "{\"message_type\":3}", "message_type is none that is known"},
    {"steps", "{\"message_type\":\"batch\"}", "batch is no message of the results channel"},
    {"partial_result", "{}", "batch_id is missing"},
    {"partial_result", "{\"batch_id\":\"\"}", "batch_id is not 1 to 128"},
    {"partial_result", "{\"batch_id\":\"b\"}", "step_id is missing"},
    {"partial_result", "{\"batch_id\":\"b\",\"step_id\":-4}", "step_id is not a positive integer"},
    {"partial_result", "{\"batch_id\":\"b\",\"step_id\":4}", "status is missing"},
    {"partial_result", "{\"batch_id\":\"b\",\"step_id\":4,\"status\":\"x\"}", "status is not"},
    {"partial_result", "{\"batch_id\":\"b\",\"step_id\":4,\"status\":7}", "status is not"},
    {"partial_result",
     "{\"batch_id\":\"b\",\"step_id\":4,\"status\":\"failed\",\"attempt\":\"one\"}",
     "attempt is not an integer"},
    {"partial_result",
     "{\"batch_id\":\"b\",\"step_id\":4,\"status\":\"failed\",\"execution_time_ms\":-5}",
     "execution_time_ms is negative"},
    {"partial_result", "{\"batch_id\":\"b\",\"step_id\":4,\"status\":\"failed\",\"error\":[]}",
     "error is not an object"},
    {"batch_completion",
     "{\"batch_id\":\"b\",\"step_summaries\":[7,{\"step_id\":0,\"final_status\":\"failed\"},"
     "{\"step_id\":2,\"final_status\":\"x\"},{\"step_id\":3,\"final_status\":\"failed\","
     "\"attempt\":-1},"
     "{\"step_id\":4,\"final_status\":\"error\"}]}",
     "batch_completion* {\"batch_id\":\"b\",\"step_summaries\":[{\"step_id\":4,"
     "\"final_status\":\"failed\"}],\"message_type\":\"batch_completion\",\"refused_entries\":4}"
     "\n"},
    {"batch_completion", "{\"batch_id\":\"b\",\"step_summaries\":7}", "is not an array"},
    {"batch_completion", "{\"batch_id\":\"b\",\"total_steps\":\"1\"}", "total_steps is not an"},
    {"batch_error", "{\"batch_id\":7}", "batch_id is not 1 to 128"},
};

static void test_results(void)
{
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        struct tsk_buf out = TSK_BUF_INIT;
        struct tsk_err err = TSK_ERR_INIT;
        struct json_object *json = parse(results[i].in);
        if (tsk_result_normalise(results[i].topic, json, collect, &out, &err) == 0) {
            if (!CHECK_STR(out.data, results[i].out))
                fprintf(stderr, "    for: %s\n", results[i].in);
        } else if (!CHECK(err.kind == TSK_DATA && !out.len && strstr(err.text, results[i].out))) {
            fprintf(stderr, "    for: %s\n    got: %s\n", results[i].in, err.text);
        }
        json_object_put(json);
        tsk_buf_fini(&out);
    }
}

static int stop_at_once(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    (void)type, (void)message, (void)changed;
    return ++*(int *)ctx;
}

static void test_emit_stops(void)
{
    int calls = 0;
    struct tsk_err err = TSK_ERR_INIT;
    struct json_object *json = parse("{\"batch_id\":\"b\",\"results\":[{\"step_id\":1,\"status\":"
                                     "\"failed\"},{\"step_id\":2,\"status\":\"failed\"}]}");
    CHECK_INT(tsk_result_normalise("results", json, stop_at_once, &calls, &err), 1);
    CHECK_INT(calls, 1);
    json_object_put(json);
}

static void test_made(void)
{
    struct json_object *error = tsk_error_object("m", "T", "timeout", true);
    struct json_object *made = tsk_batch_error("b", error);
    bool retryable = false;
    CHECK_STR(tsk_json_str(made, "batch_id"), "b");
    CHECK_INT(tsk_type_of(made), TSK_TYPE_ERROR);
    CHECK_STR(tsk_json_str(error, "type"), "T");
    CHECK_STR(tsk_json_str(error, "error_type"), "T");
    CHECK(tsk_json_bool(error, "retryable", &retryable) == 1 && retryable);
    json_object_put(made);
}

/* What is beyond a limit is left out, and its objects say so; what is no JSON is refused. */
static void test_salvage(void)
{
#define MARK(at) "\"refused_value\":\"a name with a NUL (\\\\u0000) at byte " #at "\""
    static const struct {
        const char *text, *left;
    } texts[] = {
        {"{\"output\":{\"x\":1},\"a\":-0}", "{\"output\":{\"x\":1},\"a\":-0}"},
        {"{\"output\":{\"\\u0000\":[1]},\"a\":1}", "{\"a\":1," MARK(12) "}"},
        {"{\"error\":{\"e\":1,\"\\u0000y\":{\"e\":2},\"f\":3}}",
         "{\"error\":{\"e\":1,\"f\":3," MARK(17) "}," MARK(17) "}"},
        {"{\"l\":[1,{\"\\u0000\":2},{\"b\":3}]}",
         "{\"l\":[1,{" MARK(10) "},{\"b\":3}]," MARK(10) "}"},
        {"{\"output\":{\"\\u0000\":[1]},\"a\":tru}", NULL},
        {"{\"output\":{\"\\u0000\":[1},\"a\":1", NULL},
        {"{\"output\":{\"\\u0000\":[1]}} 1", NULL},
        {"[{\"\\u0000\":1}]", NULL},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct tsk_err err = TSK_ERR_INIT;
        size_t len;
        struct json_object *json =
            tsk_json_salvage(parser, texts[i].text, strlen(texts[i].text), &err);
        CHECK_STR(json ? tsk_json_text(json, &len) : "", texts[i].left ? texts[i].left : "");
        CHECK((err.kind == TSK_OK) == (i == 0));
        json_object_put(json);
    }
}

/* What is left of a message nested to the limit and beyond is within it, marks and all. */
static void test_salvage_depth(void)
{
    for (int levels = TSK_JSON_DEPTH - 3; levels < TSK_JSON_DEPTH + 3; levels++) {
        struct tsk_buf text = TSK_BUF_INIT;
        size_t len;
        for (int i = 0; i < levels; i++)
            tsk_buf_str(&text, i % 2 ? "[1," : "{\"a\":");
        tsk_buf_str(&text, "2");
        for (int i = levels; i--;)
            tsk_buf_char(&text, i % 2 ? ']' : '}');
        struct tsk_err err = TSK_ERR_INIT;
        struct json_object *json = tsk_json_salvage(parser, text.data, text.len, &err);
        struct json_object *again = parse(tsk_json_text(json, &len));
        CHECK(json && again && json_object_equal(json, again));
        CHECK((err.kind == TSK_OK) == (levels < TSK_JSON_DEPTH));
        json_object_put(again);
        json_object_put(json);
        tsk_buf_fini(&text);
    }
}

int main(void)
{
    parser = tsk_json_new();
    test_bad_batches();
    test_defaults();
    test_given();
    test_many();
    test_types();
    test_results();
    test_emit_stops();
    test_made();
    test_salvage();
    test_salvage_depth();
    tsk_json_free(parser);
    return check_done();
}
