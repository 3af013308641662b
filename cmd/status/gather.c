/* Many short conversations at the same time, each on a bus of its own, so that a worker that hangs
 * takes no time from the others. It ends as soon as everybody has answered and it was quiet for a
 * moment after that: behind one endpoint there may be several workers. */
#include "status/gather.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/life.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/parse.h"
#include "tasker/bus.h"
#include "tasker/message.h"

enum { QUIET_MS = 150, PLACES_MOST = 256, SEEN_MOST = 10000 };

void gather_init(struct gather *gather, const struct tsk_conf *conf)
{
    char uuid[TSK_UUID_SIZE];
    memset(gather, 0, sizeof *gather);
    gather->conf = conf;
    gather->parser = tsk_json_new();
    tsk_uuid(uuid);
    snprintf(gather->topic, sizeof gather->topic, TSK_TOPIC_STATUS "%s", uuid);
}

void gather_fini(struct gather *gather)
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

void gather_add(struct gather *gather, const char *endpoint, size_t len, bool wanted)
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

int gather_run(struct gather *gather, int64_t timeout, struct tsk_err *err)
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
