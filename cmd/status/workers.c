/* tasker-status workers: many short conversations at the same time, each on a bus of its own, so
 * that a worker that hangs takes no time from the others. It ends as soon as everybody has answered
 * and it was quiet for a moment after that: behind one endpoint there may be several workers. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/life.h"
#include "common/out.h"
#include "common/table.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/conf.h"
#include "tasker/json.h"
#include "tasker/message.h"
#include "tasker/parse.h"

/* One endpoint to ask. */
struct place {
    char *endpoint;      /* owned */
    bool wanted;         /* it was named on the command line */
    bool there;          /* somebody is: it answered, or made a handshake */
    bool answered;       /* somebody there told their status */
    bool probed;         /* private */
    char reason[256];    /* not there, or cannot be asked: why */
    struct tsk_bus *bus; /* private */
};

/* A worker that was heard, or that a publisher knows of. */
struct seen {
    struct json_object *status; /* its worker_status; or what the publisher said; owned */
    char *endpoint;             /* where it was heard, or the publisher's; owned */
    bool heard;                 /* from itself */
    int64_t at;                 /* wall ms */
};

struct gather {
    struct place *places;
    size_t place_count, place_cap;
    struct seen *seen;
    size_t seen_count, seen_cap;
    size_t publishers; /* that answered */
    const struct tsk_conf *conf;
    struct tsk_json *parser;
    char topic[64]; /* "status.UUID" */
    int64_t deadline, quiet_at, probe_at;
    size_t opened;
};

enum { QUIET_MS = 150, PLACES_MOST = 256, SEEN_MOST = 10000 };

static void gather_init(struct gather *gather, const struct tsk_conf *conf)
{
    char uuid[TSK_UUID_SIZE];
    memset(gather, 0, sizeof *gather);
    gather->conf = conf;
    gather->parser = tsk_json_new();
    tsk_uuid(uuid);
    snprintf(gather->topic, sizeof gather->topic, TSK_TOPIC_STATUS "%s", uuid);
}

static void gather_fini(struct gather *gather)
{
    for (size_t i = 0; i < gather->place_count; i++) {
        tsk_bus_close(gather->places[i].bus);
        free(gather->places[i].endpoint);
    }
    for (size_t i = 0; i < gather->seen_count; i++) {
        json_object_put(gather->seen[i].status);
        free(gather->seen[i].endpoint);
    }
    free(gather->places);
    free(gather->seen);
    tsk_json_free(gather->parser);
}

static void gather_add(struct gather *gather, const char *endpoint, size_t len, bool wanted)
{
    for (size_t i = 0; i < gather->place_count; i++) {
        struct place *place = &gather->places[i];
        if (strlen(place->endpoint) == len && !memcmp(place->endpoint, endpoint, len)) {
            place->wanted |= wanted;
            return;
        }
    }
    if (gather->place_count >= PLACES_MOST) {
        diag_warn("%.*s is not asked: there are %d endpoints already", (int)len, endpoint,
                  PLACES_MOST);
        return;
    }
    struct tsk_buf copy = TSK_BUF_INIT;
    tsk_buf_add(&copy, endpoint, len);
    gather->places = tsk_grow(gather->places, &gather->place_cap, gather->place_count + 1,
                              sizeof *gather->places);
    gather->places[gather->place_count++] = (struct place){.endpoint = copy.data, .wanted = wanted};
}

/* Connects to place and asks whoever is there. */
static int place_open(struct gather *gather, struct place *place, struct tsk_err *err)
{
    char topic[sizeof gather->topic + 1];
    place->bus =
        tsk_bus_open_at(gather->conf, TSK_RESULTS, TSK_RECEIVER, false, place->endpoint, err);
    if (!place->bus)
        return -1;
    snprintf(topic, sizeof topic, "%s ", gather->topic);
    tsk_bus_subscribe(place->bus, topic);
    tsk_bus_subscribe(place->bus, tsk_type_name(TSK_TYPE_WORKER));
    return 0;
}

static void place_close(struct place *place)
{
    tsk_bus_close(place->bus);
    place->bus = NULL;
}

/* Nobody has answered at place: finds out whether to go on waiting. */
static int place_probe(struct gather *gather, struct place *place, struct tsk_err *err)
{
    struct tsk_probe probe;
    int64_t left = tsk_left_ms(gather->deadline) / 2;
    place->probed = true;
    if (tsk_probe_endpoint(place->endpoint, TSK_RECEIVER, left > 50 ? left : 50, &probe, err))
        return -1;
    place->there = probe.state == TSK_PROBE_OK;
    if (!place->there)
        snprintf(place->reason, sizeof place->reason, "%s", probe.reason);
    else if (probe.side != TSK_RECEIVER)
        snprintf(place->reason, sizeof place->reason,
                 "the peer there subscribes, as a collector that binds does: its workers cannot be "
                 "asked");
    if (place->reason[0])
        place_close(place);
    return 0;
}

/* ---- answers */

static bool same(struct json_object *a, struct json_object *b, const char *key)
{
    const char *x = tsk_json_str(a, key), *y = tsk_json_str(b, key);
    return x && y && strcmp(x, y) == 0;
}

/* Finds what is known of the worker that status is about. Two of one name are told apart by their
 * source, where both have one. */
static struct seen *find_seen(struct gather *gather, struct json_object *status)
{
    for (size_t i = 0; i < gather->seen_count; i++) {
        struct json_object *known = gather->seen[i].status;
        bool sources = tsk_json_str(known, "source") && tsk_json_str(status, "source");
        if (same(known, status, sources ? "source" : "worker_id"))
            return &gather->seen[i];
    }
    return NULL;
}

/* Takes status. What a worker says itself replaces what a publisher says. */
static void note_worker(struct gather *gather, const char *endpoint, struct json_object *status,
                        bool heard)
{
    struct seen *seen = find_seen(gather, status);
    if ((seen && !heard) || (!seen && gather->seen_count >= SEEN_MOST) ||
        !tsk_json_str(status, "worker_id")) {
        json_object_put(status);
        return;
    }
    if (!seen) {
        gather->seen =
            tsk_grow(gather->seen, &gather->seen_cap, gather->seen_count + 1, sizeof *gather->seen);
        seen = &gather->seen[gather->seen_count++];
        *seen = (struct seen){0};
    }
    json_object_put(seen->status);
    free(seen->endpoint);
    *seen = (struct seen){status, tsk_strdup(endpoint), heard, tsk_wall_ms()};
}

/* A publisher knows which workers are registered, and of those that accepted something where their
 * results are: these are asked themselves. */
static void note_publisher(struct gather *gather, const char *endpoint, struct json_object *status)
{
    struct json_object *workers = tsk_json_get(status, "workers");
    struct tsk_err err;
    size_t count =
        json_object_is_type(workers, json_type_array) ? json_object_array_length(workers) : 0;
    gather->publishers++;
    for (size_t i = 0; i < count; i++) {
        struct json_object *worker = json_object_array_get_idx(workers, i);
        const char *results = tsk_json_str(worker, "result_endpoint");
        if (!json_object_is_type(worker, json_type_object))
            continue;
        if (results && tsk_parse_endpoint(results, &err) == 0)
            gather_add(gather, results, strlen(results), false);
        note_worker(gather, endpoint, json_object_get(worker), false);
    }
}

static void take_frame(struct gather *gather, size_t place, const struct tsk_frame *frame)
{
    struct tsk_err err;
    const char *endpoint = gather->places[place].endpoint;
    struct json_object *status = tsk_json_object(gather->parser, frame->body, frame->len, &err);
    const char *type = tsk_json_str(status, "message_type");
    bool worker = type && !strcmp(type, tsk_type_name(TSK_TYPE_WORKER)),
         asked = !strcmp(frame->topic, gather->topic);
    bool publisher = asked && type && !strcmp(type, TSK_MESSAGE_PUBLISHER_STATUS);
    if (!status)
        diag_warn("%s: a status that cannot be read: %s", endpoint, err.text);
    if (worker || publisher) {
        gather->places[place].answered = gather->places[place].there = true;
        gather->quiet_at = tsk_now_ms() + QUIET_MS;
    }
    if (worker)
        note_worker(gather, endpoint, json_object_get(status), true);
    else if (publisher)
        note_publisher(gather, endpoint, status);
    json_object_put(status);
}

static void drain(struct gather *gather, size_t place)
{
    struct tsk_bus *bus = gather->places[place].bus;
    struct tsk_frame frame;
    struct tsk_err err;
    life_tell(bus); /* it may use up what the descriptor tells */
    for (int n = 0; bus && n < 1000 && tsk_bus_recv(bus, &frame, &err) > 0; n++)
        take_frame(gather, place, &frame);
}

static void drain_all(struct gather *gather)
{
    for (size_t i = 0; i < gather->place_count; i++)
        drain(gather, i);
}

/* ---- the whole */

/* Until when to wait: shorter than to the end if nobody owes an answer, or it is time to find out
 * who never will. */
static int64_t until(const struct gather *gather)
{
    int64_t at = gather->quiet_at;
    for (size_t i = 0; i < gather->place_count; i++) {
        const struct place *place = &gather->places[i];
        if (!place->bus || place->answered)
            continue;
        if (!place->probed)
            return tsk_earlier(gather->deadline, gather->probe_at);
        at = gather->deadline;
    }
    return tsk_earlier(gather->deadline, at);
}

static void wait_any(const struct gather *gather)
{
    struct pollfd fds[PLACES_MOST];
    nfds_t count = 0;
    int64_t at = until(gather);
    for (size_t i = 0; i < gather->place_count; i++) {
        const struct tsk_bus *bus = gather->places[i].bus;
        if (bus)
            fds[count++] = (struct pollfd){tsk_bus_fd(bus), POLLIN, 0};
        at = tsk_earlier(at, life_deadline(bus));
    }
    poll(fds, count, tsk_left_ms(at));
}

/* An endpoint that cannot even be tried: an error if it was asked for by name, or if no other could
 * be either. */
static int refuse(struct gather *gather, size_t i, struct tsk_err *err)
{
    struct place *place = &gather->places[i];
    place_close(place);
    if (place->wanted || err->kind == TSK_UNAVAILABLE)
        return tsk_err_prefix(err, "%s: ", place->endpoint);
    snprintf(place->reason, sizeof place->reason, "%.200s", err->text);
    return 0;
}

/* Opens what is new. */
static int open_new(struct gather *gather, struct tsk_err *err)
{
    for (; gather->opened < gather->place_count; gather->opened++) {
        gather->probe_at = tsk_now_ms() + QUIET_MS;
        if (place_open(gather, &gather->places[gather->opened], err) < 0 &&
            refuse(gather, gather->opened, err) < 0)
            return -1;
    }
    return 0;
}

/* Looks closer at those that owe an answer. What others send meanwhile waits in their sockets. */
static int probe_all(struct gather *gather, struct tsk_err *err)
{
    for (size_t i = 0; i < gather->place_count; i++) {
        struct place *place = &gather->places[i];
        if (!place->bus || place->answered || place->probed)
            continue;
        if (place_probe(gather, place, err) < 0 && refuse(gather, i, err) < 0)
            return -1;
    }
    return 0;
}

static int gather_run(struct gather *gather, int64_t timeout, struct tsk_err *err)
{
    gather->deadline = tsk_now_ms() + timeout;
    for (;;) {
        if (open_new(gather, err) < 0)
            return -1;
        drain_all(gather);
        if (gather->opened < gather->place_count)
            continue;
        if (tsk_left_ms(until(gather)) == 0) {
            bool over = tsk_left_ms(gather->deadline) == 0 || until(gather) == gather->quiet_at;
            if (probe_all(gather, err) < 0)
                return -1;
            if (over)
                break;
        }
        wait_any(gather);
    }
    drain_all(gather);
    return 0;
}

/* tasker-status workers: who is there, by their own words.
 *
 * Asked are the result endpoints and the publisher, if one listens: it knows which workers are
 * registered, and where those are that took a port of their own. A worker that only the publisher
 * knows is listed as registered, and counts as one that did not answer. */
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
