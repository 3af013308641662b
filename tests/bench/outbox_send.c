/* outbox_send ENDPOINT COUNT [READY]: the results side of a worker, with the library's own outbox
 * and socket and nothing behind it. Binds at ENDPOINT, waits for a collector, sends COUNT results,
 * sends again what is asked for, ends when all are confirmed, and prints
 *
 *     messages=COUNT begin_us=A end_us=B replays=N lost=N
 *
 * (times of one clock for all processes). It sends no more than WINDOW results ahead of what is
 * confirmed, since who sends without end has the rest dropped, and no worker makes results so fast.
 *
 * With READY the collector goes and comes again: FEW results are confirmed, then the file READY.met
 * is made; when the collector has gone, COUNT results go out to nobody, then READY is made; the
 * next collector gets them all. The times are those of the second part. */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>

#include "bench.h"
#include "result_line.h"
#include "work/outbox.h"
#include "tasker/tasker.h"

enum {
    WINDOW = 8000,
    AT_ONCE = 256, /* results sent between two looks at what comes upstream */
    FEW = 1000,
    QUIET_MS = 30000,
};

struct sender {
    struct tsk_bus *bus;
    struct tsk_outbox *outbox;
    struct tsk_json *json;
    char source[TSK_UUID_SIZE];
    char collector[TSK_ID_SIZE]; /* "": none is there */
    int64_t replay_next;         /* 0: no replay is under way */
    int64_t replays, status_at, moved;
};

static void send_text(struct sender *s, const char *topic, const char *body, size_t len)
{
    struct tsk_err err;
    if (tsk_bus_send(s->bus, topic, body, len, &err) < 0)
        bench_die("%s", err.text);
}

static int64_t confirmed(const struct sender *s)
{
    return tsk_outbox_unconfirmed(s->outbox) - 1;
}

static void send_status(struct sender *s, const char *topic)
{
    char text[512];
    int len = snprintf(text, sizeof text,
                       "{\"message_type\":\"worker_status\",\"worker_id\":\"vm-2683\","
                       "\"source\":\"%s\",\"offset\":%" PRId64 ",\"oldest\":%" PRId64
                       ",\"unconfirmed\":%" PRId64 ",\"state\":\"ready\",\"heartbeat_ms\":1000}",
                       s->source, tsk_outbox_next(s->outbox) - 1, tsk_outbox_oldest(s->outbox),
                       tsk_outbox_unconfirmed(s->outbox));
    send_text(s, topic, text, (size_t)len);
    s->status_at = tsk_now_ms() + 1000;
}

static void take_subscription(struct sender *s, const struct tsk_frame *frame)
{
    char topic[TSK_TOPIC_SIZE];
    size_t len = strlen(frame->topic);
    if (strncmp(frame->topic, "collector.", 10) != 0)
        return;
    snprintf(topic, sizeof topic, "%.*s", (int)len - 1, frame->topic);
    if (frame->kind == TSK_FRAME_LEAVE) {
        tsk_outbox_leave(s->outbox, topic + 10);
        s->collector[0] = '\0';
        s->replay_next = 0;
    } else {
        snprintf(s->collector, sizeof s->collector, "%.128s", topic + 10);
        tsk_outbox_join(s->outbox, s->collector);
        send_status(s, topic);
    }
}

static void take_upstream(struct sender *s, const struct tsk_frame *frame)
{
    struct tsk_err err;
    struct json_object *message = tsk_json_object(s->json, frame->body, frame->len, &err);
    const char *source = tsk_json_str(message, "source");
    const char *collector = tsk_json_str(message, "collector_id");
    int64_t offset;
    if (source && collector && !strcmp(source, s->source)) { /* else of the other worker */
        if (!strcmp(frame->topic, "replay") && tsk_json_int(message, "after", &offset) == 1) {
            s->replay_next = offset + 1;
            s->replays++;
        } else if (!strcmp(frame->topic, "collected") &&
                   tsk_json_int(message, "offset", &offset) == 1) {
            tsk_outbox_confirm(s->outbox, collector, offset);
        }
    }
    json_object_put(message);
}

static void look_up(struct sender *s)
{
    struct tsk_frame frame;
    struct tsk_err err;
    for (int got; (got = tsk_bus_recv(s->bus, &frame, &err)) != 0; s->moved = tsk_now_ms()) {
        if (got < 0)
            bench_die("%s", err.text);
        if (frame.kind == TSK_FRAME_MESSAGE)
            take_upstream(s, &frame);
        else
            take_subscription(s, &frame);
    }
}

/* Sends some of what was asked for again. Returns whether there was any. */
static bool replay_part(struct sender *s)
{
    char topic[TSK_TOPIC_SIZE];
    struct tsk_outbox_entry entry;
    bool any = false;
    snprintf(topic, sizeof topic, "collector.%s", s->collector);
    for (int i = 0; i < AT_ONCE && s->replay_next; i++, any = true) {
        if (s->replay_next > confirmed(s) + WINDOW)
            break;
        if (!tsk_outbox_get(s->outbox, s->replay_next, &entry)) {
            s->replay_next = 0;
            break;
        }
        send_text(s, topic, entry.body, entry.len);
        s->replay_next++;
    }
    return any;
}

/* Makes and sends the next results up to last; those for nobody at any pace. */
static bool send_part(struct sender *s, int64_t last)
{
    char line[RESULT_LINE_SIZE];
    int64_t now = tsk_now_ms(), offset = tsk_outbox_next(s->outbox), first = offset;
    int64_t ahead = *s->collector ? confirmed(s) + WINDOW : last;
    for (; offset <= last && offset <= ahead && offset < first + AT_ONCE; offset++) {
        struct tsk_outbox_entry entry;
        struct tsk_err err;
        size_t len = result_line(line, s->source, (long)offset);
        tsk_outbox_add(s->outbox, result_line_topic((long)offset), line, len, now);
        if (tsk_outbox_get(s->outbox, offset, &entry) &&
            tsk_bus_send_blob(s->bus, entry.blob, &err) < 0)
            bench_die("%s", err.text);
    }
    return offset > first;
}

/* A round of the loop, in which results up to last are sent. */
static void turn(struct sender *s, int64_t last)
{
    struct pollfd pfd = {.fd = tsk_bus_fd(s->bus), .events = POLLIN};
    bool busy = send_part(s, last);
    busy |= replay_part(s);
    int64_t now = tsk_now_ms();
    if (now >= s->status_at) {
        tsk_outbox_expire(s->outbox, now);
        send_status(s, "worker_status");
    }
    int64_t before = confirmed(s);
    look_up(s);
    if (busy || confirmed(s) > before)
        s->moved = now;
    else
        poll(&pfd, 1, tsk_left_ms(s->status_at));
    if (now - s->moved > QUIET_MS)
        bench_die("nothing moved for %d s, at %" PRId64 " of %" PRId64, QUIET_MS / 1000,
                  confirmed(s), last);
}

static void make_file(const char *path, const char *end)
{
    char name[4096];
    snprintf(name, sizeof name, "%s%s", path, end);
    FILE *file = fopen(name, "w");
    if (!file || fclose(file))
        bench_die("%s cannot be made", name);
}

/* Lets the collector go, and fills the outbox meanwhile. */
static void part_and_fill(struct sender *s, int64_t count, const char *ready)
{
    while (confirmed(s) < FEW)
        turn(s, FEW);
    make_file(ready, ".met");
    while (*s->collector)
        turn(s, FEW);
    while (tsk_outbox_next(s->outbox) <= FEW + count)
        turn(s, FEW + count);
    make_file(ready, "");
    while (!*s->collector)
        turn(s, FEW + count);
}

int main(int argc, char **argv)
{
    static struct sender s;
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    if (argc != 3 && argc != 4)
        bench_die("usage: outbox_send ENDPOINT COUNT [READY]");
    int64_t count = bench_number(argv[2]), last = argc == 4 ? FEW + count : count;
    s.outbox = tsk_outbox_new(tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_LIMIT),
                              tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_MAX_BYTES),
                              tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_MAX_AGE));
    s.bus = tsk_bus_open_at(conf, TSK_RESULTS, TSK_SENDER, true, argv[1], &err);
    if (!s.bus)
        bench_die("%s", err.text);
    s.json = tsk_json_new();
    tsk_uuid(s.source);
    s.moved = tsk_now_ms();
    while (!*s.collector)
        turn(&s, 0);
    if (argc == 4)
        part_and_fill(&s, count, argv[3]);
    int64_t begin = bench_now();
    while (confirmed(&s) < last)
        turn(&s, last);
    printf("messages=%" PRId64 " begin_us=%" PRId64 " end_us=%" PRId64 " replays=%" PRId64
           " lost=%" PRId64 "\n",
           count, begin / 1000, bench_now() / 1000, s.replays, tsk_outbox_lost(s.outbox));
    tsk_bus_close(s.bus);
    tsk_outbox_free(s.outbox);
    tsk_json_free(s.json);
    tsk_conf_free(conf);
    return 0;
}
