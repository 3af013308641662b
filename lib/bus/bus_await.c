/* Peers that somebody waits for: how long each endpoint has been without one, and why.
 *
 * libzmq tries again for ever and does not say why an attempt failed. So where nothing came of it
 * for some seconds, a probe looks from outside (bus.h), apart from this thread, and again each
 * minute. It is told at any level: who waits has to know for what. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_private.h"
#include "tasker/clock.h"
#include "tasker/map.h"
#include "tasker/bus.h"

enum {
    AGAIN_MS = 60000,
    PROBE_MS = 1000,
    LOOK_MS = 50,    /* how often it is seen whether a probe is over */
    RETRY_MS = 1000, /* after a probe that found all well: libzmq will connect too */
};

/* An endpoint. */
struct await {
    char who[sizeof((struct tsk_life *)0)->peer];
    int64_t patience, since, next; /* next: when it is to be told, or looked at */
    int ready;                     /* connections that made a handshake */
    bool awaited, by_caller;       /* somebody waits; and that caller knows when it is over */
    bool ever, told;
    struct tsk_probing *probing;
    char why[sizeof((struct tsk_life *)0)->reason]; /* what was seen last; or "" */
    bool refused;                                   /* it is that nobody listens there */
};

static void free_await(void *value)
{
    struct await *await = value;
    tsk_probe_end(await->probing);
    free(await);
}

struct tsk_bus_due tsk_bus_awaits(void)
{
    return (struct tsk_bus_due){tsk_map_new(free_await), -1};
}

/* ---- what is awaited */

void tsk_bus_awaits_add(struct tsk_bus *bus, const char *place)
{
    struct await *await = tsk_alloc(sizeof *await);
    await->since = tsk_now_ms();
    tsk_map_put(bus->awaits.all, place, await);
}

static struct await *find(const struct tsk_bus *bus, const char *endpoint)
{
    char place[TSK_LIFE_ENDPOINT_SIZE];
    tsk_bus_canonical(endpoint, place, sizeof place);
    return tsk_map_get(bus->awaits.all, place);
}

/* The endpoint of an event: where the host is a name, libzmq may have written its address. */
static struct await *find_event(const struct tsk_bus *bus, const char *endpoint)
{
    struct tsk_map_entry *entry = tsk_map_first(bus->awaits.all);
    struct await *await = bus->binds && entry ? tsk_map_value(entry) : find(bus, endpoint);
    char name[TSK_BUS_NAME_SIZE];
    int port = tsk_bus_port(endpoint);
    for (; !await && entry; entry = tsk_map_next(entry)) {
        const char *place = tsk_map_key(entry);
        if (port && tsk_bus_port(place) == port && tsk_bus_host_name(place, name, sizeof name))
            await = tsk_map_value(entry);
    }
    return await;
}

/* A new wait begins. */
static void begin(struct tsk_bus *bus, struct await *await, int64_t now)
{
    await->since = now;
    await->next = now + await->patience;
    await->why[0] = '\0';
    await->refused = false;
    bus->awaits.next = tsk_earlier(bus->awaits.next, await->next);
}

void tsk_bus_await(struct tsk_bus *bus, const char *endpoint, const char *who, int64_t patience)
{
    struct tsk_map_entry *entry = tsk_map_first(bus->awaits.all);
    for (; entry; entry = tsk_map_next(entry)) {
        struct await *await = tsk_map_value(entry);
        if (await->awaited || (endpoint && await != find(bus, endpoint)))
            continue;
        snprintf(await->who, sizeof await->who, "%s", who);
        await->awaited = true;
        await->by_caller = !endpoint && bus->side == TSK_SENDER && bus->channel == TSK_STEPS;
        await->patience = patience;
        begin(bus, await, await->by_caller ? tsk_now_ms() : await->since);
    }
}

void tsk_bus_await_end(struct tsk_bus *bus)
{
    struct tsk_map_entry *entry = tsk_map_first(bus->awaits.all);
    for (; entry; entry = tsk_map_next(entry)) {
        struct await *await = tsk_map_value(entry);
        await->awaited = await->by_caller = false;
        bus->awaits.next = await->told ? 0 : bus->awaits.next; /* that it is over is to be told */
    }
}

bool tsk_bus_connected(const struct tsk_bus *bus, size_t wanted)
{
    struct tsk_map_entry *entry = tsk_map_first(bus->awaits.all);
    size_t ready = 0;
    for (; entry; entry = tsk_map_next(entry))
        ready += ((struct await *)tsk_map_value(entry))->ready > 0;
    return ready >= (wanted < bus->count ? wanted : bus->count);
}

bool tsk_bus_reached(const struct tsk_bus *bus, const char *endpoint)
{
    const struct await *await = find(bus, endpoint);
    return await && await->ever;
}

const char *tsk_bus_why_not(const struct tsk_bus *bus, const char *endpoint)
{
    const struct await *await = find(bus, endpoint);
    return await && !await->ever && await->why[0] ? await->why : NULL;
}

/* ---- what happens */

void tsk_bus_awaits_note(struct tsk_bus *bus, const struct tsk_life *event)
{
    struct await *await = find_event(bus, event->endpoint);
    if (!await)
        return;
    if (event->kind == TSK_LIFE_READY) {
        await->ready++;
        await->ever = true;
        if (await->told)
            bus->awaits.next = 0;
    } else if (event->kind == TSK_LIFE_DISCONNECTED) {
        bool was_ready = await->ready > 0;
        await->ready = bus->binds && await->ready > 1 ? await->ready - 1 : 0;
        if (was_ready && !await->ready && !await->by_caller)
            begin(bus, await, tsk_now_ms());
    } else if ((event->kind == TSK_LIFE_REFUSED || event->kind == TSK_LIFE_FAILED) &&
               !await->ready) {
        snprintf(await->why, sizeof await->why, "%s", event->reason);
        await->refused = false;
    }
}

static void tell(const struct tsk_bus *bus, const struct await *await, const char *place,
                 enum tsk_life_kind kind, struct tsk_life *out)
{
    *out = (struct tsk_life){
        .kind = kind, .bound = bus->binds, .again = await->told, .ever = await->ever};
    snprintf(out->endpoint, sizeof out->endpoint, "%s", bus->binds ? bus->endpoint : place);
    snprintf(out->peer, sizeof out->peer, "%s", await->who);
    snprintf(out->reason, sizeof out->reason, "%s", await->why);
    out->interval = tsk_now_ms() - await->since;
}

/* Looks why it is not reached. Returns whether that is known now. A side that is bound here cannot
 * look: nobody has come. */
static bool look_why(struct tsk_bus *bus, struct await *await, const char *place, int64_t now)
{
    static const char nobody[] = "nobody has connected",
                      mute[] = "a peer is connected, and has not subscribed as one";
    if (bus->binds || await->ready) {
        await->refused = !await->ready && !await->why[0];
        if (await->ready || !await->why[0])
            snprintf(await->why, sizeof await->why, "%s", await->ready ? mute : nobody);
        return true;
    }
    if (!await->probing)
        await->probing =
            tsk_probe_start(place, bus->side == TSK_RECEIVER ? TSK_RECEIVER : TSK_SENDER, PROBE_MS);
    const struct tsk_probe *probe = tsk_probe_result(await->probing);
    await->next = now + LOOK_MS;
    if (!probe)
        return false;
    bool well = probe->state == TSK_PROBE_OK;
    if (!well)
        snprintf(await->why, sizeof await->why, "%.159s", probe->reason);
    await->refused = probe->state == TSK_PROBE_REFUSED;
    tsk_probe_end(await->probing);
    await->probing = NULL;
    await->next = now + (well ? RETRY_MS : AGAIN_MS);
    return !well;
}

/* Whether something is to be told of one endpoint now. That nobody listens any more where a peer
 * was before is no trouble: publishers and collectors come and go. */
static bool look_at(struct tsk_bus *bus, struct await *await, const char *place, int64_t now,
                    struct tsk_life *out)
{
    bool over = await->by_caller ? false : !await->awaited || await->ready > 0;
    if (over && await->told) {
        tell(bus, await, place, TSK_LIFE_REACHED, out);
        await->told = false;
        return true;
    }
    if (over || now < await->next || !look_why(bus, await, place, now))
        return false;
    await->next = now + AGAIN_MS;
    if (await->ever && await->refused)
        return false;
    tell(bus, await, place, TSK_LIFE_UNREACHED, out);
    await->told = true;
    return true;
}

bool tsk_bus_awaits_next(struct tsk_bus *bus, struct tsk_life *out)
{
    struct tsk_bus_due *awaits = &bus->awaits;
    int64_t now = tsk_now_ms();
    if (awaits->next < 0 || now < awaits->next)
        return false;
    struct tsk_map_entry *entry = tsk_map_first(awaits->all);
    int64_t next = -1;
    for (; entry; entry = tsk_map_next(entry)) {
        struct await *await = tsk_map_value(entry);
        if (look_at(bus, await, tsk_map_key(entry), now, out))
            return true;
        if (await->awaited && (await->by_caller || !await->ready))
            next = tsk_earlier(next, await->next);
    }
    awaits->next = next;
    return false;
}
