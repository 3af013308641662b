/* Single steps on their way into a batch. */
#ifndef PUBLISH_GROUP_H
#define PUBLISH_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "publish/parcel.h"

struct group;

/* A batch has at most size steps and max bytes, and is closed delay ms after its first step. */
struct group *group_new(size_t size, size_t max, int64_t delay);
void group_free(struct group *group); /* NULL is fine */

/* Where a step comes from. */
struct group_line {
    const char *file, *raw;
    size_t len;
    int64_t number;
};

/* Adds a step. Returns 0, and in *full a parcel (the caller's) if that closed one, else NULL; or -1
 * with kind TSK_DATA: the same attempt of the step is in the batch, or it is too long. A new
 * attempt of a step that is in the batch begins another one, as does one that it has no room for;
 * *full may be set with -1 too. */
int group_add(struct group *group, const struct tsk_step *step, const struct group_line *line,
              int64_t now, struct parcel **full, struct tsk_err *err);

/* Closes the batch. Returns it (the caller's), or NULL if it has no step. */
struct parcel *group_close(struct group *group);

/* When it is to be closed; -1: it has no step. */
int64_t group_deadline(const struct group *group);

#endif
