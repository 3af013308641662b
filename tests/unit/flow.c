/* The flow of a task: joins and their traps by a table of small graphs, then random graphs held
 * against a plain model of the rules. The seed is printed, and may be given. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "submit/template.h"
#include "tasker/tasker.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MOST 24

/* States by letter: p pending, q enqueued, i in progress, c complete, e error, x cancelled, r
 * resolved. Joins: a all_ok, d all_done, y any_ok; upper case: it blocks; s, u and t are a, d and y
 * of steps that skip. */
static enum tsk_state state_of(char letter)
{
    static const char letters[] = "pqicexr";
    static const enum tsk_state states[] = {
        TSK_STATE_PENDING, TSK_STATE_ENQUEUED,  TSK_STATE_IN_PROGRESS, TSK_STATE_COMPLETE,
        TSK_STATE_ERROR,   TSK_STATE_CANCELLED, TSK_STATE_RESOLVED};
    return states[strchr(letters, letter) - letters];
}

static void set_up(struct tsk_flow_step *step, int64_t id, char state, char join)
{
    char low = join >= 'a' ? join : (char)(join + 32);
    bool skips = strchr("sut", low) != NULL;
    low = skips ? "ady"[strchr("sut", low) - "sut"] : low;
    *step = (struct tsk_flow_step){.id = id,
                                   .state = state_of(state),
                                   .at = 100 + id,
                                   .join = low == 'a'   ? TSK_JOIN_ALL_OK
                                           : low == 'd' ? TSK_JOIN_ALL_DONE
                                                        : TSK_JOIN_ANY_OK,
                                   .blocks = join < 'a',
                                   .skips = skips};
}

/* A row: states, joins, edges as pairs of places (the first one as a letter, a for 0: a choice);
 * then waits_for of each ("-": it is cancelled, by its join; "~": it is skipped) and what becomes
 * of the task. */
static const struct {
    const char *states, *joins, *edges, *waits;
    enum tsk_flow_end end;
} table[] = {
    {"p", "a", "", "0", TSK_FLOW_ON},
    {"c", "a", "", "0", TSK_FLOW_COMPLETE},
    {"x", "a", "", "0", TSK_FLOW_CANCELLED},
    {"e", "a", "", "0", TSK_FLOW_ERROR},
    {"pp", "aa", "01", "01", TSK_FLOW_ON},
    {"ip", "aa", "01", "01", TSK_FLOW_ON},
    {"cp", "aa", "01", "00", TSK_FLOW_ON},
    {"rp", "aa", "01", "00", TSK_FLOW_ON},
    {"ep", "aa", "01", "01", TSK_FLOW_ERROR},
    {"xp", "aa", "01", "0-", TSK_FLOW_CANCELLED},
    {"xp", "aA", "01", "01", TSK_FLOW_BLOCKED},
    {"xp", "ad", "01", "00", TSK_FLOW_ON},
    {"ep", "ad", "01", "00", TSK_FLOW_ON},
    {"xp", "ay", "01", "0-", TSK_FLOW_CANCELLED},
    {"ep", "ay", "01", "01", TSK_FLOW_ERROR},
    {"cxp", "aay", "0212", "000", TSK_FLOW_ON},
    {"exp", "aay", "0212", "002", TSK_FLOW_ERROR},
    {"exp", "aaa", "0212", "00-", TSK_FLOW_ERROR},
    {"pxp", "aay", "0212", "002", TSK_FLOW_ON},
    {"xppp", "aaaa", "011223", "0---", TSK_FLOW_CANCELLED},
    {"xpp", "aad", "0112", "0-0", TSK_FLOW_ON},
    {"xpp", "aaD", "0112", "0-0", TSK_FLOW_ON},
    {"xpp", "aAa", "0112", "011", TSK_FLOW_BLOCKED},
    {"cppp", "aaaa", "01021323", "0002", TSK_FLOW_ON},
    {"cccp", "aaaa", "01021323", "0000", TSK_FLOW_ON},
    {"cexp", "aaaa", "01021323", "000-", TSK_FLOW_ERROR},
    {"cecp", "aaaa", "01021323", "0001", TSK_FLOW_ERROR},
    {"eq", "aa", "", "00", TSK_FLOW_ON},
    /* one that may ask for more, before it has ended, and when it has asked for nothing */
    {"ip", "aa", "a1", "01", TSK_FLOW_ON},
    {"ip", "ay", "a1", "01", TSK_FLOW_ON},
    {"cp", "aa", "a1", "00", TSK_FLOW_ON},
    {"cp", "ay", "a1", "00", TSK_FLOW_ON},
    {"xp", "aa", "a1", "0-", TSK_FLOW_CANCELLED},
    {"xp", "ay", "a1", "0-", TSK_FLOW_CANCELLED},
    {"xp", "ad", "a1", "00", TSK_FLOW_ON},
    {"ep", "ay", "a1", "01", TSK_FLOW_ERROR},
    {"cxp", "aay", "a2b2", "00-", TSK_FLOW_CANCELLED},
    /* beside one that is there: only that one is enough */
    {"cip", "aay", "a212", "001", TSK_FLOW_ON},
    {"icp", "aay", "a212", "000", TSK_FLOW_ON},
    {"iip", "aay", "a212", "002", TSK_FLOW_ON},
    {"cxp", "aay", "a212", "00-", TSK_FLOW_CANCELLED},
    {"ixp", "aay", "a212", "002", TSK_FLOW_ON},
    {"xxp", "aay", "a212", "00-", TSK_FLOW_CANCELLED},
    {"cep", "aay", "a212", "001", TSK_FLOW_ERROR},
    {"pp", "aa", "0110", "11", TSK_FLOW_BLOCKED},
    /* a cleanup runs when nothing before it can run any more, and not before that */
    {"epp", "aad", "0112", "010", TSK_FLOW_ON},
    {"epc", "aad", "0112", "010", TSK_FLOW_ERROR},
    {"eppp", "aaad", "011223", "0110", TSK_FLOW_ON},
    {"eipp", "aaad", "021223", "0021", TSK_FLOW_ON},
    {"ecpp", "aaad", "021223", "0010", TSK_FLOW_ON},
    {"eppp", "aayd", "01121323", "0110", TSK_FLOW_ON},
    {"epppp", "aadad", "01122334", "01011", TSK_FLOW_ON},
    {"xppp", "aAad", "011223", "0111", TSK_FLOW_BLOCKED},
    {"ppp", "aad", "0112", "011", TSK_FLOW_ON},
    {"ep", "ad", "a1", "00", TSK_FLOW_ON},
    /* nobody asked for the optional step before it: it is skipped, and so is what is behind it */
    {"ipp", "ass", "a112", "011", TSK_FLOW_ON},
    {"cpp", "ass", "a112", "0~~", TSK_FLOW_COMPLETE},
    {"cpp", "att", "a112", "0~~", TSK_FLOW_COMPLETE},
    {"cpp", "asu", "a112", "0~~", TSK_FLOW_COMPLETE},
    {"cpp", "asd", "a112", "0~0", TSK_FLOW_ON},
    {"cpp", "asa", "a112", "0~0", TSK_FLOW_ON},
    {"cpp", "asy", "a112", "0~0", TSK_FLOW_ON},
    {"cpp", "aas", "a112", "001", TSK_FLOW_ON},
    {"xpp", "ass", "a112", "0--", TSK_FLOW_CANCELLED},
    {"epp", "ass", "a112", "011", TSK_FLOW_ERROR},
    {"cpcp", "assa", "a11323", "0~00", TSK_FLOW_ON},
    {"cpip", "asss", "a11323", "0~01", TSK_FLOW_ON},
    {"cpcp", "asst", "a11323", "0~00", TSK_FLOW_ON},
    {"cpep", "asst", "a11323", "0~01", TSK_FLOW_ERROR},
    {"cpxp", "asst", "a11323", "0~0-", TSK_FLOW_CANCELLED},
    {"cpxp", "assu", "a11323", "0~00", TSK_FLOW_ON},
    {"cpp", "ass", "a1b2", "0~~", TSK_FLOW_COMPLETE},
};

static void check_table(void)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        struct tsk_flow_step steps[MOST];
        struct tsk_flow_edge edges[MOST];
        size_t count = strlen(table[i].states), edge_count = strlen(table[i].edges) / 2;
        char got[MOST + 1] = "";
        int64_t at;
        for (size_t s = 0; s < count; s++)
            set_up(&steps[s], (int64_t)s + 1, table[i].states[s], table[i].joins[s]);
        for (size_t e = 0; e < edge_count; e++) {
            char from = table[i].edges[2 * e];
            bool choice = from >= 'a';
            edges[e] = (struct tsk_flow_edge){(size_t)(from - (choice ? 'a' : '0')),
                                              (size_t)(table[i].edges[2 * e + 1] - '0'), choice};
        }
        enum tsk_flow_end end = tsk_flow(steps, count, edges, edge_count, &at);
        for (size_t s = 0; s < count; s++)
            got[s] = steps[s].cancelled ? '-'
                     : steps[s].skipped ? '~'
                                        : (char)('0' + steps[s].waits_for);
        bool ok = CHECK_STR(got, table[i].waits);
        ok = CHECK_INT(end, table[i].end) && ok;
        if (!ok)
            fprintf(stderr, "    row %zu: %s %s %s\n", i, table[i].states, table[i].joins,
                    table[i].edges);
    }
}

static void check_because(void)
{
    struct tsk_flow_step steps[4];
    struct tsk_flow_edge edges[] = {{0, 2, false}, {1, 2, false}, {2, 3, false}};
    int64_t at;
    set_up(&steps[0], 7, 'x', 'a');
    set_up(&steps[1], 5, 'x', 'a');
    set_up(&steps[2], 3, 'p', 'a');
    set_up(&steps[3], 4, 'p', 'a');
    CHECK_INT(tsk_flow(steps, 4, edges, 3, &at), TSK_FLOW_CANCELLED);
    CHECK_INT(steps[2].because, 5);
    CHECK_INT(steps[2].ended_at, 107);
    CHECK_INT(steps[3].because, 3);
    CHECK_INT(steps[3].ended_at, 107);
    CHECK_INT(at, 107);
}

/* ---- the model: each rule as it stands in the header, counted anew for each step */

struct model {
    const struct tsk_flow_step *steps;
    size_t count;
    bool edge[MOST][MOST], choice[MOST][MOST];
    bool gone[MOST], skipped[MOST], rests[MOST];
};

static int count_before(const struct model *m, size_t to, const char *which)
{
    int n = 0;
    for (size_t i = 0; i < m->count; i++) {
        enum tsk_state state = m->gone[i] ? TSK_STATE_CANCELLED : m->steps[i].state;
        bool ok = state == TSK_STATE_COMPLETE || state == TSK_STATE_RESOLVED || m->skipped[i];
        bool cancelled = state == TSK_STATE_CANCELLED;
        if (strncmp(which, "choice", 6) == 0 ? m->choice[i][to] : m->edge[i][to])
            n += !strcmp(which, "choice") || (!strcmp(which, "choice ok") && ok) ||
                 (!strcmp(which, "choice lost") && cancelled) || !strcmp(which, "all") ||
                 (!strcmp(which, "skipped") && m->skipped[i] && !m->choice[i][to]) ||
                 (!strcmp(which, "ok") && ok) || (!strcmp(which, "cancelled") && cancelled) ||
                 (!strcmp(which, "done") &&
                  (ok || cancelled || m->rests[i] || state == TSK_STATE_ERROR));
    }
    return n;
}

static bool can_run(const struct model *m, size_t i)
{
    int all = count_before(m, i, "all"), choices = count_before(m, i, "choice");
    int chosen = count_before(m, i, "choice ok"), skipped = count_before(m, i, "skipped");
    if (m->steps[i].join == TSK_JOIN_ALL_OK)
        return count_before(m, i, "ok") == all;
    if (m->steps[i].join == TSK_JOIN_ALL_DONE)
        return count_before(m, i, "done") == all;
    if (all > choices + skipped)
        return count_before(m, i, "ok") > chosen + skipped;
    return chosen == choices;
}

static bool never_can(const struct model *m, size_t i)
{
    int all = count_before(m, i, "all"), cancelled = count_before(m, i, "cancelled");
    if (m->steps[i].join == TSK_JOIN_ALL_OK)
        return cancelled > 0;
    int choices = count_before(m, i, "choice"), lost = count_before(m, i, "choice lost");
    int others = all - choices - count_before(m, i, "skipped");
    bool decided = count_before(m, i, "choice ok") + lost == choices;
    if (m->steps[i].join == TSK_JOIN_ALL_DONE || !decided)
        return false;
    return others ? cancelled - lost == others : lost > 0;
}

/* Nothing before it is there or was run, and nobody can ask for it any more. */
static bool is_alone(const struct model *m, size_t i)
{
    int all = count_before(m, i, "all"), choices = count_before(m, i, "choice");
    return all && all == choices + count_before(m, i, "skipped") &&
           choices == count_before(m, i, "choice ok") + count_before(m, i, "choice lost");
}

/* The steps are in the order of their dependencies, so one look at each is enough. */
static void run_model(struct model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        if (m->steps[i].state != TSK_STATE_PENDING)
            continue;
        bool never = never_can(m, i);
        m->gone[i] = never && !m->steps[i].blocks;
        m->skipped[i] = !never && m->steps[i].skips && is_alone(m, i);
        m->rests[i] = !never && !m->skipped[i] && !can_run(m, i) &&
                      count_before(m, i, "done") == count_before(m, i, "all");
    }
}

static unsigned long draw(unsigned long *random, unsigned long below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 33) % below;
}

static void check_random(unsigned long *random)
{
    struct tsk_flow_step steps[MOST];
    struct tsk_flow_edge edges[MOST * MOST];
    struct model model = {.steps = steps, .count = 1 + draw(random, MOST - 1)};
    size_t edge_count = 0;
    int64_t at;
    for (size_t i = 0; i < model.count; i++) {
        set_up(&steps[i], (int64_t)i + 1, "pppppqicccexxr"[draw(random, 14)],
               "aaaddyyADYsssut"[draw(random, 15)]);
        for (size_t from = 0; from < i; from++) {
            if (draw(random, 3))
                continue;
            model.edge[from][i] = true;
            model.choice[from][i] = draw(random, 3) == 0;
            edges[edge_count++] = (struct tsk_flow_edge){from, i, model.choice[from][i]};
        }
    }
    enum tsk_flow_end end = tsk_flow(steps, model.count, edges, edge_count, &at);
    run_model(&model);
    bool runs = false;
    for (size_t i = 0; i < model.count; i++) {
        bool pending = steps[i].state == TSK_STATE_PENDING;
        bool undone = model.gone[i] || model.skipped[i];
        CHECK(steps[i].cancelled == model.gone[i]);
        CHECK(steps[i].skipped == model.skipped[i]);
        if (pending && !undone)
            CHECK((steps[i].waits_for == 0) == can_run(&model, i));
        runs |= steps[i].state == TSK_STATE_ENQUEUED || steps[i].state == TSK_STATE_IN_PROGRESS ||
                (pending && !undone && can_run(&model, i));
    }
    CHECK((end == TSK_FLOW_ON) == runs);
}

int main(void)
{
    const char *given = getenv("FLOW_SEED");
    unsigned long seed = given ? strtoul(given, NULL, 10) : (unsigned long)tsk_now_us();
    unsigned long random = seed;
    check_table();
    check_because();
    for (int i = 0; i < 20000; i++)
        check_random(&random);
    if (check_failed)
        fprintf(stderr, "FLOW_SEED=%lu\n", seed);
    return check_done();
}
