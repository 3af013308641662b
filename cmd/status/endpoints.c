/* tasker-status endpoints: a look at each endpoint, and the likely cause where something is wrong.
 *
 * The five classic ways to hear nothing on PUB/SUB are told apart here: nothing listens, something
 * else listens (or nothing answers), the handshake is refused, both sides connect, both sides bind.
 * The last two can only be told for a configured endpoint, of which it is known who should bind it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "common/table.h"
#include "status/peer.h"
#include "status/status.h"
#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/os.h"
#include "tasker/parse.h"

struct look {
    const char *name; /* "batch_endpoint", "result_endpoint"; NULL: not a configured one */
    char *endpoint;   /* owned */
    enum tsk_channel channel;
    struct tsk_probe probe;
    const char *state; /* the probe's, or "both_bind", "wrong_peer", "any_port" */
    bool ok;
    char holder[160];     /* who listens, where the system can tell; or "" */
    struct tsk_buf cause; /* not ok: the likely cause; ok: empty */
    struct peer peer;
};

static void look_init(struct look *look, const char *name, enum tsk_channel channel,
                      const char *endpoint, size_t len)
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

static void look_fini(struct look *look)
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

static int look_run(struct look *look, const struct tsk_conf *conf, const struct options *opts,
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

/* Endpoints as a table with remarks, or as JSON lines. A remark may hold what a peer said, so each
 * one goes through tsk_plain_str. */
static const char *format_ms(int64_t us, char *out, size_t size)
{
    snprintf(out, size, us < 0 ? "-" : "%.1f ms", (double)us / 1000);
    return out;
}

static void add_row(struct table *table, const struct look *look)
{
    char time[32];
    table_add(table, look->name);
    table_add(table, look->endpoint);
    table_add(table, look->state);
    table_add(table, format_ms(look->probe.connect_us, time, sizeof time));
    table_add(table, format_ms(look->probe.handshake_us, time, sizeof time));
    table_add(table, look->holder);
}

/* Adds a member of a status: a text, a number, the length of a list; "?" where it is anything else
 * or not there. */
static void add_member(struct tsk_buf *out, struct json_object *status, const char *key)
{
    struct json_object *value = tsk_json_get(status, key);
    int64_t number;
    if (json_object_is_type(value, json_type_array))
        tsk_buf_printf(out, "%zu", json_object_array_length(value));
    else if (tsk_json_int(status, key, &number) > 0)
        tsk_buf_printf(out, "%lld", (long long)number);
    else
        tsk_buf_str(out, tsk_json_str(status, key) ? tsk_json_str(status, key) : "?");
}

/* Adds a sentence in which {KEY} stands for a member of status. */
static void add_sentence(struct tsk_buf *out, const char *sentence, struct json_object *status)
{
    while (*sentence) {
        size_t len = strcspn(sentence, "{");
        tsk_buf_add(out, sentence, len);
        sentence += len;
        char key[32];
        if (sscanf(sentence, "{%31[^}]}", key) != 1)
            break;
        add_member(out, status, key);
        sentence += strlen(key) + 2;
    }
}

static void add_worker(struct tsk_buf *out, struct json_object *status)
{
    int64_t oldest = 0, newest = 0;
    bool holds = tsk_json_int(status, "oldest", &oldest) > 0 &&
                 tsk_json_int(status, "offset", &newest) > 0 && oldest <= newest;
    add_sentence(out,
                 "worker {worker_id} (pid {pid} on {host}): {state}; {running} running, {queued} "
                 "queued, {free_slots} of {max_workers} free; {accepted} accepted, {completed} "
                 "completed, {failed} failed; ",
                 status);
    add_sentence(out, holds ? "results {oldest} to {offset} held" : "no result held", status);
    add_sentence(out, ", {lost} lost; collectors: {collectors}", status);
    if (tsk_json_str(status, "batch_endpoint"))
        add_sentence(out, "; it takes batches from {batch_endpoint}", status);
}

/* What the first batches of a publisher wait for. */
static void add_waiting(struct tsk_buf *out, struct json_object *batches)
{
    enum { SHOWN = 5 };
    bool is_list = json_object_is_type(batches, json_type_array);
    size_t count = is_list ? json_object_array_length(batches) : 0;
    for (size_t i = 0; i < count && i < SHOWN; i++) {
        struct json_object *batch = json_object_array_get_idx(batches, i);
        bool known = tsk_json_str(batch, "waits_for");
        add_sentence(out,
                     known ? "; batch {batch_id} waits for {waits_for}"
                           : "; batch {batch_id} waits for nothing that is known",
                     batch);
        if (tsk_json_str(batch, "worker_id"))
            add_sentence(out, " ({worker_id})", batch);
    }
    if (count > SHOWN)
        tsk_buf_printf(out, "; %zu more batches wait", count - SHOWN);
}

static void add_publisher(struct tsk_buf *out, struct json_object *status)
{
    struct json_object *workers = tsk_json_get(status, "workers");
    bool is_list = json_object_is_type(workers, json_type_array);
    size_t count = is_list ? json_object_array_length(workers) : 0;
    add_sentence(out, "publisher (pid {pid}): workers: {workers}, plain subscribers: {plain}",
                 status);
    for (size_t i = 0; i < count; i++)
        add_sentence(out,
                     "; worker {worker_id}: {unanswered} unanswered, {queued} queued, {free_slots} "
                     "free",
                     json_object_array_get_idx(workers, i));
    add_waiting(out, tsk_json_get(status, "batches"));
}

/* Who was heard, behind what is said before it. */
static void add_heard(struct tsk_buf *out, const struct peer *peer, const char *nobody)
{
    char *who = topics_text(&peer->topics);
    tsk_buf_str(out, topics_count(&peer->topics) ? who : nobody);
    free(who);
}

static void add_peer(struct tsk_buf *out, const struct look *look, const struct options *opts)
{
    const struct peer *peer = &look->peer;
    switch (peer->kind) {
    case PEER_UNKNOWN:
        break;
    case PEER_PLAIN:
        tsk_buf_str(out, "handshake ok; the peer tells nothing about itself: a plain peer");
        break;
    case PEER_PUBLISHER:
        add_publisher(out, peer->status);
        break;
    case PEER_WORKER:
        add_worker(out, peer->status);
        break;
    case PEER_SUBSCRIBER:
        tsk_buf_str(out, "handshake ok; the peer subscribes: ");
        add_heard(out, peer, "to nothing");
        break;
    case PEER_LISTENED:
        tsk_buf_printf(out, "listened there for %lld ms: ", (long long)opts->timeout);
        add_heard(out, peer, "nobody subscribed");
        break;
    }
    if (peer->note[0])
        tsk_buf_printf(out, "%s%s", out->len ? "; " : "", peer->note);
}

static void remark(const struct look *look, const char *what)
{
    struct tsk_buf plain = TSK_BUF_INIT;
    tsk_plain_str(&plain, what);
    if (plain.len)
        out_printf("%s: %s", look->name ? look->name : look->endpoint, plain.data);
    tsk_buf_fini(&plain);
}

static void show_text(const struct look *looks, size_t count, const struct options *opts)
{
    static const char *const heads[] = {"NAME",    "ENDPOINT",  "STATE",
                                        "CONNECT", "HANDSHAKE", "HELD BY"};
    struct table table = {.columns = sizeof heads / sizeof *heads};
    for (size_t i = 0; i < table.columns; i++)
        table_add(&table, heads[i]);
    for (size_t i = 0; i < count; i++)
        add_row(&table, &looks[i]);
    table_end(&table);
    out_printf("%s", "");
    for (size_t i = 0; i < count; i++) {
        struct tsk_buf line = TSK_BUF_INIT;
        tsk_buf_str(&line, "");
        add_peer(&line, &looks[i], opts);
        remark(&looks[i], looks[i].cause.data);
        remark(&looks[i], line.data);
        tsk_buf_fini(&line);
    }
}

static void put_ms(struct json_object *object, const char *key, int64_t us)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%.3f", (double)us / 1000);
    tsk_json_put(object, key, us < 0 ? NULL : json_object_new_double_s((double)us / 1000, digits));
}

static void put_text(struct json_object *object, const char *key, const char *value)
{
    tsk_json_put(object, key, *value ? tsk_json_lossy(value, strlen(value)) : NULL);
}

static const char *kind_name(enum peer_kind kind)
{
    static const char *const names[] = {NULL,     "plain",      "publisher",
                                        "worker", "subscriber", "listened"};
    return names[kind];
}

static void show_json(const struct look *look)
{
    struct json_object *line = json_object_new_object();
    const struct peer *peer = &look->peer;
    bool heard = peer->kind == PEER_SUBSCRIBER || peer->kind == PEER_LISTENED;
    tsk_json_put_str(line, "message_type", "endpoint_status");
    tsk_json_put_str(line, "name", look->name);
    put_text(line, "endpoint", look->endpoint);
    tsk_json_put_bool(line, "ok", look->ok);
    tsk_json_put_str(line, "state", look->state);
    put_text(line, "cause", look->cause.data);
    put_text(line, "reason", look->probe.reason);
    put_text(line, "address", look->probe.address);
    put_ms(line, "connect_ms", look->probe.connect_us);
    put_ms(line, "handshake_ms", look->probe.handshake_us);
    put_text(line, "holder", look->holder);
    tsk_json_put_str(line, "peer", kind_name(peer->kind));
    tsk_json_put(line, "peer_status", peer->status ? json_object_get(peer->status) : NULL);
    tsk_json_put(line, "subscriptions", heard ? topics_json(&peer->topics) : NULL);
    put_text(line, "note", peer->note);
    out_json(line);
    json_object_put(line);
}

/* tasker-status endpoints: which endpoints to look at, one after the other, and the verdict over
 * all of them. What is wrong is in the output and, in short, on stderr, so that a health check
 * from cron says why it failed. */
#define TIMEOUT_MS 1000

struct looks {
    struct look *items;
    size_t count, cap;
};

static const struct configured {
    const char *name;
    enum tsk_conf_key key;
    enum tsk_channel channel;
} configured[] = {
    {"batch_endpoint", TSK_ZEROMQ_BATCH_ENDPOINT, TSK_STEPS},
    {"result_endpoint", TSK_ZEROMQ_RESULT_ENDPOINT, TSK_RESULTS},
};

#define CONFIGURED (sizeof configured / sizeof *configured)

static void add(struct looks *looks, const char *name, enum tsk_channel channel,
                const char *endpoint, size_t len)
{
    looks->items = tsk_grow(looks->items, &looks->cap, looks->count + 1, sizeof *looks->items);
    look_init(&looks->items[looks->count++], name, channel, endpoint, len);
}

/* The next endpoint of a list by commas: moves *list on and returns it, or NULL at the end. */
static const char *next_of(const char **list, size_t *len)
{
    const char *one = *list + strspn(*list, ", ");
    *len = strcspn(one, ",");
    *list = one + *len;
    while (*len && one[*len - 1] == ' ')
        --*len;
    return *len ? one : NULL;
}

static void add_configured(struct looks *looks, const struct tsk_conf *conf,
                           const struct configured *which)
{
    const char *list = tsk_conf_str(conf, which->key), *one;
    size_t len;
    while ((one = next_of(&list, &len)))
        add(looks, which->name, which->channel, one, len);
}

/* Adds an endpoint given as operand, with its role if it is a configured one. */
static void add_endpoint(struct looks *looks, const struct tsk_conf *conf, const char *endpoint)
{
    for (size_t i = 0; i < CONFIGURED; i++) {
        const char *list = tsk_conf_str(conf, configured[i].key), *one;
        size_t len;
        while ((one = next_of(&list, &len))) {
            if (len == strlen(endpoint) && !memcmp(one, endpoint, len)) {
                add(looks, configured[i].name, configured[i].channel, one, len);
                return;
            }
        }
    }
    add(looks, NULL, TSK_RESULTS, endpoint, strlen(endpoint));
}

static enum tsk_exit add_operand(struct looks *looks, const struct tsk_conf *conf,
                                 const char *operand)
{
    struct tsk_err err = TSK_ERR_INIT;
    const char *names[CONFIGURED], *bare = strncmp(operand, "zeromq.", 7) ? operand : operand + 7;
    for (size_t i = 0; i < CONFIGURED; i++) {
        names[i] = configured[i].name;
        if (strcmp(bare, names[i]) == 0) {
            add_configured(looks, conf, &configured[i]);
            return TSK_OK;
        }
    }
    const char *near = strstr(operand, "://") ? NULL : tsk_nearest(bare, names, CONFIGURED);
    if (near) {
        diag_error("\"%s\" is no endpoint (did you mean %s?)", operand, near);
        return TSK_USAGE;
    }
    if (tsk_parse_endpoint(operand, &err))
        return diag_err(&err);
    add_endpoint(looks, conf, operand);
    return TSK_OK;
}

static enum tsk_exit add_all(struct looks *looks, const struct tsk_conf *conf,
                             char *const *operands, size_t count)
{
    enum tsk_exit status = TSK_OK;
    if (!tsk_conf_int(conf, TSK_ZEROMQ_ENABLED)) {
        diag_error("zeromq.enabled is false (%s): no socket may be used",
                   tsk_conf_origin(conf, TSK_ZEROMQ_ENABLED));
        return TSK_CONFIG;
    }
    for (size_t i = 0; i < count; i++)
        status = tsk_exit_worse(status, add_operand(looks, conf, operands[i]));
    for (size_t i = 0; i < CONFIGURED && !count; i++)
        add_configured(looks, conf, &configured[i]);
    return status;
}

/* What a state means, in few words; the output has the rest. */
static const char *in_short(const char *state)
{
    static const char *const words[][2] = {
        {"refused", "nothing listens"},
        {"no_host", "its host is not known"},
        {"timeout", "no connection in time"},
        {"silent", "it listens and does not answer"},
        {"closed", "something else listens"},
        {"foreign", "something else listens"},
        {"handshake", "handshake refused"},
        {"both_bind", "both sides bind"},
        {"both_connect", "both sides connect"},
        {"other_batches", "the worker there takes its batches elsewhere"},
        {"wrong_peer", "the wrong program is there"},
        {"any_port", "its port is chosen when it is bound"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i][0], state) == 0)
            return words[i][1];
    }
    return state;
}

/* Looks at one and tells of it. Returns what it adds to the exit status. */
static enum tsk_exit run_one(struct look *look, const struct tsk_conf *conf,
                             const struct options *opts, int stop_fd)
{
    struct tsk_err err = TSK_ERR_INIT;
    if (look_run(look, conf, opts, stop_fd, &err)) {
        look->state = "error";
        tsk_buf_str(&look->cause, err.text);
        return diag_err(&err);
    }
    if (look->ok)
        return TSK_OK;
    diag_error("%s%s%s: %s", look->name ? look->name : "", look->name ? " " : "", look->endpoint,
               in_short(look->state));
    return TSK_UNAVAILABLE;
}

static enum tsk_exit run_all(struct looks *looks, const struct tsk_conf *conf,
                             const struct options *opts)
{
    struct tsk_err err = TSK_ERR_INIT;
    enum tsk_exit status = TSK_OK;
    int stop_fd = opts->listen ? signals_open(false, &err) : -1;
    if (opts->listen && stop_fd < 0)
        return diag_err(&err);
    for (size_t i = 0; i < looks->count; i++) {
        status = tsk_exit_worse(status, run_one(&looks->items[i], conf, opts, stop_fd));
        if (opts->format == FORMAT_JSON) {
            show_json(&looks->items[i]);
            out_flush();
        }
    }
    if (opts->format != FORMAT_JSON)
        show_text(looks->items, looks->count, opts);
    if (opts->listen)
        signals_close();
    return status;
}

enum tsk_exit status_endpoints(const struct options *opts, const struct tsk_conf *conf,
                               char *const *operands, size_t count)
{
    struct looks looks = {NULL, 0, 0};
    struct options own = *opts;
    if (own.timeout < 0)
        own.timeout = TIMEOUT_MS;
    enum tsk_exit status = add_all(&looks, conf, operands, count);
    if (status == TSK_OK)
        status = run_all(&looks, conf, &own);
    for (size_t i = 0; i < looks.count; i++)
        look_fini(&looks.items[i]);
    free(looks.items);
    return status;
}
