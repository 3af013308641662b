/* Does a worker still have what is missing? One that lives, runs nothing and holds no message that
 * was not delivered here has none: it gave results up, or another collector had confirmed them. Its
 * status tells that; but what is read here may have been written before the batch was accepted. So
 * the worker is asked, by a subscription made after the receipt was read: it answers at once, on
 * that topic, and what the answer says is newer than the batch. */
#include <stdio.h>
#include <string.h>

#include "collect/collect.h"
#include "collect/keep.h"
#include "tasker/clock.h"
#include "tasker/message.h"

#define AGAIN_MS 500

/* Whether the worker has nothing to do, and all that it ever sent was delivered or given up. */
static bool is_idle(const struct collect *c, const char *source, struct json_object *message)
{
    int64_t running, queued;
    return tsk_json_int(message, "running", &running) == 1 && !running &&
           tsk_json_int(message, "queued", &queued) == 1 && !queued &&
           !tsk_stream_owed(c->stream, source) && tsk_stream_kept(c->stream, source);
}

void inquiry_status(struct collect *c, const char *source, const char *topic,
                    struct json_object *message)
{
    if (!is_idle(c, source, message))
        return;
    if (c->inquiry[0] && strcmp(topic, c->inquiry) == 0)
        batches_forgotten(c->batches, source, c->inquired_at, keep_due, c);
    c->inquire |= batches_wait_for(c->batches, source);
}

static void with_space(const char *topic, char prefix[TSK_ID_SIZE + 1])
{
    snprintf(prefix, TSK_ID_SIZE + 1, "%s ", topic);
}

void inquiry_send(struct collect *c)
{
    char prefix[TSK_ID_SIZE + 1], id[TSK_UUID_SIZE];
    if (!c->inquire || c->now - c->inquired_at < AGAIN_MS)
        return;
    if (c->inquiry[0]) {
        with_space(c->inquiry, prefix);
        tsk_bus_unsubscribe(c->bus, prefix);
    }
    tsk_uuid(id);
    snprintf(c->inquiry, sizeof c->inquiry, TSK_TOPIC_STATUS "%s", id);
    with_space(c->inquiry, prefix);
    tsk_bus_subscribe(c->bus, prefix);
    c->inquired_at = c->now;
    c->inquire = false;
}
