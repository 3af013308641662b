/* Short conversations on a bus of their own. A peer that subscribes says enough by that. Listening
 * ends at a signal as well, so that the socket file of an ipc endpoint is never left behind. */
#include "status/peer.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/ask.h"
#include "common/life.h"
#include "tasker/clock.h"
#include "tasker/message.h"

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
