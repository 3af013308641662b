/* Plain workers send their results to whoever is connected at that moment, and never again. So they
 * get nothing until their results side is there and the collectors have had time to connect to it.
 *
 * The publisher connects to the results side as collectors do, but subscribes to nothing. Once that
 * succeeds, a collector that tries again each zeromq.reconnect_max is connected within the quiet
 * time that follows. */
#include <inttypes.h>

#include "common/life.h"
#include "publish/post.h"
#include "tasker/bus.h"

enum { LOOK_MOST_MS = 2000 }; /* results may go elsewhere, to an endpoint that is not known here */

/* Connects to the results side. Returns false if it cannot. */
static bool open_side(struct post *post, int64_t now)
{
    struct tsk_err err;
    bool worker_binds = tsk_conf_int(post->conf, TSK_ZEROMQ_RESULT_BIND) == 0;
    enum tsk_side side = worker_binds ? TSK_RECEIVER : TSK_SENDER;
    post->results.bus = tsk_bus_open_at(post->conf, TSK_RESULTS, side, false,
                                        tsk_conf_str(post->conf, TSK_ZEROMQ_RESULT_ENDPOINT), &err);
    if (!post->results.bus) {
        diag_warn("plain subscribers get batches, and their results may be lost: %s", err.text);
        return false;
    }
    post->results.since = now;
    life_watch(post->results.bus, post->poller, NULL);
    return true;
}

void results_side_close(struct post *post)
{
    int fd = post->results.bus ? tsk_bus_life_fd(post->results.bus) : -1;
    if (fd >= 0)
        tsk_poller_set(post->poller, fd, 0, NULL);
    tsk_bus_close(post->results.bus);
    post->results.bus = NULL;
}

void results_side_look(struct post *post, int64_t now)
{
    struct results_side *side = &post->results;
    size_t plain = tsk_dispatch_plain(post->dispatch);
    if (side->plain > plain)
        side->plain = plain;
    if (plain == side->plain || !tsk_dispatch_serves_plain(post->dispatch))
        return;
    if (side->bus || open_side(post, now)) {
        life_tell(side->bus);
        tsk_dispatch_hold_plain(post->dispatch, now + POST_QUIET_MS);
        bool there = tsk_bus_connected(side->bus, plain);
        if (!there && now - side->since < tsk_earlier(LOOK_MOST_MS, post->wait))
            return;
        if (!there)
            diag_warn("nothing listens at %s after %" PRId64 " ms: the results of plain "
                      "subscribers may be lost",
                      tsk_bus_endpoint(side->bus), now - side->since);
    }
    results_side_close(post);
    side->plain = plain;
}
