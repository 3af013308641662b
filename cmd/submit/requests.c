/* Requests in, tasks out. Lines that are at hand are made into tasks together, in one transaction,
 * and their lines on stdout follow its commit: what was printed is there. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "submit/schema.h"
#include "submit/submit.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/line.h"
#include "tasker/map.h"
#include "tasker/parse.h"
#include "tasker/store.h"

enum { GROUP_MOST = 200 }; /* requests in one transaction */

/* A request that is to become a task. */
struct pending {
    struct tsk_task_request request;
    const struct tsk_template *template;
    char *identity;
    struct tsk_task_made made;
    const char *file; /* NULL: options */
    int64_t line;
};

struct submit {
    const struct options *opts;
    const struct tsk_conf *conf;
    struct templates templates;
    struct tsk_store *store;
    struct tsk_json *parser;
    struct pending group[GROUP_MOST];
    size_t count;
    bool store_failed;
    enum tsk_exit status;
};

/* file is NULL where options are the request. */
static void tell(const char *file, int64_t line, const char *reason)
{
    if (file)
        diag_input(file, line, reason);
    else
        diag_error("%s", reason);
}

static void refuse(struct submit *submit, const char *file, int64_t line, const char *reason,
                   enum tsk_exit kind)
{
    tell(file, line, reason);
    submit->status = tsk_exit_worse(submit->status, kind);
}

/* ---- the members of a request */

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

/* Reads a request. Returns 0, or -1 with kind TSK_DATA: an unknown member (with the nearest known
 * one), or one of the wrong type. message_type "task_request" may be there. */
static int parse_request(struct tsk_task_request *request, struct json_object *json,
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

/* Adds to the context of a request what default_context of the template has and it has not. */
static void add_context(struct tsk_task_request *request, const struct tsk_template *template)
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

/* What a second request like this one has in common with it (the caller's); NULL: nothing. The
 * idempotency_key, within namespace and name; or else, if strict, a digest of namespace, name,
 * version and context, whatever the order of members. */
static char *identity_of(const struct tsk_task_request *request,
                         const struct tsk_template *template, enum tsk_identity how)
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

/* ---- what a line becomes */

static void add_default(struct json_object *json, const char *key, const char *value)
{
    if (value && !json_object_object_get_ex(json, key, NULL))
        tsk_json_put_str(json, key, value);
}

static void add_list(struct json_object *json, const char *key, const struct opt_list *list)
{
    if (!list->count || json_object_object_get_ex(json, key, NULL))
        return;
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; i < list->count; i++)
        json_object_array_add(array, json_object_new_string(list->items[i]));
    tsk_json_put(json, key, array);
}

/* Options say what a line does not. */
static void add_defaults(const struct options *opts, struct json_object *json)
{
    add_default(json, "namespace", opts->namespace_name);
    add_default(json, "version", opts->version);
    add_default(json, "initiator", opts->initiator);
    add_default(json, "source_system", opts->source_system);
    add_default(json, "reason", opts->reason);
    add_default(json, "correlation_id", opts->correlation_id);
    add_default(json, "idempotency_key", opts->idempotency_key);
    add_list(json, "tags", &opts->tags);
    add_list(json, "bypass_steps", &opts->bypass);
    if (opts->priority != INT64_MIN && !json_object_object_get_ex(json, "priority", NULL))
        tsk_json_put_int(json, "priority", opts->priority);
}

/* Whether a line is a request (or another message), or with --template the bare context of one. */
static bool is_request(const struct options *opts, struct json_object *json)
{
    return !opts->template || tsk_json_str(json, "message_type") ||
           json_object_is_type(tsk_json_get(json, "context"), json_type_object);
}

/* Takes json, and returns the request that it is (the caller's). */
static struct json_object *as_request(const struct options *opts, struct json_object *json)
{
    if (is_request(opts, json)) {
        add_defaults(opts, json);
        return json;
    }
    struct json_object *request = json_object_new_object();
    tsk_json_put(request, "context", json);
    add_defaults(opts, request);
    return request;
}

struct place {
    struct submit *submit;
    const char *file;
    int64_t line;
};

static void tell_context(void *ctx, const char *where, const char *what)
{
    const struct place *place = ctx;
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_printf(&text, "context%s%s: %s", *where ? " at " : "", where, what);
    refuse(place->submit, place->file, place->line, text.data, TSK_DATA);
    tsk_buf_fini(&text);
}

static size_t check_bypass(const struct tsk_template *template, const char *name,
                           const struct place *place)
{
    size_t step = tsk_template_find(template, name);
    struct tsk_buf text = TSK_BUF_INIT;
    if (step < template->count && template->steps[step].skippable)
        return 0;
    if (step == template->count)
        tsk_buf_printf(&text, "bypass_steps: there is no step \"%.80s\"", name);
    else
        tsk_buf_printf(&text, "bypass_steps: step \"%.80s\" is not skippable", name);
    refuse(place->submit, place->file, place->line, text.data, TSK_DATA);
    tsk_buf_fini(&text);
    return 1;
}

/* Holds a request against a template: its context against the schema, bypass_steps against the
 * steps (each must be there and be skippable). Tells each mistake. Returns how many there are. */
static size_t check_request(const struct tsk_task_request *request,
                            const struct tsk_template *template, struct place *place)
{
    struct json_object *none = json_object_new_object();
    struct json_object *context = request->context ? request->context : none;
    size_t wrong = 0;
    if (template->schema)
        wrong += tsk_schema_validate(template->schema, context, tell_context, place);
    json_object_put(none);
    for (size_t i = 0; request->bypass_steps && i < json_object_array_length(request->bypass_steps);
         i++)
        wrong += check_bypass(
            template, json_object_get_string(json_object_array_get_idx(request->bypass_steps, i)),
            place);
    return wrong;
}

/* Finds the template of a request. Returns NULL with err. */
static const struct tsk_template *
template_of(struct submit *submit, const struct tsk_task_request *request, struct tsk_err *err)
{
    const char *name = submit->opts->template ? submit->opts->template : request->name;
    if (!name) {
        tsk_err_set(err, TSK_DATA, "name is missing, and no --template is given");
        return NULL;
    }
    if (!submit->opts->template && tsk_template_is_path(name)) {
        tsk_err_set(err, TSK_DATA, "name is a path: a request names a task, not a file");
        return NULL;
    }
    return templates_get(&submit->templates, request->namespace_name, name, request->version, err);
}

/* A step is sent with the context of its task: one that is near the longest message never could be.
 */
static int check_size(const struct submit *submit, const struct tsk_task_request *request,
                      struct tsk_err *err)
{
    size_t most = (size_t)tsk_conf_int(submit->conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES) / 2, len = 0;
    if (request->context)
        tsk_json_text(request->context, &len);
    if (len <= most)
        return 0;
    return tsk_err_set(err, TSK_DATA,
                       "context of %zu bytes is over half of max_message_bytes (%zu)", len, most);
}

/* Fills in pending from a line that is to be a request. */
static int read_request(struct submit *submit, struct pending *pending, struct json_object *json,
                        struct tsk_err *err)
{
    struct tsk_task_request *request = &pending->request;
    if (parse_request(request, json, err) < 0 ||
        !(pending->template = template_of(submit, request, err)))
        return -1;
    add_context(request, pending->template);
    return check_size(submit, request, err);
}

/* Takes json: a request that waits in the group, or told why not. */
static void take_request(struct submit *submit, struct json_object *json, const char *file,
                         int64_t line)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct place place = {submit, file, line};
    struct pending *pending = &submit->group[submit->count];
    *pending = (struct pending){.file = file, .line = line};
    json = as_request(submit->opts, json);
    if (read_request(submit, pending, json, &err) < 0) {
        refuse(submit, file, line, err.text, err.kind);
    } else if (!check_request(&pending->request, pending->template, &place)) {
        enum tsk_identity how = (enum tsk_identity)tsk_conf_int(submit->conf, TSK_TASKS_IDENTITY);
        pending->identity = identity_of(&pending->request, pending->template, how);
        submit->count++;
        return;
    }
    json_object_put(json);
}

/* ---- what becomes of a group */

static int create_all(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct submit *submit = ctx;
    int64_t now = tsk_wall_ms();
    for (size_t i = 0; i < submit->count; i++) {
        struct pending *pending = &submit->group[i];
        if (tsk_task_create(store, pending->template, &pending->request, pending->identity, now,
                            &pending->made, err) < 0)
            return -1;
    }
    return 0;
}

/* Returns how many steps a new task has: optional ones are made later, if another step asks. */
static int64_t steps_at_first(const struct tsk_template *template)
{
    int64_t count = 0;
    for (size_t i = 0; i < template->count; i++)
        count += !template->steps[i].optional;
    return count;
}

static void print_made(const struct submit *submit, const struct pending *pending)
{
    struct json_object *line = json_object_new_object();
    const struct tsk_template *template = pending->template;
    bool dry = submit->opts->dry_run;
    tsk_json_put_str(line, "message_type", "task_submitted");
    if (dry)
        tsk_json_put(line, "task_id", NULL);
    else
        tsk_json_put_int(line, "task_id", pending->made.task_id);
    tsk_json_put_str(line, "namespace", template->namespace_name);
    tsk_json_put_str(line, "name", template->name);
    tsk_json_put_str(line, "version", template->version);
    tsk_json_put_int(line, "steps", dry ? steps_at_first(template) : pending->made.steps);
    if (dry)
        tsk_json_put_bool(line, "dry_run", true);
    tsk_json_put_bool(line, "created", pending->made.created);
    if (pending->made.differs)
        tsk_json_put_bool(line, "differs", true);
    tsk_json_put_str(line, "correlation_id", pending->request.correlation_id);
    out_json(line);
    json_object_put(line);
}

static void name_unmade(const struct pending *pending)
{
    tell(pending->file, pending->line, "not submitted");
}

/* The key was of another request: whoever gave it twice takes the first task for this one. */
static void refuse_other(struct submit *submit, const struct pending *pending)
{
    char text[160];
    snprintf(text, sizeof text,
             "the idempotency_key is that of task %" PRId64
             ", which has another context: no task was made",
             pending->made.task_id);
    refuse(submit, pending->file, pending->line, text, TSK_DATA);
}

static void end_group(struct submit *submit)
{
    struct tsk_err err = TSK_ERR_INIT;
    int64_t patience = tsk_conf_int(submit->conf, TSK_STORE_TIMEOUT);
    bool ok = submit->opts->dry_run;
    if (submit->count && !ok && !submit->store_failed) {
        ok = tsk_store_write(submit->store, create_all, submit, patience, &err) == 0;
        if (!ok)
            submit->status = tsk_exit_worse(submit->status, diag_err(&err));
        submit->store_failed = !ok;
    }
    for (size_t i = 0; i < submit->count; i++) {
        struct pending *pending = &submit->group[i];
        if (!ok)
            name_unmade(pending);
        else
            print_made(submit, pending);
        if (ok && pending->made.differs)
            refuse_other(submit, pending);
        json_object_put(pending->request.json);
        free(pending->identity);
    }
    submit->count = 0;
}

/* ---- input */

static void take_line(struct submit *submit, const struct tsk_line *line)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct json_object *json = tsk_json_object(submit->parser, line->data, line->len, &err);
    if (json && !is_request(submit->opts, json))
        tsk_json_keep(json, line->data, line->len); /* as a context, which it becomes */
    if (!json)
        refuse(submit, line->file, line->number, err.text, err.kind);
    else
        take_request(submit, json, line->file, line->number);
    if (submit->count == GROUP_MOST)
        end_group(submit);
}

static void read_lines(struct submit *submit, char *const *files, size_t count)
{
    struct tsk_lines *lines = tsk_lines_new(
        files, count, (size_t)tsk_conf_int(submit->conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES));
    struct tsk_line line;
    enum tsk_line_state state = TSK_LINE_MORE;
    while (!out_failed() && (state = tsk_lines_next(lines, &line)) != TSK_LINE_END) {
        if (state == TSK_LINE_OK) {
            take_line(submit, &line);
        } else if (state == TSK_LINE_BAD) {
            refuse(submit, line.file, line.number, line.reason, line.kind);
        } else {
            if (!tsk_lines_regular(lines)) {
                end_group(submit);
                out_flush();
            }
            tsk_lines_fill(lines);
        }
    }
    end_group(submit);
    tsk_lines_free(lines);
}

/* Reads a file that is one JSON object, no longer than a message. */
static struct json_object *read_file(const struct submit *submit, const char *path,
                                     struct tsk_err *err)
{
    size_t most = (size_t)tsk_conf_int(submit->conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES), got;
    struct tsk_buf text = TSK_BUF_INIT;
    struct json_object *json = NULL;
    FILE *file = fopen(path, "re");
    while (file && text.len <= most &&
           (got = fread(tsk_buf_reserve(&text, 65536), 1, 65536, file)) > 0)
        text.len += got;
    if (!file || ferror(file))
        tsk_err_sys(err, TSK_IO, "cannot read it");
    else if (text.len > most)
        tsk_err_set(err, TSK_DATA, "longer than max_message_bytes (%zu)", most);
    else
        json = tsk_json_object(submit->parser, text.data ? text.data : "", text.len, err);
    tsk_json_keep(json, text.data, text.len);
    if (file)
        fclose(file);
    tsk_buf_fini(&text);
    return json;
}

/* The one context of --context: JSON itself, or the name of a file that holds it. */
static void read_context(struct submit *submit, const char *context)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct json_object *json = NULL;
    if (context[strspn(context, " \t\n")] == '{') {
        json = tsk_json_object(submit->parser, context, strlen(context), &err);
        tsk_json_keep(json, context, strlen(context));
    } else {
        json = read_file(submit, context, &err);
    }
    if (!json) {
        refuse(submit, context[strspn(context, " \t\n")] == '{' ? "--context" : context, 0,
               err.text, err.kind);
        return;
    }
    struct json_object *request = json_object_new_object();
    tsk_json_put(request, "context", json);
    take_request(submit, request, NULL, 0);
    end_group(submit);
}

enum tsk_exit requests_run(const struct options *opts, const struct tsk_conf *conf,
                           char *const *files, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct submit *submit = tsk_alloc(sizeof *submit);
    submit->opts = opts;
    submit->conf = conf;
    if (!opts->dry_run && !(submit->store = tsk_store_new(conf, -1, &err))) {
        free(submit);
        return diag_no_store(&err); /* this program is of no use without one */
    }
    templates_init(&submit->templates, opts, conf);
    submit->parser = tsk_json_new();
    if (opts->context)
        read_context(submit, opts->context);
    else
        read_lines(submit, files, count);
    enum tsk_exit status = submit->status;
    tsk_json_free(submit->parser);
    templates_fini(&submit->templates);
    tsk_store_free(submit->store);
    free(submit);
    return status;
}
