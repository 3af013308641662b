/* What another collector has put into the ledger of a batch that is waited for here in vain: its
 * worker may have forgotten it since, or be gone. It is printed as if it came now, but only what
 * tells something new: what came of a step up to its end, the completion, an error. */
#include "collect/collect.h"

#include <string.h>

#include "collect/keep.h"
#include "common/diag.h"

struct look {
    struct collect *c;
    const struct tsk_ledger_found *found;
    int64_t printed;
};

static int take_found(void *ctx, enum tsk_type type, struct json_object *message, bool changed)
{
    struct look *look = ctx;
    const char *data = look->found->raw;
    size_t len = look->found->len;
    struct result result = result_read(type, message);
    if (type == TSK_TYPE_WORKER || !batches_lack(look->c->batches, &result))
        return 0;
    if (changed || memchr(data, '\n', len))
        data = tsk_json_text(message, &len);
    collect_print(look->c, &result, data, len);
    look->printed++;
    return 0;
}

void keep_found(struct collect *c, const struct tsk_ledger_entry *entry)
{
    struct look look = {c, NULL, 0};
    struct tsk_err err;
    for (size_t i = 0; i < entry->found_count; i++) {
        look.found = &entry->found[i];
        struct json_object *message =
            tsk_json_object(c->parser, look.found->raw, look.found->len, &err);
        if (message)
            tsk_result_normalise(look.found->topic, message, take_found, &look, &err);
        json_object_put(message);
    }
    if (look.printed)
        diag_info("batch %s: %lld result%s from the store", entry->batch_id,
                  (long long)look.printed, tsk_plural(look.printed));
    batches_give_up(c->batches, entry->batch_id, report_due, c);
}
