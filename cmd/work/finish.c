/* From the end of a process to a result: the error by DESIGN's table, the partial result, and with
 * the last step the batch's completion. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/diag.h"
#include "work/work.h"

#define BACKTRACE_LINES 20
#define REASON_MOST 200 /* bytes of stderr's last line in a message */

/* Returns a partial result with what all of them have, on whose metadata more may be put. */
static struct json_object *partial(struct work *work, struct run *run, const char *status)
{
    const struct tsk_step *step = run->step;
    struct json_object *message = json_object_new_object();
    tsk_json_put_str(message, "message_type", tsk_type_name(TSK_TYPE_PARTIAL));
    tsk_json_put_str(message, "batch_id", run->batch->data.batch_id);
    tsk_json_put_int(message, "step_id", step->step_id);
    tsk_json_put_int(message, "task_id", step->task_id);
    tsk_json_put_str(message, "step_name", step->step_name);
    tsk_json_put_int(message, "attempt", step->attempt);
    tsk_json_put_str(message, "status", status);
    tsk_json_put(message, "output", NULL);
    tsk_json_put(message, "error", NULL);
    tsk_json_put_bool(message, "retryable", false);
    tsk_json_put_int(message, "execution_time_ms", run->execution_ms);
    tsk_json_put_str(message, "worker_id", work->id);
    tsk_json_put_int(message, "sequence", ++run->sequence);
    tsk_json_put_time(message, "timestamp", tsk_wall_ms());
    return message;
}

/* Adds execution_metadata to message and returns it (borrowed). */
static struct json_object *add_metadata(const struct work *work, const struct run *run,
                                        struct json_object *message)
{
    struct json_object *metadata = json_object_new_object();
    tsk_json_put_str(metadata, "handler_class", run->step->handler_class);
    tsk_json_put_int(metadata, "timeout_ms", run_time_limit(work, run));
    tsk_json_put_int(metadata, "retry_limit", run->step->retry_limit);
    tsk_json_put_shared(metadata, "handler_config",
                        tsk_json_get(run->step->json, "handler_config"));
    if (run->process)
        tsk_json_put_time(metadata, "started_at", run->process->started_wall);
    tsk_json_put(message, "execution_metadata", metadata);
    return metadata;
}

void finish_started(struct work *work, struct run *run)
{
    struct json_object *message = partial(work, run, "in_progress");
    add_metadata(work, run, message);
    feed_send(work, TSK_TYPE_PARTIAL, message);
}

void finish_progress(struct work *work, struct run *run, struct json_object *progress)
{
    run->execution_ms = (tsk_now_us() - run->process->child.started_us) / 1000;
    struct json_object *message = partial(work, run, "in_progress");
    tsk_json_put(message, "progress", progress);
    feed_send(work, TSK_TYPE_PARTIAL, message);
}

static struct json_object *summary(const struct work *work, const struct run *run)
{
    struct json_object *object = json_object_new_object();
    tsk_json_put_int(object, "step_id", run->step->step_id);
    tsk_json_put_str(object, "final_status", run->completed ? "completed" : "failed");
    tsk_json_put_int(object, "execution_time_ms", run->execution_ms);
    tsk_json_put_str(object, "worker_id", work->id);
    tsk_json_put_int(object, "attempt", run->step->attempt);
    return object;
}

static void complete_batch(struct work *work, struct batch *batch)
{
    struct json_object *message = json_object_new_object();
    struct json_object *summaries = json_object_new_array();
    for (size_t i = 0; i < batch->data.count; i++)
        json_object_array_add(summaries, summary(work, &batch->runs[i]));
    tsk_json_put_str(message, "message_type", tsk_type_name(TSK_TYPE_COMPLETION));
    tsk_json_put_str(message, "batch_id", batch->data.batch_id);
    tsk_json_put_str(message, "protocol_version", TSK_PROTOCOL_VERSION);
    tsk_json_put_str(message, "worker_id", work->id);
    tsk_json_put_int(message, "total_steps", (int64_t)batch->data.count);
    tsk_json_put_int(message, "completed_steps", (int64_t)batch->completed);
    tsk_json_put_int(message, "failed_steps", (int64_t)batch->failed);
    tsk_json_put_int(message, "in_progress_steps", 0);
    tsk_json_put(message, "step_summaries", summaries);
    tsk_json_put_int(message, "total_execution_time_ms",
                     (tsk_now_us() - batch->accepted_us) / 1000);
    tsk_json_put_time(message, "completed_at", tsk_wall_ms());
    feed_send(work, TSK_TYPE_COMPLETION, message);
    accept_finished(work, batch);
}

/* Sends the last partial result of run, and the completion if it was the last of its batch. */
static void settle(struct work *work, struct run *run, struct json_object *message)
{
    struct batch *batch = run->batch;
    feed_send(work, TSK_TYPE_PARTIAL, message);
    run->ended = true;
    ++*(run->completed ? &batch->completed : &batch->failed);
    ++*(run->completed ? &work->completed : &work->failed);
    if (!--batch->left)
        complete_batch(work, batch);
}

/* The output: JSON if it parses and is not nested too deep to stand in a message, else text without
 * its last newline, nothing if there was none. */
static struct json_object *output_value(struct work *work, const struct process *process)
{
    const struct tsk_buf *text = &process->out_text;
    struct json_object *value;
    bool cut = process->out_bytes > (int64_t)text->len;
    if (!text->len)
        return NULL;
    if (!cut && tsk_json_parse(work->json, text->data, text->len, &value, NULL) == 0) {
        if (tsk_json_within(value, TSK_JSON_DEPTH - TSK_JSON_ROOM))
            return value;
        json_object_put(value);
    }
    size_t len = text->len;
    if (!cut && text->data[len - 1] == '\n')
        len--;
    return tsk_json_lossy(text->data, len);
}

/* Splits the end of stderr into at most so many lines. */
static struct json_object *backtrace(const struct tsk_buf *text)
{
    struct json_object *lines = json_object_new_array();
    const char *end = text->data + text->len, *from = end;
    for (int n = 0; from > text->data && n < BACKTRACE_LINES; n++) {
        from--;
        while (from > text->data && from[-1] != '\n')
            from--;
    }
    while (from < end) {
        const char *newline = memchr(from, '\n', (size_t)(end - from));
        const char *stop = newline ? newline : end;
        json_object_array_add(lines, tsk_json_lossy(from, (size_t)(stop - from)));
        from = stop + 1;
    }
    return lines;
}

/* Adds the last line of stderr that is not empty: as a rule it says why. */
static void add_last_line(struct tsk_buf *text, const struct tsk_buf *written)
{
    const char *end = written->data + written->len;
    while (end > written->data && strchr(" \t\r\n", end[-1]) && end[-1])
        end--;
    const char *from = end;
    while (from > written->data && from[-1] != '\n' && end - from < REASON_MOST)
        from--;
    if (from == end)
        return;
    struct json_object *line = tsk_json_lossy(from, (size_t)(end - from));
    tsk_buf_printf(text, ": %s", json_object_get_string(line));
    json_object_put(line);
}

/* Says how the handler ended, in words. */
static void describe(const struct work *work, const struct run *run, struct tsk_buf *text)
{
    const struct process *process = run->process;
    if (process->stop == STOP_TIMEOUT)
        tsk_buf_printf(text, "out of time after %lld ms%s", (long long)run_time_limit(work, run),
                       process->killed ? " (killed: it did not end on TERM)" : "");
    else if (process->stop == STOP_WORKER)
        tsk_buf_str(text, "the worker was stopped before the step ended");
    else if (process->stop == STOP_OPERATOR)
        tsk_buf_printf(text, "cancelled by an operator%s",
                       process->killed ? " (killed: it did not end on TERM)" : "");
    else if (WIFSIGNALED(process->child.status))
        tsk_buf_printf(text, "killed by signal %d (%s)", WTERMSIG(process->child.status),
                       strsignal(WTERMSIG(process->child.status)));
    else
        tsk_buf_printf(text, "exit status %d", WEXITSTATUS(process->child.status));
    if (process->stop == STOP_NONE)
        add_last_line(text, &process->err_text);
}

/* Returns the end as a new error object, or NULL for success. */
static struct json_object *exit_error(const struct work *work, const struct run *run)
{
    const struct process *process = run->process;
    bool retryable = run->step->retryable < 0 ? run->handler->retryable : run->step->retryable > 0;
    struct tsk_end end = tsk_end_of(process->child.status, retryable);
    const char *type = WIFSIGNALED(process->child.status) ? "HandlerSignal" : "HandlerExit";
    struct tsk_buf text = TSK_BUF_INIT;
    if (process->stop == STOP_TIMEOUT) {
        end = (struct tsk_end){"timeout", true};
        type = "HandlerTimeout";
    } else if (process->stop == STOP_OPERATOR) {
        end = (struct tsk_end){TSK_CATEGORY_CANCELLED, false};
        type = "StepCancelled";
    } else if (process->stop == STOP_WORKER && end.category) {
        end = (struct tsk_end){"infrastructure", true};
        type = "WorkerStopped";
    }
    if (!end.category)
        return NULL;
    describe(work, run, &text);
    struct json_object *error = tsk_error_object(text.data, type, end.category, end.retryable);
    tsk_buf_fini(&text);
    tsk_json_put(error, "backtrace", backtrace(&process->err_text));
    return error;
}

/* Lays what the handler said on descriptor 3 over error (which may be NULL). */
static struct json_object *merge_error(struct json_object *error, struct json_object *said)
{
    const char *message = tsk_json_str(said, "message");
    const char *category = tsk_json_str(said, "error_category");
    const char *type = tsk_json_str(said, "error_type");
    const char *by_exit = tsk_json_str(error, "error_category");
    bool retryable = false;
    tsk_json_bool(error, "retryable", &retryable);
    if (tsk_json_bool(said, "retryable", &retryable) != 1 && category)
        retryable = tsk_category_retryable(category);
    if (!category)
        category = by_exit ? by_exit : "business_logic";
    struct json_object *merged =
        tsk_error_object(message ? message : "the handler reported an error",
                         type ? type : "HandlerError", category, retryable);
    if (error)
        tsk_json_put_shared(merged, "backtrace", tsk_json_get(error, "backtrace"));
    json_object_object_foreach(said, key, value)
    {
        if (!tsk_json_get(merged, key))
            tsk_json_put(merged, key, json_object_get(value));
    }
    double seconds = json_object_get_double(tsk_json_get(said, "retry_after"));
    if (!tsk_json_get(said, "retry_after_ms") && seconds > 0 && seconds < 1e9)
        tsk_json_put_int(merged, "retry_after_ms", (int64_t)(seconds * 1000));
    json_object_put(error);
    return merged;
}

static void add_ending(struct json_object *error, const struct process *process)
{
    if (WIFSIGNALED(process->child.status))
        tsk_json_put_int(error, "signal", WTERMSIG(process->child.status));
    else
        tsk_json_put_int(error, "exit_status", WEXITSTATUS(process->child.status));
}

static void add_usage(struct json_object *metadata, const struct process *process)
{
    struct json_object *usage = json_object_new_object();
    const struct rusage *u = &process->child.usage;
    tsk_json_put_int(usage, "user_ms", u->ru_utime.tv_sec * 1000 + u->ru_utime.tv_usec / 1000);
    tsk_json_put_int(usage, "system_ms", u->ru_stime.tv_sec * 1000 + u->ru_stime.tv_usec / 1000);
    tsk_json_put_int(usage, "max_rss_kb", u->ru_maxrss);
    tsk_json_put(metadata, "resources", usage);
    tsk_json_put_int(metadata, "output_bytes", process->out_bytes);
    if (process->out_bytes > (int64_t)process->out_text.len) {
        tsk_json_put_bool(metadata, "output_truncated", true);
        tsk_json_put_int(metadata, "output_kept_bytes", (int64_t)process->out_text.len);
    }
    if (process->err_text.len)
        tsk_json_put(metadata, "stderr",
                     tsk_json_lossy(process->err_text.data, process->err_text.len));
}

/* Sets the error of message and all that follows from it. Takes error (NULL: success). */
static void set_outcome(struct json_object *message, struct json_object *metadata,
                        struct json_object *error)
{
    const char *category = tsk_json_str(error, "error_category");
    bool retryable = false;
    tsk_json_bool(error, "retryable", &retryable);
    tsk_json_put_bool(message, "retryable", retryable);
    tsk_json_put_str(metadata, "error_category", category);
    tsk_json_put(message, "error", error);
}

static void tell_failure(const struct run *run, struct json_object *error)
{
    const char *text = tsk_json_str(error, "message");
    diag_info("batch %s: step %lld (%s): %s", run->batch->data.batch_id,
              (long long)run->step->step_id, run->step->handler_class, text ? text : "failed");
}

/* Keeps the beginning of the output, as text, short enough for every byte to be escaped. */
static void cut_output(struct json_object *message, struct json_object *metadata, size_t most)
{
    struct json_object *output = tsk_json_get(message, "output");
    size_t len, kept = most / 16;
    if (!output)
        return;
    const char *text = tsk_json_text(output, &len);
    if (json_object_is_type(output, json_type_string)) {
        text = json_object_get_string(output);
        len = (size_t)json_object_get_string_len(output);
    }
    if (len < kept)
        kept = len;
    tsk_json_put(message, "output", tsk_json_lossy(text, kept));
    tsk_json_put_bool(metadata, "output_truncated", true);
    tsk_json_put_int(metadata, "output_kept_bytes", (int64_t)kept);
}

void finish_shorten(struct json_object *message, size_t most)
{
    static const char *const extras[] = {"handler_config", "stderr"};
    struct json_object *metadata = tsk_json_get(message, "execution_metadata");
    size_t len;
    cut_output(message, metadata, most);
    json_object_object_del(message, "progress");
    for (size_t i = 0; metadata && i < 2; i++) {
        tsk_json_text(message, &len);
        if (len > most)
            json_object_object_del(metadata, extras[i]);
    }
}

void finish_ended(struct work *work, struct run *run)
{
    struct process *process = run->process;
    pipes_last_note(work, run);
    run->execution_ms = (tsk_now_us() - process->child.started_us) / 1000;
    struct json_object *error = exit_error(work, run);
    if (process->error && process->stop == STOP_NONE)
        error = merge_error(error, process->error);
    if (error)
        add_ending(error, process);
    breaker_ended(work, run, error);
    run->completed = !error;
    struct json_object *message = partial(work, run, error ? "failed" : "completed");
    struct json_object *metadata = add_metadata(work, run, message);
    tsk_json_put(message, "output", output_value(work, process));
    add_usage(metadata, process);
    set_outcome(message, metadata, error);
    if (error)
        tell_failure(run, error);
    run_release(work, run);
    settle(work, run, message);
}

void finish_refused(struct work *work, struct run *run, struct json_object *error)
{
    struct json_object *message = partial(work, run, "failed");
    struct json_object *metadata = add_metadata(work, run, message);
    set_outcome(message, metadata, error);
    tell_failure(run, error);
    settle(work, run, message);
}

void finish_not_run(struct work *work, struct run *run, const char *type, const char *text,
                    const char *category, bool retryable)
{
    if (run->trial)
        breaker_ended(work, run, NULL);
    finish_refused(work, run, tsk_error_object(text, type, category, retryable));
}

void finish_cancelled(struct work *work, struct run *run)
{
    finish_not_run(work, run, "StepCancelled", "cancelled by an operator before it was started",
                   TSK_CATEGORY_CANCELLED, false);
}

void finish_not_started(struct work *work, struct run *run, int code)
{
    char text[512];
    if (code == E2BIG) {
        snprintf(text, sizeof text, "the input or the environment of the handler is too large");
        finish_not_run(work, run, "InputTooLarge", text, "permanent", false);
        return;
    }
    bool missing = code == ENOENT || code == ENOTDIR || code == ELOOP;
    bool permanent = missing || code == EACCES || code == ENOEXEC || code == EISDIR;
    snprintf(text, sizeof text, "cannot run %.200s: %s", run->handler->argv[0], strerror(code));
    diag_warn("handler %s: %s", run->handler->pattern, text);
    finish_not_run(work, run, missing ? "HandlerMissing" : "HandlerNotStarted", text,
                   permanent ? "permanent" : "infrastructure", !permanent);
}
