/* Events of sockets as lines. In JSON each has the fields event and endpoint, and those of peer,
 * reason, interval_ms, hidden and topic that it has a value for. */
#include "common/life.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/json.h"

static struct json_object *fields(const char *event, const char *endpoint)
{
    struct json_object *fields = json_object_new_object();
    tsk_json_put_str(fields, "event", event);
    tsk_json_put(fields, "endpoint", tsk_json_lossy(endpoint, strlen(endpoint)));
    return fields;
}

static struct json_object *fields_of(const struct tsk_life *life)
{
    struct json_object *all = fields(tsk_life_name(life->kind), life->endpoint);
    if (*life->peer)
        tsk_json_put_str(all, "peer", life->peer);
    if (*life->reason)
        tsk_json_put_str(all, "reason", life->reason);
    if (life->interval)
        tsk_json_put_int(all, "interval_ms", life->interval);
    if (life->hidden)
        tsk_json_put_int(all, "hidden", life->hidden);
    return all;
}

static void add_text(struct tsk_buf *text, const struct tsk_life *life)
{
    static const char *const words[] = {
        [TSK_LIFE_LISTENING] = "listening",
        [TSK_LIFE_ACCEPTED] = "accepted a connection",
        [TSK_LIFE_CONNECTED] = "connected",
        [TSK_LIFE_READY] = "handshake succeeded",
        [TSK_LIFE_REFUSED] = "handshake failed",
        [TSK_LIFE_DISCONNECTED] = "disconnected",
        [TSK_LIFE_RETRYING] = "not connected",
        [TSK_LIFE_FAILED] = "failed",
        [TSK_LIFE_LOOKUP] = "looking up its host",
        [TSK_LIFE_SLOW] = "its host is still being looked up",
        [TSK_LIFE_UNREACHED] = "not reached",
        [TSK_LIFE_REACHED] = "reached",
    };
    tsk_buf_printf(text, "%s: %s", life->endpoint, words[life->kind]);
    if (*life->peer)
        tsk_buf_printf(text, " %s %s", life->kind == TSK_LIFE_REFUSED ? "with" : "from",
                       life->peer);
    if (*life->reason)
        tsk_buf_printf(text, ": %s", life->reason);
    if (life->interval)
        tsk_buf_printf(text, ", retrying in %lld ms", (long long)life->interval);
    if (life->hidden)
        tsk_buf_printf(text, " (%lld more of these were not told)", (long long)life->hidden);
}

static void add_seconds(struct tsk_buf *text, const char *word, int64_t ms)
{
    tsk_buf_printf(text, " %s %lld s", word, (long long)(ms / 1000));
}

/* A peer that is awaited is not there. */
static void add_unreached(struct tsk_buf *text, const struct tsk_life *life)
{
    if (life->bound)
        tsk_buf_printf(text, "waiting for %s at %s (bound here)", life->peer, life->endpoint);
    else
        tsk_buf_printf(text, "%s %s at %s", life->ever ? "cannot reach" : "never reached",
                       life->peer, life->endpoint);
    if (life->again)
        add_seconds(text, "for", life->interval);
    tsk_buf_printf(text, ": %s", life->reason);
    if (!life->bound && tsk_bus_is_loopback(life->endpoint) &&
        strcmp(life->reason, "connection refused") == 0)
        tsk_buf_str(text, "; a loopback address: is this its machine?");
}

static void add_reached(struct tsk_buf *text, const struct tsk_life *life)
{
    tsk_buf_printf(text, "reached %s at %s", life->peer, life->endpoint);
    add_seconds(text, "after", life->interval);
}

void life_watch(const struct tsk_bus *bus, struct tsk_poller *poller, void *tag)
{
    int fd = bus ? tsk_bus_life_fd(bus) : -1;
    if (fd >= 0)
        tsk_poller_set(poller, fd, TSK_READ, tag);
}

void life_tell(struct tsk_bus *bus)
{
    struct tsk_life life;
    while (bus && tsk_bus_life(bus, &life)) {
        struct tsk_buf text = TSK_BUF_INIT;
        bool any_level = true;
        if (life.kind == TSK_LIFE_UNREACHED)
            add_unreached(&text, &life);
        else if (life.kind == TSK_LIFE_REACHED)
            add_reached(&text, &life);
        else
            any_level = life.kind == TSK_LIFE_SLOW, add_text(&text, &life);
        diag_fields(any_level ? DIAG_WARNING : DIAG_INFO, fields_of(&life), "%s", text.data);
        tsk_buf_fini(&text);
    }
}

int64_t life_deadline(const struct tsk_bus *bus)
{
    return bus ? tsk_bus_life_deadline(bus) : -1;
}

void life_topic(const struct tsk_bus *bus, const struct tsk_frame *frame)
{
    if (frame->kind == TSK_FRAME_MESSAGE)
        return;
    bool join = frame->kind == TSK_FRAME_JOIN;
    bool tap = frame->topic[0] && !frame->topic[1]; /* it subscribes to each first byte there is */
    struct json_object *all = fields(join ? "subscribed" : "unsubscribed", tsk_bus_endpoint(bus));
    tsk_json_put(all, "topic", tsk_json_lossy(frame->topic, strlen(frame->topic)));
    diag_fields(tap ? DIAG_DEBUG : DIAG_INFO, all, "%s: %s \"%s\"", tsk_bus_endpoint(bus),
                join ? "a peer subscribed to" : "a peer ended its subscription to", frame->topic);
}

void life_close(struct tsk_bus *bus, enum diag_level level)
{
    if (!bus)
        return;
    life_tell(bus);
    char *endpoint = tsk_strdup(tsk_bus_endpoint(bus));
    if (tsk_bus_close(bus))
        diag_fields(DIAG_INFO, fields("closed", endpoint), "%s: closed", endpoint);
    else
        diag_fields(level, fields("closed", endpoint),
                    "%s: closed before all had left: a peer is away or slow", endpoint);
    free(endpoint);
}
