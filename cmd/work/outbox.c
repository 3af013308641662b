/* A ring of messages by offset. Two marks move along it: "confirmed", up to which every collector
 * that is there has all, and "oldest", up to which all is forgotten. */
#include "work/outbox.h"

#include <stdlib.h>

#include "tasker/buf.h"
#include "tasker/map.h"

struct message {
    const char *topic;
    struct tsk_blob *blob;
    int64_t end;  /* bytes of all up to it, from the first ever */
    int64_t time; /* when it was added */
};

struct collector {
    int64_t confirmed;
    int connections; /* a new one may come before the old one is known to be dead */
    int64_t twice;   /* since when there is more than one; 0: there is not */
};

struct tsk_outbox {
    struct message *ring;
    size_t size;          /* a power of two */
    int64_t oldest, next; /* what is held: oldest <= offset < next */
    int64_t confirmed;    /* the highest offset that was ever confirmed by all there */
    int64_t end, gone;    /* bytes of all ever added, and of those forgotten */
    int64_t lost;
    int64_t limit, max_bytes, max_age;
    struct tsk_map *collectors; /* by id, to struct collector */
};

struct tsk_outbox *tsk_outbox_new(int64_t limit, int64_t max_bytes, int64_t max_age)
{
    struct tsk_outbox *outbox = tsk_alloc(sizeof *outbox);
    outbox->size = 64;
    outbox->ring = tsk_alloc(outbox->size * sizeof *outbox->ring);
    outbox->oldest = outbox->next = 1;
    outbox->limit = limit;
    outbox->max_bytes = max_bytes;
    outbox->max_age = max_age;
    outbox->collectors = tsk_map_new(free);
    return outbox;
}

static struct message *at(const struct tsk_outbox *outbox, int64_t offset)
{
    return &outbox->ring[(size_t)offset & (outbox->size - 1)];
}

static void forget_oldest(struct tsk_outbox *outbox)
{
    struct message *message = at(outbox, outbox->oldest);
    if (outbox->oldest > outbox->confirmed)
        outbox->lost++;
    outbox->gone = message->end;
    tsk_blob_release(message->blob);
    message->blob = NULL;
    outbox->oldest++;
}

void tsk_outbox_free(struct tsk_outbox *outbox)
{
    if (!outbox)
        return;
    while (outbox->oldest < outbox->next)
        forget_oldest(outbox);
    tsk_map_free(outbox->collectors);
    free(outbox->ring);
    free(outbox);
}

int64_t tsk_outbox_next(const struct tsk_outbox *outbox)
{
    return outbox->next;
}

static void grow(struct tsk_outbox *outbox)
{
    size_t old = outbox->size;
    struct message *ring = tsk_alloc(2 * old * sizeof *ring);
    for (int64_t o = outbox->oldest; o < outbox->next; o++)
        ring[(size_t)o & (2 * old - 1)] = *at(outbox, o);
    free(outbox->ring);
    outbox->ring = ring;
    outbox->size = 2 * old;
}

void tsk_outbox_add(struct tsk_outbox *outbox, const char *topic, const char *body, size_t len,
                    int64_t now)
{
    if ((size_t)(outbox->next - outbox->oldest) == outbox->size)
        grow(outbox);
    outbox->end += (int64_t)len;
    *at(outbox, outbox->next) =
        (struct message){topic, tsk_blob_new(topic, body, len), outbox->end, now};
    outbox->next++;
    while (outbox->next - outbox->oldest > outbox->limit ||
           (outbox->end - outbox->gone > outbox->max_bytes && outbox->next - outbox->oldest > 1))
        forget_oldest(outbox);
}

bool tsk_outbox_get(const struct tsk_outbox *outbox, int64_t offset, struct tsk_outbox_entry *entry)
{
    if (offset < outbox->oldest || offset >= outbox->next)
        return false;
    const struct message *message = at(outbox, offset);
    *entry = (struct tsk_outbox_entry){.topic = message->topic, .blob = message->blob};
    entry->body = tsk_blob_body(message->blob, &entry->len);
    return true;
}

int64_t tsk_outbox_bytes(const struct tsk_outbox *outbox, int64_t offset)
{
    if (offset >= outbox->next)
        return 0;
    return outbox->end - (offset > outbox->oldest ? at(outbox, offset - 1)->end : outbox->gone);
}

/* The least that any collector has confirmed; -1 if none is there. */
static int64_t least_confirmed(const struct tsk_outbox *outbox)
{
    int64_t least = -1;
    struct tsk_map_entry *e = tsk_map_first(outbox->collectors);
    for (; e; e = tsk_map_next(e)) {
        int64_t confirmed = ((struct collector *)tsk_map_value(e))->confirmed;
        if (least < 0 || confirmed < least)
            least = confirmed;
    }
    return least;
}

static void settle(struct tsk_outbox *outbox)
{
    int64_t least = least_confirmed(outbox);
    if (least > outbox->confirmed)
        outbox->confirmed = least;
}

void tsk_outbox_join(struct tsk_outbox *outbox, const char *collector)
{
    struct collector *entry = tsk_map_get(outbox->collectors, collector);
    if (!entry) {
        entry = tsk_alloc(sizeof *entry);
        entry->confirmed = outbox->oldest - 1; /* it may want all that there is */
        tsk_map_put(outbox->collectors, collector, entry);
    }
    entry->connections++;
}

void tsk_outbox_leave(struct tsk_outbox *outbox, const char *collector)
{
    struct collector *entry = tsk_map_get(outbox->collectors, collector);
    if (!entry || --entry->connections)
        return;
    tsk_map_remove(outbox->collectors, collector);
    settle(outbox);
}

void tsk_outbox_confirm(struct tsk_outbox *outbox, const char *collector, int64_t offset)
{
    struct collector *entry = tsk_map_get(outbox->collectors, collector);
    if (!entry || offset <= entry->confirmed || offset >= outbox->next)
        return; /* nobody we know, nothing new, or more than was ever sent */
    entry->confirmed = offset;
    settle(outbox);
}

int64_t tsk_outbox_confirmed(const struct tsk_outbox *outbox, const char *collector)
{
    const struct collector *entry = tsk_map_get(outbox->collectors, collector);
    return entry ? entry->confirmed : -1;
}

size_t tsk_outbox_collectors(const struct tsk_outbox *outbox)
{
    return tsk_map_count(outbox->collectors);
}

const char *tsk_outbox_twice(struct tsk_outbox *outbox, int64_t now, int64_t least)
{
    const char *found = NULL;
    for (struct tsk_map_entry *e = tsk_map_first(outbox->collectors); e; e = tsk_map_next(e)) {
        struct collector *entry = tsk_map_value(e);
        if (entry->connections < 2)
            entry->twice = 0;
        else if (!entry->twice)
            entry->twice = now;
        else if (now - entry->twice >= least)
            found = tsk_map_key(e);
    }
    return found;
}

void tsk_outbox_expire(struct tsk_outbox *outbox, int64_t now)
{
    int64_t least = least_confirmed(outbox);
    int64_t done = least < 0 ? outbox->confirmed : least;
    while (outbox->oldest < outbox->next) {
        int64_t age = now - at(outbox, outbox->oldest)->time;
        bool kept_enough = outbox->oldest <= done && age > TSK_OUTBOX_KEEP_MS;
        if (!kept_enough && age <= outbox->max_age)
            break;
        forget_oldest(outbox);
    }
}

int64_t tsk_outbox_oldest(const struct tsk_outbox *outbox)
{
    return outbox->oldest;
}

int64_t tsk_outbox_unconfirmed(const struct tsk_outbox *outbox)
{
    int64_t first = outbox->confirmed + 1;
    return first > outbox->oldest ? first : outbox->oldest;
}

int64_t tsk_outbox_lost(const struct tsk_outbox *outbox)
{
    return outbox->lost;
}
