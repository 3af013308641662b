/* tasker-status workers: who is there, by their own words.
 *
 * Asked are the result endpoints and the publisher, if one listens: it knows which workers are
 * registered, and where those are that took a port of their own. A worker that only the publisher
 * knows is listed as registered, and counts as one that did not answer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/table.h"
#include "status/gather.h"
#include "status/status.h"
#include "tasker/clock.h"
#include "tasker/parse.h"

#define TIMEOUT_MS 1000
#define CIRCUITS_SHOWN 3 /* in the table; JSON has all that the worker tells */

/* ---- printing */

/* Results in the outbox; -1: not told. */
static int64_t outbox_of(struct json_object *status)
{
    int64_t offset, unconfirmed;
    if (tsk_json_int(status, "offset", &offset) != 1 ||
        tsk_json_int(status, "unconfirmed", &unconfirmed) != 1 || offset < 0 || unconfirmed < 1 ||
        unconfirmed > offset)
        return tsk_json_get(status, "unconfirmed") ? 0 : -1;
    return offset - unconfirmed + 1;
}

static const char *state_of(const struct seen *seen)
{
    const char *state = tsk_json_str(seen->status, "state");
    return seen->heard ? state : "registered";
}

static void add_number(struct table *table, struct json_object *status, const char *key)
{
    char text[32] = "";
    int64_t n;
    if (tsk_json_int(status, key, &n) == 1)
        snprintf(text, sizeof text, "%" PRId64, n);
    table_add(table, text);
}

/* The handlers that rest: their classes, the first few. NULL: none, or not told. */
static void add_circuits(struct table *table, struct json_object *status)
{
    struct json_object *list = tsk_json_get(status, "open_circuits");
    size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    struct tsk_buf text = TSK_BUF_INIT;
    for (size_t i = 0; i < count && i < CIRCUITS_SHOWN; i++) {
        const char *name = tsk_json_str(json_object_array_get_idx(list, i), "handler_class");
        tsk_buf_printf(&text, "%s%s", i ? "," : "", name ? name : "?");
    }
    if (count > CIRCUITS_SHOWN)
        tsk_buf_printf(&text, ",+%zu", count - CIRCUITS_SHOWN);
    table_add(table, text.data);
    tsk_buf_fini(&text);
}

static void add_row(struct table *table, const struct seen *seen)
{
    struct json_object *status = seen->status;
    int64_t outbox = outbox_of(status);
    char text[32] = "";
    table_add(table, tsk_json_str(status, "worker_id"));
    table_add(table, tsk_json_str(status, "host"));
    add_number(table, status, "pid");
    table_add(table, state_of(seen));
    add_number(table, status, "running");
    add_number(table, status, "queued");
    add_number(table, status, "free_slots");
    if (outbox >= 0)
        snprintf(text, sizeof text, "%" PRId64, outbox);
    table_add(table, text);
    add_number(table, status, "lost");
    add_number(table, status, "collectors");
    add_circuits(table, status);
    snprintf(text, sizeof text, "%.1f s", (double)(tsk_wall_ms() - seen->at) / 1000);
    table_add(table, seen->heard ? text : NULL);
    table_add(table, seen->endpoint);
}

static void show_text(const struct gather *gather)
{
    static const char *const heads[] = {"WORKER",   "HOST", "PID",     "STATE", "RUNNING",
                                        "QUEUED",   "FREE", "OUTBOX",  "LOST",  "COLLECTORS",
                                        "CIRCUITS", "SEEN", "ENDPOINT"};
    struct table table = {.columns = sizeof heads / sizeof *heads, .right = 0xbf4};
    if (!gather->seen_count)
        return;
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, heads[i]);
    for (size_t i = 0; i < gather->seen_count; i++)
        add_row(&table, &gather->seen[i]);
    table_end(&table);
}

/* The worker's own message, with what was found out beside it. */
static void show_json(const struct seen *seen)
{
    struct json_object *status = seen->status;
    int64_t outbox = outbox_of(status);
    tsk_json_put_str(status, "message_type", "worker_status");
    tsk_json_put_str(status, "state", state_of(seen));
    tsk_json_put_str(status, "known_by", seen->heard ? "worker" : "publisher");
    tsk_json_put_str(status, "endpoint", seen->endpoint);
    tsk_json_put(status, "outbox", outbox < 0 ? NULL : json_object_new_int64(outbox));
    if (seen->heard)
        tsk_json_put_time(status, "seen_at", seen->at);
    else
        tsk_json_put(status, "seen_at", NULL);
    out_json(status);
}

/* By name, so that a look again shows what changed. */
static int by_name(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    int order = strcmp(tsk_json_str(x->status, "worker_id"), tsk_json_str(y->status, "worker_id"));
    return order ? order : strcmp(x->endpoint, y->endpoint);
}

static void show(const struct gather *gather, const struct options *opts)
{
    if (gather->seen_count)
        qsort(gather->seen, gather->seen_count, sizeof *gather->seen, by_name);
    if (opts->format != FORMAT_JSON)
        show_text(gather);
    for (size_t i = 0; i < gather->seen_count && opts->format == FORMAT_JSON; i++)
        show_json(&gather->seen[i]);
}

/* ---- whom to ask, and the verdict */

static bool any_port(const char *endpoint, size_t len)
{
    return len > 8 && !memcmp(endpoint, "tcp://", 6) && !memcmp(endpoint + len - 2, ":*", 2);
}

static void add_list(struct gather *gather, const char *list)
{
    while (*(list += strspn(list, ", "))) {
        size_t len = strcspn(list, ", ");
        if (any_port(list, len))
            diag_info("%.*s: its port is chosen when it is bound, so it cannot be asked; a "
                      "publisher or a receipt tells it",
                      (int)len, list);
        else
            gather_add(gather, list, len, false);
        list += len;
    }
}

static enum tsk_exit add_all(struct gather *gather, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    struct tsk_err err;
    enum tsk_exit status = TSK_OK;
    for (size_t i = 0; i < count; i++) {
        if (tsk_parse_endpoint(operands[i], &err)) {
            status = diag_err(&err);
        } else if (any_port(operands[i], strlen(operands[i]))) {
            diag_error("%s: its port is chosen when it is bound, so it cannot be asked",
                       operands[i]);
            status = TSK_USAGE;
        } else {
            gather_add(gather, operands[i], strlen(operands[i]), true);
        }
    }
    if (!count) {
        add_list(gather, tsk_conf_str(conf, TSK_ZEROMQ_RESULT_ENDPOINT));
        add_list(gather, tsk_conf_str(conf, TSK_ZEROMQ_BATCH_ENDPOINT));
    }
    return status;
}

/* What is to be said of the endpoints, and the status to end with. */
static enum tsk_exit verdict(const struct gather *gather)
{
    enum tsk_exit status = TSK_OK;
    size_t heard = 0;
    for (size_t i = 0; i < gather->place_count; i++) {
        const struct place *place = &gather->places[i];
        if (place->wanted && !place->there) {
            diag_error("%s: nobody answers: %s", place->endpoint, place->reason);
            status = TSK_UNAVAILABLE;
        } else if (place->reason[0]) {
            diag_info("%s: %s", place->endpoint, place->reason);
        } else if (!place->answered) {
            diag_warn("%s: somebody listens, and tells no status", place->endpoint);
        }
    }
    for (size_t i = 0; i < gather->seen_count; i++)
        heard += gather->seen[i].heard;
    if (heard)
        return status;
    diag_error("no worker answered");
    return tsk_exit_worse(status, TSK_NO);
}

enum tsk_exit status_workers(const struct options *opts, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    struct gather gather;
    struct tsk_err err = TSK_ERR_INIT;
    if (!tsk_conf_int(conf, TSK_ZEROMQ_ENABLED)) {
        diag_error("zeromq.enabled is false (%s): no socket may be used",
                   tsk_conf_origin(conf, TSK_ZEROMQ_ENABLED));
        return TSK_CONFIG;
    }
    gather_init(&gather, conf);
    enum tsk_exit status = add_all(&gather, conf, operands, count);
    if (status == TSK_OK) {
        int rc = gather_run(&gather, opts->timeout < 0 ? TIMEOUT_MS : opts->timeout, &err);
        show(&gather, opts);
        status = rc < 0 ? diag_err(&err) : verdict(&gather);
    }
    gather_fini(&gather);
    return status;
}
