/* Numbers, durations, sizes, endpoints, names and the nearest word: what is taken, what is refused
 * and with which words. */
#include <stdint.h>

#include "check.h"
#include "tasker/clock.h"
#include "tasker/parse.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MOST INT64_MAX

typedef int parse_fn(const char *, int64_t, int64_t, int64_t *, struct tsk_err *);

struct number {
    const char *text;
    int64_t least, most, want;
    const char *error; /* a piece of it, or NULL */
};

static const struct number ints[] = {
    {"0", 0, 10, 0, NULL},
    {"10", 0, 10, 10, NULL},
    {"007", 0, 10, 7, NULL},
    {"-3", -5, 5, -3, NULL},
    {"9223372036854775807", 0, MOST, MOST, NULL},
    {"-9223372036854775808", INT64_MIN, 0, INT64_MIN, NULL},
    {"9223372036854775808", 0, MOST, 0, "out of range (0 to 9223372036854775807)"},
    {"99999999999999999999999999", 0, MOST, 0, "out of range"},
    {"-9223372036854775809", INT64_MIN, 0, 0, "out of range"},
    {"11", 1, 10, 0, "\"11\" is out of range (1 to 10)"},
    {"0", 1, 10, 0, "\"0\" is out of range (1 to 10)"},
    {"", 0, 10, 0, "\"\" is not a whole number"},
    {"-", 0, 10, 0, "is not a whole number"},
    {"--1", -5, 10, 0, "is not a whole number"},
    {"+1", 0, 10, 0, "is not a whole number"},
    {" 1", 0, 10, 0, "is not a whole number"},
    {"1 ", 0, 10, 0, "is not a whole number"},
    {"1\n", 0, 10, 0, "\"1\\x0a\" is not a whole number"},
    {"1.0", 0, 10, 0, "is not a whole number"},
    {"1e3", 0, 9999, 0, "is not a whole number"},
    {"0x10", 0, 99, 0, "is not a whole number"},
    {"five", 0, 99, 0, "\"five\" is not a whole number"},
};

static const struct number sizes[] = {
    {"0", 0, 10, 0, NULL},
    {"4096", 0, 9999, 4096, NULL},
    {"1K", 0, 9999, 1024, NULL},
    {"1k", 0, 9999, 1024, NULL},
    {"16M", 0, MOST, 16777216, NULL},
    {"2m", 0, MOST, 2097152, NULL},
    {"3G", 0, MOST, 3221225472, NULL},
    {"8589934591G", 0, MOST, 8589934591 * 1073741824, NULL},
    {"8589934592G", 0, MOST, 0, "out of range"},
    {"99999999999999999999", 0, MOST, 0, "out of range"},
    {"1K", 2048, 1073741824, 0, "\"1K\" is out of range (2K to 1G)"},
    {"5", 7, 1025, 0, "(7 to 1025)"},
    {"", 0, 10, 0, "is not a size (as 4096, 64K, 16M)"},
    {"M", 0, 10, 0, "is not a size"},
    {"-1", 0, 10, 0, "is not a size"},
    {"1.5M", 0, MOST, 0, "is not a size"},
    {"1MB", 0, MOST, 0, "is not a size"},
    {"1 M", 0, MOST, 0, "is not a size"},
    {"1T", 0, MOST, 0, "is not a size"},
};

static const struct number durations[] = {
    {"0", 0, 10, 0, NULL},
    {"500ms", 0, MOST, 500, NULL},
    {"2s", 0, MOST, 2000, NULL},
    {"2", 0, MOST, 2000, NULL},
    {"5m", 0, MOST, 300000, NULL},
    {"1h", 0, MOST, 3600000, NULL},
    {"7d", 0, MOST, 604800000, NULL},
    {"0.5", 0, MOST, 500, NULL},
    {"1.250s", 0, MOST, 1250, NULL},
    {"0.5h", 0, MOST, 1800000, NULL},
    {"0.00000125d", 0, MOST, 108, NULL},
    {"1.000000000000000000000000s", 0, MOST, 1000, NULL},
    {"0.0001s", 0, MOST, 0, "is not a duration"},
    {"0.5ms", 0, MOST, 0, "is not a duration"},
    {"0.00000000000000000000000001d", 0, MOST, 0, "is not a duration"},
    {"9223372036854775s", 0, MOST, 9223372036854775000, NULL},
    {"9223372036854775.9s", 0, MOST, 0, "out of range"},
    {"9223372036854776s", 0, MOST, 0, "out of range"},
    {"99999999999999999999d", 0, MOST, 0, "out of range"},
    {"5ms", 10, 3600000, 0, "\"5ms\" is out of range (10ms to 1h)"},
    {"5s", 0, 1500, 0, "(0 to 1500ms)"},
    {"366d", 0, 31536000000, 0, "(0 to 365d)"},
    {"", 0, 10, 0, "\"\" is not a duration (as 500ms, 2s, 5m)"},
    {"5x", 0, 10, 0, "\"5x\" is not a duration (as 500ms, 2s, 5m)"},
    {"s", 0, 10, 0, "is not a duration"},
    {".5", 0, 1000, 0, "is not a duration"},
    {"1.", 0, 1000, 0, "is not a duration"},
    {"1.s", 0, 1000, 0, "is not a duration"},
    {"1.2.3", 0, 9999, 0, "is not a duration"},
    {"-1s", 0, 10, 0, "is not a duration"},
    {"1 s", 0, MOST, 0, "is not a duration"},
    {"1S", 0, MOST, 0, "is not a duration"},
    {"inf", 0, MOST, 0, "is not a duration"},
};

static void check_numbers(const char *what, parse_fn *parse, const struct number *cases,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct number *c = &cases[i];
        struct tsk_err err = TSK_ERR_INIT;
        int64_t got = -77;
        int result = parse(c->text, c->least, c->most, &got, &err);
        bool ok = CHECK_INT(result, c->error ? -1 : 0);
        ok = CHECK_INT(got, c->error ? -77 : c->want) && ok;
        if (c->error)
            ok = CHECK(strstr(err.text, c->error)) && CHECK_INT(err.kind, TSK_USAGE) && ok;
        if (!ok)
            fprintf(stderr, "    %s \"%s\": %s\n", what, c->text, err.text);
    }
}

static const char *const good_endpoints[] = {
    "tcp://127.0.0.1:5555", "tcp://*:1",           "tcp://host:65535",
    "tcp://localhost:*",    "tcp://[::1]:5555",    "tcp://[fe80::1%eth0]:5555",
    "tcp://[::]:*",         "tcp://eth0:5555",     "tcp://a-b.c_d.example:80",
    "ipc:///run/t.sock",    "ipc://relative.sock", "ipc://@abstract",
    "ipc:///a:b]c",
};

static const struct {
    const char *text, *error;
} bad_endpoints[] = {
    {"", "\"\" is not an endpoint (as tcp://127.0.0.1:5555"},
    {"foo", "\"foo\" is not an endpoint"},
    {"127.0.0.1:5555", "is not an endpoint (as tcp"},
    {"http://x:1", "only tcp:// and ipc:// are"},
    {"inproc://x", "only tcp:// and ipc:// are"},
    {"udp://1.2.3.4:5", "only tcp:// and ipc:// are"},
    {"TCP://a:1", "only tcp:// and ipc:// are"},
    {"tcp:/a:1", "is not an endpoint"},
    {"tcp://", "has no port"},
    {"tcp://host", "has no port"},
    {"tcp://host:", "has a wrong port (1 to 65535, or *)"},
    {"tcp://host:0", "has a wrong port"},
    {"tcp://host:65536", "has a wrong port"},
    {"tcp://host:99999999999999999999", "has a wrong port"},
    {"tcp://host:-1", "has a wrong port"},
    {"tcp://host:http", "has a wrong port"},
    {"tcp://host:5555/", "has a wrong port"},
    {"tcp://:5555", "has no host"},
    {"tcp://::1:5555", "in brackets"},
    {"tcp://[::1]", "has no port"},
    {"tcp://[::1:5555", "has no ] after"},
    {"tcp://[]:5555", "wrong IPv6 address"},
    {"tcp://[:5555", "has no ] after"},
    {"tcp://[::g]:5555", "wrong IPv6 address"},
    {"tcp://[127.0.0.1]:5555", "wrong IPv6 address"},
    {"tcp://[fe80::1%]:5555", "wrong zone"},
    {"tcp://[::1]x:5555", "has no ] after"},
    {"tcp://999.0.0.1:5555", "wrong IPv4 address"},
    {"tcp://127.0.0.1.2:5555", "wrong IPv4 address"},
    {"tcp://1.2.3:5555", "wrong IPv4 address"},
    {"tcp://a b:5555", "a space or a control character"},
    {"tcp://a:5555\n", "\\x0a\" is not an endpoint: it holds a space or a control character"},
    {"tcp://a;b:5555", "not a name or an address"},
    {"tcp://\xC3\xA9:5555", "not a name or an address"},
    {"tcp://a@b:5555", "not a name or an address"},
    {"ipc://", "has no path"},
};

static void check_endpoints(void)
{
    for (size_t i = 0; i < COUNT(good_endpoints); i++) {
        struct tsk_err err = TSK_ERR_INIT;
        if (!CHECK_INT(tsk_parse_endpoint(good_endpoints[i], &err), 0))
            fprintf(stderr, "    %s\n", err.text);
    }
    for (size_t i = 0; i < COUNT(bad_endpoints); i++) {
        struct tsk_err err = TSK_ERR_INIT;
        bool ok = CHECK_INT(tsk_parse_endpoint(bad_endpoints[i].text, &err), -1);
        ok = CHECK(strstr(err.text, bad_endpoints[i].error)) && ok;
        ok = CHECK_INT(err.kind, TSK_USAGE) && ok;
        if (!ok)
            fprintf(stderr, "    %s: %s\n", bad_endpoints[i].text, err.text);
    }
}

static void check_long_endpoints(void)
{
    char text[5000];
    struct tsk_err err = TSK_ERR_INIT;
    memset(text, 'a', sizeof text);
    memcpy(text, "tcp://", 6);
    memcpy(text + sizeof text - 6, ":5555", 6);
    CHECK_INT(tsk_parse_endpoint(text, &err), -1);
    CHECK(strstr(err.text, "too long") && strlen(err.text) < 200);
    memcpy(text + 6 + 260, ":5555", 6);
    CHECK_INT(tsk_parse_endpoint(text, &err), -1);
    memcpy(text + 6 + 253, ":5555", 6);
    CHECK_INT(tsk_parse_endpoint(text, &err), 0);
    memcpy(text, "ipc://", 6);
    text[6 + 107] = '\0';
    CHECK_INT(tsk_parse_endpoint(text, &err), 0);
    text[6 + 107] = 'a';
    text[6 + 108] = '\0';
    CHECK_INT(tsk_parse_endpoint(text, &err), -1);
    CHECK(strstr(err.text, "path that is too long"));
}

static void check_names(void)
{
    char text[130];
    CHECK(tsk_name_valid("a"));
    CHECK(tsk_name_valid("host-1.example:77_X"));
    CHECK(!tsk_name_valid(""));
    CHECK(!tsk_name_valid("a b"));
    CHECK(!tsk_name_valid("a/b"));
    CHECK(!tsk_name_valid("a\n"));
    CHECK(!tsk_name_valid("\xC3\xA9"));
    memset(text, 'x', sizeof text);
    text[129] = '\0';
    CHECK(!tsk_name_valid(text));
    text[128] = '\0';
    CHECK(tsk_name_valid(text));
}

static void check_nearest(void)
{
    static const char *const names[] = {"alpha", "batch_endpoint", "batch_bind", "wait"};
    char text[200];
    CHECK_STR(tsk_nearest("batch_endpont", names, 4), "batch_endpoint");
    CHECK_STR(tsk_nearest("batch-endpoint", names, 4), "batch_endpoint");
    CHECK_STR(tsk_nearest("batch_bidn", names, 4), "batch_bind");
    CHECK_STR(tsk_nearest("wiat", names, 4), "wait"); /* one swap, not two changes */
    CHECK_STR(tsk_nearest("wait", names, 4), "wait");
    CHECK_STR(tsk_nearest("waits", names, 4), "wait");
    CHECK_STR(tsk_nearest("lpha", names, 4), "alpha");
    CHECK_STR(tsk_nearest("omega", names, 4), NULL);
    CHECK_STR(tsk_nearest("wo", names, 4), NULL);
    CHECK_STR(tsk_nearest("", names, 4), NULL);
    CHECK_STR(tsk_nearest("wait", names, 0), NULL);
    memset(text, 'a', sizeof text);
    text[199] = '\0';
    const char *const longs[] = {text};
    CHECK_STR(tsk_nearest(text, longs, 1), NULL);
    text[64] = '\0';
    CHECK_STR(tsk_nearest(text, longs, 1), text);
}

/* Whatever was written, the reason stays one short line of whole characters. */
static void check_quoting(void)
{
    char text[400];
    int64_t number;
    for (size_t pad = 90; pad < 120; pad++) {
        struct tsk_err err = TSK_ERR_INIT;
        memset(text, 'a', pad);
        for (size_t i = pad; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xE2\x82\xAC", 4);
        CHECK_INT(tsk_parse_int(text, 0, 1, &number, &err), -1);
        const char *dots = strstr(err.text, "...\" is not a whole number");
        CHECK(dots && strlen(err.text) < 150);
        CHECK(dots && (dots[-1] == 'a' || dots[-1] == '\xAC'));
    }
    struct tsk_err err = TSK_ERR_INIT;
    CHECK_INT(tsk_parse_int("\x1B[2J\x7F", 0, 1, &number, &err), -1);
    CHECK_STR(err.text, "\"\\x1b[2J\\x7f\" is not a whole number");
    memset(text, '\x01', sizeof text);
    text[399] = '\0';
    CHECK_INT(tsk_parse_int(text, 0, 1, &number, &err), -1);
    CHECK(strlen(err.text) < 150);
    CHECK_INT(tsk_parse_int("x", 0, 1, &number, NULL), -1); /* err may be NULL */
}

static void check_times(void)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = {
        {"2026-01-24T12:00:00Z", 1769256000000},
        {"2026-01-24 12:00:00.1239z", 1769256000123},
        {"2026-01-24t13:30:00+01:30", 1769256000000},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2016-12-31T23:59:60Z", 1483228800000},
        {"2017-01-01T00:59:60+01:00", 1483228800000},
        {"2026-02-29T00:00:00Z", -1},
        {"2026-02-30T00:00:00Z", -1},
        {"2100-02-29T00:00:00Z", -1},
        {"2026-04-31T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-00-01T00:00:00Z", -1},
        {"2026-01-00T00:00:00Z", -1},
        {"2026-01-32T00:00:00Z", -1},
        {"2026-01-24T24:00:00Z", -1},
        {"2026-01-24T12:60:00Z", -1},
        {"2026-01-24T12:00:60Z", -1},
        {"2026-01-24T23:59:61Z", -1},
        {"2026-01-24T23:59:60+01:00", -1},
        {"2026-01-24T12:00:00", -1},
        {"2026-01-24T12:00:00.Z", -1},
        {"2026-01-24T12:00:00+24:00", -1},
        {"2026-01-24T12:00:00+01:60", -1},
        {"2026-01-24T12:00:00+0100", -1},
        {"2026-01-24T12:00:00Z ", -1},
        {"2026-+1-24T12:00:00Z", -1},
        {"2026- 1-24T12:00:00Z", -1},
        {"+026-01-24T12:00:00Z", -1},
        {"2026-1-24T12:00:00Z", -1},
        {"2026-01-24", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ms = -1;
        CHECK_INT(tsk_time_parse(cases[i].text, &ms), cases[i].ms < 0 ? -1 : 0);
        if (!CHECK_INT(ms, cases[i].ms))
            fprintf(stderr, "    %s\n", cases[i].text);
    }
    for (int64_t day = -135140; day < 157054; day++) { /* 1600 to 2399 */
        char text[TSK_TIME_SIZE];
        int64_t ms = 0, wanted = day * 86400000 + 86399999;
        tsk_time_format(wanted, text);
        if (tsk_time_parse(text, &ms) < 0 || ms != wanted)
            CHECK_STR(text, "the same again");
    }
}

int main(void)
{
    check_numbers("int", tsk_parse_int, ints, COUNT(ints));
    check_numbers("size", tsk_parse_size, sizes, COUNT(sizes));
    check_numbers("duration", tsk_parse_duration, durations, COUNT(durations));
    check_endpoints();
    check_long_endpoints();
    check_names();
    check_nearest();
    check_quoting();
    check_times();
    return check_done();
}
