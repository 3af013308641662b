/* Rows of the ledger: the messages that collectors received, those that programs of tasker add
 * themselves, and a mark for each batch that has news by them. */
#include <stdio.h>
#include <string.h>

#include "tasker/store.h"
#include "tasker/message.h"

#define ADD                                                                                        \
    "INSERT INTO received_results (received_at, collector_id, topic, message_type, batch_id, "     \
    "step_id, source, stream_offset, raw_message, reason) "

const struct tsk_rows_sql tsk_ledger_rows = {
    ADD "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    ADD "SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], "
        "$6::bigint[], $7::text[], $8::bigint[], $9::bytea[], $10::text[]) ON CONFLICT DO NOTHING",
    "ittttitibt"};
static const char add_mark[] = "INSERT INTO unsettled (batch_id) VALUES ($1)";

enum { VALUES = 10 };

static void fill_values(struct tsk_value values[VALUES], const struct tsk_ledger_entry *entry,
                        const char *collector_id, int64_t received_at)
{
    values[0] = tsk_value_int(received_at);
    values[1] = tsk_value_text(collector_id);
    values[2] = tsk_value_text(entry->topic);
    values[3] = tsk_value_text(entry->message_type);
    values[4] = tsk_value_text(entry->batch_id);
    values[5] = tsk_value_told(entry->step_id, 0);
    values[6] = tsk_value_text(entry->source);
    values[7] = tsk_value_int(entry->offset);
    values[8] = tsk_value_bytes(entry->raw, entry->len);
    values[9] = tsk_value_text(entry->reason);
}

int tsk_ledger_insert(struct tsk_store *store, const struct tsk_ledger_entry *entry,
                      const char *collector_id, int64_t received_at, struct tsk_err *err)
{
    struct tsk_value values[VALUES];
    fill_values(values, entry, collector_id, received_at);
    if (tsk_store_kind(store) == TSK_STORE_SQLITE)
        return (int)tsk_store_run(store, tsk_ledger_rows.one, values, VALUES, NULL, NULL, err);
    return tsk_store_send(store, tsk_ledger_rows.one, values, VALUES, err) < 0 ? -1 : 1;
}

int tsk_ledger_add(struct tsk_rows *rows, const struct tsk_ledger_entry *entry,
                   const char *collector_id, int64_t received_at, struct tsk_err *err)
{
    struct tsk_value values[VALUES];
    fill_values(values, entry, collector_id, received_at);
    return tsk_rows_add(rows, values, err);
}

int tsk_ledger_mark(struct tsk_store *store, const char *batch_id, struct tsk_err *err)
{
    struct tsk_value value = tsk_value_text(batch_id);
    return tsk_store_send(store, add_mark, &value, 1, err);
}

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
