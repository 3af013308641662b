/* tasker-work: runs the steps of batches by the handlers of a registry, and reports. This file is
 * its options and its set-up; its parts are in cmd/work. The order of the set-up matters: the
 * keeper is forked while there is still one thread and no socket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/life.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/signals.h"
#include "work/work.h"

enum { AWAIT_MS = 3000 }; /* until it is told that nobody is at an endpoint */

struct opts {
    bool check;
};

#define KEY(letter, name, arg, key, help)                                                          \
    {                                                                                              \
        letter, name, arg, OPT_KEY, key, help, 0, 0, NULL                                          \
    }

static const struct opt table[] = {
    KEY('H', "handlers", "FILE", TSK_WORKER_HANDLERS, "the handler registry"),
    KEY('j', "max-workers", "N", TSK_WORKER_MAX_WORKERS, "steps run at the same time"),
    KEY(0, "queue-limit", "N", TSK_WORKER_QUEUE_LIMIT, "steps accepted and waiting"),
    KEY(0, "id", "NAME", TSK_WORKER_ID, "name of this worker; otherwise HOST-PID"),
    KEY(0, "batch-endpoint", "ENDPOINT", TSK_ZEROMQ_BATCH_ENDPOINT, "where batches come from"),
    KEY(0, "result-endpoint", "ENDPOINT", TSK_ZEROMQ_RESULT_ENDPOINT, "where results go"),
    KEY(0, "step-timeout", "DURATION", TSK_WORKER_STEP_TIMEOUT,
        "time limit of a step that names none"),
    KEY(0, "kill-grace", "DURATION", TSK_WORKER_KILL_GRACE, "time between TERM and KILL"),
    KEY(0, "drain-timeout", "DURATION", TSK_WORKER_DRAIN_TIMEOUT,
        "time that running steps have at the end"),
    KEY(0, "max-output", "SIZE", TSK_WORKER_MAX_OUTPUT, "bytes of output kept of one step"),
    KEY(0, "circuit-failures", "N", TSK_WORKER_CIRCUIT_FAILURES,
        "failures in a row after which a handler rests; 0: never"),
    KEY(0, "circuit-reset", "DURATION", TSK_WORKER_CIRCUIT_RESET,
        "how long it rests before a step is tried"),
    {0, "check", NULL, OPT_FLAG, offsetof(struct opts, check),
     "check configuration, registry and handlers, then exit", 0, 0, NULL},
};

static const struct program program = {
    .name = "tasker-work",
    .synopsis = "[option ...]",
    .description =
        "Receives batches, runs their steps as processes by the handlers of a registry, and\n"
        "sends back a result a step and a completion a batch. Runs until SIGTERM, which lets\n"
        "running steps end; a second one ends it at once.",
    .opts = table,
    .count = sizeof table / sizeof *table,
};

/* Tells of each handler that cannot be run, at this level. Returns how many. */
static size_t check_handlers(const struct tsk_handlers *handlers, enum diag_level level)
{
    struct tsk_err err;
    size_t bad = 0;
    for (size_t i = 0; i < tsk_handlers_count(handlers); i++) {
        if (tsk_handler_check(handlers, tsk_handlers_at(handlers, i), &err) == 0)
            continue;
        diag(level, "%s", err.text);
        bad++;
    }
    return bad;
}

static void tell_mistake(void *ctx, const char *text)
{
    (void)ctx;
    diag_error("%s", text);
}

/* Makes "HOST-PID" of characters that the wire allows. */
static void default_id(char id[TSK_ID_SIZE])
{
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    for (char *c = host; *c; c++) {
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *c))
            *c = '-';
    }
    snprintf(id, TSK_ID_SIZE, "%s-%ld", *host ? host : "worker", (long)getpid());
}

/* What the worker needs beside its sockets and at the least: of descriptors, pipes and those of one
 * step; of processes, the keeper, the launcher and one handler. */
enum { NEED_FDS = 72, NEED_PROCESSES = 16, STEP_FDS = 4 };

/* Makes sure that one step can run, and lowers max_workers to what the system allows. Returns 0, or
 * -1 with err. */
static int allow_descriptors(struct work *work, struct tsk_err *err)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return tsk_err_sys(err, TSK_UNAVAILABLE, "the limit on descriptors");
    work->files = limit;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (tsk_os_room(NEED_FDS, NEED_PROCESSES, err) < 0)
        return -1;
    if (limit.rlim_max == RLIM_INFINITY)
        return 0;
    int64_t most = ((int64_t)limit.rlim_max - NEED_FDS) / STEP_FDS + 1;
    if (work->max_workers > most) {
        diag_warn("max_workers lowered from %lld to %lld: the limit on open files is %lld",
                  (long long)work->max_workers, (long long)most, (long long)limit.rlim_max);
        work->max_workers = most;
    }
    return 0;
}

static void set_up_limits(struct work *work)
{
    const struct tsk_conf *conf = work->conf;
    work->max_workers = tsk_conf_int(conf, TSK_WORKER_MAX_WORKERS);
    work->queue_limit = tsk_conf_int(conf, TSK_WORKER_QUEUE_LIMIT);
    work->max_output = tsk_conf_int(conf, TSK_WORKER_MAX_OUTPUT);
    work->max_input = tsk_conf_int(conf, TSK_WORKER_MAX_INPUT);
    work->max_message = (size_t)tsk_conf_int(conf, TSK_ZEROMQ_MAX_MESSAGE_BYTES);
    work->step_timeout = tsk_conf_int(conf, TSK_WORKER_STEP_TIMEOUT);
    work->kill_grace = tsk_conf_int(conf, TSK_WORKER_KILL_GRACE);
}

/* What needs no socket. Returns 0, or -1 with err. */
static int set_up(struct work *work, struct tsk_err *err)
{
    char mark[64] = "TASKER_WORKER_MARK=";
    const char *id = tsk_conf_str(work->conf, TSK_WORKER_ID);
    if (*id)
        snprintf(work->id, sizeof work->id, "%s", id);
    else
        default_id(work->id);
    tsk_uuid(work->source);
    strcat(mark, work->source);
    set_up_limits(work);
    work->json = tsk_json_new();
    work->circuits = breaker_new(work->conf);
    work->feed = feed_new(work->conf);
    flow_init(&work->flow, work->conf);
    work->batches = tsk_map_new(batch_free);
    work->deferred = tsk_map_new(deferred_free);
    work->finished = tsk_map_new(free);
    work->told = tsk_map_new(NULL);
    work->next_check = -1;
    input_environment(work, mark);
    if (allow_descriptors(work, err) < 0)
        return -1;
    work->room = work->max_workers;
    work->keeper = keeper_start((size_t)work->max_workers * 2 + 64, mark, err);
    if (!work->keeper || (work->signal_watch.fd = signals_open(true, err)) < 0)
        return -1;
    tsk_os_signals_changed(&work->changed);
    work->terminal = tsk_os_has_terminal();
    tsk_os_adopt_orphans();
    if (!(work->launch = launch_start(work, err)))
        return -1;
    work->poller = tsk_poller_new();
    return work->poller ? 0 : tsk_err_sys(err, TSK_UNAVAILABLE, "cannot wait for descriptors");
}

/* Opens the results side. Where the port is only the default one and is taken, by a second worker
 * on this machine as a rule, a free one serves: the receipts tell collectors of it. */
static struct tsk_bus *open_results(const struct work *work, struct tsk_err *err)
{
    struct tsk_bus *bus = tsk_bus_open(work->conf, TSK_RESULTS, TSK_SENDER, err);
    if (bus || err->kind != TSK_TEMPFAIL || tsk_conf_is_set(work->conf, TSK_ZEROMQ_RESULT_ENDPOINT))
        return bus;
    bus = tsk_bus_open_at(work->conf, TSK_RESULTS, TSK_SENDER, true, "tcp://127.0.0.1:*", err);
    if (bus)
        diag_warn("%s is in use: results are at %s instead",
                  tsk_conf_str(work->conf, TSK_ZEROMQ_RESULT_ENDPOINT), tsk_bus_endpoint(bus));
    return bus;
}

/* The endpoint as others can use it: with this host's name where it is bound to all addresses. */
static char *told_endpoint(const struct tsk_bus *bus)
{
    const char *endpoint = tsk_bus_endpoint(bus);
    char host[256] = "";
    if (!tsk_bus_binds(bus))
        return NULL;
    if (!tsk_bus_any_host(endpoint))
        return tsk_strdup(endpoint);
    struct tsk_buf text = TSK_BUF_INIT;
    gethostname(host, sizeof host - 1);
    tsk_buf_printf(&text, "tcp://%s%s", host, strrchr(endpoint, ':'));
    return text.data;
}

/* Opens both sockets and registers by subscription. Returns 0, or -1 with err. */
static int open_sockets(struct work *work, struct tsk_err *err)
{
    if (!(work->results = open_results(work, err)) ||
        !(work->steps = tsk_bus_open(work->conf, TSK_STEPS, TSK_RECEIVER, err)))
        return -1;
    work->result_endpoint = told_endpoint(work->results);
    accept_all(work);
    work->state = WORK_READY;
    tsk_bus_await(work->steps, NULL, "a publisher", AWAIT_MS);
    if (!tsk_bus_binds(work->results))
        tsk_bus_await(work->results, NULL, "a collector", AWAIT_MS);
    diag_info("worker %s is ready: batches from %s, results at %s", work->id,
              tsk_bus_endpoint(work->steps), tsk_bus_endpoint(work->results));
    return 0;
}

static void tear_down(struct work *work)
{
    run_release_all(work);
    life_close(work->steps, DIAG_INFO);
    life_close(work->results, DIAG_WARNING);
    launch_free(work->launch);
    keeper_stop(work->keeper);
    tsk_poller_free(work->poller);
    tsk_map_free(work->batches);
    tsk_map_free(work->deferred);
    tsk_map_free(work->finished);
    feed_free(work->feed);
    tsk_circuits_free(work->circuits);
    tsk_json_free(work->json);
    for (size_t i = 0; i < work->environment_count; i++)
        free(work->environment[i]);
    free(work->environment);
    tsk_map_free(work->told);
    free(work->result_endpoint);
}

static enum tsk_exit run_worker(struct work *work)
{
    struct tsk_err err;
    enum tsk_exit status;
    if (set_up(work, &err) < 0 || open_sockets(work, &err) < 0)
        status = diag_err(&err);
    else
        status = work_loop(work);
    tear_down(work);
    return status;
}

int main(int argc, char **argv)
{
    struct opts opts = {false};
    struct tsk_conf *conf;
    struct tsk_err err;
    enum tsk_exit status = TSK_CONFIG;
    opt_parse(&program, argc, argv, &opts, &conf);
    const char *registry = tsk_conf_str(conf, TSK_WORKER_HANDLERS);
    struct tsk_handlers *handlers = NULL;
    if (!*registry) {
        diag_error("no handler registry: set worker.handlers or give --handlers FILE");
    } else if (!(handlers = tsk_handlers_load(registry, tell_mistake, NULL, &err))) {
        diag_err(&err);
    } else {
        size_t bad = check_handlers(handlers, opts.check ? DIAG_ERROR : DIAG_WARNING);
        struct work work = {.conf = conf, .handlers = handlers};
        status = opts.check ? (bad ? TSK_CONFIG : TSK_OK) : run_worker(&work);
    }
    tsk_handlers_free(handlers);
    tsk_conf_free(conf);
    return out_close(status);
}
