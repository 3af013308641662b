/* Steps come one a line and leave as batches. The batch is text from the start, to which the bytes
 * of each step are added; beside it a map from step_id to attempt, since an id may stand in a batch
 * only once. */
#include "publish/group.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tasker/map.h"

struct group {
    size_t size, max;
    int64_t delay, due;
    struct parcel *parcel; /* NULL: it has no step */
    struct tsk_map *seen;  /* step_id to struct seen */
};

struct seen {
    int64_t attempt, line;
    const char *file; /* borrowed */
};

struct group *group_new(size_t size, size_t max, int64_t delay)
{
    struct group *group = tsk_alloc(sizeof *group);
    *group = (struct group){.size = size, .max = max, .delay = delay, .due = -1};
    group->seen = tsk_map_new(free);
    return group;
}

void group_free(struct group *group)
{
    if (!group)
        return;
    parcel_free(group->parcel);
    tsk_map_free(group->seen);
    free(group);
}

struct parcel *group_close(struct group *group)
{
    struct parcel *parcel = group->parcel;
    if (!parcel)
        return NULL;
    parcel_end(parcel);
    tsk_map_free(group->seen);
    group->seen = tsk_map_new(free);
    group->parcel = NULL;
    group->due = -1;
    return parcel;
}

int64_t group_deadline(const struct group *group)
{
    return group->due;
}

/* Whether the batch as it is has room for so many bytes more, with a comma and the end. */
static bool has_room(const struct group *group, size_t len)
{
    return group->parcel->text.len + len + 3 <= group->max;
}

static void begin(struct group *group, const struct group_line *line, int64_t now)
{
    group->parcel = parcel_new(line->file, line->number);
    parcel_begin(group->parcel);
    group->due = now + group->delay;
}

int group_add(struct group *group, const struct tsk_step *step, const struct group_line *line,
              int64_t now, struct parcel **full, struct tsk_err *err)
{
    char key[32];
    snprintf(key, sizeof key, "%" PRId64, step->step_id);
    struct seen *seen = tsk_map_get(group->seen, key);
    *full = NULL;
    if (seen && seen->attempt == step->attempt)
        return tsk_err_set(err, TSK_DATA,
                           "step_id %" PRId64 " is in the batch twice (first in %s:%" PRId64 ")",
                           step->step_id, seen->file, seen->line);
    if (group->parcel && (seen || !has_room(group, line->len)))
        *full = group_close(group);
    if (!group->parcel)
        begin(group, line, now);
    if (!has_room(group, line->len)) {
        parcel_free(group_close(group));
        return tsk_err_set(err, TSK_DATA, "the step makes a batch of over %zu bytes", group->max);
    }
    parcel_add(group->parcel, step, line->raw, line->len);
    seen = tsk_alloc(sizeof *seen);
    *seen = (struct seen){step->attempt, line->number, line->file};
    tsk_map_put(group->seen, key, seen);
    if (group->parcel->count >= group->size) /* never with *full: that one had room for this */
        *full = group_close(group);
    return 0;
}
