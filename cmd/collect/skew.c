/* Clocks of workers and of this machine. A status tells when its worker wrote it. One that seems to
 * come from the future is written by a clock that is ahead; one that seems to be late may have
 * waited, so the least delay of several counts. */
#include "collect/skew.h"

#include <stdlib.h>

#include "common/diag.h"
#include "tasker/buf.h"
#include "tasker/clock.h"
#include "tasker/map.h"

enum { SKEW_MS = 1000, SAMPLES = 3, SOURCES_MOST = 1000 };

struct source {
    int samples;
    int64_t least; /* ms from when it was written to now */
    bool told;
};

static void tell(const char *worker, int64_t ahead)
{
    int64_t size = ahead < 0 ? -ahead : ahead;
    diag_warn("the clock of worker %s is %lld.%lld s %s this one: times and back-offs differ by "
              "that; set both by NTP",
              worker, (long long)(size / 1000), (long long)(size % 1000 / 100),
              ahead < 0 ? "behind" : "ahead of");
}

void skew_status(struct tsk_map *skews, const char *source, struct json_object *message)
{
    const char *text = tsk_json_str(message, "timestamp");
    const char *worker = tsk_json_str(message, "worker_id");
    int64_t written;
    struct source *s = tsk_map_get(skews, source);
    if ((s && s->told) || !text || tsk_time_parse(text, &written) < 0)
        return;
    if (!s) {
        if (tsk_map_count(skews) >= SOURCES_MOST)
            tsk_map_remove(skews, tsk_map_key(tsk_map_first(skews)));
        s = tsk_alloc(sizeof *s);
        tsk_map_put(skews, source, s);
    }
    int64_t delay = tsk_wall_ms() - written;
    if (!s->samples++ || delay < s->least)
        s->least = delay;
    if (s->least >= -SKEW_MS && (s->samples < SAMPLES || s->least <= SKEW_MS))
        return;
    s->told = true;
    tell(worker ? worker : source, -s->least);
}
