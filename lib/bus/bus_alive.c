/* Which peers are alive. libzmq's own heartbeats cannot tell a slow peer from a dead one: the
 * answer waits behind the messages that the peer has not read. So a sender ends no connection for
 * want of an answer. A receiver of ours says upstream, once a heartbeat, that it is alive; a sender
 * ends the connection of one that did so and then misses three. A plain peer says nothing, and is
 * left alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "bus/bus_private.h"
#include "tasker/clock.h"
#include "tasker/json.h"

enum { DOUBT_MS = 200, FDS_MOST = 1 << 16, INTERVAL_MOST = 3600000 };

struct link {
    ino_t inode;   /* of the connection that had this descriptor */
    int64_t heard; /* when it last said anything; 0: it never said that it is alive */
    int64_t most;  /* ms that it may be silent */
    int64_t doubt; /* since when it is over that; 0: it is not */
};

struct tsk_bus_alive {
    bool says; /* upstream, that it is alive; one that only looks does not */
    int64_t interval, due;
    struct link *links; /* by descriptor */
    size_t cap;
};

struct tsk_bus_alive *tsk_bus_alive_new(int64_t interval)
{
    struct tsk_bus_alive *alive = tsk_alloc(sizeof *alive);
    alive->interval = interval;
    return alive;
}

void tsk_bus_alive_say(struct tsk_bus *bus)
{
    bus->alive->says = bus->side == TSK_RECEIVER;
}

void tsk_bus_alive_free(struct tsk_bus_alive *alive)
{
    if (alive)
        free(alive->links);
    free(alive);
}

static ino_t inode_of(int fd)
{
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

void tsk_bus_alive_heard(struct tsk_bus *bus, int fd)
{
    struct tsk_bus_alive *alive = bus->alive;
    if (fd < 0 || (size_t)fd >= alive->cap || !alive->links[fd].heard)
        return;
    alive->links[fd].heard = tsk_now_ms();
    alive->links[fd].doubt = 0;
}

void tsk_bus_alive_take(struct tsk_bus *bus, int fd, int64_t interval)
{
    struct tsk_bus_alive *alive = bus->alive;
    if (fd < 0 || fd >= FDS_MOST || interval < 1 || interval > INTERVAL_MOST)
        return;
    alive->links = tsk_grow(alive->links, &alive->cap, (size_t)fd + 1, sizeof *alive->links);
    alive->links[fd] =
        (struct link){inode_of(fd), tsk_now_ms(), TSK_HEARTBEATS_MISSED * interval, 0};
    alive->due = alive->due ? alive->due : tsk_now_ms() + TSK_HEARTBEATS_MISSED * interval;
}

/* Ends the connections that are silent. What lies there unread is read first: they are seen twice.
 */
static void check(struct tsk_bus_alive *alive, int64_t now)
{
    alive->due = 0;
    for (size_t fd = 0; fd < alive->cap; fd++) {
        struct link *link = &alive->links[fd];
        int64_t due = link->doubt ? link->doubt + DOUBT_MS : link->heard + link->most;
        if (!link->heard)
            continue;
        if (now >= due && link->doubt) {
            if (link->inode && inode_of((int)fd) == link->inode)
                shutdown((int)fd, SHUT_RDWR);
            *link = (struct link){0};
            continue;
        }
        if (now >= due) {
            link->doubt = now;
            due = now + DOUBT_MS;
        }
        alive->due = alive->due && alive->due < due ? alive->due : due;
    }
}

void tsk_bus_alive_turn(struct tsk_bus *bus)
{
    struct tsk_bus_alive *alive = bus->alive;
    char text[64];
    int64_t now = tsk_now_ms();
    if (bus->side == TSK_SENDER) {
        if (alive->due && now >= alive->due)
            check(alive, now);
        return;
    }
    if (!alive->says || now < alive->due)
        return;
    snprintf(text, sizeof text, TSK_BUS_ALIVE " {\"heartbeat_ms\":%lld}",
             (long long)alive->interval);
    tsk_bus_say(bus, text);
    alive->due = now + alive->interval;
}

int64_t tsk_bus_alive_deadline(const struct tsk_bus *bus)
{
    return bus->alive->due || bus->alive->says ? bus->alive->due : -1;
}
