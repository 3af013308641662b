/* Playing back. A message goes out when somebody subscribes to its topic, so that none is lost in
 * the moment between a peer's start and its subscription; messages keep their order, so the one
 * that nobody wants holds up the rest until --wait is over. A peer that subscribes to a single
 * byte only looks on (tasker-collect --tap): it is good enough only when the wait is over, since
 * the one whom the messages are for may yet come. */
#include "publish/raw.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/life.h"
#include "common/out.h"
#include "common/signals.h"
#include "publish/listeners.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/line.h"
#include "tasker/map.h"
#include "tasker/os.h"

enum {
    AWAIT_MS = 2000,     /* until it is told that nobody subscribes */
    OPEN_EVERY_MS = 100, /* tries to have the port */
    TRY_AGAIN_MS = 10,   /* a peer's queue is full */
    SENDS_AT_ONCE = 256, /* before subscriptions and signals are looked at again */
    LINE_FACTOR = 8,     /* a line has a message escaped and as base64, */
    LINE_EXTRA = 4096,   /* and some more */
};

struct raw {
    const struct tsk_conf *conf;
    bool recorded_pace;
    struct tsk_lines *lines;
    struct tsk_json *parser;
    struct tsk_bus *bus; /* NULL while another process holds the port */
    struct tsk_poller *poller;
    struct tsk_map *peers; /* see listeners.h */
    int64_t wait, now;
    int64_t waiting; /* since when the port, or the message, waits; -1: it does not */
    int64_t next_try;
    struct tsk_err taken; /* why the port could not be had */
    bool lookers;         /* those who look on are good enough */

    struct json_object *line; /* the next to send, or NULL */
    struct tsk_tapped next;
    const char *file; /* where it stands */
    int64_t number;
    int64_t due;     /* when it is to be sent; -1: now */
    int64_t wall_ms; /* when the one before it was recorded; -1: not told */
    int64_t sent_at; /* when that was due, or sent */

    bool input_wanted, input_ended, stop;
    int64_t sent, bytes, bad;
    int64_t first_sent;
    enum tsk_exit status;
};

static const char tag_input, tag_bus, tag_signals;

/* Returns whether there was anything. */
static bool receive(struct raw *raw)
{
    struct tsk_frame frame;
    struct tsk_err err;
    bool any = false;
    for (int got; raw->bus && (got = tsk_bus_recv(raw->bus, &frame, &err)) != 0; any = true) {
        if (got < 0) {
            diag_warn("%s", err.text);
            break;
        }
        life_topic(raw->bus, &frame);
        if (frame.kind == TSK_FRAME_MESSAGE)
            diag_debug("a peer answers: %s %.*s", frame.topic, (int)frame.len, frame.body);
        else
            listeners_note(raw->peers, &frame);
    }
    return any;
}

/* Whether somebody will get the next message. */
static bool has_subscriber(const struct raw *raw)
{
    return listeners_want(raw->peers, raw->next.topic, &raw->next.body, raw->lookers);
}

/* ---- lines */

static void bad_line(struct raw *raw, const struct tsk_line *line, const char *reason,
                     enum tsk_exit kind)
{
    diag_input(line->file, line->number, reason);
    raw->status = tsk_exit_worse(raw->status, kind);
    raw->bad++;
}

static void drop_line(struct raw *raw)
{
    tsk_tapped_fini(&raw->next);
    json_object_put(raw->line);
    raw->line = NULL;
}

/* When the next message is to be sent: so long after the one before as it was received. */
static void set_due(struct raw *raw)
{
    int64_t pause = raw->next.wall_ms - raw->wall_ms;
    bool known = raw->next.wall_ms >= 0 && raw->wall_ms >= 0;
    raw->due = raw->recorded_pace && known && pause > 0 ? raw->sent_at + pause : -1;
}

static void take_line(struct raw *raw, const struct tsk_line *line)
{
    struct tsk_err err = TSK_ERR_INIT;
    raw->line = tsk_json_object(raw->parser, line->data, line->len, &err);
    if (!raw->line) {
        bad_line(raw, line, err.text, err.kind);
        return;
    }
    if (!tsk_tapped_is(raw->line)) {
        if (tsk_json_str(raw->line, "message_type"))
            out_line(line->data, line->len);
        else
            bad_line(raw, line, "no recorded message: message_type is not \"tapped\"", TSK_DATA);
        json_object_put(raw->line);
        raw->line = NULL;
        return;
    }
    if (tsk_tapped_read(&raw->next, raw->line, line->data, line->len, true, &err) < 0) {
        bad_line(raw, line, err.text, err.kind);
        drop_line(raw);
        return;
    }
    raw->file = line->file;
    raw->number = line->number;
    set_due(raw);
}

/* Reads up to the next message, or until input has to be waited for. */
static void read_lines(struct raw *raw)
{
    struct tsk_line line;
    raw->input_wanted = false;
    while (!raw->line && !raw->input_wanted && !raw->input_ended && !out_failed()) {
        switch (tsk_lines_next(raw->lines, &line)) {
        case TSK_LINE_OK:
            take_line(raw, &line);
            break;
        case TSK_LINE_BAD:
            bad_line(raw, &line, line.reason, line.kind);
            break;
        case TSK_LINE_END:
            raw->input_ended = true;
            break;
        case TSK_LINE_MORE:
            raw->input_wanted = tsk_lines_fd(raw->lines) >= 0 && !tsk_lines_regular(raw->lines);
            if (!raw->input_wanted)
                tsk_lines_fill(raw->lines);
            break;
        }
    }
}

/* ---- sending */

/* Tries to have the port. Returns false if that can never be. */
static bool open_bus(struct raw *raw)
{
    struct tsk_err err;
    if (raw->bus || raw->now < raw->next_try)
        return true;
    raw->bus = tsk_bus_open(raw->conf, TSK_STEPS, TSK_SENDER, &err);
    if (raw->bus) {
        raw->waiting = -1;
        raw->next_try = -1;
        tsk_poller_set(raw->poller, tsk_bus_fd(raw->bus), TSK_READ, (void *)&tag_bus);
        life_watch(raw->bus, raw->poller, (void *)&tag_bus);
        if (!tsk_bus_binds(raw->bus))
            diag_info("connecting to %s", tsk_bus_endpoint(raw->bus));
        return true;
    }
    if (err.kind != TSK_TEMPFAIL) {
        raw->status = tsk_exit_worse(raw->status, diag_err(&err));
        return false;
    }
    if (raw->taken.kind == TSK_OK && raw->wait)
        diag_warn("%s; waiting for it", err.text);
    raw->taken = err;
    raw->next_try = raw->now + OPEN_EVERY_MS;
    return true;
}

static void note_sent(struct raw *raw, bool waited)
{
    raw->sent_at = raw->due < 0 || waited ? raw->now : raw->due;
    raw->wall_ms = raw->next.wall_ms;
    if (!raw->sent++)
        raw->first_sent = raw->now;
    raw->bytes += (int64_t)raw->next.body.len;
    raw->waiting = raw->next_try = -1;
    drop_line(raw);
}

/* Sends the next message if it can be sent now. Returns whether it was. */
static bool send_next(struct raw *raw)
{
    struct tsk_err err;
    bool waited = raw->waiting >= 0;
    if (!raw->line || raw->due > raw->now || raw->next_try > raw->now)
        return false;
    if (!has_subscriber(raw)) {
        if (!waited)
            raw->waiting = raw->now;
        return false;
    }
    int rc = tsk_bus_send(raw->bus, raw->next.topic, raw->next.body.data, raw->next.body.len, &err);
    if (rc == 0) {
        raw->next_try = raw->now + TRY_AGAIN_MS;
        return false;
    }
    if (rc < 0) {
        diag_input(raw->file, raw->number, err.text);
        raw->status = tsk_exit_worse(raw->status, err.kind);
        drop_line(raw);
        return true;
    }
    note_sent(raw, waited);
    return true;
}

static bool send_some(struct raw *raw)
{
    bool any = false;
    for (int i = 0; raw->bus && i < SENDS_AT_ONCE; i++) {
        read_lines(raw);
        if (!send_next(raw))
            return any;
        any = true;
    }
    return any;
}

/* ---- the loop */

static void give_up(struct raw *raw, const char *why)
{
    raw->status = tsk_exit_worse(raw->status, TSK_TEMPFAIL);
    if (raw->line)
        diag_error("%s:%" PRId64 ": not sent, nor what follows: %s", raw->file, raw->number, why);
    else
        diag_error("%s", why);
}

/* Gives up if the wait is over. Returns whether it did. */
static bool timed_out(struct raw *raw)
{
    char why[sizeof raw->taken.text + 2 * TSK_TOPIC_SIZE];
    if (raw->waiting < 0 || raw->now < raw->waiting + raw->wait)
        return false;
    if (!raw->bus) {
        snprintf(why, sizeof why, "%s; waited %" PRId64 " ms", raw->taken.text, raw->wait);
    } else if (!raw->lookers) {
        raw->lookers = true;
        if (has_subscriber(raw)) {
            diag_warn("nobody but a tap subscribes to topic \"%s\": it is sent all the same",
                      raw->next.topic);
            return false;
        }
    }
    if (raw->bus)
        snprintf(why, sizeof why, "nobody subscribes to topic \"%s\" at %s; waited %" PRId64 " ms",
                 raw->next.topic, tsk_bus_endpoint(raw->bus), raw->wait);
    give_up(raw, why);
    return true;
}

static int64_t next_deadline(const struct raw *raw)
{
    int64_t at = raw->waiting < 0 ? -1 : raw->waiting + raw->wait;
    if (raw->line && raw->due > raw->now)
        at = tsk_earlier(at, raw->due);
    at = tsk_earlier(at, life_deadline(raw->bus));
    return raw->next_try > raw->now ? tsk_earlier(at, raw->next_try) : at;
}

static void wait_for_events(struct raw *raw, bool busy)
{
    struct tsk_event events[4];
    int fd = tsk_lines_fd(raw->lines);
    if (raw->input_wanted)
        tsk_poller_set(raw->poller, fd, TSK_READ, (void *)&tag_input);
    size_t n = tsk_poller_wait(raw->poller, busy ? 0 : tsk_left_ms(next_deadline(raw)), events, 4);
    if (raw->input_wanted)
        tsk_poller_set(raw->poller, fd, 0, NULL);
    for (size_t i = 0; i < n; i++) {
        if (events[i].tag == &tag_input)
            tsk_lines_fill(raw->lines);
        else if (events[i].tag == &tag_signals)
            raw->stop |= (signals_read(NULL) & SIGNALS_STOP) != 0;
    }
}

/* One turn of the loop. Returns whether there is more to do. */
static bool turn(struct raw *raw)
{
    raw->now = tsk_now_ms();
    if (!open_bus(raw))
        return false;
    receive(raw);
    if (raw->bus && raw->waiting >= 0)
        tsk_bus_await(raw->bus, NULL, "a subscriber", AWAIT_MS);
    else if (raw->bus)
        tsk_bus_await_end(raw->bus);
    life_tell(raw->bus);
    bool busy = send_some(raw);
    busy |= receive(raw); /* sending may have used up the sign that something came */
    if (out_failed() || (raw->input_ended && !raw->line))
        return false;
    if (raw->stop) {
        give_up(raw, "stopped by a signal");
        return false;
    }
    if (!busy && (out_flush() < 0 || timed_out(raw)))
        return false;
    wait_for_events(raw, busy);
    return true;
}

static int open_all(struct raw *raw, char *const *files, size_t count, struct tsk_err *err)
{
    size_t most = (size_t)tsk_conf_int(raw->conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES);
    raw->wait = tsk_conf_int(raw->conf, TSK_ZEROMQ_WAIT);
    raw->waiting = raw->now = raw->sent_at = tsk_now_ms();
    raw->lines = tsk_lines_new(files, count, most * LINE_FACTOR + LINE_EXTRA);
    raw->parser = tsk_json_new();
    raw->peers = tsk_map_new(free);
    raw->poller = tsk_poller_new();
    if (!raw->poller)
        return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot wait for descriptors");
    int signals_fd = signals_open(false, err);
    if (signals_fd < 0)
        return -1;
    tsk_poller_set(raw->poller, signals_fd, TSK_READ, (void *)&tag_signals);
    return 0;
}

static void close_all(struct raw *raw)
{
    drop_line(raw);
    life_close(raw->bus, DIAG_WARNING); /* lingers, so that the last message leaves */
    tsk_poller_free(raw->poller);
    tsk_map_free(raw->peers);
    tsk_json_free(raw->parser);
    tsk_lines_free(raw->lines);
    signals_close();
}

static void print_count(const struct raw *raw)
{
    struct json_object *line = json_object_new_object();
    tsk_json_put_str(line, "message_type", "played_back");
    tsk_json_put_str(line, "endpoint", raw->bus ? tsk_bus_endpoint(raw->bus) : NULL);
    tsk_json_put_int(line, "sent", raw->sent);
    tsk_json_put_int(line, "bytes", raw->bytes);
    tsk_json_put_int(line, "bad_lines", raw->bad);
    tsk_json_put_int(line, "duration_ms", raw->sent ? tsk_now_ms() - raw->first_sent : 0);
    out_json(line);
    json_object_put(line);
}

enum tsk_exit raw_run(const struct tsk_conf *conf, char *const *files, size_t count,
                      bool recorded_pace)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct raw raw = {.conf = conf, .recorded_pace = recorded_pace, .due = -1, .wall_ms = -1};
    if (open_all(&raw, files, count, &err) < 0)
        raw.status = diag_err(&err);
    else
        while (turn(&raw))
            ;
    print_count(&raw);
    out_flush();
    close_all(&raw);
    return raw.status;
}
