/* Requests for tasks: what a line may hold, and what of it must fit the template. */
#include <stdlib.h>
#include <string.h>

#include "tasker/map.h"
#include "tasker/parse.h"
#include "tasker/buf.h"
#include "submit/schema.h"
#include "submit/task.h"

enum member_kind { TEXT, INTEGER, OBJECT, TEXTS, ANY };

static const struct {
    const char *name;
    enum member_kind kind;
} members[] = {
    {"message_type", TEXT},   {"namespace", TEXT},       {"namespace_name", TEXT},
    {"name", TEXT},           {"version", TEXT},         {"context", OBJECT},
    {"initiator", TEXT},      {"source_system", TEXT},   {"reason", TEXT},
    {"tags", TEXTS},          {"bypass_steps", TEXTS},   {"priority", INTEGER},
    {"correlation_id", TEXT}, {"idempotency_key", TEXT}, {"requested_at", ANY},
};

enum { MEMBERS = sizeof members / sizeof *members };

static bool is_texts(struct json_object *value)
{
    if (!json_object_is_type(value, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        if (!tsk_json_is_name(json_object_array_get_idx(value, i)))
            return false;
    }
    return true;
}

static int check_member(const char *key, struct json_object *value, struct tsk_err *err)
{
    const char *names[MEMBERS];
    size_t i = 0;
    for (size_t n = 0; n < MEMBERS; n++)
        names[n] = members[n].name;
    while (i < MEMBERS && strcmp(members[i].name, key) != 0)
        i++;
    if (i == MEMBERS)
        return tsk_unknown(err, TSK_DATA, "member", key, tsk_nearest(key, names, MEMBERS));
    if (!value)
        return 0;
    if (members[i].kind == TEXT && !tsk_json_is_name(value))
        return tsk_err_set(err, TSK_DATA, "%s has to be a text without a NUL", key);
    if (members[i].kind == INTEGER && !json_object_is_type(value, json_type_int))
        return tsk_err_set(err, TSK_DATA, "%s has to be a whole number", key);
    if (members[i].kind == OBJECT && !json_object_is_type(value, json_type_object))
        return tsk_err_set(err, TSK_DATA, "%s has to be an object", key);
    if (members[i].kind == TEXTS && !is_texts(value))
        return tsk_err_set(err, TSK_DATA, "%s has to be a list of texts without a NUL", key);
    return 0;
}

int tsk_task_request_read(struct tsk_task_request *request, struct json_object *json,
                          struct tsk_err *err)
{
    const char *type = tsk_json_str(json, "message_type");
    if (type && strcmp(type, "task_request") != 0)
        return tsk_err_set(err, TSK_DATA, "message_type is \"%.60s\", not task_request", type);
    json_object_object_foreach(json, key, value)
    {
        if (check_member(key, value, err) < 0)
            return -1;
    }
    *request = (struct tsk_task_request){.json = json};
    request->namespace_name = tsk_json_str(json, "namespace");
    if (!request->namespace_name)
        request->namespace_name = tsk_json_str(json, "namespace_name");
    request->name = tsk_json_str(json, "name");
    request->version = tsk_json_str(json, "version");
    request->context = tsk_json_get(json, "context");
    request->initiator = tsk_json_str(json, "initiator");
    request->source_system = tsk_json_str(json, "source_system");
    request->reason = tsk_json_str(json, "reason");
    request->correlation_id = tsk_json_str(json, "correlation_id");
    request->idempotency_key = tsk_json_str(json, "idempotency_key");
    request->tags = tsk_json_get(json, "tags");
    request->bypass_steps = tsk_json_get(json, "bypass_steps");
    tsk_json_int(json, "priority", &request->priority);
    if (request->priority < INT32_MIN || request->priority > INT32_MAX)
        return tsk_err_set(err, TSK_DATA, "priority is out of range");
    return 0;
}

void tsk_task_defaults(struct tsk_task_request *request, const struct tsk_template *template)
{
    struct json_object *context = json_object_new_object();
    bool more = false;
    if (request->context) {
        json_object_object_foreach(request->context, key, value)
            tsk_json_put(context, key, json_object_get(value));
    }
    json_object_object_foreach(template->default_context, name, given)
    {
        if (json_object_object_get_ex(context, name, NULL))
            continue;
        tsk_json_put(context, name, json_object_get(given));
        more = true;
    }
    if (more) /* one that is as it came is kept in its own bytes */
        tsk_json_put(request->json, "context", request->context = context);
    else
        json_object_put(context);
}

struct telling {
    tsk_task_fn *tell;
    void *ctx;
};

static void tell_context(void *ctx, const char *where, const char *what)
{
    const struct telling *telling = ctx;
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text, "context%s%s: %s", *where ? " at " : "", where, what);
    telling->tell(telling->ctx, text.data);
    tsk_buf_fini(&text);
}

static size_t check_bypass(const struct tsk_template *template, const char *name,
                           const struct telling *telling)
{
    size_t place = tsk_template_find(template, name);
    struct tsk_buf text = TSK_BUF_INIT;
    if (place < template->count && template->steps[place].skippable)
        return 0;
    if (place == template->count)
        tsk_buf_printf(&text, "bypass_steps: there is no step \"%.80s\"", name);
    else
        tsk_buf_printf(&text, "bypass_steps: step \"%.80s\" is not skippable", name);
    telling->tell(telling->ctx, text.data);
    tsk_buf_fini(&text);
    return 1;
}

size_t tsk_task_check(const struct tsk_task_request *request, const struct tsk_template *template,
                      tsk_task_fn *tell, void *ctx)
{
    struct telling telling = {tell, ctx};
    struct json_object *none = json_object_new_object();
    struct json_object *context = request->context ? request->context : none;
    size_t wrong = 0;
    if (template->schema)
        wrong += tsk_schema_validate(template->schema, context, tell_context, &telling);
    json_object_put(none);
    for (size_t i = 0; request->bypass_steps && i < json_object_array_length(request->bypass_steps);
         i++)
        wrong += check_bypass(
            template, json_object_get_string(json_object_array_get_idx(request->bypass_steps, i)),
            &telling);
    return wrong;
}

/* ---- identity */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Adds value with the members of each object in order of their names. */
static void add_canonical(struct tsk_buf *out, struct json_object *value)
{
    size_t len, n = 0;
    if (json_object_is_type(value, json_type_array)) {
        tsk_buf_char(out, '[');
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            add_canonical(out, json_object_array_get_idx(value, i));
            tsk_buf_char(out, ',');
        }
        tsk_buf_char(out, ']');
        return;
    }
    if (!json_object_is_type(value, json_type_object)) {
        const char *text = value ? tsk_json_text(value, &len) : "null";
        tsk_buf_add(out, text, value ? len : 4);
        return;
    }
    size_t count = (size_t)json_object_object_length(value);
    const char **names = tsk_alloc((count + 1) * sizeof *names);
    json_object_object_foreach(value, key, ignored)
    {
        (void)ignored;
        names[n++] = key;
    }
    qsort(names, count, sizeof *names, by_name);
    tsk_buf_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        struct json_object *member = NULL;
        json_object_object_get_ex(value, names[i], &member);
        struct json_object *name = json_object_new_string(names[i]);
        add_canonical(out, name);
        json_object_put(name);
        tsk_buf_char(out, ':');
        add_canonical(out, member);
        tsk_buf_char(out, ',');
    }
    tsk_buf_char(out, '}');
    free(names);
}

/* 128 bits of text, as two hashes that begin differently. */
static void add_digest(struct tsk_buf *out, const char *text, size_t len)
{
    uint64_t a = 0x243F6A8885A308D3u, b = 0x13198A2E03707344u;
    for (size_t i = 0; i < len; i++) {
        a = tsk_mix(a ^ (unsigned char)text[i]);
        b = tsk_mix(b + ((uint64_t)(unsigned char)text[i] << 32) + i);
    }
    tsk_buf_printf(out, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
}

/* Adds a name so that a separator in it is none. A name without one stays as it is, so that stores
 * of earlier versions know their tasks (008_identity.sql converts the others). */
static void add_name(struct tsk_buf *out, const char *name, char separator)
{
    for (; *name; name++) {
        if (*name == separator || *name == '%')
            tsk_buf_printf(out, "%%%02X", *name);
        else
            tsk_buf_char(out, *name);
    }
    tsk_buf_char(out, separator);
}

char *tsk_task_identity(const struct tsk_task_request *request, const struct tsk_template *template,
                        enum tsk_identity how)
{
    struct tsk_buf text = TSK_BUF_INIT, whole = TSK_BUF_INIT;
    if (!request->idempotency_key && how != TSK_IDENTITY_STRICT)
        return NULL;
    tsk_buf_str(&text, request->idempotency_key ? "key:" : "strict:");
    add_name(&text, template->namespace_name, '/');
    add_name(&text, template->name, ':');
    if (request->idempotency_key) {
        tsk_buf_str(&text, request->idempotency_key);
        return text.data;
    }
    tsk_buf_printf(&whole, "%s\n", template->version);
    if (request->context)
        add_canonical(&whole, request->context);
    else
        tsk_buf_str(&whole, "{}");
    add_digest(&text, whole.data, whole.len);
    tsk_buf_fini(&whole);
    return text.data;
}
