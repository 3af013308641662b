/* The usual shape beside tsk_result_normalise: a result that is called usual is one that is left as
 * it is, with the same values, and one of tasker's own that is left as it is is called usual. */
#include <stdlib.h>

#include "check.h"
#include "scan_texts.h"
#include "tasker/buf.h"
#include "tasker/message.h"
#include "tasker/parse.h"

static struct tsk_json *parser;

struct emitted {
    int calls;
    bool changed;
    enum tsk_type type;
    char batch_id[TSK_ID_SIZE];
    int64_t step_id;
    bool final;
};

static int emit(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct emitted *e = ctx;
    const char *id = tsk_json_str(message, "batch_id"), *status = tsk_json_str(message, "status");
    e->calls++;
    e->changed |= changed;
    e->type = type;
    snprintf(e->batch_id, sizeof e->batch_id, "%s", id ? id : "");
    e->step_id = 0;
    e->final = type == TSK_TYPE_PARTIAL && strcmp(status, "in_progress") != 0;
    if (type == TSK_TYPE_PARTIAL)
        tsk_json_int(message, "step_id", &e->step_id);
    return 0;
}

/* The place of a message that tsk_result_usual let pass. */
static bool same_place(const struct tsk_usual *usual, struct json_object *json)
{
    const char *source = tsk_json_str(json, "source");
    int64_t offset = -1;
    if (!tsk_json_get(json, "source"))
        return !*usual->source && usual->offset == -1;
    return source && tsk_name_valid(source) && !strcmp(source, usual->source) &&
           tsk_json_int(json, "offset", &offset) == 1 && offset == usual->offset && offset >= 0;
}

static int64_t number(struct json_object *json, const char *key, int64_t fallback)
{
    int64_t n;
    return tsk_json_int(json, key, &n) == 1 ? n : fallback;
}

static bool same_text(const struct tsk_scan_value *value, struct json_object *json, const char *key)
{
    struct json_object *member = tsk_json_get(json, key);
    switch (value->kind) {
    case TSK_SCAN_NONE:
        return !member;
    case TSK_SCAN_TEXT:
        return json_object_is_type(member, json_type_string) &&
               (size_t)json_object_get_string_len(member) == value->len &&
               !memcmp(json_object_get_string(member), value->text, value->len);
    default: /* whoever wants it has to parse the message */
        return member;
    }
}

/* The rest of what tsk_result_usual tells of a partial result. */
static bool same_partial(const struct tsk_usual *usual, struct json_object *json)
{
    const char *status = tsk_json_str(json, "status");
    return usual->type != TSK_TYPE_PARTIAL ||
           (usual->task_id == number(json, "task_id", 0) &&
            usual->attempt == number(json, "attempt", 0) &&
            usual->sequence == number(json, "sequence", 0) &&
            usual->time_ms == number(json, "execution_time_ms", -1) &&
            usual->failed == !strcmp(status, "failed") &&
            same_text(&usual->step_name, json, "step_name") &&
            same_text(&usual->worker_id, json, "worker_id"));
}

/* Whether an integer is written as 1.0 or 1e0, which tsk_result_normalise leaves as it is. */
static bool has_double(struct json_object *json)
{
    static const char *const keys[] = {"step_id",
                                       "task_id",
                                       "attempt",
                                       "sequence",
                                       "offset",
                                       "execution_time_ms",
                                       "total_steps",
                                       "completed_steps",
                                       "failed_steps",
                                       "in_progress_steps",
                                       "total_execution_time_ms"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        if (json_object_is_type(tsk_json_get(json, keys[i]), json_type_double))
            return true;
    }
    struct json_object *all = tsk_json_get(json, "step_summaries");
    for (size_t i = 0; all && i < json_object_array_length(all); i++) {
        if (has_double(json_object_array_get_idx(all, i)))
            return true;
    }
    return false;
}

/* Whether the type of an error is something that no peer sends. */
static bool has_odd_type(struct json_object *json)
{
    struct json_object *type = tsk_json_get(tsk_json_get(json, "error"), "type");
    return type && !json_object_is_type(type, json_type_string);
}

static size_t quotes(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += text[i] == '"';
    return count;
}

/* Whether some object of a text without escapes has two members of one name: json-c kept one. */
static bool has_any_twice(const char *text, size_t len, struct json_object *json)
{
    size_t kept_len;
    const char *kept = tsk_json_text(json, &kept_len);
    return quotes(text, len) != quotes(kept, kept_len);
}

/* Whether a message that is left as it is must be called usual: there is nothing odd about it. */
static bool must_be_usual(const char *text, size_t len, struct json_object *json,
                          const struct emitted *e)
{
    int64_t offset;
    const char *source = tsk_json_str(json, "source");
    return (e->type == TSK_TYPE_PARTIAL || e->type == TSK_TYPE_COMPLETION) && e->calls == 1 &&
           tsk_json_get(json, "message_type") && !memchr(text, '\\', len) &&
           !has_any_twice(text, len, json) && !has_double(json) && !has_odd_type(json) && source &&
           tsk_name_valid(source) && tsk_json_int(json, "offset", &offset) == 1 && offset >= 0;
}

/* Whether both ways to read a message come to the same, if it is one of topic. */
static bool same_result(const char *topic, const char *text, size_t len, struct json_object *json,
                        bool is_usual, const struct tsk_usual *usual)
{
    struct emitted e = {0};
    struct tsk_err err = TSK_ERR_INIT;
    bool same = !is_usual || same_place(usual, json); /* before the message is changed */
    int rc = json ? tsk_result_normalise(topic, json, emit, &e, &err) : -1;
    if (!is_usual)
        return rc || e.changed || !strcmp(topic, "results") || !must_be_usual(text, len, json, &e);
    return same && rc == 0 && e.calls == 1 && !e.changed && e.type == usual->type &&
           !strcmp(e.batch_id, usual->batch_id) && e.step_id == usual->step_id &&
           e.final == usual->final && same_partial(usual, json);
}

static bool agree(const char *text, size_t len, long *usual_texts)
{
    static const char *const topics[] = {"partial_result", "batch_completion", "", "results",
                                         "collector.c"};
    const char *topic = topics[rnd(COUNT(topics))];
    struct tsk_usual usual;
    struct tsk_err err = TSK_ERR_INIT;
    bool is_usual = tsk_result_usual(topic, text, len, &usual);
    struct json_object *json;
    if (tsk_json_parse(parser, text, len, &json, &err) < 0)
        return !is_usual;
    bool same = same_result(topic, text, len, json, is_usual, &usual);
    *usual_texts += is_usual;
    json_object_put(json);
    return same;
}

static void test_usual(void)
{
    static const bool usual[] = {true, true, true, true, true, false, false, false, false, true};
    for (size_t i = 0; i < COUNT(messages); i++) {
        struct tsk_usual out;
        CHECK_INT(tsk_result_usual("partial_result", messages[i], strlen(messages[i]), &out),
                  usual[i]);
        CHECK(!tsk_result_usual("results", messages[i], strlen(messages[i]), &out));
    }
}

/* An output as deep as a dependent step has room for, and one deeper. */
static void test_deep(void)
{
    for (int levels = TSK_JSON_DEPTH - TSK_JSON_ROOM - 1; levels < TSK_JSON_DEPTH; levels++) {
        struct tsk_buf text = TSK_BUF_INIT;
        long usual = 0;
        tsk_buf_str(&text, "{\"message_type\":\"partial_result\",\"batch_id\":\"b\",\"step_id\":1,"
                           "\"status\":\"completed\",\"output\":");
        for (int i = 0; i < levels; i++)
            tsk_buf_str(&text, i % 2 ? "[1," : "{\"a\":");
        tsk_buf_str(&text, "2");
        for (int i = levels; i--;)
            tsk_buf_char(&text, i % 2 ? ']' : '}');
        tsk_buf_str(&text, ",\"source\":\"s\",\"offset\":1}");
        for (int i = 0; i < 40; i++)
            CHECK(agree(text.data, text.len, &usual));
        CHECK((usual > 0) == (levels <= TSK_JSON_DEPTH - TSK_JSON_ROOM));
        tsk_buf_fini(&text);
    }
}

int main(void)
{
    parser = tsk_json_new();
    test_usual();
    test_deep();
    test_random(agree);
    tsk_json_free(parser);
    return check_done();
}
