/* A look at what goes by. It is not noticed by anybody: it has no name, confirms nothing and asks
 * for nothing, and it subscribes to each printable first byte instead of to "", since a subscriber
 * to "" is one who may want batches ("s" is not). And it delays nobody: it never waits for the
 * reader of its output. What that does not take in time is held, and beyond a limit given up, which
 * is told; otherwise a publisher, which drops nothing, would come to stand still with it.
 *
 * Each endpoint has a socket of its own, so that it is known where a message came from. */
#include "collect/tap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/life.h"
#include "common/out.h"
#include "common/signals.h"
#include "tasker/buf.h"
#include "tasker/bus.h"
#include "tasker/clock.h"
#include "tasker/map.h"
#include "tasker/message.h"
#include "tasker/os.h"
#include "tasker/parse.h"

/* ---- A tapped message for people: one short line with the time of day (UTC), endpoint, topic,
 * what it is about, how that stands, and its size. What a peer wrote is made fit for a terminal. */

enum { DAY_START = 11 }; /* where the time of day begins in an RFC 3339 text */

/* Adds a space and text, or "-". */
static void add_word(struct tsk_buf *line, const char *text)
{
    tsk_buf_char(line, ' ');
    tsk_plain_str(line, text && *text ? text : "-");
}

/* batch, batch/step or worker. */
static void add_subject(struct tsk_buf *line, struct json_object *message)
{
    const char *batch = tsk_json_str(message, "batch_id");
    int64_t step;
    add_word(line, batch ? batch : tsk_json_str(message, "worker_id"));
    if (tsk_json_int(message, "step_id", &step) == 1)
        tsk_buf_printf(line, "/%" PRId64, step);
}

/* Adds " N LABEL" if key is an integer or an array. Returns whether it is. */
static bool add_count(struct tsk_buf *line, struct json_object *message, const char *key,
                      const char *label)
{
    struct json_object *value = tsk_json_get(message, key);
    int64_t n;
    if (json_object_is_type(value, json_type_array))
        n = (int64_t)json_object_array_length(value);
    else if (tsk_json_int(message, key, &n) != 1)
        return false;
    tsk_buf_printf(line, " %" PRId64 " %s", n, label);
    return true;
}

static void add_status(struct tsk_buf *line, struct json_object *message)
{
    struct json_object *error = tsk_json_get(message, "error");
    const char *status = tsk_json_str(message, "status");
    const char *type = tsk_json_str(error, "error_type");
    if (!status)
        status = tsk_json_str(message, "state");
    bool counted = add_count(line, message, "completed_steps", "completed");
    counted |= add_count(line, message, "failed_steps", "failed");
    if (!counted && !status)
        counted = add_count(line, message, "steps", "steps");
    if (status || (!type && !counted))
        add_word(line, status);
    if (type)
        add_word(line, type);
}

/* Adds one line for people; message may be NULL. */
static void tap_text(struct tsk_buf *line, const struct tsk_frame *frame, const char *endpoint,
                     int64_t wall_ms, struct json_object *message)
{
    char time[TSK_TIME_SIZE];
    tsk_time_format(wall_ms, time);
    tsk_buf_str(line, time + DAY_START);
    add_word(line, endpoint);
    add_word(line, frame->topic);
    if (message) {
        add_subject(line, message);
        add_status(line, message);
    } else {
        tsk_buf_str(line, frame->whole ? " too long" : " no JSON object");
    }
    tsk_buf_printf(line, " %zu B", frame->whole ? frame->whole : frame->raw_len);
}

enum {
    FRAMES_A_ROUND = 1000, /* before the output is looked at again */
    HELD_MOST = 64 << 20,  /* bytes that wait for the reader of the output */
    SOURCES_MOST = 1000,   /* whose numbers are followed */
    AWAIT_MS = 3000,       /* until it is told that nobody is at an endpoint */
    REMAINDER_MS = 1000,   /* for what is held, after a signal */
};

struct ear {
    char *endpoint;
    struct tsk_bus *bus;
};

struct tap {
    const struct options *opts;
    const struct tsk_conf *conf;
    struct ear *ears;
    size_t count, cap;
    struct tsk_poller *poller;
    struct tsk_json *parser;
    struct tsk_buf line;
    size_t held;                     /* bytes that the output did not take yet */
    int64_t heard, printed, dropped; /* messages */
    struct tsk_map *offsets;         /* the highest of each source (int64_t) */
    int64_t missed;                  /* results that were never heard */
    bool told;                       /* of the first that was dropped */
    bool stop;                       /* a signal came */
};

/* ---- endpoints */

static int open_ear(struct tap *tap, const char *endpoint, struct tsk_err *err)
{
    size_t len = strlen(endpoint);
    for (size_t i = 0; i < tap->count; i++) {
        if (strcmp(tap->ears[i].endpoint, endpoint) == 0)
            return 0;
    }
    if (tsk_parse_endpoint(endpoint, err) < 0)
        return -1;
    if (strncmp(endpoint, "tcp://", 6) == 0 && strcmp(endpoint + len - 2, ":*") == 0)
        return tsk_err_set(err, TSK_USAGE,
                           "%s names no port: a receipt's result_endpoint has the true one",
                           endpoint);
    struct tsk_bus *bus =
        tsk_bus_open_at(tap->conf, TSK_RESULTS, TSK_RECEIVER, false, endpoint, err);
    if (!bus)
        return -1;
    tap->ears = tsk_grow(tap->ears, &tap->cap, tap->count + 1, sizeof *tap->ears);
    tap->ears[tap->count++] = (struct ear){tsk_strdup(endpoint), bus};
    tsk_poller_set(tap->poller, tsk_bus_fd(bus), TSK_READ, tap);
    life_watch(bus, tap->poller, tap);
    tsk_bus_await(bus, NULL, "a peer", AWAIT_MS);
    diag_info("tapping %s", endpoint);
    return 0;
}

/* Subscribes to all that can begin a topic that is wanted; the rest of it is looked at here, since
 * a subscription to "steps" would be that of a worker. */
static void subscribe(const struct tap *tap, struct tsk_bus *bus)
{
    const struct opt_list *topics = &tap->opts->topics;
    bool wanted[256] = {false};
    for (size_t i = 0; i < topics->count; i++)
        wanted[(unsigned char)topics->items[i][0]] = true;
    for (int byte = 1; byte < 256; byte++) {
        char first[2] = {(char)byte, '\0'};
        if (topics->count ? wanted[byte] : byte >= '!' && byte <= '~')
            tsk_bus_subscribe(bus, first);
    }
}

/* Opens each of a list by commas. */
static int open_list(struct tap *tap, const char *list, struct tsk_err *err)
{
    char *copy = tsk_strdup(list), *rest = NULL;
    int rc = *copy ? 0 : tsk_err_set(err, TSK_USAGE, "an endpoint is empty");
    for (char *one = strtok_r(copy, ", ", &rest); one && rc == 0; one = strtok_r(NULL, ", ", &rest))
        rc = open_ear(tap, one, err);
    free(copy);
    return rc;
}

/* A publisher may be there for a moment only: the pauses between the tries stay short. */
static int try_often(struct tsk_conf *conf, struct tsk_err *err)
{
    char pause[32];
    snprintf(pause, sizeof pause, "%" PRId64 "ms", tsk_conf_int(conf, TSK_ZEROMQ_RECONNECT_MIN));
    return tsk_conf_set(conf, TSK_ZEROMQ_RECONNECT_MAX, pause, "--tap", err);
}

static int open_all(struct tap *tap, char *const *operands, size_t count, struct tsk_err *err)
{
    tap->parser = tsk_json_new();
    tap->poller = tsk_poller_new();
    if (!tap->poller)
        return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot wait for descriptors");
    int signal_fd = signals_open(false, err);
    if (signal_fd < 0)
        return -1;
    tsk_poller_set(tap->poller, signal_fd, TSK_READ, &tap->stop);
    for (size_t i = 0; i < count; i++) {
        if (open_list(tap, operands[i], err) < 0)
            return -1;
    }
    if (!count && (open_list(tap, tsk_conf_str(tap->conf, TSK_ZEROMQ_BATCH_ENDPOINT), err) < 0 ||
                   open_list(tap, tsk_conf_str(tap->conf, TSK_ZEROMQ_RESULT_ENDPOINT), err) < 0))
        return -1;
    for (size_t i = 0; i < tap->count; i++)
        subscribe(tap, tap->ears[i].bus);
    out_hold();
    return 0;
}

static void close_all(struct tap *tap)
{
    for (size_t i = 0; i < tap->count; i++) {
        life_close(tap->ears[i].bus, DIAG_DEBUG);
        free(tap->ears[i].endpoint);
    }
    free(tap->ears);
    tsk_map_free(tap->offsets);
    tsk_buf_fini(&tap->line);
    tsk_json_free(tap->parser);
    tsk_poller_free(tap->poller);
    signals_close();
}

/* ---- messages */

static bool topic_wanted(const struct tap *tap, const struct tsk_frame *frame)
{
    const struct opt_list *topics = &tap->opts->topics;
    for (size_t i = 0; i < topics->count; i++) {
        if (strncmp(frame->topic, topics->items[i], strlen(topics->items[i])) == 0)
            return true;
    }
    return !topics->count;
}

static bool batch_wanted(const struct tap *tap, struct json_object *message)
{
    const struct opt_list *batches = &tap->opts->batches;
    const char *id = tsk_json_str(message, "batch_id");
    for (size_t i = 0; id && i < batches->count; i++) {
        if (strcmp(id, batches->items[i]) == 0)
            return true;
    }
    return !batches->count;
}

/* Whether there is room for a line; if not the message is given up. */
static bool has_room(struct tap *tap)
{
    if (tap->held >= HELD_MOST)
        tap->held = out_try();
    if (tap->held < HELD_MOST)
        return true;
    if (!tap->told)
        diag_warn("standard output is not read fast enough: messages are left out");
    tap->told = true;
    tap->dropped++;
    return false;
}

/* A source numbers its results, so that a gap is seen. What comes again for another is no gap, and
 * what was sent before the tap was there is not missed. */
static void note_offset(struct tap *tap, const char *topic, struct json_object *message)
{
    const char *source = tsk_json_str(message, "source");
    int64_t offset;
    if (!source || tsk_json_int(message, "offset", &offset) != 1 ||
        tsk_type_of(message) == TSK_TYPE_WORKER || !strcmp(topic, tsk_type_name(TSK_TYPE_WORKER)))
        return; /* the offset of a status is that of the last result */
    int64_t *highest = tsk_map_get(tap->offsets, source);
    if (!highest) {
        if (tsk_map_count(tap->offsets) >= SOURCES_MOST)
            return;
        highest = tsk_alloc(sizeof *highest);
        *highest = offset;
        tsk_map_put(tap->offsets, source, highest);
        return;
    }
    if (offset > *highest + 1)
        tap->missed += offset - *highest - 1;
    else if (offset <= *highest && tap->missed)
        tap->missed--; /* it comes after all, or again: rather too few are told than too many */
    if (offset > *highest)
        *highest = offset;
}

static void take_frame(struct tap *tap, const struct tsk_frame *frame, const char *endpoint)
{
    struct json_object *message = NULL;
    tap->heard++;
    if (!topic_wanted(tap, frame))
        return;
    if (!frame->whole)
        message = tsk_json_object(tap->parser, frame->body, frame->len, NULL);
    if (message && !tap->opts->topics.count) /* else it does not subscribe to all */
        note_offset(tap, frame->topic, message);
    if (batch_wanted(tap, message) && has_room(tap)) {
        tsk_buf_reset(&tap->line);
        if (tap->opts->text)
            tap_text(&tap->line, frame, endpoint, tsk_wall_ms(), message);
        else
            tsk_tapped_write(&tap->line, frame, endpoint, tsk_wall_ms(), message);
        out_line(tap->line.data, tap->line.len);
        tap->held += tap->line.len;
        tap->printed++;
    }
    json_object_put(message);
}

/* Whether all that was asked for is printed. */
static bool is_done(const struct tap *tap)
{
    return tap->stop || out_failed() || (tap->opts->count && tap->printed >= tap->opts->count);
}

/* Takes what has come to one endpoint. Returns whether there may be more. */
static bool listen_to(struct tap *tap, struct ear *ear)
{
    struct tsk_frame frame;
    struct tsk_err err;
    for (int i = 0; i < FRAMES_A_ROUND && !is_done(tap); i++) {
        int got = tsk_bus_recv(ear->bus, &frame, &err);
        if (got == 0)
            return false;
        if (got < 0)
            diag_warn("%s: %s", ear->endpoint, err.text);
        else
            take_frame(tap, &frame, ear->endpoint);
    }
    return true;
}

/* ---- the loop */

/* Writes what can be written, and waits until there is something to do. */
static void wait_for_more(struct tap *tap, int timeout)
{
    struct tsk_event events[8];
    tap->held = out_try();
    tsk_poller_set(tap->poller, STDOUT_FILENO, tap->held ? TSK_WRITE : 0, &tap->held);
    size_t count = tsk_poller_wait(tap->poller, timeout, events, 8);
    for (size_t i = 0; i < count; i++) {
        if (events[i].tag == &tap->stop)
            tap->stop |= (signals_read(NULL) & SIGNALS_STOP) != 0;
    }
}

static void listen_all(struct tap *tap)
{
    int64_t deadline = tap->opts->timeout < 0 ? -1 : tsk_now_ms() + tap->opts->timeout;
    for (;;) {
        bool busy = false;
        int64_t wake = deadline;
        for (size_t i = 0; i < tap->count; i++) {
            life_tell(tap->ears[i].bus);
            busy |= listen_to(tap, &tap->ears[i]);
            wake = tsk_earlier(wake, life_deadline(tap->ears[i].bus));
        }
        if (is_done(tap) || (deadline >= 0 && tsk_now_ms() >= deadline))
            return;
        wait_for_more(tap, busy ? 0 : tsk_left_ms(wake));
    }
}

/* Writes what is held, for a reader that is slow; after a signal only for a moment. */
static void write_rest(struct tap *tap)
{
    bool before = tap->stop;
    int64_t deadline = before ? tsk_now_ms() + REMAINDER_MS : -1;
    tap->stop = false;
    for (tap->held = out_try(); tap->held && !out_failed(); tap->held = out_try()) {
        wait_for_more(tap, tsk_left_ms(deadline));
        if (tap->stop && deadline < 0)
            deadline = tsk_now_ms() + REMAINDER_MS;
        if (deadline >= 0 && tsk_now_ms() >= deadline)
            break;
    }
    if (tap->held)
        diag_warn("the last %zu bytes were not written: standard output is not read", tap->held);
    tap->stop |= before;
}

const char *tap_clash(const struct options *opts)
{
    bool others = opts->all || opts->follow || opts->status || opts->strict || opts->id;
    if (!opts->tap && (opts->topics.count || opts->batches.count || opts->text))
        return "--topic, --batch and --format=text are only of use with --tap";
    if (opts->tap && others)
        return "--tap does not go with --all, --follow, --status, --strict and --id";
    for (size_t i = 0; i < opts->topics.count; i++) {
        if (!*opts->topics.items[i])
            return "--topic is empty";
    }
    for (size_t i = 0; i < opts->batches.count; i++) {
        if (!tsk_name_valid(opts->batches.items[i]))
            return "--batch is not " TSK_NAME_RULE;
    }
    return NULL;
}

enum tsk_exit tap_run(const struct options *opts, struct tsk_conf *conf, char *const *operands,
                      size_t count)
{
    struct tap tap = {.opts = opts, .conf = conf, .offsets = tsk_map_new(free)};
    struct tsk_err err = TSK_ERR_INIT;
    enum tsk_exit status = TSK_OK;
    if (try_often(conf, &err) < 0 || open_all(&tap, operands, count, &err) < 0) {
        status = diag_err(&err);
    } else {
        listen_all(&tap);
        write_rest(&tap);
        if (tap.dropped)
            diag_error("%" PRId64
                       " messages were left out: standard output was not read fast enough",
                       tap.dropped);
        if (tap.missed)
            diag_error("%" PRId64 " result%s went by unheard: this tap was too slow, or its "
                       "connection was lost for a time",
                       tap.missed, tsk_plural(tap.missed));
        diag_info("%" PRId64 " message%s heard, %" PRId64 " printed", tap.heard,
                  tsk_plural(tap.heard), tap.printed);
        if (tap.printed < opts->count || tap.dropped || tap.missed)
            status = TSK_TEMPFAIL;
    }
    close_all(&tap);
    return status;
}
