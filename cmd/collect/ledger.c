/* The ledger writer: a queue of entries, and a thread that writes them.
 *
 * Entries are a list in the order in which they were given. The thread writes from its front and
 * moves "durable" on; the caller takes what lies before that, and alone frees. So the lock is held
 * for a few instructions only, never while the store is at work.
 *
 * A group is what waits, up to group_rows; it is written when it has that many, when its first
 * entry is group_delay old, or at once when the caller has nothing more at hand. While one is
 * written the next gathers, so that a slow disk makes large groups by itself. */
#include "collect/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/map.h"
#include "tasker/message.h"

/* ---- Messages while they wait for the store. */

/* An entry that waits: one piece of memory with all its texts. */
struct tsk_ledger_node {
    struct tsk_ledger_node *next;
    struct tsk_ledger_entry entry;
    int64_t number;                 /* of all that were given, from 1 */
    int64_t received_at;            /* of the calendar, in ms */
    size_t size;                    /* bytes of memory */
    struct tsk_ledger_found *found; /* each with its texts in one piece of memory, raw */
    size_t found_cap;
};

struct tsk_ledger {
    /* the caller's alone */
    struct tsk_ledger_node *first,
        *last;                     /* last is the thread's to read its next, under the lock */
    struct tsk_ledger_node *taken; /* the one given out last */
    int64_t given, seen;           /* entries given; of these known to be durable */
    size_t bytes, bytes_most;
    char own[TSK_UUID_SIZE + 16]; /* source of messages that have none */
    int64_t own_offset;
    /* the thread's alone */
    struct tsk_store *store;
    struct tsk_ledger_node **group;
    size_t group_most;
    int64_t delay;
    char *collector_id;
    /* of both, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct tsk_ledger_node *next; /* the first that is not durable */
    int64_t waiting;              /* so many from there on */
    int64_t flushed;              /* up to this one nothing more is to be waited for */
    bool ending, told;            /* told: the pipe has its byte */
    struct tsk_ledger_state state;
    /* set once */
    pthread_t thread;
    int tell[2], stop[2];
};

/* Copies a text with its NUL to *to and moves that on. NULL stays NULL. */
static const char *copy_text(char **to, const char *text)
{
    char *copy = *to;
    if (!text)
        return NULL;
    *to = stpcpy(copy, text) + 1;
    return copy;
}

/* A reason may quote what came: only what any database takes for text is kept. */
static const char *copy_plain(char **to, const char *text)
{
    char *copy = *to;
    if (!copy_text(to, text))
        return NULL;
    for (char *c = copy; *c; c++) {
        if (*c < ' ' || *c > '~')
            *c = '?';
    }
    return copy;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static void forget_found(struct tsk_ledger_node *node)
{
    for (size_t i = 0; i < node->entry.found_count; i++)
        free((char *)node->found[i].raw);
    node->entry.found_count = 0;
}

static void node_free(struct tsk_ledger_node *node)
{
    if (!node)
        return;
    forget_found(node);
    free(node->found);
    free(node);
}

static int add_found(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct tsk_ledger_node *node = ctx;
    size_t *count = &node->entry.found_count;
    if (columns < 2)
        return 0;
    node->found = tsk_grow(node->found, &node->found_cap, *count + 1, sizeof *node->found);
    char *raw = tsk_alloc(row[1].len + row[0].len + 2);
    char *topic = raw + row[1].len + 1;
    memcpy(raw, row[1].data, row[1].len);
    memcpy(topic, row[0].data, row[0].len);
    node->found[(*count)++] = (struct tsk_ledger_found){topic, raw, row[1].len};
    return 0;
}

static int find(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT topic, raw_message FROM received_results WHERE batch_id = $1 AND reason IS NULL "
        "AND (source IS NULL OR source <> $2) ORDER BY id";
    struct tsk_ledger_node *node = ctx;
    struct tsk_value values[] = {tsk_value_text(node->entry.batch_id),
                                 tsk_value_text(node->entry.source)};
    forget_found(node);
    return tsk_store_run(store, sql, values, 2, add_found, node, err) < 0 ? -1 : 0;
}

#define OPEN(object, array)                                                                        \
    "SELECT 'receipt', CAST(" object "('batch_id', b.batch_id, 'worker_id', b.accepted_by,"        \
    " 'source', b.source, 'result_endpoint', b.result_endpoint, 'step_ids', (SELECT " array        \
    "(p.step_id) FROM batch_steps p WHERE p.batch = b.id), 'reached', (SELECT count(*) FROM"       \
    " (SELECT 1 FROM received_results r WHERE r.source = b.source LIMIT 1) n)) AS TEXT)"           \
    " FROM batches b WHERE b.state IN ('published', 'executing') AND b.source IS NOT NULL"         \
    " ORDER BY b.id"

static int find_open(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sqlite[] = OPEN("json_object", "json_group_array");
    static const char postgresql[] = OPEN("json_build_object", "json_agg");
    struct tsk_ledger_node *node = ctx;
    forget_found(node);
    return tsk_store_run(store, TSK_SQL(store, sqlite, postgresql), NULL, 0, add_found, node, err) <
                   0
               ? -1
               : 0;
}

static int find_known(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char sql[] = "SELECT 'batch', batch_id FROM batches WHERE batch_id = $1";
    struct tsk_ledger_node *node = ctx;
    struct tsk_value id = tsk_value_text(node->entry.batch_id);
    forget_found(node);
    return tsk_store_run(store, sql, &id, 1, add_found, node, err) < 0 ? -1 : 0;
}

static int find_entry(struct tsk_store *store, struct tsk_ledger_node *node, struct tsk_err *err)
{
    tsk_store_fn *fn = !node->entry.batch_id ? find_open : node->entry.offset ? find_known : find;
    int rc = tsk_store_read(store, fn, node, 0, err);
    node->entry.found = node->found;
    return rc;
}

static struct tsk_ledger_node *node_new(const struct tsk_ledger_entry *entry, const char *source)
{
    size_t size = sizeof(struct tsk_ledger_node) + text_size(entry->topic) + entry->len + 1 +
                  text_size(entry->message_type) + text_size(entry->batch_id) + text_size(source) +
                  text_size(entry->reason);
    struct tsk_ledger_node *node = malloc(size);
    if (!node)
        abort(); /* out of memory: see buf.h */
    char *to = (char *)(node + 1);
    *node = (struct tsk_ledger_node){.size = size};
    node->received_at = tsk_wall_ms();
    node->entry = *entry;
    node->entry.topic = copy_plain(&to, entry->topic);
    node->entry.message_type = copy_text(&to, entry->message_type);
    node->entry.batch_id = copy_text(&to, entry->batch_id);
    node->entry.source = copy_text(&to, source);
    node->entry.reason = copy_plain(&to, entry->reason);
    node->entry.raw = memcpy(to, entry->raw, entry->len);
    to[entry->len] = '\0';
    return node;
}

/* ---- A group of messages as one transaction: the messages, each unless it is there, and a mark
 * for each batch that has news by it. Where the store cannot tell at no cost whether a message was
 * there (PostgreSQL), it counts as news, and all go at once. */

struct group {
    const char *collector_id;
    struct tsk_ledger_node **nodes;
    size_t count;
    struct tsk_map *news;  /* batches marked */
    struct tsk_rows *rows; /* messages that go at once; or NULL */
};

/* As tsk_ledger_insert, in a group. */
static int add_node(struct tsk_store *store, const struct group *group,
                    const struct tsk_ledger_node *node, struct tsk_err *err)
{
    if (!group->rows)
        return tsk_ledger_insert(store, &node->entry, group->collector_id, node->received_at, err);
    int rc = tsk_ledger_add(group->rows, &node->entry, group->collector_id, node->received_at, err);
    return rc < 0 ? -1 : 1;
}

/* Two that write the same messages in different orders would wait for each other. */
static int compare_places(const void *a, const void *b)
{
    const struct tsk_ledger_node *x = *(struct tsk_ledger_node *const *)a;
    const struct tsk_ledger_node *y = *(struct tsk_ledger_node *const *)b;
    int order = strcmp(x->entry.source, y->entry.source);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static int mark_batch(struct tsk_store *store, struct group *group, const char *batch_id,
                      struct tsk_err *err)
{
    static char mark;
    if (tsk_map_get(group->news, batch_id))
        return 0;
    tsk_map_put(group->news, batch_id, &mark);
    return tsk_ledger_mark(store, batch_id, err);
}

static int write_group(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct group *group = ctx;
    const char *last = "";
    tsk_map_free(group->news); /* of a try before this one */
    group->news = tsk_map_new(NULL);
    if (group->rows)
        tsk_rows_init(group->rows, store, &tsk_ledger_rows);
    int rc = 0;
    for (size_t i = 0; i < group->count && rc >= 0; i++) {
        const struct tsk_ledger_node *node = group->nodes[i];
        rc = add_node(store, group, node, err);
        if (rc <= 0 || !node->entry.batch_id || !strcmp(last, node->entry.batch_id))
            continue;
        last = node->entry.batch_id;
        rc = mark_batch(store, group, last, err);
    }
    if (!group->rows)
        return rc < 0 ? -1 : 0;
    if (rc >= 0)
        rc = tsk_rows_end(group->rows, err);
    tsk_rows_fini(group->rows);
    return rc < 0 ? -1 : 0;
}

static int write_nodes(struct tsk_store *store, const char *collector_id,
                       struct tsk_ledger_node **nodes, size_t count, struct tsk_err *err)
{
    struct tsk_rows rows;
    bool at_once = tsk_store_kind(store) == TSK_STORE_POSTGRESQL && count > 1;
    struct group group = {collector_id, nodes, count, NULL, at_once ? &rows : NULL};
    if (tsk_store_kind(store) == TSK_STORE_POSTGRESQL)
        qsort(nodes, count, sizeof *nodes, compare_places);
    int rc = tsk_store_write(store, write_group, &group, 0, err);
    tsk_map_free(group.news);
    return rc;
}

/* ---- The thread of the ledger writer: waits for a group, writes it, tells the caller. Whatever
 * fails is tried again until it succeeds or the end comes. */

enum {
    PAUSE_LEAST_MS = 10,
    PAUSE_MOST_MS = 1000,
    TELL_AFTER_MS = 1000, /* of what may be just another's lock */
};

/* Makes the descriptor readable. Under the lock. */
static void tell(struct tsk_ledger *ledger)
{
    if (ledger->told)
        return;
    ledger->told = true;
    while (write(ledger->tell[1], "", 1) < 0 && errno == EINTR)
        ;
}

/* Waits until something changes or until that time (tsk_now_ms; -1: any). Under the lock. */
static void wait_until(struct tsk_ledger *ledger, int64_t until)
{
    if (until < 0) {
        pthread_cond_wait(&ledger->wake, &ledger->lock);
        return;
    }
    struct timespec at = {.tv_sec = (time_t)(until / 1000), .tv_nsec = until % 1000 * 1000000};
    pthread_cond_timedwait(&ledger->wake, &ledger->lock, &at);
}

/* Waits for a group to be there. Returns its size, or 0 at the end. Under the lock. */
static size_t wait_group(struct tsk_ledger *ledger)
{
    while (!ledger->ending) {
        if (!ledger->waiting) {
            wait_until(ledger, -1);
            continue;
        }
        size_t waiting = (size_t)ledger->waiting;
        if (waiting >= ledger->group_most)
            return ledger->group_most;
        int64_t due = ledger->next->entry.at + ledger->delay;
        if (ledger->flushed >= ledger->next->number || due <= tsk_now_ms())
            return waiting;
        wait_until(ledger, due);
    }
    return 0;
}

static void note_failure(struct tsk_ledger *ledger, const struct tsk_err *err)
{
    struct tsk_ledger_state *state = &ledger->state;
    int64_t now = tsk_now_ms();
    if (!state->since)
        state->since = now;
    if (state->failing || (err->kind == TSK_TEMPFAIL && now - state->since < TELL_AFTER_MS))
        return;
    state->failing = true;
    state->err = *err;
    tell(ledger);
}

static void note_success(struct tsk_ledger *ledger)
{
    struct tsk_ledger_state *state = &ledger->state;
    if (state->failing || !state->ever)
        tell(ledger);
    state->ever = true;
    state->failing = false;
    state->since = 0;
    state->err = (struct tsk_err)TSK_ERR_INIT;
}

/* One try, without the lock: to connect (count 0), to look, or to write a group. */
static int try_it(struct tsk_ledger *ledger, size_t count, struct tsk_err *err)
{
    if (!count)
        return tsk_store_connect(ledger->store, err);
    if (ledger->group[0]->entry.look)
        return find_entry(ledger->store, ledger->group[0], err);
    return write_nodes(ledger->store, ledger->collector_id, ledger->group, count, err);
}

/* Does it until it succeeds. Returns false at the end. Under the lock, which it lets go meanwhile.
 */
static bool do_it(struct tsk_ledger *ledger, size_t count)
{
    struct tsk_err err = TSK_ERR_INIT;
    for (int64_t pause = PAUSE_LEAST_MS; !ledger->ending;) {
        pthread_mutex_unlock(&ledger->lock);
        int rc = try_it(ledger, count, &err);
        pthread_mutex_lock(&ledger->lock);
        if (rc == 0) {
            note_success(ledger);
            return true;
        }
        note_failure(ledger, &err);
        for (int64_t until = tsk_now_ms() + pause; !ledger->ending && tsk_now_ms() < until;)
            wait_until(ledger, until);
        pause = pause * 2 < PAUSE_MOST_MS ? pause * 2 : PAUSE_MOST_MS;
    }
    return false;
}

/* Gathers up to most of what waits: messages, or something to look for. Returns the last; *count
 * becomes their number. Under the lock. */
static struct tsk_ledger_node *gather(struct tsk_ledger *ledger, size_t most, size_t *count)
{
    struct tsk_ledger_node *node = ledger->next, *last = node;
    size_t n = 0;
    while (n < most && !node->entry.look) {
        ledger->group[n++] = last = node;
        node = node->next;
    }
    if (!n)
        ledger->group[n++] = node;
    *count = n;
    return last;
}

static void *run_writer(void *ctx)
{
    struct tsk_ledger *ledger = ctx;
    pthread_mutex_lock(&ledger->lock);
    bool going = do_it(ledger, 0);
    size_t count;
    while (going && (count = wait_group(ledger)) > 0) {
        struct tsk_ledger_node *last = gather(ledger, count, &count);
        going = do_it(ledger, count);
        if (!going)
            break;
        ledger->next = last->next;
        ledger->waiting -= (int64_t)count;
        ledger->state.written += last->entry.look ? 0 : (int64_t)count;
        ledger->state.groups += !last->entry.look;
        tell(ledger);
    }
    pthread_mutex_unlock(&ledger->lock);
    return NULL;
}

enum { LOCK_WAIT_MS = 200 }; /* for another's lock at once, so that the thread can be ended */

static int open_pipe(int fds[2], struct tsk_err *err)
{
    if (pipe(fds) < 0) {
        fds[0] = fds[1] = -1;
        return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot make a pipe");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    return 0;
}

static void close_pipe(int fds[2])
{
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* Starts the thread, which gets no signals: they are the caller's. */
static int start(struct tsk_ledger *ledger, struct tsk_err *err)
{
    pthread_condattr_t attr;
    sigset_t all, before;
    pthread_mutex_init(&ledger->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ledger->wake, &attr);
    pthread_condattr_destroy(&attr);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&ledger->thread, NULL, run_writer, ledger);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        return 0;
    errno = rc;
    return tsk_err_sys(err, TSK_UNAVAILABLE, "cannot start a thread");
}

static void release(struct tsk_ledger *ledger)
{
    for (struct tsk_ledger_node *node = ledger->first, *next; node; node = next) {
        next = node->next;
        node_free(node);
    }
    node_free(ledger->taken);
    tsk_store_free(ledger->store);
    close_pipe(ledger->tell);
    close_pipe(ledger->stop);
    free(ledger->group);
    free(ledger->collector_id);
    free(ledger);
}

struct tsk_ledger *tsk_ledger_new(const struct tsk_conf *conf, const char *collector_id,
                                  struct tsk_err *err)
{
    struct tsk_ledger *ledger = tsk_alloc(sizeof *ledger);
    char uuid[TSK_UUID_SIZE];
    ledger->tell[0] = ledger->tell[1] = ledger->stop[0] = ledger->stop[1] = -1;
    ledger->bytes_most = (size_t)tsk_conf_int(conf, TSK_STORE_QUEUE_BYTES);
    ledger->delay = tsk_conf_int(conf, TSK_STORE_GROUP_DELAY);
    ledger->group_most = (size_t)tsk_conf_int(conf, TSK_STORE_GROUP_ROWS);
    ledger->group = tsk_alloc(ledger->group_most * sizeof *ledger->group);
    ledger->collector_id = tsk_strdup(collector_id);
    tsk_uuid(uuid);
    snprintf(ledger->own, sizeof ledger->own, TSK_SOURCE_COLLECTOR "%s", uuid);
    if (open_pipe(ledger->tell, err) == 0 && open_pipe(ledger->stop, err) == 0) {
        ledger->store = tsk_store_new(conf, ledger->stop[0], err);
        if (ledger->store)
            tsk_store_set_lock_wait(ledger->store, LOCK_WAIT_MS);
        if (ledger->store && start(ledger, err) == 0)
            return ledger;
    }
    release(ledger);
    return NULL;
}

void tsk_ledger_free(struct tsk_ledger *ledger)
{
    if (!ledger)
        return;
    while (write(ledger->stop[1], "", 1) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&ledger->lock);
    ledger->ending = true;
    pthread_cond_signal(&ledger->wake);
    pthread_mutex_unlock(&ledger->lock);
    pthread_join(ledger->thread, NULL);
    pthread_cond_destroy(&ledger->wake);
    pthread_mutex_destroy(&ledger->lock);
    release(ledger);
}

const char *tsk_ledger_name(const struct tsk_ledger *ledger)
{
    return tsk_store_name(ledger->store);
}

static void add(struct tsk_ledger *ledger, struct tsk_ledger_node *node)
{
    node->number = ++ledger->given;
    ledger->bytes += node->size;
    pthread_mutex_lock(&ledger->lock);
    if (ledger->last)
        ledger->last->next = node;
    else
        ledger->first = node;
    ledger->last = node;
    if (!ledger->next)
        ledger->next = node;
    ledger->waiting++;
    bool wake = ledger->waiting == 1 || ledger->waiting == (int64_t)ledger->group_most;
    pthread_mutex_unlock(&ledger->lock);
    if (wake)
        pthread_cond_signal(&ledger->wake);
}

void tsk_ledger_append(struct tsk_ledger *ledger, const struct tsk_ledger_entry *entry)
{
    struct tsk_ledger_node *node = node_new(entry, entry->source ? entry->source : ledger->own);
    if (!entry->source)
        node->entry.offset = ++ledger->own_offset;
    add(ledger, node);
}

void tsk_ledger_look(struct tsk_ledger *ledger, const char *batch_id, const char *except,
                     int64_t at)
{
    struct tsk_ledger_entry entry = {.raw = "", .batch_id = batch_id, .at = at, .look = true};
    add(ledger, node_new(&entry, except));
}

void tsk_ledger_look_open(struct tsk_ledger *ledger, int64_t at)
{
    struct tsk_ledger_entry entry = {.raw = "", .at = at, .look = true};
    add(ledger, node_new(&entry, NULL));
}

void tsk_ledger_look_known(struct tsk_ledger *ledger, const char *batch_id, int64_t at)
{
    struct tsk_ledger_entry entry = {
        .raw = "", .batch_id = batch_id, .offset = 1, .at = at, .look = true};
    add(ledger, node_new(&entry, NULL));
}

void tsk_ledger_flush(struct tsk_ledger *ledger)
{
    if (ledger->given == ledger->seen)
        return;
    pthread_mutex_lock(&ledger->lock);
    bool wake = ledger->waiting && ledger->flushed < ledger->given;
    ledger->flushed = ledger->given;
    pthread_mutex_unlock(&ledger->lock);
    if (wake)
        pthread_cond_signal(&ledger->wake);
}

static const struct tsk_ledger_entry *take_first(struct tsk_ledger *ledger)
{
    struct tsk_ledger_node *node = ledger->first;
    ledger->first = node->next;
    if (!node->next)
        ledger->last = NULL;
    ledger->bytes -= node->size;
    ledger->taken = node;
    return &node->entry;
}

const struct tsk_ledger_entry *tsk_ledger_take(struct tsk_ledger *ledger)
{
    node_free(ledger->taken);
    ledger->taken = NULL;
    if (!ledger->first)
        return NULL;
    if (ledger->first->number > ledger->seen) {
        pthread_mutex_lock(&ledger->lock);
        ledger->seen = ledger->given - ledger->waiting;
        pthread_mutex_unlock(&ledger->lock);
    }
    return ledger->first->number <= ledger->seen ? take_first(ledger) : NULL;
}

const struct tsk_ledger_entry *tsk_ledger_drop(struct tsk_ledger *ledger)
{
    node_free(ledger->taken);
    ledger->taken = NULL;
    return ledger->first ? take_first(ledger) : NULL;
}

int tsk_ledger_fd(const struct tsk_ledger *ledger)
{
    return ledger->tell[0];
}

void tsk_ledger_state(struct tsk_ledger *ledger, struct tsk_ledger_state *state)
{
    char byte;
    pthread_mutex_lock(&ledger->lock);
    if (ledger->told) {
        ledger->told = false;
        while (read(ledger->tell[0], &byte, 1) < 0 && errno == EINTR)
            ;
    }
    *state = ledger->state;
    pthread_mutex_unlock(&ledger->lock);
}

int64_t tsk_ledger_waiting(struct tsk_ledger *ledger)
{
    pthread_mutex_lock(&ledger->lock);
    int64_t waiting = ledger->waiting;
    pthread_mutex_unlock(&ledger->lock);
    return waiting;
}

int tsk_ledger_fill(const struct tsk_ledger *ledger)
{
    size_t percent = ledger->bytes / (ledger->bytes_most / 100 + 1);
    return percent < INT_MAX ? (int)percent : INT_MAX;
}

int64_t tsk_ledger_oldest(const struct tsk_ledger *ledger)
{
    return ledger->first ? ledger->first->entry.at : -1;
}
