/* Results in canonical form, which tsk_result_normalise would leave as they are, recognised by
 * their text alone. Nearly all results are in it, since tasker's own workers send no other.
 *
 * The rules are those of message_result.c, function by function (usual_partial is fix_partial where
 * it fixes nothing, and so on), and who changes one changes the other; a test feeds both with the
 * same messages. Here they may be stricter, never looser: what is not plainly right is not
 * canonical.
 */
#include "tasker/message.h"

#include <string.h>

#include "tasker/buf.h"
#include "tasker/parse.h"
#include "tasker/json.h"

#define SHORT_BYTES 1024 /* the longest member that tsk_result_long keeps */

enum member {
    MESSAGE_TYPE,
    BATCH_ID,
    STEP_ID,
    TASK_ID,
    STEP_NAME,
    ATTEMPT,
    STATUS,
    OUTPUT,
    ERROR,
    RETRYABLE,
    EXECUTION_TIME_MS,
    WORKER_ID,
    SEQUENCE,
    TIMESTAMP,
    EXECUTION_METADATA,
    TOTAL_STEPS,
    COMPLETED_STEPS,
    FAILED_STEPS,
    IN_PROGRESS_STEPS,
    STEP_SUMMARIES,
    TOTAL_EXECUTION_TIME_MS,
    COMPLETED_AT,
    SOURCE,
    OFFSET,
    REFUSED,
    MEMBERS
};

/* In the order in which our workers write them, also those that are of no interest here: a name
 * that is where it is expected is found at once. */
static const struct tsk_scan_key keys[MEMBERS] = {
    [MESSAGE_TYPE] = TSK_SCAN_KEY("message_type"),
    [BATCH_ID] = TSK_SCAN_KEY("batch_id"),
    [STEP_ID] = TSK_SCAN_KEY("step_id"),
    [TASK_ID] = TSK_SCAN_KEY("task_id"),
    [STEP_NAME] = TSK_SCAN_KEY("step_name"),
    [ATTEMPT] = TSK_SCAN_KEY("attempt"),
    [STATUS] = TSK_SCAN_KEY("status"),
    [OUTPUT] = TSK_SCAN_KEY("output"),
    [ERROR] = TSK_SCAN_KEY("error"),
    [RETRYABLE] = TSK_SCAN_KEY("retryable"),
    [EXECUTION_TIME_MS] = TSK_SCAN_KEY("execution_time_ms"),
    [WORKER_ID] = TSK_SCAN_KEY("worker_id"),
    [SEQUENCE] = TSK_SCAN_KEY("sequence"),
    [TIMESTAMP] = TSK_SCAN_KEY("timestamp"),
    [EXECUTION_METADATA] = TSK_SCAN_KEY("execution_metadata"),
    [TOTAL_STEPS] = TSK_SCAN_KEY("total_steps"),
    [COMPLETED_STEPS] = TSK_SCAN_KEY("completed_steps"),
    [FAILED_STEPS] = TSK_SCAN_KEY("failed_steps"),
    [IN_PROGRESS_STEPS] = TSK_SCAN_KEY("in_progress_steps"),
    [STEP_SUMMARIES] = TSK_SCAN_KEY("step_summaries"),
    [TOTAL_EXECUTION_TIME_MS] = TSK_SCAN_KEY("total_execution_time_ms"),
    [COMPLETED_AT] = TSK_SCAN_KEY("completed_at"),
    [SOURCE] = TSK_SCAN_KEY("source"),
    [OFFSET] = TSK_SCAN_KEY("offset"),
    [REFUSED] = TSK_SCAN_KEY(TSK_JSON_REFUSED),
};

/* An integer of at least "least", or not told. */
static bool usual_int(const struct tsk_scan_value *value, int64_t least)
{
    return value->kind == TSK_SCAN_NONE || (value->kind == TSK_SCAN_INT && value->number >= least);
}

static bool usual_count(const struct tsk_scan_value *value, int64_t least)
{
    return usual_int(value, least) &&
           (value->kind == TSK_SCAN_NONE || value->number <= TSK_COUNT_MOST);
}

static bool usual_step_id(const struct tsk_scan_value *value)
{
    return value->kind == TSK_SCAN_INT && value->number > 0;
}

/* Copies a name that the wire allows. */
static bool usual_name(const struct tsk_scan_value *value, char out[TSK_ID_SIZE])
{
    if (value->kind != TSK_SCAN_TEXT || value->len >= TSK_ID_SIZE)
        return false;
    memcpy(out, value->text, value->len);
    out[value->len] = '\0';
    return tsk_name_valid(out); /* the scanner lets no NUL through */
}

static bool usual_status(const struct tsk_scan_value *value)
{
    return tsk_scan_is(value, "completed") || tsk_scan_is(value, "in_progress") ||
           tsk_scan_is(value, "failed");
}

/* None, or an object in which error_type and type are alike. */
static bool usual_error(const struct tsk_scan_value *value)
{
    static const struct tsk_scan_key types[] = {TSK_SCAN_KEY("error_type"), TSK_SCAN_KEY("type")};
    struct tsk_scan_value found[2];
    if (value->kind == TSK_SCAN_NONE)
        return true;
    if (value->kind != TSK_SCAN_OBJECT ||
        !tsk_scan_object(value->text, value->len, types, 2, found) ||
        found[0].kind != found[1].kind)
        return false;
    return found[0].kind == TSK_SCAN_NONE ||
           (found[0].kind == TSK_SCAN_TEXT && found[0].len == found[1].len &&
            !memcmp(found[0].text, found[1].text, found[0].len));
}

static bool usual_partial(const struct tsk_scan_value *members)
{
    return usual_step_id(&members[STEP_ID]) && usual_status(&members[STATUS]) &&
           usual_int(&members[TASK_ID], 0) && usual_count(&members[ATTEMPT], 1) &&
           usual_int(&members[SEQUENCE], 1) && usual_int(&members[EXECUTION_TIME_MS], 0) &&
           usual_error(&members[ERROR]) && members[REFUSED].kind == TSK_SCAN_NONE &&
           members[OUTPUT].levels <= TSK_JSON_DEPTH - TSK_JSON_ROOM;
}

static bool usual_summary(const struct tsk_scan_value *summary)
{
    enum { ID, FINAL, TIME, TRY, ALL };
    static const struct tsk_scan_key names[ALL] = {
        [ID] = TSK_SCAN_KEY("step_id"),
        [FINAL] = TSK_SCAN_KEY("final_status"),
        [TIME] = TSK_SCAN_KEY("execution_time_ms"),
        [TRY] = TSK_SCAN_KEY("attempt"),
    };
    struct tsk_scan_value found[ALL];
    return summary->kind == TSK_SCAN_OBJECT &&
           tsk_scan_object(summary->text, summary->len, names, ALL, found) &&
           usual_step_id(&found[ID]) && usual_status(&found[FINAL]) &&
           usual_count(&found[TRY], 1) && usual_int(&found[TIME], 0);
}

static bool usual_summaries(const struct tsk_scan_value *value)
{
    struct tsk_scan_value rest = *value, summary;
    if (value->kind == TSK_SCAN_NONE)
        return true;
    if (value->kind != TSK_SCAN_ARRAY)
        return false;
    while (tsk_scan_next(&rest, &summary)) {
        if (!usual_summary(&summary))
            return false;
    }
    return true;
}

static bool usual_completion(const struct tsk_scan_value *members)
{
    return usual_count(&members[TOTAL_STEPS], 0) && usual_int(&members[COMPLETED_STEPS], 0) &&
           usual_int(&members[FAILED_STEPS], 0) && usual_int(&members[IN_PROGRESS_STEPS], 0) &&
           usual_int(&members[TOTAL_EXECUTION_TIME_MS], 0) &&
           usual_summaries(&members[STEP_SUMMARIES]);
}

/* The place in its stream; a message without one is canonical too. */
static bool usual_place(const struct tsk_scan_value *members, struct tsk_usual *usual)
{
    usual->source[0] = '\0';
    usual->offset = -1;
    if (members[SOURCE].kind == TSK_SCAN_NONE)
        return true;
    usual->offset = members[OFFSET].number;
    return usual_name(&members[SOURCE], usual->source) && members[OFFSET].kind == TSK_SCAN_INT &&
           usual->offset >= 0;
}

static void take_partial(const struct tsk_scan_value *members, struct tsk_usual *usual)
{
    const struct tsk_scan_value *time = &members[EXECUTION_TIME_MS];
    usual->step_id = members[STEP_ID].number;
    usual->task_id = members[TASK_ID].number; /* 0 where it is not told, as the next two */
    usual->attempt = members[ATTEMPT].number;
    usual->sequence = members[SEQUENCE].number;
    usual->time_ms = time->kind == TSK_SCAN_NONE ? -1 : time->number;
    usual->failed = tsk_scan_is(&members[STATUS], "failed");
    usual->final = usual->failed || tsk_scan_is(&members[STATUS], "completed");
    usual->step_name = members[STEP_NAME];
    usual->worker_id = members[WORKER_ID];
}

bool tsk_result_usual(const char *topic, const char *text, size_t len, struct tsk_usual *usual)
{
    struct tsk_scan_value members[MEMBERS];
    if (!strcmp(topic, TSK_TOPIC_RESULTS) || /* the older shape, whatever message_type says */
        !tsk_scan_object(text, len, keys, MEMBERS, members))
        return false;
    bool partial = tsk_scan_is(&members[MESSAGE_TYPE], tsk_type_name(TSK_TYPE_PARTIAL));
    if (!partial && !tsk_scan_is(&members[MESSAGE_TYPE], tsk_type_name(TSK_TYPE_COMPLETION)))
        return false;
    *usual = (struct tsk_usual){.type = partial ? TSK_TYPE_PARTIAL : TSK_TYPE_COMPLETION};
    /* an escaped name may hold a NUL */
    if (members[STEP_NAME].kind == TSK_SCAN_ESCAPED || members[WORKER_ID].kind == TSK_SCAN_ESCAPED)
        return false;
    if (!usual_name(&members[BATCH_ID], usual->batch_id) || !usual_place(members, usual) ||
        !(partial ? usual_partial(members) : usual_completion(members)))
        return false;
    if (partial)
        take_partial(members, usual);
    return true;
}

struct json_object *tsk_result_long(struct tsk_json *parser, const char *text, size_t len,
                                    const char *reason)
{
    struct tsk_scan_value members[MEMBERS];
    struct tsk_buf kept = TSK_BUF_INIT;
    if (!tsk_scan_object(text, len, keys, MEMBERS, members))
        return NULL;
    for (size_t i = 0; i < MEMBERS; i++) {
        const struct tsk_scan_value *value = &members[i];
        size_t quoted = value->kind == TSK_SCAN_TEXT || value->kind == TSK_SCAN_ESCAPED;
        if (value->kind == TSK_SCAN_NONE || value->len > SHORT_BYTES)
            continue;
        tsk_buf_char(&kept, kept.len ? ',' : '{');
        tsk_buf_add(&kept, keys[i].text, keys[i].len);
        tsk_buf_add(&kept, value->text - quoted, value->len + 2 * quoted);
    }
    tsk_buf_str(&kept, kept.len ? "}" : "{}");
    struct json_object *message = tsk_json_object(parser, kept.data, kept.len, NULL);
    tsk_buf_fini(&kept);
    if (message)
        tsk_json_put(message, TSK_JSON_REFUSED,
                     tsk_error_object(reason, "OutputTooLarge", "validation", false));
    return message;
}
