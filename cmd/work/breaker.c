/* Circuit breakers: steps of a handler_class whose surroundings are broken are not started. They
 * end at once, to be tried again when there will have been a trial. */
#include "common/diag.h"
#include "work/work.h"

#define TOLD_MOST 100 /* open circuits in a worker_status */

struct tsk_circuits *breaker_new(const struct tsk_conf *conf)
{
    return tsk_circuits_new(tsk_conf_int(conf, TSK_WORKER_CIRCUIT_FAILURES),
                            tsk_conf_int(conf, TSK_WORKER_CIRCUIT_RESET),
                            tsk_conf_int(conf, TSK_RETRY_CAP));
}

static void refuse(struct work *work, struct run *run, const struct tsk_circuit_state *state)
{
    struct tsk_buf text = TSK_BUF_INIT;
    char until[TSK_TIME_SIZE];
    tsk_time_format(tsk_wall_ms() + state->retry_in, until);
    tsk_buf_printf(&text,
                   "not started: handler %s has failed %lld times in a row, and is not tried again "
                   "until %s",
                   state->handler_class, (long long)state->failures, until);
    struct json_object *error = tsk_error_object(text.data, "CircuitOpen", "infrastructure", true);
    tsk_json_put_int(error, "retry_after_ms", state->retry_in);
    tsk_buf_fini(&text);
    finish_refused(work, run, error);
}

bool breaker_lets(struct work *work, struct run *run)
{
    struct tsk_circuit_state state;
    enum tsk_circuit_verdict verdict =
        tsk_circuit_ask(work->circuits, run->step->handler_class, tsk_now_ms(), &state);
    run->trial = verdict == TSK_CIRCUIT_TRIAL;
    if (verdict != TSK_CIRCUIT_OPEN)
        return true;
    refuse(work, run, &state);
    return false;
}

void breaker_ended(struct work *work, struct run *run, struct json_object *error)
{
    struct tsk_circuit_state state;
    enum tsk_circuit_end end = tsk_circuit_end_of(tsk_json_str(error, "error_category"));
    const char *message = tsk_json_str(error, "message");
    if (!run->process || (error && run->process->stop == STOP_WORKER))
        end = TSK_CIRCUIT_NEITHER; /* that was this worker's doing */
    enum tsk_circuit_change change = tsk_circuit_tell(work->circuits, run->step->handler_class, end,
                                                      run->trial, tsk_now_ms(), &state);
    if (change == TSK_CIRCUIT_OPENED)
        diag_warn("handler %s: %lld failures in a row, the last: %s: none of its steps is started "
                  "for %.1f s",
                  state.handler_class, (long long)state.failures, message ? message : "failed",
                  (double)state.retry_in / 1000);
    else if (change == TSK_CIRCUIT_CLOSED)
        diag_info("handler %s works again: its steps are started", state.handler_class);
    run->trial = false;
}

void breaker_put_open(const struct work *work, struct json_object *message)
{
    struct tsk_circuit_state states[TOLD_MOST];
    struct json_object *list = json_object_new_array();
    size_t count = tsk_circuits_open(work->circuits, tsk_now_ms(), states, TOLD_MOST);
    for (size_t i = 0; i < count; i++) {
        struct json_object *one = json_object_new_object();
        tsk_json_put_str(one, "handler_class", states[i].handler_class);
        tsk_json_put_int(one, "failures", states[i].failures);
        tsk_json_put_int(one, "retry_in_ms", states[i].retry_in);
        json_object_array_add(list, one);
    }
    tsk_json_put(message, "open_circuits", list);
}
