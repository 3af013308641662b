/* The end of a collector: its last confirmations reach the workers before it is gone.
 *
 * What was written to a socket may still be lost with the connection. So each worker whose latest
 * confirmation is not known to have arrived is asked for its status, after that confirmation and
 * on the same connection: the answer shows that the worker has read both. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "collect/collect.h"
#include "tasker/clock.h"
#include "tasker/message.h"

enum { SOURCES_MOST = 1000, LOOK_MS = 20, AGAIN_MS = 200 };

struct told {
    int64_t confirmed; /* up to this offset, by what was sent last */
    bool open;         /* it is not known that this arrived */
};

void farewell_status(struct collect *c, const char *source, struct json_object *message,
                     bool stopped)
{
    struct told *told = tsk_map_get(c->told, source);
    int64_t unconfirmed, collectors, heartbeat;
    bool answers = tsk_json_int(message, "unconfirmed", &unconfirmed) == 1 &&
                   tsk_json_int(message, "heartbeat_ms", &heartbeat) == 1;
    if (stopped || !answers) {
        tsk_map_remove(c->told, source);
        return;
    }
    if (!told && tsk_map_count(c->told) < SOURCES_MOST) {
        told = tsk_alloc(sizeof *told);
        tsk_map_put(c->told, source, told);
    } else if (told && unconfirmed > told->confirmed) {
        told->open = false;
    }
    /* another collector may be behind: then the number does not show it, but the answer does */
    if (told && c->farewell[0] && tsk_json_int(message, "collectors", &collectors) == 1 &&
        collectors > 1)
        told->open = false;
}

void farewell_confirmed(struct collect *c, const char *source, int64_t offset)
{
    struct told *told = tsk_map_get(c->told, source);
    if (!told)
        return;
    told->confirmed = offset;
    told->open = true;
}

/* Whether any worker that still speaks may lack a confirmation; sends it again if again. */
static bool is_open(struct collect *c, bool again)
{
    int64_t now = tsk_now_ms();
    bool open = false;
    for (struct tsk_map_entry *e = tsk_map_first(c->told); e; e = tsk_map_next(e)) {
        struct told *told = tsk_map_value(e);
        int64_t heard = tsk_stream_heard(c->stream, tsk_map_key(e));
        if (!told->open || heard < 0 || now - heard > c->silent_most)
            continue;
        open = true;
        if (again)
            collect_confirm(c, &(struct tsk_stream_order){tsk_map_key(e), told->confirmed});
    }
    return open;
}

/* Asks all workers, under a new name each time. */
static void ask(struct collect *c)
{
    char prefix[sizeof c->farewell + 1], id[TSK_UUID_SIZE];
    tsk_uuid(id);
    snprintf(c->farewell, sizeof c->farewell, TSK_TOPIC_STATUS "%s", id);
    snprintf(prefix, sizeof prefix, "%s ", c->farewell);
    tsk_bus_subscribe(c->bus, prefix);
}

/* Reads answers; all else that comes is sent again to the next collector. */
static void read_answers(struct collect *c)
{
    struct tsk_frame frame;
    struct tsk_err err;
    while (tsk_bus_recv(c->bus, &frame, &err) > 0) {
        if (strcmp(frame.topic, c->farewell) != 0)
            continue;
        struct json_object *message = tsk_json_object(c->parser, frame.body, frame.len, &err);
        const char *source = tsk_json_str(message, "source");
        const char *state = tsk_json_str(message, "state");
        if (source)
            farewell_status(c, source, message, state && !strcmp(state, "stopped"));
        json_object_put(message);
    }
}

void farewell(struct collect *c)
{
    int64_t end = tsk_now_ms() + c->linger, again = 0;
    struct pollfd fd = {.fd = tsk_bus_fd(c->bus), .events = POLLIN};
    while (is_open(c, again && tsk_now_ms() >= again) && tsk_now_ms() < end) {
        if (tsk_now_ms() >= again) {
            ask(c);
            again = tsk_now_ms() + AGAIN_MS;
        }
        read_answers(c);
        if (is_open(c, false))
            poll(&fd, 1, LOOK_MS);
    }
}
