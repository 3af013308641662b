/* A count of subscriptions, topic by topic. */
#ifndef STATUS_TOPICS_H
#define STATUS_TOPICS_H

#include "tasker/bus.h"
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

#endif
