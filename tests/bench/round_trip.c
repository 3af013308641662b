/* round_trip COUNT IN OUT: writes one batch of one step to IN (a FIFO that tasker-publish reads),
 * waits for its completion on OUT (one that tasker-collect writes), then sends the next one, and
 * prints
 *
 *     count=COUNT p50_us=A p99_us=B */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

enum { WARM_UP = 10, WAIT_MS = 20000, ROOM = 1 << 16 };

struct reader {
    int fd;
    size_t len;
    char text[ROOM + 1];
};

static void send_batch(int fd, long i)
{
    char line[512];
    int len = snprintf(line, sizeof line,
                       "{\"message_type\":\"batch\",\"batch_id\":\"rt-%ld-%ld\",\"steps\":[{"
                       "\"step_id\":%ld,\"task_id\":1,\"step_name\":\"validate_order\","
                       "\"handler_class\":\"Bench::True\",\"task_context\":{\"order_id\":12345},"
                       "\"previous_results\":{\"fetch_order\":{\"total\":10}}}]}\n",
                       (long)getpid(), i, i);
    if (write(fd, line, (size_t)len) != len)
        bench_die("cannot write a batch: %s", strerror(errno));
}

/* Takes the next line off what was read, and returns whether it is a completion; -1: no line. */
static int next_line(struct reader *reader)
{
    char *newline = memchr(reader->text, '\n', reader->len);
    if (!newline)
        return -1;
    *newline = '\0';
    int found = strstr(reader->text, "\"message_type\":\"batch_completion\"") != NULL;
    size_t used = (size_t)(newline + 1 - reader->text);
    memmove(reader->text, newline + 1, reader->len -= used);
    return found;
}

static void read_more(struct reader *reader)
{
    struct pollfd pfd = {.fd = reader->fd, .events = POLLIN};
    if (poll(&pfd, 1, WAIT_MS) <= 0)
        bench_die("no completion in %d ms", WAIT_MS);
    ssize_t got = read(reader->fd, reader->text + reader->len, ROOM - reader->len);
    if (got <= 0)
        bench_die("the results ended too early");
    reader->len += (size_t)got;
}

static void wait_completion(struct reader *reader)
{
    for (int found; (found = next_line(reader)) != 1;) {
        if (found < 0)
            read_more(reader);
    }
}

int main(int argc, char **argv)
{
    static struct reader reader;
    if (argc != 4)
        bench_die("usage: round_trip COUNT IN OUT");
    long count = bench_number(argv[1]);
    int64_t *took = bench_alloc((size_t)(count + WARM_UP) * sizeof *took);
    int out = open(argv[2], O_WRONLY);
    reader.fd = open(argv[3], O_RDONLY);
    if (out < 0 || reader.fd < 0)
        bench_die("cannot open the FIFOs: %s", strerror(errno));
    for (long i = 0; i < count + WARM_UP; i++) {
        int64_t begin = bench_now();
        send_batch(out, i + 1);
        wait_completion(&reader);
        took[i] = bench_now() - begin;
    }
    printf("count=%ld", count);
    bench_print_percentiles(took + WARM_UP, count);
    putchar('\n');
    close(out);
    close(reader.fd);
    free(took);
    return 0;
}
