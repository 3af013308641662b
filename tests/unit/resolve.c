/* The operator's hand: what may be done to a step in each state, against the table of the page. */
#include "resolve/operator.h"

#include "check.h"

/* What each action makes of a step: retry, reset, resolve, cancel; NONE: it is refused. */
struct row {
    struct tsk_resolve_facts facts;
    enum tsk_state to[TSK_RESOLVE_ACTIONS];
    const char *choices;
};

#define S(state) TSK_STATE_##state
#define RUNS S(IN_PROGRESS)

static const struct row rows[] = {
    {{S(PENDING), RUNS, 0, false, false},
     {S(NONE), S(NONE), S(RESOLVED), S(CANCELLED)},
     "it can be resolved or cancelled"},
    {{S(PENDING), RUNS, 1, false, false},
     {S(NONE), S(PENDING), S(RESOLVED), S(CANCELLED)},
     "it can be reset, resolved or cancelled"},
    {{S(PENDING), RUNS, 1, true, false},
     {S(PENDING), S(PENDING), S(RESOLVED), S(CANCELLED)},
     "it can be retried, reset, resolved or cancelled"},
    {{S(ENQUEUED), RUNS, 1, false, true},
     {S(NONE), S(ENQUEUED), S(RESOLVED), S(CANCELLED)},
     "it can be reset, resolved or cancelled"},
    {{S(IN_PROGRESS), RUNS, 1, false, true},
     {S(NONE), S(IN_PROGRESS), S(RESOLVED), S(CANCELLED)},
     "it can be reset, resolved or cancelled"},
    {{S(ERROR), RUNS, 3, false, false},
     {S(PENDING), S(PENDING), S(RESOLVED), S(CANCELLED)},
     "it can be retried, reset, resolved or cancelled"},
    {{S(ERROR), S(ERROR), 3, false, false},
     {S(PENDING), S(PENDING), S(RESOLVED), S(CANCELLED)},
     "it can be retried, reset, resolved or cancelled"},
    {{S(COMPLETE), RUNS, 1, false, false},
     {S(NONE), S(NONE), S(RESOLVED), S(NONE)},
     "it can be resolved"},
    {{S(CANCELLED), RUNS, 1, false, false},
     {S(NONE), S(NONE), S(RESOLVED), S(NONE)},
     "it can be resolved"},
    {{S(RESOLVED), RUNS, 1, false, false},
     {S(NONE), S(NONE), S(NONE), S(NONE)},
     "nothing more can be done to it"},
    /* while a worker may still have it, it can be told again */
    {{S(CANCELLED), RUNS, 1, false, true},
     {S(NONE), S(NONE), S(RESOLVED), S(CANCELLED)},
     "it can be resolved or cancelled"},
    {{S(RESOLVED), RUNS, 1, false, true},
     {S(NONE), S(NONE), S(RESOLVED), S(NONE)},
     "it can be resolved"},
    /* a task that somebody has ended runs nothing any more */
    {{S(ERROR), S(CANCELLED), 3, false, false},
     {S(NONE), S(NONE), S(RESOLVED), S(CANCELLED)},
     "it can be resolved or cancelled"},
    {{S(PENDING), S(RESOLVED), 1, true, false},
     {S(NONE), S(NONE), S(RESOLVED), S(CANCELLED)},
     "it can be resolved or cancelled"},
};

static void test_steps(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tsk_buf text = TSK_BUF_INIT;
        for (int a = 0; a < TSK_RESOLVE_ACTIONS; a++)
            CHECK_INT(tsk_resolve_step_to((enum tsk_resolve_action)a, &rows[i].facts),
                      rows[i].to[a]);
        tsk_resolve_choices(&rows[i].facts, &text);
        CHECK_STR(text.data, rows[i].choices);
        tsk_buf_fini(&text);
    }
}

static void test_tasks(void)
{
    static const enum tsk_state all[] = {S(PENDING),   S(IN_PROGRESS), S(COMPLETE), S(ERROR),
                                         S(CANCELLED), S(RESOLVED),    S(NONE)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool open = all[i] == S(PENDING) || all[i] == S(IN_PROGRESS) || all[i] == S(ERROR);
        bool there = all[i] != S(NONE) && all[i] != S(RESOLVED);
        bool cancelled = all[i] == S(CANCELLED), resolved = all[i] == S(RESOLVED);
        for (int runs = 0; runs < 2; runs++) {
            CHECK_INT(tsk_resolve_task_to(TSK_RESOLVE_CANCEL, all[i], runs),
                      open || (cancelled && runs) ? S(CANCELLED) : S(NONE));
            CHECK_INT(tsk_resolve_task_to(TSK_RESOLVE_RESOLVE, all[i], runs),
                      there || (resolved && runs) ? S(RESOLVED) : S(NONE));
        }
    }
}

static void test_words(void)
{
    CHECK_STR(tsk_resolve_word(TSK_RESOLVE_RESET), "reset");
    CHECK_STR(tsk_resolve_past(TSK_RESOLVE_CANCEL), "cancelled");
}

static void test_globs(void)
{
    struct tsk_buf sqlite = TSK_BUF_INIT, postgresql = TSK_BUF_INIT;
    tsk_store_glob(TSK_STORE_SQLITE, "A_[b]%*?", &sqlite);
    tsk_store_glob(TSK_STORE_POSTGRESQL, "A_[b]%*?", &postgresql);
    CHECK_STR(sqlite.data, "A_[[]b]%*?");
    CHECK_STR(postgresql.data, "A\\_[b]\\%%_");
    tsk_buf_fini(&sqlite);
    tsk_buf_fini(&postgresql);
}

int main(void)
{
    test_steps();
    test_tasks();
    test_words();
    test_globs();
    return check_done();
}
