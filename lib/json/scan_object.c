/* The members of an object by name: where they stand, not what json-c would make of them. */
#include "json/scan_private.h"

#include <string.h>

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
