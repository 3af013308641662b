/* What programs of tasker put into the ledger themselves: a batch_error at a place that it has by
 * its source and offset, so that it is there once, whoever puts it there and how often. */
#include <stdio.h>
#include <string.h>

#include "tasker/ledger.h"
#include "tasker/message.h"

int tsk_ledger_put_own(struct tsk_store *store, const struct tsk_ledger_own *own,
                       int64_t received_at, struct tsk_err *err)
{
    char source[TSK_ID_SIZE * 2], program[TSK_ID_SIZE];
    snprintf(source, sizeof source, "%s%s", own->source, own->batch_id);
    snprintf(program, sizeof program, "%.*s", (int)strcspn(own->source, ":"), own->source);
    struct tsk_ledger_entry entry = {.topic = tsk_type_name(TSK_TYPE_ERROR),
                                     .raw = own->text,
                                     .len = own->len,
                                     .message_type = tsk_type_name(TSK_TYPE_ERROR),
                                     .batch_id = own->batch_id,
                                     .source = source,
                                     .offset = own->offset};
    if (tsk_ledger_insert(store, &entry, program, received_at, err) < 0)
        return -1;
    return tsk_ledger_mark(store, own->batch_id, err);
}
