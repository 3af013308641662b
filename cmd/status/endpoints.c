/* tasker-status endpoints: which endpoints to look at, one after the other, and the verdict over
 * all of them. What is wrong is in the output and, in short, on stderr, so that a health check
 * from cron says why it failed. */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/out.h"
#include "common/signals.h"
#include "status/look.h"
#include "status/show.h"
#include "status/status.h"
#include "tasker/parse.h"

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
