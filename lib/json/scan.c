/* Strict JSON without a tree. The functions go down the grammar one rule each, by recursion that
 * the depth limit bounds; strings, which most of a text is made of, are walked eight bytes at a
 * time. Each takes the place where its rule begins and returns the one behind it, or NULL. The
 * place goes from hand to hand and is kept nowhere: one in memory is all the time that this takes.
 */
#include "json/scan_private.h"

#include <string.h>

/* What can be wrong; anything but these is a word on the syntax. */
static const char depth[] = "depth", utf8[] = "UTF-8", control[] = "control character",
                  nonfinite[] = "NaN", nul_name[] = "NUL";

static const uint64_t ones = UINT64_MAX / 255; /* a 1 in each byte */

const char *tsk_scan_wrong(struct tsk_scan *s, const char *at, const char *what)
{
    s->wrong = what;
    s->wrong_at = at;
    return NULL;
}

static inline const char *done(struct tsk_scan *s, const char *at, enum tsk_scan_kind kind)
{
    s->kind = kind;
    return at;
}

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

const char *tsk_scan_space(const struct tsk_scan *s, const char *at)
{
    while (at < s->end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* As tsk_scan_space where mostly there is none. */
static inline const char *skip_space(const struct tsk_scan *s, const char *at)
{
    return at < s->end && (unsigned char)*at > ' ' ? at : tsk_scan_space(s, at);
}

/* --- Strings. */

/* Returns the next byte of a string that is none of its plain ASCII, or the end. In a word, the top
 * bit of each such byte is found by a subtraction; that borrows from the byte above only where it
 * found something, so the lowest one is always right. */
static inline const char *skip_plain(const char *at, const char *end)
{
    for (uint64_t part; end - at >= (ptrdiff_t)sizeof part; at += sizeof part) {
        memcpy(&part, at, sizeof part);
        uint64_t found = (((part ^ ones * '"') - ones) | ((part ^ ones * '\\') - ones) |
                          (part - ones * 0x20) | part) &
                         (ones * 0x80);
        if (found && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
            return at + __builtin_ctzll(found) / 8;
        if (found)
            break;
    }
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20 &&
           (unsigned char)*at < 0x80)
        at++;
    return at;
}

static const char *scan_escape(struct tsk_scan *s, const char *at)
{
    if (++at == s->end)
        return NULL;
    if (*at != 'u') {
        bool known = *at && strchr("\"\\/bfnrt", *at);
        return known ? at + 1 : tsk_scan_wrong(s, at, "invalid escape sequence");
    }
    for (int i = 0; i < 4; i++) {
        if (++at == s->end)
            return NULL;
        if (!is_digit(*at) && !((*at | 0x20) >= 'a' && (*at | 0x20) <= 'f'))
            return tsk_scan_wrong(s, at, "invalid \\u sequence");
    }
    return at + 1;
}

/* A character of two to four bytes: none longer than it need be, no half of a surrogate pair,
 * nothing beyond U+10FFFF. */
static const char *scan_utf8(struct tsk_scan *s, const char *at)
{
    const unsigned char *c = (const unsigned char *)at;
    int more = c[0] >= 0xF0 ? 3 : c[0] >= 0xE0 ? 2 : 1;
    unsigned char least = 0x80, most = 0xBF; /* of the second byte */
    if (c[0] == 0xE0)
        least = 0xA0;
    else if (c[0] == 0xED)
        most = 0x9F;
    else if (c[0] == 0xF0)
        least = 0x90;
    else if (c[0] == 0xF4)
        most = 0x8F;
    if (c[0] < 0xC2 || c[0] > 0xF4)
        return tsk_scan_wrong(s, at, utf8);
    for (int i = 1; i <= more; i++) {
        if (at + i == s->end)
            return NULL;
        if (c[i] < least || c[i] > most)
            return tsk_scan_wrong(s, at, utf8);
        least = 0x80;
        most = 0xBF;
    }
    return at + more + 1;
}

/* The rest of a string from its first byte that is no plain ASCII. Apart, so that what the usual
 * string does not need costs it nothing. */
static __attribute__((noinline)) const char *scan_rest(struct tsk_scan *s, const char *at)
{
    enum tsk_scan_kind kind = TSK_SCAN_TEXT;
    for (;; at = skip_plain(at, s->end)) {
        if (at == s->end)
            return NULL;
        if (*at == '"')
            return done(s, at + 1, kind);
        if ((unsigned char)*at < 0x20)
            return tsk_scan_wrong(s, at, control);
        if (*at == '\\') {
            kind = TSK_SCAN_ESCAPED;
            at = scan_escape(s, at);
        } else {
            at = scan_utf8(s, at);
        }
        if (!at)
            return NULL;
    }
}

/* From the first quote to behind the last. */
static const char *scan_string(struct tsk_scan *s, const char *at)
{
    at = skip_plain(at + 1, s->end);
    return at < s->end && *at == '"' ? done(s, at + 1, TSK_SCAN_TEXT) : scan_rest(s, at);
}

/* --- Numbers and words. */

static const char *scan_digits(struct tsk_scan *s, const char *at)
{
    if (at == s->end)
        return NULL;
    if (!is_digit(*at))
        return tsk_scan_wrong(s, at, "number expected");
    while (at < s->end && is_digit(*at))
        at++;
    return at;
}

/* What makes a number more than an integer, if anything does. */
static const char *scan_fraction(struct tsk_scan *s, const char *at)
{
    if (at < s->end && *at == '.' && !(at = scan_digits(s, at + 1)))
        return NULL;
    if (at == s->end || (*at | 0x20) != 'e')
        return at;
    at++;
    if (at < s->end && (*at == '+' || *at == '-'))
        at++;
    return scan_digits(s, at);
}

/* Takes the digits up to end, which have no leading zero. */
static const char *take_integer(struct tsk_scan *s, const char *digits, const char *end,
                                bool negative)
{
    uint64_t value = 0, most = (uint64_t)INT64_MAX + negative;
    for (const char *at = digits; at < end; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (at - digits >= 18 && value > (most - digit) / 10)
            return done(s, end, TSK_SCAN_NUMBER);
        value = value * 10 + digit;
    }
    s->number = negative ? (int64_t)(0 - value) : (int64_t)value;
    return done(s, end, TSK_SCAN_INT);
}

static const char *scan_number(struct tsk_scan *s, const char *at)
{
    bool negative = *at == '-';
    const char *digits = at + negative;
    bool zero = digits < s->end && *digits == '0';
    const char *end = zero ? digits + 1 : scan_digits(s, digits);
    if (!end)
        return NULL;
    if (zero && end < s->end && is_digit(*end))
        return tsk_scan_wrong(s, at, "number with a leading zero");
    at = scan_fraction(s, end);
    if (!at)
        return NULL;
    return at > end ? done(s, at, TSK_SCAN_NUMBER) : take_integer(s, digits, end, negative);
}

static const char *scan_word(struct tsk_scan *s, const char *at, const char *word,
                             enum tsk_scan_kind kind)
{
    for (; *word; word++, at++) {
        if (at == s->end)
            return NULL;
        if (*at != *word)
            return tsk_scan_wrong(s, at, "unexpected character");
    }
    return done(s, at, kind);
}

/* --- Values. */

const char *tsk_scan_first(struct tsk_scan *s, const char *at, char bracket)
{
    at = skip_space(s, at + 1);
    s->more = at == s->end || *at != bracket;
    return s->more ? at : at + 1;
}

const char *tsk_scan_after(struct tsk_scan *s, const char *at, char bracket)
{
    at = skip_space(s, at);
    if (at == s->end)
        return NULL;
    s->more = *at == ',';
    if (s->more || *at == bracket)
        return at + 1;
    return tsk_scan_wrong(s, at, bracket == '}' ? "comma or } expected" : "comma or ] expected");
}

/* Whether a string with escapes has \u0000 among them. */
static bool has_nul(const char *at, const char *end)
{
    for (; (at = memchr(at, '\\', (size_t)(end - at))); at += 2) {
        if (end - at > 5 && !memcmp(at + 1, "u0000", 5))
            return true;
    }
    return false;
}

const char *tsk_scan_name(struct tsk_scan *s, const char *at)
{
    if (at == s->end)
        return NULL;
    if (*at != '"')
        return tsk_scan_wrong(s, at, "name in quotes expected");
    const char *end = scan_string(s, at);
    if (end && s->kind == TSK_SCAN_ESCAPED && has_nul(at, end))
        return tsk_scan_wrong(s, at, nul_name);
    return end;
}

const char *tsk_scan_colon(struct tsk_scan *s, const char *at)
{
    at = skip_space(s, at);
    if (at == s->end)
        return NULL;
    return *at == ':' ? at + 1 : tsk_scan_wrong(s, at, "colon expected");
}

static const char *scan_object(struct tsk_scan *s, const char *at)
{
    at = tsk_scan_first(s, at, '}');
    while (at && s->more) {
        at = tsk_scan_name(s, skip_space(s, at));
        if (!at || !(at = tsk_scan_colon(s, at)) || !(at = tsk_scan_value(s, at)))
            return NULL;
        at = tsk_scan_after(s, at, '}');
    }
    return at ? done(s, at, TSK_SCAN_OBJECT) : NULL;
}

static const char *scan_array(struct tsk_scan *s, const char *at)
{
    at = tsk_scan_first(s, at, ']');
    while (at && s->more) {
        at = tsk_scan_value(s, at);
        at = at ? tsk_scan_after(s, at, ']') : NULL;
    }
    return at ? done(s, at, TSK_SCAN_ARRAY) : NULL;
}

bool tsk_scan_deeper(struct tsk_scan *s, const char *at)
{
    return s->depth < TSK_JSON_DEPTH || tsk_scan_wrong(s, at, depth);
}

/* What stands in an object or array is one level deeper. */
static const char *scan_nested(struct tsk_scan *s, const char *at)
{
    s->depth++;
    at = *at == '{' ? scan_object(s, at) : scan_array(s, at);
    s->depth--;
    return at;
}

const char *tsk_scan_value(struct tsk_scan *s, const char *at)
{
    at = skip_space(s, at);
    if (at == s->end)
        return NULL;
    if (!tsk_scan_deeper(s, at))
        return NULL;
    switch (*at) {
    case '"':
        return scan_string(s, at);
    case '{':
    case '[':
        return scan_nested(s, at);
    case 't':
        return scan_word(s, at, "true", TSK_SCAN_BOOL);
    case 'f':
        return scan_word(s, at, "false", TSK_SCAN_BOOL);
    case 'n':
        return scan_word(s, at, "null", TSK_SCAN_NONE);
    case 'N':
    case 'I':
        return tsk_scan_wrong(s, at, nonfinite);
    default:
        if (*at != '-' && !is_digit(*at))
            return tsk_scan_wrong(s, at, "unexpected character");
        return scan_number(s, at);
    }
}

const char *tsk_scan_skip(struct tsk_scan *s, const char *at)
{
    int level = s->depth;
    size_t open = 0;
    s->depth = 0;
    do {
        at = tsk_scan_space(s, at);
        char next = at < s->end ? *at : '\0';
        bool opens = next == '{' || next == '[', closes = open && (next == '}' || next == ']');
        open += opens;
        open -= closes;
        if (opens || closes || (open && (next == ',' || next == ':')))
            at++;
        else
            at = tsk_scan_value(s, at);
    } while (at && open);
    s->depth = level;
    return at;
}

bool tsk_scan_end(struct tsk_scan *s, const char *at)
{
    at = skip_space(s, at);
    return at == s->end || tsk_scan_wrong(s, at, "more than one value");
}

int tsk_scan_fail(const struct tsk_scan *s, const char *text, struct tsk_err *err)
{
    if (!s->wrong)
        return tsk_err_set(err, TSK_DATA, "malformed JSON: it ends in the middle");
    if (s->wrong == depth) {
        tsk_err_set(err, TSK_DATA, "JSON is nested deeper than %d", TSK_JSON_DEPTH);
        return TSK_JSON_LIMIT;
    }
    if (s->wrong == control)
        return tsk_err_set(err, TSK_DATA,
                           "malformed JSON: it holds a control character that is not escaped");
    if (s->wrong_at == text && s->end - text >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return tsk_err_set(err, TSK_DATA,
                           "malformed JSON: it begins with a byte order mark (U+FEFF), as some "
                           "editors write it: take it away");
    if (s->wrong == nonfinite)
        return tsk_err_set(err, TSK_DATA, "NaN and Infinity are not JSON");
    size_t at = (size_t)(s->wrong_at - text) + 1;
    if (s->wrong == nul_name) {
        tsk_err_set(err, TSK_DATA, "a name with a NUL (\\u0000) at byte %zu", at);
        return TSK_JSON_LIMIT;
    }
    if (s->wrong == utf8)
        return tsk_err_set(err, TSK_DATA, "invalid UTF-8 at byte %zu", at);
    return tsk_err_set(err, TSK_DATA, "malformed JSON at byte %zu: %s", at, s->wrong);
}

int tsk_scan_check(const char *text, size_t len, struct tsk_err *err)
{
    struct tsk_scan s = {.end = text + len};
    const char *at = tsk_scan_value(&s, text);
    return at && tsk_scan_end(&s, at) ? 0 : tsk_scan_fail(&s, text, err);
}

/* ---- The members of an object by name: where they stand, not what json-c would make of them. */

/* The value that was just scanned stands between two places. */
static void take(const struct tsk_scan *s, const char *from, const char *to,
                 struct tsk_scan_value *value)
{
    bool quoted = s->kind == TSK_SCAN_TEXT || s->kind == TSK_SCAN_ESCAPED;
    value->kind = s->kind;
    value->text = from + quoted;
    value->len = (size_t)(to - from) - 2 * quoted;
}

/* The place of a name in its quotes among keys; count if it is none of them. */
static size_t find_key(const struct tsk_scan_key *keys, size_t count, const char *name, size_t len)
{
    size_t i = 0;
    while (i < count && (keys[i].len != len + 1 || memcmp(keys[i].text, name, len) != 0))
        i++;
    return i;
}

/* Scans a name and its colon. *key is the place where it is looked for first, and becomes the one
 * where it is; count if it is none. */
static const char *scan_key(struct tsk_scan *s, const char *at, const struct tsk_scan_key *keys,
                            size_t count, size_t *key)
{
    const char *name = tsk_scan_space(s, at);
    if (*key < count && (size_t)(s->end - name) > keys[*key].len &&
        memcmp(name, keys[*key].text, keys[*key].len) == 0)
        return name + keys[*key].len;
    at = tsk_scan_name(s, name);
    if (!at || s->kind != TSK_SCAN_TEXT) /* an escaped one can be any */
        return NULL;
    *key = find_key(keys, count, name, (size_t)(at - name));
    return tsk_scan_colon(s, at);
}

bool tsk_scan_object(const char *text, size_t len, const struct tsk_scan_key *keys, size_t count,
                     struct tsk_scan_value *values)
{
    struct tsk_scan s = {.end = text + len, .depth = 1};
    size_t next = 0;
    memset(values, 0, count * sizeof *values);
    const char *at = tsk_scan_space(&s, text);
    if (at == s.end || *at != '{')
        return false;
    at = tsk_scan_first(&s, at, '}');
    while (at && s.more) {
        size_t key = next;
        if (!(at = scan_key(&s, at, keys, count, &key)))
            return false;
        const char *value = tsk_scan_space(&s, at);
        if (!(at = tsk_scan_value(&s, value)))
            return false;
        if (key < count) {
            if (values[key].text) /* the second of this name */
                return false;
            take(&s, value, at, &values[key]);
            next = key + 1;
        }
        at = tsk_scan_after(&s, at, '}');
    }
    return at && tsk_scan_end(&s, at);
}
