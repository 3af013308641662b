/* A publisher and a worker answer a subscription to "status.NAME " on that topic, so asking needs
 * no second port and disturbs no other peer: such a subscription counts as no worker and no
 * collector. */
#include "common/ask.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/life.h"
#include "tasker/clock.h"

/* Returns the status in an answer, or NULL with err. */
static struct json_object *read_answer(const struct tsk_frame *frame, struct tsk_err *err)
{
    struct tsk_json *parser = tsk_json_new();
    struct json_object *answer = tsk_json_object(parser, frame->body, frame->len, err);
    const char *type = tsk_json_str(answer, "message_type");
    tsk_json_free(parser);
    if (!answer)
        tsk_err_prefix(err, "its answer is no status: ");
    else if (type && (!strcmp(type, TSK_MESSAGE_PUBLISHER_STATUS) ||
                      !strcmp(type, tsk_type_name(TSK_TYPE_WORKER))))
        return answer;
    else
        tsk_err_set(err, TSK_DATA, "its answer is no status");
    err->kind = TSK_DATA;
    json_object_put(answer);
    return NULL;
}

struct json_object *ask_status(const struct tsk_conf *conf, enum tsk_channel channel,
                               const char *endpoint, const char *step, int64_t timeout,
                               struct tsk_err *err)
{
    struct tsk_bus *bus = tsk_bus_open_at(conf, channel, TSK_RECEIVER, false, endpoint, err);
    struct json_object *status = NULL;
    char uuid[TSK_UUID_SIZE], topic[TSK_TOPIC_SIZE];
    if (!bus)
        return NULL;
    tsk_uuid(uuid);
    snprintf(topic, sizeof topic, TSK_TOPIC_STATUS "%s%s%s ", uuid, step ? "." : "",
             step ? step : "");
    tsk_bus_subscribe(bus, topic);
    topic[strlen(topic) - 1] = '\0'; /* as it comes back: without the space */
    tsk_err_set(err, TSK_TEMPFAIL, "no answer");
    int64_t deadline = tsk_now_ms() + timeout;
    while (!status) {
        struct tsk_frame frame;
        struct tsk_err bad;
        struct pollfd fd = {.fd = tsk_bus_fd(bus), .events = POLLIN};
        int rc = tsk_bus_recv(bus, &frame, &bad);
        if (rc > 0 && strcmp(frame.topic, topic) == 0)
            status = read_answer(&frame, err);
        else if (rc <= 0 && tsk_left_ms(deadline) == 0)
            break;
        else if (rc <= 0)
            poll(&fd, 1, tsk_left_ms(tsk_earlier(deadline, life_deadline(bus))));
        life_tell(bus);
    }
    life_close(bus, DIAG_INFO);
    return status;
}
