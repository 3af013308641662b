/* Endpoints as a table with remarks, or as JSON lines. A remark may hold what a peer said, so each
 * one goes through tsk_plain_str. */
#include "status/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/out.h"
#include "common/table.h"

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
        add_sentence(out, known ? "; batch {batch_id} waits for {waits_for}"
                                : "; batch {batch_id} waits for nothing that is known", batch);
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

void show_text(const struct look *looks, size_t count, const struct options *opts)
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

void show_json(const struct look *look)
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
