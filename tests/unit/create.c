/* What a step may ask for: a table of outputs, of what others have and of what was found before. */
#include <string.h>

#include "check.h"
#include "tasker/flow.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* x and y are optional behind a and b, z behind x; end joins them, alone knows none of them. */
static const char plan_text[] =
    "{\"waits\": {\"a\": [], \"b\": [], \"x\": [\"a\", \"b\"], \"y\": [\"a\", \"b\"],"
    " \"z\": [\"x\"], \"end\": [\"x\", \"y\"], \"alone\": []},"
    " \"optional\": [{\"name\": \"x\"}, {\"name\": \"y\"}, {\"name\": \"z\"}]}";

static const struct tsk_create_limits limits = {.step = 10, .task = 20};
static struct tsk_plan *plan;

/* Returns what is asked for, as JSON ("" for nothing), or why it cannot be; static. */
static const char *judge_with(const struct tsk_plan *with, const struct tsk_create_asker *asker,
                              const char *output)
{
    static char text[2048];
    struct tsk_buf creates = TSK_BUF_INIT;
    struct tsk_err err = TSK_ERR_INIT;
    int rc = tsk_create_judge(with, asker, &limits, output, strlen(output), &creates, &err);
    CHECK_INT(rc < 0, err.kind == TSK_DATA);
    CHECK(rc == 0 || !creates.len); /* of a list that is wrong nothing is made */
    snprintf(text, sizeof text, "%s", rc < 0 ? err.text : creates.len ? creates.data : "");
    tsk_buf_fini(&creates);
    return text;
}

static const char *judge(const struct tsk_create_asker *asker, const char *output)
{
    return judge_with(plan, asker, output);
}

static void check_has(const char *got, const char *want)
{
    if (!CHECK(strstr(got, want)))
        fprintf(stderr, "    got:  %s\n    want: %s\n", got, want);
}

/* ---- the list itself */

#define LIST(entries) "{\"create_steps\": [" entries "], \"other\": 1}"

static const struct {
    const char *asker, *output, *creates;
} right[] = {
    {"a", "{\"other\": {\"create_steps\": [\"x\"]}}", ""},
    {"a", "[\"create_steps\", \"x\"]", ""},
    {"a", "\"create_steps\"", ""},
    {"a", "{\"create_steps\": []}", ""},
    {"a", LIST("\"x\""), "[{\"name\":\"x\"}]"},
    {"a", LIST("{\"name\": \"x\"}"), "[{\"name\":\"x\"}]"},
    {"a", LIST("{\"count\": 1, \"name\": \"x\"}"), "[{\"name\":\"x\",\"count\":1}]"},
    {"a", LIST("{\"name\": \"x\", \"count\": 0}"), "[{\"name\":\"x\",\"count\":0}]"},
    {"b", LIST("{\"name\": \"x\", \"count\": 10}"), "[{\"name\":\"x\",\"count\":10}]"},
    {"b", LIST("\"y\", {\"name\": \"x\", \"count\": 9}"),
     "[{\"name\":\"y\"},{\"name\":\"x\",\"count\":9}]"},
    {"a", LIST("\"z\""), "[{\"name\":\"z\"}]"}, /* through x */
    {"x", LIST("\"z\""), "[{\"name\":\"z\"}]"},
    {"gone", LIST("\"x\""), "[{\"name\":\"x\"}]"}, /* of which the plan knows nothing */
};

static const struct {
    const char *asker, *output, *why;
} wrong[] = {
    {"a", "{\"create_steps\": \"x\"}", "create_steps is not a list"},
    {"a", "{\"create_steps\": {\"x\": 1}}", "create_steps is not a list"},
    {"a", "{\"create_steps\": 3}", "create_steps is not a list"},
    {"a", LIST("7"), "entry 1 is neither a name nor an object"},
    {"a", LIST("\"x\", null"), "entry 2 is neither a name nor an object"},
    {"a", LIST("\"x\", [\"y\"]"), "entry 2 is neither a name nor an object"},
    {"a", LIST("\"\""), "entry 1 has no name"},
    {"a", LIST("{\"count\": 2}"), "entry 1 has no name"},
    {"a", LIST("{\"name\": \"\"}"), "entry 1 has no name"},
    {"a", LIST("{\"name\": 3}"), "entry 1 has no name"},
    {"a", LIST("\"x\\u0000y\""), "the name of entry 1 has a NUL"},
    {"a", LIST("{\"name\": \"x\", \"size\": 2}"), "entry 1 (\"x\") has a member \"size\""},
    {"a", LIST("{\"name\": \"x\", \"count\": -1}"), "the count of \"x\" is not a whole number"},
    {"a", LIST("{\"name\": \"x\", \"count\": 1.5}"), "the count of \"x\" is not a whole number"},
    {"a", LIST("{\"name\": \"x\", \"count\": \"2\"}"), "the count of \"x\" is not a whole number"},
    {"a", LIST("{\"name\": \"x\", \"count\": null}"), "the count of \"x\" is not a whole number"},
    {"a", LIST("\"b\""), "\"b\" is no optional step of the template"},
    {"a", LIST("\"end\""), "\"end\" is no optional step of the template"},
    {"a", LIST("\"xx\""), "\"xx\" is no optional step of the template"},
    {"a", LIST("\"x\", \"x\""), "\"x\" is there twice"},
    {"a", LIST("\"x\", {\"name\": \"x\", \"count\": 2}"), "\"x\" is there twice"},
    {"alone", LIST("\"x\""), "\"x\" does not wait for \"alone\", which asks for it"},
    {"y", LIST("\"z\""), "\"z\" does not wait for \"y\", which asks for it"},
    {"x", LIST("\"x\""), "step \"x\" asks for its own kind: a circle"},
    {"z", LIST("\"x\""), "\"x\" would wait for itself: \"z\", which asks for it, waits for it"},
    {"end", LIST("\"y\""), "\"y\" would wait for itself: \"end\""},
    {"a", LIST("{\"name\": \"x\", \"count\": 11}"),
     "with \"x\" it asks for more than 10 steps (workflow.max_created_steps)"},
    {"a", LIST("\"y\", {\"name\": \"x\", \"count\": 10}"),
     "with \"x\" it asks for more than 10 steps (workflow.max_created_steps)"},
    {"a", LIST("{\"name\": \"y\", \"count\": 10}, \"x\""),
     "with \"x\" it asks for more than 10 steps (workflow.max_created_steps)"},
    {"a", LIST("{\"name\": \"x\", \"count\": 9223372036854775807}"), "it asks for more than 10"},
    {"a", LIST("\"y\", {\"name\": \"x\", \"count\": 9223372036854775807}"),
     "with \"x\" it asks for more than 10"},
    {"a", LIST("{\"name\": \"x\", \"count\": 9223372036854775808}"), "is not a whole number"},
};

static void test_lists(void)
{
    for (size_t i = 0; i < COUNT(right); i++) {
        struct tsk_create_asker asker = {.step = 1, .name = right[i].asker, .steps = 4};
        CHECK_STR(judge(&asker, right[i].output), right[i].creates);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct tsk_create_asker asker = {.step = 1, .name = wrong[i].asker, .steps = 4};
        check_has(judge(&asker, wrong[i].output), wrong[i].why);
    }
}

static void test_no_plan(void)
{
    struct tsk_create_asker asker = {.step = 1, .name = "a", .steps = 4};
    CHECK_STR(judge_with(NULL, &asker, LIST("\"x\"")),
              "create_steps: the template of the task has no optional steps");
    CHECK_STR(judge_with(NULL, &asker, "{\"create_steps\": []}"), "");
    CHECK_STR(judge_with(NULL, &asker, "{}"), "");
}

/* ---- beside others */

struct beside {
    struct tsk_create_made made[2]; /* the name NULL: no more */
    int64_t steps;
    const char *output, *got; /* what is asked for, or a part of why not */
};

#define ONE_X LIST("\"x\"")
#define X(n) LIST("{\"name\": \"x\", \"count\": " #n "}")
#define MADE "\"x\" was made already, for step 2: N of a kind are made by one step"
#define FULL "the task would have more than 20 steps (workflow.max_task_steps)"
#define IS_X(n) "[{\"name\":\"x\",\"count\":" #n "}]"

static const struct beside besides[] = {
    /* once is enough, and N of a kind are one step's */
    {{{"x", 2, 1, false}}, 4, ONE_X, "[{\"name\":\"x\"}]"},
    {{{"x", 2, 3, true}}, 4, ONE_X, MADE},
    {{{"x", 2, 1, true}}, 4, ONE_X, MADE},
    {{{"x", 2, 1, false}}, 4, X(3), MADE},
    {{{"x", 2, 1, false}}, 4, X(1), MADE},
    {{{"x", 2, 3, true}}, 4, X(3), MADE},
    {{{"x", 2, 3, true}}, 4, X(0), IS_X(0)}, /* which asks for none */
    {{{"y", 2, 3, true}}, 4, X(3), IS_X(3)},
    {{{"x", 1, 3, true}}, 4, X(2), IS_X(2)}, /* its own */
    {{{"x", 1, 3, true}, {"x", 2, 1, false}}, 4, ONE_X, "[{\"name\":\"x\"}]"},
    /* how many the task has then */
    {{{NULL, 0, 0, false}}, 10, X(10), IS_X(10)},
    {{{NULL, 0, 0, false}}, 11, X(10), FULL},
    {{{NULL, 0, 0, false}}, 19, ONE_X, "[{\"name\":\"x\"}]"},
    {{{NULL, 0, 0, false}}, 20, ONE_X, FULL},
    {{{NULL, 0, 0, false}}, 19, LIST("\"x\", \"y\""), "with \"y\" the task would have more"},
    {{{NULL, 0, 0, false}}, 25, X(0), IS_X(0)},
    {{{"y", 2, 6, true}}, 4, X(10), IS_X(10)},
    {{{"y", 2, 7, true}}, 4, X(10), FULL},
    {{{"x", 2, 1, false}}, 19, ONE_X, "[{\"name\":\"x\"}]"}, /* it is there */
    {{{"x", 2, 1, false}}, 25, ONE_X, "[{\"name\":\"x\"}]"},
    {{{"x", 1, 9, true}}, 10, X(10), IS_X(10)},                     /* in place of its own */
    {{{"y", 2, 1, false}, {"y", 3, 1, false}}, 9, X(10), IS_X(10)}, /* one that two ask for */
    {{{"y", 2, 1, false}, {"y", 3, 1, false}}, 10, X(10), FULL},
    {{{"y", 2, 3, true}, {"y", 3, 1, false}}, 8, X(10), FULL}, /* the most that one asks for */
    {{{"y", 1, 9, true}}, 10, X(10), IS_X(10)}, /* in place of its own, of another kind */
};

static void test_beside(void)
{
    for (size_t i = 0; i < COUNT(besides); i++) {
        const struct beside *row = &besides[i];
        struct tsk_create_asker asker = {
            .step = 1, .name = "a", .made = row->made, .steps = row->steps};
        while (asker.made_count < 2 && row->made[asker.made_count].name)
            asker.made_count++;
        if (*row->got == '[')
            CHECK_STR(judge(&asker, row->output), row->got);
        else
            check_has(judge(&asker, row->output), row->got);
    }
}

/* ---- what was found before stays so */

static void test_before(void)
{
    struct tsk_create_asker asker = {.step = 1, .name = "a", .steps = 20};
    asker.accepted = IS_X(2);
    CHECK_STR(judge(&asker, X(2)), IS_X(2));
    check_has(judge(&asker, X(3)), FULL); /* that was not found right */
    check_has(judge(&asker, LIST("\"q\"")), "is no optional step");
    asker.accepted = NULL;
    asker.past = true;
    CHECK_STR(judge(&asker, X(3)), IS_X(3));
    check_has(judge(&asker, LIST("\"b\"")), "is no optional step");
}

static void test_refused(void)
{
    struct tsk_create_asker asker = {.step = 1, .name = "a", .steps = 4, .refused = "no room"};
    CHECK_STR(judge(&asker, X(2)), "no room");
    CHECK_STR(judge(&asker, "{}"), "");
    check_has(judge(&asker, LIST("\"b\"")), "is no optional step"); /* as it said then */
    asker.accepted = IS_X(2);                                       /* by a later attempt */
    CHECK_STR(judge(&asker, X(2)), "no room");
}

static void test_possible(void)
{
    static const char *const maybe[] = {LIST("\"x\""), "{\"cre\\u0061te_steps\": []}",
                                        "{\"a\": {\"create_steps\": 1}}", "\"create_steps",
                                        "{\"a\": {\"type\": \"create_batches\"}}"};
    static const char *const never[] = {
        "{}",           "",   "{\"create_step\": 1}",
        "create_steps", "\\", "{\"a\": \"steps that it may create\"}"};
    for (size_t i = 0; i < COUNT(maybe); i++)
        CHECK(tsk_create_possible(maybe[i], strlen(maybe[i])));
    for (size_t i = 0; i < COUNT(never); i++)
        CHECK(!tsk_create_possible(never[i], strlen(never[i])));
    CHECK(!tsk_create_possible("\"create_steps\"", 12)); /* not beyond its end */
}

int main(void)
{
    plan = tsk_plan_read(plan_text);
    CHECK(plan);
    test_lists();
    test_no_plan();
    test_beside();
    test_before();
    test_refused();
    test_possible();
    tsk_plan_free(plan);
    return check_done();
}
