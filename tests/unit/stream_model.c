/* A model of workers, a bad network and a collector that restarts, driven at random: whatever is
 * dropped, repeated and reordered, each message is delivered once a run and in order, or counted as
 * lost; and it is lost only if the worker gave it up, or the network swallowed it however often it
 * was asked for. The seed is printed; TEST_SEED=N runs one again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "tasker/clock.h"
#include "collect/stream.h"

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
        int asks;                    /* by this run, since due moved */
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

static void go_on_at(struct model *m, int i, int64_t offset)
{
    if (m->w[i].due != offset)
        m->w[i].asks = 0;
    m->w[i].due = offset;
}

static void lose(struct model *m, int i, int64_t n)
{
    int64_t first = m->w[i].due;
    m->reported += n;
    if (!n)
        return;
    CHECK(first > 0);
    for (int64_t k = first; k < first + n; k++) {
        m->w[i].lost[k] = true;
        CHECK(m->w[i].given_up[k] || m->w[i].asks > TSK_STREAM_GIVE_UP);
    }
    go_on_at(m, i, first + n);
}

static void collector_takes(struct model *m, struct packet p)
{
    int i = p.source;
    int64_t lost = 0;
    if (p.status) {
        lose(m, i, tsk_stream_status(m->stream, name_of(i), p.offset, p.oldest, 0, m->now));
        if (m->w[i].due < p.oldest)
            go_on_at(m, i, p.oldest);
        return;
    }
    enum tsk_stream_verdict v = tsk_stream_message(m->stream, name_of(i), p.offset, m->now, &lost);
    lose(m, i, lost);
    if (v == TSK_STREAM_DELIVER) {
        if (m->w[i].due)
            CHECK_INT(p.offset, m->w[i].due);
        go_on_at(m, i, p.offset + 1);
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
        m->w[i].asks++;
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
        m->w[i].due = m->w[i].confirmed = m->w[i].asks = 0;
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
