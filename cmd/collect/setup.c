/* What is opened at the start, and closed at the end. */
#include "collect/collect.h"
#include "collect/keep.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/life.h"
#include "common/signals.h"
#include "tasker/clock.h"
#include "tasker/message.h"
#include "tasker/parse.h"

enum { SOURCES_MOST = 1000, HELD_MOST = 10000, HELD_BYTES = 16 << 20 };

/* The topics of the protocol. They are without the space that ends them there, for the peers that
 * send topic and JSON as two frames; the last is this collector's own, and has it, since that is
 * what workers know a collector by. */
static void subscribe(struct collect *c)
{
    static const enum tsk_type types[] = {TSK_TYPE_PARTIAL, TSK_TYPE_COMPLETION, TSK_TYPE_ERROR,
                                          TSK_TYPE_WORKER};
    char own[TSK_TOPIC_SIZE];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        tsk_bus_subscribe(c->bus, tsk_type_name(types[i]));
    tsk_bus_subscribe(c->bus, TSK_TOPIC_RESULTS);
    snprintf(own, sizeof own, TSK_TOPIC_COLLECTOR "%s ", c->id);
    tsk_bus_subscribe(c->bus, own);
}

static int open_bus(struct collect *c, const struct tsk_conf *conf, struct tsk_err *err)
{
    c->bus = tsk_bus_open(conf, TSK_RESULTS, TSK_RECEIVER, err);
    if (!c->bus)
        return -1;
    subscribe(c);
    tsk_poller_set(c->poller, tsk_bus_fd(c->bus), TSK_READ, &c->bus);
    life_watch(c->bus, c->poller, &c->bus);
    diag_info("%s %s as collector %s", tsk_bus_binds(c->bus) ? "bound to" : "connecting to",
              tsk_bus_endpoint(c->bus), c->id);
    return 0;
}

static int name_itself(struct collect *c, const char *id, struct tsk_err *err)
{
    if (!id)
        tsk_uuid(c->id);
    else if (tsk_name_valid(id))
        snprintf(c->id, sizeof c->id, "%s", id);
    else
        return tsk_err_set(err, TSK_USAGE, "--id \"%s\" is not " TSK_NAME_RULE, id);
    return 0;
}

int collect_open(struct collect *c, const struct options *opts, const struct tsk_conf *conf,
                 char *const *operands, size_t count, struct tsk_err *err)
{
    int64_t silence = tsk_conf_int(conf, TSK_ZEROMQ_SILENCE_TIMEOUT);
    *c = (struct collect){.opts = opts, .input_fd = -1};
    c->everything = opts->all || opts->follow || opts->count;
    c->silence = silence > 0 ? silence : -1;
    c->started = c->heard_at = c->now = tsk_now_ms();
    c->parser = tsk_json_new();
    c->stream = tsk_stream_new(SOURCES_MOST);
    c->lost = lost_new(tsk_conf_int(conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL),
                       2 * tsk_conf_int(conf, TSK_ZEROMQ_RECONNECT_MAX), c->stream);
    c->batches = batches_new(opts->timeout, c->silence, c->stream, c->lost);
    c->held = held_new(HELD_MOST, HELD_BYTES);
    c->endpoints =
        endpoints_new(TSK_HEARTBEATS_MISSED * tsk_conf_int(conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL),
                      tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_MAX_AGE));
    c->told = tsk_map_new(free);
    c->linger = tsk_conf_int(conf, TSK_ZEROMQ_LINGER);
    c->silent_most = TSK_HEARTBEATS_MISSED * tsk_conf_int(conf, TSK_ZEROMQ_HEARTBEAT_INTERVAL);
    c->skews = tsk_map_new(free);
    c->patience = tsk_conf_int(conf, TSK_STORE_TIMEOUT);
    c->lines = tsk_lines_new(operands, count,
                             tsk_receipt_most(tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES)));
    if (name_itself(c, opts->id, err) < 0)
        return -1;
    c->poller = tsk_poller_new();
    if (!c->poller)
        return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot wait for descriptors");
    int signal_fd = signals_open(false, err);
    if (signal_fd < 0)
        return -1;
    tsk_poller_set(c->poller, signal_fd, TSK_READ, &c->stop);
    if (keep_open(c, conf, err) < 0)
        return -1;
    if (c->ledger && opts->follow)
        tsk_ledger_look_open(c->ledger, c->now);
    return open_bus(c, conf, err);
}

void collect_close(struct collect *c)
{
    life_close(c->bus, DIAG_INFO);
    keep_close(c);
    signals_close();
    tsk_lines_free(c->lines);
    endpoints_free(c->endpoints);
    tsk_map_free(c->told);
    tsk_map_free(c->skews);
    held_free(c->held);
    batches_free(c->batches);
    lost_free(c->lost);
    tsk_stream_free(c->stream);
    tsk_json_free(c->parser);
    tsk_poller_free(c->poller);
}
