/* stream_send ENDPOINT RESULTS: a worker's results side with nothing behind it. Binds an XPUB at
 * ENDPOINT, waits for a collector, sends it the lines of a file, of which line N must have the
 * offset N, and ends when all are confirmed. Prints
 *
 *     messages=COUNT seconds=FROM_THE_FIRST_SENT_TO_ALL_CONFIRMED rate=R replays=N
 *
 * Nothing is dropped here: at the high-water mark it waits (ZMQ_XPUB_NODROP), so that the receiver
 * sets the pace. A replay asked for begins again at that place. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "bench.h"

enum { QUIET_MS = 30000, LOOK_EVERY = 256, HWM = 10000 };

#define SOURCE "01a2097a-623b-72ff-980f-d0a8ff8d3e64"
#define STATUS_EVERY 1000000000 /* ns */

struct line {
    const char *text;
    size_t len;
};

struct sender {
    void *ctx, *socket;
    struct line *lines; /* line i has the offset i + 1 */
    long count, next, confirmed, replays;
    char collector[256]; /* its topic, with the space; "": not there yet */
    bool results, completions;
    int64_t moved, status_at; /* when something was sent or heard; when a status is due */
};

static void read_lines(struct sender *s, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0 || !st.st_size)
        bench_die("%s: cannot be read or is empty", path);
    const char *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED)
        bench_die("%s: %s", path, strerror(errno));
    const char *end = text + st.st_size;
    for (const char *newline; text < end && (newline = memchr(text, '\n', (size_t)(end - text)));
         text = newline + 1) {
        if ((s->count & (s->count + 1)) == 0)
            s->lines = realloc(s->lines, (size_t)(2 * (s->count + 1)) * sizeof *s->lines);
        if (!s->lines)
            bench_die("out of memory");
        s->lines[s->count++] = (struct line){text, (size_t)(newline - text)};
    }
}

static void send_status(struct sender *s)
{
    char text[1024];
    int len = snprintf(text, sizeof text,
                       "%s{\"message_type\":\"worker_status\",\"worker_id\":\"vm-2683\","
                       "\"source\":\"" SOURCE "\",\"offset\":%ld,\"oldest\":1,\"unconfirmed\":%ld,"
                       "\"state\":\"ready\"}",
                       s->collector, s->next, s->confirmed + 1);
    zmq_send(s->socket, text, (size_t)len, ZMQ_DONTWAIT);
    s->status_at = bench_now() + STATUS_EVERY;
}

static bool covers(const char *subscription, const char *topic)
{
    return !strncmp(topic, subscription, strlen(subscription));
}

static void take_subscription(struct sender *s, const char *topic)
{
    s->results |= covers(topic, "partial_result ");
    s->completions |= covers(topic, "batch_completion ");
    if (!strncmp(topic, "collector.", 10))
        snprintf(s->collector, sizeof s->collector, "%.255s", topic);
}

static void take_upstream(struct sender *s, const char *text)
{
    const char *after = strstr(text, "\"after\":"), *offset = strstr(text, "\"offset\":");
    if (!strncmp(text, "replay ", 7) && after) {
        s->next = strtol(after + 8, NULL, 10);
        s->replays++;
    } else if (!strncmp(text, "collected ", 10) && offset) {
        s->confirmed = strtol(offset + 9, NULL, 10);
    }
    if (s->next > s->count || s->next < 0 || s->confirmed > s->count)
        bench_die("asked for what was never sent: %s", text);
}

/* Reads all that has come upstream; waits for it at most so long. */
static void look_up(struct sender *s, int wait_ms)
{
    char text[1024];
    zmq_pollitem_t item = {.socket = s->socket, .events = ZMQ_POLLIN};
    zmq_poll(&item, 1, wait_ms);
    for (int len; (len = zmq_recv(s->socket, text, sizeof text - 1, ZMQ_DONTWAIT)) >= 0;) {
        text[len < (int)sizeof text ? len : (int)sizeof text - 1] = '\0';
        if (len && text[0] == 1)
            take_subscription(s, text + 1);
        else if (len && text[0])
            take_upstream(s, text);
        s->moved = bench_now();
    }
    if (bench_now() - s->moved > (int64_t)QUIET_MS * 1000000)
        bench_die("nothing was heard for %d s, at %ld of %ld", QUIET_MS / 1000, s->next, s->count);
}

/* Sends the next line. Returns false if there was no room for it. */
static bool send_line(struct sender *s)
{
    static const char partial[] = "partial_result ", completion[] = "batch_completion ";
    const struct line *line = &s->lines[s->next];
    bool is_partial = line->len > 17 && line->text[17] == 'p'; /* {"message_type":"p... */
    const char *topic = is_partial ? partial : completion;
    size_t len = is_partial ? sizeof partial - 1 : sizeof completion - 1;
    zmq_msg_t message;
    zmq_msg_init_size(&message, len + line->len);
    memcpy(zmq_msg_data(&message), topic, len);
    memcpy((char *)zmq_msg_data(&message) + len, line->text, line->len);
    if (zmq_msg_send(&message, s->socket, 0) < 0) {
        zmq_msg_close(&message);
        return false;
    }
    s->next++;
    return true;
}

static void open_socket(struct sender *s, const char *endpoint)
{
    int one = 1, hwm = HWM, wait_ms = 20;
    s->ctx = zmq_ctx_new();
    s->socket = zmq_socket(s->ctx, ZMQ_XPUB);
    zmq_setsockopt(s->socket, ZMQ_XPUB_VERBOSER, &one, sizeof one);
    zmq_setsockopt(s->socket, ZMQ_XPUB_NODROP, &one, sizeof one);
    zmq_setsockopt(s->socket, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(s->socket, ZMQ_SNDTIMEO, &wait_ms, sizeof wait_ms);
    if (zmq_bind(s->socket, endpoint) < 0)
        bench_die("%s: %s", endpoint, zmq_strerror(zmq_errno()));
    s->moved = bench_now();
}

static void send_all(struct sender *s)
{
    while (s->confirmed < s->count) {
        for (int i = 0; i < LOOK_EVERY && s->next < s->count && send_line(s); i++)
            s->moved = bench_now();
        if (bench_now() >= s->status_at)
            send_status(s);
        look_up(s, s->next == s->count ? 100 : 0);
    }
}

int main(int argc, char **argv)
{
    static struct sender sender;
    if (argc != 3)
        bench_die("usage: stream_send ENDPOINT RESULTS");
    read_lines(&sender, argv[2]);
    open_socket(&sender, argv[1]);
    while (!*sender.collector || !sender.results || !sender.completions)
        look_up(&sender, 100);
    send_status(&sender);
    int64_t begin = bench_now();
    send_all(&sender);
    double seconds = bench_seconds(bench_now() - begin);
    printf("messages=%ld seconds=%.6f rate=%.1f replays=%ld\n", sender.count, seconds,
           (double)sender.count / seconds, sender.replays);
    zmq_close(sender.socket);
    zmq_ctx_term(sender.ctx);
    free(sender.lines);
    return 0;
}
