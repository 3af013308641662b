/* The configuration: one table of keys, one setter for file, environment and flags, and for each
 * value where it came from. tasker(7), CONFIGURATION, has the layers and their order. */
#ifndef TASKER_CONF_H
#define TASKER_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasker/err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tsk_conf_type {
    TSK_CONF_BOOL,
    TSK_CONF_INT,
    TSK_CONF_SIZE,     /* bytes; suffix K, M, G (powers of 1024) */
    TSK_CONF_DURATION, /* milliseconds; written 500ms, 2s, 1.5m, 1h, 7d; without a unit seconds */
    TSK_CONF_STRING,
    TSK_CONF_ENDPOINTS, /* one or more of tcp:// and ipc://, by commas (in the file also a list) */
    TSK_CONF_PATH,      /* relative to the configuration file that names it */
    TSK_CONF_STORE,     /* a store url (store.h); what it says of a password is not shown */
    TSK_CONF_ENUM,      /* one word of a list; the number is its place there */
};

/* X(SECTION, KEY, section, key, type, default, least, most, choices or NULL, help) */
#define TSK_CONF_KEYS(X)                                                                           \
    X(ZEROMQ, ENABLED, "zeromq", "enabled", BOOL, "true", 0, 1, NULL,                              \
      "whether sockets may be used at all")                                                        \
    X(ZEROMQ, BATCH_ENDPOINT, "zeromq", "batch_endpoint", ENDPOINTS, "tcp://127.0.0.1:5555", 0, 0, \
      NULL, "where batches go out")                                                                \
    X(ZEROMQ, RESULT_ENDPOINT, "zeromq", "result_endpoint", ENDPOINTS, "tcp://127.0.0.1:5556", 0,  \
      0, NULL, "where results come back")                                                          \
    X(ZEROMQ, BATCH_BIND, "zeromq", "batch_bind", ENUM, "publisher", 0, 1, "publisher,worker",     \
      "which side binds batch_endpoint")                                                           \
    X(ZEROMQ, RESULT_BIND, "zeromq", "result_bind", ENUM, "worker", 0, 1, "worker,collector",      \
      "which side binds result_endpoint")                                                          \
    X(ZEROMQ, SEND_HWM, "zeromq", "send_hwm", INT, "10000", 1, 10000000, NULL,                     \
      "messages queued for one peer before more are dropped")                                      \
    X(ZEROMQ, RECV_HWM, "zeromq", "recv_hwm", INT, "10000", 1, 10000000, NULL,                     \
      "messages queued from one peer")                                                             \
    X(ZEROMQ, LINGER, "zeromq", "linger", DURATION, "1s", 0, 3600000, NULL,                        \
      "how long to go on sending at the end")                                                      \
    X(ZEROMQ, WAIT, "zeromq", "wait", DURATION, "30s", 0, 86400000, NULL,                          \
      "how long publish waits for a worker or for its port")                                       \
    X(ZEROMQ, RESEND_AFTER, "zeromq", "resend_after", DURATION, "1s", 10, 3600000, NULL,           \
      "without an answer for so long a batch is sent again")                                       \
    X(ZEROMQ, SEND_WINDOW, "zeromq", "send_window", INT, "64", 1, 10000, NULL,                     \
      "batches sent and not yet answered")                                                         \
    X(ZEROMQ, OUTBOX_LIMIT, "zeromq", "outbox_limit", INT, "100000", 1, 100000000, NULL,           \
      "results a worker keeps until they are confirmed")                                           \
    X(ZEROMQ, OUTBOX_MAX_BYTES, "zeromq", "outbox_max_bytes", SIZE, "256M", 1024, 1099511627776,   \
      NULL, "bytes of results a worker keeps, and eight times what may wait in its sockets")       \
    X(ZEROMQ, OUTBOX_MAX_AGE, "zeromq", "outbox_max_age", DURATION, "1h", 1000, 31536000000, NULL, \
      "how long a worker keeps a result")                                                          \
    X(ZEROMQ, HEARTBEAT_INTERVAL, "zeromq", "heartbeat_interval", DURATION, "1s", 50, 3600000,     \
      NULL, "time between worker_status messages, and between ZMTP heartbeats")                    \
    X(ZEROMQ, SILENCE_TIMEOUT, "zeromq", "silence_timeout", DURATION, "300s", 0, 31536000000,      \
      NULL, "collect gives up when nothing at all is heard for so long")                           \
    X(ZEROMQ, RECONNECT_MIN, "zeromq", "reconnect_min", DURATION, "20ms", 1, 60000, NULL,          \
      "first pause before connecting again")                                                       \
    X(ZEROMQ, RECONNECT_MAX, "zeromq", "reconnect_max", DURATION, "20ms", 1, 3600000, NULL,        \
      "longest pause before connecting again")                                                     \
    X(ZEROMQ, MAX_MESSAGE_BYTES, "zeromq", "max_message_bytes", SIZE, "16M", 1024, 1073741824,     \
      NULL, "the longest message, and line of input (receipts may be longer)")                     \
    X(WORKER, HANDLERS, "worker", "handlers", PATH, "", 0, 0, NULL, "the handler registry")        \
    X(WORKER, ID, "worker", "id", STRING, "", 0, 100, NULL, "name of the worker; empty: HOST-PID") \
    X(WORKER, MAX_WORKERS, "worker", "max_workers", INT, "10", 1, 100000, NULL,                    \
      "steps run at the same time")                                                                \
    X(WORKER, QUEUE_LIMIT, "worker", "queue_limit", INT, "1000", 0, 10000000, NULL,                \
      "steps accepted and waiting; beyond it batches are answered later")                          \
    X(WORKER, STEP_TIMEOUT, "worker", "step_timeout", DURATION, "300s", 1, 31536000000, NULL,      \
      "time limit of a step that names none")                                                      \
    X(WORKER, KILL_GRACE, "worker", "kill_grace", DURATION, "5s", 0, 3600000, NULL,                \
      "time between TERM and KILL")                                                                \
    X(WORKER, DRAIN_TIMEOUT, "worker", "drain_timeout", DURATION, "30s", 0, 86400000, NULL,        \
      "time that running steps have after TERM")                                                   \
    X(WORKER, CONFIRM_TIMEOUT, "worker", "confirm_timeout", DURATION, "5s", 0, 86400000, NULL,     \
      "time that collectors have at the end to confirm the last results")                          \
    X(WORKER, MAX_OUTPUT, "worker", "max_output", SIZE, "1M", 0, 1073741824, NULL,                 \
      "bytes of output kept of one step")                                                          \
    X(WORKER, MAX_INPUT, "worker", "max_input", SIZE, "16M", 1, 1073741824, NULL,                  \
      "bytes of the object that a handler may be given")                                           \
    X(WORKER, CIRCUIT_FAILURES, "worker", "circuit_failures", INT, "10", 0, 1000000, NULL,         \
      "failures in a row after which a handler rests; 0: never")                                   \
    X(WORKER, CIRCUIT_RESET, "worker", "circuit_reset", DURATION, "30s", 1, 86400000, NULL,        \
      "how long it rests before a step is tried")                                                  \
    X(STORE, URL, "store", "url", STORE, "sqlite", 0, 1000, NULL,                                  \
      "where state is kept: sqlite, sqlite:PATH, postgresql://..., or none")                       \
    X(STORE, TIMEOUT, "store", "timeout", DURATION, "5s", 1, 3600000, NULL,                        \
      "time for the store to be reached, to be unlocked, or to answer")                            \
    X(STORE, CLAIM, "store", "claim", DURATION, "10s", 500, 3600000, NULL,                         \
      "how long a publisher that is not heard of keeps its batches")                               \
    X(STORE, GROUP_ROWS, "store", "group_rows", INT, "1000", 1, 100000, NULL,                      \
      "messages that collect writes at once, at most")                                             \
    X(STORE, GROUP_DELAY, "store", "group_delay", DURATION, "5ms", 0, 60000, NULL,                 \
      "how long a message waits for others to be written with it")                                 \
    X(STORE, QUEUE_BYTES, "store", "queue_bytes", SIZE, "32M", 1024, 1099511627776, NULL,          \
      "bytes that wait for the store before collect takes no more")                                \
    X(TASKS, PATH, "tasks", "path", PATH, "", 0, 0, NULL,                                          \
      "the folder of task templates; empty: tasks beside the configuration file")                  \
    X(TASKS, IDENTITY, "tasks", "identity", ENUM, "unique", 0, 1, "unique,strict",                 \
      "whether equal submissions are new tasks, or the same one")                                  \
    X(WORKFLOW, MAX_CREATED_STEPS, "workflow", "max_created_steps", INT, "1000", 0, 10000, NULL,   \
      "steps that one step may ask for at run time")                                               \
    X(WORKFLOW, MAX_TASK_STEPS, "workflow", "max_task_steps", INT, "10000", 1, 1000000, NULL,      \
      "steps that a task may have with those that were asked for")                                 \
    X(WORKFLOW, CLAIM_TIMEOUT, "workflow", "claim_timeout", DURATION, "10m", 100, 31536000000,     \
      NULL, "how long a claimed batch waits to be sent before its steps are given back")           \
    X(RETRY, BASE, "retry", "base", DURATION, "1s", 0, 86400000, NULL, "first back-off")           \
    X(RETRY, CAP, "retry", "cap", DURATION, "60s", 0, 31536000000, NULL, "longest back-off")       \
    X(RETRY, JITTER, "retry", "jitter", INT, "10", 0, 100, NULL,                                   \
      "back-offs vary by so many percent")                                                         \
    X(LOG, LEVEL, "log", "level", ENUM, "warning", 0, 3, "error,warning,info,debug",               \
      "what is told on stderr")                                                                    \
    X(LOG, FORMAT, "log", "format", ENUM, "text", 0, 1, "text,json", "form of messages on stderr")

enum tsk_conf_key {
#define X(S, K, s, k, type, def, lo, hi, choices, help) TSK_##S##_##K,
    TSK_CONF_KEYS(X)
#undef X
        TSK_CONF_COUNT
};

struct tsk_conf_spec {
    const char *section, *key;
    enum tsk_conf_type type;
    const char *fallback; /* the built-in default, as text */
    int64_t least, most;  /* for numbers (in bytes or ms); for strings most is the length */
    const char *choices;  /* TSK_CONF_ENUM: words by commas */
    const char *help;
};

/* Returns the table row of key; static storage. */
const struct tsk_conf_spec *tsk_conf_spec(enum tsk_conf_key key);

/* Finds "section.key". Returns the key, or TSK_CONF_COUNT. */
enum tsk_conf_key tsk_conf_find(const char *section, const char *key);

struct tsk_conf;

/* Returns a configuration with the built-in defaults. */
struct tsk_conf *tsk_conf_new(void);
void tsk_conf_free(struct tsk_conf *conf); /* NULL is fine */

/* Loads the layers below the flags: the file (path, else $TASKER_CONFIG, else the paths of
 * tasker(7), FILES; none found is fine unless it was named), its section for the environment
 * (environment, else $TASKER_ENV, APP_ENV, RAILS_ENV, RACK_ENV, else development), and the
 * TASKER_SECTION_KEY variables. An empty variable counts as unset; one of such a name that no key
 * has is an error, unless it has the form of a service link (Kubernetes, Docker), which is a
 * remark. Returns 0, or -1 with kind TSK_CONFIG and FILE:LINE or $VARIABLE in the text; conf then
 * holds some of it. */
int tsk_conf_load(struct tsk_conf *conf, const char *path, const char *environment,
                  struct tsk_err *err);

/* Sets one value from text; origin ("--batch-endpoint", "FILE:LINE") is copied and shown by
 * tasker-status. Returns 0, or -1 with kind TSK_USAGE and a text that names origin and why. */
int tsk_conf_set(struct tsk_conf *conf, enum tsk_conf_key key, const char *text, const char *origin,
                 struct tsk_err *err);

/* As tsk_conf_set for "SECTION.KEY=VALUE"; an unknown key is told with the nearest known one. */
int tsk_conf_assign(struct tsk_conf *conf, const char *assignment, const char *origin,
                    struct tsk_err *err);

/* The value as number (also ms, bytes, place in the choices) or as text (PATH: usable as it is;
 * never NULL). Borrowed. */
int64_t tsk_conf_int(const struct tsk_conf *conf, enum tsk_conf_key key);
const char *tsk_conf_str(const struct tsk_conf *conf, enum tsk_conf_key key);

/* Where the value came from: "default", "FILE:LINE", "$VARIABLE", "--flag". Borrowed. */
const char *tsk_conf_origin(const struct tsk_conf *conf, enum tsk_conf_key key);

/* Tells whether anything but the built-in default set it. */
bool tsk_conf_is_set(const struct tsk_conf *conf, enum tsk_conf_key key);

const char *tsk_conf_file(const struct tsk_conf *conf);        /* the file read, or NULL */
const char *tsk_conf_environment(const struct tsk_conf *conf); /* "development" … */

/* What loading found that is no error, for people: a warning, or a remark for who wants to know
 * more. NULL: nothing. Borrowed. */
const char *tsk_conf_warning(const struct tsk_conf *conf);
const char *tsk_conf_remark(const struct tsk_conf *conf);

/* ---- the values of store.url */

enum tsk_store_kind { TSK_STORE_NONE, TSK_STORE_SQLITE, TSK_STORE_POSTGRESQL };

/* What a url is of: "none", "sqlite" (in the default place), "sqlite:PATH", "postgresql://…" (also
 * "postgres://…"; what is left out comes from the PG* variables). Returns -1 if it is none. */
int tsk_store_kind_of(const char *url);

/* What a text that is no url was to begin with, by its first letters ("postgresql://" for
 * "postgresql//x"); NULL: it is a url, or cannot be told. */
const char *tsk_store_meant(const char *text);

/* Whether text is a path and no url: it has a slash, or ends in .db, and begins with no scheme. As
 * a value of store.url it stands for sqlite:PATH. */
bool tsk_store_is_path(const char *text);

/* Writes url for people, with *** in place of a password, to out (cut to size). Returns whether
 * there was a password. */
bool tsk_store_url_shown(const char *url, char *out, size_t size);

#ifdef __cplusplus
}
#endif

#endif
