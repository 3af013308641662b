/* What a step put out, and its error, as they stand in the messages; and what is thought of it. */
#include <string.h>

#include "workflow/settle_private.h"
#include "tasker/flow.h"

struct wanted {
    int64_t step_id;
    const char *key;
    struct tsk_buf *buf;
};

static int take_text(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct wanted *wanted = ctx;
    int64_t step_id = 0;
    size_t len;
    (void)changed;
    if (type != TSK_TYPE_PARTIAL || tsk_json_int(message, "step_id", &step_id) != 1 ||
        step_id != wanted->step_id || !tsk_json_get(message, wanted->key))
        return 0;
    const char *text = tsk_json_text(tsk_json_get(message, wanted->key), &len);
    tsk_buf_add(wanted->buf, text, len);
    return 1;
}

void tsk_settle_text(struct tsk_settle *s, const struct tsk_settle_message *message,
                     int64_t step_id, bool error, struct tsk_buf *buf)
{
    struct wanted wanted = {step_id, error ? "error" : "output", buf};
    struct json_object *json = tsk_json_salvage(s->json, message->data, message->len, NULL);
    if (json)
        tsk_result_normalise(message->topic, json, take_text, &wanted, NULL);
    json_object_put(json);
}

void tsk_settle_weigh(struct tsk_settle *s, struct tsk_fold_step *step,
                      struct tsk_rpartial *partial, const char *output, size_t output_len)
{
    struct tsk_err err = TSK_ERR_INIT;
    size_t len, place = (size_t)(step - s->steps);
    int64_t attempt = step->heard ? step->heard : step->attempt;
    if (!s->judge || !tsk_create_possible(output, output_len))
        return;
    tsk_buf_reset(&s->creates);
    if (s->judge(s->judge_ctx, place, attempt, output, output_len, &s->creates, &err) == 0) {
        step->creates = s->creates.len ? tsk_names_add(&s->names, s->creates.data) : 0;
        return;
    }
    /* names in it are cut at some byte */
    struct json_object *whole = tsk_json_lossy(err.text, strlen(err.text));
    const char *reason = json_object_get_string(whole);
    struct json_object *error =
        tsk_error_object(reason, TSK_CREATE_TYPE, TSK_CREATE_CATEGORY, false);
    step->refusal = tsk_names_add(&s->names, tsk_json_text(error, &len));
    json_object_put(error);
    tsk_buf_reset(&s->creates);
    tsk_buf_str(&s->creates, reason);
    json_object_put(whole);
    partial->refused = true;
    partial->category = TSK_CREATE_CATEGORY;
    partial->reason = s->creates.data;
}
