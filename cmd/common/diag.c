/* Messages for people. One line each, written with one write(2) unless it is very long, so that
 * lines of several processes do not mix; the state here is the front end's own and the only one it
 * keeps. */
#include "common/diag.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/json.h"

#define REDRAW_MS 200
#define PATIENCE_MS 1000 /* with a stderr that takes nothing; after that no message waits */
#define PATIENCE_AT_END 5

static struct {
    const char *program;
    enum diag_level level;
    bool json;
    int terminal; /* whether stderr is one: -1 is not known yet */
    bool drawn;   /* a progress line is on the screen */
    int64_t drawn_at;
    bool stuck; /* stderr took nothing the last time */
    bool cut;   /* the last message went out in part */
    long missed;
} state = {.program = "tasker", .level = DIAG_WARNING, .terminal = -1};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void diag_name(const char *program)
{
    state.program = program;
}

void diag_format(enum diag_level level, bool json)
{
    state.level = level;
    state.json = json;
}

/* Whether stderr takes some. A reader that has stopped must not stop the work, or its end. */
static bool has_room(void)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    int64_t deadline = tsk_now_ms() + (state.stuck ? 0 : PATIENCE_MS);
    int rc;
    while ((rc = poll(&fd, 1, tsk_left_ms(deadline))) < 0 && errno == EINTR)
        ;
    state.stuck = rc == 0;
    return !state.stuck;
}

/* Writes all of text to stderr; if that fails there is nobody left to tell. Returns false if it was
 * not taken. A pipe that has room takes PIPE_BUF bytes. */
static bool write_all(const char *text, size_t len)
{
    while (len && has_room()) {
        ssize_t n = write(STDERR_FILENO, text, len < PIPE_BUF ? len : PIPE_BUF);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return true;
        text += n;
        len -= (size_t)n;
        state.cut = len > 0;
    }
    return len == 0;
}

/* Tells how many messages were missed. Returns false if that cannot be told either. */
static bool tell_missed(void)
{
    char text[160];
    if (!state.missed)
        return true;
    int n =
        snprintf(text, sizeof text, "%s%s: %ld message%s could not be written here\n",
                 state.cut ? "\n" : "", state.program, state.missed, state.missed == 1 ? "" : "s");
    if (!write_all(text, (size_t)n))
        return false;
    state.missed = 0;
    return true;
}

static void put(const char *text, size_t len)
{
    if (!tell_missed() || !write_all(text, len))
        state.missed++;
}

void diag_end(void)
{
    for (int i = 0; i < PATIENCE_AT_END && state.missed; i++) {
        state.stuck = false;
        tell_missed();
    }
}

void diag_progress_end(void)
{
    if (state.drawn)
        put("\r\033[K", 4);
    state.drawn = false;
}

/* In the background the line would overwrite what is typed at the prompt; a shell moves a job
 * between the two at any time. */
static bool in_foreground(void)
{
    return tcgetpgrp(STDERR_FILENO) == getpgrp();
}

void diag_progress(const char *fmt, ...)
{
    if (state.terminal < 0)
        state.terminal = isatty(STDERR_FILENO);
    if (!state.terminal || state.level < DIAG_WARNING || state.json)
        return;
    int64_t now = tsk_now_ms();
    if (now - state.drawn_at < REDRAW_MS)
        return;
    if (!in_foreground()) {
        state.drawn = false; /* what was drawn before is the shell's to write over */
        return;
    }
    char text[256];
    va_list args;
    va_start(args, fmt);
    int n = snprintf(text, sizeof text, "\r\033[K%s: ", state.program);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, args);
    va_end(args);
    put(text, strlen(text));
    state.drawn = true;
    state.drawn_at = now;
}

static void tell_json(enum diag_level level, struct json_object *more, const char *text)
{
    struct json_object *line = json_object_new_object();
    tsk_json_put_time(line, "time", tsk_wall_ms());
    tsk_json_put_str(line, "program", state.program);
    tsk_json_put_str(line, "level", level_names[level]);
    tsk_json_put(line, "message", tsk_json_lossy(text, strlen(text)));
    if (more) {
        json_object_object_foreach(more, name, value)
            tsk_json_put(line, name, json_object_get(value));
    }
    struct tsk_buf out = TSK_BUF_INIT;
    size_t len;
    const char *json = tsk_json_text(line, &len);
    tsk_plain_json(&out, json, len);
    tsk_buf_char(&out, '\n');
    put(out.data, out.len);
    tsk_buf_fini(&out);
    json_object_put(line);
}

/* bare: without the level, for what FILE:LINE tells enough of. more: for JSON, or NULL. */
static void tell(enum diag_level level, bool bare, struct json_object *more, const char *text)
{
    diag_progress_end();
    if (state.json) {
        tell_json(level, more, text);
        return;
    }
    struct tsk_buf line = TSK_BUF_INIT;
    tsk_buf_printf(&line, "%s: %s%s", state.program, bare ? "" : level_names[level],
                   bare ? "" : ": ");
    tsk_plain_str(&line, text);
    tsk_buf_char(&line, '\n');
    put(line.data, line.len);
    tsk_buf_fini(&line);
}

static void tell_format(enum diag_level level, struct json_object *more, const char *fmt,
                        va_list args)
{
    int saved = errno;
    if (level <= state.level) {
        struct tsk_buf text = TSK_BUF_INIT;
        tsk_buf_vprintf(&text, fmt, args);
        tell(level, false, more, text.data ? text.data : "");
        tsk_buf_fini(&text);
    }
    errno = saved;
}

void diag(enum diag_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    tell_format(level, NULL, fmt, args);
    va_end(args);
}

void diag_fields(enum diag_level level, struct json_object *more, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    tell_format(level, more, fmt, args);
    va_end(args);
    json_object_put(more);
}

void diag_input(const char *file, int64_t number, const char *reason)
{
    struct tsk_buf text = TSK_BUF_INIT;
    if (number)
        tsk_buf_printf(&text, "%s:%lld: %s", file, (long long)number, reason);
    else
        tsk_buf_printf(&text, "%s: %s", file, reason);
    tell(DIAG_ERROR, true, NULL, text.data);
    tsk_buf_fini(&text);
}

enum tsk_exit diag_err(const struct tsk_err *err)
{
    diag_error("%s", err->text);
    return err->kind;
}

enum tsk_exit diag_no_store(const struct tsk_err *err)
{
    enum tsk_exit kind = diag_err(err);
    return kind == TSK_OK ? TSK_CONFIG : kind;
}
