/* What a message is, and the messages that tasker makes itself.
 *
 * The types are one table; the name in it is both the value of message_type and the topic. Peers
 * whose enums are written in CamelCase are understood by turning their word into snake_case and
 * looking again, so no name is in the table twice. */
#include "tasker/message.h"

#include <ctype.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/parse.h"

static const struct {
    enum tsk_type type;
    const char *name;
} types[] = {
    {TSK_TYPE_PARTIAL, "partial_result"},
    {TSK_TYPE_COMPLETION, "batch_completion"},
    {TSK_TYPE_PUBLISHED, "batch_published"},
    {TSK_TYPE_BATCH, "batch"},
    {TSK_TYPE_STEP, "step"},
    {TSK_TYPE_ERROR, "batch_error"},
    {TSK_TYPE_WORKER, "worker_status"},
    {TSK_TYPE_RECONCILED, "batch_reconciled"},
};

enum { TYPE_COUNT = sizeof types / sizeof *types, WORD_SIZE = 40 };

static enum tsk_type find(const char *name)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    }
    return TSK_TYPE_OTHER;
}

size_t tsk_receipt_most(int64_t message)
{
    int64_t most = message * TSK_RECEIPT_FACTOR + TSK_RECEIPT_EXTRA;
    return most < INT_MAX ? (size_t)most : INT_MAX; /* of which tsk_json_parse reads no more */
}

bool tsk_name_glimpse(const char *at, char name[TSK_ID_SIZE])
{
    at += strspn(at, " :");
    size_t len = *at == '"' ? strcspn(at + 1, "\"") : 0;
    if (!len || len >= TSK_ID_SIZE)
        return false;
    memcpy(name, at + 1, len);
    name[len] = '\0';
    return tsk_name_valid(name);
}

/* "PartialResult" to "partial_result"; false if it does not fit, which no known word does. */
static bool snake_case(const char *word, char out[WORD_SIZE])
{
    size_t n = 0;
    for (const char *p = word; *p; p++) {
        if (n + 3 > WORD_SIZE)
            return false;
        if (isupper((unsigned char)*p) && p != word)
            out[n++] = '_';
        out[n++] = (char)tolower((unsigned char)*p);
    }
    out[n] = '\0';
    return true;
}

enum tsk_type tsk_type_find(const char *name)
{
    char word[WORD_SIZE];
    enum tsk_type type = find(name);
    if (type == TSK_TYPE_OTHER && isupper((unsigned char)*name) && snake_case(name, word))
        type = find(word);
    return type;
}

enum tsk_type tsk_type_of(struct json_object *message)
{
    const char *name = tsk_json_str(message, "message_type");
    return name ? tsk_type_find(name) : TSK_TYPE_OTHER;
}

enum tsk_type tsk_type_of_line(struct json_object *object)
{
    if (tsk_json_get(object, "message_type"))
        return tsk_type_of(object);
    return tsk_json_get(object, "steps")     ? TSK_TYPE_BATCH
           : tsk_json_get(object, "step_id") ? TSK_TYPE_STEP
                                             : TSK_TYPE_OTHER;
}

const char *tsk_type_name(enum tsk_type type)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (types[i].type == type)
            return types[i].name;
    }
    return NULL;
}

struct json_object *tsk_error_object(const char *message, const char *type, const char *category,
                                     bool retryable)
{
    struct json_object *error = json_object_new_object();
    message = message ? message : "";
    tsk_json_put(error, "message", tsk_json_lossy(message, strlen(message)));
    tsk_json_put_str(error, "error_type", type);
    tsk_json_put_str(error, "type", type); /* the same, for consumers that read this name */
    tsk_json_put_str(error, "error_category", category);
    tsk_json_put_bool(error, "retryable", retryable);
    tsk_json_put(error, "backtrace", json_object_new_array());
    return error;
}

struct json_object *tsk_output_error(struct json_object *value, const char *refused)
{
    int most = TSK_JSON_DEPTH - TSK_JSON_ROOM;
    struct tsk_err err;
    if (refused)
        return tsk_error_object(refused, "OutputRefused", "validation", false);
    if (tsk_json_within(value, most))
        return NULL;
    tsk_err_set(&err, TSK_DATA, "its output is nested deeper than %d levels", most);
    return tsk_error_object(err.text, "OutputTooDeep", "validation", false);
}

bool tsk_category_retryable(const char *category)
{
    static const char *const worth[] = {"timeout", "infrastructure", "retryable", "network"};
    for (size_t i = 0; category && i < sizeof worth / sizeof *worth; i++) {
        if (strcmp(category, worth[i]) == 0)
            return true;
    }
    return false;
}

bool tsk_error_unused(struct json_object *error)
{
    bool used = true;
    return tsk_json_bool(error, TSK_ATTEMPT_USED_KEY, &used) == 1 && !used;
}

struct json_object *tsk_batch_error(const char *batch_id, struct json_object *error)
{
    struct json_object *message = json_object_new_object();
    tsk_json_put_str(message, "message_type", tsk_type_name(TSK_TYPE_ERROR));
    tsk_json_put_str(message, "batch_id", batch_id);
    tsk_json_put(message, "error", error);
    tsk_json_put_time(message, "timestamp", tsk_wall_ms());
    return message;
}

char *tsk_batch_error_text(const char *batch_id, struct json_object *error, int64_t wall_ms)
{
    struct json_object *message = tsk_batch_error(batch_id, error);
    size_t len;
    tsk_json_put_time(message, "timestamp", wall_ms);
    char *text = tsk_strdup(tsk_json_text(message, &len));
    json_object_put(message);
    return text;
}

/* ---- Topics that name a peer. */

bool tsk_topic_is(const char *topic, const char *kind)
{
    return !strncmp(topic, kind, strlen(kind));
}

bool tsk_topic_own(const char *subscription, const char *kind, char name[TSK_ID_SIZE])
{
    size_t start = strlen(kind), len = strlen(subscription);
    if (!tsk_topic_is(subscription, kind) || len <= start + 1 || subscription[len - 1] != ' ' ||
        len - start - 1 >= TSK_ID_SIZE)
        return false;
    memcpy(name, subscription + start, len - start - 1);
    name[len - start - 1] = '\0';
    return tsk_name_valid(name);
}

/* ---- Sources that only tasker itself gives. */

static const char *const prefixes[] = {TSK_SOURCE_COLLECTOR, TSK_SOURCE_LINES, TSK_SOURCE_LOST,
                                       TSK_SOURCE_PUBLISH, TSK_SOURCE_READY, TSK_SOURCE_RECONCILE};

bool tsk_source_reserved(const char *source)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strncmp(source, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}
