/* What became of a batch after a worker has accepted it: what the ledger has of it, and what the
 * worker itself reports, which is asked for a short time. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/life.h"
#include "ready/explain.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/json.h"
#include "tasker/message.h"

#define WAIT_MS 1500 /* a worker that lives answers at once */

/* Asks whoever is at endpoint for its status. Returns that (the caller's), or NULL. */
static struct json_object *ask(const struct tsk_conf *conf, const char *endpoint)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_bus *bus = tsk_bus_open_at(conf, TSK_RESULTS, TSK_RECEIVER, false, endpoint, &err);
    struct json_object *status = NULL;
    char uuid[TSK_UUID_SIZE], topic[64];
    if (!bus)
        return NULL;
    tsk_uuid(uuid);
    snprintf(topic, sizeof topic, TSK_TOPIC_STATUS "%s ", uuid);
    tsk_bus_subscribe(bus, topic);
    topic[strlen(topic) - 1] = '\0';
    struct tsk_json *parser = tsk_json_new();
    int64_t deadline = tsk_now_ms() + WAIT_MS;
    while (!status && tsk_left_ms(deadline) > 0) {
        struct tsk_frame frame;
        struct pollfd fd = {.fd = tsk_bus_fd(bus), .events = POLLIN};
        life_tell(bus); /* which connects to a host that is a name */
        int rc = tsk_bus_recv(bus, &frame, &err);
        if (rc > 0 && strcmp(frame.topic, topic) == 0)
            status = tsk_json_object(parser, frame.body, frame.len, NULL);
        else if (rc <= 0)
            poll(&fd, 1, tsk_left_ms(tsk_earlier(deadline, tsk_now_ms() + 100)));
    }
    tsk_json_free(parser);
    tsk_bus_close(bus);
    return status;
}

static void tell_silent(struct explain *explain, const struct explain_accepted *accepted)
{
    explain_add(explain, accepted->worker);
    if (accepted->heard < 0)
        tsk_buf_str(&explain->line, " does not answer, and nothing was ever heard of it");
    else
        tsk_buf_str(&explain->line, " does not answer; it has not been heard of since ");
    if (accepted->heard >= 0)
        explain_add_time(explain, accepted->heard);
    tsk_buf_str(&explain->line, " (asked at ");
    explain_add(explain, accepted->endpoint);
    tsk_buf_str(&explain->line, "); a tasker-collect that runs reports it as lost");
}

static void tell_status(struct explain *explain, const struct explain_accepted *accepted,
                        struct json_object *status)
{
    const char *source = tsk_json_str(status, "source");
    int64_t oldest = 0, newest = 0, running = 0, queued = 0, collectors = 0;
    tsk_json_int(status, "running", &running);
    tsk_json_int(status, "queued", &queued);
    tsk_json_int(status, "collectors", &collectors);
    bool holds = tsk_json_int(status, "oldest", &oldest) > 0 &&
                 tsk_json_int(status, "offset", &newest) > 0 && oldest <= newest;
    explain_add(explain, accepted->worker);
    if (!source || strcmp(source, accepted->source) != 0)
        tsk_buf_str(&explain->line, " is another process now: what it had accepted is lost with "
                                    "it; a tasker-collect that runs reports that");
    else if (holds && !collectors)
        tsk_buf_printf(&explain->line,
                       " has the results %" PRId64 " to %" PRId64
                       " in its outbox, and no collector takes them: run tasker-collect",
                       oldest, newest);
    else
        tsk_buf_printf(&explain->line, " lives: %" PRId64 " running, %" PRId64 " queued, %s",
                       running, queued,
                       holds ? "its results are being collected" : "no result held");
}

void explain_worker(struct explain *explain, const struct explain_accepted *accepted)
{
    explain_begin(explain);
    if (accepted->unsettled) {
        tsk_buf_str(&explain->line, "its result is in the ledger, or other news of its batch: run "
                                    "tasker-reconcile");
    } else if (!*accepted->endpoint || !*accepted->source) {
        tsk_buf_str(&explain->line, "nobody knows where its worker is: it tells nothing about "
                                    "itself");
    } else {
        struct json_object *status = ask(explain->conf, accepted->endpoint);
        if (status)
            tell_status(explain, accepted, status);
        else
            tell_silent(explain, accepted);
        json_object_put(status);
    }
    explain_end(explain);
}
