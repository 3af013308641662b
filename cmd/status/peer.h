/* What a peer tells of itself, and who would come if somebody listened. */
#ifndef STATUS_PEER_H
#define STATUS_PEER_H

#include "status/topics.h"
#include "tasker/conf.h"
#include "tasker/json.h"

enum peer_kind {
    PEER_UNKNOWN,    /* not asked, or it could not be */
    PEER_PLAIN,      /* it sent no answer: a PUB that knows only the base protocol */
    PEER_PUBLISHER,  /* a publisher_status came */
    PEER_WORKER,     /* a worker_status came */
    PEER_SUBSCRIBER, /* the peer is the side that subscribes; topics has to what */
    PEER_LISTENED,   /* nothing was there; topics has who subscribed when somebody was */
};

struct peer {
    enum peer_kind kind;
    struct json_object *status; /* PEER_PUBLISHER, PEER_WORKER */
    struct topics topics;
    char note[256]; /* what went wrong with asking, or "" */
};

void peer_init(struct peer *peer);
void peer_fini(struct peer *peer);

/* Asks the sender at endpoint for its status, for at most timeout ms. */
void peer_ask(struct peer *peer, const struct tsk_conf *conf, enum tsk_channel channel,
              const char *endpoint, int64_t timeout);

/* Hears what the subscriber at endpoint subscribes to: all until it has been quiet for a while. */
void peer_hear(struct peer *peer, const struct tsk_conf *conf, enum tsk_channel channel,
               const char *endpoint, int64_t timeout);

/* Binds endpoint for timeout ms, or until stop_fd can be read, and notes who subscribes. */
void peer_listen(struct peer *peer, const struct tsk_conf *conf, enum tsk_channel channel,
                 const char *endpoint, int64_t timeout, int stop_fd);

#endif
