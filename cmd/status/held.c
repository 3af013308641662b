/* What stands in the way of a whole namespace, for who looks at the store. */
#include "status/held.h"

#include <stdlib.h>

#include "common/out.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

void held_fini(struct held *held)
{
    for (size_t i = 0; i < held->count; i++) {
        free(held->items[i].name);
        free(held->items[i].reason);
        free(held->items[i].by);
    }
    free(held->items);
    *held = (struct held){NULL, 0, 0};
}

static int take_one(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct held *held = ctx;
    (void)columns;
    held->items = tsk_grow(held->items, &held->cap, held->count + 1, sizeof *held->items);
    held->items[held->count++] = (struct held_one){tsk_strdup(row[0].data), tsk_strdup(row[1].data),
                                                   tsk_strdup(row[2].data), row[3].number};
    return 0;
}

int held_get(struct tsk_store *store, struct held *held, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT namespace, reason, held_by, created_at FROM held_namespaces ORDER BY namespace";
    held_fini(held);
    return tsk_store_run(store, sql, NULL, 0, take_one, held, err) < 0 ? -1 : 0;
}

void held_show(const struct held *held)
{
    for (size_t i = 0; i < held->count; i++) {
        const struct held_one *one = &held->items[i];
        struct tsk_buf line = TSK_BUF_INIT;
        char since[TSK_TIME_SIZE];
        tsk_time_format(one->since, since);
        tsk_buf_str(&line, "held        ");
        tsk_plain_str(&line, one->name);
        tsk_buf_printf(&line, " since %s by ", since);
        tsk_plain_str(&line, *one->by ? one->by : "somebody");
        tsk_buf_str(&line, ": ");
        tsk_plain_str(&line, one->reason);
        out_line(line.data, line.len);
        tsk_buf_fini(&line);
    }
}

struct json_object *held_json(const struct held *held)
{
    struct json_object *all = json_object_new_array();
    for (size_t i = 0; i < held->count; i++) {
        struct json_object *one = json_object_new_object();
        tsk_json_put_str(one, "namespace", held->items[i].name);
        tsk_json_put_time(one, "since", held->items[i].since);
        tsk_json_put_str(one, "by", held->items[i].by);
        tsk_json_put_str(one, "reason", held->items[i].reason);
        json_object_array_add(all, one);
    }
    return all;
}
