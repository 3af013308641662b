/* The ledger writer, on both back ends: order, groups, once only, a store that fails and comes
 * back, the limit of memory, what the ledger has of a batch. PostgreSQL is the cluster of
 * tests/run. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "collect/ledger.h"
#include "tasker/tasker.h"

enum { WAIT_MS = 20000 };

static const char count_rows[] = "SELECT count(*) FROM received_results";
static const char count_marks[] = "SELECT count(*) FROM unsettled";
static const char count_named[] = "SELECT count(*) FROM received_results WHERE source = 's1' AND "
                                  "topic = 'partial_result' AND step_id = stream_offset AND "
                                  "message_type = 'partial_result' AND collector_id = 'me'";
static const char get_raw[] =
    "SELECT raw_message FROM received_results WHERE source = 'odd' AND reason = 'a ? b'";
static const char forget[] = "DELETE FROM received_results";
static const char forget_marks[] = "DELETE FROM unsettled";
static const char away[] = "ALTER TABLE received_results RENAME TO away";
static const char back[] = "ALTER TABLE away RENAME TO received_results";

static struct tsk_conf *conf_of(const char *url, const char *rows, const char *bytes)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(tsk_conf_set(conf, TSK_STORE_URL, url, "test", &err) == 0);
    CHECK(tsk_conf_set(conf, TSK_STORE_GROUP_ROWS, rows, "test", &err) == 0);
    CHECK(tsk_conf_set(conf, TSK_STORE_QUEUE_BYTES, bytes, "test", &err) == 0);
    CHECK(tsk_conf_set(conf, TSK_STORE_GROUP_DELAY, "60s", "test", &err) == 0);
    return conf;
}

static struct tsk_ledger *ledger_at(const char *url, const char *rows, const char *bytes)
{
    struct tsk_conf *conf = conf_of(url, rows, bytes);
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_ledger *ledger = tsk_ledger_new(conf, "me", &err);
    if (!CHECK(ledger != NULL))
        exit(check_done());
    tsk_conf_free(conf);
    return ledger;
}

static struct tsk_store *store_at(const char *url)
{
    struct tsk_conf *conf = conf_of(url, "1", "1K");
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!CHECK(store != NULL))
        exit(check_done());
    tsk_conf_free(conf);
    return store;
}

static int64_t get(struct tsk_store *store, const char *sql)
{
    int64_t number = -1;
    struct tsk_err err = TSK_ERR_INIT;
    if (!CHECK(tsk_store_get_int(store, sql, NULL, 0, &number, &err) == 1))
        fprintf(stderr, "    %s\n", err.text);
    return number;
}

static void do_sql(struct tsk_store *store, const char *sql)
{
    struct tsk_err err = TSK_ERR_INIT;
    if (!CHECK(tsk_store_run(store, sql, NULL, 0, NULL, NULL, &err) >= 0))
        fprintf(stderr, "    %s\n", err.text);
}

static void give(struct tsk_ledger *ledger, const char *batch, const char *source, int64_t offset)
{
    char raw[64];
    snprintf(raw, sizeof raw, "{\"n\":%lld}", (long long)offset);
    struct tsk_ledger_entry entry = {.topic = "partial_result",
                                     .raw = raw,
                                     .len = strlen(raw),
                                     .message_type = "partial_result",
                                     .batch_id = batch,
                                     .step_id = offset,
                                     .source = source,
                                     .offset = offset,
                                     .at = tsk_now_ms()};
    tsk_ledger_append(ledger, &entry);
}

/* Waits for the descriptor of ledger until its state fits. Returns whether it does. */
static bool wait_failing(struct tsk_ledger *ledger, bool failing, struct tsk_ledger_state *state)
{
    int64_t end = tsk_now_ms() + WAIT_MS;
    struct pollfd pfd = {.fd = tsk_ledger_fd(ledger), .events = POLLIN};
    for (tsk_ledger_state(ledger, state); state->failing != failing;
         tsk_ledger_state(ledger, state)) {
        if (poll(&pfd, 1, tsk_left_ms(end)) <= 0)
            return false;
    }
    return true;
}

/* Takes count entries, waiting by the descriptor alone. Returns how many came, in order of offset.
 */
static int64_t take(struct tsk_ledger *ledger, int64_t count)
{
    struct tsk_ledger_state state;
    const struct tsk_ledger_entry *entry;
    struct pollfd pfd = {.fd = tsk_ledger_fd(ledger), .events = POLLIN};
    int64_t taken = 0, end = tsk_now_ms() + WAIT_MS;
    while (taken < count) {
        tsk_ledger_state(ledger, &state);
        while (taken < count && (entry = tsk_ledger_take(ledger)) != NULL)
            taken += entry->offset == taken + 1;
        if (taken < count && poll(&pfd, 1, tsk_left_ms(end)) <= 0)
            break;
    }
    return taken;
}

static void test_groups(const char *url, struct tsk_store *store)
{
    struct tsk_ledger *ledger = ledger_at(url, "10", "1M");
    struct tsk_ledger_state state;
    for (int64_t i = 1; i <= 25; i++)
        give(ledger, i <= 20 ? "b1" : "b2", "s1", i);
    CHECK_INT(take(ledger, 20), 20); /* two groups that are full */
    CHECK(tsk_ledger_take(ledger) == NULL);
    CHECK_INT(tsk_ledger_waiting(ledger), 5); /* the third waits for more */
    CHECK_INT(get(store, count_rows), 20);
    tsk_ledger_flush(ledger);
    while (tsk_ledger_waiting(ledger))
        poll(NULL, 0, 1);
    tsk_ledger_state(ledger, &state);
    CHECK(state.ever && !state.failing);
    CHECK_INT(state.written, 25);
    CHECK_INT(state.groups, 3);
    CHECK_INT(get(store, count_named), 25);
    CHECK_INT(get(store, count_marks), 3); /* a batch and transaction */
    tsk_ledger_free(ledger);
}

/* Again, by another; and what has no place of its own. */
static void test_once(const char *url, struct tsk_store *store)
{
    struct tsk_ledger *ledger = ledger_at(url, "100", "1M");
    for (int64_t i = 1; i <= 30; i++)
        give(ledger, "b1", "s1", i);
    tsk_ledger_flush(ledger);
    CHECK_INT(take(ledger, 30), 30);
    CHECK_INT(get(store, count_rows), 30);
    give(ledger, "b1", NULL, 0);
    give(ledger, "b1", NULL, 0);
    tsk_ledger_flush(ledger);
    while (tsk_ledger_waiting(ledger))
        poll(NULL, 0, 1);
    CHECK_INT(get(store, count_rows), 32);
    tsk_ledger_free(ledger);
}

static int check_raw(void *ctx, const struct tsk_value *row, size_t columns)
{
    const struct tsk_ledger_entry *entry = ctx;
    CHECK(columns == 1 && row[0].len == entry->len);
    CHECK(memcmp(row[0].data, entry->raw, entry->len) == 0);
    return 0;
}

static void test_bytes(const char *url, struct tsk_store *store)
{
    struct tsk_ledger *ledger = ledger_at(url, "1", "1M");
    struct tsk_err err = TSK_ERR_INIT;
    char raw[256];
    for (int i = 0; i < 256; i++)
        raw[i] = (char)i;
    struct tsk_ledger_entry entry = {.topic = "",
                                     .raw = raw,
                                     .len = sizeof raw,
                                     .source = "odd",
                                     .offset = 1,
                                     .reason = "a \xff b",
                                     .at = tsk_now_ms()};
    tsk_ledger_append(ledger, &entry);
    CHECK_INT(take(ledger, 1), 1);
    CHECK_INT(tsk_store_run(store, get_raw, NULL, 0, check_raw, &entry, &err), 1);
    tsk_ledger_free(ledger);
}

static void test_failure(const char *url, struct tsk_store *store)
{
    struct tsk_ledger *ledger = ledger_at(url, "10", "4K");
    struct tsk_ledger_state state;
    int64_t given = 0;
    do_sql(store, away);
    while (tsk_ledger_fill(ledger) < 100 && given < 1000)
        give(ledger, "b3", "s3", ++given);
    CHECK(given > 5 && given < 100);
    CHECK(wait_failing(ledger, true, &state));
    CHECK(state.err.kind != TSK_OK && state.err.text[0] && state.since > 0);
    CHECK_INT(tsk_ledger_waiting(ledger), given);
    CHECK(tsk_ledger_take(ledger) == NULL);
    CHECK(tsk_ledger_oldest(ledger) > 0);
    do_sql(store, back);
    tsk_ledger_flush(ledger);
    CHECK(wait_failing(ledger, false, &state));
    CHECK_INT(take(ledger, given), given);
    CHECK(tsk_ledger_fill(ledger) < 10);
    CHECK(tsk_ledger_oldest(ledger) == -1);
    do_sql(store, away); /* and what is given up */
    give(ledger, "b3", "s3", ++given);
    tsk_ledger_flush(ledger);
    CHECK(wait_failing(ledger, true, &state));
    const struct tsk_ledger_entry *left = tsk_ledger_drop(ledger);
    CHECK(left && left->offset == given);
    CHECK(tsk_ledger_drop(ledger) == NULL);
    tsk_ledger_free(ledger);
    do_sql(store, back);
}

static void test_look(const char *url)
{
    struct tsk_ledger *ledger = ledger_at(url, "10", "1M");
    const struct tsk_ledger_entry *entry;
    give(ledger, "b4", "s4", 1);
    give(ledger, "b4", "lost:b4", 2);
    give(ledger, "b5", "s4", 3);
    tsk_ledger_look(ledger, "b4", "lost:b4", tsk_now_ms());
    give(ledger, "b4", "s4", 4);
    tsk_ledger_flush(ledger);
    while (tsk_ledger_waiting(ledger))
        poll(NULL, 0, 1);
    for (int i = 0; i < 3; i++)
        CHECK((entry = tsk_ledger_take(ledger)) != NULL && !entry->look);
    entry = tsk_ledger_take(ledger);
    if (CHECK(entry && entry->look && entry->found_count == 1)) {
        CHECK_STR(entry->batch_id, "b4");
        CHECK_STR(entry->found[0].topic, "partial_result");
        CHECK_STR(entry->found[0].raw, "{\"n\":1}");
    }
    CHECK((entry = tsk_ledger_take(ledger)) != NULL && entry->offset == 4);
    tsk_ledger_free(ledger);
}

static void test_both(const char *url)
{
    struct tsk_store *store = store_at(url);
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(tsk_store_connect(store, &err) == 0);
    test_groups(url, store);
    test_once(url, store);
    test_bytes(url, store);
    do_sql(store, forget);
    do_sql(store, forget_marks);
    test_failure(url, store);
    test_look(url);
    tsk_store_free(store);
}

/* One that cannot be used, and never could be. */
static void test_refused(const char *folder)
{
    char url[200];
    struct tsk_ledger_state state;
    snprintf(url, sizeof url, "sqlite:%s", folder);
    struct tsk_ledger *ledger = ledger_at(url, "1", "1K");
    CHECK(wait_failing(ledger, true, &state));
    CHECK(!state.ever && state.err.kind == TSK_UNAVAILABLE);
    tsk_ledger_free(ledger);
    struct tsk_conf *conf = conf_of("none", "1", "1K");
    struct tsk_err err = {TSK_BUG, 0, ""};
    CHECK(tsk_ledger_new(conf, "me", &err) == NULL && err.kind == TSK_OK);
    tsk_conf_free(conf);
}

static void test_postgresql(void)
{
    char base[200] = "", text[600];
    FILE *tool =
        popen("\"$TESTS_CLUSTER\" shared \"$STORE_CLUSTER\" \"$STORE_CLUSTER_OWNER\"", "r");
    if (!CHECK(tool && fgets(base, sizeof base, tool))) {
        fprintf(stderr, "    there is no PostgreSQL: start this by tests/run\n");
        return;
    }
    pclose(tool);
    base[strcspn(base, "\n")] = '\0';
    snprintf(text, sizeof text, "createdb -h %s -U tasker unit_ledger", base);
    CHECK(system(text) == 0);
    snprintf(text, sizeof text, "postgresql:///unit_ledger?host=%s&user=tasker", base);
    test_both(text);
    snprintf(text, sizeof text, "dropdb -h %s -U tasker unit_ledger", base);
    CHECK(system(text) == 0);
}

int main(void)
{
    char folder[] = "/tmp/tasker-ledger.XXXXXX", text[128];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(text, sizeof text, "sqlite:%s/store.db", folder);
    test_both(text);
    test_refused(folder);
    test_postgresql();
    snprintf(text, sizeof text, "rm -rf %s", folder);
    CHECK(system(text) == 0);
    return check_done();
}
