/* Errors as values: a kind, a code and one line of text. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tasker/err.h"

/* Cuts a text that vsnprintf has filled to the brim before a character that is not whole. */
static void cut_whole(char *text, size_t size)
{
    size_t len = strlen(text);
    if (len < size - 1)
        return;
    while (len && ((unsigned char)text[len - 1] & 0xC0) == 0x80)
        len--;
    if (len && (unsigned char)text[len - 1] >= 0xC0)
        len--;
    text[len] = '\0';
}

int tsk_err_set(struct tsk_err *err, enum tsk_exit kind, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list args;
    va_start(args, fmt);
    err->kind = kind;
    err->code = 0;
    vsnprintf(err->text, sizeof err->text, fmt, args);
    cut_whole(err->text, sizeof err->text);
    va_end(args);
    return -1;
}

int tsk_err_sys(struct tsk_err *err, enum tsk_exit kind, const char *fmt, ...)
{
    int code = errno;
    if (!err)
        return -1;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", strerror(code));
    cut_whole(err->text, sizeof err->text);
    err->kind = kind;
    err->code = code;
    return -1;
}

int tsk_err_prefix(struct tsk_err *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, "%s", old);
    cut_whole(err->text, sizeof err->text);
    return -1;
}

/* ---- The exit statuses in order of weight. */

/* From the heaviest to the lightest: what tells most about what to do next comes first. */
static const enum tsk_exit statuses[] = {
    TSK_BUG, TSK_CONFIG, TSK_USAGE, TSK_IO, TSK_UNAVAILABLE, TSK_TEMPFAIL, TSK_DATA, TSK_NO, TSK_OK,
};

static size_t place(enum tsk_exit status)
{
    size_t count = sizeof statuses / sizeof *statuses;
    for (size_t i = 0; i < count; i++) {
        if (statuses[i] == status)
            return i;
    }
    return 0; /* not one of ours: a bug */
}

enum tsk_exit tsk_exit_worse(enum tsk_exit a, enum tsk_exit b)
{
    return place(a) <= place(b) ? a : b;
}
