/* Where the configuration is looked for, which environment is chosen, what variables set, and which
 * layer wins. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "tasker/conf.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char dir[] = "/tmp/tasker-unit-conf.XXXXXX";

/* Writes text to dir/name, making the folders on the way. */
static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0);
    if (file)
        fclose(file);
}

static void drop(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_INT(remove(path), 0);
}

static void set_in_dir(const char *variable, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    setenv(variable, path, 1);
}

/* Loads, and checks which file was read (from dir on; NULL: none) and retry.jitter. */
static void check_found(const char *path, const char *file, int jitter, int line)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    bool ok = CHECK_INT(tsk_conf_load(conf, path, NULL, &err), 0);
    const char *got = tsk_conf_file(conf);
    if (got && strncmp(got, dir, strlen(dir)) == 0)
        got += strlen(dir) + 1;
    ok = CHECK_STR(got, file) && ok;
    ok = CHECK_INT(tsk_conf_int(conf, TSK_RETRY_JITTER), jitter) && ok;
    if (!ok)
        fprintf(stderr, "    from line %d: %s\n", line, err.text);
    tsk_conf_free(conf);
}

#define CHECK_FOUND(path, file, jitter) check_found(path, file, jitter, __LINE__)

static void check_refused(const char *path, const char *environment, const char *error, int line)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    bool ok = CHECK_INT(tsk_conf_load(conf, path, environment, &err), -1);
    ok = CHECK_INT(err.kind, TSK_CONFIG) && CHECK(strstr(err.text, error)) && ok;
    if (!ok)
        fprintf(stderr, "    from line %d: %s\n", line, err.text);
    CHECK_INT(tsk_conf_load(conf, path, environment, NULL), -1);
    tsk_conf_free(conf);
}

#define CHECK_REFUSED(path, environment, error) check_refused(path, environment, error, __LINE__)

static void check_places(void)
{
    bool system_wide = access("/etc/tasker/tasker.yaml", F_OK) == 0;
    put("home/x", "");
    set_in_dir("HOME", "home");
    if (!system_wide)
        CHECK_FOUND(NULL, NULL, 10);
    put("home/.config/tasker/tasker.yaml", "retry: {jitter: 1}");
    CHECK_FOUND(NULL, "home/.config/tasker/tasker.yaml", 1);
    put("xdg/tasker/tasker.yaml", "retry: {jitter: 2}");
    set_in_dir("XDG_CONFIG_HOME", "xdg");
    CHECK_FOUND(NULL, "xdg/tasker/tasker.yaml", 2);
    setenv("XDG_CONFIG_HOME", "", 1);
    CHECK_FOUND(NULL, "home/.config/tasker/tasker.yaml", 1);
    setenv("XDG_CONFIG_HOME", "xdg", 1); /* relative, so as good as unset */
    CHECK_FOUND(NULL, "home/.config/tasker/tasker.yaml", 1);
    set_in_dir("XDG_CONFIG_HOME", "xdg");
    put("config/tasker.yaml", "retry: {jitter: 3}");
    CHECK_FOUND(NULL, "config/tasker.yaml", 3);
    put("named.yaml", "retry: {jitter: 4}");
    setenv("TASKER_CONFIG", "named.yaml", 1);
    CHECK_FOUND(NULL, "named.yaml", 4);
    put("given.yaml", "retry: {jitter: 5}");
    CHECK_FOUND("given.yaml", "given.yaml", 5);
    setenv("TASKER_CONFIG", "", 1);
    CHECK_FOUND(NULL, "config/tasker.yaml", 3);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("HOME");
    CHECK_FOUND(NULL, "config/tasker.yaml", 3);
    drop("config/tasker.yaml");
    if (!system_wide)
        CHECK_FOUND(NULL, NULL, 10);
}

static void check_missing(void)
{
    CHECK_REFUSED("nowhere.yaml", NULL, "nowhere.yaml: No such file or directory");
    setenv("TASKER_CONFIG", "lost.yaml", 1);
    CHECK_REFUSED(NULL, NULL, "$TASKER_CONFIG: lost.yaml: No such file or directory");
    put("broken.yaml", "log: [");
    setenv("TASKER_CONFIG", "broken.yaml", 1);
    CHECK_REFUSED(NULL, NULL, "broken.yaml:1: wrong YAML");
    CHECK_FOUND("given.yaml", "given.yaml", 5); /* named twice: the flag counts */
    unsetenv("TASKER_CONFIG");
    put("config/tasker.yaml", "lgo:");
    CHECK_REFUSED(NULL, NULL,
                  "config/tasker.yaml:1: unknown section \"lgo\" (did you mean \"log\"");
    drop("config/tasker.yaml");
    mkdir("config/tasker.yaml", 0777); /* something is there, so it is not passed over */
    CHECK_REFUSED(NULL, NULL, "config/tasker.yaml: Is a directory");
    drop("config/tasker.yaml");
    drop("config");
    put("config", "a file where a folder is looked for");
    CHECK_FOUND("given.yaml", "given.yaml", 5);
    setenv("HOME", "/nowhere", 1);
    if (access("/etc/tasker/tasker.yaml", F_OK) != 0)
        CHECK_FOUND(NULL, NULL, 10);
    drop("config");
}

static void check_environment_is(const char *argument, const char *want, int jitter)
{
    struct tsk_conf *conf = tsk_conf_new();
    struct tsk_err err = TSK_ERR_INIT;
    CHECK_INT(tsk_conf_load(conf, "env.yaml", argument, &err), 0);
    CHECK_STR(tsk_conf_environment(conf), want);
    CHECK_INT(tsk_conf_int(conf, TSK_RETRY_JITTER), jitter);
    tsk_conf_free(conf);
}

static void check_environments(void)
{
    put("env.yaml", "retry: {jitter: 20}\nproduction: {retry: {jitter: 21}}\n"
                    "test: {retry: {jitter: 22}}\nstaging: {retry: {jitter: 23}}\n");
    check_environment_is(NULL, "development", 20);
    setenv("RACK_ENV", "test", 1);
    check_environment_is(NULL, "test", 22);
    setenv("RAILS_ENV", "production", 1);
    check_environment_is(NULL, "production", 21);
    setenv("APP_ENV", "staging", 1);
    check_environment_is(NULL, "staging", 23);
    setenv("TASKER_ENV", "development", 1);
    check_environment_is(NULL, "development", 20);
    check_environment_is("test", "test", 22);
    setenv("TASKER_ENV", "", 1);
    check_environment_is(NULL, "staging", 23);
    setenv("APP_ENV", "a b", 1);
    CHECK_REFUSED("env.yaml", NULL, "$APP_ENV: \"a b\" is not the name of an environment");
    check_environment_is("test", "test", 22); /* the wrong one is not asked for */
    CHECK_REFUSED("env.yaml", "", "\"\" is not the name of an environment");
    CHECK_REFUSED("env.yaml", "zeromq", "\"zeromq\" is not the name of an environment");
    setenv("APP_ENV", "a\nb", 1);
    CHECK_REFUSED("env.yaml", NULL, "$APP_ENV: \"a\\x0ab\" is not");
    unsetenv("TASKER_ENV");
    unsetenv("APP_ENV");
    unsetenv("RAILS_ENV");
    unsetenv("RACK_ENV");
}

static const struct {
    const char *variable, *value, *error; /* NULL: fine */
} variables[] = {
    {"TASKER_WORKER_MARK", "x", NULL},
    {"TASKER_ENV", "test", NULL},
    {"TASKER_CONFIG", "env.yaml", NULL},
    {"TASKER_BATCH_ID", "x", NULL},
    {"TASKER_TASK_ID", "x", NULL},
    {"TASKER_STEP_ID", "x", NULL},
    {"TASKER_STEP_NAME", "x", NULL},
    {"TASKER_ATTEMPT", "x", NULL},
    {"TASKER_IDEMPOTENCY_KEY", "x", NULL},
    {"TASKER_BIN", "x", NULL},
    {"TASKER_", "x", NULL},
    {"TASKER_WORKER", "x", NULL},
    /* what Kubernetes and Docker tell of services that are named like a section */
    {"TASKER_WORKER_PORT", "tcp://10.0.0.11:5556", NULL},
    {"TASKER_WORKER_PORT", "udp://10.0.0.11:53", NULL},
    {"TASKER_STORE_SERVICE_HOST", "10.0.0.11", NULL},
    {"TASKER_STORE_SERVICE_PORT", "5432", NULL},
    {"TASKER_STORE_SERVICE_PORT_PG", "5432", NULL},
    {"TASKER_WORKER_RESULTS_PORT", "tcp://10.0.0.12:5556", NULL},
    {"TASKER_WORKER_PORT_5556_TCP", "tcp://10.0.0.11:5556", NULL},
    {"TASKER_WORKER_PORT_5556_TCP_ADDR", "10.0.0.11", NULL},
    {"TASKER_WORKER_PORT_5556_TCP_PORT", "5556", NULL},
    {"TASKER_WORKER_PORT_5556_TCP_PROTO", "tcp", NULL},
    {"TASKER_WORKER_PORT_53_UDP", "udp://10.0.0.11:53", NULL},
    {"TASKER_WORKER_PORT_99_SCTP_PROTO", "sctp", NULL},
    {"TASKER_WORKER_NAME", "/web/tasker-worker", NULL},
    {"TASKER_WORKER_ENV_PATH", "/bin", NULL},
    {"TASKER_WORKER_PORT", "5556", "unknown environment variable \"TASKER_WORKER_PORT\""},
    {"TASKER_WORKER_PORT_X_TCP", "5", "unknown environment variable"},
    {"TASKER_WORKER_PORT_5556_TPC", "5", "unknown environment variable"},
    {"TASKER_WORKER_PORT_5556_TCP_ADR", "5", "unknown environment variable"},
    {"TASKER_WORKER_NAME", "w1", "unknown environment variable \"TASKER_WORKER_NAME\""},
    {"TASKER_WORKER_SERVICE", "x", "unknown environment variable"},
    {"TASKER_WORKERS_X", "x", NULL},
    {"TASKER_zeromq_wiat", "x", NULL},
    {"TASKER_LOG_LEVEL", "debug", NULL},
    {"TASKER_ZEROMQ_SEND_HWM", "", NULL}, /* empty is unset */
    {"TASKER_LOG_LEVEL", "loud",
     "$TASKER_LOG_LEVEL: \"loud\" is not allowed here (can be: error, "},
    {"TASKER_ZEROMQ_WAIT", "5x", "$TASKER_ZEROMQ_WAIT: \"5x\" is not a duration"},
    {"TASKER_ZEROMQ_BATCH_ENDPOINT", "tcp://a",
     "$TASKER_ZEROMQ_BATCH_ENDPOINT: \"tcp://a\" has no"},
    {"TASKER_WORKER_ID", "a/b", "$TASKER_WORKER_ID: \"a/b\" is not a name"},
    {"TASKER_ZEROMQ_BATCH_ENDPONT", "x",
     "unknown environment variable \"TASKER_ZEROMQ_BATCH_ENDPONT\" (did you mean "
     "\"TASKER_ZEROMQ_BATCH_ENDPOINT\"?)"},
    {"TASKER_WORKER_MARKS", "x", "unknown environment variable \"TASKER_WORKER_MARKS\""},
    {"TASKER_STORE_XYZZY_PLUGH_QUX", "x",
     "unknown environment variable \"TASKER_STORE_XYZZY_PLUGH_QUX\""},
    {"TASKER_LOG_", "x", "unknown environment variable \"TASKER_LOG_\""},
    {"TASKER_RETRY_caps", "", "unknown environment variable \"TASKER_RETRY_caps\""},
};

static void check_variables(void)
{
    for (size_t i = 0; i < COUNT(variables); i++) {
        setenv(variables[i].variable, variables[i].value, 1);
        if (variables[i].error) {
            CHECK_REFUSED(NULL, NULL, variables[i].error);
        } else {
            struct tsk_conf *conf = tsk_conf_new();
            struct tsk_err err = TSK_ERR_INIT;
            if (!CHECK_INT(tsk_conf_load(conf, NULL, NULL, &err), 0))
                fprintf(stderr, "    %s: %s\n", variables[i].variable, err.text);
            tsk_conf_free(conf);
        }
        unsetenv(variables[i].variable);
    }
}

static void check_layers(void)
{
    struct tsk_conf *conf = tsk_conf_new();
    put("sub/all.yaml", "retry:\n  base: 2s\n  cap: 3s\n  jitter: 4\nworker: {handlers: h.yaml}\n"
                        "test:\n  retry:\n    cap: 30s\n    jitter: 40\n");
    setenv("TASKER_RETRY_JITTER", "44", 1);
    CHECK_INT(tsk_conf_load(conf, "sub/all.yaml", "test", NULL), 0);
    CHECK_STR(tsk_conf_origin(conf, TSK_LOG_LEVEL), "default");
    CHECK_STR(tsk_conf_origin(conf, TSK_RETRY_BASE), "sub/all.yaml:2");
    CHECK_STR(tsk_conf_origin(conf, TSK_RETRY_CAP), "sub/all.yaml:8");
    CHECK_STR(tsk_conf_origin(conf, TSK_RETRY_JITTER), "$TASKER_RETRY_JITTER");
    CHECK_INT(tsk_conf_int(conf, TSK_RETRY_CAP), 30000);
    CHECK_INT(tsk_conf_int(conf, TSK_RETRY_JITTER), 44);
    CHECK_INT(tsk_conf_set(conf, TSK_RETRY_JITTER, "45", "--jitter", NULL), 0);
    CHECK_INT(tsk_conf_int(conf, TSK_RETRY_JITTER), 45);
    CHECK_STR(tsk_conf_str(conf, TSK_WORKER_HANDLERS), "sub/h.yaml");
    unsetenv("TASKER_RETRY_JITTER");
    setenv("TASKER_WORKER_HANDLERS", "h.yaml", 1); /* from a variable: where the user stands */
    CHECK_INT(tsk_conf_load(conf, "sub/all.yaml", "test", NULL), 0);
    CHECK_STR(tsk_conf_str(conf, TSK_WORKER_HANDLERS), "h.yaml");
    unsetenv("TASKER_WORKER_HANDLERS");
    tsk_conf_free(conf);
}

static void clean_up(void)
{
    static const char *const names[] = {"home/.config/tasker/tasker.yaml",
                                        "home/.config/tasker",
                                        "home/.config",
                                        "home/x",
                                        "home",
                                        "xdg/tasker/tasker.yaml",
                                        "xdg/tasker",
                                        "xdg",
                                        "named.yaml",
                                        "given.yaml",
                                        "broken.yaml",
                                        "env.yaml",
                                        "sub/all.yaml",
                                        "sub",
                                        ""};
    for (size_t i = 0; i < COUNT(names); i++)
        drop(names[i]);
}

int main(void)
{
    static const char *const unwanted[] = {"XDG_CONFIG_HOME", "APP_ENV",    "RAILS_ENV",
                                           "RACK_ENV",        "TASKER_ENV", "TASKER_CONFIG"};
    for (size_t i = 0; i < COUNT(unwanted); i++)
        unsetenv(unwanted[i]);
    if (!CHECK(mkdtemp(dir)) || !CHECK_INT(chdir(dir), 0))
        return check_done();
    check_places();
    check_missing();
    check_environments();
    check_variables();
    check_layers();
    clean_up();
    return check_done();
}
