/* The store: the same cases on both back ends, then what only one of them can do. PostgreSQL is the
 * private cluster that tests/run has for all tests. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "tasker/tasker.h"

enum { MANY = 20000 };

static struct tsk_store *open_within(const char *url, const char *timeout, int stop_fd)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(tsk_conf_set(conf, TSK_STORE_URL, url, "test", &err) == 0);
    CHECK(tsk_conf_set(conf, TSK_STORE_TIMEOUT, timeout, "test", &err) == 0);
    struct tsk_store *store = tsk_store_new(conf, stop_fd, &err);
    if (!CHECK(store != NULL))
        exit(check_done());
    tsk_conf_free(conf);
    return store;
}

static struct tsk_store *open_at(const char *url)
{
    return open_within(url, "5s", -1);
}

/* Runs a statement that must do. */
static int64_t do_sql(struct tsk_store *store, const char *sql)
{
    struct tsk_err err = TSK_ERR_INIT;
    int64_t n = tsk_store_run(store, sql, NULL, 0, NULL, NULL, &err);
    if (!CHECK(n >= 0))
        fprintf(stderr, "    %s: %s\n", sql, err.text);
    return n;
}

static int64_t get(struct tsk_store *store, const char *sql)
{
    int64_t number = -1;
    struct tsk_err err = TSK_ERR_INIT;
    if (!CHECK(tsk_store_get_int(store, sql, NULL, 0, &number, &err) == 1))
        fprintf(stderr, "    %s: %s\n", sql, err.text);
    return number;
}

static const char add_task[] =
    "INSERT INTO tasks (name, created_at, updated_at) VALUES ($2, $1, $1)";
static const char count_tasks[] = "SELECT count(*) FROM tasks";
static const char wrong[] = "INSERT INTO tasks (name, created_at, updated_at, state) VALUES "
                            "('a', 1, 1, 'no such state')";

/* How a transaction is to go. */
struct course {
    int rows;      /* added one by one */
    bool fails;    /* at its end */
    bool wrong_in; /* a statement in its midst is refused */
    int calls;
    const char *at_first; /* done by another connection in the first call */
    struct tsk_store *other;
};

static int add_rows(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(7), tsk_value_text("a")};
    struct course *course = ctx;
    for (int i = 0; i < course->rows; i++) {
        if (tsk_store_send(store, add_task, values, 2, err) < 0)
            return -1;
        if (i == course->rows / 2 && course->wrong_in &&
            tsk_store_send(store, wrong, NULL, 0, err) < 0)
            return -1;
    }
    if (course->calls++ == 0 && course->at_first)
        do_sql(course->other, course->at_first);
    return course->fails ? tsk_err_set(err, TSK_DATA, "no") : 0;
}

static void test_transactions(struct tsk_store *store)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct course course = {.rows = 2, .fails = true};
    CHECK(tsk_store_write(store, add_rows, &course, 0, &err) == -1);
    CHECK_INT(err.kind, TSK_DATA);
    CHECK_INT(get(store, count_tasks), 0);
    course = (struct course){.rows = 2};
    CHECK(tsk_store_write(store, add_rows, &course, 0, &err) == 0);
    CHECK_INT(get(store, count_tasks), 2);
    course = (struct course){.rows = 10, .wrong_in = true};
    CHECK(tsk_store_write(store, add_rows, &course, 1000, &err) == -1);
    CHECK_INT(err.kind, TSK_DATA);
    CHECK_INT(course.calls <= 1, 1);
    CHECK_INT(get(store, count_tasks), 2);
    course = (struct course){.rows = 3};
    CHECK(tsk_store_write(store, add_rows, &course, 0, &err) == 0);
    CHECK_INT(get(store, count_tasks), 5);
    CHECK_INT(do_sql(store, "DELETE FROM tasks"), 5);
}

/* Many at once, more than any buffer holds, and their rows back. */
struct seen {
    int64_t rows, sum, stop_after;
};

static int see(void *ctx, const struct tsk_value *row, size_t columns)
{
    struct seen *seen = ctx;
    CHECK(columns == 2 && row[0].type == TSK_INT && row[1].type == TSK_TEXT);
    seen->sum += row[0].number;
    return ++seen->rows == seen->stop_after;
}

static void test_many(struct tsk_store *store)
{
    static const char sql[] = "SELECT created_at, name FROM tasks ORDER BY task_id";
    struct tsk_err err = TSK_ERR_INIT;
    struct course course = {.rows = MANY};
    struct seen all = {0, 0, 0}, some = {0, 0, 3};
    CHECK(tsk_store_write(store, add_rows, &course, 0, &err) == 0);
    CHECK_INT(tsk_store_run(store, sql, NULL, 0, see, &all, &err), MANY);
    CHECK_INT(all.sum, 7 * MANY);
    CHECK_INT(tsk_store_run(store, sql, NULL, 0, see, &some, &err), 3);
    CHECK_INT(some.rows, 3);
    CHECK_INT(do_sql(store, "DELETE FROM tasks"), MANY);
}

/* Values of all types, there and back. */
static const char add_result[] =
    "INSERT INTO received_results (received_at, collector_id, topic, step_id, raw_message) "
    "VALUES ($1, $2, $3, $4, $5)";
static const char bytes_sent[] = "\0a\xff\xfe'\\x\n";

static int see_values(void *ctx, const struct tsk_value *row, size_t columns)
{
    *(bool *)ctx = true;
    CHECK(columns == 6);
    CHECK(row[0].type == TSK_INT && row[0].number == INT64_MIN + 1);
    CHECK(row[1].type == TSK_TEXT &&
          strcmp(row[1].data, "gr\xc3\xbc\xc3\x9f 'x' \xf0\x9f\x9a\x80") == 0);
    CHECK(row[2].type == TSK_TEXT && row[2].len == 0);
    CHECK(row[3].type == TSK_NULL);
    CHECK(row[4].type == TSK_BYTES && row[4].len == sizeof bytes_sent &&
          memcmp(row[4].data, bytes_sent, sizeof bytes_sent) == 0);
    CHECK(row[5].type == TSK_INT && row[5].number == INT64_MIN + 1);
    return 0;
}

static void test_values(struct tsk_store *store)
{
    static const char sql[] =
        "SELECT received_at, collector_id, topic, step_id, raw_message, "
        "(SELECT sum(received_at) FROM received_results) FROM received_results";
    struct tsk_value values[] = {
        tsk_value_int(INT64_MIN + 1),
        tsk_value_chars("gr\xc3\xbc\xc3\x9f 'x' \xf0\x9f\x9a\x80 and more", 15), tsk_value_text(""),
        tsk_value_told(-1, -1), tsk_value_bytes(bytes_sent, sizeof bytes_sent)};
    struct tsk_err err = TSK_ERR_INIT;
    bool seen = false;
    CHECK_INT(tsk_store_run(store, add_result, values, 5, NULL, NULL, &err), 1);
    CHECK_INT(tsk_store_run(store, sql, NULL, 0, see_values, &seen, &err), 1);
    CHECK(seen);
    values[4] = tsk_value_bytes("", 0);
    CHECK_INT(tsk_store_run(store, add_result, values, 5, NULL, NULL, &err), 1);
    CHECK_INT(get(store, "SELECT count(*) FROM received_results WHERE length(raw_message) = 0"), 1);
    static const char *const bad[] = {"a\0b", "\xff\xfe", "\xc3"};
    for (size_t i = 0; i < 3; i++) {
        values[2] = tsk_value_chars(bad[i], i == 0 ? 3 : strlen(bad[i]));
        CHECK(tsk_store_run(store, add_result, values, 5, NULL, NULL, &err) == -1);
        CHECK_INT(err.kind, TSK_DATA);
    }
    CHECK_INT(do_sql(store, "DELETE FROM received_results"), 2);
}

static void test_newer(struct tsk_store *store, const char *url)
{
    static const char later[] =
        "INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, 'later', 1)";
    struct tsk_err err = TSK_ERR_INIT;
    int64_t version, bytes = 0;
    CHECK(tsk_store_version(store, &version, &err) == 0);
    CHECK(version == tsk_store_version_known());
    CHECK(tsk_store_size(store, &bytes, &err) == 0);
    CHECK(bytes > 10000 && bytes < 100000000);
    CHECK_INT(do_sql(store, later), 1);
    struct tsk_store *other = open_at(url);
    CHECK(tsk_store_connect(other, &err) == -1);
    CHECK(err.kind == TSK_CONFIG && strstr(err.text, "9999"));
    tsk_store_free(other);
}

/* A reader sees one state, whatever is written meanwhile. */
static int read_twice(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct course *course = ctx;
    (void)err;
    CHECK_INT(get(store, count_tasks), 0);
    do_sql(course->other, course->at_first);
    CHECK_INT(get(store, count_tasks), 0);
    return 0;
}

static void test_snapshot(struct tsk_store *store, struct tsk_store *other)
{
    struct course course = {.other = other,
                            .at_first = "INSERT INTO tasks (name, created_at, updated_at) "
                                        "VALUES ('b', 1, 1)"};
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(tsk_store_read(store, read_twice, &course, 0, &err) == 0);
    CHECK_INT(get(store, count_tasks), 1);
    CHECK_INT(do_sql(store, "DELETE FROM tasks"), 1);
}

/* Several processes make the schema at once and then write at once. */
static void write_as_child(const char *url)
{
    struct tsk_store *store = open_within(url, "20s", -1);
    struct tsk_err err = TSK_ERR_INIT;
    for (int i = 0; i < 20; i++) {
        struct course course = {.rows = 5};
        if (!CHECK(tsk_store_write(store, add_rows, &course, 20000, &err) == 0))
            fprintf(stderr, "    %s\n", err.text);
    }
    tsk_store_free(store);
    _exit(check_done());
}

static void test_processes(const char *url)
{
    enum { CHILDREN = 6 };
    int status, ok = 0;
    for (int i = 0; i < CHILDREN; i++) {
        if (fork() == 0)
            write_as_child(url);
    }
    for (int i = 0; i < CHILDREN; i++)
        ok += wait(&status) > 0 && status == 0;
    CHECK_INT(ok, CHILDREN);
    struct tsk_store *store = open_at(url);
    CHECK_INT(get(store, count_tasks), CHILDREN * 100);
    CHECK_INT(do_sql(store, "DELETE FROM tasks"), CHILDREN * 100);
    tsk_store_free(store);
}

/* A program that only reads does not create a store. */
static void test_absent(const char *url)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_store *store = open_at(url);
    tsk_store_set_use(store, TSK_STORE_LOOK);
    CHECK(tsk_store_connect(store, &err) == -1);
    CHECK_INT(err.kind, TSK_UNAVAILABLE);
    tsk_store_free(store);
}

/* No store is open when the children are forked: valgrind would report it as their leak. */
static void test_both(const char *url)
{
    test_absent(url);
    test_processes(url);
    struct tsk_store *store = open_at(url), *other = open_at(url);
    test_transactions(store);
    test_many(store);
    test_values(store);
    test_snapshot(store, other);
    test_newer(store, url);
    tsk_store_free(other);
    tsk_store_free(store);
}

/* ---- PostgreSQL alone */

/* The connection is cut off in the midst of a transaction: it is done again, and is there once. */
static void test_cut_off(struct tsk_store *store, struct tsk_store *other)
{
    static const char cut[] = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                              "datname = current_database() AND pid <> pg_backend_pid()";
    static const char gone[] = "SELECT count(*) FROM pg_stat_activity WHERE "
                               "datname = current_database() AND pid <> pg_backend_pid()";
    struct tsk_err err = TSK_ERR_INIT;
    struct course course = {.rows = 10, .at_first = cut, .other = other};
    CHECK(tsk_store_connect(store, &err) == 0);
    CHECK(tsk_store_write(store, add_rows, &course, 10000, &err) == 0);
    CHECK_INT(course.calls, 2);
    CHECK_INT(get(store, count_tasks), 10);
    course.calls = 0;
    CHECK(tsk_store_write(store, add_rows, &course, 0, &err) == -1);
    CHECK_INT(err.kind, TSK_TEMPFAIL);
    CHECK_INT(get(store, count_tasks), 10);
    /* while nothing is going on, nobody notices */
    do_sql(other, cut);
    while (get(other, gone) > 0)
        poll(NULL, 0, 5);
    course.at_first = NULL;
    CHECK(tsk_store_write(store, add_rows, &course, 0, &err) == 0);
    CHECK_INT(get(store, count_tasks), 20);
    CHECK_INT(do_sql(store, "DELETE FROM tasks"), 20);
}

static void expect_refused(const char *url, const char *timeout, enum tsk_exit kind,
                           const char *text)
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_store *store = open_within(url, timeout, -1);
    CHECK(tsk_store_connect(store, &err) == -1);
    if (!CHECK(err.kind == kind && strstr(err.text, text) && !strchr(err.text, '\n') &&
               !strstr(err.text, "s3cret")))
        fprintf(stderr, "    %d %s\n", err.kind, err.text);
    tsk_store_free(store);
}

/* A server that takes the connection and says nothing, and a stop while it is waited for. */
static void test_silent(const char *folder)
{
    char url[300];
    int fds[2];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct tsk_err err = TSK_ERR_INIT;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", folder);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 5) == 0);
    snprintf(url, sizeof url, "postgresql://u:s3cret@/x?host=%s", folder);
    int64_t start = tsk_now_ms();
    expect_refused(url, "200ms", TSK_TEMPFAIL, "no answer within 200 ms");
    CHECK(tsk_now_ms() - start >= 190 && tsk_now_ms() - start < 30000);
    CHECK(pipe(fds) == 0 && write(fds[1], "s", 1) == 1);
    struct tsk_store *store = open_within(url, "1h", fds[0]);
    CHECK(tsk_store_connect(store, &err) == -1);
    CHECK_INT(err.kind, TSK_TEMPFAIL);
    CHECK(tsk_now_ms() - start < 30000);
    tsk_store_free(store);
    close(fd);
    unlink(address.sun_path);
    expect_refused(url, "5s", TSK_TEMPFAIL, "u:***@"); /* nobody there */
}

static void test_refusals(const char *base, const char *folder)
{
    char url[300];
    (void)folder;
    snprintf(url, sizeof url, "postgresql://tasker:s3cret@/nosuch?host=%s", base);
    expect_refused(url, "5s", TSK_UNAVAILABLE, "\"nosuch\" does not exist (3D000)");
    snprintf(url, sizeof url, "postgresql://nobody:s3cret@/template1?host=%s", base);
    expect_refused(url, "5s", TSK_UNAVAILABLE, "nobody");
    snprintf(url, sizeof url, "postgresql://tasker:s3cret@/template1?host=%s&sslmode=odd", base);
    expect_refused(url, "5s", TSK_UNAVAILABLE, "sslmode");
    expect_refused("postgresql://u:s3cret@h:99%zz/x", "5s", TSK_CONFIG, "store.url");
    expect_refused("postgresql:///x?nosuch=1", "5s", TSK_CONFIG, "nosuch");
}

/* Two transactions that wait for each other: one is told to begin again, and both get through. */
static int lock_both(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    static const char update[] = "UPDATE tasks SET priority = priority + 1 WHERE name = $1";
    const char *const *names = ctx;
    for (int i = 0; i < 2; i++) {
        struct tsk_value value = tsk_value_text(names[i]);
        if (tsk_store_run(store, update, &value, 1, NULL, NULL, err) < 0)
            return -1;
        if (i == 0)
            poll(NULL, 0, 30);
    }
    return 0;
}

static void lock_often(const char *url, const char *names[2])
{
    struct tsk_err err = TSK_ERR_INIT;
    struct tsk_store *store = open_at(url);
    for (int i = 0; i < 5; i++)
        CHECK(tsk_store_write(store, lock_both, names, 20000, &err) == 0);
    tsk_store_free(store);
}

static void test_deadlock(const char *url)
{
    const char *there[] = {"x", "y"}, *back[] = {"y", "x"};
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        lock_often(url, there);
        _exit(check_done());
    }
    lock_often(url, back);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void test_postgresql(const char *folder)
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
    snprintf(url, sizeof url, "postgresql:///template1?host=%s&user=tasker", base);
    static char command[600];
    snprintf(command, sizeof command, "createdb -h %s -U tasker unit_store", base);
    CHECK(system(command) == 0);
    snprintf(url, sizeof url, "postgresql:///unit_store?host=%s&user=tasker", base);
    test_both(url);
    struct tsk_store *store = open_at(url), *other = open_at(url);
    snprintf(
        command, sizeof command,
        "psql -q -h %s -U tasker -d unit_store -c 'DELETE FROM schema_migrations WHERE version = "
        "9999'",
        base);
    CHECK(system(command) == 0);
    test_cut_off(store, other);
    do_sql(store,
           "INSERT INTO tasks (name, created_at, updated_at) VALUES ('x', 1, 1), ('y', 1, 1)");
    tsk_store_free(other);
    tsk_store_free(store);
    test_deadlock(url);
    store = open_at(url);
    CHECK_INT(get(store, "SELECT sum(priority) FROM tasks"), 20);
    tsk_store_free(store);
    test_refusals(base, folder);
    test_silent(folder);
    snprintf(command, sizeof command, "dropdb -h %s -U tasker unit_store", base);
    CHECK(system(command) == 0);
}

int main(void)
{
    char folder[] = "/tmp/tasker-store.XXXXXX", url[128], command[160];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(url, sizeof url, "sqlite:%s/a/b/store.db", folder);
    test_both(url);
    test_postgresql(folder);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return check_done();
}
