/* The options of a socket, all set before the first bind or connect, since libzmq hands them to a
 * connection when it is made. ZMTP heartbeats find a peer that vanished without a word (a cable, a
 * stopped machine), which TCP alone would tell only much later. */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <zmq.h>

#include "bus/bus_private.h"
#include "tasker/clock.h"
#include "tasker/json.h"

enum {
    TTL_MAX_MS = 6553599, /* the wire has 16 bits of tenths of a second */
    RECEIVER_LINGER_MS = 200,
    BACKLOG = 1024,       /* hundreds of workers may connect at the same moment */
    HUGE_BYTES = 1 << 30, /* a peer that we went to may send so much at a time; see set_longest */
    HUGE_FACTOR = 4,      /* of the limit: what a peer that came to us may send */
    ANSWER_BYTES = 65536, /* and what it may send upstream: subscriptions, answers */
    ADDRESSES = 1,        /* the threads that connections are given to, as bits */
    NAMES = 2,
    ENDPOINT_PAUSE_MS = 4, /* so much each endpoint adds to the pause, or many would cost much */
    PAUSE_MOST_MS = 1000,
};

int tsk_bus_zmq_err(struct tsk_err *err, enum tsk_exit kind, const char *what, const char *on)
{
    int code = zmq_errno();
    tsk_err_set(err, kind, "cannot %s%s%s: %s", what, on ? " " : "", on ? on : "",
                zmq_strerror(code));
    if (err)
        err->code = code;
    return -1;
}

static int set_int(void *socket, int option, int64_t value)
{
    int number = value > INT_MAX ? INT_MAX : (int)value;
    return zmq_setsockopt(socket, option, &number, sizeof number);
}

/* Only receivers send heartbeats. A slow peer answers late: the answer waits behind the messages
 * that it has not read (see below). And an answer that comes after a sender has closed resets
 * the connection, with all that the peer has not read yet. */
static int set_heartbeat(void *socket, int64_t interval)
{
    int64_t gone = TSK_HEARTBEATS_MISSED * interval;
    int rc = set_int(socket, ZMQ_HEARTBEAT_IVL, interval);
    rc |= set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, gone);
    rc |= set_int(socket, ZMQ_HEARTBEAT_TTL, gone > TTL_MAX_MS ? TTL_MAX_MS : gone);
    return rc;
}

/* libzmq ends a connection over which too much came, and if it was made from here it never makes it
 * again. So the limit proper is kept by tsk_bus_recv, which tells of it, and this one only guards
 * the memory: closely against whoever comes, widely where one message would cut us off for good.
 * Most closely upstream: libzmq takes about 100 bytes for each one of a topic subscribed to. */
static int set_longest(void *socket, int64_t limit, enum tsk_side side, bool binds)
{
    int64_t longest =
        side == TSK_SENDER ? ANSWER_BYTES : limit * HUGE_FACTOR + (int64_t)TSK_TOPIC_SIZE;
    if (!binds && longest < HUGE_BYTES)
        longest = HUGE_BYTES;
    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &longest, sizeof longest);
}

/* An XPUB tells of every subscription and of its end, also of one that another peer has as well.
 * Only batches wait for a slow reader; a result is dropped for it and replayed. */
static int set_sender(void *socket, enum tsk_channel channel)
{
    int rc = set_int(socket, ZMQ_XPUB_VERBOSER, 1);
    /* where it connects, only this makes the loss of the connection the end of subscriptions */
    rc |= set_int(socket, ZMQ_IMMEDIATE, 1);
    if (channel == TSK_STEPS)
        rc |= set_int(socket, ZMQ_XPUB_NODROP, 1);
    return rc;
}

/* A receiver says little, and where it lingers its peer is gone as a rule: an endpoint that nobody
 * listens at would hold each end up for the whole time. */
static int set_linger(void *socket, int64_t linger, enum tsk_side side)
{
    bool brief = side == TSK_RECEIVER && linger > RECEIVER_LINGER_MS;
    return set_int(socket, ZMQ_LINGER, brief ? RECEIVER_LINGER_MS : linger);
}

int tsk_bus_options(void *socket, const struct tsk_conf *conf, enum tsk_channel channel,
                    enum tsk_side side, bool binds, struct tsk_err *err)
{
    int rc = set_longest(socket, tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES), side, binds);
    rc |= set_int(socket, ZMQ_SNDHWM, tsk_conf_int(conf, TSK_ZEROMQ_SEND_HWM));
    rc |= set_int(socket, ZMQ_RCVHWM, tsk_conf_int(conf, TSK_ZEROMQ_RECV_HWM));
    rc |= set_linger(socket, tsk_conf_int(conf, TSK_ZEROMQ_LINGER), side);
    rc |= set_int(socket, ZMQ_RECONNECT_IVL, tsk_conf_int(conf, TSK_ZEROMQ_RECONNECT_MIN));
    rc |= set_int(socket, ZMQ_TCP_KEEPALIVE, 1);
    rc |= set_int(socket, ZMQ_BACKLOG, BACKLOG);
    if (side == TSK_SENDER)
        rc |= set_sender(socket, channel);
    else
        rc |= set_heartbeat(socket, tsk_conf_int(conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL));
    if (rc != 0)
        return tsk_err_set(err, TSK_CONFIG, "cannot set an option of a socket: %s",
                           zmq_strerror(zmq_errno()));
    return 0;
}

/* A name that was known, and that its server is slow to tell when it is connected to again, may so
 * hold up only others that are names. */
static void set_thread(void *socket, const char *endpoint)
{
    char name[TSK_BUS_NAME_SIZE];
    uint64_t threads = tsk_bus_host_name(endpoint, name, sizeof name) ? NAMES : ADDRESSES;
    zmq_setsockopt(socket, ZMQ_AFFINITY, &threads, sizeof threads);
}

/* An attempt to connect costs about 0.1 ms of processor time. The pause grows with the number of
 * endpoints, so that hundreds at which nobody listens do not keep a processor busy. */
static void set_pause(const struct tsk_bus *bus)
{
    int64_t pause = (int64_t)bus->count * ENDPOINT_PAUSE_MS;
    pause = pause < PAUSE_MOST_MS ? pause : PAUSE_MOST_MS;
    set_int(bus->socket, ZMQ_RECONNECT_IVL_MAX,
            pause < bus->reconnect_max ? bus->reconnect_max : pause);
}

void tsk_bus_options_for(struct tsk_bus *bus, const char *endpoint)
{
    void *socket = bus->socket;
    if (!bus->binds) { /* a context that binds has one thread */
        set_thread(socket, endpoint);
        set_pause(bus);
    }
    /* not always on: a name like "localhost" would then mean ::1, where nobody may listen */
    set_int(socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
}

int tsk_bus_reach(struct tsk_bus *bus, const char *place)
{
    tsk_bus_options_for(bus, place);
    bus->touched = true;
    return zmq_connect(bus->socket, place);
}

/* ---- Sending on a bus. A result goes to libzmq as a blob, which is counted until all queues have
 * let go of it: so it is known how much memory slow readers cost. */

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

/* Sends text upstream. It is lost if nobody takes it, and is no reason to linger. */
static void say(struct tsk_bus *bus, const char *text)
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

/* ---- Which peers are alive. libzmq's own heartbeats cannot tell a slow peer from a dead one: the
 * answer waits behind the messages that the peer has not read. So a sender ends no connection for
 * want of an answer. A receiver of ours says upstream, once a heartbeat, that it is alive; a sender
 * ends the connection of one that did so and then misses three. A plain peer says nothing, and is
 * left alone. */

enum { DOUBT_MS = 200, FDS_MOST = 1 << 16, INTERVAL_MOST = 3600000 };

#define ALIVE "alive" /* the topic */

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

/* Something came from the connection with a descriptor. */
static void heard(struct tsk_bus *bus, int fd)
{
    struct tsk_bus_alive *alive = bus->alive;
    if (fd < 0 || (size_t)fd >= alive->cap || !alive->links[fd].heard)
        return;
    alive->links[fd].heard = tsk_now_ms();
    alive->links[fd].doubt = 0;
}

/* It says that it is alive, and will say so again after each interval (ms). */
static void take_alive(struct tsk_bus *bus, int fd, int64_t interval)
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
    snprintf(text, sizeof text, ALIVE " {\"heartbeat_ms\":%lld}", (long long)alive->interval);
    say(bus, text);
    alive->due = now + alive->interval;
}

int64_t tsk_bus_alive_deadline(const struct tsk_bus *bus)
{
    return bus->alive->due || bus->alive->says ? bus->alive->due : -1;
}

/* ---- Receiving from a bus. A message is copied once, into a buffer that the bus keeps, because
 * what follows a message in libzmq's memory is not ours and the readers of JSON want a NUL there.
 */

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

/* The connections that have subscribed to one topic. libzmq reports a subscription as often as a
 * peer sends it, and its end once when the connection ends: a peer that subscribes twice would seem
 * to be there for ever. */
struct subscribers {
    struct subscriber {
        int fd;
        ino_t inode; /* a descriptor is used again */
    } * items;
    size_t count, cap;
};

static void free_subscribers(void *value)
{
    struct subscribers *all = value;
    free(all->items);
    free(all);
}

struct tsk_map *tsk_bus_subscribers_new(void)
{
    return tsk_map_new(free_subscribers);
}

/* Returns the index of a connection; of one that has ended if fd is -1. all->count if there is
 * none.
 */
static size_t find_subscriber(const struct subscribers *all, int fd)
{
    ino_t inode = fd < 0 ? 0 : inode_of(fd);
    size_t i = 0;
    for (; i < all->count; i++) {
        const struct subscriber *one = &all->items[i];
        if (fd < 0 ? !one->inode || inode_of(one->fd) != one->inode
                   : one->fd == fd && one->inode == inode)
            break;
    }
    return i;
}

/* Whether a subscription is the first of its connection, or an end that of one. */
static bool takes_effect(struct tsk_bus *bus, const struct tsk_frame *frame)
{
    int fd = zmq_msg_get(&bus->part, ZMQ_SRCFD); /* -1: the connection has ended */
    struct subscribers *all = tsk_map_get(bus->subscribers, frame->topic);
    size_t i = all ? find_subscriber(all, fd) : 0;
    bool known = all && i < all->count;
    if (frame->kind == TSK_FRAME_JOIN && fd >= 0) {
        if (known)
            return false;
        if (!all)
            tsk_map_put(bus->subscribers, frame->topic, all = tsk_alloc(sizeof *all));
        all->items = tsk_grow(all->items, &all->cap, all->count + 1, sizeof *all->items);
        all->items[all->count++] = (struct subscriber){fd, inode_of(fd)};
    } else if (frame->kind == TSK_FRAME_LEAVE) {
        if (known)
            all->items[i] = all->items[--all->count];
        else if (fd >= 0)
            return false;
        if (all && (!known || !all->count)) /* not known: its descriptor is another's by now */
            tsk_map_remove(bus->subscribers, frame->topic);
    }
    return true;
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
    static const char topic[] = ALIVE " {";
    const char *data = zmq_msg_data(&bus->part);
    size_t len = zmq_msg_size(&bus->part);
    char body[64];
    int64_t interval;
    if (bus->side != TSK_SENDER)
        return false;
    int fd = zmq_msg_get(&bus->part, ZMQ_SRCFD);
    heard(bus, fd);
    if (zmq_msg_more(&bus->part) || len < sizeof topic || len >= sizeof body ||
        memcmp(data, topic, sizeof topic - 1) != 0)
        return false;
    memcpy(body, data, len);
    body[len] = '\0';
    const char *number = strrchr(body, ':');
    interval = number ? strtoll(number + 1, NULL, 10) : 0;
    take_alive(bus, fd, interval);
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
        if (read_subscription(bus, frame) && takes_effect(bus, frame))
            return 1;
    }
    bus->touched = rc != 0;
    return rc;
}
