/* What a handler writes: stdout is its output, stderr is kept by its end, and descriptor 3 has JSON
 * lines: {"progress":…} and {"error":{…}}. All is read without blocking and within limits; what is
 * over them is read on and dropped, so that no handler is held up by it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "work/work.h"

#define READ_SIZE 65536
#define READS_AT_ONCE 16  /* then the others get their turn */
#define ERR_KEPT 4096     /* bytes of stderr's end */
#define NOTE_LINE 65536   /* bytes of a line on descriptor 3 */
#define WATCH_AFTER_MS 10 /* from its start until the pipes of a step are polled, or twice that */
#define PROGRESS_MS 100   /* between two progress messages of a step */

void pipes_close(struct work *work, struct watch *watch)
{
    if (watch->fd < 0)
        return;
    if (watch->polled)
        tsk_poller_set(work->poller, watch->fd, 0, watch);
    close(watch->fd);
    watch->fd = -1;
}

static void keep_output(struct work *work, struct process *process, const char *data, size_t len)
{
    size_t room = (size_t)work->max_output - process->out_text.len;
    process->out_bytes += (int64_t)len;
    tsk_buf_add(&process->out_text, data, len < room ? len : room);
}

static void keep_end(struct tsk_buf *text, const char *data, size_t len)
{
    if (len > ERR_KEPT) {
        data += len - ERR_KEPT;
        len = ERR_KEPT;
    }
    tsk_buf_add(text, data, len);
    if (text->len > 4 * ERR_KEPT)
        tsk_buf_consume(text, text->len - ERR_KEPT);
}

/* Tells of a line on descriptor 3 that says nothing, once a step. */
static void bad_note(struct run *run, const char *why)
{
    if (!run->process->note_told)
        diag_warn("step %lld: descriptor 3: %s", (long long)run->step->step_id, why);
    run->process->note_told = true;
}

/* Takes a member out that is a name with a NUL: as a C string it would be another. */
static void drop_nul(struct run *run, struct json_object *error, const char *key)
{
    struct json_object *name = tsk_json_get(error, key);
    if (!json_object_is_type(name, json_type_string) || tsk_json_is_name(name))
        return;
    char why[80];
    snprintf(why, sizeof why, "%s holds a NUL and is left out", key);
    bad_note(run, why);
    json_object_object_del(error, key);
}

/* Keeps an error; mere words are its message. Returns whether it is one. */
static bool keep_error(struct run *run, struct json_object *error)
{
    struct process *process = run->process;
    bool words = json_object_is_type(error, json_type_string);
    if (!words && !json_object_is_type(error, json_type_object))
        return false;
    json_object_put(process->error);
    process->error = words ? json_object_new_object() : json_object_get(error);
    if (words)
        tsk_json_put_shared(process->error, "message", error);
    drop_nul(run, process->error, "error_type");
    drop_nul(run, process->error, "error_category");
    return true;
}

static void note_line(struct work *work, struct run *run, const char *text, size_t len)
{
    struct process *process = run->process;
    struct tsk_err err;
    struct json_object *note = tsk_json_object(work->json, text, len, &err);
    struct json_object *progress = tsk_json_get(note, "progress");
    if (!note)
        bad_note(run, err.text);
    else if (!keep_error(run, tsk_json_get(note, "error")) && !progress)
        bad_note(run, "neither \"progress\" nor \"error\"");
    if (progress) {
        json_object_put(process->progress);
        process->progress = json_object_get(progress);
        pipes_progress(work, run, tsk_now_ms());
    }
    json_object_put(note);
}

void pipes_progress(struct work *work, struct run *run, int64_t now)
{
    struct process *process = run->process;
    if (!process->progress)
        return;
    int64_t due = process->progress_at + PROGRESS_MS;
    if (now < due) {
        work->next_check = tsk_earlier(work->next_check, due);
        return;
    }
    finish_progress(work, run, process->progress);
    process->progress = NULL;
    process->progress_at = now;
}

static void read_notes(struct work *work, struct run *run, const char *data, size_t len)
{
    struct process *process = run->process;
    struct tsk_buf *text = &process->note_text;
    while (len) {
        const char *newline = memchr(data, '\n', len);
        size_t part = newline ? (size_t)(newline - data) : len;
        if (text->len + part > NOTE_LINE)
            process->note_skipping = true;
        if (!process->note_skipping)
            tsk_buf_add(text, data, part);
        if (newline && process->note_skipping)
            bad_note(run, "a line is too long");
        else if (newline && text->len)
            note_line(work, run, text->data, text->len);
        if (newline) {
            tsk_buf_reset(text);
            process->note_skipping = false;
            part++;
        }
        data += part;
        len -= part;
    }
}

void pipes_last_note(struct work *work, struct run *run)
{
    struct tsk_buf *text = &run->process->note_text;
    if (text->len && !run->process->note_skipping)
        note_line(work, run, text->data, text->len);
    tsk_buf_reset(text);
}

static void take(struct work *work, struct watch *watch, const char *data, size_t len)
{
    struct process *process = watch->run->process;
    if (watch == &process->out)
        keep_output(work, process, data, len);
    else if (watch == &process->err)
        keep_end(&process->err_text, data, len);
    else
        read_notes(work, watch->run, data, len);
}

/* Reads what is there, at most so many times; at the end of the pipe it is closed. */
static void read_some(struct work *work, struct watch *watch, int times)
{
    char data[READ_SIZE];
    while (watch->fd >= 0 && times-- > 0) {
        ssize_t n = read(watch->fd, data, sizeof data);
        if (n > 0)
            take(work, watch, data, (size_t)n);
        else if (!n || (errno != EINTR && errno != EAGAIN))
            pipes_close(work, watch);
        else if (errno == EAGAIN)
            return;
    }
}

static void on_ready(struct work *work, struct watch *watch)
{
    if (watch->fd < 0)
        return; /* its step has ended since the event came */
    read_some(work, watch, READS_AT_ONCE);
}

void pipes_open(struct work *work, struct run *run)
{
    struct process *process = run->process;
    struct watch *watches[] = {&process->out, &process->err, &process->note};
    for (int i = 0; i < 3; i++)
        *watches[i] = (struct watch){.fd = process->child.fds[i], .ready = on_ready, .run = run};
    /* at least so much later (launch.c relies on that); rounded, so that of many steps many are due
     * together */
    process->watch_at = (process->child.started_us / 1000 / WATCH_AFTER_MS + 2) * WATCH_AFTER_MS;
    work->next_check = tsk_earlier(work->next_check, process->watch_at);
}

void pipes_watch(struct work *work, struct run *run)
{
    struct process *process = run->process;
    struct watch *watches[] = {&process->out, &process->err, &process->note};
    process->watch_at = -1;
    for (int i = 0; i < 3; i++) {
        if (watches[i]->fd < 0 || watches[i]->polled)
            continue;
        tsk_poller_set(work->poller, watches[i]->fd, TSK_READ, watches[i]);
        watches[i]->polled = true;
    }
}

void pipes_drain(struct work *work, struct run *run)
{
    struct process *process = run->process;
    read_some(work, &process->out, READS_AT_ONCE);
    read_some(work, &process->err, READS_AT_ONCE);
    read_some(work, &process->note, READS_AT_ONCE);
}
