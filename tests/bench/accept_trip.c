/* accept_trip COUNT IN ENDPOINT: writes one batch of one step to IN (a FIFO that tasker-publish
 * reads), waits until a plain SUB at ENDPOINT (where a worker sends results) sees that it runs,
 * then until it has ended, then sends the next one. Prints how long it was until in_progress:
 *
 *     count=COUNT p50_us=A p99_us=B */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "bench.h"

enum { WARM_UP = 10, WAIT_MS = 20000, ROOM = 8192 };

static void send_batch(int fd, long i)
{
    char line[512];
    int len = snprintf(line, sizeof line,
                       "{\"message_type\":\"batch\",\"batch_id\":\"at-%ld-%ld\",\"steps\":[{"
                       "\"step_id\":%ld,\"task_id\":1,\"step_name\":\"validate_order\","
                       "\"handler_class\":\"Bench::True\",\"task_context\":{\"order_id\":12345}}]}"
                       "\n",
                       (long)getpid(), i, i);
    if (write(fd, line, (size_t)len) != len)
        bench_die("cannot write a batch: %s", strerror(errno));
}

static bool is_about(const char *message, long i)
{
    char id[64];
    snprintf(id, sizeof id, "\"at-%ld-%ld\"", (long)getpid(), i);
    return strstr(message, id) != NULL;
}

/* Waits for a message about batch i with such a beginning and such a part. */
static void wait_for(void *socket, long i, const char *topic, const char *part)
{
    char message[ROOM + 1];
    for (int len; (len = zmq_recv(socket, message, ROOM, 0)) >= 0;) {
        message[len < ROOM ? len : ROOM] = '\0';
        if (!strncmp(message, topic, strlen(topic)) && strstr(message, part) &&
            is_about(message, i))
            return;
    }
    bench_die("no \"%s\" in %d ms: %s", topic, WAIT_MS, zmq_strerror(zmq_errno()));
}

int main(int argc, char **argv)
{
    if (argc != 4)
        bench_die("usage: accept_trip COUNT IN ENDPOINT");
    long count = bench_number(argv[1]);
    int64_t *took = bench_alloc((size_t)(count + WARM_UP) * sizeof *took);
    int wait_ms = WAIT_MS, out = open(argv[2], O_WRONLY);
    if (out < 0)
        bench_die("%s: %s", argv[2], strerror(errno));
    void *ctx = zmq_ctx_new(), *socket = zmq_socket(ctx, ZMQ_SUB);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
    if (zmq_connect(socket, argv[3]) < 0)
        bench_die("%s: %s", argv[3], zmq_strerror(zmq_errno()));
    char status[ROOM]; /* the first that comes shows that all is connected */
    if (zmq_recv(socket, status, sizeof status, 0) < 0)
        bench_die("%s: nothing comes", argv[3]);
    for (long i = 0; i < count + WARM_UP; i++) {
        int64_t begin = bench_now();
        send_batch(out, i + 1);
        wait_for(socket, i + 1, "partial_result ", "\"in_progress\"");
        took[i] = bench_now() - begin;
        wait_for(socket, i + 1, "batch_completion ", "");
    }
    printf("count=%ld", count);
    bench_print_percentiles(took + WARM_UP, count);
    putchar('\n');
    close(out);
    zmq_close(socket);
    zmq_ctx_term(ctx);
    free(took);
    return 0;
}
