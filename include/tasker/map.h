/* A map from strings to pointers that remembers the order of insertion. */
#ifndef TASKER_MAP_H
#define TASKER_MAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tsk_map;

/* Returns a new map; free_value (may be NULL) is called for each value that leaves it. */
struct tsk_map *tsk_map_new(void (*free_value)(void *value));
void tsk_map_free(struct tsk_map *map); /* NULL is fine */

size_t tsk_map_count(const struct tsk_map *map);

/* Returns the value of key, or NULL. */
void *tsk_map_get(const struct tsk_map *map, const char *key);

/* Sets key (copied) to value (taken, not NULL); an older value of that key is freed and the key
 * keeps its place in the order. */
void tsk_map_put(struct tsk_map *map, const char *key, void *value);

/* Removes key and frees its value; no such key is fine. */
void tsk_map_remove(struct tsk_map *map, const char *key);

/* Removes key and returns its value, which the caller now owns; NULL if there is none. */
void *tsk_map_take(struct tsk_map *map, const char *key);

/* A place in the order of insertion, oldest first. The entry that a loop stands on may be removed
 * if next was read before:  for (e = first(m); e; e = next) { next = tsk_map_next(e); … } */
struct tsk_map_entry;
struct tsk_map_entry *tsk_map_first(const struct tsk_map *map);
struct tsk_map_entry *tsk_map_next(const struct tsk_map_entry *entry);
const char *tsk_map_key(const struct tsk_map_entry *entry);
void *tsk_map_value(const struct tsk_map_entry *entry);

/* The finishing step of a 64-bit hash: each bit of the input changes half of the output. The same
 * everywhere and always, unlike the hash of a map, which is seeded. */
uint64_t tsk_mix(uint64_t x);

#ifdef __cplusplus
}
#endif

#endif
