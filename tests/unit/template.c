/* Task templates: what is read, each mistake with its line, environments, variables, the graph, and
 * finding the file of a task. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "check.h"
#include "submit/template.h"
#include "tasker/tasker.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct told {
    size_t count;
    char text[4096];
};

static void tell(void *ctx, const char *path, size_t line, bool note, const char *what)
{
    struct told *told = ctx;
    size_t used = strlen(told->text);
    (void)path;
    told->count++;
    snprintf(told->text + used, sizeof told->text - used, "%zu: %s%s\n", line, note ? "note: " : "",
             what);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (CHECK(file != NULL)) {
        fputs(text, file);
        fclose(file);
    }
}

static struct tsk_template *load(const char *text, const char *environment, struct told *told)
{
    struct tsk_err err = TSK_ERR_INIT;
    *told = (struct told){0, ""};
    write_file("t.yaml", text);
    struct tsk_template *template = tsk_template_load("t.yaml", environment, tell, told, &err);
    if (!template && !told->count)
        snprintf(told->text, sizeof told->text, "%s", err.text);
    return template;
}

static const char order[] = "name: process_order\n"
                            "namespace_name: fulfillment\n"
                            "version: \"1.0.0\"\n"
                            "task_handler_class: Order::Handler\n"
                            "schema:\n"
                            "  type: object\n"
                            "  required: [id]\n"
                            "  properties:\n"
                            "    id: {type: integer}\n"
                            "named_steps: [validate, reserve, pay, ship]\n"
                            "step_templates:\n"
                            "  - name: validate\n"
                            "    handler_class: Order::Validate\n"
                            "    depends_on_steps: []\n"
                            "    default_retry_limit: 1\n"
                            "    handler_config: {timeout: 10, rules: {a: 1, b: 2}}\n"
                            "  - name: reserve\n"
                            "    handler_class: Order::Reserve\n"
                            "    depends_on_step: validate\n"
                            "    default_retryable: false\n"
                            "    timeout_seconds: 30\n"
                            "    retry_backoff: exponential\n"
                            "  - name: pay\n"
                            "    handler_class: Order::Pay\n"
                            "    depends_on_steps: [validate, validate]\n"
                            "    join: any_ok\n"
                            "  - name: ship\n"
                            "    handler_class: Order::Ship\n"
                            "    depends_on_steps: [reserve, pay]\n"
                            "    unsatisfied: block\n"
                            "    optional: yes\n"
                            "environments:\n"
                            "  test:\n"
                            "    step_templates:\n"
                            "      - name: validate\n"
                            "        handler_config: {timeout: 5, rules: {b: 3}}\n"
                            "  production:\n"
                            "    handler_config: {level: warn}\n"
                            "    step_overrides:\n"
                            "      reserve: {retry_limit: 7}\n"
                            "      ship: {depends_on_step: pay}\n"
                            "handler_config: {level: info, n: 1.5, list: [1, 'x', null, true]}\n";

static void check_json(struct json_object *value, const char *want)
{
    size_t len;
    CHECK_STR(tsk_json_text(value, &len), want);
}

static void test_whole(void)
{
    struct told told;
    struct tsk_template *t = load(order, "development", &told);
    if (!CHECK(t != NULL)) {
        fprintf(stderr, "%s", told.text);
        return;
    }
    CHECK_STR(t->name, "process_order");
    CHECK_STR(t->namespace_name, "fulfillment");
    CHECK_STR(t->version, "1.0.0");
    CHECK_INT(t->count, 4);
    CHECK_INT(t->steps[0].retry_limit, 1);
    CHECK(t->steps[0].retryable && !t->steps[1].retryable);
    CHECK_INT(t->steps[1].timeout_ms, 30000);
    CHECK_INT(t->steps[1].retry_limit, 3);
    CHECK_INT(t->steps[2].depends_count, 1);
    CHECK_INT(t->steps[2].join, TSK_JOIN_ANY_OK);
    CHECK_INT(t->steps[3].depends_count, 2);
    CHECK_INT(t->steps[3].depends[1], 2);
    CHECK_INT(t->steps[3].unsatisfied, TSK_UNSATISFIED_BLOCK);
    CHECK(t->steps[3].optional);
    CHECK_INT(t->steps[0].level, 0);
    CHECK_INT(t->steps[3].level, 2);
    check_json(t->handler_config, "{\"level\":\"info\",\"n\":1.5,\"list\":[1,\"x\",null,true]}");
    check_json(t->steps[0].handler_config, "{\"timeout\":10,\"rules\":{\"a\":1,\"b\":2}}");
    tsk_template_free(t);
}

static void test_environments(void)
{
    struct told told;
    struct tsk_template *t = load(order, "test", &told);
    if (CHECK(t != NULL)) {
        check_json(t->steps[0].handler_config, "{\"timeout\":5,\"rules\":{\"b\":3,\"a\":1}}");
        CHECK_INT(t->steps[1].retry_limit, 3);
    }
    tsk_template_free(t);
    t = load(order, "production", &told);
    if (CHECK(t != NULL)) {
        CHECK_INT(t->steps[1].retry_limit, 7);
        CHECK_INT(t->steps[3].depends_count, 1);
        CHECK_STR(t->steps[t->steps[3].depends[0]].name, "pay");
        CHECK_STR(tsk_json_str(t->handler_config, "level"), "warn");
    }
    tsk_template_free(t);
}

#define HEAD "name: a\nstep_templates:\n"
#define STEP(name) "  - name: " name "\n    handler_class: H\n"

/* A file, and all that is told of it, in order. */
static const struct {
    const char *text, *told;
} broken[] = {
    {"", "1: the file is empty\n"},
    {"[]\n", "1: a template has to be a mapping, not a list\n1: name is missing\n"
             "1: step_templates is missing\n"},
    {"name: a\nsteps: []\n", "2: steps has no step\n"},
    {"name: a\nstep_templates: []\n", "2: step_templates has no step\n"},
    {"name: a\nstep_templates: {}\n", "2: step_templates has to be a list, not a mapping\n"},
    {HEAD "  - 3\n", "3: a step has to be a mapping, not text\n3: a step without a name\n"},
    {HEAD "  - name: x\n    handler_clas: y\n",
     "4: unknown key \"handler_clas\" (did you mean \"handler_class\"?)\n"
     "3: step \"x\": handler_class is missing\n"},
    {HEAD STEP("x") STEP("x"), "5: duplicate step \"x\"\n"},
    {HEAD STEP("validate") "    depends_on_step: valdate\n",
     "5: step \"validate\" waits for \"valdate\", which there is not (did you mean validate?)\n"},
    {HEAD STEP("x") "    depends_on_step: x\n", "3: steps wait for each other: x -> x\n"},
    {HEAD STEP("x") "    depends_on_step: z\n" STEP("y") "    depends_on_step: x\n" STEP(
         "z") "    depends_on_steps: [y]\n",
     "3: steps wait for each other: x -> z -> y -> x\n"},
    {HEAD STEP("x") "    retry_limit: many\n    default_retryable: perhaps\n    join: none\n"
                    "    timeout_seconds: 0\n    retry_backoff: square\n",
     "5: retry_limit: \"many\" is not a whole number\n"
     "6: default_retryable has to be true or false\n"
     "7: join: \"none\" is not allowed here (can be: all_ok, all_done, any_ok)\n"
     "8: timeout_seconds: \"0\" is out of range (1 to 31536000)\n"
     "9: retry_backoff: \"square\" is not allowed here (can be: exponential, linear, fibonacci, "
     "fixed, none)\n"},
    {HEAD STEP("x") "    handler_config: [1]\n",
     "5: handler_config has to be a mapping, not a list\n"},
    {HEAD STEP("x") "    name: y\n", "5: duplicate key \"name\"\n"},
    {HEAD STEP("x") "    handler_config: {url: '${TASKER_NO_SUCH}'}\n",
     "5: the environment variable TASKER_NO_SUCH is not set\n"},
    {HEAD STEP("x") "    handler_config: {a: 0x10000000000000000}\n",
     "5: 0x10000000000000000 is over 64 bits: write it in decimal\n"},
    {HEAD STEP("x") "    handler_config: {a: -.inf}\n",
     "5: JSON has no number -.inf: put it in quotes as a text\n"},
    {HEAD STEP("x") "    handler_config: {url: '${x'}\n", "5: ${ without a name and a }\n"},
    {HEAD STEP("x") "named_steps: [y]\n", "5: named_steps: there is no step \"y\"\n"},
    {HEAD STEP("x") STEP("y") "named_steps: [y]\n", "7: named_steps lacks \"x\"\n"},
    {HEAD STEP("x") "environments:\n  staging:\n    step_overrides: {z: {retry_limit: 1}}\n",
     "7: there is no step \"z\" to override\n"},
    {HEAD STEP("x") "environments:\n  staging:\n    step_templates:\n      - retry_limit: 1\n",
     "8: a step without a name\n"},
    {HEAD STEP("x") "environments:\n  staging:\n    step_templates:\n      - name: x\n"
                    "        retry_limit: -1\n",
     "9: retry_limit: \"-1\" is out of range (0 to 1000000)\n"},
    {HEAD STEP("x") "environments:\n  staging:\n    retry_limit: 1\n",
     "7: unknown key \"retry_limit\"\n"},
    {"schema:\n  type: object\n  properties:\n    a:\n      type: text\n    b:\n      if: {}\n" HEAD
         STEP("x"),
     "5: schema, at /properties/a/type: \"text\" is no type: there are null, boolean, integer, "
     "number, string, array and object\n"
     "7: schema, at /properties/b/if: \"if\" is not supported\n"},
    {"name: [\n", "t.yaml:1: wrong YAML"},
};

static void test_mistakes(void)
{
    for (size_t i = 0; i < COUNT(broken); i++) {
        struct told told;
        struct tsk_template *t = load(broken[i].text, "development", &told);
        bool ok = CHECK(!t);
        ok = CHECK(strncmp(told.text, broken[i].told, strlen(broken[i].told)) == 0) && ok;
        ok = CHECK(told.count == 0 || strlen(told.text) == strlen(broken[i].told)) && ok;
        if (!ok)
            fprintf(stderr, "    %zu: got:\n%s    want:\n%s", i, told.text, broken[i].told);
        tsk_template_free(t);
    }
}

static void test_values(void)
{
    struct told told;
    setenv("TASKER_T_PORT", "5432", 1);
    struct tsk_template *t = load(
        HEAD STEP("x") "    handler_config:\n"
                       "      a: ${TASKER_T_PORT}\n      b: '${TASKER_T_PORT}'\n"
                       "      c: ${TASKER_T_NONE:-x}\n      d: $${HOME}\n"
                       "      e: [0x10, 1e3, .5, -7, '7', 08, 1.2.3, yes, ~, True, 1e999]\n"
                       "      g: [18446744073709551616, -99999999999999999999, 1.10, +1,\n"
                       "          -0, 5., -.50, 007.0, 1E+05, 0o17, 0xFFFFFFFFFFFFFFFF,\n"
                       "          0.1000000000000000055511151231257827, 1_000, 0x, 0b1, ., -,\n"
                       "          e5, 1e, '.inf', 2026-02-30, 1:30, 0o8, -0x1]\n"
                       "      f: 99999999999999999999\n",
        "test", &told);
    if (!CHECK(t != NULL))
        fprintf(stderr, "%s", told.text);
    else
        check_json(t->steps[0].handler_config,
                   "{\"a\":5432,\"b\":\"5432\",\"c\":\"x\",\"d\":\"${HOME}\","
                   "\"e\":[16,1e3,0.5,-7,\"7\",8,\"1.2.3\",\"yes\",null,true,1e999],"
                   "\"g\":[18446744073709551616,-99999999999999999999,1.10,1,-0,5,-0.50,7.0,1E+05,"
                   "15,18446744073709551615,0.1000000000000000055511151231257827,\"1_000\","
                   "\"0x\",\"0b1\",\".\",\"-\",\"e5\",\"1e\",\".inf\",\"2026-02-30\","
                   "\"1:30\",\"0o8\",\"-0x1\"],"
                   "\"f\":99999999999999999999}");
    tsk_template_free(t);
}

/* Aliases of aliases: a few lines that stand for more values than anybody can hold. */
static void test_bomb(void)
{
    struct told told;
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_str(&text, HEAD STEP("x") "    handler_config:\n      a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
    for (int i = 1; i < 10; i++)
        tsk_buf_printf(&text,
                       "      a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i,
                       i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    struct tsk_template *t = load(text.data, "test", &told);
    CHECK(!t);
    CHECK(strstr(told.text, "too many values"));
    tsk_buf_fini(&text);
}

/* As many keys as a file can have: the work does not grow with their square. */
static void test_keys(void)
{
    struct told told;
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_str(&text, HEAD STEP("x") "    handler_config:\n");
    for (int i = 0; i < 80000; i++)
        tsk_buf_printf(&text, "     %d:\n", i);
    clock_t before = clock();
    struct tsk_template *t = load(text.data, "test", &told);
    if (CHECK(t))
        CHECK_INT(json_object_object_length(t->steps[0].handler_config), 80000);
    CHECK((clock() - before) / CLOCKS_PER_SEC < 10); /* of CPU time; once 46 s */
    tsk_template_free(t);
    tsk_buf_fini(&text);
}

static void test_chain(void)
{
    struct told told;
    struct tsk_buf text = TSK_BUF_INIT;
    tsk_buf_str(&text, HEAD);
    for (int i = 0; i < 3000; i++)
        tsk_buf_printf(&text, "  - {name: s%d, handler_class: H%s%d}\n", i,
                       i == 2999 ? "" : ", depends_on_step: s", i == 2999 ? 9 : i + 1);
    struct tsk_template *t = load(text.data, "test", &told);
    if (CHECK(t != NULL))
        CHECK_INT(t->steps[0].level, 2999);
    tsk_template_free(t);
    tsk_buf_fini(&text);
}

static void check_located(const char *space, const char *name, const char *version,
                          const char *want)
{
    struct tsk_err err = TSK_ERR_INIT;
    char *path = tsk_template_locate("tasks", space, name, version, &err);
    if (path)
        CHECK_STR(path, want);
    else
        CHECK(strstr(err.text, want) && err.kind == TSK_DATA);
    if (!path && !strstr(err.text, want))
        fprintf(stderr, "    %s\n", err.text);
    free(path);
}

static void test_locate(void)
{
    struct tsk_err err;
    mkdir("tasks", 0700);
    mkdir("tasks/pay", 0700);
    mkdir("tasks/pay/order", 0700);
    write_file("tasks/pay/order/1.9.0.yaml", "name: order\nnamespace_name: pay\nversion: 1.9.0\n");
    write_file("tasks/pay/order/1.10.0.yml", "name: order\nnamespace_name: pay\nversion: 1.10.0\n");
    write_file("tasks/plain.yaml", "name: plain\n");
    write_file("tasks/other.yaml", "name: plain\nnamespace: other\n");
    write_file("tasks/broken.yaml", "name: [\n");
    write_file("tasks/note.txt", "name: note\n");
    check_located("pay", "order", NULL, "tasks/pay/order/1.10.0.yml");
    check_located(NULL, "order", "1.9.0", "tasks/pay/order/1.9.0.yaml");
    check_located("default", "plain", NULL, "tasks/plain.yaml");
    check_located(NULL, "plain", NULL, "in more than one namespace");
    check_located(NULL, "ordre", NULL, "did you mean order?");
    check_located("pay", "order", "2", "there is no template for task \"order\"");
    check_located(NULL, "plain", "9", "version 9 in tasks (there is 0.1.0)");
    check_located(NULL, "note", NULL, "there is no template");
    check_located(NULL, "note", NULL, "(not read: tasks/broken.yaml:1: wrong YAML");
    CHECK(!tsk_template_locate("nowhere", NULL, "x", NULL, &err));
    CHECK_INT(err.kind, TSK_CONFIG);
}

/* Each version is newer than the one before, whatever the names of the files are. */
static void test_versions(void)
{
    static const char *const versions[] = {
        "0.9",          "1.0.0-alpha",     "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta",
        "1.0.0-beta.2", "1.0.0-beta.11",   "1.0.0-rc.1",    "1.0.0",            "1.9.0",
        "1.10.0",       "1.10.0.1-x-y.z",  "1.10.0.1",      "2.0.0-rc.1",       "2.0.0",
        "2.0.1-0",      "2.0.1-1",         "2.0.1-0a",      "v2.0.1",           "2.0.1.x",
        "10",           "18446744073709551616.0.0"};
    for (size_t i = 0; i + 1 < COUNT(versions); i++) {
        const char *pair[] = {versions[i], versions[i + 1]};
        for (size_t turn = 0; turn < 2; turn++) {
            struct tsk_buf text = TSK_BUF_INIT;
            for (size_t n = 0; n < 2; n++) {
                tsk_buf_reset(&text);
                tsk_buf_printf(&text, "name: v\nversion: \"%s\"\n", pair[n]);
                write_file(n == turn ? "versions/a.yaml" : "versions/b.yaml", text.data);
            }
            tsk_buf_fini(&text);
            char *path = tsk_template_locate("versions", NULL, "v", NULL, NULL);
            if (!CHECK_STR(path, turn ? "versions/a.yaml" : "versions/b.yaml"))
                fprintf(stderr, "    %s, %s\n", pair[0], pair[1]);
            free(path);
        }
    }
}

int main(void)
{
    mkdir("versions", 0700);
    test_versions();
    test_whole();
    test_environments();
    test_mistakes();
    test_values();
    test_bomb();
    test_keys();
    test_chain();
    test_locate();
    return check_done();
}
