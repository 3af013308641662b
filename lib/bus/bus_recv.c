/* Receiving from a bus. A message is copied once, into a buffer that the bus keeps, because what
 * follows a message in libzmq's memory is not ours and the readers of JSON want a NUL there. */
#include <stdlib.h>
#include <string.h>

#include "bus/bus_private.h"

enum {
    KEEP_BYTES = 1 << 20, /* a buffer that grew beyond this for one message is given back */
    GLIMPSE_BYTES = 4096, /* what is given of a message that is too long: of its beginning */
};

/* Receives one frame into bus->part. Returns 1, 0 or -1. */
static int recv_part(struct tsk_bus *bus, struct tsk_err *err)
{
    while (zmq_msg_recv(&bus->part, bus->socket, ZMQ_DONTWAIT) < 0) {
        int code = zmq_errno();
        if (code == EAGAIN)
            return 0;
        if (code != EINTR)
            return tsk_bus_zmq_err(err, TSK_UNAVAILABLE, "receive", NULL);
    }
    return 1;
}

/* Copies a topic. Returns false if it is none that we could have: too long, or with a NUL. */
static bool copy_topic(struct tsk_frame *frame, const char *data, size_t len)
{
    bool fits = len < TSK_TOPIC_SIZE && !memchr(data, '\0', len);
    if (fits)
        memcpy(frame->topic, data, len);
    frame->topic[fits ? len : 0] = '\0';
    return fits;
}

/* Where the topic of a message ends that came in so many parts, the first of first_len bytes.
 * Returns its length, or 0 if it has none. */
static size_t topic_length(const char *text, size_t len, size_t first_len, int parts)
{
    if (parts > 2 || !len || text[0] == '{' || text[0] == '[')
        return 0;
    if (parts == 2)
        return first_len;
    const char *space = memchr(text, ' ', len);
    return space ? (size_t)(space - text) : 0;
}

/* Gathers all parts of a message, the first of which is in bus->part, with a space between them; of
 * one that is too long so much that this is seen, and the last part. Returns their number and the
 * length of the first (without a space at its end: "steps " is the same topic as "steps") or -1. */
static int gather(struct tsk_bus *bus, size_t *first_len, struct tsk_err *err)
{
    struct tsk_buf *text = &bus->text;
    for (int parts = 1;; parts++) {
        tsk_buf_add(text, zmq_msg_data(&bus->part), zmq_msg_size(&bus->part));
        bool spaced = text->len && text->data[text->len - 1] == ' ';
        if (parts == 1)
            *first_len = text->len - spaced;
        if (!zmq_msg_more(&bus->part))
            return parts;
        if (parts > 1 || !spaced)
            tsk_buf_char(text, ' ');
        do {
            if (recv_part(bus, err) <= 0) /* libzmq gives all parts at once */
                return tsk_err_set(err, TSK_UNAVAILABLE, "a message ended before its last part");
        } while (text->len > bus->longest && zmq_msg_more(&bus->part));
    }
}

/* Leaves to raw and body the beginning of the text, of which the first skip bytes are the topic. */
static void shorten(struct tsk_bus *bus, struct tsk_frame *frame, size_t skip)
{
    size_t most = GLIMPSE_BYTES < bus->longest ? GLIMPSE_BYTES : bus->longest;
    if (most < skip)
        most = skip;
    frame->whole = frame->raw_len;
    tsk_buf_reset(&bus->head);
    tsk_buf_add(&bus->head, frame->raw, most);
    frame->raw = bus->head.data;
    frame->raw_len = most;
    frame->body = frame->raw + skip;
    frame->len = most - skip;
}

static int read_message(struct tsk_bus *bus, struct tsk_frame *frame, struct tsk_err *err)
{
    struct tsk_buf *text = &bus->text;
    size_t first_len;
    int parts = gather(bus, &first_len, err);
    if (parts < 0)
        return -1;
    size_t topic = topic_length(text->data, text->len, first_len, parts);
    size_t skip = copy_topic(frame, text->data, topic) && topic ? topic + 1 : 0;
    frame->kind = TSK_FRAME_MESSAGE;
    frame->raw = text->data;
    frame->raw_len = text->len;
    frame->body = frame->all = text->data + skip;
    frame->len = frame->all_len = text->len - skip;
    frame->whole = 0;
    if (text->len > bus->longest)
        shorten(bus, frame, skip);
    return 1;
}

/* Reads a subscription or its end from bus->part. Returns false if it is neither, or to a topic
 * that nobody sends. */
static bool read_subscription(struct tsk_bus *bus, struct tsk_frame *frame)
{
    const char *data = zmq_msg_data(&bus->part);
    *frame = (struct tsk_frame){.kind = data[0] ? TSK_FRAME_JOIN : TSK_FRAME_LEAVE, .body = ""};
    frame->raw = frame->body;
    return copy_topic(frame, data + 1, zmq_msg_size(&bus->part) - 1);
}

/* Whether bus->part is a subscription rather than a message sent upstream. */
static bool is_subscription(struct tsk_bus *bus)
{
    const unsigned char *data = zmq_msg_data(&bus->part);
    return bus->side == TSK_SENDER && zmq_msg_size(&bus->part) && data[0] <= 1 &&
           !zmq_msg_more(&bus->part);
}

/* Takes note of who is alive by bus->part. Returns whether it says nothing else. */
static bool read_alive(struct tsk_bus *bus)
{
    static const char topic[] = TSK_BUS_ALIVE " {";
    const char *data = zmq_msg_data(&bus->part);
    size_t len = zmq_msg_size(&bus->part);
    char body[64];
    int64_t interval;
    if (bus->side != TSK_SENDER)
        return false;
    int fd = zmq_msg_get(&bus->part, ZMQ_SRCFD);
    tsk_bus_alive_heard(bus, fd);
    if (zmq_msg_more(&bus->part) || len < sizeof topic || len >= sizeof body ||
        memcmp(data, topic, sizeof topic - 1) != 0)
        return false;
    memcpy(body, data, len);
    body[len] = '\0';
    const char *number = strrchr(body, ':');
    interval = number ? strtoll(number + 1, NULL, 10) : 0;
    tsk_bus_alive_take(bus, fd, interval);
    return true;
}

int tsk_bus_recv(struct tsk_bus *bus, struct tsk_frame *frame, struct tsk_err *err)
{
    if (bus->text.cap > KEEP_BYTES)
        tsk_buf_fini(&bus->text);
    tsk_buf_reset(&bus->text);
    bus->touched = true;
    int rc;
    while ((rc = recv_part(bus, err)) == 1) {
        if (read_alive(bus))
            continue;
        if (!is_subscription(bus))
            return read_message(bus, frame, err);
        if (read_subscription(bus, frame))
            return 1;
    }
    bus->touched = rc != 0;
    return rc;
}
