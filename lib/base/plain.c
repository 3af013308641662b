/* Which characters are shown as they are. A name that looks like another one, or a line that ends
 * in the middle of a text, misleads the reader of a log. */
#include "tasker/buf.h"

#include <stdbool.h>
#include <string.h>

size_t tsk_utf8_length(const char *text, size_t left)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char c = at[0];
    size_t len = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : 0;
    if (c >= 0xF0 && c < 0xF5)
        len = 4;
    if (!len || len > left)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = (c == 0xE0 && at[1] < 0xA0) || (c == 0xF0 && at[1] < 0x90);
    bool outside = (c == 0xED && at[1] >= 0xA0) || (c == 0xF4 && at[1] >= 0x90);
    return overlong || outside ? 0 : len;
}

/* The code point of a character of up to three bytes; of a longer one something that is hidden
 * nowhere. */
static unsigned code_point(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    if (len == 1)
        return at[0];
    if (len == 2)
        return (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu);
    return len == 3 ? (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu) : 0x10000;
}

static bool is_hidden(unsigned code)
{
    static const struct {
        unsigned first, last;
    } ranges[] = {
        {0x00, 0x1F},     {0x7F, 0x9F},     {0xAD, 0xAD},     {0x061C, 0x061C}, {0x180E, 0x180E},
        {0x200B, 0x200F}, {0x2028, 0x202E}, {0x2060, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    }
    return false;
}

size_t tsk_plain_length(const char *text, size_t left)
{
    size_t len = tsk_utf8_length(text, left);
    return len && !is_hidden(code_point(text, len)) ? len : 0;
}

void tsk_plain_add(struct tsk_buf *buf, const char *text, size_t len)
{
    tsk_buf_str(buf, "");
    while (len) {
        size_t n = tsk_plain_length(text, len);
        if (n)
            tsk_buf_add(buf, text, n);
        else
            tsk_buf_printf(buf, "\\x%02x", (unsigned char)*text);
        n = n ? n : 1;
        text += n;
        len -= n;
    }
}

void tsk_plain_str(struct tsk_buf *buf, const char *text)
{
    if (text)
        tsk_plain_add(buf, text, strlen(text));
}

void tsk_plain_json(struct tsk_buf *buf, const char *json, size_t len)
{
    while (len) {
        size_t n = tsk_utf8_length(json, len);
        unsigned code = n ? code_point(json, n) : 0x10000;
        if (is_hidden(code))
            tsk_buf_printf(buf, "\\u%04x", code);
        else
            tsk_buf_add(buf, json, n ? n : 1);
        n = n ? n : 1;
        json += n;
        len -= n;
    }
}
