/* The gate before libzmq: the places whose host is a name, until that name is known.
 *
 * libzmq looks names up in the thread that carries all connections of a bus, so that one name which
 * its name server is slow to tell would hold up every one of them, and healthy peers would count as
 * lost. And a name may be a peer's text. So each name is looked up here first, apart, and only one
 * that is known comes to libzmq: still as a name, since it looks it up again each time it connects.
 *
 * A name is looked up once at a time, few are at the same time, and who waits longest comes
 * first: names that are never found must not keep others from their turn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_private.h"
#include "tasker/clock.h"
#include "tasker/map.h"

enum {
    AT_ONCE = 16,
    LOOK_LEAST_MS =
        10, /* how often it is seen whether one is over: a tenth of what it took so far */
    LOOK_MOST_MS = 200,
    SLOW_MS = 5000,
    PAUSE_LEAST_MS = 1000, /* after a failure */
    PAUSE_MOST_MS = 8000,
};

struct host {
    struct tsk_lookup *lookup; /* NULL: it waits */
    int64_t since;             /* when that began */
    int64_t due, pause;        /* when it may begin again, and how long it waited for that */
    bool slow;                 /* told */
    char **places;             /* that wait for it */
    size_t count, cap;
};

static void free_host(void *value)
{
    struct host *host = value;
    tsk_lookup_end(host->lookup);
    for (size_t i = 0; i < host->count; i++)
        free(host->places[i]);
    free(host->places);
    free(host);
}

struct tsk_bus_due tsk_bus_gate(void)
{
    return (struct tsk_bus_due){tsk_map_new(free_host), -1};
}

/* ---- places come and go */

bool tsk_bus_gate_add(struct tsk_bus *bus, const char *place)
{
    struct tsk_bus_due *gate = &bus->gate;
    char name[TSK_BUS_NAME_SIZE];
    if (!tsk_bus_host_name(place, name, sizeof name))
        return false;
    struct host *host = tsk_map_get(gate->all, name);
    if (!host) {
        host = tsk_alloc(sizeof *host);
        host->due = tsk_now_ms();
        tsk_map_put(gate->all, name, host);
    }
    host->places = tsk_grow(host->places, &host->cap, host->count + 1, sizeof *host->places);
    host->places[host->count++] = tsk_strdup(place);
    gate->next = tsk_earlier(gate->next, tsk_now_ms());
    return true;
}

/* A host that nobody waits for stays until its lookup is over, as one of those at the same time. */
bool tsk_bus_gate_remove(struct tsk_bus *bus, const char *place)
{
    struct tsk_bus_due *gate = &bus->gate;
    char name[TSK_BUS_NAME_SIZE];
    if (!tsk_bus_host_name(place, name, sizeof name))
        return false;
    struct host *host = tsk_map_get(gate->all, name);
    for (size_t i = 0; host && i < host->count; i++) {
        if (strcmp(host->places[i], place) != 0)
            continue;
        free(host->places[i]);
        host->places[i] = host->places[--host->count];
        if (!host->count && !host->lookup)
            tsk_map_remove(gate->all, name);
        return true;
    }
    return false;
}

/* ---- lookups begin and end */

static void tell(struct tsk_life *out, enum tsk_life_kind kind, const struct host *host)
{
    *out = (struct tsk_life){.kind = kind};
    snprintf(out->endpoint, sizeof out->endpoint, "%s", host->places[0]);
}

static void start(struct host *host, const char *name, int64_t now)
{
    /* as libzmq looks it up, or it might find nothing where we have */
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    host->lookup = tsk_lookup_start(name, NULL, &hints);
    host->since = now;
}

/* The next of those that may begin: the one that waits longest. NULL if there is none. */
static struct tsk_map_entry *find_due(const struct tsk_bus_due *gate, int64_t now)
{
    struct tsk_map_entry *best = NULL, *entry = tsk_map_first(gate->all);
    size_t going = 0;
    int64_t least = 0;
    for (; entry; entry = tsk_map_next(entry)) {
        struct host *host = tsk_map_value(entry);
        going += host->lookup != NULL;
        if (host->lookup || host->due > now || (best && host->due >= least))
            continue;
        best = entry;
        least = host->due;
    }
    return going < AT_ONCE ? best : NULL;
}

/* Gives the places of a host that is known to libzmq. Returns NULL, or why it did not take one. */
static const char *let_in(struct tsk_bus *bus, struct host *host)
{
    while (host->count) {
        char *place = host->places[host->count - 1];
        if (tsk_bus_reach(bus, place) != 0)
            return zmq_strerror(zmq_errno());
        free(place);
        host->count--;
    }
    return NULL;
}

/* A lookup is over. Returns true if it is to be told. */
static bool finish(struct tsk_bus *bus, struct host *host, int64_t now, struct tsk_life *out)
{
    bool known = tsk_lookup_why_not(host->lookup) == NULL;
    const char *why = known ? let_in(bus, host) : tsk_lookup_why_not(host->lookup);
    if (host->count) {
        host->pause = host->pause ? host->pause * 2 : PAUSE_LEAST_MS;
        host->pause = host->pause < PAUSE_MOST_MS ? host->pause : PAUSE_MOST_MS;
        host->due = now + host->pause;
        tell(out, TSK_LIFE_FAILED, host);
        snprintf(out->reason, sizeof out->reason, "%s%.140s",
                 known ? "cannot connect: " : "its host ", why);
        out->interval = host->pause;
    }
    tsk_lookup_end(host->lookup);
    host->lookup = NULL;
    return host->count != 0;
}

/* Sees what came of one lookup. Returns true if there is something to tell. */
static bool look_at(struct tsk_bus *bus, struct host *host, int64_t now, struct tsk_life *out)
{
    if (tsk_lookup_wait(host->lookup, now))
        return finish(bus, host, now, out);
    if (host->slow || !host->count || now - host->since < SLOW_MS)
        return false;
    host->slow = true;
    tell(out, TSK_LIFE_SLOW, host);
    snprintf(out->reason, sizeof out->reason, "no answer for %d s", SLOW_MS / 1000);
    return true;
}

/* When to look again. */
static int64_t next_look(const struct tsk_bus_due *gate, int64_t now)
{
    struct tsk_map_entry *entry = tsk_map_first(gate->all);
    int64_t next = -1;
    for (; entry; entry = tsk_map_next(entry)) {
        const struct host *host = tsk_map_value(entry);
        int64_t pause = (now - host->since) / 10;
        if (pause < LOOK_LEAST_MS)
            pause = LOOK_LEAST_MS;
        if (host->lookup)
            next = tsk_earlier(next, now + (pause < LOOK_MOST_MS ? pause : LOOK_MOST_MS));
        else if (host->due > now) /* else it waits for another to be over */
            next = tsk_earlier(next, host->due);
    }
    return next;
}

bool tsk_bus_gate_next(struct tsk_bus *bus, struct tsk_life *out)
{
    struct tsk_bus_due *gate = &bus->gate;
    int64_t now = tsk_now_ms();
    if (gate->next < 0 || now < gate->next)
        return false;
    struct tsk_map_entry *next, *entry = tsk_map_first(gate->all);
    for (; entry; entry = next) {
        struct host *host = tsk_map_value(entry);
        next = tsk_map_next(entry);
        if (host->lookup && look_at(bus, host, now, out))
            return true;
        if (!host->count && !host->lookup)
            tsk_map_remove(gate->all, tsk_map_key(entry));
    }
    entry = find_due(gate, now);
    if (entry) {
        start(tsk_map_value(entry), tsk_map_key(entry), now);
        tell(out, TSK_LIFE_LOOKUP, tsk_map_value(entry));
        return true;
    }
    gate->next = next_look(gate, now);
    return false;
}
