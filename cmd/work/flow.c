/* How much may wait in the sockets. libzmq keeps a queue for each peer that is bounded by a number
 * of messages alone, so that one peer which takes nothing (stopped, hung, a cable cut) could hold
 * any amount of memory. So what waits there is bounded in bytes: while it is too much, results stay
 * in the outbox, for all peers; if it then does not get less, the peers that take nothing are cut
 * off. A collector that comes again asks for what it has missed; a plain subscriber would have
 * missed it at the mark as well. */
#include "common/diag.h"
#include "work/work.h"

#define SHARE 8         /* so much of outbox_max_bytes may wait there */
#define LOOK_MS 2       /* between two looks at whether it got less */
#define PATIENCE_MS 500 /* so long it may stay as much */
#define CUT_MS 200      /* after a cut: the time that libzmq has to forget */

void flow_init(struct flow *flow, const struct tsk_conf *conf)
{
    int64_t max_bytes = tsk_conf_int(conf, TSK_ZEROMQ_OUTBOX_MAX_BYTES);
    *flow = (struct flow){.room = max_bytes / SHARE, .unsent_most = max_bytes / 2, .look_at = -1};
}

bool flow_is_full(struct work *work)
{
    struct flow *flow = &work->flow;
    int64_t bytes = tsk_bus_backlog(work->results);
    flow->unbounded = flow->unbounded && bytes > flow->room;
    if (bytes <= flow->room || flow->unbounded) {
        flow->look_at = -1;
        return false;
    }
    if (flow->look_at < 0) {
        flow->bytes = bytes;
        flow->cut_at = tsk_now_ms() + PATIENCE_MS;
    }
    flow->look_at = tsk_now_ms() + LOOK_MS;
    return true;
}

static void cut(struct work *work, int64_t now)
{
    struct flow *flow = &work->flow;
    size_t count = tsk_bus_cut(work->results);
    if (count)
        diag_warn("results: %zu %s nothing and %s disconnected: %lld bytes waited for %s", count,
                  count == 1 ? "subscriber takes" : "subscribers take", count == 1 ? "is" : "are",
                  (long long)flow->bytes, count == 1 ? "it" : "them");
    else
        diag_info("results: %lld bytes wait, and it cannot be told for whom",
                  (long long)flow->bytes);
    flow->unbounded = !count; /* rather that than to send nothing any more */
    flow->cut_at = now + CUT_MS;
    flow->crowded_at = flow->cut_at;
}

bool flow_look(struct work *work, int64_t unsent, int64_t now)
{
    struct flow *flow = &work->flow;
    if (flow->look_at < 0)
        return true;
    if (now < flow->look_at)
        return false;
    if (!flow_is_full(work))
        return true;
    int64_t bytes = tsk_bus_backlog(work->results);
    bool crowded = unsent > flow->unsent_most && now >= flow->crowded_at;
    if (bytes < flow->bytes) {
        flow->bytes = bytes;
        flow->cut_at = now + PATIENCE_MS;
    }
    if (crowded || now >= flow->cut_at)
        cut(work, now);
    return !flow_is_full(work);
}
