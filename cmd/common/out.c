/* stdout by its descriptor: a buffer that always ends at the end of a line, so that what stands
 * downstream never sees half a line, and a failure that is told once and remembered. A reader that
 * reads nothing is waited for, but not once a signal said to stop: who would end a pipeline whose
 * last stage hangs must be able to. */
#include "common/out.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/signals.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

#define HOLD_MOST 65536
#define SLOW_MS 3000 /* until it is told that nobody reads */
#define SLOW_AGAIN_MS 60000
#define STOP_MS 1000 /* after a signal, until a reader that takes nothing is given up */

static struct tsk_buf held;
static size_t tried;    /* bytes of held that out_try has written */
static int64_t written; /* bytes, in all */
static bool holding;
static struct tsk_buf *aside; /* where lines go in place of stdout; or NULL */
static bool failed;

static void fail(void)
{
    failed = true;
    tried = 0;
    tsk_buf_reset(&held);
    diag_error("standard output: %s",
               errno == ETIMEDOUT ? "stopped by a signal, and nobody reads it" : strerror(errno));
}

/* Waits until a write of up to PIPE_BUF bytes cannot block. Returns false if it is given up. */
static bool wait_room(void)
{
    int64_t since = tsk_now_ms(), next = since + SLOW_MS;
    bool told = false;
    for (;;) {
        bool stopped = signals_stopped();
        struct pollfd fds[] = {{.fd = STDOUT_FILENO, .events = POLLOUT},
                               {.fd = stopped ? -1 : signals_fd(), .events = POLLIN}};
        int ready = poll(fds, 2, stopped ? STOP_MS : tsk_left_ms(next));
        if (ready > 0 && fds[0].revents) {
            if (told)
                diag_warn("standard output is read again, after %lld s",
                          (long long)(tsk_now_ms() - since) / 1000);
            return true; /* or an error, which the write will tell */
        }
        if (ready < 0 && errno != EINTR)
            return true;
        if (ready == 0 && !stopped) {
            told = true;
            next = tsk_now_ms() + SLOW_AGAIN_MS;
            diag_warn("nobody has read standard output for %lld s: waiting, with %zu bytes",
                      (long long)(tsk_now_ms() - since) / 1000, held.len);
        } else if (ready == 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
}

/* Whether stdout is a plain file, which no reader can hold up. */
static bool is_plain_file(void)
{
    static enum { UNKNOWN, PLAIN, OTHER } kind;
    struct stat st;
    if (kind == UNKNOWN)
        kind = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) ? PLAIN : OTHER;
    return kind == PLAIN;
}

/* As write, of some of data. Returns -1 with errno ETIMEDOUT if nobody reads and all is to stop. */
static ssize_t write_some(const char *data, size_t len)
{
    if ((signals_fd() >= 0 || signals_stopped()) && !is_plain_file()) {
        if (!wait_room())
            return -1;
        if (len > PIPE_BUF)
            len = PIPE_BUF;
    }
    return write(STDOUT_FILENO, data, len);
}

int out_flush(void)
{
    size_t done = 0;
    while (!failed && done < held.len) {
        ssize_t n = write_some(held.data + done, held.len - done);
        if (n >= 0) {
            done += (size_t)n;
            written += n;
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

void out_hold(void)
{
    holding = true;
}

/* A pipe that can be written to takes PIPE_BUF bytes at least. */
size_t out_try(void)
{
    struct pollfd pfd = {.fd = STDOUT_FILENO, .events = POLLOUT};
    while (!failed && tried < held.len && poll(&pfd, 1, 0) > 0) {
        size_t left = held.len - tried;
        ssize_t n = write(STDOUT_FILENO, held.data + tried, left < PIPE_BUF ? left : PIPE_BUF);
        if (n >= 0) {
            tried += (size_t)n;
            written += n;
        } else if (errno != EINTR && errno != EAGAIN) {
            fail();
        }
    }
    if (tried == held.len || tried > held.cap / 2) {
        tsk_buf_consume(&held, tried);
        tried = 0;
    }
    return held.len - tried;
}

void out_divert(struct tsk_buf *to)
{
    aside = to;
}

static struct tsk_buf *target(void)
{
    return aside ? aside : &held;
}

static void end_line(void)
{
    tsk_buf_char(target(), '\n');
    if (held.len >= HOLD_MOST && !holding)
        out_flush();
}

void out_line(const char *data, size_t len)
{
    if (failed)
        return;
    tsk_buf_add(target(), data, len);
    end_line();
}

void out_json(struct json_object *value)
{
    struct tsk_buf plain = TSK_BUF_INIT;
    size_t len;
    const char *text = tsk_json_text(value, &len);
    tsk_plain_json(&plain, text, len);
    out_line(plain.data, plain.len);
    tsk_buf_fini(&plain);
}

void out_printf(const char *fmt, ...)
{
    va_list args;
    if (failed)
        return;
    va_start(args, fmt);
    tsk_buf_vprintf(target(), fmt, args);
    va_end(args);
    end_line();
}

int64_t out_place(void)
{
    return failed ? INT64_MAX : written + (int64_t)(held.len - tried);
}

bool out_taken(int64_t place)
{
    return place <= written;
}

bool out_failed(void)
{
    return failed;
}

enum tsk_exit out_close(enum tsk_exit status)
{
    if (!holding)
        out_flush();
    else
        out_try();
    if (!failed && close(STDOUT_FILENO) < 0 && held.data)
        fail();
    tsk_buf_fini(&held);
    diag_end();
    return failed ? tsk_exit_worse(status, TSK_IO) : status;
}
