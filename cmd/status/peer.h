/* What a peer tells of itself, and who would come if somebody listened. */
#ifndef STATUS_PEER_H
#define STATUS_PEER_H

#include "tasker/bus.h"
#include "tasker/conf.h"
#include "tasker/json.h"
#include "tasker/map.h"

struct topics {
    struct tsk_map *map; /* topic to struct count */
};

void topics_init(struct topics *topics);
void topics_fini(struct topics *topics);

/* Takes in a JOIN or a LEAVE; any other frame is left alone. */
void topics_note(struct topics *topics, const struct tsk_frame *frame);

/* How many topics have subscribers now. */
size_t topics_count(const struct topics *topics);

/* One line: who subscribes to what ("workers: a, b; plain subscribers: 1"); to be freed. */
char *topics_text(const struct topics *topics);

/* [{"topic","count"}]; owned by the caller. */
struct json_object *topics_json(const struct topics *topics);

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
