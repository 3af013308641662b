/* Results as text: the partial result of a step, and the completion of a batch. */
#include <sys/resource.h>

#include "work/work.h"

enum { NAME_KEPT = 200 }; /* bytes of a name in a message that is too long */

static int64_t time_ms(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000 + time.tv_usec / 1000;
}

static void write_resources(struct tsk_buf *text, const struct rusage *usage)
{
    tsk_write_open(text, "resources", '{');
    tsk_write_int(text, "user_ms", time_ms(usage->ru_utime));
    tsk_write_int(text, "system_ms", time_ms(usage->ru_stime));
    tsk_write_int(text, "max_rss_kb", usage->ru_maxrss);
    tsk_write_close(text, '}');
}

/* What is known of a process that has ended. */
static void write_process(struct tsk_buf *text, const struct process *process)
{
    write_resources(text, &process->child.usage);
    tsk_write_int(text, "output_bytes", process->out_bytes);
    if (process->out_bytes > (int64_t)process->out_text.len) {
        tsk_write_bool(text, "output_truncated", true);
        tsk_write_int(text, "output_kept_bytes", (int64_t)process->out_text.len);
    }
    if (process->err_text.len) {
        struct json_object *lossy = tsk_json_lossy(process->err_text.data, process->err_text.len);
        tsk_write_json(text, "stderr", lossy);
        json_object_put(lossy);
    }
}

static void write_metadata(const struct work *work, const struct run *run,
                           const struct outcome *outcome, struct tsk_buf *text)
{
    tsk_write_open(text, "execution_metadata", '{');
    tsk_write_str(text, "handler_class", run->step->handler_class);
    tsk_write_int(text, "timeout_ms", run_time_limit(work, run));
    tsk_write_int(text, "retry_limit", run->step->retry_limit);
    if (run->step->backoff)
        tsk_write_str(text, "backoff", run->step->backoff);
    tsk_write_object(text, "handler_config", tsk_json_get(run->step->json, "handler_config"));
    if (run->process)
        tsk_write_time(text, "started_at", run->process->started_wall);
    if (outcome->final && run->process)
        write_process(text, run->process);
    if (outcome->warning)
        tsk_write_str(text, "output_warning", outcome->warning);
    if (outcome->final)
        tsk_write_str(text, "error_category", tsk_json_str(outcome->error, "error_category"));
    tsk_write_close(text, '}');
}

void result_head(struct tsk_buf *text, int64_t step_id, const char *batch_id)
{
    tsk_write_open(text, NULL, '{');
    tsk_write_str(text, "message_type", tsk_type_name(TSK_TYPE_PARTIAL));
    tsk_write_str(text, "batch_id", batch_id);
    tsk_write_int(text, "step_id", step_id);
}

void result_partial(const struct work *work, const struct run *run, const struct outcome *outcome,
                    struct tsk_buf *text)
{
    const struct tsk_step *step = run->step;
    bool retryable = false;
    tsk_json_bool(outcome->error, "retryable", &retryable);
    result_head(text, step->step_id, run->batch->data.batch_id);
    tsk_write_int(text, "task_id", step->task_id);
    tsk_write_str(text, "step_name", step->step_name);
    tsk_write_int(text, "attempt", step->attempt);
    tsk_write_str(text, "status", !outcome->final   ? "in_progress"
                                  : outcome->error ? "failed"
                                                   : "completed");
    tsk_write_json(text, "output", outcome->output);
    tsk_write_json(text, "error", outcome->error);
    tsk_write_bool(text, "retryable", retryable);
    tsk_write_int(text, "execution_time_ms", run->execution_ms);
    tsk_write_str(text, "worker_id", work->id);
    tsk_write_int(text, "sequence", run->sequence);
    tsk_write_time(text, "timestamp", tsk_wall_ms());
    if (outcome->progress)
        tsk_write_json(text, "progress", outcome->progress);
    else
        write_metadata(work, run, outcome, text);
    tsk_write_close(text, '}');
}

static void write_summary(const struct work *work, const struct run *run, struct tsk_buf *text)
{
    tsk_write_open(text, NULL, '{');
    tsk_write_int(text, "step_id", run->step->step_id);
    tsk_write_str(text, "final_status", run->completed ? "completed" : "failed");
    tsk_write_int(text, "execution_time_ms", run->execution_ms);
    tsk_write_str(text, "worker_id", work->id);
    tsk_write_int(text, "attempt", run->step->attempt);
    tsk_write_close(text, '}');
}

void result_completion(const struct work *work, const struct batch *batch, struct tsk_buf *text)
{
    tsk_write_open(text, NULL, '{');
    tsk_write_str(text, "message_type", tsk_type_name(TSK_TYPE_COMPLETION));
    tsk_write_str(text, "batch_id", batch->data.batch_id);
    tsk_write_str(text, "protocol_version", TSK_PROTOCOL_VERSION);
    tsk_write_str(text, "worker_id", work->id);
    tsk_write_int(text, "total_steps", (int64_t)batch->data.count);
    tsk_write_int(text, "completed_steps", (int64_t)batch->completed);
    tsk_write_int(text, "failed_steps", (int64_t)batch->failed);
    tsk_write_int(text, "in_progress_steps", 0);
    tsk_write_open(text, "step_summaries", '[');
    for (size_t i = 0; i < batch->data.count; i++)
        write_summary(work, &batch->runs[i], text);
    tsk_write_close(text, ']');
    tsk_write_int(text, "total_execution_time_ms", (tsk_now_us() - batch->accepted_us) / 1000);
    tsk_write_time(text, "completed_at", tsk_wall_ms());
    tsk_write_close(text, '}');
}

/* ---- one that is too long */

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

/* Keeps the beginning of a text. */
static void cut_text(struct json_object *object, const char *key, size_t most)
{
    struct json_object *text = tsk_json_get(object, key);
    if (json_object_is_type(text, json_type_string) &&
        (size_t)json_object_get_string_len(text) > most)
        tsk_json_put(object, key, tsk_json_lossy(json_object_get_string(text), most));
}

/* Of an error what decides on the step, and the beginning of its words. */
static void cut_error(struct json_object *message, size_t most)
{
    struct json_object *error = tsk_json_get(message, "error");
    bool retryable = false, unused = tsk_error_unused(error);
    if (!error)
        return;
    cut_text(error, "message", most / 16);
    cut_text(error, "error_type", NAME_KEPT);
    cut_text(error, "error_category", NAME_KEPT);
    tsk_json_bool(error, "retryable", &retryable);
    tsk_json_put(message, "error",
                 tsk_error_object(tsk_json_str(error, "message"), tsk_json_str(error, "error_type"),
                                  tsk_json_str(error, "error_category"), retryable));
    if (unused)
        tsk_json_put_bool(tsk_json_get(message, "error"), TSK_ATTEMPT_USED_KEY, false);
}

static bool is_longer(struct json_object *message, size_t most)
{
    size_t len;
    tsk_json_text(message, &len);
    return len > most;
}

bool result_shorten(struct work *work, size_t most, struct tsk_buf *text)
{
    static const char *const extras[] = {"handler_config", "stderr"};
    struct json_object *message = tsk_json_object(work->json, text->data, text->len, NULL);
    struct json_object *metadata = tsk_json_get(message, "execution_metadata");
    if (!message)
        return true; /* it has just been written as JSON */
    json_object_object_del(message, "progress");
    for (size_t i = 0; metadata && i < 2 && is_longer(message, most); i++)
        json_object_object_del(metadata, extras[i]);
    bool whole = !is_longer(message, most);
    if (!whole)
        cut_output(message, metadata, most);
    if (is_longer(message, most)) {
        cut_error(message, most);
        cut_text(message, "step_name", NAME_KEPT);
        cut_text(metadata, "handler_class", NAME_KEPT);
        cut_text(metadata, "error_category", NAME_KEPT);
    }
    if (metadata)
        tsk_json_put_bool(metadata, "shortened", true);
    tsk_buf_reset(text);
    tsk_write_json(text, NULL, message);
    json_object_put(message);
    return whole;
}
