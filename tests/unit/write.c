/* JSON as it is written, held against what json-c writes. */
#include "tasker/json.h"

#include <string.h>

#include "check.h"
#include "tasker/clock.h"

/* Each byte that a text can have, alone and between others, is written as json-c writes it. */
static void test_texts(void)
{
    struct tsk_buf buf = TSK_BUF_INIT;
    for (int c = 1; c < 0x80; c++) {
        char text[] = {'a', (char)c, 'b', (char)c, '\0'};
        struct json_object *value = json_object_new_string(text);
        size_t len;
        tsk_buf_reset(&buf);
        tsk_write_str(&buf, NULL, text);
        CHECK_STR(buf.data, tsk_json_text(value, &len));
        json_object_put(value);
    }
    tsk_buf_reset(&buf);
    tsk_write_str(&buf, NULL, "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
    CHECK_STR(buf.data, "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\"");
    tsk_buf_fini(&buf);
}

static void test_numbers(void)
{
    static const int64_t numbers[] = {0, 1, -1, 9, 10, -10, 1234567890, INT64_MAX, INT64_MIN};
    struct tsk_buf buf = TSK_BUF_INIT;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct json_object *value = json_object_new_int64(numbers[i]);
        size_t len;
        tsk_buf_reset(&buf);
        tsk_write_int(&buf, NULL, numbers[i]);
        CHECK_STR(buf.data, tsk_json_text(value, &len));
        json_object_put(value);
    }
    tsk_buf_fini(&buf);
}

static void write_all(struct tsk_buf *buf, struct json_object *inner)
{
    tsk_write_open(buf, NULL, '{');
    tsk_write_str(buf, "text", "{");
    tsk_write_str(buf, "none", NULL);
    tsk_write_open(buf, "empty", '{');
    tsk_write_close(buf, '}');
    tsk_write_open(buf, "list", '[');
    tsk_write_int(buf, NULL, 1);
    tsk_write_bool(buf, NULL, true);
    tsk_write_open(buf, NULL, '[');
    tsk_write_close(buf, ']');
    tsk_write_close(buf, ']');
    tsk_write_json(buf, "inner", inner);
    tsk_write_json(buf, "nothing", NULL);
    tsk_write_object(buf, "object", NULL);
    tsk_write_raw(buf, "raw", "[1]", 3);
    tsk_write_time(buf, "at", 1);
    tsk_write_bool(buf, "last", false);
    tsk_write_close(buf, '}');
}

/* Commas stand where they must, and only there. */
static void test_members(void)
{
    struct tsk_buf buf = TSK_BUF_INIT;
    struct json_object *inner = json_object_new_object();
    tsk_json_put_str(inner, "a/b", "c/d");
    write_all(&buf, inner);
    CHECK_STR(buf.data, "{\"text\":\"{\",\"none\":null,\"empty\":{},\"list\":[1,true,[]],"
                        "\"inner\":{\"a/b\":\"c/d\"},\"nothing\":null,\"object\":{},\"raw\":[1],"
                        "\"at\":\"1970-01-01T00:00:00.001Z\",\"last\":false}");
    json_object_put(inner);
    tsk_buf_fini(&buf);
}

/* The second that is remembered is never another's. */
static void test_times(void)
{
    char text[TSK_TIME_SIZE];
    tsk_time_format(0, text);
    CHECK_STR(text, "1970-01-01T00:00:00.000Z");
    tsk_time_format(-1, text);
    CHECK_STR(text, "1969-12-31T23:59:59.999Z");
    tsk_time_format(999, text);
    CHECK_STR(text, "1970-01-01T00:00:00.999Z");
    tsk_time_format(1000, text);
    CHECK_STR(text, "1970-01-01T00:00:01.000Z");
    tsk_time_format(1000, text);
    CHECK_STR(text, "1970-01-01T00:00:01.000Z");
}

int main(void)
{
    test_texts();
    test_numbers();
    test_members();
    test_times();
    return check_done();
}
