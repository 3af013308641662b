/* Connecting to PostgreSQL, and every wait for it. libpq waits by itself, without a limit, in all
 * its simple calls; so only those that do not wait are used, and the waits are here: never longer
 * than opts.timeout_ms without a sign of the server, and shorter when the program is to stop. The
 * one wait that is libpq's own is that for the name of a host. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_postgresql.h"
#include "tasker/clock.h"

enum { STOP_MS = 1000 };

/* One poll; a signal is no end. Returns as poll(2). */
static int poll_once(struct pollfd fds[2], int64_t deadline)
{
    int ready;
    while ((ready = poll(fds, 2, tsk_left_ms(deadline))) < 0 && errno == EINTR)
        ;
    return ready;
}

int tsk_pg_wait(struct tsk_store_db *db, short events, int64_t deadline, struct tsk_err *err)
{
    struct pollfd fds[2] = {{.fd = tsk_pq.socket(db->conn), .events = events},
                            {.fd = db->opts->stop_fd, .events = POLLIN}};
    int ready = poll_once(fds, deadline);
    if (ready > 0 && !fds[0].revents) {
        fds[1].fd = -1; /* told once; now only for a short while */
        ready = poll_once(fds, tsk_earlier(deadline, tsk_now_ms() + STOP_MS));
    }
    if (ready > 0)
        return fds[0].revents;
    db->broken = true;
    if (ready < 0)
        return tsk_err_sys(err, TSK_BUG, "%s: cannot wait", db->name);
    return tsk_err_set(err, TSK_TEMPFAIL, "%s: no answer within %" PRId64 " ms", db->name,
                       fds[1].fd < 0 && db->opts->stop_fd >= 0 ? STOP_MS : db->opts->timeout_ms);
}

/* What the server says without being asked is for nobody, but that it ends a connection that is
 * idle. */
static void take_notice(void *ctx, const PGresult *result)
{
    struct tsk_store_db *db = ctx;
    const char *state = tsk_pq.resultErrorField(result, PG_DIAG_SQLSTATE);
    if (state && strncmp(state, "57P", 3) == 0)
        db->broken = true;
}

/* Whether libpq can read the url. What it says of one that it cannot may hold a part of it, so a
 * url with a password is not explained. */
static int check_url(const struct tsk_store_opts *opts, const char *name, bool secret,
                     struct tsk_err *err)
{
    char *text = NULL;
    PQconninfoOption *options = tsk_pq.conninfoParse(opts->url, &text);
    if (!options) {
        const char *why = text && !secret ? text : "it is not what libpq takes for a url";
        tsk_err_set(err, TSK_CONFIG, "store.url %s: %.*s", name, (int)strcspn(why, "\n"), why);
    }
    tsk_pq.freemem(text);
    tsk_pq.conninfoFree(options);
    return options ? 0 : -1;
}

static int shake_hands(struct tsk_store_db *db, struct tsk_err *err)
{
    int64_t deadline = tsk_now_ms() + db->opts->timeout_ms;
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    if (tsk_pq.status(db->conn) == CONNECTION_BAD)
        return tsk_pg_fail_conn(db, "connect", err);
    while (next != PGRES_POLLING_OK) {
        if (next == PGRES_POLLING_FAILED)
            return tsk_pg_fail_conn(db, "connect", err);
        short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (tsk_pg_wait(db, events, deadline, err) < 0)
            return -1;
        next = tsk_pq.connectPoll(db->conn);
    }
    return 0;
}

/* What a session has to have. Limits on the server's side, a little lower than ours, end what
 * nobody will wait for and say why; a client that has vanished is missed soon, so that its locks
 * go. */
static int set_up(struct tsk_store_db *db, struct tsk_err *err)
{
    static const char sql[] =
        "SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false), "
        "set_config('jit', 'off', false), set_config('tcp_keepalives_idle', '15', false), "
        "set_config('tcp_keepalives_interval', '5', false), "
        "set_config('tcp_keepalives_count', '3', false)";
    int64_t most = 1 + db->opts->timeout_ms * 9 / 10, lock = db->opts->lock_ms;
    char limit[24], lock_limit[24];
    snprintf(limit, sizeof limit, "%" PRId64, most);
    snprintf(lock_limit, sizeof lock_limit, "%" PRId64, lock < 1 ? 1 : lock < most ? lock : most);
    struct tsk_value values[] = {tsk_value_text(limit), tsk_value_text(lock_limit)};
    tsk_pq.setErrorVerbosity(db->conn, PQERRORS_DEFAULT);
    if (tsk_pq.setnonblocking(db->conn, 1) < 0 || !tsk_pq.enterPipelineMode(db->conn))
        return tsk_pg_fail_conn(db, "connect", err);
    return tsk_store_postgresql.run(db, sql, values, 2, NULL, NULL, err) < 0 ? -1 : 0;
}

struct tsk_store_db *tsk_pg_open(const struct tsk_store_opts *opts, struct tsk_err *err)
{
    static const char *const keywords[] = {"fallback_application_name", "dbname", "client_encoding",
                                           NULL};
    const char *values[] = {"tasker", opts->url, "UTF8", NULL};
    struct tsk_store_db *db = tsk_alloc(sizeof *db);
    bool secret = tsk_store_url_shown(opts->url, db->name, sizeof db->name);
    db->opts = opts;
    if (tsk_pg_load(err) == 0 && check_url(opts, db->name, secret, err) == 0) {
        db->conn = tsk_pq.connectStartParams(keywords, values, 1);
        if (!db->conn)
            abort();
        tsk_pq.setErrorVerbosity(db->conn, PQERRORS_VERBOSE);
        tsk_pq.setNoticeReceiver(db->conn, take_notice, db);
        db->ready = shake_hands(db, err) == 0 && set_up(db, err) == 0;
        if (db->ready)
            return db;
    }
    tsk_pg_close(db);
    return NULL;
}

void tsk_pg_close(struct tsk_store_db *db)
{
    if (db->conn)
        tsk_pq.finish(db->conn);
    free(db->statements);
    free(db->commands);
    free(db);
}
