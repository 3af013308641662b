#include "collect/endpoints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect/collect.h"
#include "common/diag.h"
#include "tasker/bus.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/map.h"
#include "tasker/parse.h"

enum {
    ENDPOINTS_MOST = 1000,
    NAMES_MOST = 10000, /* of sources that are remembered, of each kind */
    AWAIT_MS = 3000,    /* until it is told that a worker is not reached */
    FAREWELL_MS = 3000  /* after the worker's last word: what is confirmed has reached it */
};

/* One that we connected to because of a receipt. */
struct endpoint {
    char source[TSK_ID_SIZE]; /* of the receipt; "": it did not say */
    int64_t due;              /* when to look whether it can be left */
    bool stopped;             /* source has said its last word */
};

struct endpoints {
    struct tsk_map *places;    /* struct endpoint by endpoint, as receipts write it */
    struct tsk_map *named;     /* a mark by source that a receipt named, the latest of them */
    struct tsk_map *strangers; /* a mark by source whose messages are not taken */
    int64_t grace, keep;
    int64_t next; /* the earliest due, or -1 */
};

static char mark;

struct endpoints *endpoints_new(int64_t grace, int64_t keep)
{
    struct endpoints *endpoints = tsk_alloc(sizeof *endpoints);
    endpoints->places = tsk_map_new(free);
    endpoints->named = tsk_map_new(NULL);
    endpoints->strangers = tsk_map_new(NULL);
    endpoints->grace = grace;
    endpoints->keep = keep;
    endpoints->next = -1;
    return endpoints;
}

void endpoints_free(struct endpoints *endpoints)
{
    if (!endpoints)
        return;
    tsk_map_free(endpoints->places);
    tsk_map_free(endpoints->named);
    tsk_map_free(endpoints->strangers);
    free(endpoints);
}

/* Remembers name as one of the latest. */
static void remember(struct tsk_map *names, const char *name)
{
    if (tsk_map_get(names, name))
        return;
    if (tsk_map_count(names) >= NAMES_MOST)
        tsk_map_remove(names, tsk_map_key(tsk_map_first(names)));
    tsk_map_put(names, name, &mark);
}

/* ---- by receipts */

/* Connects to a new one. Returns it, or NULL if it cannot be, or was connected to anyhow. */
static struct endpoint *connect_to(struct collect *c, const char *endpoint,
                                   const struct tsk_line *line)
{
    struct tsk_err err = TSK_ERR_INIT;
    const char *local = tsk_bus_any_host(endpoint);
    if (tsk_map_count(c->endpoints->places) >= ENDPOINTS_MOST) {
        diag_warn("%s:%lld: result_endpoint %s is not used: there are %d already", line->file,
                  (long long)line->number, endpoint, ENDPOINTS_MOST);
        return NULL;
    }
    int rc = tsk_parse_endpoint(endpoint, &err);
    if (rc == 0)
        rc = tsk_bus_connect(c->bus, endpoint, &err);
    if (rc < 0) {
        tsk_err_prefix(&err, "result_endpoint: ");
        input_bad(c, line, err.text, TSK_DATA);
    }
    if (rc < 1)
        return NULL;
    if (local)
        diag_warn("%s:%lld: result_endpoint %s names no host: trying tcp://%s%s", line->file,
                  (long long)line->number, endpoint, local, strrchr(endpoint, ':'));
    struct endpoint *place = tsk_alloc(sizeof *place);
    tsk_map_put(c->endpoints->places, endpoint, place);
    return place;
}

static void look_at(struct endpoints *endpoints, struct endpoint *place, int64_t due)
{
    place->due = due;
    endpoints->next = tsk_earlier(endpoints->next, due);
}

/* From now on it is told if the worker of a receipt is not reached. A worker tells its endpoint
 * where it binds: if this side binds too, or the worker tells none and this side connects, they
 * never meet (but at a proxy). */
static void await_worker(struct collect *c, const char *endpoint, struct json_object *receipt)
{
    const char *worker = tsk_json_str(receipt, "worker_id");
    int64_t reached = 0;
    if (tsk_json_int(receipt, "reached", &reached) == 1 && reached)
        return; /* an earlier collector has heard it: it can be lost */
    char who[TSK_ID_SIZE + 64];
    bool binds = tsk_bus_binds(c->bus);
    const char *clash = binds && endpoint ? " (it binds too: see zeromq.result_bind)" : "";
    if (!binds && !endpoint)
        clash = " (it connects too: see zeromq.result_bind)";
    snprintf(who, sizeof who, "%s%s", worker && tsk_name_valid(worker) ? worker : "a worker",
             clash);
    tsk_bus_await(c->bus, binds ? NULL : endpoint, who, AWAIT_MS);
}

bool endpoints_reached(void *ctx, const struct batch *batch)
{
    struct collect *c = ctx;
    const char *endpoint = batch->endpoint ? batch->endpoint : tsk_bus_endpoint(c->bus);
    return batch->reached || (!tsk_bus_binds(c->bus) && tsk_bus_reached(c->bus, endpoint));
}

void endpoints_receipt(struct collect *c, struct json_object *receipt, const struct tsk_line *line)
{
    struct endpoints *endpoints = c->endpoints;
    const char *endpoint = tsk_json_str(receipt, "result_endpoint");
    const char *source = tsk_json_str(receipt, "source");
    if (source && !tsk_name_valid(source))
        source = NULL;
    if (source && (!endpoint || tsk_bus_binds(c->bus)))
        await_worker(c, endpoint, receipt);
    if (!endpoint || tsk_bus_binds(c->bus))
        return;
    if (source) {
        remember(endpoints->named, source);
        if (tsk_map_take(endpoints->strangers, source)) /* what it sent so far is asked for */
            tsk_stream_refuse(c->stream, source, 1, c->now);
    }
    struct endpoint *place = tsk_map_get(endpoints->places, endpoint);
    if (!place)
        place = connect_to(c, endpoint, line);
    if (source)
        await_worker(c, endpoint, receipt);
    if (!place)
        return;
    snprintf(place->source, sizeof place->source, "%s", source ? source : "");
    place->stopped = false;
    look_at(endpoints, place, c->now + endpoints->keep);
}

/* ---- by what the workers say */

bool endpoints_is_stranger(const struct endpoints *endpoints, const char *source)
{
    return tsk_map_count(endpoints->strangers) && tsk_map_get(endpoints->strangers, source);
}

static void leave(struct collect *c, const char *endpoint)
{
    tsk_bus_disconnect(c->bus, endpoint);
    tsk_map_remove(c->endpoints->places, endpoint);
}

/* Until the other is known to be gone it may be a mistake of addresses, and nothing is left. */
static void meet_stranger(struct collect *c, const char *endpoint, const struct endpoint *place,
                          const char *source, const char *worker)
{
    int64_t heard = tsk_stream_heard(c->stream, place->source);
    remember(c->endpoints->strangers, source);
    if (heard >= 0 && c->now - heard < c->endpoints->grace)
        return;
    diag_warn("worker %s, which no receipt names, has taken %s: leaving it",
              worker && tsk_name_valid(worker) ? worker : source, endpoint);
    leave(c, endpoint);
}

void endpoints_status(struct collect *c, const char *source, struct json_object *message,
                      bool stopped)
{
    struct endpoints *endpoints = c->endpoints;
    const char *endpoint = tsk_json_str(message, "result_endpoint");
    struct endpoint *place = endpoint ? tsk_map_get(endpoints->places, endpoint) : NULL;
    if (!place || !place->source[0])
        return;
    if (strcmp(place->source, source) != 0) {
        if (!tsk_map_get(endpoints->named, source))
            meet_stranger(c, endpoint, place, source, tsk_json_str(message, "worker_id"));
    } else if (stopped && !place->stopped) {
        place->stopped = true;
        look_at(endpoints, place, c->now + FAREWELL_MS);
    }
}

/* ---- by time */

/* When nothing more is to be had from there, or to be told there: not before that. */
static int64_t over_at(const struct collect *c, const struct endpoint *place)
{
    int64_t heard = tsk_stream_heard(c->stream, place->source);
    bool owes =
        tsk_stream_owed(c->stream, place->source) || !tsk_stream_kept(c->stream, place->source);
    if (place->stopped)
        return owes || batches_wait_for(c->batches, place->source) ? c->now + FAREWELL_MS
                                                                   : place->due;
    if (batches_wait_for(c->batches, place->source))
        return c->now + c->endpoints->keep;
    return heard < 0 ? place->due : heard + c->endpoints->keep;
}

void endpoints_check(struct collect *c)
{
    struct endpoints *endpoints = c->endpoints;
    if (endpoints->next < 0 || endpoints->next > c->now)
        return;
    endpoints->next = -1;
    for (struct tsk_map_entry *e = tsk_map_first(endpoints->places), *next; e; e = next) {
        struct endpoint *place = tsk_map_value(e);
        next = tsk_map_next(e);
        int64_t due = place->due <= c->now ? over_at(c, place) : place->due;
        if (due > c->now) {
            look_at(endpoints, place, due);
            continue;
        }
        diag_info("leaving %s: nothing more can come from there", tsk_map_key(e));
        leave(c, tsk_map_key(e));
    }
}

int64_t endpoints_deadline(const struct endpoints *endpoints)
{
    return endpoints->next;
}
