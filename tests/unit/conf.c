/* The table of keys, the one setter, origins, and the example file that has to agree with them. */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "tasker/buf.h"
#include "tasker/conf.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void check_table(void)
{
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        const struct tsk_conf_spec *spec = tsk_conf_spec((enum tsk_conf_key)i);
        CHECK_INT(tsk_conf_find(spec->section, spec->key), i); /* so no name is there twice */
        CHECK(spec->help && *spec->help && spec->help[strlen(spec->help) - 1] != '.');
        CHECK((spec->type == TSK_CONF_ENUM) == (spec->choices != NULL));
        CHECK(strlen(spec->section) + strlen(spec->key) < 50);
    }
    CHECK_INT(tsk_conf_find("zeromq", "nothing"), TSK_CONF_COUNT);
    CHECK_INT(tsk_conf_find("nothing", "enabled"), TSK_CONF_COUNT);
    CHECK_INT(tsk_conf_find("worker", "max_workers"), TSK_WORKER_MAX_WORKERS);
}

static void check_defaults(void)
{
    struct tsk_conf *conf = tsk_conf_new();
    for (size_t i = 0; i < TSK_CONF_COUNT; i++) {
        enum tsk_conf_key key = (enum tsk_conf_key)i;
        CHECK_STR(tsk_conf_str(conf, key), tsk_conf_spec(key)->fallback);
        CHECK_STR(tsk_conf_origin(conf, key), "default");
        CHECK(!tsk_conf_is_set(conf, key));
    }
    CHECK_INT(tsk_conf_int(conf, TSK_ZEROMQ_ENABLED), 1);
    CHECK_INT(tsk_conf_int(conf, TSK_ZEROMQ_WAIT), 30000);
    CHECK_INT(tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_MAX_BYTES), 256 * 1024 * 1024);
    CHECK_INT(tsk_conf_int(conf, TSK_LOG_LEVEL), 1);
    CHECK_STR(tsk_conf_environment(conf), "development");
    CHECK_STR(tsk_conf_file(conf), NULL);
    tsk_conf_free(conf);
    tsk_conf_free(NULL);
}

static const struct {
    enum tsk_conf_key key;
    const char *text;
    int64_t number;
    const char *shown; /* NULL: as text */
} good[] = {
    {TSK_ZEROMQ_ENABLED, "false", 0, NULL},
    {TSK_ZEROMQ_ENABLED, "yes", 1, "true"},
    {TSK_ZEROMQ_ENABLED, "off", 0, "false"},
    {TSK_ZEROMQ_ENABLED, "1", 1, "true"},
    {TSK_ZEROMQ_SEND_HWM, "1", 1, NULL},
    {TSK_ZEROMQ_LINGER, "0", 0, NULL},
    {TSK_ZEROMQ_LINGER, "1.5s", 1500, NULL},
    {TSK_ZEROMQ_MAX_MESSAGE_BYTES, "1K", 1024, NULL},
    {TSK_ZEROMQ_RESULT_BIND, "collector", 1, NULL},
    {TSK_LOG_LEVEL, "debug", 3, NULL},
    {TSK_ZEROMQ_BATCH_ENDPOINT, "tcp://*:1,ipc:///a", 0, NULL},
    {TSK_ZEROMQ_BATCH_ENDPOINT, " tcp://a:1 ,  tcp://b:2 ", 0, "tcp://a:1,tcp://b:2"},
    {TSK_WORKER_ID, "host-1:77", 0, NULL},
    {TSK_WORKER_ID, "", 0, NULL},
    {TSK_WORKER_HANDLERS, "rel/h.yaml", 0, NULL},
    {TSK_WORKER_HANDLERS, "", 0, NULL},
    {TSK_STORE_URL, "none", 0, NULL},
};

static void check_good(void)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        struct tsk_conf *conf = tsk_conf_new();
        struct tsk_err err = TSK_ERR_INIT;
        bool ok = CHECK_INT(tsk_conf_set(conf, good[i].key, good[i].text, "--flag", &err), 0);
        ok = CHECK_INT(tsk_conf_int(conf, good[i].key), good[i].number) && ok;
        ok = CHECK_STR(tsk_conf_str(conf, good[i].key),
                       good[i].shown ? good[i].shown : good[i].text) &&
             ok;
        ok = CHECK_STR(tsk_conf_origin(conf, good[i].key), "--flag") && ok;
        ok = CHECK(tsk_conf_is_set(conf, good[i].key)) && ok;
        if (!ok)
            fprintf(stderr, "    %zu: \"%s\": %s\n", i, good[i].text, err.text);
        tsk_conf_free(conf);
    }
}

#define LONG_ID                                                                                    \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaaaaa"                                                                                      \
    "aa"

static const struct {
    enum tsk_conf_key key;
    const char *text, *error;
} bad[] = {
    {TSK_ZEROMQ_ENABLED, "maybe", "--flag: \"maybe\" is neither true nor false"},
    {TSK_ZEROMQ_ENABLED, "", "--flag: \"\" is neither true nor false"},
    {TSK_ZEROMQ_SEND_HWM, "0", "--flag: \"0\" is out of range (1 to 10000000)"},
    {TSK_ZEROMQ_SEND_HWM, "1K", "--flag: \"1K\" is not a whole number"},
    {TSK_ZEROMQ_WAIT, "5x", "--flag: \"5x\" is not a duration (as 500ms, 2s, 5m)"},
    {TSK_ZEROMQ_HEARTBEAT_INTERVAL, "1ms", "--flag: \"1ms\" is out of range (50ms to 1h)"},
    {TSK_ZEROMQ_MAX_MESSAGE_BYTES, "2G", "--flag: \"2G\" is out of range (1K to 1G)"},
    {TSK_ZEROMQ_BATCH_BIND, "collector", "is not allowed here (can be: publisher, worker)"},
    {TSK_ZEROMQ_BATCH_BIND, "publisher,worker", "is not allowed here"},
    {TSK_ZEROMQ_BATCH_BIND, "publishe", "is not allowed here"},
    {TSK_ZEROMQ_BATCH_BIND, "", "is not allowed here"},
    {TSK_STORE_URL, "mysql://x",
     "--flag: \"mysql://x\": a store is sqlite, sqlite:PATH, postgresql://HOST/NAME or none"},
    {TSK_STORE_URL, "steps.jsonl", "or none; a path alone needs a slash, or .db at its end"},
    {TSK_STORE_URL, "me:secret@h/n", "--flag: a store is sqlite, sqlite:PATH"},
    {TSK_STORE_URL, "postgresql//x", "--flag: \"postgresql//x\": did you mean postgresql://...?"},
    {TSK_STORE_URL, "postgres:x", "--flag: \"postgres:x\": did you mean postgresql://...?"},
    {TSK_STORE_URL, "postgresql:/me:secret@h/n.db", "--flag: did you mean postgresql://...?"},
    {TSK_STORE_URL, "sqlite//x.db", "--flag: \"sqlite//x.db\": did you mean sqlite:...?"},
    {TSK_STORE_URL, "postgresql://me:secret@h/n",
     "--flag: a password may not stand on the command"},
    {TSK_STORE_URL, "postgresql://h/n?password=x",
     "--flag: a password may not stand on the command"},
    {TSK_ZEROMQ_BATCH_ENDPOINT, "", "--flag: \"\" is not an endpoint"},
    {TSK_ZEROMQ_BATCH_ENDPOINT, "tcp://a:1,", "--flag: \"\" is not an endpoint"},
    {TSK_ZEROMQ_BATCH_ENDPOINT, ",tcp://a:1", "--flag: \"\" is not an endpoint"},
    {TSK_ZEROMQ_BATCH_ENDPOINT, "tcp://a:1,tcp://b", "--flag: \"tcp://b\" has no port"},
    {TSK_ZEROMQ_BATCH_ENDPOINT, "tcp://a:1 tcp://b:2", "a space or a control character"},
    {TSK_WORKER_ID, "a b", "--flag: \"a b\" is not a name (letters, digits and . _ : -)"},
    {TSK_WORKER_ID, "a\n", "\"a\\x0a\" is not a name"},
    {TSK_WORKER_ID, LONG_ID, "has more than 100 characters"},
};

static void check_bad(void)
{
    struct tsk_conf *conf = tsk_conf_new();
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct tsk_err err = TSK_ERR_INIT;
        bool ok = CHECK_INT(tsk_conf_set(conf, bad[i].key, bad[i].text, "--flag", &err), -1);
        ok = CHECK(strstr(err.text, bad[i].error)) && CHECK_INT(err.kind, TSK_USAGE) && ok;
        ok = CHECK(!strchr(err.text, '\n')) && ok;
        ok = CHECK(!tsk_conf_is_set(conf, bad[i].key)) && ok;
        ok = CHECK_STR(tsk_conf_str(conf, bad[i].key), tsk_conf_spec(bad[i].key)->fallback) && ok;
        if (!ok)
            fprintf(stderr, "    %zu: \"%s\": %s\n", i, bad[i].text, err.text);
    }
    CHECK_INT(tsk_conf_set(conf, TSK_LOG_LEVEL, "loud", "--flag", NULL), -1);
    tsk_conf_free(conf);
}

static void check_again(void)
{
    struct tsk_conf *conf = tsk_conf_new();
    CHECK_INT(tsk_conf_set(conf, TSK_RETRY_CAP, "5s", "a.yaml:3", NULL), 0);
    CHECK_INT(tsk_conf_set(conf, TSK_RETRY_CAP, "7s", "$TASKER_RETRY_CAP", NULL), 0);
    CHECK_INT(tsk_conf_set(conf, TSK_RETRY_CAP, "wrong", "--flag", NULL), -1);
    CHECK_INT(tsk_conf_int(conf, TSK_RETRY_CAP), 7000);
    CHECK_STR(tsk_conf_str(conf, TSK_RETRY_CAP), "7s");
    CHECK_STR(tsk_conf_origin(conf, TSK_RETRY_CAP), "$TASKER_RETRY_CAP");
    tsk_conf_free(conf);
}

static const struct {
    const char *assignment, *error;
} bad_assignments[] = {
    {"", "--set: \"\" is not SECTION.KEY=VALUE"},
    {"zeromq.wait", "--set: \"zeromq.wait\" is not SECTION.KEY=VALUE"},
    {"=", "--set: unknown key \"\""},
    {"wait=3", "--set: unknown key \"wait\" (did you mean \"zeromq.wait\"?)"},
    {"zeromq.=3", "--set: unknown key \"zeromq.\""},
    {"zeromq.wiat=3", "--set: unknown key \"zeromq.wiat\" (did you mean \"zeromq.wait\"?)"},
    {"worker.linger=3", "--set: unknown key \"worker.linger\" (did you mean \"zeromq.linger\"?)"},
    {"quite.other=3", "--set: unknown key \"quite.other\""},
    {"zeromq.wait=x=y", "--set: zeromq.wait: \"x=y\" is not a duration"},
    {"production.zeromq.wait=1", "--set: unknown key"},
};

static void check_assign(void)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    CHECK_INT(tsk_conf_assign(conf, "zeromq.wait=1m", "--set", &err), 0);
    CHECK_INT(tsk_conf_int(conf, TSK_ZEROMQ_WAIT), 60000);
    CHECK_INT(tsk_conf_assign(conf, "worker.handlers=a=b", "--set", &err), 0);
    CHECK_STR(tsk_conf_str(conf, TSK_WORKER_HANDLERS), "a=b");
    for (size_t i = 0; i < COUNT(bad_assignments); i++) {
        bool ok =
            CHECK_INT(tsk_conf_assign(conf, bad_assignments[i].assignment, "--set", &err), -1);
        ok = CHECK(strstr(err.text, bad_assignments[i].error)) && ok;
        ok = CHECK_INT(err.kind, TSK_USAGE) && ok;
        if (!ok)
            fprintf(stderr, "    %s: %s\n", bad_assignments[i].assignment, err.text);
    }
    tsk_conf_free(conf);
}

/* Looks for the example in the folder of from, and in those above it. Returns false if it is in
 * none. */
static bool find_example(const char *from, char out[PATH_MAX])
{
    char dir[PATH_MAX];
    if (snprintf(dir, sizeof dir, "%s", from) >= (int)sizeof dir)
        return false;
    for (char *slash = dir + strlen(dir); slash; slash = strrchr(dir, '/')) {
        *slash = '\0';
        int len = snprintf(out, PATH_MAX, "%s/config/tasker.yaml", dir);
        if (len < PATH_MAX && access(out, R_OK) == 0)
            return true;
    }
    return false;
}

/* Copies the example without the "#" before its keys. Returns how many lines were changed. */
static size_t uncomment(const char *path, const char *copy)
{
    FILE *in = fopen(path, "r"), *out = fopen(copy, "w");
    char line[512];
    size_t count = 0;
    while (in && out && fgets(line, sizeof line, in)) {
        char *hash = line + strspn(line, " ");
        if (*hash == '#' && hash > line && islower((unsigned char)hash[1])) {
            memmove(hash, hash + 1, strlen(hash));
            count++;
        }
        fputs(line, out);
    }
    CHECK(in && out);
    if (in)
        fclose(in);
    if (out)
        fclose(out);
    return count;
}

static bool holds_line(const char *path, const char *first, const char *second)
{
    FILE *in = fopen(path, "r");
    char line[512];
    bool found = false;
    while (in && !found && fgets(line, sizeof line, in)) {
        const char *at = strstr(line, first);
        at = at ? strstr(at, second) : NULL;
        found = at && (at[strlen(second)] == '\n' || strncmp(at + strlen(second), " (", 2) == 0);
    }
    if (in)
        fclose(in);
    return found;
}

static void check_example_row(const char *path, const struct tsk_conf *conf, enum tsk_conf_key key)
{
    const struct tsk_conf_spec *spec = tsk_conf_spec(key);
    struct tsk_buf start = TSK_BUF_INIT, help = TSK_BUF_INIT;
    bool live = key == TSK_WORKER_HANDLERS;
    const char *fallback = live ? "handlers.yaml" : spec->fallback;
    tsk_buf_printf(&start, "  %s%s: %s ", live ? "" : "#", spec->key,
                   *fallback ? fallback : "\"\"");
    tsk_buf_printf(&help, " # %s", spec->help);
    bool ok = CHECK(holds_line(path, start.data, help.data));
    ok = CHECK(tsk_conf_is_set(conf, key)) && ok;
    if (!live)
        ok = CHECK_STR(tsk_conf_str(conf, key), spec->fallback) && ok;
    if (!ok)
        fprintf(stderr, "    %s:%s%s\n", path, start.data, help.data);
    tsk_buf_fini(&start);
    tsk_buf_fini(&help);
}

static void check_example(const char *program)
{
    char path[PATH_MAX];
    struct tsk_err err = TSK_ERR_INIT;
    char here[PATH_MAX + 1];
    if (!CHECK(getcwd(here, PATH_MAX)))
        return;
    strcat(here, "/");
    if (!CHECK(find_example(program, path) || find_example(here, path)))
        return;
    struct tsk_conf *conf = tsk_conf_new();
    if (!CHECK_INT(tsk_conf_load(conf, path, "production", &err), 0))
        fprintf(stderr, "    %s\n", err.text);
    for (size_t i = 0; i < TSK_CONF_COUNT; i++)
        CHECK_INT(tsk_conf_is_set(conf, (enum tsk_conf_key)i), i == TSK_WORKER_HANDLERS);
    const char *handlers = tsk_conf_str(conf, TSK_WORKER_HANDLERS);
    CHECK(strlen(handlers) > 21 &&
          strcmp(handlers + strlen(handlers) - 21, "/config/handlers.yaml") == 0);
    tsk_conf_free(conf);

    char copy[] = "/tmp/tasker-unit-conf.XXXXXX";
    int fd = mkstemp(copy);
    CHECK(fd >= 0);
    close(fd);
    CHECK_INT(uncomment(path, copy), TSK_CONF_COUNT - 1);
    conf = tsk_conf_new();
    if (!CHECK_INT(tsk_conf_load(conf, copy, NULL, &err), 0))
        fprintf(stderr, "    %s\n", err.text);
    for (size_t i = 0; i < TSK_CONF_COUNT; i++)
        check_example_row(path, conf, (enum tsk_conf_key)i);
    tsk_conf_free(conf);
    unlink(copy);
}

int main(int argc, char **argv)
{
    (void)argc;
    check_table();
    check_defaults();
    check_good();
    check_bad();
    check_again();
    check_assign();
    check_example(argv[0]);
    return check_done();
}
