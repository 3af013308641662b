/* A chained hash table whose entries also form a list in the order of insertion. json-c's own
 * table was not taken: what is deleted there is never cleaned up, so that a long run of inserts
 * and deletes (batches that come and go) makes each miss a walk over the whole table. */
#include "tasker/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/clock.h"

struct tsk_map_entry {
    struct tsk_map_entry *chain;       /* same bucket */
    struct tsk_map_entry *prev, *next; /* order of insertion */
    void *value;
    uint64_t hash;
    char key[];
};

struct tsk_map {
    struct tsk_map_entry **buckets;
    struct tsk_map_entry *first, *last;
    size_t size, count; /* size is a power of two */
    uint64_t seed;      /* so that nobody can choose keys that collide */
    void (*free_value)(void *value);
};

struct tsk_map *tsk_map_new(void (*free_value)(void *value))
{
    struct tsk_map *map = tsk_alloc(sizeof *map);
    map->size = 16;
    map->buckets = tsk_alloc(map->size * sizeof *map->buckets);
    map->free_value = free_value;
    map->seed = (uint64_t)tsk_now_us() * 0x9E3779B97F4A7C15u ^ (uint64_t)(uintptr_t)map;
    return map;
}

uint64_t tsk_mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static void drop_value(struct tsk_map *map, void *value)
{
    if (map->free_value)
        map->free_value(value);
}

void tsk_map_free(struct tsk_map *map)
{
    if (!map)
        return;
    struct tsk_map_entry *next;
    for (struct tsk_map_entry *e = map->first; e; e = next) {
        next = e->next;
        drop_value(map, e->value);
        free(e);
    }
    free(map->buckets);
    free(map);
}

size_t tsk_map_count(const struct tsk_map *map)
{
    return map->count;
}

/* Eight bytes at a time, with each step a full mix, so that no keys collide whatever the seed. */
static uint64_t hash_of(const struct tsk_map *map, const char *key)
{
    size_t len = strlen(key);
    uint64_t hash = map->seed ^ len, part;
    for (; len >= sizeof part; key += sizeof part, len -= sizeof part) {
        memcpy(&part, key, sizeof part);
        hash = tsk_mix(hash ^ part);
    }
    part = 0;
    memcpy(&part, key, len);
    return tsk_mix(hash ^ part);
}

static struct tsk_map_entry **find(const struct tsk_map *map, const char *key, uint64_t hash)
{
    struct tsk_map_entry **at = &map->buckets[hash & (map->size - 1)];
    while (*at && ((*at)->hash != hash || strcmp((*at)->key, key)))
        at = &(*at)->chain;
    return at;
}

void *tsk_map_get(const struct tsk_map *map, const char *key)
{
    struct tsk_map_entry *entry = *find(map, key, hash_of(map, key));
    return entry ? entry->value : NULL;
}

static void grow(struct tsk_map *map)
{
    free(map->buckets);
    map->size *= 2;
    map->buckets = tsk_alloc(map->size * sizeof *map->buckets);
    for (struct tsk_map_entry *e = map->first; e; e = e->next) {
        struct tsk_map_entry **bucket = &map->buckets[e->hash & (map->size - 1)];
        e->chain = *bucket;
        *bucket = e;
    }
}

void tsk_map_put(struct tsk_map *map, const char *key, void *value)
{
    uint64_t hash = hash_of(map, key);
    struct tsk_map_entry **at = find(map, key, hash);
    if (*at) {
        void *old = (*at)->value;
        (*at)->value = value;
        drop_value(map, old);
        return;
    }
    size_t len = strlen(key) + 1;
    struct tsk_map_entry *entry = tsk_alloc(sizeof *entry + len);
    memcpy(entry->key, key, len);
    entry->hash = hash;
    entry->value = value;
    entry->prev = map->last;
    *(map->last ? &map->last->next : &map->first) = entry;
    map->last = entry;
    *at = entry;
    if (++map->count > map->size)
        grow(map);
}

void *tsk_map_take(struct tsk_map *map, const char *key)
{
    struct tsk_map_entry **at = find(map, key, hash_of(map, key));
    struct tsk_map_entry *entry = *at;
    if (!entry)
        return NULL;
    void *value = entry->value;
    *at = entry->chain;
    *(entry->prev ? &entry->prev->next : &map->first) = entry->next;
    *(entry->next ? &entry->next->prev : &map->last) = entry->prev;
    map->count--;
    free(entry);
    return value;
}

void tsk_map_remove(struct tsk_map *map, const char *key)
{
    void *value = tsk_map_take(map, key);
    if (value)
        drop_value(map, value);
}

struct tsk_map_entry *tsk_map_first(const struct tsk_map *map)
{
    return map->first;
}

struct tsk_map_entry *tsk_map_next(const struct tsk_map_entry *entry)
{
    return entry->next;
}

const char *tsk_map_key(const struct tsk_map_entry *entry)
{
    return entry->key;
}

void *tsk_map_value(const struct tsk_map_entry *entry)
{
    return entry->value;
}
