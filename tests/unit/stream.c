/* The receiving half of the stream: each rule by itself. The random model is in stream_model.c. */
#include "check.h"
#include "collect/stream.h"

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
    CHECK_INT(tsk_stream_status(s, "w", 0, 1, 0, 0), 0);
    CHECK_INT(asked(s, 0), -1);
    CHECK_INT(tsk_stream_status(s, "w", 3, 1, 0, 1), 0); /* ahead of us */
    CHECK_INT(asked(s, 1), 0);
    message(s, 1, 2);
    CHECK_INT(tsk_stream_status(s, "w", 9, 5, 0, 3), 3); /* 2, 3 and 4 are held no more */
    CHECK_INT(tsk_stream_stats(s)->lost, 3);
    CHECK_INT(message(s, 5, 4), TSK_STREAM_DELIVER);
    CHECK_INT(tsk_stream_status(s, "w", 9, 5, 0, 5), 0);
    CHECK_INT(tsk_stream_status(s, "w", 9, 10, 0, 6), 4);
    CHECK_INT(tsk_stream_deadline(s), -1);
    tsk_stream_free(s);
}

static void test_late_start(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    CHECK_INT(message(s, 8, 0), TSK_STREAM_GAP);
    CHECK_INT(asked(s, 0), 0);
    CHECK_INT(message(s, 5, 1), TSK_STREAM_GAP); /* of the replay; the status is what tells */
    CHECK_INT(tsk_stream_status(s, "w", 8, 5, 0, 2), 0);
    CHECK_INT(message(s, 5, 3), TSK_STREAM_DELIVER);
    CHECK_INT(confirmed(s), 5);
    CHECK_INT(tsk_stream_stats(s)->lost, 0);
    tsk_stream_free(s);

    s = tsk_stream_new(4);
    CHECK_INT(tsk_stream_status(s, "w", 9, 3, 7, 0), 0); /* begin at 7, though 3 to 6 are held */
    CHECK_INT(message(s, 7, 1), TSK_STREAM_DELIVER);
    CHECK_INT(tsk_stream_status(s, "w", 9, 3, 9, 2), 0); /* once it has begun, that says nothing */
    CHECK_INT(message(s, 8, 3), TSK_STREAM_DELIVER);
    tsk_stream_free(s);

    s = tsk_stream_new(4);
    CHECK_INT(tsk_stream_status(s, "w", 100, 101, 0, 0), 0); /* it holds nothing: nothing is owed */
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
    tsk_stream_status(s, "w", 9, 10, 0, 1);
    CHECK_INT(confirmed(s), -1);
    tsk_stream_status(s, "w", 9, 3, 0, 1); /* our word was lost: it still holds them */
    CHECK_INT(confirmed(s), 9);
    CHECK_INT(confirmed(s), -1);
    tsk_stream_free(s);
}

static void test_silence(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    struct tsk_stream_order order;
    tsk_stream_status(s, "w", 5, 1, 0, 0);
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
    tsk_stream_status(s, "w", 5, 1, 0, 80000);
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
    tsk_stream_status(s, "b", 4, 1, 0, 2);
    tsk_stream_message(s, "a", 2, 3, NULL);
    tsk_stream_message(s, "c", 1, 4, NULL);
    CHECK_INT(tsk_stream_heard(s, "b"), -1);
    CHECK_INT(tsk_stream_heard(s, "a"), 3);
    CHECK_INT(tsk_stream_stats(s)->forgotten, 1);
    CHECK_INT(tsk_stream_stats(s)->owed, 4);
    CHECK_INT(tsk_stream_message(s, "a", 0, 5, NULL), TSK_STREAM_DUPLICATE);
    CHECK_INT(tsk_stream_message(s, "a", INT64_MIN, 5, NULL), TSK_STREAM_DUPLICATE);
    CHECK_INT(tsk_stream_message(s, "a", INT64_MAX, 5, NULL), TSK_STREAM_DUPLICATE);
    CHECK_INT(tsk_stream_status(s, "a", INT64_MAX, INT64_MAX, 0, 5), TSK_STREAM_OFFSET_MAX - 2);
    CHECK_INT(tsk_stream_status(s, "a", -5, INT64_MIN, 0, 5), 0);
    CHECK_INT(tsk_stream_status(s, "a", INT64_MIN, INT64_MAX, 0, 5), 0);
    tsk_stream_free(s);
    tsk_stream_free(NULL);
}

/* A peer with ever new names drives out neither who is waited for nor who has sent much; but what
 * has been silent for long goes first. */
static void test_names(void)
{
    struct tsk_stream *s = tsk_stream_new(4);
    char name[16];
    int64_t now = 1;
    tsk_stream_want(s, "wanted", now);
    CHECK_INT(tsk_stream_heard(s, "wanted"), -1);
    for (int64_t offset = 1; offset <= 3; offset++)
        CHECK_INT(tsk_stream_message(s, "busy", offset, now++, NULL), TSK_STREAM_DELIVER);
    CHECK_INT(tsk_stream_message(s, "wanted", 1, now++, NULL), TSK_STREAM_DELIVER);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        tsk_stream_message(s, name, 1, now++, NULL);
        tsk_stream_message(s, name, 2, now++, NULL);
    }
    CHECK_INT(tsk_stream_stats(s)->forgotten, 98);
    CHECK_INT(tsk_stream_message(s, "busy", 4, now, NULL), TSK_STREAM_DELIVER);
    CHECK_INT(tsk_stream_message(s, "wanted", 2, now, NULL), TSK_STREAM_DELIVER);
    now += 70000;
    tsk_stream_message(s, "n99", 3, now, NULL);
    tsk_stream_message(s, "new", 1, now, NULL); /* in the place of one of the others */
    tsk_stream_message(s, "newer", 1, now, NULL);
    tsk_stream_message(s, "newest", 1, now, NULL);
    CHECK_INT(tsk_stream_heard(s, "busy"), -1);
    CHECK_INT(tsk_stream_heard(s, "wanted"), -1);
    CHECK_INT(tsk_stream_message(s, "n99", 4, now, NULL), TSK_STREAM_DELIVER);
    tsk_stream_free(s);
}

int main(void)
{
    test_names();
    test_in_order();
    test_gap();
    test_status();
    test_late_start();
    test_confirm_again_and_hold();
    test_silence();
    test_no_replay();
    test_limits();
    return check_done();
}
