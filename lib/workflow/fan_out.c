/* Fan-out: a task's steps ask for optional ones. Which of these there are is a function of what the
 * done steps ask for, so it may be looked at again at any time: each has its name in its task, by
 * which it is known again, and one that was claimed stays whatever comes. When the steps have
 * changed, so have the dependencies: they are worked out anew from the plan (flow.h), and what
 * differs is written. */
#include "workflow/fan_out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "workflow/task_rows.h"
#include "tasker/buf.h"
#include "tasker/json.h"
#include "tasker/map.h"
#include "tasker/flow.h"

/* A step that is asked for. */
struct wanted {
    char *kind;           /* the optional step */
    int64_t index, count; /* 0: not one of several */
    int64_t by, at;       /* who asked first, and when that one was done */
};

struct live {
    int64_t id;
    char *name, *kind; /* kind: its name in the template */
    bool made;
};

struct edge {
    int64_t from, to;
    bool choice;
};

struct edges {
    struct edge *items;
    size_t count, cap;
};

struct fan {
    struct tsk_store *store;
    int64_t task, priority;
    struct tsk_plan *plan;
    struct tsk_map *wanted; /* by name */
    struct tsk_json *parser;
    struct live *live;
    size_t count, cap;
    struct edges before, after; /* dependencies as they are, and as they have to be */
    struct tsk_task_rows rows;
};

/* ---- what is asked for */

static void free_wanted(void *value)
{
    struct wanted *wanted = value;
    free(wanted->kind);
    free(wanted);
}

static void want(struct fan *fan, const char *kind, const struct wanted *about)
{
    struct tsk_buf name = TSK_BUF_INIT;
    tsk_buf_str(&name, kind);
    if (about->index)
        tsk_buf_printf(&name, "#%" PRId64, about->index);
    if (!tsk_map_get(fan->wanted, name.data)) {
        struct wanted *wanted = tsk_alloc(sizeof *wanted);
        *wanted = *about;
        wanted->kind = tsk_strdup(kind);
        tsk_map_put(fan->wanted, name.data, wanted);
    }
    tsk_buf_fini(&name);
}

/* A step that asks: its id, when it was done, for what. */
static int on_asking(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct fan *fan = ctx;
    struct json_object *list = NULL;
    (void)columns;
    tsk_json_parse(fan->parser, row[2].data, row[2].len, &list, NULL);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        struct wanted about = {NULL, 0, 0, row[0].number, row[1].number};
        const char *kind = tsk_json_str(one, "name");
        if (tsk_json_int(one, "count", &about.count) != 1)
            want(fan, kind, &about);
        while (about.index++ < about.count)
            want(fan, kind, &about);
    }
    json_object_put(list);
    return 0;
}

static int on_live(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct fan *fan = ctx;
    (void)columns;
    fan->live = tsk_grow(fan->live, &fan->cap, fan->count + 1, sizeof *fan->live);
    fan->live[fan->count++] = (struct live){row[0].number, tsk_strdup(row[1].data),
                                            tsk_strdup(row[2].data), row[3].type == TSK_INT};
    return 0;
}

static const char get_asking[] =
    "SELECT id, coalesce(processed_at, updated_at) AS done_at, creates FROM steps WHERE task = $1 "
    "AND creates IS NOT NULL AND " TSK_UNINDEXED(
        "state") " IN ('complete', 'resolved_manually') ORDER BY done_at, id";
static const char get_live[] =
    "SELECT id, name, coalesce(template_name, name), created_by FROM steps WHERE task = $1 ORDER "
    "BY id";

static int read_steps(struct fan *fan, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(fan->task);
    return tsk_store_run(fan->store, get_asking, &key, 1, on_asking, fan, err) < 0 ||
                   tsk_store_run(fan->store, get_live, &key, 1, on_live, fan, err) < 0
               ? -1
               : 0;
}

/* ---- steps that nobody asks for any more */

static const char delete_step[] =
    "DELETE FROM steps WHERE id = $1 AND state = 'pending' AND attempts = 0 AND NOT EXISTS (SELECT "
    "1 FROM batch_steps b WHERE b.step = steps.id)";

static void forget_live(struct fan *fan, size_t i)
{
    free(fan->live[i].name);
    free(fan->live[i].kind);
    fan->count--;
    memmove(&fan->live[i], &fan->live[i + 1], (fan->count - i) * sizeof *fan->live);
}

/* Returns how many it has taken away, or -1. What is there needs not be made. */
static int64_t take_away(struct fan *fan, struct tsk_err *err)
{
    int64_t taken = 0;
    for (size_t i = 0; i < fan->count;) {
        struct live *live = &fan->live[i];
        struct tsk_value key = tsk_value_int(live->id);
        bool wanted = tsk_map_get(fan->wanted, live->name) != NULL;
        if (wanted)
            tsk_map_remove(fan->wanted, live->name);
        int64_t gone = 0;
        if (live->made && !wanted)
            gone = tsk_store_run(fan->store, delete_step, &key, 1, NULL, NULL, err);
        if (gone < 0)
            return -1;
        taken += gone;
        if (gone)
            forget_live(fan, i);
        else
            i++;
    }
    return taken;
}

/* ---- steps that are to be made */

static const char get_task[] =
    "SELECT optional_steps, priority FROM tasks WHERE task_id = $1 AND optional_steps IS NOT NULL";

static int on_task(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct fan *fan = ctx;
    (void)columns;
    fan->plan = tsk_plan_read(row[0].data);
    fan->priority = row[1].number;
    return 0;
}

static int read_plan(struct fan *fan, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(fan->task);
    if (tsk_store_run(fan->store, get_task, &key, 1, on_task, fan, err) < 0)
        return -1;
    return fan->plan ? 0
                     : tsk_err_set(err, TSK_BUG,
                                   "task %" PRId64 ": its optional steps are not kept", fan->task);
}

static int put_step(struct fan *fan, int64_t id, const char *name, const struct wanted *wanted,
                    struct tsk_err *err)
{
    size_t place = tsk_plan_find(fan->plan, wanted->kind), len;
    struct json_object *about = tsk_plan_step(fan->plan, place)->optional;
    struct tsk_step_row row = {.id = id,
                               .task = fan->task,
                               .priority = fan->priority,
                               .name = name,
                               .handler_class = tsk_json_str(about, "handler_class"),
                               .handler_config =
                                   tsk_json_text(tsk_json_get(about, "handler_config"), &len),
                               .join = tsk_json_str(about, "join"),
                               .unsatisfied = tsk_json_str(about, "unsatisfied"),
                               .when_skipped = tsk_json_str(about, "when_skipped"),
                               .place = (int64_t)place,
                               .retry_limit = 1,
                               .backoff = tsk_json_str(about, "backoff"),
                               .retryable = true,
                               .waits_for = 1,
                               .at = wanted->at,
                               .template_name = wanted->kind,
                               .created_by = wanted->by,
                               .created_index = wanted->index,
                               .created_count = wanted->count};
    tsk_json_int(about, "retry_limit", &row.retry_limit);
    tsk_json_int(about, "timeout_ms", &row.timeout_ms);
    tsk_json_bool(about, "retryable", &row.retryable);
    return tsk_step_put(&fan->rows, &row, err);
}

/* Makes what is still wanted: what is there was taken off that list. */
static int put_steps(struct fan *fan, struct tsk_err *err)
{
    int64_t count = (int64_t)tsk_map_count(fan->wanted), next;
    if (!count)
        return 0;
    if (tsk_step_ids(fan->store, count, &next, err) < 0)
        return -1;
    for (struct tsk_map_entry *e = tsk_map_first(fan->wanted); e; e = tsk_map_next(e), next++) {
        const struct wanted *wanted = tsk_map_value(e);
        if (put_step(fan, next, tsk_map_key(e), wanted, err) < 0)
            return -1;
        fan->live = tsk_grow(fan->live, &fan->cap, fan->count + 1, sizeof *fan->live);
        fan->live[fan->count++] =
            (struct live){next, tsk_strdup(tsk_map_key(e)), tsk_strdup(wanted->kind), true};
    }
    return 0;
}

/* ---- dependencies */

static void add_edge(struct edges *edges, int64_t from, int64_t to, bool choice)
{
    edges->items = tsk_grow(edges->items, &edges->cap, edges->count + 1, sizeof *edges->items);
    edges->items[edges->count++] = (struct edge){from, to, choice};
}

static int on_edge(void *ctx, const struct tsk_value *row, size_t columns)
{
    (void)columns;
    add_edge(ctx, row[0].number, row[1].number, row[2].number != 0);
    return 0;
}

/* The steps that are there, as lists by their place in the plan: of each the first, then the next
 * of the same place, as place in live + 1. */
struct places {
    size_t *first, *next;
    bool *there;
    struct tsk_plan_wait *waits;
};

static void edges_of(struct fan *fan, const struct places *places, size_t place)
{
    size_t count = tsk_plan_waits(fan->plan, place, places->there, places->waits);
    for (size_t to = places->first[place]; to; to = places->next[to - 1]) {
        for (size_t w = 0; w < count; w++) {
            for (size_t from = places->first[places->waits[w].place]; from;
                 from = places->next[from - 1])
                add_edge(&fan->after, fan->live[from - 1].id, fan->live[to - 1].id,
                         places->waits[w].choice);
        }
    }
}

/* Works out who waits for whom now. */
static void work_out(struct fan *fan)
{
    size_t count = tsk_plan_count(fan->plan);
    struct places places = {tsk_alloc((count + 1) * sizeof(size_t)),
                            tsk_alloc((fan->count + 1) * sizeof(size_t)), tsk_alloc(count + 1),
                            tsk_alloc((count + 1) * sizeof(struct tsk_plan_wait))};
    for (size_t i = 0; i < fan->count; i++) {
        size_t place = tsk_plan_find(fan->plan, fan->live[i].kind);
        places.there[place] = place < count;
        places.next[i] = places.first[place];
        places.first[place] = i + 1;
    }
    for (size_t place = 0; place < count; place++) {
        if (places.there[place])
            edges_of(fan, &places, place);
    }
    free(places.first);
    free(places.next);
    free(places.there);
    free(places.waits);
}

static int by_ends(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

static const char get_edges[] =
    "SELECT from_step, to_step, choice FROM step_dependencies WHERE task = $1";
static const char delete_edge[] =
    "DELETE FROM step_dependencies WHERE from_step = $1 AND to_step = $2";

static int remove_edge(struct fan *fan, const struct edge *edge, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(edge->from), tsk_value_int(edge->to)};
    return tsk_store_send(fan->store, delete_edge, values, 2, err);
}

static int put_edge(struct fan *fan, const struct edge *edge, struct tsk_err *err)
{
    return tsk_dependency_put(&fan->rows, fan->task, edge->from, edge->to, edge->choice, err);
}

/* Writes what differs; both lists are in order. */
static int write_edges(struct fan *fan, struct tsk_err *err)
{
    const struct edges *before = &fan->before, *after = &fan->after;
    size_t b = 0, a = 0;
    int rc = 0;
    while (rc == 0 && (b < before->count || a < after->count)) {
        int order = b == before->count  ? 1
                    : a == after->count ? -1
                                        : by_ends(&before->items[b], &after->items[a]);
        bool same = order == 0 && before->items[b].choice == after->items[a].choice;
        if (order <= 0 && !same)
            rc = remove_edge(fan, &before->items[b], err);
        if (rc == 0 && order >= 0 && !same)
            rc = put_edge(fan, &after->items[a], err);
        b += order <= 0;
        a += order >= 0;
    }
    return rc;
}

static int put_edges(struct fan *fan, struct tsk_err *err)
{
    struct tsk_value key = tsk_value_int(fan->task);
    if (tsk_store_run(fan->store, get_edges, &key, 1, on_edge, &fan->before, err) < 0)
        return -1;
    work_out(fan);
    if (fan->before.count)
        qsort(fan->before.items, fan->before.count, sizeof *fan->before.items, by_ends);
    if (fan->after.count)
        qsort(fan->after.items, fan->after.count, sizeof *fan->after.items, by_ends);
    return write_edges(fan, err);
}

/* ---- all of it */

static int change(struct fan *fan, struct tsk_err *err)
{
    if (read_steps(fan, err) < 0)
        return -1;
    int64_t taken = take_away(fan, err);
    if (taken < 0)
        return -1;
    if (!taken && !tsk_map_count(fan->wanted))
        return 0;
    if (read_plan(fan, err) < 0)
        return -1;
    tsk_task_rows_init(&fan->rows, fan->store);
    int rc = put_steps(fan, err);
    if (rc == 0)
        rc = put_edges(fan, err);
    return tsk_task_rows_end(&fan->rows, rc, err) < 0 ? -1 : 1;
}

int tsk_fan_out(struct tsk_store *store, int64_t task, struct tsk_err *err)
{
    struct fan fan = {
        .store = store, .task = task, .wanted = tsk_map_new(free_wanted), .parser = tsk_json_new()};
    int rc = change(&fan, err);
    while (fan.count)
        forget_live(&fan, fan.count - 1);
    free(fan.live);
    free(fan.before.items);
    free(fan.after.items);
    tsk_map_free(fan.wanted);
    tsk_json_free(fan.parser);
    tsk_plan_free(fan.plan);
    return rc;
}
