/* What flags, environment variables, the configuration and the messages of peers have in common.
 *
 * No space around a value, no sign where none makes sense, and nothing can overflow: a number too
 * long for 64 bits is simply out of range. The reasons are written for the person who typed the
 * value, so they hold it, quoted. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "tasker/buf.h"

#include "tasker/parse.h"

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

struct unit {
    const char *suffix;
    int64_t factor;
};

/* From the largest, as they are written in messages; the one without a suffix last. */
static const struct unit size_units[] = {
    {"G", 1024 * 1024 * 1024}, {"M", 1024 * 1024}, {"K", 1024}, {"g", 1024 * 1024 * 1024},
    {"m", 1024 * 1024},        {"k", 1024},        {"", 1},
};

static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

const char *tsk_quote(const char *text, char out[TSK_QUOTE_SIZE])
{
    size_t len = 0;
    const size_t most = TSK_QUOTE_SIZE - sizeof "...\"";
    out[len++] = '"';
    struct tsk_buf plain = TSK_BUF_INIT;
    tsk_plain_str(&plain, text);
    if (plain.len + len <= most) {
        memcpy(out + len, plain.data, plain.len);
        len += plain.len;
    } else {
        size_t n = 0, next = 0;
        while (len + next <= most)
            next = (n = next) + tsk_plain_length(plain.data + next, plain.len - next);
        len += (size_t)snprintf(out + len, TSK_QUOTE_SIZE - len, "%.*s...", (int)n, plain.data);
    }
    tsk_buf_fini(&plain);
    out[len++] = '"';
    out[len] = '\0';
    return out;
}

int tsk_unknown(struct tsk_err *err, enum tsk_exit kind, const char *what, const char *name,
                const char *near)
{
    char quoted[TSK_QUOTE_SIZE];
    return tsk_err_set(err, kind, "unknown %s %s%s%s%s", what, tsk_quote(name, quoted),
                       near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

/* Writes value in the largest unit that divides it. */
static const char *format_unit(int64_t value, const struct unit *units, size_t count, char out[32])
{
    size_t i = 0;
    while (i + 1 < count && (value == 0 || value % units[i].factor != 0))
        i++;
    snprintf(out, 32, "%lld%s", (long long)(value / units[i].factor), units[i].suffix);
    return out;
}

static int refuse(const char *text, const char *what, struct tsk_err *err)
{
    char quoted[TSK_QUOTE_SIZE];
    return tsk_err_set(err, TSK_USAGE, "%s %s", tsk_quote(text, quoted), what);
}

static int out_of_range(const char *text, const char *least, const char *most, struct tsk_err *err)
{
    char quoted[TSK_QUOTE_SIZE];
    return tsk_err_set(err, TSK_USAGE, "%s is out of range (%s to %s)", tsk_quote(text, quoted),
                       least, most);
}

int tsk_parse_int(const char *text, int64_t least, int64_t most, int64_t *out, struct tsk_err *err)
{
    const char *digits = text + (*text == '-');
    if (!*digits || digits[strspn(digits, DIGITS)])
        return refuse(text, "is not a whole number", err);
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno == 0 && value >= least && value <= most) {
        *out = value;
        return 0;
    }
    char low[32], high[32];
    snprintf(low, sizeof low, "%lld", (long long)least);
    snprintf(high, sizeof high, "%lld", (long long)most);
    return out_of_range(text, low, high, err);
}

/* Reads len digits after a point, in units of factor. Returns how many of what is counted they are,
 * or -1 if that is not a whole number. */
static int64_t read_fraction(const char *digits, size_t len, int64_t factor)
{
    int64_t scale = 1, sum = 0;
    while (len && digits[len - 1] == '0')
        len--;
    if (len > 8) /* the smallest part of a day that is a whole millisecond has 8 digits at most */
        return -1;
    for (size_t i = 0; i < len; i++) {
        sum = sum * 10 + (digits[i] - '0');
        scale *= 10;
    }
    return sum * factor % scale ? -1 : sum * factor / scale;
}

enum scaled { SCALED_OK, SCALED_WRONG, SCALED_TOO_LARGE };

/* Reads DIGITS[.DIGITS]SUFFIX. */
static enum scaled read_scaled(const char *text, bool fraction, const struct unit *units,
                               size_t count, int64_t *out)
{
    size_t whole = strspn(text, DIGITS);
    size_t part = fraction && text[whole] == '.' ? strspn(text + whole + 1, DIGITS) : 0;
    const char *suffix = text + whole + (part ? part + 1 : 0);
    const struct unit *unit = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(suffix, units[i].suffix) == 0)
            unit = &units[i];
    }
    if (!whole || !unit)
        return SCALED_WRONG;
    int64_t rest = part ? read_fraction(suffix - part, part, unit->factor) : 0;
    if (rest < 0)
        return SCALED_WRONG;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno || value > (INT64_MAX - rest) / unit->factor)
        return SCALED_TOO_LARGE;
    *out = value * unit->factor + rest;
    return SCALED_OK;
}

static int parse_scaled(const char *text, const struct unit *units, size_t count, const char *what,
                        int64_t least, int64_t most, int64_t *out, struct tsk_err *err)
{
    int64_t value = 0;
    char low[32], high[32];
    enum scaled got = read_scaled(text, units == duration_units, units, count, &value);
    if (got == SCALED_WRONG)
        return refuse(text, what, err);
    if (got == SCALED_TOO_LARGE || value < least || value > most)
        return out_of_range(text, format_unit(least, units, count, low),
                            format_unit(most, units, count, high), err);
    *out = value;
    return 0;
}

int tsk_parse_size(const char *text, int64_t least, int64_t most, int64_t *out, struct tsk_err *err)
{
    return parse_scaled(text, size_units, COUNT(size_units), "is not a size (as 4096, 64K, 16M)",
                        least, most, out, err);
}

int tsk_parse_duration(const char *text, int64_t least, int64_t most, int64_t *out_ms,
                       struct tsk_err *err)
{
    return parse_scaled(text, duration_units, COUNT(duration_units),
                        "is not a duration (as 500ms, 2s, 5m)", least, most, out_ms, err);
}

static int wrong_choice(const char *choices, const char *text, struct tsk_err *err)
{
    char quoted[TSK_QUOTE_SIZE];
    struct tsk_buf list = TSK_BUF_INIT;
    for (; *choices; choices++) {
        tsk_buf_char(&list, *choices);
        if (*choices == ',')
            tsk_buf_char(&list, ' ');
    }
    tsk_err_set(err, TSK_USAGE, "%s is not allowed here (can be: %s)", tsk_quote(text, quoted),
                list.data);
    tsk_buf_fini(&list);
    return -1;
}

int tsk_parse_choice(const char *text, const char *choices, int64_t *place, struct tsk_err *err)
{
    size_t len = strlen(text);
    int64_t n = 0;
    for (const char *word = choices; word; n++) {
        size_t word_len = strcspn(word, ",");
        if (len == word_len && memcmp(word, text, len) == 0) {
            *place = n;
            return 0;
        }
        word = word[word_len] ? word + word_len + 1 : NULL;
    }
    return wrong_choice(choices, text, err);
}

bool tsk_name_valid(const char *name)
{
    /* a bit for each byte of TSK_NAME_RULE; this is asked for every message */
    static const uint64_t allowed[4] = {0x07FF600000000000, 0x07FFFFFE87FFFFFE, 0, 0};
    size_t len = 0;
    for (unsigned char c; (c = (unsigned char)name[len]) && allowed[c >> 6] >> (c & 63) & 1;)
        len++;
    return len >= 1 && len <= 128 && !name[len];
}

/* HOST is a name, an IPv4 address or "*". One made of digits and points alone has to be an
 * address, since otherwise a mistyped address becomes a name that is looked up for ever. */
static const char *host_wrong(const char *host)
{
    struct in_addr v4;
    if (!*host)
        return "has no host";
    if (strcmp(host, "*") == 0)
        return NULL;
    if (strchr(host, ':'))
        return "needs its IPv6 address in brackets, as tcp://[::1]:5555";
    if (host[strspn(host, LETTERS DIGITS ".-_")] || strlen(host) > 253)
        return "has a host that is not a name or an address";
    if (!host[strspn(host, DIGITS ".")] && inet_pton(AF_INET, host, &v4) != 1)
        return "has a wrong IPv4 address";
    return NULL;
}

static const char *v6_wrong(char *host)
{
    struct in6_addr v6;
    size_t len = strlen(host);
    if (len < 2 || host[len - 1] != ']')
        return "has no ] after its IPv6 address";
    host[len - 1] = '\0';
    char *zone = strchr(host, '%');
    if (zone) {
        *zone = '\0';
        if (!zone[1] || zone[1 + strspn(zone + 1, LETTERS DIGITS ".-_")])
            return "has a wrong zone in its IPv6 address";
    }
    return inet_pton(AF_INET6, host + 1, &v6) == 1 ? NULL : "has a wrong IPv6 address";
}

static const char *tcp_wrong(const char *address)
{
    char host[300];
    int64_t port;
    const char *colon = strrchr(address, ':');
    const char *bracket = strrchr(address, ']');
    if (!colon || (bracket && bracket > colon))
        return "has no port, as tcp://HOST:PORT";
    if (strcmp(colon + 1, "*") != 0 && tsk_parse_int(colon + 1, 1, 65535, &port, NULL) < 0)
        return "has a wrong port (1 to 65535, or *)";
    if ((size_t)(colon - address) >= sizeof host)
        return "has a host that is too long";
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    return *host == '[' ? v6_wrong(host) : host_wrong(host);
}

static const char *ipc_wrong(const char *path)
{
    if (!*path)
        return "has no path, as ipc:///run/tasker.sock";
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return "has a path that is too long for a socket";
    return NULL;
}

static bool has_space_or_control(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text <= 0x20 || *text == 0x7F)
            return true;
    }
    return false;
}

int tsk_parse_endpoint(const char *text, struct tsk_err *err)
{
    const char *wrong = "is not an endpoint (as tcp://127.0.0.1:5555 or ipc:///run/tasker.sock)";
    if (has_space_or_control(text))
        wrong = "is not an endpoint: it holds a space or a control character";
    else if (strncmp(text, "tcp://", 6) == 0)
        wrong = tcp_wrong(text + 6);
    else if (strncmp(text, "ipc://", 6) == 0)
        wrong = ipc_wrong(text + 6);
    else if (strstr(text, "://"))
        wrong = "is not an endpoint that tasker can use: only tcp:// and ipc:// are";
    return wrong ? refuse(text, wrong, err) : 0;
}

enum { LONGEST = 64 };

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The number of characters to insert, drop, change or swap with their neighbour. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST + 1]; /* the row being made and the two before it, by turns */
    size_t len = strlen(b);
    for (size_t j = 0; j <= len; j++)
        rows[0][j] = j;
    size_t i = 1;
    for (; a[i - 1]; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= len; j++) {
            now[j] = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = least_of(now[j], least_of(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least_of(now[j], before[j - 2] + 1);
        }
    }
    return rows[(i - 1) % 3][len];
}

const char *tsk_nearest(const char *word, const char *const *names, size_t count)
{
    size_t len = strlen(word);
    size_t best = len / 3 + 1;
    const char *found = NULL;
    for (size_t i = 0; i < count && len <= LONGEST; i++) {
        if (strlen(names[i]) > LONGEST)
            continue;
        size_t d = distance(word, names[i]);
        if (d < best) {
            best = d;
            found = names[i];
        }
    }
    return found;
}
