/* Subscriptions by their prefix, each with the number of peers that have it. A message is for whom
 * it begins with the prefix of, be that shorter than its topic or (rarely) longer. */
#include "publish/listeners.h"

#include <string.h>

struct count {
    long n;
};

void listeners_note(struct tsk_map *listeners, const struct tsk_frame *frame)
{
    struct count *count = tsk_map_get(listeners, frame->topic);
    if (!count) {
        count = tsk_alloc(sizeof *count);
        tsk_map_put(listeners, frame->topic, count);
    }
    count->n += frame->kind == TSK_FRAME_JOIN ? 1 : -1;
    if (count->n <= 0)
        tsk_map_remove(listeners, frame->topic);
}

/* Whether "TOPIC BODY" begins with prefix. */
static bool begins_with(const char *topic, const struct tsk_buf *body, const char *prefix)
{
    size_t len = strlen(prefix), head = strlen(topic);
    if (head && len <= head)
        return strncmp(topic, prefix, len) == 0;
    if (head && (strncmp(topic, prefix, head) != 0 || prefix[head] != ' '))
        return false;
    prefix += head ? head + 1 : 0;
    len = strlen(prefix);
    return len <= body->len && (!len || memcmp(body->data, prefix, len) == 0);
}

bool listeners_want(const struct tsk_map *listeners, const char *topic, const struct tsk_buf *body,
                    bool lookers)
{
    for (struct tsk_map_entry *e = tsk_map_first(listeners); e; e = tsk_map_next(e)) {
        const char *prefix = tsk_map_key(e);
        if ((lookers || strlen(prefix) != 1) && begins_with(topic, body, prefix))
            return true;
    }
    return false;
}
