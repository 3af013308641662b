/* A terminal acts on C0, DEL and, in UTF-8 as C2 80 to C2 9F, on C1. */
#include "common/plain.h"

/* How many bytes of a control character stand at text; 0: it is none. */
static size_t control_length(const unsigned char *text)
{
    if (*text == 0xC2 && text[1] >= 0x80 && text[1] < 0xA0)
        return 2;
    return *text < 0x20 || *text == 0x7F;
}

void plain_add(struct tsk_buf *buf, const char *text)
{
    for (; text && *text; text++) {
        size_t control = control_length((const unsigned char *)text);
        if (!control)
            tsk_buf_char(buf, *text);
        else
            tsk_buf_printf(buf, "\\x%02x", (unsigned char)*text);
        if (control == 2)
            tsk_buf_printf(buf, "\\x%02x", (unsigned char)*++text);
    }
}

size_t plain_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}
