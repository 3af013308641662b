/* Texts for the tests of the scanner, and random changes of them. */
#ifndef TESTS_UNIT_SCAN_TEXTS_H
#define TESTS_UNIT_SCAN_TEXTS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- What is JSON, and what is not. */

static const char *const good[] = {
    "0",
    "-0",
    "-1",
    "10",
    " \t\r\n7 \t\r\n",
    "1.5",
    "-0.0e-0",
    "1e5",
    "1E+05",
    "0e999",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999",
    "[-123456789012345678901234567890, -0, -0.0, 1.0e2, 1E400, -1e-400, 0.1000000000000000055511]",
    "{\"\\\\u0000\":\"\\u0000\"}",
    "123456789012345678901234567890.5",
    "1234567890123456789012e3",
    "true",
    "false",
    "null",
    "\"\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uD83D\\uDE00\\uabCD\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800x\"",
    "\"\x7F\"",
    "\"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\"",
    "\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"",
    "\"1234567\xC3\xA9\"",
    "\"12345678\xC3\xA9\"",
    "\"NaN Infinity 99999999999999999999999\"",
    "[]",
    "[ ]",
    "{}",
    "{ }",
    "[1,2 , 3]",
    "{\"a\":1,\"a\":2,\"\":3,\"b\\u0063\":{}}",
    " { \"a\" : [ { } , null , \"x\" ] } ",
};

static const struct {
    const char *text, *error;
} bad[] = {
    {"", "it ends in the middle"},
    {" ", "it ends in the middle"},
    {"[", "it ends in the middle"},
    {"[1", "it ends in the middle"},
    {"[1,", "it ends in the middle"},
    {"{", "it ends in the middle"},
    {"{\"a", "it ends in the middle"},
    {"{\"a\"", "it ends in the middle"},
    {"{\"a\":", "it ends in the middle"},
    {"{\"a\":1", "it ends in the middle"},
    {"\"abc", "it ends in the middle"},
    {"\"abcdefgh", "it ends in the middle"},
    {"\"\\", "it ends in the middle"},
    {"\"\\u12", "it ends in the middle"},
    {"\"\xC3", "it ends in the middle"},
    {"-", "it ends in the middle"},
    {"1.", "it ends in the middle"},
    {"1e", "it ends in the middle"},
    {"1e+", "it ends in the middle"},
    {"tru", "it ends in the middle"},
    {"1 2", "byte 3: more than one value"},
    {"{} {}", "byte 4: more than one value"},
    {"{}}", "byte 3: more than one value"},
    {"nullx", "byte 5: more than one value"},
    {"01", "leading zero"},
    {"-01", "leading zero"},
    {"00", "leading zero"},
    {"00.5", "leading zero"},
    {"1.x", "number expected"},
    {"1.e5", "number expected"},
    {"1ex", "number expected"},
    {"-x", "number expected"},
    {"--1", "number expected"},
    {"+1", "unexpected character"},
    {".5", "unexpected character"},
    {"True", "unexpected character"},
    {"nul1", "unexpected character"},
    {"'a'", "unexpected character"},
    {"hello", "unexpected character"},
    {"[1,]", "unexpected character"},
    {"[,1]", "unexpected character"},
    {"/**/1", "unexpected character"},
    {"\xEF\xBB\xBF{}", "it begins with a byte order mark"},
    {"\v1", "unexpected character"},
    {"[1 2]", "comma or ] expected"},
    {"[1}", "comma or ] expected"},
    {"{\"a\":1]", "comma or } expected"},
    {"{\"a\" 1}", "colon expected"},
    {"{\"a\"}", "colon expected"},
    {"{a:1}", "name in quotes expected"},
    {"{\"a\":1,}", "name in quotes expected"},
    {"{1:1}", "name in quotes expected"},
    {"\"\\x\"", "invalid escape sequence"},
    {"\"\\u12g4\"", "invalid \\u sequence"},
    {"\"\t\"", "a control character that is not escaped"},
    {"\"12345678\n\"", "a control character that is not escaped"},
    {"\"\x1F\"", "a control character that is not escaped"},
    {"{\"a\nb\":1}", "a control character that is not escaped"},
    {"NaN", "NaN and Infinity are not JSON"},
    {"[Infinity]", "NaN and Infinity are not JSON"},
    {"{\"a\\u0000b\":1}", "a name with a NUL (\\u0000) at byte 2"},
    {"[{\"\\\\\\u0000\":1}]", "a name with a NUL (\\u0000) at byte 3"},
    {"\"\xC3\"", "invalid UTF-8"},
    {"\"\x80\"", "invalid UTF-8"},
    {"\"\xC0\x80\"", "invalid UTF-8"},
    {"\"\xC1\xBF\"", "invalid UTF-8"},
    {"\"\xE0\x9F\xBF\"", "invalid UTF-8"},
    {"\"\xED\xA0\x80\"", "invalid UTF-8"},
    {"\"\xF0\x8F\xBF\xBF\"", "invalid UTF-8"},
    {"\"\xF4\x90\x80\x80\"", "invalid UTF-8"},
    {"\"\xF5\x80\x80\x80\"", "invalid UTF-8"},
    {"\"\xFF\"", "invalid UTF-8"},
    {"\"ab\xE2\x82\"", "invalid UTF-8"},
};

/* A copy that ends where its memory does, so that a sanitizer sees each step too far. */
static inline char *exact(const char *text, size_t len)
{
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    return copy;
}

/* Results, most of them in canonical form. */
static const char *const messages[] = {
    "{\"message_type\":\"partial_result\",\"batch_id\":\"01a2097a-624b-7c17-be0d-000000000001\","
    "\"step_id\":1,\"task_id\":2,\"step_name\":\"n\",\"attempt\":1,\"status\":\"in_progress\","
    "\"output\":null,\"error\":null,\"retryable\":false,\"execution_time_ms\":0,\"worker_id\":"
    "\"w\","
    "\"sequence\":1,\"timestamp\":\"2026-11-23T12:00:00.000Z\",\"execution_metadata\":"
    "{\"handler_class\":\"A::B\",\"timeout_ms\":30000},\"source\":\"s-1\",\"offset\":7}",
    "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":9,\"status\":\"failed\","
    "\"error\":{\"message\":\"m \xC3\xA9 \\\" \",\"error_type\":\"E\",\"type\":\"E\","
    "\"backtrace\":[\"a\",\"b\"],\"retryable\":true},\"source\":\"s\",\"offset\":8}",
    "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":9,\"status\":"
    "\"completed\","
    "\"output\":{\"x\":[1.5,true,{\"batch_id\":\"inner\"}]},\"execution_time_ms\":null,"
    "\"attempt\":2,\"sequence\":null}",
    "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"total_steps\":2,"
    "\"completed_steps\":1,\"failed_steps\":1,\"in_progress_steps\":0,\"step_summaries\":["
    "{\"step_id\":1,\"final_status\":\"completed\",\"execution_time_ms\":5,\"worker_id\":\"w\","
    "\"attempt\":1},{\"step_id\":2,\"final_status\":\"failed\"}],\"total_execution_time_ms\":9,"
    "\"completed_at\":\"2026-11-23T12:00:00.000Z\",\"source\":\"s\",\"offset\":9}",
    "{\"message_type\":\"batch_completion\",\"batch_id\":\"b\",\"step_summaries\":[]}",
    "{\"message_type\":\"batch_error\",\"batch_id\":\"b\",\"error\":{\"type\":\"E\"}}",
    "{\"message_type\":\"worker_status\",\"source\":\"s\",\"offset\":4}",
    "{\"message_type\":\"PartialResult\",\"batch_id\":\"b\",\"step_id\":1,\"status\":\"error\"}",
    "{\"batch_id\":\"b\",\"results\":[{\"step_id\":1,\"status\":\"completed\"}]}",
    "{\"message_type\":\"partial_result\",\"results\":[{\"step_id\":1,\"status\":\"failed\"}],"
    "\"batch_id\":\"b\",\"step_id\":1,\"status\":\"failed\"}",
};

/* --- At random. */

static unsigned long long seed;

static inline unsigned rnd(unsigned n)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % n;
}

/* What is put into a text: pieces of JSON, of messages, and bytes that hurt. */
static const char *const pieces[] = {
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "-",
    "0",
    "1",
    "9",
    ".",
    "e",
    "E+",
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "1.0",
    "-1",
    "0.5",
    "1e3",
    "\\u0061",
    "\\u0000",
    "\\ud800",
    "\\n",
    "\xC3\xA9",
    "\xC3",
    "\xED\xA0\x80",
    "\xF0\x9F\x98\x80",
    "\xFF",
    "\x01",
    "\x7F",
    "18446744073709551615",
    "9223372036854775808",
    "99999999999999999999",
    "[1,2]",
    "{}",
    "\"a\":1,",
    "\"batch_id\":",
    "\"batch_id\":\"c\",",
    "\"step_id\":",
    "\"status\":\"failed\",",
    "\"completed\"",
    "\"error\"",
    "\"Failed\"",
    "\"error\":\"text\",",
    "\"type\":\"E\",",
    "\"results\":[],",
    "\"source\":null,",
    "\"offset\":1.0,",
    "\"message_type\":\"PartialResult\",",
    "\"attempt\":0,",
    "\"st\\u0061tus\":\"x\",",
    "\"step_summaries\":[{}],",
    "b c",
};

static inline void change(struct tsk_buf *text)
{
    size_t at = text->len ? rnd((unsigned)text->len) : 0, most = text->len - at;
    size_t gone = rnd(3) ? rnd(most > 12 ? 12 : (unsigned)most + 1) : 0;
    const char *piece = rnd(4) ? pieces[rnd(COUNT(pieces))] : "";
    struct tsk_buf made = TSK_BUF_INIT;
    if (gone > most)
        gone = most;
    tsk_buf_add(&made, text->data, at);
    tsk_buf_str(&made, piece);
    if (!rnd(20))
        tsk_buf_char(&made, (char)rnd(256));
    tsk_buf_add(&made, text->data + at + gone, most - gone);
    tsk_buf_fini(text);
    *text = made;
}

/* Puts a piece in place of a value, so that the text mostly stays JSON. */
static inline void change_value(struct tsk_buf *text)
{
    static const char *const values[] = {"null",
                                         "0",
                                         "1",
                                         "-1",
                                         "1.0",
                                         "2.5",
                                         "\"\"",
                                         "\"b\"",
                                         "\"x y\"",
                                         "\"failed\"",
                                         "\"Error\"",
                                         "\"\\u0062\"",
                                         "{}",
                                         "[]",
                                         "{\"type\":\"E\"}",
                                         "true",
                                         "{\"type\":\"E\",\"error_type\":\"F\"}",
                                         "9223372036854775807",
                                         "18446744073709551615",
                                         "[{\"step_id\":3,\"final_status\":\"failed\"}]",
                                         "[{\"step_id\":3,\"final_status\":\"Failed\"}]",
                                         "[7]"};
    size_t at = rnd((unsigned)text->len), end;
    while (at < text->len && text->data[at] != ':')
        at++;
    for (end = ++at; end < text->len && !strchr(",}]", text->data[end]); end++)
        ;
    if (end >= text->len)
        return;
    struct tsk_buf made = TSK_BUF_INIT;
    tsk_buf_add(&made, text->data, at);
    tsk_buf_str(&made, values[rnd(COUNT(values))]);
    tsk_buf_str(&made, text->data + end);
    tsk_buf_fini(text);
    *text = made;
}

static inline const char *any_text(void)
{
    unsigned i = rnd(COUNT(messages) * 3 + COUNT(good) + COUNT(bad));
    if (i < COUNT(messages) * 3)
        return messages[i / 3];
    i -= COUNT(messages) * 3;
    return i < COUNT(good) ? good[i] : bad[i - COUNT(good)].text;
}

static inline void print_text(const char *text, size_t len)
{
    fputs("    ", stderr);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        fprintf(stderr, c >= 0x20 && c < 0x7F ? "%c" : "\\x%02X", c);
    }
    fputc('\n', stderr);
}

/* One of the texts, changed or not. */
static inline void random_text(struct tsk_buf *text)
{
    tsk_buf_str(text, any_text());
    for (unsigned n = rnd(4); n; n--) {
        if (rnd(2) && text->len)
            change_value(text);
        else
            change(text);
    }
}

/* Calls agree with random texts, each of which ends where its memory does. It counts in tally what
 * the text was of use for, which some must have been. The seed is printed; TEST_SEED=N runs one
 * again, and TEST_ROUNDS=N goes on for longer. */
static inline void test_random(bool (*agree)(const char *text, size_t len, long *tally))
{
    const char *given = getenv("TEST_SEED"), *longer = getenv("TEST_ROUNDS");
    const char *wrapper = getenv("UNIT_WRAPPER"); /* valgrind is some thirty times slower */
    long rounds = longer ? strtol(longer, NULL, 10) : wrapper && *wrapper ? 5000 : 100000;
    long tally = 0;
    bool ok = true;
    seed = given ? strtoull(given, NULL, 10) : (unsigned long long)tsk_wall_ms();
    printf("seed %llu\n", seed);
    for (long i = 0; i < rounds && ok; i++) {
        struct tsk_buf text = TSK_BUF_INIT;
        unsigned long long before = seed;
        random_text(&text);
        char *copy = exact(text.data ? text.data : "", text.len);
        if (!(ok = CHECK(agree(copy, text.len, &tally)))) {
            fprintf(stderr, "TEST_SEED=%llu, at:\n", before);
            print_text(copy, text.len);
        }
        free(copy);
        tsk_buf_fini(&text);
    }
    printf("%ld of %ld texts were of use\n", tally, rounds);
    CHECK(rounds < 1000 || tally > rounds / 100);
}

#endif
