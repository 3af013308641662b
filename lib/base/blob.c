/* One allocation: the count, the lengths, the text. */
#include "tasker/buf.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>


struct tsk_blob {
    atomic_size_t holders;
    size_t len, head; /* of the whole, and of what stands before the body */
    char data[];
};

struct tsk_blob *tsk_blob_new(const char *topic, const char *body, size_t len)
{
    size_t topic_len = strlen(topic), head = topic_len ? topic_len + 1 : 0;
    struct tsk_blob *blob = tsk_alloc_raw(sizeof *blob + head + len + 1);
    atomic_init(&blob->holders, 1);
    blob->len = head + len;
    blob->head = head;
    memcpy(blob->data, topic, topic_len);
    if (head)
        blob->data[topic_len] = ' ';
    if (len)
        memcpy(blob->data + head, body, len);
    blob->data[blob->len] = '\0';
    return blob;
}

void tsk_blob_hold(struct tsk_blob *blob)
{
    atomic_fetch_add_explicit(&blob->holders, 1, memory_order_relaxed);
}

void tsk_blob_release(struct tsk_blob *blob)
{
    if (blob && atomic_fetch_sub_explicit(&blob->holders, 1, memory_order_acq_rel) == 1)
        free(blob);
}

bool tsk_blob_shared(const struct tsk_blob *blob)
{
    return atomic_load_explicit(&blob->holders, memory_order_acquire) > 1;
}

char *tsk_blob_data(struct tsk_blob *blob, size_t *len)
{
    *len = blob->len;
    return blob->data;
}

const char *tsk_blob_body(const struct tsk_blob *blob, size_t *len)
{
    *len = blob->len - blob->head;
    return blob->data + blob->head;
}

struct tsk_blob *tsk_blob_of(void *data)
{
    return (struct tsk_blob *)((char *)data - offsetof(struct tsk_blob, data));
}
