/* The options of a socket, all set before the first bind or connect, since libzmq hands them to a
 * connection when it is made. ZMTP heartbeats find a peer that vanished without a word (a cable, a
 * stopped machine), which TCP alone would tell only much later. */
#include <limits.h>
#include <string.h>
#include <zmq.h>

#include "bus/bus_private.h"

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

static int set_int(void *socket, int option, int64_t value)
{
    int number = value > INT_MAX ? INT_MAX : (int)value;
    return zmq_setsockopt(socket, option, &number, sizeof number);
}

/* Only receivers send heartbeats. A slow peer answers late: the answer waits behind the messages
 * that it has not read (see bus_alive.c). And an answer that comes after a sender has closed resets
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
