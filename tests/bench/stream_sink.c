/* stream_sink ENDPOINT COUNT: the bare limit of all that receives from stream_send: an XSUB that
 * looks at nothing. It confirms all when so many messages have come. */
#include <string.h>
#include <zmq.h>

#include "bench.h"

static void subscribe(void *socket, const char *prefix)
{
    char text[64];
    int len = snprintf(text, sizeof text, "\1%s", prefix);
    zmq_send(socket, text, (size_t)len, 0);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        bench_die("usage: stream_sink ENDPOINT COUNT");
    long count = bench_number(argv[2]);
    char text[64];
    int hwm = 10000;
    void *ctx = zmq_ctx_new(), *socket = zmq_socket(ctx, ZMQ_XSUB);
    zmq_setsockopt(socket, ZMQ_RCVHWM, &hwm, sizeof hwm);
    if (zmq_connect(socket, argv[1]) < 0)
        bench_die("%s: %s", argv[1], zmq_strerror(zmq_errno()));
    subscribe(socket, "partial_result ");
    subscribe(socket, "batch_completion ");
    subscribe(socket, "collector.sink ");
    zmq_msg_t message;
    zmq_msg_init(&message);
    for (long got = 0; got < count;) {
        if (zmq_msg_recv(&message, socket, 0) < 0)
            bench_die("receive: %s", zmq_strerror(zmq_errno()));
        got += ((char *)zmq_msg_data(&message))[0] != 'c';
    }
    zmq_msg_close(&message);
    snprintf(text, sizeof text, "collected {\"offset\":%ld}", count);
    zmq_send(socket, text, strlen(text), 0);
    zmq_close(socket);
    zmq_ctx_term(ctx);
    return 0;
}
