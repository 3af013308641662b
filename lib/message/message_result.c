/* Results as they come from anybody, brought into one shape (the header says which).
 *
 * A message is changed in place and only where it must be, so that one of tasker's own workers
 * costs a few look-ups and its bytes go on as they came.
 *
 * A bad entry of a list (a summary of a completion, a result of the older topic "results") is
 * refused alone: what the message says of other steps counts. The completion says how many were
 * refused. */
#include "tasker/message.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/parse.h"

#define SHORT_BYTES 1024 /* the longest member that tsk_result_long keeps */

/* What is being normalised. */
struct fix {
    bool changed;
    struct tsk_err *err;
};

static int bad(struct fix *fix, const char *key, const char *why)
{
    return tsk_err_set(fix->err, TSK_DATA, "%s %s", key, why);
}

static void set(struct fix *fix, struct json_object *json, const char *key,
                struct json_object *value)
{
    tsk_json_put(json, key, value);
    fix->changed = true;
}

/* An integer, at least 0, that may be missing. A fraction (some peers time in floating point) is
 * rounded. */
static int fix_int(struct fix *fix, struct json_object *json, const char *key)
{
    int64_t n = 0;
    int found = tsk_json_int(json, key, &n);
    if (found < 0) {
        struct json_object *value = tsk_json_get(json, key);
        double d =
            json_object_is_type(value, json_type_double) ? json_object_get_double(value) : NAN;
        if (!(d >= 0 && d < 9e18))
            return bad(fix, key, "is not an integer");
        n = (int64_t)(d + 0.5);
        set(fix, json, key, json_object_new_int64(n));
    }
    return n >= 0 ? 0 : bad(fix, key, "is negative");
}

/* As fix_int for a count from 1, of which some peers send 0 always: that tells nothing. */
static int fix_ordinal(struct fix *fix, struct json_object *json, const char *key)
{
    int64_t n;
    if (fix_int(fix, json, key))
        return -1;
    if (tsk_json_int(json, key, &n) == 1 && n == 0)
        set(fix, json, key, NULL);
    return 0;
}

/* As fix_int; no column of the store holds a larger count. */
static int fix_count(struct fix *fix, struct json_object *json, const char *key)
{
    int64_t n;
    if (fix_int(fix, json, key))
        return -1;
    return tsk_json_int(json, key, &n) == 1 && n > TSK_COUNT_MOST ? bad(fix, key, "is too large")
                                                                  : 0;
}

static int check_step_id(struct fix *fix, struct json_object *json)
{
    int64_t id;
    int found = tsk_json_int(json, "step_id", &id);
    if (found == 1 && id > 0)
        return 0;
    return bad(fix, "step_id", found ? "is not a positive integer" : "is missing");
}

static int check_batch_id(struct fix *fix, struct json_object *json)
{
    if (!tsk_json_get(json, "batch_id"))
        return bad(fix, "batch_id", "is missing");
    const char *id = tsk_json_str(json, "batch_id");
    if (!id || !tsk_name_valid(id))
        return bad(fix, "batch_id", "is not " TSK_NAME_RULE);
    return 0;
}

/* Names that a result need not have. */
static int check_names(struct fix *fix, struct json_object *json)
{
    static const char *const names[] = {"step_name", "worker_id", "source"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct json_object *name = tsk_json_get(json, names[i]);
        if (json_object_is_type(name, json_type_string) && !tsk_json_is_name(name))
            return bad(fix, names[i], "holds a NUL");
    }
    return 0;
}

static int fix_status(struct fix *fix, struct json_object *json, const char *key)
{
    static const struct {
        const char *came, *means;
    } words[] = {{"in_progress", NULL},
                 {"completed", NULL},
                 {"failed", NULL},
                 {"error", "failed"},
                 {"InProgress", "in_progress"},
                 {"Completed", "completed"},
                 {"Failed", "failed"},
                 {"Error", "failed"}};
    if (!tsk_json_get(json, key))
        return bad(fix, key, "is missing");
    const char *status = tsk_json_str(json, key);
    for (size_t i = 0; status && i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].came, status) != 0)
            continue;
        if (words[i].means)
            set(fix, json, key, json_object_new_string(words[i].means));
        return 0;
    }
    return bad(fix, key, "is not in_progress, completed or failed");
}

/* Makes error an object in which error_type and type are alike. */
static int fix_error(struct fix *fix, struct json_object *json)
{
    struct json_object *error = tsk_json_get(json, "error");
    if (!error)
        return 0;
    if (json_object_is_type(error, json_type_string)) {
        struct json_object *made = json_object_new_object();
        tsk_json_put_shared(made, "message", error);
        set(fix, json, "error", made);
        return 0;
    }
    if (!json_object_is_type(error, json_type_object))
        return bad(fix, "error", "is not an object");
    struct json_object *type = tsk_json_get(error, "type");
    struct json_object *error_type = tsk_json_get(error, "error_type");
    if (error_type && !(type && json_object_equal(type, error_type)))
        set(fix, error, "type", json_object_get(error_type));
    else if (type && !error_type)
        set(fix, error, "error_type", json_object_get(type));
    return 0;
}

/* See TSK_JSON_REFUSED in the header. One that is an object was made here before. */
static void fix_output(struct fix *fix, struct json_object *json)
{
    struct json_object *refused = tsk_json_get(json, TSK_JSON_REFUSED);
    if (json_object_is_type(refused, json_type_object))
        return;
    struct json_object *error =
        tsk_output_error(tsk_json_get(json, "output"), tsk_json_str(json, TSK_JSON_REFUSED));
    if (!error)
        return;
    set(fix, json, TSK_JSON_REFUSED, error);
    set(fix, json, "output", NULL);
}

static int fix_partial(struct fix *fix, struct json_object *json)
{
    if (check_batch_id(fix, json) || check_step_id(fix, json) || check_names(fix, json) ||
        fix_status(fix, json, "status") || fix_int(fix, json, "task_id") ||
        fix_ordinal(fix, json, "attempt") || fix_count(fix, json, "attempt") ||
        fix_ordinal(fix, json, "sequence") || fix_int(fix, json, "execution_time_ms"))
        return -1;
    fix_output(fix, json);
    return fix_error(fix, json);
}

static int fix_summary(struct fix *fix, struct json_object *one)
{
    if (!json_object_is_type(one, json_type_object))
        return tsk_err_set(fix->err, TSK_DATA, "it is not an object");
    if (check_step_id(fix, one) || fix_status(fix, one, "final_status") ||
        fix_ordinal(fix, one, "attempt") || fix_count(fix, one, "attempt") ||
        fix_int(fix, one, "execution_time_ms"))
        return -1;
    return 0;
}

/* Entry i of a list is refused for err. The first is what the caller hears of. */
static void refuse_entry(struct fix *fix, size_t *refused, const char *list, size_t i,
                         struct tsk_err *err)
{
    tsk_err_prefix(err, "%s, entry %zu: ", list, i + 1);
    if (!*refused && fix->err)
        *fix->err = *err;
    ++*refused;
}

static int fix_summaries(struct fix *fix, struct json_object *json)
{
    struct json_object *all = tsk_json_get(json, "step_summaries");
    if (!all)
        return 0;
    if (!json_object_is_type(all, json_type_array))
        return bad(fix, "step_summaries", "is not an array");
    struct json_object *kept = json_object_new_array();
    size_t refused = 0;
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        struct json_object *one = json_object_array_get_idx(all, i);
        struct tsk_err err = TSK_ERR_INIT;
        struct fix entry = {fix->changed, &err};
        if (fix_summary(&entry, one))
            refuse_entry(fix, &refused, "step_summaries", i, &err);
        else
            json_object_array_add(kept, json_object_get(one));
        fix->changed = entry.changed;
    }
    if (!refused) {
        json_object_put(kept);
        return 0;
    }
    set(fix, json, "step_summaries", kept);
    set(fix, json, TSK_REFUSED_ENTRIES, json_object_new_int64((int64_t)refused));
    return 0;
}

static int fix_completion(struct fix *fix, struct json_object *json)
{
    static const char *const counts[] = {"total_steps", "completed_steps", "failed_steps",
                                         "in_progress_steps", "total_execution_time_ms"};
    if (check_batch_id(fix, json) || check_names(fix, json))
        return -1;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (fix_int(fix, json, counts[i]))
            return -1;
    }
    return fix_count(fix, json, "total_steps") ? -1 : fix_summaries(fix, json);
}

/* Whether this is the older shape: many results in one message, with no type of its own. */
static bool is_older(const char *topic, struct json_object *json)
{
    bool named = tsk_json_get(json, "message_type") && strcmp(topic, "results") != 0;
    return !named && json_object_is_type(tsk_json_get(json, "results"), json_type_array);
}

/* Copies to "to" the members that it does not have. The values are shared. */
static void copy_missing(struct json_object *to, struct json_object *from)
{
    json_object_object_foreach(from, key, value)
    {
        if (!tsk_json_get(to, key))
            tsk_json_put(to, key, json_object_get(value));
    }
}

/* Returns the partial result (owned by the caller) that one entry of the older shape stands for. */
static struct json_object *older_partial(struct json_object *message, struct json_object *entry)
{
    static const char *const lifted[] = {"task_id",           "step_name", "attempt",  "sequence",
                                         "execution_time_ms", "worker_id", "timestamp"};
    struct json_object *made = json_object_new_object();
    struct json_object *metadata = tsk_json_get(entry, "metadata");
    tsk_json_put_str(made, "message_type", tsk_type_name(TSK_TYPE_PARTIAL));
    tsk_json_put(made, "batch_id", json_object_get(tsk_json_get(message, "batch_id")));
    copy_missing(made, entry);
    if (metadata && !tsk_json_get(made, "execution_metadata"))
        tsk_json_put(made, "execution_metadata", json_object_get(metadata));
    json_object_object_del(made, "metadata");
    for (size_t i = 0; i < sizeof lifted / sizeof *lifted; i++) {
        struct json_object *value = metadata ? tsk_json_get(metadata, lifted[i]) : NULL;
        if (!value)
            value = tsk_json_get(message, lifted[i]);
        if (value && !tsk_json_get(made, lifted[i]))
            tsk_json_put(made, lifted[i], json_object_get(value));
    }
    return made;
}

/* Returns the partial result (owned by the caller) of one entry, or NULL if it is refused. */
static struct json_object *older_entry(struct fix *fix, struct json_object *message,
                                       struct json_object *entry)
{
    if (!json_object_is_type(entry, json_type_object)) {
        tsk_err_set(fix->err, TSK_DATA, "it is not an object");
        return NULL;
    }
    struct json_object *made = older_partial(message, entry);
    if (fix_partial(fix, made) == 0)
        return made;
    json_object_put(made);
    return NULL;
}

/* Makes partials, an array, of the entries of message. If all are bad, the message is. */
static int older_partials(struct fix *fix, struct json_object *message,
                          struct json_object *partials, size_t *refused)
{
    struct json_object *results = tsk_json_get(message, "results");
    size_t count = json_object_array_length(results);
    if (check_batch_id(fix, message))
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct tsk_err err = TSK_ERR_INIT;
        struct fix entry = {false, &err};
        struct json_object *made =
            older_entry(&entry, message, json_object_array_get_idx(results, i));
        if (made)
            json_object_array_add(partials, made);
        else
            refuse_entry(fix, refused, "results", i, &err);
    }
    return count && *refused == count ? -1 : 0;
}

static struct json_object *older_summary(struct json_object *partial)
{
    static const char *const taken[] = {"step_id", "execution_time_ms", "worker_id", "attempt"};
    struct json_object *summary = json_object_new_object();
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        tsk_json_put(summary, taken[i], json_object_get(tsk_json_get(partial, taken[i])));
    tsk_json_put(summary, "final_status", json_object_get(tsk_json_get(partial, "status")));
    return summary;
}

/* Returns the completion (owned by the caller) of a batch with these partial results; or NULL if
 * some step has not ended, as a completion would then say what is not so. */
static struct json_object *older_completion(struct json_object *partials, size_t refused)
{
    size_t total = json_object_array_length(partials), completed = 0;
    struct json_object *made = json_object_new_object();
    struct json_object *summaries = json_object_new_array();
    tsk_json_put(made, "step_summaries", summaries);
    for (size_t i = 0; i < total; i++) {
        struct json_object *partial = json_object_array_get_idx(partials, i);
        const char *status = tsk_json_str(partial, "status");
        if (strcmp(status, "in_progress") == 0) {
            json_object_put(made);
            return NULL;
        }
        completed += strcmp(status, "completed") == 0;
        json_object_array_add(summaries, older_summary(partial));
    }
    tsk_json_put_str(made, "message_type", tsk_type_name(TSK_TYPE_COMPLETION));
    tsk_json_put_int(made, "total_steps", (int64_t)(total + refused));
    if (refused)
        tsk_json_put_int(made, TSK_REFUSED_ENTRIES, (int64_t)refused);
    tsk_json_put_int(made, "completed_steps", (int64_t)completed);
    tsk_json_put_int(made, "failed_steps", (int64_t)(total - completed));
    tsk_json_put_int(made, "in_progress_steps", 0);
    return made;
}

static int emit_older(struct json_object *message, struct json_object *partials, size_t refused,
                      tsk_result_fn *emit, void *ctx)
{
    int rc = 0;
    for (size_t i = 0; i < json_object_array_length(partials) && rc == 0; i++)
        rc = emit(ctx, TSK_TYPE_PARTIAL, json_object_array_get_idx(partials, i), true);
    struct json_object *completion = rc ? NULL : older_completion(partials, refused);
    if (completion) {
        copy_missing(completion, message); /* batch_id, and whatever else it says */
        json_object_object_del(completion, "results");
        rc = emit(ctx, TSK_TYPE_COMPLETION, completion, true);
        json_object_put(completion);
    }
    return rc;
}

static int normalise_older(struct fix *fix, struct json_object *message, tsk_result_fn *emit,
                           void *ctx)
{
    struct json_object *partials = json_object_new_array();
    size_t refused = 0;
    int rc = older_partials(fix, message, partials, &refused);
    if (rc == 0)
        rc = emit_older(message, partials, refused, emit, ctx);
    json_object_put(partials);
    return rc;
}

/* Finds the type, by the message or else by its topic, and writes its name as ours. */
static int fix_type(struct fix *fix, const char *topic, struct json_object *json,
                    enum tsk_type *type)
{
    struct json_object *named = tsk_json_get(json, "message_type");
    *type = named ? tsk_type_of(json) : tsk_type_find(topic);
    const char *name = tsk_type_name(*type);
    if (!name)
        return bad(fix, "message_type", named ? "is none that is known" : "is missing");
    if (!named || strcmp(tsk_json_str(json, "message_type"), name) != 0)
        set(fix, json, "message_type", json_object_new_string(name));
    return 0;
}

static int fix_message(struct fix *fix, enum tsk_type type, struct json_object *json)
{
    switch (type) {
    case TSK_TYPE_PARTIAL:
        return fix_partial(fix, json);
    case TSK_TYPE_COMPLETION:
        return fix_completion(fix, json);
    case TSK_TYPE_ERROR:
        if (tsk_json_get(json, "batch_id") && check_batch_id(fix, json))
            return -1;
        return fix_error(fix, json);
    case TSK_TYPE_WORKER:
        return 0;
    default:
        return tsk_err_set(fix->err, TSK_DATA, "%s is no message of the results channel",
                           tsk_type_name(type));
    }
}

int tsk_result_normalise(const char *topic, struct json_object *message, tsk_result_fn *emit,
                         void *ctx, struct tsk_err *err)
{
    struct fix fix = {false, err};
    enum tsk_type type;
    if (!json_object_is_type(message, json_type_object))
        return tsk_err_set(err, TSK_DATA, "the message is not an object");
    if (is_older(topic, message))
        return normalise_older(&fix, message, emit, ctx);
    if (fix_type(&fix, topic, message, &type) || fix_message(&fix, type, message))
        return -1;
    return emit(ctx, type, message, fix.changed);
}

struct json_object *tsk_result_long(struct tsk_json *parser, const char *text, size_t len,
                                    const char *reason)
{
    static const struct tsk_scan_key keys[] = {
        TSK_SCAN_KEY("message_type"),
        TSK_SCAN_KEY("batch_id"),
        TSK_SCAN_KEY("step_id"),
        TSK_SCAN_KEY("task_id"),
        TSK_SCAN_KEY("step_name"),
        TSK_SCAN_KEY("attempt"),
        TSK_SCAN_KEY("status"),
        TSK_SCAN_KEY("output"),
        TSK_SCAN_KEY("error"),
        TSK_SCAN_KEY("retryable"),
        TSK_SCAN_KEY("execution_time_ms"),
        TSK_SCAN_KEY("worker_id"),
        TSK_SCAN_KEY("sequence"),
        TSK_SCAN_KEY("timestamp"),
        TSK_SCAN_KEY("execution_metadata"),
        TSK_SCAN_KEY("total_steps"),
        TSK_SCAN_KEY("completed_steps"),
        TSK_SCAN_KEY("failed_steps"),
        TSK_SCAN_KEY("in_progress_steps"),
        TSK_SCAN_KEY("step_summaries"),
        TSK_SCAN_KEY("total_execution_time_ms"),
        TSK_SCAN_KEY("completed_at"),
        TSK_SCAN_KEY("source"),
        TSK_SCAN_KEY("offset"),
        TSK_SCAN_KEY(TSK_JSON_REFUSED),
    };
    enum { MEMBERS = sizeof keys / sizeof *keys };
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
