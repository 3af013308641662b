/* previous_results: what the steps gave that one waited for, by their names in the template; not
 * those that could only have asked for more of them. Those of N of a kind are a list, in which each
 * has its place, and null stands for one that gave nothing. */
#include <stdlib.h>
#include <string.h>

#include "ready/claim_private.h"
#include "tasker/json.h"

#define OK "p.state IN ('complete', 'resolved_manually')"
#define PREVIOUS(ids, JOIN)                                                                        \
    "SELECT d.to_step, coalesce(p.template_name, p.name), CASE WHEN " OK " THEN p.results END, "   \
    "p.created_count FROM " ids JOIN("step_dependencies", "d", "d.to_step = w.id")                 \
        JOIN("steps", "p", "p.id = d.from_step") " WHERE d.choice = 0 AND (" OK                    \
                                                 " OR p.created_count IS NOT NULL) ORDER BY "      \
                                                 "d.to_step, p.place, p.created_index, p.id"
static const char previous_sqlite[] = PREVIOUS(TSK_IDS_SQLITE, TSK_JOIN_SQLITE);
static const char previous_postgresql[] = PREVIOUS(TSK_IDS_POSTGRESQL, TSK_JOIN_POSTGRESQL);

static int by_id(const void *a, const void *b)
{
    const struct tsk_ready *const *x = a, *const *y = b;
    return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

struct previous {
    struct tsk_ready **sorted; /* by id */
    size_t count;
    size_t most;
    struct tsk_buf *out; /* where a list is open, */
    char *kind;          /* of this name; NULL: none is */
};

static void close_list(struct previous *previous)
{
    if (previous->kind)
        tsk_buf_char(previous->out, ']');
    free(previous->kind);
    previous->kind = NULL;
}

static void add_name(struct tsk_buf *out, const char *name)
{
    struct json_object *text = json_object_new_string(name);
    size_t len;
    const char *quoted = tsk_json_text(text, &len);
    tsk_buf_add(out, quoted, len);
    json_object_put(text);
}

/* Where the next result of a step goes; NULL: nowhere. */
static struct tsk_buf *out_of(const struct previous *previous, int64_t id)
{
    struct tsk_ready key = {.id = id}, *wanted = &key, **found;
    found = bsearch(&wanted, previous->sorted, previous->count, sizeof *previous->sorted, by_id);
    if (!found)
        return NULL;
    (*found)->cut |= (*found)->previous.len > previous->most;
    return (*found)->cut ? NULL : &(*found)->previous;
}

static int on_previous(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct previous *previous = ctx;
    struct tsk_buf *out = out_of(previous, row[0].number);
    bool counted = row[3].type == TSK_INT;
    (void)columns;
    if (!out)
        return 0;
    bool goes_on = counted && previous->kind && previous->out == out &&
                   strcmp(previous->kind, row[1].data) == 0;
    if (!goes_on)
        close_list(previous);
    if (out->len)
        tsk_buf_char(out, ',');
    if (!goes_on) {
        add_name(out, row[1].data);
        tsk_buf_str(out, counted ? ":[" : ":");
    }
    tsk_buf_str(out, row[2].type == TSK_TEXT ? row[2].data : "null");
    if (counted && !goes_on) {
        previous->kind = tsk_strdup(row[1].data);
        previous->out = out;
    }
    return 0;
}

int tsk_ready_previous(struct tsk_store *store, struct tsk_ready_list *list, size_t most,
                       struct tsk_err *err)
{
    struct previous previous = {.sorted = tsk_alloc((list->count + 1) * sizeof *previous.sorted),
                                .count = list->count,
                                .most = most};
    struct tsk_buf ids = TSK_BUF_INIT;
    for (size_t i = 0; i < list->count; i++) {
        previous.sorted[i] = &list->items[i];
        tsk_store_ids(&ids, list->items[i].id);
    }
    qsort(previous.sorted, previous.count, sizeof *previous.sorted, by_id);
    struct tsk_value value = tsk_value_text(ids.data);
    int64_t rc = tsk_store_run(store, TSK_SQL(store, previous_sqlite, previous_postgresql), &value,
                               1, on_previous, &previous, err);
    close_list(&previous);
    tsk_buf_fini(&ids);
    free(previous.sorted);
    return rc < 0 ? -1 : 0;
}
