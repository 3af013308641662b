/* stdout by its descriptor: a buffer that always ends at the end of a line, so that what stands
 * downstream never sees half a line, and a failure that is told once and remembered. */
#include "common/out.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "tasker/buf.h"

#define HOLD_MOST 65536

static struct tsk_buf held;
static bool failed;

static void fail(void)
{
    failed = true;
    tsk_buf_reset(&held);
    diag_error("standard output: %s", strerror(errno));
}

int out_flush(void)
{
    size_t done = 0;
    while (!failed && done < held.len) {
        ssize_t n = write(STDOUT_FILENO, held.data + done, held.len - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd pfd = {.fd = STDOUT_FILENO, .events = POLLOUT};
            poll(&pfd, 1, -1);
        } else if (errno != EINTR) {
            fail();
        }
    }
    tsk_buf_reset(&held);
    return failed ? -1 : 0;
}

static void end_line(void)
{
    tsk_buf_char(&held, '\n');
    if (held.len >= HOLD_MOST)
        out_flush();
}

void out_line(const char *data, size_t len)
{
    if (failed)
        return;
    tsk_buf_add(&held, data, len);
    end_line();
}

void out_json(struct json_object *value)
{
    size_t len;
    const char *text = tsk_json_text(value, &len);
    out_line(text, len);
}

void out_printf(const char *fmt, ...)
{
    va_list args;
    if (failed)
        return;
    va_start(args, fmt);
    tsk_buf_vprintf(&held, fmt, args);
    va_end(args);
    end_line();
}

bool out_failed(void)
{
    return failed;
}

enum tsk_exit out_close(enum tsk_exit status)
{
    out_flush();
    if (!failed && close(STDOUT_FILENO) < 0 && held.data)
        fail();
    tsk_buf_fini(&held);
    return failed ? tsk_exit_worse(status, TSK_IO) : status;
}
