/* Tapped lines: what was written is read again, byte for byte; what is wrong is refused. */
#include "tasker/bus.h"

#include <stdlib.h>

#include "check.h"

static struct tsk_json *parser;

/* Makes a frame of raw bytes as tsk_bus_recv would, topic_len bytes of them the topic. */
static struct tsk_frame frame_of(const char *raw, size_t len, size_t topic_len)
{
    struct tsk_frame frame = {.kind = TSK_FRAME_MESSAGE, .raw = raw, .raw_len = len};
    memcpy(frame.topic, raw, topic_len);
    frame.body = raw + (topic_len ? topic_len + 1 : 0);
    frame.len = len - (topic_len ? topic_len + 1 : 0);
    return frame;
}

/* Writes and reads; returns whether the same bytes come back. line has what was written. */
static bool round_trip(const char *raw, size_t len, size_t topic_len, struct tsk_buf *line)
{
    struct tsk_frame frame = frame_of(raw, len, topic_len);
    struct json_object *message = tsk_json_object(parser, frame.body, frame.len, NULL);
    struct tsk_tapped tapped;
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_buf again = TSK_BUF_INIT;
    tsk_buf_reset(line);
    tsk_tapped_write(line, &frame, "ipc:///a \"b\"", 1769256000123, message);
    struct json_object *json = tsk_json_object(parser, line->data, line->len, &err);
    bool ok = CHECK(json && tsk_tapped_is(json)) &&
              CHECK_INT(tsk_tapped_read(&tapped, json, line->data, line->len, true, &err), 0);
    if (ok) {
        CHECK_INT(tapped.wall_ms, 1769256000123);
        CHECK_STR(tsk_json_str(json, "endpoint"), "ipc:///a \"b\"");
        tsk_buf_str(&again, tapped.topic);
        if (*tapped.topic)
            tsk_buf_char(&again, ' ');
        tsk_buf_add(&again, tapped.body.data, tapped.body.len);
        ok = again.len == len && memcmp(again.data, raw, len) == 0;
        tsk_tapped_fini(&tapped);
    }
    tsk_buf_fini(&again);
    json_object_put(json);
    json_object_put(message);
    return ok;
}

static void test_messages(void)
{
    static const struct {
        const char *raw;
        size_t topic;
        bool message;
    } cases[] = {
        {"partial_result {\"a\": 1.0, \"b\":\"\\u00e9\\/\", \"a\":2}", 14, true},
        {"x {}", 1, true},
        {"{\"no\":\"topic\"}", 0, true},
        {"x {\"message\":{\"message\":{}}}", 1, true},
        {"x {\"t\":\",\\\"message\\\":{\"}", 1, true},
        {"x [1]", 1, false},
        {"x null", 1, false},
        {"x 1}", 1, false},
        {"x {},\"size\":1", 1, false},
        {"two words and \"more\" \\ \t \n", 3, false},
        {"\xFF\xFE no text", 2, false},
        {"text \xFF\xFE", 4, false},
    };
    struct tsk_buf line = TSK_BUF_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *raw = cases[i].raw;
        if (!CHECK(round_trip(raw, strlen(raw), cases[i].topic, &line)))
            fprintf(stderr, "    case %zu: %s\n", i, line.data);
        CHECK_INT(strstr(line.data, ",\"message\":{") != NULL, cases[i].message);
        CHECK(!memchr(line.data, '\n', line.len));
    }
    tsk_buf_fini(&line);
}

static void test_bytes(void)
{
    struct tsk_buf line = TSK_BUF_INIT;
    char bytes[300];
    unsigned seed = 1;
    for (size_t i = 0; i < sizeof bytes; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (char)(seed >> 16);
    }
    for (size_t len = 0; len < sizeof bytes; len++) {
        if (!CHECK(round_trip(bytes, len, 0, &line)))
            fprintf(stderr, "    length %zu\n", len);
    }
    CHECK(round_trip("a\0b", 3, 0, &line));
    CHECK(!strstr(line.data, "base64"));
    tsk_buf_fini(&line);
}

/* On several lines it is the same JSON, no longer the same bytes; so it is when a filter wrote the
 * line anew. */
static void test_written_anew(void)
{
    static const char text[] = "{\"message_type\":\"tapped\", \"topic\":\"x\",\"size\":10,"
                               "\"message\":{\"b\" : 1}}";
    struct tsk_buf line = TSK_BUF_INIT;
    struct tsk_tapped tapped;
    struct tsk_err err;
    CHECK(!round_trip("x {\"a\":\n1}", 10, 1, &line));
    CHECK(strstr(line.data, ",\"message\":{\"a\":1}}"));
    struct json_object *json = tsk_json_object(parser, text, strlen(text), &err);
    CHECK_INT(tsk_tapped_read(&tapped, json, text, strlen(text), true, &err), 0);
    CHECK_STR(tapped.body.data, "{\"b\":1}");
    CHECK_INT(tapped.wall_ms, -1);
    tsk_tapped_fini(&tapped);
    json_object_put(json);
    tsk_buf_fini(&line);
}

/* A message may be nested as deep as a line, in which there is less room for it. */
static void test_deep(void)
{
    struct tsk_buf line = TSK_BUF_INIT, raw = TSK_BUF_INIT;
    for (int depth = TSK_JSON_DEPTH - 2; depth <= TSK_JSON_DEPTH + 1; depth++) {
        tsk_buf_reset(&raw);
        tsk_buf_str(&raw, "x {\"a\":");
        for (int i = 1; i < depth; i++)
            tsk_buf_char(&raw, '[');
        for (int i = 1; i < depth; i++)
            tsk_buf_char(&raw, ']');
        tsk_buf_char(&raw, '}');
        CHECK(round_trip(raw.data, raw.len, 1, &line));
    }
    tsk_buf_fini(&raw);
    tsk_buf_fini(&line);
}

static void test_too_long(void)
{
    struct tsk_frame frame = frame_of("x {\"a\":", 7, 1);
    struct tsk_buf line = TSK_BUF_INIT;
    struct tsk_tapped tapped;
    struct tsk_err err;
    frame.whole = 5000;
    tsk_tapped_write(&line, &frame, "e", 0, NULL);
    CHECK(strstr(line.data, "\"size\":5000,\"raw\":\"{\\\"a\\\":\",\"truncated\":true}"));
    struct json_object *json = tsk_json_object(parser, line.data, line.len, &err);
    CHECK_INT(tsk_tapped_read(&tapped, json, line.data, line.len, true, &err), -1);
    CHECK(strstr(err.text, "beginning"));
    tsk_tapped_fini(&tapped);
    json_object_put(json);
    tsk_buf_fini(&line);
}

static void test_refused(void)
{
    static const struct {
        const char *members, *reason;
    } cases[] = {
        {"\"message\":{}", "topic is missing"},
        {"\"topic\":null,\"message\":{}", "topic is missing"},
        {"\"topic\":1,\"message\":{}", "topic is not a string"},
        {"\"topic\":\"a\\u0000b\",\"message\":{}", "topic is not a string"},
        {"\"topic\":\"x\"", "message is missing"},
        {"\"topic\":\"x\",\"message\":[]", "message is not an object"},
        {"\"topic\":\"x\",\"message\":{},\"raw\":\"\"", "both"},
        {"\"topic\":\"x\",\"raw\":1", "raw is not a string"},
        {"\"topic\":\"x\",\"raw_base64\":{}", "raw_base64 is not a string"},
        {"\"topic\":\"x\",\"raw_base64\":\"a\"", "not base64"},
        {"\"topic\":\"x\",\"raw_base64\":\"a===\"", "not base64"},
        {"\"topic\":\"x\",\"raw_base64\":\"====\"", "not base64"},
        {"\"topic\":\"x\",\"raw_base64\":\"aa=a\"", "not base64"},
        {"\"topic\":\"x\",\"raw_base64\":\"aa==aaaa\"", "not base64"},
        {"\"topic\":\"x\",\"message\":{},\"time\":\"today\"", "time is not"},
        {"\"topic\":\"x\",\"message\":{},\"time\":5", "time is not"},
        {"\"topic\":\"x\",\"raw\":\"\",\"truncated\":1", "truncated is not"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tsk_buf line = TSK_BUF_INIT;
        struct tsk_tapped tapped;
        struct tsk_err err = TSK_ERR_INIT;
        tsk_buf_printf(&line, "{\"message_type\":\"tapped\",%s}", cases[i].members);
        struct json_object *json = tsk_json_object(parser, line.data, line.len, &err);
        int rc = tsk_tapped_read(&tapped, json, line.data, line.len, true, &err);
        if (!CHECK(rc == -1 && err.kind == TSK_DATA && strstr(err.text, cases[i].reason)))
            fprintf(stderr, "    %s: %d %s\n", line.data, rc, err.text);
        tsk_tapped_fini(&tapped);
        json_object_put(json);
        tsk_buf_fini(&line);
    }
}

int main(void)
{
    parser = tsk_json_new();
    test_messages();
    test_bytes();
    test_written_anew();
    test_deep();
    test_too_long();
    test_refused();
    tsk_json_free(parser);
    return check_done();
}
