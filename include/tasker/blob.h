/* A message as it goes over the wire, "TOPIC BODY", with a count of those who hold it: what keeps
 * it to send it again, and each queue of libzmq that it stands in, whose threads let go of it
 * whenever they like. So it is in memory once, however many hold it. */
#ifndef TASKER_BLOB_H
#define TASKER_BLOB_H

#include <stdbool.h>
#include <stddef.h>

struct tsk_blob;

/* Returns a copy of topic, a space (none after an empty topic) and body, held once. A NUL follows
 * that is not counted. */
struct tsk_blob *tsk_blob_new(const char *topic, const char *body, size_t len);

/* One more holds it, or one less; with the last it is freed. Any thread may call these. NULL is
 * fine for the second. */
void tsk_blob_hold(struct tsk_blob *blob);
void tsk_blob_release(struct tsk_blob *blob);

/* Returns whether more than one holds it. */
bool tsk_blob_shared(const struct tsk_blob *blob);

/* The whole; and the body in it, to the end of the whole. Borrowed. */
char *tsk_blob_data(struct tsk_blob *blob, size_t *len);
const char *tsk_blob_body(const struct tsk_blob *blob, size_t *len);

/* The blob whose tsk_blob_data is data. */
struct tsk_blob *tsk_blob_of(void *data);

#endif
