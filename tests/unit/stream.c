/* The receiving half of the stream: each rule by itself, then a model of workers, a bad network and
 * a collector that restarts, driven at random. The seed is printed; TEST_SEED=N runs one again. */
#include <inttypes.h>
#include <stdlib.h>

#include "check.h"
#include "tasker/clock.h"
#include "tasker/stream.h"

static enum tsk_stream_verdict message(struct tsk_stream *s, int64_t offset, int64_t now)
{
    int64_t lost = -1;
    enum tsk_stream_verdict v = tsk_stream_message(s, "w", offset, now, &lost);
    CHECK_INT(lost, 0);
    return v;
}

static int64_t asked(struct tsk_stream *s, int64_t now)
{
    struct tsk_stream_order order;
    return tsk_stream_ask(s, now, &order) ? order.offset : -1;
}

static int64_t confirmed(struct tsk_stream *s)
{
    struct tsk_stream_order order;
    return tsk_stream_confirm(s, &order) ? order.offset : -1;
}

static void test_in_order(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    CHECK_INT(tsk_stream_heard(s, "w"), -1);
    CHECK_INT(tsk_stream_deadline(s), -1);
    CHECK_INT(message(s, 1, 10), TSK_STREAM_DELIVER);
    CHECK_INT(message(s, 2, 11), TSK_STREAM_DELIVER);
    CHECK_INT(message(s, 2, 12), TSK_STREAM_DUPLICATE);
    CHECK_INT(message(s, 1, 12), TSK_STREAM_DUPLICATE);
    CHECK_INT(tsk_stream_heard(s, "w"), 12);
    CHECK_INT(asked(s, 12), -1);
    CHECK_INT(confirmed(s), 2);
    CHECK_INT(confirmed(s), -1);
    CHECK_INT(tsk_stream_stats(s)->delivered, 2);
    CHECK_INT(tsk_stream_stats(s)->duplicates, 2);
    tsk_stream_free(s);
}

static void test_gap(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    message(s, 1, 0);
    CHECK_INT(message(s, 3, 0), TSK_STREAM_GAP);
    CHECK_INT(tsk_stream_deadline(s), 0);
    CHECK_INT(asked(s, 0), 1);
    CHECK_INT(asked(s, 0), -1);
    CHECK_INT(message(s, 4, 100), TSK_STREAM_GAP);
    CHECK_INT(asked(s, 249), -1);
    CHECK_INT(tsk_stream_deadline(s), 250);
    CHECK_INT(asked(s, 250), 1);
    CHECK_INT(message(s, 2, 300), TSK_STREAM_DELIVER);
    CHECK_INT(asked(s, 300), -1); /* the replay is flowing */
    CHECK_INT(message(s, 3, 310), TSK_STREAM_DELIVER);
    CHECK_INT(asked(s, 559), -1);
    CHECK_INT(asked(s, 560), 3);
    CHECK_INT(message(s, 4, 570), TSK_STREAM_DELIVER);
    CHECK_INT(tsk_stream_deadline(s), -1);
    CHECK_INT(message(s, 6, 571), TSK_STREAM_GAP); /* a new gap is asked about at once */
    CHECK_INT(asked(s, 571), 4);
    CHECK_INT(tsk_stream_stats(s)->replays, 4);
    tsk_stream_free(s);
}

static void test_status(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    CHECK_INT(tsk_stream_status(s, "w", 0, 1, 0), 0);
    CHECK_INT(asked(s, 0), -1);
    CHECK_INT(tsk_stream_status(s, "w", 3, 1, 1), 0); /* ahead of us */
    CHECK_INT(asked(s, 1), 0);
    message(s, 1, 2);
    CHECK_INT(tsk_stream_status(s, "w", 9, 5, 3), 3); /* 2, 3 and 4 are held no more */
    CHECK_INT(tsk_stream_stats(s)->lost, 3);
    CHECK_INT(message(s, 5, 4), TSK_STREAM_DELIVER);
    CHECK_INT(tsk_stream_status(s, "w", 9, 5, 5), 0);
    CHECK_INT(tsk_stream_status(s, "w", 9, 10, 6), 4);
    CHECK_INT(tsk_stream_deadline(s), -1);
    tsk_stream_free(s);
}

static void test_late_start(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    CHECK_INT(message(s, 8, 0), TSK_STREAM_GAP);
    CHECK_INT(asked(s, 0), 0);
    CHECK_INT(message(s, 5, 1), TSK_STREAM_GAP); /* of the replay; the status is what tells */
    CHECK_INT(tsk_stream_status(s, "w", 8, 5, 2), 0);
    CHECK_INT(message(s, 5, 3), TSK_STREAM_DELIVER);
    CHECK_INT(confirmed(s), 5);
    CHECK_INT(tsk_stream_stats(s)->lost, 0);
    tsk_stream_free(s);

    s = tsk_stream_new(4);
    CHECK_INT(tsk_stream_status(s, "w", 100, 101, 0), 0); /* it holds nothing: nothing is owed */
    CHECK_INT(asked(s, 0), -1);
    CHECK_INT(confirmed(s), -1);
    CHECK_INT(message(s, 101, 1), TSK_STREAM_DELIVER);
    CHECK_INT(confirmed(s), 101);
    tsk_stream_free(s);
}

static void test_confirm_again_and_hold(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    for (int64_t i = 1; i <= 9; i++)
        message(s, i, 0);
    tsk_stream_hold_none(s);
    tsk_stream_settled(s, "w", 4);
    tsk_stream_settled(s, "w", 2);
    tsk_stream_settled(s, "nobody", 2);
    CHECK(tsk_stream_hold(s, "w", 7));
    CHECK(tsk_stream_hold(s, "w", 5));
    CHECK(!tsk_stream_hold(s, "w", 3));
    CHECK(!tsk_stream_hold(s, "nobody", 1));
    CHECK_INT(confirmed(s), 4);
    CHECK_INT(confirmed(s), -1);
    tsk_stream_hold_none(s);
    CHECK_INT(confirmed(s), 9);
    tsk_stream_status(s, "w", 9, 10, 1);
    CHECK_INT(confirmed(s), -1);
    tsk_stream_status(s, "w", 9, 3, 1); /* our word was lost: it still holds them */
    CHECK_INT(confirmed(s), 9);
    CHECK_INT(confirmed(s), -1);
    tsk_stream_free(s);
}

static void test_silence(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    struct tsk_stream_order order;
    tsk_stream_status(s, "w", 5, 1, 0);
    int asks = 0;
    for (int64_t now = 0; now <= 60000; now += 50)
        asks += asked(s, now) >= 0;
    CHECK_INT(asks, 6);
    CHECK_INT(tsk_stream_deadline(s), TSK_STREAM_SILENT);
    CHECK(!tsk_stream_stalled(s, TSK_STREAM_SILENT - 1, &order));
    CHECK(tsk_stream_stalled(s, TSK_STREAM_SILENT, &order));
    CHECK_STR(order.source, "w");
    CHECK_INT(order.offset, 5);
    CHECK(!tsk_stream_stalled(s, 70000, &order));
    CHECK_INT(tsk_stream_deadline(s), -1);
    tsk_stream_status(s, "w", 5, 1, 80000);
    CHECK_INT(asked(s, 80000), 0);
    tsk_stream_free(s);
}

/* A peer that numbers its messages and knows nothing of replays must not block its own results. */
static void test_no_replay(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    int64_t now = 0, lost = 0, offset = 3;
    message(s, 1, 0);
    enum tsk_stream_verdict v = TSK_STREAM_GAP;
    for (; v == TSK_STREAM_GAP && now < 60000; now += 100) {
        asked(s, now);
        v = tsk_stream_message(s, "w", offset++, now, &lost);
    }
    CHECK_INT(v, TSK_STREAM_DELIVER);
    CHECK_INT(lost, offset - 1 - 2);
    CHECK(now > 1500 && now < 5000);
    CHECK_INT(message(s, offset, now), TSK_STREAM_DELIVER);
    tsk_stream_free(s);
}

static void test_limits(void)
{
    struct tsk_stream *s = tsk_stream_new(2);
    tsk_stream_message(s, "a", 1, 1, NULL);
    tsk_stream_status(s, "b", 4, 1, 2);
    tsk_stream_message(s, "a", 2, 3, NULL);
    tsk_stream_message(s, "c", 1, 4, NULL);
    CHECK_INT(tsk_stream_heard(s, "b"), -1);
    CHECK_INT(tsk_stream_heard(s, "a"), 3);
    CHECK_INT(tsk_stream_stats(s)->forgotten, 1);
    CHECK_INT(tsk_stream_stats(s)->owed, 4);
    CHECK_INT(tsk_stream_message(s, "a", 0, 5, NULL), TSK_STREAM_DUPLICATE);
    CHECK_INT(tsk_stream_message(s, "a", INT64_MIN, 5, NULL), TSK_STREAM_DUPLICATE);
    CHECK_INT(tsk_stream_message(s, "a", INT64_MAX, 5, NULL), TSK_STREAM_DUPLICATE);
    CHECK_INT(tsk_stream_status(s, "a", INT64_MAX, INT64_MAX, 5), TSK_STREAM_OFFSET_MAX - 2);
    CHECK_INT(tsk_stream_status(s, "a", -5, INT64_MIN, 5), 0);
    CHECK_INT(tsk_stream_status(s, "a", INT64_MIN, INT64_MAX, 5), 0);
    tsk_stream_free(s);
    tsk_stream_free(NULL);
}

/* ---- the model ---- */

enum { SOURCES = 3, MOST = 4000, PIPE = 200000, HOLD = 60 };

struct packet {
    int source;
    bool status;
    int64_t offset, oldest;
};

struct model {
    unsigned long long seed;
    int64_t now;
    struct packet *pipe;
    size_t first, last;
    int loss; /* percent of everything that is dropped */
    struct {
        int64_t newest, oldest;      /* the worker */
        bool given_up[MOST];         /* by the worker, at its limit */
        bool seen[MOST], lost[MOST]; /* by any run of the collector */
        int64_t due;                 /* of this run; 0: not known yet */
        int64_t confirmed;           /* by this run */
    } w[SOURCES];
    struct tsk_stream *stream;
    int64_t reported; /* sum of what the stream returned as lost */
};

static unsigned rnd(struct model *m, unsigned n)
{
    m->seed = m->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(m->seed >> 33) % n;
}

static bool chance(struct model *m, int percent)
{
    return (int)rnd(m, 100) < percent;
}

static const char *name_of(int i)
{
    static const char *const names[SOURCES] = {"a", "b", "c"};
    return names[i];
}

static void network(struct model *m, struct packet p)
{
    for (int copies = 1 + chance(m, m->loss); copies; copies--)
        if (!chance(m, m->loss) && m->last < PIPE)
            m->pipe[m->last++] = p;
}

static void worker_sends(struct model *m, int i)
{
    if (m->w[i].newest + 1 >= MOST)
        return;
    m->w[i].newest++;
    if (m->w[i].newest - m->w[i].oldest >= HOLD)
        m->w[i].given_up[m->w[i].oldest++] = true;
    network(m, (struct packet){i, false, m->w[i].newest, 0});
}

static void worker_status(struct model *m, int i)
{
    network(m, (struct packet){i, true, m->w[i].newest, m->w[i].oldest});
}

static void lose(struct model *m, int i, int64_t n)
{
    m->reported += n;
    if (n)
        CHECK(m->w[i].due > 0);
    for (; n > 0; n--)
        m->w[i].lost[m->w[i].due++] = true;
}

static void collector_takes(struct model *m, struct packet p)
{
    int i = p.source;
    int64_t lost = 0;
    if (p.status) {
        lose(m, i, tsk_stream_status(m->stream, name_of(i), p.offset, p.oldest, m->now));
        if (m->w[i].due < p.oldest)
            m->w[i].due = p.oldest;
        return;
    }
    enum tsk_stream_verdict v = tsk_stream_message(m->stream, name_of(i), p.offset, m->now, &lost);
    lose(m, i, lost);
    if (v == TSK_STREAM_DELIVER) {
        if (m->w[i].due)
            CHECK_INT(p.offset, m->w[i].due);
        m->w[i].due = p.offset + 1;
        m->w[i].seen[p.offset] = true;
    } else if (v == TSK_STREAM_DUPLICATE) {
        CHECK(m->w[i].due > p.offset);
    }
}

static void receive(struct model *m)
{
    if (m->first == m->last)
        return;
    size_t at = m->first;
    if (chance(m, m->loss)) /* out of order */
        at += rnd(m, (unsigned)(m->last - m->first > 8 ? 8 : m->last - m->first));
    struct packet p = m->pipe[at];
    m->pipe[at] = m->pipe[m->first++];
    if (m->first == m->last)
        m->first = m->last = 0;
    collector_takes(m, p);
}

static void upstream(struct model *m)
{
    struct tsk_stream_order order;
    while (tsk_stream_ask(m->stream, m->now, &order)) {
        int i = order.source[0] - 'a';
        if (chance(m, m->loss))
            continue;
        int64_t from = order.offset + 1 > m->w[i].oldest ? order.offset + 1 : m->w[i].oldest;
        for (; from <= m->w[i].newest; from++)
            network(m, (struct packet){i, false, from, 0});
    }
    while (chance(m, 30) && tsk_stream_confirm(m->stream, &order)) {
        int i = order.source[0] - 'a';
        CHECK(order.offset < m->w[i].due);
        CHECK(order.offset >= m->w[i].confirmed);
        m->w[i].confirmed = order.offset;
        if (!chance(m, m->loss) && m->w[i].oldest <= order.offset)
            m->w[i].oldest = order.offset + 1;
    }
}

static void restart(struct model *m)
{
    tsk_stream_free(m->stream);
    m->stream = tsk_stream_new(SOURCES);
    m->first = m->last = 0;
    for (int i = 0; i < SOURCES; i++) {
        m->w[i].due = m->w[i].confirmed = 0;
        /* A worker greets each collector, and the first message in a new pipe arrives. */
        m->pipe[m->last++] = (struct packet){i, true, m->w[i].newest, m->w[i].oldest};
    }
}

static void model_check(struct model *m)
{
    int64_t lost = 0;
    for (int i = 0; i < SOURCES; i++) {
        for (int64_t k = 1; k <= m->w[i].newest; k++) {
            bool ok = m->w[i].seen[k] || m->w[i].lost[k] || m->w[i].given_up[k];
            if (!CHECK(ok))
                fprintf(stderr, "    source %s, offset %" PRId64 "\n", name_of(i), k);
            if (m->w[i].lost[k])
                CHECK(m->w[i].given_up[k]);
            lost += m->w[i].lost[k];
        }
        CHECK_INT(m->w[i].due, m->w[i].newest + 1);
    }
    CHECK(lost <= m->reported);
}

static void test_model(unsigned long long seed)
{
    struct model *m = calloc(1, sizeof *m);
    m->pipe = calloc(PIPE, sizeof *m->pipe);
    m->seed = seed;
    m->loss = (int)(seed % 25);
    for (int i = 0; i < SOURCES; i++)
        m->w[i].oldest = 1;
    restart(m);
    for (int round = 0; round < 6000; round++, m->now += rnd(m, 60)) {
        int i = (int)rnd(m, SOURCES);
        if (chance(m, 45))
            worker_sends(m, i);
        if (chance(m, 5))
            worker_status(m, i);
        for (unsigned n = rnd(m, 30); n; n--)
            receive(m);
        upstream(m);
        if (rnd(m, 1000) == 0)
            restart(m);
    }
    m->loss = 0;
    for (int round = 0; round < 200; round++, m->now += 100) {
        for (int i = 0; i < SOURCES; i++)
            worker_status(m, i);
        while (m->first < m->last)
            receive(m);
        upstream(m);
    }
    model_check(m);
    tsk_stream_free(m->stream);
    free(m->pipe);
    free(m);
}

int main(void)
{
    test_in_order();
    test_gap();
    test_status();
    test_late_start();
    test_confirm_again_and_hold();
    test_silence();
    test_no_replay();
    test_limits();
    const char *given = getenv("TEST_SEED");
    unsigned long long seed = given ? strtoull(given, NULL, 10) : (unsigned long long)tsk_wall_ms();
    printf("seed %llu\n", seed);
    for (unsigned i = 0; i < (given ? 1 : 40); i++) {
        int before = check_failed;
        test_model(seed + i);
        if (check_failed > before) {
            fprintf(stderr, "model failed with TEST_SEED=%llu\n", seed + i);
            break;
        }
    }
    return check_done();
}
