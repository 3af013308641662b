/* What another collector has put into the ledger of a batch that is waited for here in vain: its
 * worker may have forgotten it since, or be gone. It is printed as if it came now, but only what
 * tells something new: what came of a step up to its end, the completion, an error.
 *
 * And the batches that are open in the store when a service starts: an earlier collector waited for
 * them, and nobody would notice that their worker has died. */
#include "collect/collect.h"

#include <string.h>

#include "collect/keep.h"
#include "common/diag.h"
#include "tasker/parse.h"

struct look {
    struct collect *c;
    const struct tsk_ledger_found *found;
    bool cut; /* it is beyond a limit, and this is what is within */
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
    if (batches_recorded(look->c->batches, result.batch_id)) { /* an earlier collector printed it */
        batches_note(look->c->batches, &result, look->c->now);
        return 0;
    }
    if (changed || look->cut || memchr(data, '\n', len))
        data = tsk_json_text(message, &len);
    collect_print(look->c, &result, data, len);
    look->printed++;
    return 0;
}

/* Waits for a batch that an earlier collector waited for, as if its receipt came now. */
static void take_open(struct collect *c, const struct tsk_ledger_found *found)
{
    struct tsk_line line = {.file = tsk_ledger_name(c->ledger)};
    struct tsk_err err;
    struct json_object *receipt = tsk_json_object(c->parser, found->raw, found->len, &err);
    const char *source = tsk_json_str(receipt, "source");
    if (receipt && !batches_record(c->batches, receipt, c->now) && tsk_name_valid(source)) {
        tsk_stream_want(c->stream, source, c->now);
        endpoints_receipt(c, receipt, &line);
    }
    json_object_put(receipt);
}

static void take_all_open(struct collect *c, const struct tsk_ledger_entry *entry)
{
    for (size_t i = 0; i < entry->found_count; i++)
        take_open(c, &entry->found[i]);
    if (entry->found_count)
        diag_info("%zu batch%s open in the store", entry->found_count,
                  entry->found_count == 1 ? " is" : "es are");
}

void keep_found(struct collect *c, const struct tsk_ledger_entry *entry)
{
    if (!entry->batch_id) {
        take_all_open(c, entry);
        return;
    }
    struct look look = {c, NULL, false, 0};
    for (size_t i = 0; i < entry->found_count; i++) {
        struct tsk_err err = TSK_ERR_INIT;
        look.found = &entry->found[i];
        struct json_object *message =
            tsk_json_salvage(c->parser, look.found->raw, look.found->len, &err);
        look.cut = err.kind != TSK_OK;
        if (message)
            tsk_result_normalise(look.found->topic, message, take_found, &look, NULL);
        json_object_put(message);
    }
    if (look.printed)
        diag_info("batch %s: %lld result%s from the store", entry->batch_id,
                  (long long)look.printed, tsk_plural(look.printed));
    batches_give_up(c->batches, entry->batch_id, report_due, c);
}
