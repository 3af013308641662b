/* The circuit breakers: a table of what happens when, and what is said of it. The time is made up.
 */
#include "work/circuit.h"

#include <string.h>

#include "check.h"

enum { FAILURES = 3, PAUSE = 100, LONGEST = 350 };

/* One thing that happens: 'a' a step of the class is to be started; its end: 's' success, 'f'
 * failure, 'n' neither; in capitals that of the trial. */
struct event {
    int64_t now;
    char what;
    const char *want;           /* of 'a': run, trial, open; else same, opened, closed */
    int64_t failures, retry_in; /* of an open one */
};

struct story {
    const char *name;
    struct event events[16];
};

static const struct story stories[] = {
    {"opens after three in a row, closes by the trial",
     {{0, 'a', "run", 0, 0},
      {1, 'f', "same", 0, 0},
      {2, 'f', "same", 0, 0},
      {3, 'a', "run", 0, 0},
      {10, 'f', "opened", 3, 100},
      {50, 'a', "open", 3, 60},
      {109, 'a', "open", 3, 1},
      {110, 'a', "trial", 3, 0},
      {111, 'a', "open", 3, 100}, /* one trial at a time */
      {120, 'S', "closed", 0, 0},
      {121, 'a', "run", 0, 0},
      {122, 'f', "same", 0, 0}}}, /* and counts from 1 again */
    {"a success between starts the row anew",
     {{0, 'f', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 's', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 'a', "run", 0, 0},
      {0, 'f', "opened", 3, 100}}},
    {"a judgement of the step neither counts nor interrupts",
     {{0, 'n', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 'n', "same", 0, 0},
      {0, 'n', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 'n', "same", 0, 0},
      {0, 'n', "same", 0, 0},
      {0, 'a', "run", 0, 0},
      {5, 'f', "opened", 3, 100}}},
    {"twice as long after each trial that fails, up to the longest",
     {{0, 'f', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 'f', "opened", 3, 100},
      {100, 'a', "trial", 3, 0},
      {100, 'F', "opened", 4, 200},
      {299, 'a', "open", 4, 1},
      {300, 'a', "trial", 4, 0},
      {310, 'F', "opened", 5, 350},
      {660, 'a', "trial", 5, 0},
      {661, 'F', "opened", 6, 350},
      {9999, 'a', "trial", 6, 0},
      {9999, 'S', "closed", 0, 0},
      {9999, 'f', "same", 0, 0},
      {9999, 'f', "same", 0, 0},
      {9999, 'f', "opened", 3, 100}}}, /* and once more from the shortest */
    {"a trial that says nothing leaves its place to the next",
     {{0, 'f', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 'f', "opened", 3, 100},
      {150, 'a', "trial", 3, 0},
      {151, 'a', "open", 3, 100},
      {160, 'N', "same", 3, 0},
      {161, 'a', "trial", 3, 0},
      {162, 'S', "closed", 0, 0}}},
    {"steps that were started before it opened",
     {{0, 'f', "same", 0, 0},
      {0, 'f', "same", 0, 0},
      {0, 'f', "opened", 3, 100},
      {60, 'f', "same", 4, 40}, /* no longer pause */
      {70, 'n', "same", 4, 30},
      {100, 'a', "trial", 4, 0},
      {101, 'f', "same", 5, 100}, /* not the trial's end */
      {102, 'a', "open", 5, 100},
      {103, 's', "closed", 0, 0}, /* it works again */
      {104, 'a', "run", 0, 0},
      {105, 'F', "same", 0, 0}}}, /* the trial, which is none any more */
};

static const char *ask(struct tsk_circuits *circuits, int64_t now, struct tsk_circuit_state *state)
{
    static const char *const words[] = {"run", "trial", "open"};
    return words[tsk_circuit_ask(circuits, "A", now, state)];
}

static const char *tell(struct tsk_circuits *circuits, const struct event *event,
                        struct tsk_circuit_state *state)
{
    static const char *const words[] = {"same", "opened", "closed"};
    char low = (char)(event->what | 0x20);
    enum tsk_circuit_end end = low == 's'   ? TSK_CIRCUIT_SUCCESS
                               : low == 'f' ? TSK_CIRCUIT_FAILURE
                                            : TSK_CIRCUIT_NEITHER;
    return words[tsk_circuit_tell(circuits, "A", end, event->what != low, event->now, state)];
}

static void test_stories(void)
{
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        struct tsk_circuits *circuits = tsk_circuits_new(FAILURES, PAUSE, LONGEST);
        const struct event *e = stories[i].events;
        for (int n = 1; e->what; e++, n++) {
            struct tsk_circuit_state state = {0};
            const char *got =
                e->what == 'a' ? ask(circuits, e->now, &state) : tell(circuits, e, &state);
            bool ok = CHECK_STR(got, e->want);
            ok &= CHECK_INT(state.failures, e->failures) & CHECK_INT(state.retry_in, e->retry_in);
            ok &= CHECK_INT(tsk_circuits_open(circuits, e->now, &state, 1), e->failures > 0);
            if (!ok)
                fprintf(stderr, "    %s, event %d\n", stories[i].name, n);
        }
        tsk_circuits_free(circuits);
    }
}

static void test_each_class_has_its_own(void)
{
    struct tsk_circuits *circuits = tsk_circuits_new(1, PAUSE, LONGEST);
    struct tsk_circuit_state states[3];
    tsk_circuit_tell(circuits, "B", TSK_CIRCUIT_FAILURE, false, 0, NULL);
    tsk_circuit_tell(circuits, "A", TSK_CIRCUIT_FAILURE, false, 20, NULL);
    CHECK_INT(tsk_circuit_ask(circuits, "C", 50, NULL), TSK_CIRCUIT_RUN);
    CHECK_INT(tsk_circuit_ask(circuits, "A", 110, NULL), TSK_CIRCUIT_OPEN);
    CHECK_INT(tsk_circuit_ask(circuits, "B", 110, NULL), TSK_CIRCUIT_TRIAL);
    CHECK_INT(tsk_circuits_open(circuits, 110, states, 3), 2);
    CHECK_STR(states[0].handler_class, "B");
    CHECK_INT(states[0].retry_in, PAUSE);
    CHECK_STR(states[1].handler_class, "A");
    CHECK_INT(states[1].retry_in, 10);
    CHECK_INT(tsk_circuits_open(circuits, 110, states, 1), 1);
    tsk_circuits_free(circuits);
    tsk_circuits_free(NULL);
}

static void test_off(void)
{
    struct tsk_circuits *circuits = tsk_circuits_new(0, PAUSE, LONGEST);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(tsk_circuit_tell(circuits, "A", TSK_CIRCUIT_FAILURE, false, i, NULL),
                  TSK_CIRCUIT_SAME);
        CHECK_INT(tsk_circuit_ask(circuits, "A", i, NULL), TSK_CIRCUIT_RUN);
    }
    tsk_circuits_free(circuits);
}

/* Classes come from outside: they may be without end. */
static void test_many_classes(void)
{
    struct tsk_circuits *circuits = tsk_circuits_new(1, PAUSE, LONGEST);
    static struct tsk_circuit_state states[2 * TSK_CIRCUITS_MOST];
    for (int i = 0; i < 2 * TSK_CIRCUITS_MOST; i++) {
        char name[32];
        snprintf(name, sizeof name, "Class%d", i);
        tsk_circuit_tell(circuits, name, TSK_CIRCUIT_FAILURE, false, 0, NULL);
    }
    CHECK_INT(tsk_circuits_open(circuits, 0, states, 2 * TSK_CIRCUITS_MOST), TSK_CIRCUITS_MOST);
    CHECK_INT(tsk_circuit_ask(circuits, "Class0", 0, NULL), TSK_CIRCUIT_RUN);
    CHECK_INT(tsk_circuit_ask(circuits, "Class1999", 0, NULL), TSK_CIRCUIT_OPEN);
    tsk_circuits_free(circuits);
}

static void test_what_counts(void)
{
    static const struct {
        const char *category;
        enum tsk_circuit_end want;
    } cases[] = {
        {NULL, TSK_CIRCUIT_SUCCESS},         {"infrastructure", TSK_CIRCUIT_FAILURE},
        {"timeout", TSK_CIRCUIT_FAILURE},    {"retryable", TSK_CIRCUIT_NEITHER},
        {"validation", TSK_CIRCUIT_NEITHER}, {"business_logic", TSK_CIRCUIT_NEITHER},
        {"permanent", TSK_CIRCUIT_NEITHER},  {"something else", TSK_CIRCUIT_NEITHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(tsk_circuit_end_of(cases[i].category), cases[i].want);
}

int main(void)
{
    test_stories();
    test_each_class_has_its_own();
    test_off();
    test_many_classes();
    test_what_counts();
    return check_done();
}
