/* Globs of * and ? as the two databases have them: GLOB has [ besides, and LIKE other characters
 * that stand for any. */
#include <string.h>

#include "tasker/buf.h"
#include "tasker/store.h"

static void add_glob(struct tsk_buf *out, char c)
{
    if (c == '[')
        tsk_buf_str(out, "[[]");
    else
        tsk_buf_char(out, c);
}

static void add_like(struct tsk_buf *out, char c)
{
    if (strchr("%_\\", c))
        tsk_buf_char(out, '\\');
    tsk_buf_char(out, (char)(c == '*' ? '%' : c == '?' ? '_' : c));
}

void tsk_store_glob(enum tsk_store_kind kind, const char *glob, struct tsk_buf *out)
{
    tsk_buf_str(out, "");
    for (const char *c = glob; *c; c++) {
        if (kind == TSK_STORE_SQLITE)
            add_glob(out, *c);
        else
            add_like(out, *c);
    }
}
