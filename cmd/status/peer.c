/* What subscriptions tell of who is there (tasker(7), PROTOCOL): "worker.ID " is a registered
 * worker, "collector.ID " a collector that confirms; "steps" beyond the workers' own is a plain
 * subscriber, as is any other topic but those of a tap. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status/peer.h"
#include "common/ask.h"
#include "common/life.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/message.h"

struct count {
    long n;
};

void topics_init(struct topics *topics)
{
    topics->map = tsk_map_new(free);
}

void topics_fini(struct topics *topics)
{
    tsk_map_free(topics->map);
    topics->map = NULL;
}

void topics_note(struct topics *topics, const struct tsk_frame *frame)
{
    if (frame->kind != TSK_FRAME_JOIN && frame->kind != TSK_FRAME_LEAVE)
        return;
    struct count *count = tsk_map_get(topics->map, frame->topic);
    if (!count) {
        count = tsk_alloc(sizeof *count);
        tsk_map_put(topics->map, frame->topic, count);
    }
    count->n += frame->kind == TSK_FRAME_JOIN ? 1 : -1;
    if (count->n <= 0)
        tsk_map_remove(topics->map, frame->topic);
}

size_t topics_count(const struct topics *topics)
{
    return tsk_map_count(topics->map);
}

static long count_of(const struct tsk_map_entry *entry)
{
    return ((struct count *)tsk_map_value(entry))->n;
}

/* Adds "LABEL: a, b" of all topics with that prefix. Returns how many there are. */
static long add_names(const struct topics *topics, const char *prefix, const char *label,
                      struct tsk_buf *text)
{
    long found = 0;
    size_t len = strlen(prefix);
    struct tsk_map_entry *entry = tsk_map_first(topics->map);
    for (; entry; entry = tsk_map_next(entry)) {
        const char *topic = tsk_map_key(entry);
        if (strncmp(topic, prefix, len))
            continue;
        tsk_buf_str(text, found ? ", " : text->len ? "; " : "");
        if (!found)
            tsk_buf_printf(text, "%s: ", label);
        tsk_buf_printf(text, "%.*s", (int)strcspn(topic + len, " "), topic + len);
        found += count_of(entry);
    }
    return found;
}

/* One byte: of tasker-collect --tap, which subscribes to each that there is. */
static bool is_tap(const char *topic)
{
    return topic[0] && !topic[1];
}

static void add_taps(const struct topics *topics, struct tsk_buf *text)
{
    long taps = 0;
    struct tsk_map_entry *entry = tsk_map_first(topics->map);
    for (; entry; entry = tsk_map_next(entry)) {
        if (is_tap(tsk_map_key(entry)) && count_of(entry) > taps)
            taps = count_of(entry);
    }
    if (taps)
        tsk_buf_printf(text, "%staps: %ld", text->len ? "; " : "", taps);
}

/* Adds the topics that belong to nobody by name; "steps" without those of the workers. */
static void add_plain(const struct topics *topics, long workers, struct tsk_buf *text)
{
    struct tsk_map_entry *entry = tsk_map_first(topics->map);
    bool first = true;
    for (; entry; entry = tsk_map_next(entry)) {
        const char *topic = tsk_map_key(entry);
        long n = count_of(entry) - (strcmp(topic, TSK_TOPIC_STEPS) == 0 ? workers : 0);
        if (n <= 0 || is_tap(topic) || tsk_topic_is(topic, TSK_TOPIC_WORKER) ||
            tsk_topic_is(topic, TSK_TOPIC_COLLECTOR))
            continue;
        tsk_buf_str(text, !first ? ", " : text->len ? "; " : "");
        tsk_buf_printf(text, "%s\"%s\"", first ? "topics: " : "", topic);
        if (n > 1)
            tsk_buf_printf(text, " (%ld times)", n);
        first = false;
    }
}

char *topics_text(const struct topics *topics)
{
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_str(&text, "");
    long workers = add_names(topics, TSK_TOPIC_WORKER, "workers", &text);
    add_names(topics, TSK_TOPIC_COLLECTOR, "collectors", &text);
    add_plain(topics, workers, &text);
    add_taps(topics, &text);
    return text.data;
}

struct json_object *topics_json(const struct topics *topics)
{
    struct json_object *list = json_object_new_array();
    struct tsk_map_entry *entry = tsk_map_first(topics->map);
    for (; entry; entry = tsk_map_next(entry)) {
        struct json_object *one = json_object_new_object();
        tsk_json_put(one, "topic", tsk_json_lossy(tsk_map_key(entry), strlen(tsk_map_key(entry))));
        tsk_json_put_int(one, "count", count_of(entry));
        json_object_array_add(list, one);
    }
    return list;
}

/* Short conversations on a bus of their own. A peer that subscribes says enough by that. Listening
 * ends at a signal as well, so that the socket file of an ipc endpoint is never left behind. */
#define QUIET_MS 150 /* after the last subscription heard */

void peer_init(struct peer *peer)
{
    memset(peer, 0, sizeof *peer);
    topics_init(&peer->topics);
}

void peer_fini(struct peer *peer)
{
    topics_fini(&peer->topics);
    json_object_put(peer->status);
}

/* Waits for something to read. Returns false if stop_fd (-1: none) can be read: time to end. */
static bool wait_bus(const struct tsk_bus *bus, int64_t deadline, int stop_fd)
{
    struct pollfd fds[2] = {{.fd = tsk_bus_fd(bus), .events = POLLIN},
                            {.fd = stop_fd, .events = POLLIN}};
    deadline = tsk_earlier(deadline, life_deadline(bus));
    return poll(fds, 2, tsk_left_ms(deadline)) <= 0 || !fds[1].revents;
}

static struct tsk_bus *open_bus(struct peer *peer, const struct tsk_conf *conf,
                                enum tsk_channel channel, bool bind, const char *endpoint)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_bus *bus = tsk_bus_open_at(conf, channel, TSK_SENDER, bind, endpoint, &err);
    if (!bus)
        snprintf(peer->note, sizeof peer->note, "%.200s", err.text);
    return bus;
}

void peer_ask(struct peer *peer, const struct tsk_conf *conf, enum tsk_channel channel,
              const char *endpoint, int64_t timeout)
{
    struct tsk_err err = TSK_ERR_INIT;
    peer->status = ask_status(conf, channel, endpoint, NULL, timeout, &err);
    if (peer->status)
        peer->kind =
            strcmp(tsk_json_str(peer->status, "message_type"), TSK_MESSAGE_PUBLISHER_STATUS)
                ? PEER_WORKER
                : PEER_PUBLISHER;
    else if (err.kind == TSK_TEMPFAIL || err.kind == TSK_DATA)
        peer->kind = PEER_PLAIN;
    if (!peer->status && err.kind != TSK_TEMPFAIL)
        snprintf(peer->note, sizeof peer->note, "%.200s", err.text);
}

/* Notes subscriptions until end; if quiet is not 0, until none came for so long after the first. */
static void note_topics(struct peer *peer, struct tsk_bus *bus, int64_t end, int64_t quiet,
                        int stop_fd)
{
    int64_t deadline = end;
    for (;;) {
        struct tsk_frame frame;
        struct tsk_err err = TSK_ERR_INIT;
        int rc = tsk_bus_recv(bus, &frame, &err);
        life_tell(bus);
        if (rc > 0) {
            life_topic(bus, &frame);
            topics_note(&peer->topics, &frame);
        }
        if (rc > 0 && quiet)
            deadline = tsk_earlier(end, tsk_now_ms() + quiet);
        if (rc <= 0 && (tsk_left_ms(deadline) == 0 || !wait_bus(bus, deadline, stop_fd)))
            break;
    }
}

void peer_hear(struct peer *peer, const struct tsk_conf *conf, enum tsk_channel channel,
               const char *endpoint, int64_t timeout)
{
    struct tsk_bus *bus = open_bus(peer, conf, channel, false, endpoint);
    if (!bus)
        return;
    peer->kind = PEER_SUBSCRIBER;
    note_topics(peer, bus, tsk_now_ms() + timeout, QUIET_MS, -1);
    life_close(bus, DIAG_INFO);
}

void peer_listen(struct peer *peer, const struct tsk_conf *conf, enum tsk_channel channel,
                 const char *endpoint, int64_t timeout, int stop_fd)
{
    struct tsk_bus *bus = open_bus(peer, conf, channel, true, endpoint);
    if (!bus)
        return;
    peer->kind = PEER_LISTENED;
    note_topics(peer, bus, tsk_now_ms() + timeout, 0, stop_fd);
    life_close(bus, DIAG_INFO);
}
