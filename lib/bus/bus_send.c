/* Sending on a bus. A result goes to libzmq as a blob, which is counted until all queues have let
 * go of it: so it is known how much memory slow readers cost. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_private.h"

/* It is of its own because libzmq's threads may use it until the context has ended. */
struct tsk_bus_backlog {
    atomic_llong bytes;
};

struct tsk_bus_backlog *tsk_bus_backlog_new(void)
{
    struct tsk_bus_backlog *backlog = tsk_alloc(sizeof *backlog);
    atomic_init(&backlog->bytes, 0);
    return backlog;
}

int64_t tsk_bus_backlog(const struct tsk_bus *bus)
{
    return atomic_load_explicit(&bus->backlog->bytes, memory_order_relaxed);
}

/* Gives msg to libzmq, or frees it. Returns 1, 0 (later) or -1. */
static int send_msg(struct tsk_bus *bus, zmq_msg_t *msg)
{
    int rc;
    bus->touched = true;
    while ((rc = zmq_msg_send(msg, bus->socket, ZMQ_DONTWAIT)) < 0 && zmq_errno() == EINTR)
        ;
    if (rc >= 0)
        return 1;
    int code = zmq_errno();
    zmq_msg_close(msg);
    errno = code;
    return code == EAGAIN ? 0 : -1;
}

/* Sends head and body as one frame. Returns 1, 0 (later) or -1. */
static int send_frame(struct tsk_bus *bus, const char *head, size_t head_len, const char *body,
                      size_t len)
{
    zmq_msg_t msg;
    if (zmq_msg_init_size(&msg, head_len + len) != 0)
        return -1;
    char *data = zmq_msg_data(&msg);
    memcpy(data, head, head_len);
    if (len)
        memcpy(data + head_len, body, len);
    return send_msg(bus, &msg);
}

void tsk_bus_say(struct tsk_bus *bus, const char *text)
{
    send_frame(bus, text, strlen(text), NULL, 0);
}

void tsk_bus_subscribe(struct tsk_bus *bus, const char *prefix)
{
    send_frame(bus, "\1", 1, prefix, strlen(prefix));
}

void tsk_bus_unsubscribe(struct tsk_bus *bus, const char *prefix)
{
    send_frame(bus, "\0", 1, prefix, strlen(prefix));
}

/* libzmq has no use for a blob any more; any thread. */
static void let_go(void *data, void *hint)
{
    struct tsk_blob *blob = tsk_blob_of(data);
    struct tsk_bus_backlog *backlog = hint;
    size_t len;
    tsk_blob_data(blob, &len);
    atomic_fetch_sub_explicit(&backlog->bytes, (long long)len, memory_order_relaxed);
    tsk_blob_release(blob);
}

static int sent(struct tsk_bus *bus, int rc, struct tsk_err *err)
{
    if (rc < 0)
        return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "send", NULL);
    bus->sent |= rc == 1;
    return rc;
}

int tsk_bus_send_blob(struct tsk_bus *bus, struct tsk_blob *blob, struct tsk_err *err)
{
    zmq_msg_t msg;
    size_t len;
    char *data = tsk_blob_data(blob, &len);
    tsk_blob_hold(blob);
    atomic_fetch_add_explicit(&bus->backlog->bytes, (long long)len, memory_order_relaxed);
    if (zmq_msg_init_data(&msg, data, len, let_go, bus->backlog) != 0) {
        let_go(data, bus->backlog);
        return sent(bus, -1, err);
    }
    return sent(bus, send_msg(bus, &msg), err);
}

int tsk_bus_send(struct tsk_bus *bus, const char *topic, const char *body, size_t len,
                 struct tsk_err *err)
{
    char head[TSK_TOPIC_SIZE + 1];
    size_t head_len = strlen(topic);
    if (head_len >= TSK_TOPIC_SIZE)
        return tsk_err_set(err, TSK_BUG, "the topic of a message is too long");
    if (bus->channel == TSK_RESULTS && bus->side == TSK_SENDER) {
        struct tsk_blob *blob = tsk_blob_new(topic, body, len);
        int rc = tsk_bus_send_blob(bus, blob, err);
        tsk_blob_release(blob);
        return rc;
    }
    memcpy(head, topic, head_len);
    head[head_len] = ' ';
    return sent(bus, send_frame(bus, head, head_len ? head_len + 1 : 0, body, len), err);
}
