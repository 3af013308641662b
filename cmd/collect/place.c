/* Without its place a message that cannot be read would be a gap, which is asked for again and again
 * and holds up all that its source sent after it. */
#include "collect/place.h"

#include <string.h>

#include "tasker/parse.h"
#include "tasker/stream.h"

/* What follows the last key of that name (with its quotes) and a colon, up to end; or NULL. */
static const char *last_value(const char *text, const char *end, const char *key)
{
    size_t len = strlen(key);
    const char *at = end - text >= (ptrdiff_t)len ? end - len : text;
    while (at > text && memcmp(at, key, len) != 0)
        at--;
    if (end - at < (ptrdiff_t)len || memcmp(at, key, len) != 0)
        return NULL;
    at += len;
    at += strspn(at, " :");
    return at;
}

static bool copy_name(const char *at, char source[TSK_ID_SIZE])
{
    size_t len = *at == '"' ? strcspn(at + 1, "\"") : 0;
    if (!len || len >= TSK_ID_SIZE)
        return false;
    memcpy(source, at + 1, len);
    source[len] = '\0';
    return tsk_name_valid(source);
}

bool place_guess(const char *text, size_t len, char source[TSK_ID_SIZE], int64_t *offset)
{
    const char *name = last_value(text, text + len, "\"source\"");
    const char *number = last_value(text, text + len, "\"offset\"");
    size_t digits = number ? strspn(number, "0123456789") : 0;
    if (!name || !digits || digits > 16 || !copy_name(name, source))
        return false;
    *offset = 0;
    for (size_t i = 0; i < digits; i++)
        *offset = *offset * 10 + (number[i] - '0');
    return *offset >= 1 && *offset < TSK_STREAM_OFFSET_MAX && !strchr(".eE", number[digits]);
}
