/* The life of the sockets of a bus: what its monitor says, at a pace that a person can read.
 *
 * What fails is tried again up to fifty times a second, and so is the story of it. Each kind of
 * event at each endpoint therefore has a pace: some at once, then pauses of 1 s, 2 s, 4 s and so on
 * to a minute. A handshake that succeeds, or a minute without that event, begins anew.
 *
 * Where we connect there is a second use, so that a monitor is always there: libzmq never again
 * connects to what answered with a handshake that made no sense. But that may be a program which
 * had taken the port by mistake, and the true peer may have it a minute later. */
#include "tasker/bus.h"

#include <stdlib.h>

#include "bus/bus_private.h"
#include "tasker/clock.h"
#include "tasker/map.h"

enum {
    FIRST_PAUSE_MS = 1000,
    LONGEST_PAUSE_MS = 60000,
    FREE_PEERS = 100, /* events of those that come to us: a fleet may start at once */
    FREE_OWN = 3,
    PLACES_MOST = 1000,
    STRANGER_PAUSES = 10, /* of reconnect_max, before connecting to what is none of ours */
};

/* How often one kind of event is told. */
struct pace {
    int64_t seen, next; /* when the last one came, when the next one may be told */
    int64_t pause;      /* ms */
    int64_t hidden;
    int told;
};

struct place {
    struct pace paces[TSK_LIFE_KINDS];
    int64_t again; /* when to connect once more, since libzmq does not; 0: it does */
};

struct tsk_bus_life {
    struct tsk_bus_monitor *monitor;
    bool binds, told;       /* told: somebody wants to know, beyond what we need ourselves */
    int64_t pause;          /* before connecting again, ms */
    int64_t again;          /* the earliest of the places, or -1 */
    struct tsk_map *places; /* endpoint to struct place */
};

const char *tsk_life_name(enum tsk_life_kind kind)
{
    static const char *const names[] = {"listening",  "accepted",     "connected", "ready",
                                        "refused",    "disconnected", "retrying",  "failed",
                                        "looking_up", "slow_lookup",  "unreached", "reached"};
    return names[kind];
}

struct tsk_bus_life *tsk_bus_life_open(const struct tsk_bus *bus, const struct tsk_conf *conf,
                                       struct tsk_err *err)
{
    struct tsk_bus_life *life = tsk_alloc(sizeof *life);
    life->binds = bus->binds;
    life->told = tsk_conf_int(conf, TSK_LOG_LEVEL) >= TSK_LEVEL_INFO;
    life->pause = STRANGER_PAUSES * tsk_conf_int(conf, TSK_ZEROMQ_RECONNECT_MAX);
    life->again = -1;
    life->places = tsk_map_new(free);
    life->monitor = tsk_bus_monitor_open(bus, life->told, err);
    if (life->monitor)
        return life;
    tsk_bus_life_close(life, bus->socket);
    return NULL;
}

void tsk_bus_life_close(struct tsk_bus_life *life, void *socket)
{
    if (!life)
        return;
    tsk_bus_monitor_close(life->monitor, socket);
    tsk_map_free(life->places);
    free(life);
}

void tsk_bus_life_forget(struct tsk_bus_life *life, const char *place)
{
    tsk_map_remove(life->places, place);
}

static struct place *place_of(struct tsk_bus_life *life, const char *endpoint)
{
    struct place *place = tsk_map_get(life->places, endpoint);
    if (place)
        return place;
    if (tsk_map_count(life->places) >= PLACES_MOST)
        tsk_map_remove(life->places, tsk_map_key(tsk_map_first(life->places)));
    place = tsk_alloc(sizeof *place);
    tsk_map_put(life->places, endpoint, place);
    return place;
}

/* Takes note that libzmq will not connect there again. */
static void connect_again(struct tsk_bus_life *life, struct tsk_life *event)
{
    event->interval = life->pause;
    struct place *place = place_of(life, event->endpoint);
    place->again = tsk_now_ms() + life->pause;
    life->again = tsk_earlier(life->again, place->again);
}

/* Whether one more event may be told now. */
static bool may_tell(struct pace *pace, int at_once, int64_t now, int64_t *hidden)
{
    if (now - pace->seen > LONGEST_PAUSE_MS)
        *pace = (struct pace){0};
    pace->seen = now;
    if (now < pace->next) {
        pace->hidden++;
        return false;
    }
    if (++pace->told >= at_once) {
        pace->pause = pace->pause ? pace->pause * 2 : FIRST_PAUSE_MS;
        if (pace->pause > LONGEST_PAUSE_MS)
            pace->pause = LONGEST_PAUSE_MS;
        pace->next = now + pace->pause;
    }
    *hidden = pace->hidden;
    pace->hidden = 0;
    return true;
}

static int told_at_once(const struct tsk_bus_life *life, enum tsk_life_kind kind)
{
    if (kind == TSK_LIFE_RETRYING)
        return 1;
    return life->binds && kind != TSK_LIFE_REFUSED && kind != TSK_LIFE_FAILED ? FREE_PEERS
                                                                              : FREE_OWN;
}

/* A connection is there: what goes wrong with it later is new. But one that comes and goes again
 * and again keeps its pace. */
static void begin_anew(struct place *place)
{
    for (int kind = 0; kind < TSK_LIFE_KINDS; kind++) {
        if (kind != TSK_LIFE_READY)
            place->paces[kind] = (struct pace){0};
    }
}

static bool is_told(struct tsk_bus_life *life, struct tsk_life *event, int64_t now)
{
    struct place *place = place_of(life, event->endpoint);
    if (!may_tell(&place->paces[event->kind], told_at_once(life, event->kind), now, &event->hidden))
        return false;
    if (event->kind == TSK_LIFE_READY)
        begin_anew(place);
    return true;
}

int tsk_bus_life_fd(const struct tsk_bus *bus)
{
    return tsk_bus_monitor_fd(bus->life->monitor);
}

int64_t tsk_bus_life_deadline(const struct tsk_bus *bus)
{
    int64_t due = tsk_bus_alive_deadline(bus);
    due = tsk_earlier(due, bus->life->again);
    due = tsk_earlier(due, bus->awaits.next);
    return tsk_earlier(due, bus->gate.next);
}

static void connect_due(struct tsk_bus *bus, int64_t now)
{
    struct tsk_bus_life *life = bus->life;
    struct tsk_map_entry *entry = tsk_map_first(life->places);
    life->again = -1;
    for (; entry; entry = tsk_map_next(entry)) {
        struct place *place = tsk_map_value(entry);
        if (place->again && place->again <= now) {
            place->again = 0;
            if (!tsk_bus_gate_add(bus, tsk_map_key(entry)))
                tsk_bus_reach(bus, tsk_map_key(entry)); /* it was right the first time */
        }
        if (place->again)
            life->again = tsk_earlier(life->again, place->again);
    }
}

bool tsk_bus_life(struct tsk_bus *bus, struct tsk_life *out)
{
    struct tsk_bus_life *life = bus->life;
    bool final;
    tsk_bus_alive_turn(bus);
    while (tsk_bus_monitor_read(life->monitor, out, &final)) {
        tsk_bus_awaits_note(bus, out);
        if (final)
            connect_again(life, out);
        if (life->told && is_told(life, out, tsk_now_ms()))
            return true;
    }
    if (life->again >= 0 && life->again <= tsk_now_ms())
        connect_due(bus, tsk_now_ms());
    while (tsk_bus_gate_next(bus, out)) {
        tsk_bus_awaits_note(bus, out);
        if (out->kind == TSK_LIFE_SLOW || (life->told && is_told(life, out, tsk_now_ms())))
            return true;
    }
    return tsk_bus_awaits_next(bus, out);
}
