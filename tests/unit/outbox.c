/* The outbox: offsets, limits, confirmation by several collectors, replay. The time is made up. */
#include "work/outbox.h"

#include <stdlib.h>

#include "check.h"

static const char TOPIC[] = "partial_result";

static void add(struct tsk_outbox *outbox, int count, int64_t now)
{
    for (int i = 0; i < count; i++) {
        char body[32];
        int len = snprintf(body, sizeof body, "body %lld", (long long)tsk_outbox_next(outbox));
        tsk_outbox_add(outbox, TOPIC, body, (size_t)len, now);
    }
}

/* Whether what is held under offset is what add() put there. */
static bool holds(const struct tsk_outbox *outbox, int64_t offset)
{
    struct tsk_outbox_entry entry;
    char body[32];
    int len = snprintf(body, sizeof body, "body %lld", (long long)offset);
    return tsk_outbox_get(outbox, offset, &entry) && !strcmp(entry.topic, TOPIC) &&
           entry.len == (size_t)len && !memcmp(entry.body, body, entry.len);
}

static void check_marks(const struct tsk_outbox *outbox, int64_t oldest, int64_t unconfirmed,
                        int64_t next, int64_t lost, int line)
{
    check_int(tsk_outbox_oldest(outbox), oldest, "outbox.c: oldest", line);
    check_int(tsk_outbox_unconfirmed(outbox), unconfirmed, "outbox.c: unconfirmed", line);
    check_int(tsk_outbox_next(outbox), next, "outbox.c: next", line);
    check_int(tsk_outbox_lost(outbox), lost, "outbox.c: lost", line);
}
#define MARKS(outbox, ...) check_marks(outbox, __VA_ARGS__, __LINE__)

static void test_empty(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(10, 1000, 1000);
    struct tsk_outbox_entry entry;
    MARKS(outbox, 1, 1, 1, 0);
    CHECK(!tsk_outbox_get(outbox, 0, &entry));
    CHECK(!tsk_outbox_get(outbox, 1, &entry));
    CHECK(!tsk_outbox_get(outbox, -1, &entry));
    tsk_outbox_expire(outbox, 1000000);
    MARKS(outbox, 1, 1, 1, 0);
    tsk_outbox_free(outbox);
    tsk_outbox_free(NULL);
}

static void test_kept_in_order(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(100000, 1 << 30, 1000000);
    add(outbox, 5000, 0); /* the ring grows some times */
    for (int64_t o = 1; o <= 5000; o++) {
        if (!CHECK(holds(outbox, o)))
            break;
    }
    CHECK(!holds(outbox, 5001));
    MARKS(outbox, 1, 1, 5001, 0);
    tsk_outbox_free(outbox);
}

static void test_grows_after_it_has_moved(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(50, 1 << 30, 1000000);
    add(outbox, 120, 0); /* the ring of 64 has been gone round */
    MARKS(outbox, 71, 71, 121, 70);
    for (int64_t o = 71; o <= 120; o++)
        CHECK(holds(outbox, o));
    CHECK(!holds(outbox, 70));
    tsk_outbox_free(outbox);
    outbox = tsk_outbox_new(1000, 1 << 30, 1000000);
    add(outbox, 40, 0);
    tsk_outbox_join(outbox, "a");
    tsk_outbox_confirm(outbox, "a", 40);
    tsk_outbox_expire(outbox, TSK_OUTBOX_KEEP_MS + 1);
    add(outbox, 200, 0); /* grows while its beginning is in the middle of the ring */
    for (int64_t o = 41; o <= 240; o++)
        CHECK(holds(outbox, o));
    MARKS(outbox, 41, 41, 241, 0);
    tsk_outbox_free(outbox);
}

static void test_limits(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(3, 1000, 1000);
    add(outbox, 5, 0);
    MARKS(outbox, 3, 3, 6, 2);
    tsk_outbox_free(outbox);
    outbox = tsk_outbox_new(100, 20, 1000); /* "body N" has 6 bytes */
    add(outbox, 5, 0);
    MARKS(outbox, 3, 3, 6, 2);
    char large[64] = "";
    tsk_outbox_add(outbox, TOPIC, large, sizeof large, 0); /* the newest is always held */
    MARKS(outbox, 6, 6, 7, 5);
    struct tsk_outbox_entry entry;
    CHECK(tsk_outbox_get(outbox, 6, &entry) && entry.len == sizeof large);
    add(outbox, 1, 0);
    MARKS(outbox, 7, 7, 8, 6);
    tsk_outbox_free(outbox);
}

static void test_age(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(100, 1000, 500);
    add(outbox, 2, 0);
    add(outbox, 2, 300);
    tsk_outbox_expire(outbox, 500); /* not older than the limit */
    MARKS(outbox, 1, 1, 5, 0);
    tsk_outbox_expire(outbox, 501);
    MARKS(outbox, 3, 3, 5, 2);
    tsk_outbox_expire(outbox, 100000);
    MARKS(outbox, 5, 5, 5, 4);
    tsk_outbox_free(outbox);
}

static void test_confirmed(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(100, 1000, 1000000);
    add(outbox, 5, 0);
    CHECK_INT(tsk_outbox_confirmed(outbox, "a"), -1);
    tsk_outbox_confirm(outbox, "a", 3); /* nobody we know */
    MARKS(outbox, 1, 1, 6, 0);
    tsk_outbox_join(outbox, "a");
    CHECK_INT(tsk_outbox_confirmed(outbox, "a"), 0);
    tsk_outbox_confirm(outbox, "a", 3);
    tsk_outbox_confirm(outbox, "a", 2);  /* older */
    tsk_outbox_confirm(outbox, "a", 6);  /* never sent */
    tsk_outbox_confirm(outbox, "a", -1); /* nonsense */
    tsk_outbox_confirm(outbox, "a", INT64_MAX);
    CHECK_INT(tsk_outbox_confirmed(outbox, "a"), 3);
    MARKS(outbox, 1, 4, 6, 0);
    CHECK(holds(outbox, 1)); /* still there for one that comes late */
    tsk_outbox_expire(outbox, TSK_OUTBOX_KEEP_MS);
    MARKS(outbox, 1, 4, 6, 0);
    tsk_outbox_expire(outbox, TSK_OUTBOX_KEEP_MS + 1);
    MARKS(outbox, 4, 4, 6, 0);
    CHECK(!holds(outbox, 3) && holds(outbox, 4));
    tsk_outbox_confirm(outbox, "a", 5);
    tsk_outbox_expire(outbox, TSK_OUTBOX_KEEP_MS + 1);
    MARKS(outbox, 6, 6, 6, 0);
    tsk_outbox_free(outbox);
}

static void test_the_slowest_counts(void)
{
    int64_t later = TSK_OUTBOX_KEEP_MS + 1;
    struct tsk_outbox *outbox = tsk_outbox_new(100, 1000, 1000000);
    add(outbox, 4, 0);
    tsk_outbox_join(outbox, "a");
    tsk_outbox_join(outbox, "b");
    CHECK_INT(tsk_outbox_collectors(outbox), 2);
    tsk_outbox_confirm(outbox, "a", 4);
    MARKS(outbox, 1, 1, 5, 0);
    tsk_outbox_confirm(outbox, "b", 2);
    MARKS(outbox, 1, 3, 5, 0);
    tsk_outbox_expire(outbox, later);
    MARKS(outbox, 3, 3, 5, 0);
    tsk_outbox_leave(outbox, "nobody");
    tsk_outbox_leave(outbox, "b"); /* one that is gone is not waited for */
    MARKS(outbox, 3, 5, 5, 0);
    tsk_outbox_join(outbox, "c"); /* a late one gets what there is, and holds it until it has it */
    CHECK_INT(tsk_outbox_confirmed(outbox, "c"), 2);
    tsk_outbox_expire(outbox, later);
    MARKS(outbox, 3, 5, 5, 0);
    tsk_outbox_confirm(outbox, "c", 4);
    tsk_outbox_expire(outbox, later);
    MARKS(outbox, 5, 5, 5, 0);
    tsk_outbox_free(outbox);
}

static void test_nobody_there(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(100, 1000, 1000000);
    add(outbox, 2, 0);
    tsk_outbox_join(outbox, "a");
    tsk_outbox_confirm(outbox, "a", 1);
    tsk_outbox_leave(outbox, "a");
    CHECK_INT(tsk_outbox_collectors(outbox), 0);
    tsk_outbox_expire(outbox, TSK_OUTBOX_KEEP_MS + 1);
    MARKS(outbox, 2, 2, 3, 0); /* what had been confirmed goes, the rest waits */
    tsk_outbox_expire(outbox, 1000001);
    MARKS(outbox, 3, 3, 3, 1);
    tsk_outbox_free(outbox);
}

static void test_twice_there(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(100, 1000, 1000000);
    add(outbox, 3, 0);
    tsk_outbox_join(outbox, "a");
    tsk_outbox_confirm(outbox, "a", 2);
    tsk_outbox_join(outbox, "a"); /* its new connection */
    CHECK_INT(tsk_outbox_confirmed(outbox, "a"), 2);
    CHECK_INT(tsk_outbox_collectors(outbox), 1);
    tsk_outbox_leave(outbox, "a"); /* its old one */
    tsk_outbox_confirm(outbox, "a", 3);
    MARKS(outbox, 1, 4, 4, 0);
    tsk_outbox_leave(outbox, "a");
    CHECK_INT(tsk_outbox_collectors(outbox), 0);
    CHECK_INT(tsk_outbox_confirmed(outbox, "a"), -1);
    tsk_outbox_free(outbox);
}

static void test_lost_is_what_nobody_had(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(4, 1000, 1000000);
    tsk_outbox_join(outbox, "a");
    add(outbox, 4, 0);
    tsk_outbox_confirm(outbox, "a", 3);
    add(outbox, 3, 0);
    MARKS(outbox, 4, 4, 8, 0);
    add(outbox, 1, 0);
    MARKS(outbox, 5, 5, 9, 1);
    tsk_outbox_free(outbox);
}

static void test_bytes_from(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(100, 20, 1000);
    CHECK_INT(tsk_outbox_bytes(outbox, 1), 0);
    add(outbox, 3, 0); /* of 6 bytes each */
    CHECK_INT(tsk_outbox_bytes(outbox, 1), 18);
    CHECK_INT(tsk_outbox_bytes(outbox, 3), 6);
    CHECK_INT(tsk_outbox_bytes(outbox, 4), 0);
    add(outbox, 2, 0);
    CHECK_INT(tsk_outbox_bytes(outbox, 1), 18); /* two are forgotten */
    CHECK_INT(tsk_outbox_bytes(outbox, 3), 18);
    CHECK_INT(tsk_outbox_bytes(outbox, 4), 12);
    tsk_outbox_free(outbox);
}

/* What somebody else holds outlives the outbox, and is the message as it goes over the wire. */
static void test_held_elsewhere(void)
{
    struct tsk_outbox *outbox = tsk_outbox_new(1, 1000, 1000);
    struct tsk_outbox_entry entry;
    size_t len;
    add(outbox, 1, 0);
    CHECK(tsk_outbox_get(outbox, 1, &entry));
    struct tsk_blob *blob = entry.blob;
    tsk_blob_hold(blob);
    add(outbox, 1, 0); /* the first is forgotten */
    tsk_outbox_free(outbox);
    CHECK_STR(tsk_blob_data(blob, &len), "partial_result body 1");
    CHECK_INT(len, strlen("partial_result body 1"));
    CHECK_STR(tsk_blob_body(blob, &len), "body 1");
    CHECK_INT(len, 6);
    CHECK(tsk_blob_of(tsk_blob_data(blob, &len)) == blob);
    tsk_blob_release(blob);
    blob = tsk_blob_new("", "body", 4);
    CHECK_STR(tsk_blob_data(blob, &len), "body");
    CHECK_STR(tsk_blob_body(blob, &len), "body");
    tsk_blob_release(blob);
    tsk_blob_release(NULL);
}

int main(void)
{
    test_empty();
    test_bytes_from();
    test_held_elsewhere();
    test_kept_in_order();
    test_grows_after_it_has_moved();
    test_limits();
    test_age();
    test_confirmed();
    test_the_slowest_counts();
    test_nobody_there();
    test_twice_there();
    test_lost_is_what_nobody_had();
    return check_done();
}
