/* What was done, an object a line. */
#include <string.h>

#include "common/out.h"
#include "resolve/resolve.h"
#include "tasker/json.h"

static struct json_object *begin(const struct options *opts, const char *action)
{
    struct json_object *line = json_object_new_object();
    tsk_json_put_str(line, "message_type", "operator_action");
    tsk_json_put_str(line, "action", action);
    if (opts->dry_run)
        tsk_json_put_bool(line, "dry_run", true);
    return line;
}

static void end(const struct options *opts, struct json_object *line)
{
    tsk_json_put_str(line, "reason", opts->reason);
    tsk_json_put_str(line, "by", opts->by);
    out_json(line);
    json_object_put(line);
}

static void put_step(struct json_object *line, const struct tsk_resolved *one)
{
    tsk_json_put_str(line, "of", "step");
    tsk_json_put_int(line, "step_id", one->id);
    tsk_json_put_int(line, "task_id", one->task_id);
    tsk_json_put_str(line, "name", one->name);
    tsk_json_put_int(line, "attempt", one->attempt);
}

static void put_task(struct json_object *line, const struct tsk_resolved *one)
{
    tsk_json_put_str(line, "of", "task");
    tsk_json_put_int(line, "task_id", one->id);
    tsk_json_put_str(line, "name", one->name);
    tsk_json_put_int(line, "steps", (int64_t)one->steps);
}

static void put_handler(struct json_object *line, const struct tsk_resolved *one,
                        enum handler handler)
{
    static const char *const words[] = {
        [HANDLER_UNSENT] = "unsent",       [HANDLER_DROPPED] = "dropped",
        [HANDLER_STOPPED] = "stopped",     [HANDLER_ENDED] = "ended",
        [HANDLER_UNKNOWN] = "unknown",     [HANDLER_RUNS] = "running",
        [HANDLER_UNREACHED] = "unreached",
    };
    if (handler == HANDLER_NONE || handler == HANDLER_WAITS)
        return;
    tsk_json_put_str(line, "handler", words[handler]);
    tsk_json_put_str(line, "batch_id", one->batch_id);
    tsk_json_put_str(line, "worker_id", one->worker_id);
}

void line_resolved(const struct options *opts, const struct tsk_resolved *one, enum handler handler)
{
    struct json_object *line = begin(opts, tsk_resolve_word((enum tsk_resolve_action)opts->action));
    if (one->is_task)
        put_task(line, one);
    else
        put_step(line, one);
    tsk_json_put_str(line, "from_state", tsk_state_name(one->from));
    tsk_json_put_str(line, "to_state", tsk_state_name(one->to));
    put_handler(line, one, handler);
    end(opts, line);
}

void line_hold(const struct options *opts, const char *namespace_name)
{
    struct json_object *line = begin(opts, opts->action ? "hold" : "release");
    tsk_json_put_str(line, "of", "namespace");
    tsk_json_put_str(line, "namespace", namespace_name);
    tsk_json_put_str(line, "from_state", opts->action ? "open" : "held");
    tsk_json_put_str(line, "to_state", opts->action ? "held" : "open");
    end(opts, line);
}
