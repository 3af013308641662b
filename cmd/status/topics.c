/* What subscriptions tell of who is there (tasker(7), PROTOCOL): "worker.ID " is a registered
 * worker, "collector.ID " a collector that confirms; "steps" beyond the workers' own is a plain
 * subscriber, as is any other topic but those of a tap. */
#include "status/topics.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
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
