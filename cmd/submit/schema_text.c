/* Patterns, by PCRE2, since those of JSON Schema are of the kind that JavaScript has (\d, (?:…)),
 * which POSIX does not know; and the usual formats. A pattern comes from a template and the text
 * from anybody: so the work that a match may take is limited. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tasker/clock.h"

#include "submit/schema_private.h"

enum { MATCH_LIMIT = 1000000, HOST_MOST = 253, LABEL_MOST = 63 };

static pcre2_code *compile(const char *pattern, int *code, PCRE2_SIZE *at)
{
    return pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALT_BSUX, code, at, NULL);
}

bool tsk_schema_pattern_valid(const char *pattern, char *why, size_t size)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR text[128];
    pcre2_code *compiled = compile(pattern, &code, &at);
    if (compiled) {
        pcre2_code_free(compiled);
        return true;
    }
    pcre2_get_error_message(code, text, sizeof text);
    snprintf(why, size, "%s, at character %zu", (const char *)text, at + 1);
    return false;
}

int tsk_schema_matches(const char *pattern, const char *text, size_t len)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *compiled = compile(pattern, &code, &at);
    if (!compiled)
        return -1;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(context, MATCH_LIMIT);
    int rc = pcre2_match(compiled, (PCRE2_SPTR)text, len, 0, 0, data, context);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    pcre2_code_free(compiled);
    return rc >= 0 ? 1 : rc == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

static bool is_date(const char *text)
{
    int64_t days;
    const char *end = tsk_date_read(text, &days);
    return end && !*end;
}

static bool is_time(const char *text)
{
    int64_t ms;
    const char *end = tsk_daytime_read(text, &ms);
    return end && !*end;
}

static bool is_date_time(const char *text)
{
    int64_t ms;
    return tsk_time_parse(text, &ms) == 0;
}

/* Labels of letters, digits and inner hyphens, between dots. */
static bool is_hostname(const char *text)
{
    size_t len = strlen(text);
    if (!len || len > HOST_MOST)
        return false;
    for (const char *label = text; label; label = strchr(label, '.')) {
        label += *label == '.' && label != text;
        size_t size = strcspn(label, ".");
        if (!size || size > LABEL_MOST || label[0] == '-' || label[size - 1] == '-')
            return false;
        for (size_t i = 0; i < size; i++) {
            if (!isalnum((unsigned char)label[i]) && label[i] != '-')
                return false;
        }
    }
    return true;
}

static bool is_email(const char *text)
{
    const char *at = strrchr(text, '@');
    if (!at || at == text || at - text > 64 || strpbrk(text, " \t\r\n"))
        return false;
    return at[1] == '[' ? at[strlen(at) - 1] == ']' : is_hostname(at + 1);
}

static bool is_ipv4(const char *text)
{
    struct in_addr address;
    return inet_pton(AF_INET, text, &address) == 1;
}

static bool is_ipv6(const char *text)
{
    struct in6_addr address;
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* SCHEME:REST, of the characters that may stand in one. */
static bool is_uri(const char *text)
{
    const char *colon = strchr(text, ':');
    if (!isalpha((unsigned char)*text) || !colon || !colon[1])
        return false;
    for (const char *c = text; c < colon; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("+-.", *c))
            return false;
    }
    for (const char *c = colon + 1; *c; c++) {
        if (!isgraph((unsigned char)*c) || strchr("<>\"{}|\\^`", *c))
            return false;
        if (*c == '%' && !(isxdigit((unsigned char)c[1]) && isxdigit((unsigned char)c[2])))
            return false;
    }
    return true;
}

static bool is_uuid(const char *text)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return !text[36];
}

static bool is_regex(const char *text)
{
    char why[160];
    return tsk_schema_pattern_valid(text, why, sizeof why);
}

static const struct {
    const char *name;
    bool (*fits)(const char *text);
} formats[] = {
    {"date-time", is_date_time}, {"date", is_date},   {"time", is_time}, {"email", is_email},
    {"hostname", is_hostname},   {"ipv4", is_ipv4},   {"ipv6", is_ipv6}, {"uri", is_uri},
    {"uuid", is_uuid},           {"regex", is_regex},
};

enum { FORMATS = sizeof formats / sizeof *formats };

bool tsk_schema_format_known(const char *format)
{
    size_t i = 0;
    while (i < FORMATS && strcmp(formats[i].name, format) != 0)
        i++;
    return i < FORMATS;
}

bool tsk_schema_format_fits(const char *format, const char *text, size_t len)
{
    for (size_t i = 0; i < FORMATS; i++) {
        if (strcmp(formats[i].name, format) == 0)
            return strlen(text) == len && formats[i].fits(text);
    }
    return false;
}
