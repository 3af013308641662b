/* The configuration file: what it sets, which errors it gives and for which line, and that nothing
 * that may be in a file can do harm. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/conf.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char path[64]; /* of the file under test, in a folder of its own */

static void write_file(const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(data, 1, len, file) == len);
    if (file)
        fclose(file);
}

static int load(const char *text, const char *environment, struct tsk_conf **conf,
                struct tsk_err *err)
{
    write_file(text, strlen(text));
    *conf = tsk_conf_new();
    return tsk_conf_load(*conf, path, environment, err);
}

static const struct {
    const char *text, *environment;
    enum tsk_conf_key key;
    const char *value;
    int line; /* that set it; 0: the default stands */
} good[] = {
    {"", NULL, TSK_LOG_LEVEL, "warning", 0},
    {"\n\n# nothing\n", NULL, TSK_LOG_LEVEL, "warning", 0},
    {"---\n...\n", NULL, TSK_LOG_LEVEL, "warning", 0},
    {"{}", NULL, TSK_LOG_LEVEL, "warning", 0},
    {"~", NULL, TSK_LOG_LEVEL, "warning", 0},
    {"log:\n", NULL, TSK_LOG_LEVEL, "warning", 0},
    {"log:\n  # level: debug\nproduction:\n", "production", TSK_LOG_LEVEL, "warning", 0},
    {"log: {level: debug}", NULL, TSK_LOG_LEVEL, "debug", 1},
    {"# x\nlog:\n  format: json\n  level: \"error\"\n", NULL, TSK_LOG_LEVEL, "error", 4},
    {"\xEF\xBB\xBFlog:\n  level: info\r\n", NULL, TSK_LOG_LEVEL, "info", 2},
    {"%YAML 1.1\n---\nlog:\n  level: info\n", NULL, TSK_LOG_LEVEL, "info", 4},
    {"zeromq:\n  wait: 5\n", NULL, TSK_ZEROMQ_WAIT, "5", 2},
    {"zeromq:\n  enabled: no\n", NULL, TSK_ZEROMQ_ENABLED, "false", 2},
    {"zeromq:\n  batch_endpoint: [tcp://a:1, 'tcp://b:2']\n", NULL, TSK_ZEROMQ_BATCH_ENDPOINT,
     "tcp://a:1,tcp://b:2", 2},
    {"zeromq:\n  batch_endpoint:\n    - tcp://a:1\n    - ipc:///b\n", NULL,
     TSK_ZEROMQ_BATCH_ENDPOINT, "tcp://a:1,ipc:///b", 2},
    {"zeromq:\n  batch_endpoint: >\n    tcp://a:1,\n    tcp://b:2", NULL, TSK_ZEROMQ_BATCH_ENDPOINT,
     "tcp://a:1,tcp://b:2", 2},
    {"worker: {id: w-1}\n", NULL, TSK_WORKER_ID, "w-1", 1},
    {"worker: {id: \"\"}\n", NULL, TSK_WORKER_ID, "", 1},
    {"worker: {id: 'null'}\n", NULL, TSK_WORKER_ID, "null", 1},
    {"worker:\n  handlers: /abs/h.yaml\n", NULL, TSK_WORKER_HANDLERS, "/abs/h.yaml", 2},
    /* environments: they win wherever they stand, and only the one in use counts */
    {"production:\n  log:\n    level: error\nlog:\n  level: debug\n", "production", TSK_LOG_LEVEL,
     "error", 3},
    {"production:\n  log:\n    level: error\nlog:\n  level: debug\n", NULL, TSK_LOG_LEVEL, "debug",
     5},
    {"log: {level: debug}\nstaging: {log: {format: json}}\n", "staging", TSK_LOG_LEVEL, "debug", 1},
    {"log: {level: debug}\nstaging: {log: {level: error}}\n", NULL, TSK_LOG_LEVEL, "debug", 1},
    {"staging: {log: {level: error}}\n", "test", TSK_LOG_LEVEL, "warning", 0},
    {"test: {log: {format: json}}\n", "test", TSK_LOG_FORMAT, "json", 1},
    {"log: {level: debug}\ndocker: {log: {level: error}}\n", "docker", TSK_LOG_LEVEL, "error", 2},
    {"log: {level: debug}\ndocker: {log: {level: error}}\nqa:\nuat:\n", "qa", TSK_LOG_LEVEL,
     "debug", 1},
    {"log: {level: debug}\ndocker: {log: {level: error}}\n", NULL, TSK_LOG_LEVEL, "debug", 1},
    {"stages: {log: {level: error}}\n", "stages", TSK_LOG_LEVEL, "error", 1},
    {"development:\n  retry:\n    cap: 9s\n", NULL, TSK_RETRY_CAP, "9s", 3},
    /* anchors and aliases */
    {"test: &t\n  log: &l\n    level: info\nstaging: *t\nproduction:\n  log: *l\n", "staging",
     TSK_LOG_LEVEL, "info", 3},
    {"log:\n  level: &x info\ntest:\n  log:\n    level: *x\n", "test", TSK_LOG_LEVEL, "info", 5},
};

static void check_good(void)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        struct tsk_conf *conf;
        struct tsk_err err = TSK_ERR_INIT;
        char origin[128] = "default";
        if (good[i].line)
            snprintf(origin, sizeof origin, "%s:%d", path, good[i].line);
        bool ok = CHECK_INT(load(good[i].text, good[i].environment, &conf, &err), 0);
        ok = CHECK_STR(tsk_conf_str(conf, good[i].key), good[i].value) && ok;
        ok = CHECK_STR(tsk_conf_origin(conf, good[i].key), origin) && ok;
        ok = CHECK_STR(tsk_conf_file(conf), path) && ok;
        if (!ok)
            fprintf(stderr, "    %s\n    %s\n", err.text, good[i].text);
        tsk_conf_free(conf);
    }
}

static const struct {
    const char *text, *error; /* what follows the path */
} bad[] = {
    {"zeromq:\n  batch_endpont: tcp://a:1\n",
     ":2: unknown key \"zeromq.batch_endpont\" (did you mean \"zeromq.batch_endpoint\"?)"},
    {"zeromq:\n  xyzzy: 1\n", ":2: unknown key \"zeromq.xyzzy\""},
    {"log:\n  max_workers: 1\n", ":2: unknown key \"log.max_workers\" (did you mean \"worker.max"},
    {"\nzermq:\n  wait: 1\n", ":2: unknown section \"zermq\" (did you mean \"zeromq\"?)"},
    {"wait: 1\n", ":1: unknown section \"wait\" (did you mean \"zeromq.wait\"?)"},
    {"prodution:\n  log: {}\n", ":1: unknown section \"prodution\" (did you mean \"production\"?)"},
    {"docker:\n  log:\n    levl: debug\n", ":3: unknown key \"log.levl\" (did you mean \"log"},
    {"docker:\n  lig: {}\n", ":1: unknown section \"docker\""},
    {"docker: {log: {}, lig: {}}\n", ":1: unknown section \"lig\" (did you mean \"log\"?)"},
    {"production:\n  log:\n    levl: debug\n", ":3: unknown key \"log.levl\" (did you mean \"log"},
    {"production:\n  test:\n    log: {}\n", ":2: unknown section \"test\""},
    {"production:\n  log:\n    level: loud\n", ":3: log.level: \"loud\" is not allowed here"},
    {"? \"a\\nb\"\n: 1\n", ":1: unknown section \"a\\x0ab\""},
    {"<<: {}\n", ":1: unknown section \"<<\""},
    {"log:\n  level: info\n  level: info\n", ":3: duplicate key \"level\" (first on line 2)"},
    {"log:\n  level: info\nretry:\nlog:\n", ":4: duplicate key \"log\" (first on line 1)"},
    {"test:\n\ntest:\n", ":3: duplicate key \"test\" (first on line 1)"},
    {"zeromq:\n  wait: 5x\n", ":2: zeromq.wait: \"5x\" is not a duration (as 500ms, 2s, 5m)"},
    {"zeromq:\n  send_hwm: 0\n", ":2: zeromq.send_hwm: \"0\" is out of range (1 to 10000000)"},
    {"zeromq:\n  send_hwm: 1e3\n", ":2: zeromq.send_hwm: \"1e3\" is not a whole number"},
    {"zeromq:\n  wait:\n", ":2: zeromq.wait has no value (\"\" is an empty one)"},
    {"zeromq:\n  wait: ~\n", ":2: zeromq.wait has no value"},
    {"worker:\n  id: null\n", ":2: worker.id has no value"},
    {"worker:\n  id: a b\n", ":2: worker.id: \"a b\" is not a name"},
    {"worker:\n  id: \"a\\0b\"\n", ":2: worker.id has to be text, not text with a NUL byte"},
    {"? \"lo\\0g\"\n: {}\n", ":1: a key has to be text, not text with a NUL byte"},
    {"zeromq:\n  wait: [1]\n", ":2: zeromq.wait has to be text, not a list"},
    {"zeromq:\n  wait: {a: 1}\n", ":2: zeromq.wait has to be text, not a mapping"},
    {"zeromq:\n  batch_endpoint: {a: 1}\n",
     ":2: zeromq.batch_endpoint has to be text or a list of texts, not a mapping"},
    {"zeromq:\n  batch_endpoint: [tcp://a:1, [b]]\n", "has to be text or a list of texts, not a l"},
    {"zeromq:\n  batch_endpoint: []\n", ":2: zeromq.batch_endpoint: \"\" is not an endpoint"},
    {"zeromq:\n  batch_endpoint: [tcp://a:1, tcp://b]\n",
     ":2: zeromq.batch_endpoint: \"tcp://b\" has no port"},
    {"zeromq:\n  batch_endpoint: [tcp://a:1, '']\n", ":2: zeromq.batch_endpoint: \"\" is not an e"},
    {"zeromq: 5\n", ":1: zeromq has to be a mapping, not text"},
    {"zeromq: \"\"\n", ":1: zeromq has to be a mapping, not text"},
    {"zeromq: [a]\n", ":1: zeromq has to be a mapping, not a list"},
    {"log:\ntest: 5\n", ":2: test has to be a mapping, not text"},
    {"- a\n", ":1: the file has to be a mapping, not a list"},
    {"\nhello\n", ":2: the file has to be a mapping, not text"},
    {"? [a]\n: 1\n", ":1: a key has to be text, not a list"},
    {"log: {}\n---\nlog: {}\n", ":2: a second document begins: only one is read"},
    {"log:\n  level: [\n", ":2: wrong YAML at the end of the file: did not find"},
    {"log:\n\tlevel: info\n",
     ":2: wrong YAML at column 1: there is a tab, and YAML is indented with blanks"},
    {"log:\n  level:\tinfo: x\n", "\": \" in it has to be quoted"},
    {"log:\n  level: @x\n", ":2: wrong YAML at column 10: found character that cannot start any "
                            "token"},
    {"log:\n  level: \"\\w\"\n", ": \\\\ is a backslash between double quotes"},
    {"log:\n  level: info\n format: text\n", ":3: wrong YAML at column 2: "},
    {"log:\n  level: 'x\n",
     ":2: wrong YAML at the end of the file: found unexpected end of stream"},
    {"log:\n  level: 'x\n\n\ny: 1",
     ":5: wrong YAML at column 5: found unexpected end of "
     "stream (while scanning a quoted scalar that begins on line 2)"},
    {"log: *nobody\n",
     ":1: wrong YAML at column 6: found undefined alias: no &NAME comes before it"},
    {"%YAML 9.0\n---\nlog:\n", ":1: wrong YAML"},
    {"log:\n  level: \xFF\xFE\n", ":2: wrong YAML: "},
    {"log:\n  level: a\x01\n", ":2: wrong YAML: "},
    {"log:\n  level: \xC3\n", ":2: wrong YAML: "},
    {"log: &a\n  level: *a\n", ":2: an alias to a node that contains it"},
    {"test: &a\n  log: *a\n", ":2: an alias to a node that contains it"},
    {"log: &a\n- [1]\n- {? *a : 1}\n", ":3: an alias to a node that contains it"},
    {"log: &a [[[[\n  *a ]]]]\n", ":2: an alias to a node that contains it"},
    {"&a test: &b\n  log: {? *a : 1}\n", ": unknown key \"log.test\""},
};

static void check_bad(void)
{
    size_t len = strlen(path);
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct tsk_conf *conf;
        struct tsk_err err = TSK_ERR_INIT;
        bool ok = CHECK_INT(load(bad[i].text, NULL, &conf, &err), -1);
        ok = CHECK_INT(err.kind, TSK_CONFIG) && CHECK(!strchr(err.text, '\n')) && ok;
        ok = CHECK(strncmp(err.text, path, len) == 0) && ok;
        ok = CHECK(strstr(err.text, bad[i].error)) && ok;
        if (!ok)
            fprintf(stderr, "    %s\n    %s\n", err.text, bad[i].text);
        tsk_conf_free(conf);
    }
}

/* What bytes there are times many: each has to end soon, in an error that says why. */
static const struct {
    const char *head, *unit;
    size_t times;
    const char *error;
} hostile[] = {
    {"log: ", "[", 1000000, ":1: nested too deeply"},
    {"log: ", "{a: ", 250000, ":1: nested too deeply"},
    {"", "? ", 500000, ":1: nested too deeply"},
    {"", "- ", 500000, ":1: nested too deeply"},
    {"log: [", "&a x, ", 170000, ":1: too many anchors"},
    {"log: [", "x,", 500000, ":1: wrong YAML"},
    {"log: &a [x]\ntest: [", "*a,", 300000, ":2: wrong YAML"},
    {"log: &a [1,1,1,1]\ntest: [", "*a,", 300000, ":2: too many values, with all aliases written"},
    {"", "log:\n", 200000, ":2: duplicate key \"log\" (first on line 1)"},
    {"log: {level: ", "a", 1000000, ":1: wrong YAML"},
    {"worker: {id: ", "a", 1000000, ":1: wrong YAML"},
    {"worker:\n  id: ", "a", 1000000, ":2: worker.id: \"aaaaaaaa"},
    {"", "a", 1000000, ":1: the file has to be a mapping, not text"},
    {"", "\n", 1048577, ": larger than 1 MiB"},
    {"", "%", 1000000, ":1: wrong YAML"},
    {"", "'", 1000001, ":1: wrong YAML"},
};

static void check_hostile(void)
{
    for (size_t i = 0; i < COUNT(hostile); i++) {
        struct tsk_buf text = TSK_BUF_INIT;
        struct tsk_conf *conf;
        struct tsk_err err = TSK_ERR_INIT;
        tsk_buf_str(&text, hostile[i].head);
        for (size_t n = 0; n < hostile[i].times; n++)
            tsk_buf_str(&text, hostile[i].unit);
        int64_t start = tsk_now_ms();
        bool ok = CHECK_INT(load(text.data, NULL, &conf, &err), -1);
        bool soon = check_under_valgrind() || tsk_now_ms() - start < 30000;
        ok = CHECK(strstr(err.text, hostile[i].error)) && CHECK(soon) && ok;
        if (!ok)
            fprintf(stderr, "    %zu: %lld ms: %s\n", i, (long long)(tsk_now_ms() - start),
                    err.text);
        tsk_conf_free(conf);
        tsk_buf_fini(&text);
    }
}

/* Every way to cut or to spoil a good file ends in success or in an error, never otherwise. */
static void check_spoiled(void)
{
    static const char text[] = "zeromq: {batch_endpoint: [tcp://a:1, \"ipc:///x\"]}\n"
                               "log: &l\n  level: |\n    info\ntest: {log: *l}\n";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        for (int byte = 0; byte < 256; byte += 11) {
            char copy[sizeof text];
            struct tsk_err err = TSK_ERR_INIT;
            struct tsk_conf *conf = tsk_conf_new();
            memcpy(copy, text, sizeof text);
            copy[i] = (char)byte;
            write_file(copy, byte ? sizeof text - 1 : i);
            int result = tsk_conf_load(conf, path, "test", &err);
            CHECK(result == 0 || (result == -1 && err.kind == TSK_CONFIG && *err.text));
            tsk_conf_free(conf);
        }
    }
}

static void check_unreadable(const char *dir)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    CHECK_INT(tsk_conf_load(conf, dir, NULL, &err), -1);
    CHECK(strstr(err.text, dir) && strstr(err.text, ": Is a directory"));
    CHECK_INT(tsk_conf_load(conf, "/nowhere/t.yaml", NULL, &err), -1);
    CHECK_STR(err.text, "/nowhere/t.yaml: No such file or directory");
    CHECK_INT(err.kind, TSK_CONFIG);
    CHECK_INT(tsk_conf_load(conf, "", NULL, &err), -1);
    CHECK_STR(err.text, "\"\": No such file or directory");
    CHECK_INT(tsk_conf_load(conf, "/dev/zero", NULL, &err), -1);
    CHECK_STR(err.text, "/dev/zero: larger than 1 MiB");
    CHECK_INT(tsk_conf_load(conf, "/dev/null", NULL, &err), 0);
    CHECK_STR(tsk_conf_file(conf), "/dev/null");
    CHECK_INT(tsk_conf_load(conf, "/nowhere", NULL, NULL), -1);
    write_file("log:\n  level: loud\n", 19);
    CHECK_INT(tsk_conf_load(conf, path, NULL, NULL), -1);
    tsk_conf_free(conf);
}

static void check_relative_path(const char *dir)
{
    static const char text[] = "worker: {handlers: sub/h.yaml}\n";
    struct tsk_conf *conf;
    char want[128];
    CHECK_INT(load(text, NULL, &conf, NULL), 0);
    snprintf(want, sizeof want, "%s/sub/h.yaml", dir);
    CHECK_STR(tsk_conf_str(conf, TSK_WORKER_HANDLERS), want);
    CHECK_INT(chdir(dir), 0);
    CHECK_INT(tsk_conf_load(conf, strrchr(path, '/') + 1, NULL, NULL), 0);
    CHECK_STR(tsk_conf_str(conf, TSK_WORKER_HANDLERS), "sub/h.yaml");
    CHECK_STR(tsk_conf_origin(conf, TSK_WORKER_HANDLERS), "t.yaml:1");
    CHECK_INT(tsk_conf_load(conf, "./t.yaml", NULL, NULL), 0);
    CHECK_STR(tsk_conf_str(conf, TSK_WORKER_HANDLERS), "./sub/h.yaml");
    CHECK_INT(tsk_conf_set(conf, TSK_WORKER_HANDLERS, "sub/h.yaml", "--handlers", NULL), 0);
    CHECK_STR(tsk_conf_str(conf, TSK_WORKER_HANDLERS), "sub/h.yaml");
    CHECK_INT(chdir("/"), 0);
    tsk_conf_free(conf);
}

int main(void)
{
    char dir[] = "/tmp/tasker-unit-conf.XXXXXX";
    if (!CHECK(mkdtemp(dir)))
        return check_done();
    snprintf(path, sizeof path, "%s/t.yaml", dir);
    check_good();
    check_bad();
    check_hostile();
    check_spoiled();
    check_unreadable(dir);
    check_relative_path(dir);
    unlink(path);
    rmdir(dir);
    return check_done();
}
