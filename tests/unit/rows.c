/* Many rows by one statement: on both stores the same rows come back, in their order, whatever is
 * in them; and one that cannot be stored fails all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "tasker/tasker.h"

enum { MANY = 2500 }; /* more than go at once */

#define ADD                                                                                        \
    "INSERT INTO received_results (received_at, collector_id, topic, raw_message, reason, "        \
    "source) "
static const struct tsk_rows_sql add = {
    ADD "VALUES ($1, $2, 't', $3, $4, 's')",
    ADD "SELECT v1, v2, 't', v3, v4, 's' FROM unnest($1::bigint[], $2::text[], $3::bytea[],"
        " $4::text[]) AS v (v1, v2, v3, v4)",
    "itbt"};

static const struct tsk_rows_sql change = {
    "UPDATE received_results SET reason = $2 WHERE received_at = $1",
    "UPDATE received_results SET reason = v2 FROM unnest($1::bigint[], $2::text[]) AS v (v1, v2)"
    " WHERE received_at = v1",
    "it"};

/* What row number i has: each kind of text and bytes there is, and nulls. */
static void fill(int64_t i, struct tsk_value row[4], char text[64])
{
    static const char bytes[] = "\0\xff{}\"\\,NULL\n";
    snprintf(text, 64, "{\"%lld\", NULL}\\ \xc3\xa9\n", (long long)i);
    row[0] = tsk_value_int(i % 2 ? i : -i);
    row[1] = tsk_value_text(text);
    row[2] = tsk_value_bytes(bytes, (size_t)i % sizeof bytes);
    row[3] = tsk_value_text(i % 3 ? (i % 3 == 1 ? "" : "NULL") : NULL);
}

static int write_many(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct tsk_rows rows;
    struct tsk_value row[4];
    char text[64];
    int rc = 0;
    (void)ctx;
    tsk_rows_init(&rows, store, &add);
    for (int64_t i = 0; i < MANY && rc == 0; i++) {
        fill(i, row, text);
        rc = tsk_rows_add(&rows, row, err);
    }
    if (rc == 0)
        rc = tsk_rows_end(&rows, err);
    if (rc == 0)
        rc = tsk_rows_end(&rows, err); /* of nothing */
    tsk_rows_fini(&rows);
    return rc;
}

static bool same(const struct tsk_value *a, const struct tsk_value *b)
{
    return a->type == b->type && a->number == b->number && a->len == b->len &&
           (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

static int take_row(void *ctx, const struct tsk_value *row, size_t columns)
{
    int64_t *i = ctx;
    struct tsk_value want[4];
    char text[64];
    fill((*i)++, want, text);
    for (size_t c = 0; c < columns; c++)
        CHECK(same(&row[c], &want[c]));
    return 0;
}

static int write_changes(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct tsk_rows rows;
    const struct tsk_value *values = ctx;
    tsk_rows_init(&rows, store, &change);
    int rc = tsk_rows_add(&rows, values, err);
    if (rc == 0)
        rc = tsk_rows_add(&rows, values + 2, err);
    if (rc == 0)
        rc = tsk_rows_end(&rows, err);
    tsk_rows_fini(&rows);
    return rc;
}

static int64_t count(struct tsk_store *store, const char *sql)
{
    int64_t number = -1;
    CHECK(tsk_store_get_int(store, sql, NULL, 0, &number, NULL) == 1);
    return number;
}

static void test_changes(struct tsk_store *store)
{
    static const char changed[] =
        "SELECT count(*) FROM received_results WHERE reason IN ('one', 'two')";
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_value good[] = {tsk_value_int(1), tsk_value_text("one"), tsk_value_int(-2),
                               tsk_value_text("two")};
    struct tsk_value bad[] = {tsk_value_int(3), tsk_value_text("one"), tsk_value_int(5),
                              tsk_value_text("\xff")};
    struct tsk_value wrong[] = {tsk_value_int(3), tsk_value_text("one"), tsk_value_int(5),
                                tsk_value_int(5)};
    CHECK(tsk_store_write(store, write_changes, good, 0, &err) == 0);
    CHECK_INT(2, count(store, changed));
    CHECK(tsk_store_write(store, write_changes, bad, 0, &err) < 0);
    CHECK_INT(TSK_DATA, err.kind);
    if (tsk_store_kind(store) == TSK_STORE_POSTGRESQL) {
        CHECK(tsk_store_write(store, write_changes, wrong, 0, &err) < 0);
        CHECK_INT(TSK_BUG, err.kind);
    }
    CHECK_INT(2, count(store, changed));
}

static void test_rows(const char *url)
{
    static const char sql[] =
        "SELECT received_at, collector_id, raw_message, reason FROM received_results ORDER BY id";
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    int64_t i = 0;
    CHECK(tsk_conf_set(conf, TSK_STORE_URL, url, "test", &err) == 0);
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    if (!CHECK(tsk_store_write(store, write_many, NULL, 0, &err) == 0))
        fprintf(stderr, "    %s\n", err.text);
    CHECK(tsk_store_run(store, sql, NULL, 0, take_row, &i, &err) == MANY);
    test_changes(store);
    tsk_store_free(store);
    tsk_conf_free(conf);
}

static void run(const char *command, const char *word, const char *rest)
{
    char line[600];
    snprintf(line, sizeof line, "%s %s %s", command, word, rest);
    CHECK(system(line) == 0);
}

static void test_postgresql(void)
{
    char base[200] = "", url[300];
    FILE *tool =
        popen("\"$TESTS_CLUSTER\" shared \"$STORE_CLUSTER\" \"$STORE_CLUSTER_OWNER\"", "r");
    if (!CHECK(tool && fgets(base, sizeof base, tool))) {
        fprintf(stderr, "    there is no PostgreSQL: start this by tests/run\n");
        return;
    }
    pclose(tool);
    base[strcspn(base, "\n")] = '\0';
    run("createdb -h", base, "-U tasker unit_rows");
    snprintf(url, sizeof url, "postgresql:///unit_rows?host=%s&user=tasker", base);
    test_rows(url);
    run("dropdb -h", base, "-U tasker unit_rows");
}

int main(void)
{
    char folder[] = "/tmp/tasker-rows.XXXXXX", url[128];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(url, sizeof url, "sqlite:%s/store.db", folder);
    test_rows(url);
    test_postgresql();
    run("rm -rf", folder, "");
    return check_done();
}
