/* Held results, by batch: a receipt releases a batch, and the limits drop one, always as a whole,
 * since a part of a batch is of no use to anybody. */
#include "collect/held.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/map.h"

struct item {
    struct item *next;
    enum tsk_type type;
    int64_t step_id, sequence, offset;
    bool final;
    char *source; /* NULL: of no stream */
    char *data;   /* NULL: not to be printed any more */
    size_t len;
};

struct group {
    struct item *first, **last;
    size_t count, bytes;
};

struct held {
    struct tsk_map *groups; /* by batch_id, the first to come first */
    size_t count, bytes, most, most_bytes;
    bool closed;
    int64_t unclaimed, dropped;
};

static void group_free(void *value)
{
    struct group *group = value;
    for (struct item *item = group->first, *next; item; item = next) {
        next = item->next;
        free(item->source);
        free(item->data);
        free(item);
    }
    free(group);
}

struct held *held_new(size_t count, size_t bytes)
{
    struct held *held = tsk_alloc(sizeof *held);
    held->groups = tsk_map_new(group_free);
    held->most = count;
    held->most_bytes = bytes;
    return held;
}

void held_free(struct held *held)
{
    if (!held)
        return;
    tsk_map_free(held->groups);
    free(held);
}

static struct group *group_get(struct held *held, const char *batch_id)
{
    struct group *group = tsk_map_get(held->groups, batch_id);
    if (!group) {
        group = tsk_alloc(sizeof *group);
        group->last = &group->first;
        tsk_map_put(held->groups, batch_id, group);
    }
    return group;
}

/* Takes a group out of the totals and the map. */
static struct group *group_take(struct held *held, const char *batch_id)
{
    struct group *group = tsk_map_take(held->groups, batch_id);
    if (group) {
        held->count -= group->count;
        held->bytes -= group->bytes;
    }
    return group;
}

static void drop_oldest(struct held *held)
{
    char batch_id[TSK_ID_SIZE];
    snprintf(batch_id, sizeof batch_id, "%s", tsk_map_key(tsk_map_first(held->groups)));
    struct group *group = group_take(held, batch_id);
    if (!held->closed)
        held->dropped += (int64_t)group->count;
    group_free(group);
}

void held_add(struct held *held, const struct result *result, const char *data, size_t len,
              const char *source, int64_t offset)
{
    struct group *group = group_get(held, result->batch_id);
    struct item *item = tsk_alloc(sizeof *item);
    item->type = result->type;
    item->step_id = result->step_id;
    item->final = result->final;
    item->sequence = result->sequence;
    item->source = tsk_strdup(source);
    item->offset = offset;
    if (!held->closed) {
        item->data = tsk_alloc(len + 1);
        memcpy(item->data, data, len);
        item->len = len;
    }
    *group->last = item;
    group->last = &item->next;
    group->count++;
    group->bytes += item->len;
    held->bytes += item->len;
    held->unclaimed++;
    for (held->count++; held->count > held->most || held->bytes > held->most_bytes;)
        drop_oldest(held);
}

void held_close(struct held *held)
{
    held->closed = true;
    for (struct tsk_map_entry *e = tsk_map_first(held->groups); e; e = tsk_map_next(e)) {
        struct group *group = tsk_map_value(e);
        for (struct item *item = group->first; item; item = item->next) {
            free(item->data);
            item->data = NULL;
            item->len = 0;
        }
        group->bytes = 0;
    }
    held->bytes = 0;
}

void held_release(struct held *held, const char *batch_id, held_fn *fn, void *ctx)
{
    struct group *group = group_take(held, batch_id);
    if (!group)
        return;
    held->unclaimed -= (int64_t)group->count;
    for (struct item *item = group->first; item; item = item->next) {
        struct result result = {item->type, batch_id, item->step_id, item->final,
                                item->sequence};
        fn(ctx, &result, item->data, item->len);
    }
    group_free(group);
}

void held_mark(const struct held *held, struct tsk_stream *stream)
{
    for (struct tsk_map_entry *e = tsk_map_first(held->groups); e; e = tsk_map_next(e)) {
        const struct group *group = tsk_map_value(e);
        const char *marked = NULL; /* within a batch the first of a source is its lowest */
        for (const struct item *item = group->first; item; item = item->next) {
            if (!item->source || (marked && strcmp(marked, item->source) == 0))
                continue;
            if (tsk_stream_hold(stream, item->source, item->offset))
                marked = item->source;
        }
    }
}

int64_t held_unclaimed(const struct held *held)
{
    return held->unclaimed;
}

int64_t held_dropped(const struct held *held)
{
    return held->dropped;
}
