/* Without its place a message that cannot be read would be a gap, which is asked for again and
 * again and holds up all that its source sent after it. */
#include "collect/place.h"

#include <string.h>

#include "collect/stream.h"

/* What follows the last key of that name (with its quotes) before end; or NULL. */
static const char *after_last(const char *text, const char *end, const char *key)
{
    size_t len = strlen(key);
    const char *at = end - text >= (ptrdiff_t)len ? end - len : text;
    while (at > text && memcmp(at, key, len) != 0)
        at--;
    if (end - at < (ptrdiff_t)len || memcmp(at, key, len) != 0)
        return NULL;
    return at + len;
}

bool place_guess(const char *text, size_t len, char source[TSK_ID_SIZE], int64_t *offset)
{
    const char *name = after_last(text, text + len, "\"source\"");
    const char *number = after_last(text, text + len, "\"offset\"");
    if (!name || !number || !tsk_name_glimpse(name, source))
        return false;
    number += strspn(number, " :");
    size_t digits = strspn(number, "0123456789");
    if (!digits || digits > 16)
        return false;
    *offset = 0;
    for (size_t i = 0; i < digits; i++)
        *offset = *offset * 10 + (number[i] - '0');
    return *offset >= 1 && *offset < TSK_STREAM_OFFSET_MAX && !strchr(".eE", number[digits]);
}
