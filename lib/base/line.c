/* Lines from files, one after the other, through one buffer that holds at most a line of the
 * greatest length and one read. What cannot be used is told as TSK_LINE_BAD and skipped. */
#include "tasker/line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tasker/buf.h"

#define READ_SIZE 65536

struct tsk_lines {
    char *const *operands;
    size_t count, next; /* operands, and the next one to open */
    size_t max;
    int fd; /* the current file, or -1 */
    const char *file;
    bool regular, ended; /* the current file; ended: all of it is in the buffer */
    bool silent;         /* it is a FIFO, and may not have had a writer yet */
    bool skipping;       /* within a line that was too long */
    struct tsk_buf buf;
    size_t start, scanned; /* what is not given out yet; up to where no newline is */
    int64_t number;
    bool failed; /* reason and kind wait to be told */
    enum tsk_exit kind;
    char reason[256];
};

static char *const only_stdin[] = {"-"};

struct tsk_lines *tsk_lines_new(char *const *operands, size_t count, size_t max)
{
    struct tsk_lines *lines = tsk_alloc(sizeof *lines);
    lines->operands = count ? operands : only_stdin;
    lines->count = count ? count : 1;
    lines->max = max;
    lines->fd = -1;
    lines->file = lines->operands[0];
    return lines;
}

static void close_file(struct tsk_lines *lines)
{
    if (lines->fd > STDIN_FILENO)
        close(lines->fd);
    lines->fd = -1;
}

void tsk_lines_free(struct tsk_lines *lines)
{
    if (!lines)
        return;
    close_file(lines);
    tsk_buf_fini(&lines->buf);
    free(lines);
}

/* Leaves a message for tsk_lines_next. */
static void problem(struct tsk_lines *lines, const char *what)
{
    snprintf(lines->reason, sizeof lines->reason, "%s: %s", what, strerror(errno));
    lines->kind = TSK_IO;
    lines->failed = true;
}

/* Opens path for reading. To open a FIFO waits for its writer, and no signal ends that: it is
 * opened without, and whoever reads it waits in poll, as for any other input. */
static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

static void open_next(struct tsk_lines *lines)
{
    struct stat st;
    lines->file = lines->operands[lines->next++];
    lines->number = 0;
    lines->skipping = false;
    lines->ended = false;
    lines->fd = strcmp(lines->file, "-") ? open_file(lines->file) : STDIN_FILENO;
    if (lines->fd < 0) {
        problem(lines, "cannot open");
        lines->ended = true;
        return;
    }
    bool known = fstat(lines->fd, &st) == 0;
    lines->regular = known && S_ISREG(st.st_mode);
    lines->silent = known && S_ISFIFO(st.st_mode) && lines->fd != STDIN_FILENO;
}

/* Moves what is not given out yet to the front, so that there is room to read. */
static void compact(struct tsk_lines *lines)
{
    if (!lines->start)
        return;
    tsk_buf_consume(&lines->buf, lines->start);
    lines->scanned -= lines->start;
    lines->start = 0;
}

void tsk_lines_fill(struct tsk_lines *lines)
{
    if (lines->fd < 0) {
        if (!lines->ended && lines->next < lines->count)
            open_next(lines);
        return;
    }
    struct pollfd readable = {.fd = lines->fd, .events = POLLIN};
    if (lines->silent && poll(&readable, 1, -1) <= 0)
        return;
    lines->silent = false;
    compact(lines);
    char *room = tsk_buf_reserve(&lines->buf, READ_SIZE);
    ssize_t got = read(lines->fd, room, READ_SIZE);
    if (got > 0) {
        lines->buf.len += (size_t)got;
    } else if (!got || (errno != EINTR && errno != EAGAIN)) {
        if (got < 0)
            problem(lines, "cannot read");
        close_file(lines);
        lines->ended = true;
    }
}

int tsk_lines_fd(struct tsk_lines *lines)
{
    return lines->fd;
}

bool tsk_lines_regular(struct tsk_lines *lines)
{
    return lines->fd < 0 || lines->regular;
}

bool tsk_lines_pending(struct tsk_lines *lines)
{
    struct pollfd readable = {.fd = lines->fd, .events = POLLIN};
    if (lines->start < lines->buf.len || lines->failed || lines->next < lines->count)
        return true;
    if (lines->fd < 0)
        return false;
    return poll(&readable, 1, 0) > 0 && readable.revents & POLLIN;
}

void tsk_lines_where(const struct tsk_lines *lines, const char **file, int64_t *number)
{
    *file = lines->file;
    *number = lines->number;
}

static enum tsk_line_state bad(struct tsk_lines *lines, struct tsk_line *line, int64_t number)
{
    *line = (struct tsk_line){"", 0, lines->file, number, lines->reason, lines->kind};
    return TSK_LINE_BAD;
}

static enum tsk_line_state bad_line(struct tsk_lines *lines, struct tsk_line *line)
{
    lines->kind = TSK_DATA;
    return bad(lines, line, lines->number);
}

static bool blank(const char *data, size_t len)
{
    while (len && strchr(" \t\r", data[len - 1]) && data[len - 1])
        len--;
    return !len;
}

/* Gives out the bytes from start to end (where a newline or the end of the file is). Returns
 * TSK_LINE_MORE for a line that nobody wants. */
static enum tsk_line_state give(struct tsk_lines *lines, struct tsk_line *line, size_t end)
{
    char *data = lines->buf.data + lines->start;
    size_t len = end - lines->start;
    bool skipped = lines->skipping;
    lines->start = lines->scanned = end < lines->buf.len ? end + 1 : end;
    lines->skipping = false;
    if (skipped)
        return TSK_LINE_MORE;
    lines->number++;
    if (blank(data, len))
        return TSK_LINE_MORE;
    if (len > lines->max) {
        snprintf(lines->reason, sizeof lines->reason, "line of over %zu bytes", lines->max);
        return bad_line(lines, line);
    }
    if (memchr(data, '\0', len)) {
        snprintf(lines->reason, sizeof lines->reason, "line holds a NUL byte");
        return bad_line(lines, line);
    }
    data[len] = '\0';
    *line = (struct tsk_line){data, len, lines->file, lines->number, NULL, TSK_OK};
    return TSK_LINE_OK;
}

/* Forgets the part that is buffered of a line that is already too long, told once. */
static enum tsk_line_state overflow(struct tsk_lines *lines, struct tsk_line *line)
{
    bool told = lines->skipping;
    lines->start = lines->scanned = lines->buf.len;
    lines->skipping = true;
    if (told)
        return TSK_LINE_MORE;
    lines->number++;
    snprintf(lines->reason, sizeof lines->reason, "line of over %zu bytes", lines->max);
    return bad_line(lines, line);
}

/* What is to be done where the buffer has no whole line. */
static enum tsk_line_state no_line(struct tsk_lines *lines, struct tsk_line *line)
{
    if (lines->failed) {
        lines->failed = false;
        return bad(lines, line, lines->number ? lines->number + 1 : 0);
    }
    if (lines->skipping || lines->buf.len - lines->start > lines->max) {
        enum tsk_line_state state = overflow(lines, line);
        if (state == TSK_LINE_BAD || !lines->ended)
            return state;
    }
    if (!lines->ended)
        return TSK_LINE_MORE;
    lines->skipping = false;
    if (lines->next == lines->count)
        return TSK_LINE_END;
    lines->ended = false; /* the next file can be opened */
    return TSK_LINE_MORE;
}

enum tsk_line_state tsk_lines_next(struct tsk_lines *lines, struct tsk_line *line)
{
    while (lines->start < lines->buf.len) {
        char *from = lines->buf.data + lines->scanned;
        char *newline = memchr(from, '\n', lines->buf.len - lines->scanned);
        lines->scanned = lines->buf.len;
        if (!newline && !(lines->ended && !lines->failed))
            break;
        size_t end = newline ? (size_t)(newline - lines->buf.data) : lines->buf.len;
        enum tsk_line_state state = give(lines, line, end);
        if (state != TSK_LINE_MORE)
            return state;
    }
    return no_line(lines, line);
}
