/* The store: schema, transactions and statements. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "tasker/tasker.h"

static struct tsk_store *open_at(const char *url)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(tsk_conf_set(conf, TSK_STORE_URL, url, "test", &err) == 0);
    struct tsk_store *store = tsk_store_new(conf, -1, &err);
    CHECK(store != NULL);
    tsk_conf_free(conf);
    return store;
}

static const char add_task[] =
    "INSERT INTO tasks (name, created_at, updated_at) VALUES ($2, $1, $1)";
static const char count_tasks[] = "SELECT count(*) FROM tasks";

static int add_two(struct tsk_store *store, void *ctx, struct tsk_err *err)
{
    struct tsk_value values[] = {tsk_value_int(7), tsk_value_text("a")};
    bool *fails = ctx;
    if (tsk_store_send(store, add_task, values, 2, err) < 0 ||
        tsk_store_send(store, add_task, values, 2, err) < 0)
        return -1;
    return *fails ? tsk_err_set(err, TSK_DATA, "no") : 0;
}

static int64_t count_in(struct tsk_store *store)
{
    int64_t count = -1;
    struct tsk_err err;
    CHECK(tsk_store_get_int(store, count_tasks, NULL, 0, &count, &err) == 1);
    return count;
}

static void test_transactions(struct tsk_store *store)
{
    struct tsk_err err = TSK_ERR_INIT;
    bool fails = true;
    CHECK(tsk_store_write(store, add_two, &fails, 0, &err) == -1);
    CHECK(err.kind == TSK_DATA);
    CHECK(count_in(store) == 0);
    fails = false;
    CHECK(tsk_store_write(store, add_two, &fails, 0, &err) == 0);
    CHECK(count_in(store) == 2);
}

static void test_newer(struct tsk_store *store, const char *url)
{
    static const char later[] =
        "INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, 'later', 1)";
    struct tsk_err err = TSK_ERR_INIT;
    int64_t version;
    CHECK(tsk_store_version(store, &version, &err) == 0);
    CHECK(version == tsk_store_version_known());
    CHECK(tsk_store_run(store, later, NULL, 0, NULL, NULL, &err) == 1);
    struct tsk_store *other = open_at(url);
    CHECK(tsk_store_connect(other, &err) == -1);
    CHECK(err.kind == TSK_CONFIG && strstr(err.text, "9999"));
    tsk_store_free(other);
}

int main(void)
{
    char folder[] = "/tmp/tasker-store.XXXXXX", url[128], command[160];
    struct tsk_err err = TSK_ERR_INIT;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(url, sizeof url, "sqlite:%s/a/b/store.db", folder);
    struct tsk_store *store = open_at(url);
    tsk_store_set_use(store, TSK_STORE_LOOK);
    CHECK(tsk_store_connect(store, &err) == -1);
    CHECK(err.kind == TSK_UNAVAILABLE);
    tsk_store_set_use(store, TSK_STORE_MAKE);
    test_transactions(store);
    test_newer(store, url);
    tsk_store_free(store);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return check_done();
}
