#include "common/plain.h"

#include <string.h>

#include "tasker/buf.h"

void plain_add(struct tsk_buf *buf, const char *text)
{
    if (text)
        tsk_plain_add(buf, text, strlen(text));
}

size_t plain_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}
