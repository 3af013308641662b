/* From the start and the end of a process to a result: the error by the table of tasker-work(1),
 * the partial result, and with the last step the batch's completion. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/diag.h"
#include "work/work.h"

#define USUAL_BYTES 1000 /* so that the text of a small result need not grow */
#define BACKTRACE_LINES 20
#define REASON_MOST 200 /* bytes of stderr's last line in a message */

/* Sends a partial result. Takes what outcome has. */
static void send_partial(struct work *work, struct run *run, const struct outcome *outcome)
{
    struct tsk_buf text = TSK_BUF_INIT;
    run->sequence++;
    tsk_buf_reserve(&text, USUAL_BYTES);
    result_partial(work, run, outcome, &text);
    feed_send(work, TSK_TYPE_PARTIAL, &text);
    json_object_put(outcome->output);
    json_object_put(outcome->error);
    json_object_put(outcome->progress);
    free(outcome->warning);
}

void finish_started(struct work *work, struct run *run)
{
    struct outcome outcome = {.final = false};
    send_partial(work, run, &outcome);
}

void finish_progress(struct work *work, struct run *run, struct json_object *progress)
{
    struct outcome outcome = {.progress = progress};
    run->execution_ms = (tsk_now_us() - run->process->child.started_us) / 1000;
    send_partial(work, run, &outcome);
}

static void complete_batch(struct work *work, struct batch *batch)
{
    struct tsk_buf text = TSK_BUF_INIT;
    result_completion(work, batch, &text);
    feed_send(work, TSK_TYPE_COMPLETION, &text);
    accept_finished(work, batch);
}

/* The step has ended; its batch too, if it was the last of it. */
static void settle(struct work *work, struct run *run)
{
    struct batch *batch = run->batch;
    run->ended = true;
    ++*(run->completed ? &batch->completed : &batch->failed);
    ++*(run->completed ? &work->completed : &work->failed);
    if (!--batch->left)
        complete_batch(work, batch);
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
    struct json_object *words = tsk_json_get(said, "message");
    if (json_object_is_type(words, json_type_string))
        tsk_json_put_shared(merged, "message", words); /* with its NULs */
    if (error)
        tsk_json_put_shared(merged, "backtrace", tsk_json_get(error, "backtrace"));
    json_object_object_foreach(said, key, value)
    {
        if (!tsk_json_get(merged, key) && strcmp(key, TSK_ATTEMPT_USED_KEY) != 0)
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

static void tell_failure(const struct run *run, struct json_object *error)
{
    const char *text = tsk_json_str(error, "message");
    diag_info("batch %s: step %lld (%s): %s", run->batch->data.batch_id,
              (long long)run->step->step_id, run->step->handler_class, text ? text : "failed");
}

void finish_ended(struct work *work, struct run *run)
{
    struct process *process = run->process;
    pipes_last_note(work, run);
    run->execution_ms = (process->ended_us - process->child.started_us) / 1000;
    struct json_object *error = exit_error(work, run);
    if (process->error && process->stop == STOP_NONE)
        error = merge_error(error, process->error);
    struct outcome outcome = {.final = true, .error = error};
    output_read(work, run, &outcome);
    if (outcome.error)
        add_ending(outcome.error, process);
    breaker_ended(work, run, outcome.error);
    run->completed = !outcome.error;
    if (outcome.error)
        tell_failure(run, outcome.error);
    send_partial(work, run, &outcome);
    run_release(work, run);
    settle(work, run);
}

void finish_refused(struct work *work, struct run *run, struct json_object *error)
{
    tsk_json_put_bool(error, TSK_ATTEMPT_USED_KEY, false);
    struct outcome outcome = {.final = true, .error = error};
    tell_failure(run, error);
    send_partial(work, run, &outcome);
    settle(work, run);
}

/* Reports a step that has a place in the circuit, which gets that back. */
static void finish_not_run(struct work *work, struct run *run, struct json_object *error)
{
    if (run->trial)
        breaker_ended(work, run, NULL);
    finish_refused(work, run, error);
}

void finish_stopped(struct work *work, struct run *run)
{
    struct json_object *error = tsk_error_object(
        "the worker was stopped before the step was started", "NotRun", "infrastructure", true);
    tsk_json_put_int(error, "retry_after_ms", 0);
    finish_not_run(work, run, error);
}

void finish_cancelled(struct work *work, struct run *run)
{
    finish_not_run(work, run,
                   tsk_error_object("cancelled by an operator before it was started",
                                    "StepCancelled", TSK_CATEGORY_CANCELLED, false));
}

void finish_not_started(struct work *work, struct run *run, int code)
{
    char text[512];
    if (code == E2BIG) {
        snprintf(text, sizeof text, "the input or the environment of the handler is too large");
        finish_not_run(work, run, tsk_error_object(text, "InputTooLarge", "permanent", false));
        return;
    }
    bool missing = code == ENOENT || code == ENOTDIR || code == ELOOP;
    bool permanent = missing || code == EACCES || code == ENOEXEC || code == EISDIR;
    snprintf(text, sizeof text, "cannot run %.200s: %s", run->handler->argv[0], strerror(code));
    diag_warn("handler %s: %s", run->handler->pattern, text);
    finish_not_run(work, run,
                   tsk_error_object(text, missing ? "HandlerMissing" : "HandlerNotStarted",
                                    permanent ? "permanent" : "infrastructure", !permanent));
}
