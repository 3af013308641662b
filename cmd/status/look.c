/* A look at one endpoint, and its likely cause where something is wrong.
 *
 * The five classic ways to hear nothing on PUB/SUB are told apart here: nothing listens, something
 * else listens (or nothing answers), the handshake is refused, both sides connect, both sides bind.
 * The last two can only be told for a configured endpoint, of which it is known who should bind it.
 */
#include "status/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasker/os.h"

void look_init(struct look *look, const char *name, enum tsk_channel channel, const char *endpoint,
               size_t len)
{
    struct tsk_buf copy = TSK_BUF_INIT;
    memset(look, 0, sizeof *look);
    tsk_buf_add(&copy, endpoint, len);
    look->name = name;
    look->endpoint = copy.data;
    look->channel = channel;
    look->cause = (struct tsk_buf)TSK_BUF_INIT;
    tsk_buf_str(&look->cause, "");
    peer_init(&look->peer);
}

void look_fini(struct look *look)
{
    free(look->endpoint);
    tsk_buf_fini(&look->cause);
    peer_fini(&look->peer);
}

/* The key that says which side is to bind the channel. */
static enum tsk_conf_key bind_key(const struct look *look)
{
    return look->channel == TSK_STEPS ? TSK_ZEROMQ_BATCH_BIND : TSK_ZEROMQ_RESULT_BIND;
}

/* Which side should bind a configured endpoint, as the configuration has it. */
static enum tsk_side binder(const struct look *look, const struct tsk_conf *conf)
{
    return tsk_conf_int(conf, bind_key(look)) == 0 ? TSK_SENDER : TSK_RECEIVER;
}

static const char *binder_name(const struct look *look, const struct tsk_conf *conf)
{
    return tsk_conf_str(conf, bind_key(look));
}

/* Nothing listens: who should, and why it may not. */
static void explain_nobody(struct look *look, const struct tsk_conf *conf)
{
    struct tsk_buf *cause = &look->cause;
    tsk_buf_printf(cause, "nothing listens (%s)", look->probe.reason);
    if (look->holder[0])
        tsk_buf_printf(cause,
                       "; %s listens at this port, on another address of this machine: connect to "
                       "that one, or bind this one (ss -ltn shows both)",
                       look->holder);
    if (!look->name || look->holder[0])
        return;
    const char *who = binder_name(look, conf);
    tsk_buf_printf(cause, "; by zeromq.%s the %s binds it", tsk_conf_spec(bind_key(look))->key,
                   who);
    if (strcmp(who, "worker"))
        tsk_buf_printf(cause,
                       ", only while it runs: this is normal while no tasker-%s runs; if one "
                       "does, it has another endpoint, or both sides connect",
                       look->channel == TSK_STEPS ? "publish" : "collect");
    else
        tsk_buf_str(cause, ": no worker runs, it binds another endpoint, or both sides connect");
}

/* Who takes a connection and says nothing may be one of ours that stands still: then the system,
 * not the program, took it. */
static void explain_silent(struct look *look)
{
    const char *holder = look->holder;
    bool ours = strncmp(holder, "tasker-", strlen("tasker-")) == 0,
         stopped = strstr(holder, ", stopped)");
    if (!ours && !stopped)
        tsk_buf_printf(&look->cause, "%s%s%s: %s",
                       *holder ? "something else listens, " : "no answer", holder,
                       *holder ? "" : " from what listens there", look->probe.reason);
    else
        tsk_buf_printf(&look->cause, "%s listens and does not answer: %s", holder,
                       stopped ? "a signal stopped it; SIGCONT lets it go on"
                               : "it hangs, or the machine is too busy");
}

static void explain(struct look *look, const struct tsk_conf *conf)
{
    struct tsk_buf *cause = &look->cause;
    switch (look->probe.state) {
    case TSK_PROBE_OK:
        break;
    case TSK_PROBE_REFUSED:
        explain_nobody(look, conf);
        break;
    case TSK_PROBE_NO_HOST:
    case TSK_PROBE_TIMEOUT:
        tsk_buf_str(cause, look->probe.reason);
        break;
    case TSK_PROBE_SILENT:
        explain_silent(look);
        break;
    case TSK_PROBE_CLOSED:
    case TSK_PROBE_FOREIGN:
        tsk_buf_printf(cause, "something else listens%s%s: %s", look->holder[0] ? ", " : "",
                       look->holder, look->probe.reason);
        break;
    case TSK_PROBE_HANDSHAKE:
        tsk_buf_printf(cause, "handshake refused: %s%s", look->probe.reason,
                       look->probe.peer_type[0] ? ", and no PUB or SUB" : "");
        break;
    }
}

/* A peer is there, but of the wrong side. */
static void explain_both_bind(struct look *look, const struct tsk_conf *conf)
{
    bool sends = look->probe.side == TSK_RECEIVER;
    look->ok = false;
    look->state = "both_bind";
    tsk_buf_printf(
        &look->cause,
        "the side that %s listens, but by zeromq.%s the %s binds it: both sides bind, and the "
        "second cannot",
        sends ? "sends" : "subscribes", tsk_conf_spec(bind_key(look))->key,
        binder_name(look, conf));
}

/* A publisher where results should come from, or a worker where batches should. */
static void explain_wrong_peer(struct look *look)
{
    bool worker = look->peer.kind == PEER_WORKER;
    look->ok = false;
    look->state = "wrong_peer";
    tsk_buf_printf(&look->cause, "a %s listens, and %s come from here: is this the %s?",
                   worker ? "worker" : "publisher", worker ? "results" : "batches",
                   worker ? "result_endpoint" : "batch_endpoint");
}

/* Whether an endpoint of one list may be the same place as one of the other: host names may differ
 * and mean one machine, ports may not. */
static bool may_meet(const char *theirs, const char *ours)
{
    for (const char *a = theirs; *a; a += strcspn(a, ","), a += strspn(a, ", ")) {
        for (const char *b = ours; *b; b += strcspn(b, ","), b += strspn(b, ", ")) {
            size_t la = strcspn(a, ","), lb = strcspn(b, ",");
            size_t pa = la, pb = lb;
            while (pa && a[pa - 1] != ':' && a[pa - 1] != '/')
                pa--;
            while (pb && b[pb - 1] != ':' && b[pb - 1] != '/')
                pb--;
            if (la - pa == lb - pb && memcmp(a + pa, b + pb, la - pa) == 0)
                return true;
        }
    }
    return false;
}

/* A worker that takes its batches elsewhere gets none from here. */
static void check_batch_endpoint(struct look *look, const struct tsk_conf *conf)
{
    const char *theirs = tsk_json_str(look->peer.status, "batch_endpoint");
    const char *ours = tsk_conf_str(conf, TSK_ZEROMQ_BATCH_ENDPOINT);
    if (!theirs || strcmp(theirs, ours) == 0)
        return;
    snprintf(look->peer.note, sizeof look->peer.note, "here batch_endpoint is %.160s (%.60s)", ours,
             tsk_conf_origin(conf, TSK_ZEROMQ_BATCH_ENDPOINT));
    if (may_meet(theirs, ours))
        return; /* a remark: it may be the same place by another name */
    look->ok = false;
    look->state = "other_batches";
    tsk_buf_printf(&look->cause,
                   "a worker is there, but it takes batches from %s: what is published at %s never "
                   "reaches it; give both the same batch_endpoint",
                   theirs, ours);
}

/* Somebody connected to the place where nobody listened before, though by the configuration that
 * side binds. */
static void check_listened(struct look *look, const struct tsk_conf *conf)
{
    if (!look->name || look->peer.kind != PEER_LISTENED || !topics_count(&look->peer.topics))
        return;
    const char *who = look->channel == TSK_STEPS ? "worker" : "collector";
    tsk_buf_reset(&look->cause);
    if (strcmp(binder_name(look, conf), who) == 0) {
        look->state = "both_connect";
        tsk_buf_printf(&look->cause,
                       "both sides connect: by zeromq.%s the %s binds it, and it connected here; "
                       "set zeromq.%s alike on both sides",
                       tsk_conf_spec(bind_key(look))->key, who, tsk_conf_spec(bind_key(look))->key);
        return;
    }
    tsk_buf_printf(&look->cause,
                   "nothing listened, and a %s connects here: the %s that binds it by zeromq.%s "
                   "does not run; if it does, it connects too, or has another endpoint",
                   who, binder_name(look, conf), tsk_conf_spec(bind_key(look))->key);
}

/* The peer has told who it is: is it the one that should be there? */
static void check_peer(struct look *look, const struct tsk_conf *conf)
{
    enum peer_kind wanted = look->channel == TSK_STEPS ? PEER_PUBLISHER : PEER_WORKER;
    if (!look->name || !look->peer.status)
        return;
    if (look->peer.kind != wanted)
        explain_wrong_peer(look);
    else if (wanted == PEER_WORKER)
        check_batch_endpoint(look, conf);
}

/* An endpoint like tcp://127.0.0.1:* names nothing that could be looked at. */
static bool has_any_port(const char *endpoint)
{
    size_t len = strlen(endpoint);
    return strncmp(endpoint, "tcp://", 6) == 0 && len > 2 && !strcmp(endpoint + len - 2, ":*");
}

static int explain_any_port(struct look *look)
{
    look->state = "any_port";
    look->probe.connect_us = look->probe.handshake_us = -1;
    tsk_buf_str(&look->cause, "the port is chosen when it is bound, so there is nothing to look "
                              "at; its log, or a receipt's result_endpoint, has the true one");
    return 0;
}

int look_run(struct look *look, const struct tsk_conf *conf, const struct options *opts,
             int stop_fd, struct tsk_err *err)
{
    enum tsk_side side = TSK_RECEIVER;
    if (look->name && binder(look, conf) == TSK_RECEIVER)
        side = TSK_SENDER;
    if (has_any_port(look->endpoint))
        return explain_any_port(look);
    if (tsk_probe_endpoint(look->endpoint, side, opts->timeout, &look->probe, err))
        return -1;
    look->ok = look->probe.state == TSK_PROBE_OK;
    look->state = tsk_probe_state_name(look->probe.state);
    int port = tsk_probe_local_port(look->endpoint);
    if (!port || !tsk_os_port_holder(port, look->holder, sizeof look->holder))
        look->holder[0] = '\0';
    explain(look, conf);
    if (look->ok && look->probe.side == TSK_RECEIVER)
        peer_ask(&look->peer, conf, look->channel, look->probe.address, opts->timeout);
    else if (look->ok)
        peer_hear(&look->peer, conf, look->channel, look->probe.address, opts->timeout);
    else if (opts->listen && look->probe.state == TSK_PROBE_REFUSED)
        peer_listen(&look->peer, conf, look->channel, look->endpoint, opts->timeout, stop_fd);
    check_listened(look, conf);
    if (look->ok && look->name && look->probe.side != side)
        explain_both_bind(look, conf);
    else
        check_peer(look, conf);
    return 0;
}
