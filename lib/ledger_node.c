/* Messages while they wait for the store. */
#include <stdlib.h>
#include <string.h>

#include "ledger_private.h"
#include "tasker/clock.h"

/* Copies a text with its NUL to *to and moves that on. NULL stays NULL. */
static const char *copy_text(char **to, const char *text)
{
    char *copy = *to;
    if (!text)
        return NULL;
    *to = stpcpy(copy, text) + 1;
    return copy;
}

/* A reason may quote what came: only what any database takes for text is kept. */
static const char *copy_plain(char **to, const char *text)
{
    char *copy = *to;
    if (!copy_text(to, text))
        return NULL;
    for (char *c = copy; *c; c++) {
        if (*c < ' ' || *c > '~')
            *c = '?';
    }
    return copy;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

struct tsk_ledger_node *tsk_ledger_node_new(const struct tsk_ledger_entry *entry,
                                            const char *source)
{
    size_t size = sizeof(struct tsk_ledger_node) + text_size(entry->topic) + entry->len + 1 +
                  text_size(entry->message_type) + text_size(entry->batch_id) + text_size(source) +
                  text_size(entry->reason);
    struct tsk_ledger_node *node = malloc(size);
    if (!node)
        abort(); /* out of memory: see buf.h */
    char *to = (char *)(node + 1);
    node->next = NULL;
    node->size = size;
    node->received_at = tsk_wall_ms();
    node->entry = *entry;
    node->entry.topic = copy_plain(&to, entry->topic);
    node->entry.message_type = copy_text(&to, entry->message_type);
    node->entry.batch_id = copy_text(&to, entry->batch_id);
    node->entry.source = copy_text(&to, source);
    node->entry.reason = copy_plain(&to, entry->reason);
    node->entry.raw = memcpy(to, entry->raw, entry->len);
    to[entry->len] = '\0';
    return node;
}
