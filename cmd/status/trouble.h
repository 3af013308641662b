/* What has failed, and of what nothing is heard, counted. */
#ifndef STATUS_TROUBLE_H
#define STATUS_TROUBLE_H

#include "status/status.h"
#include "tasker/store.h"

/* Calls each for each group of errors, most first, in the transaction that is open. Returns 0, or
 * -1 with err. */
int errors_count(struct tsk_store *store, const struct options *opts,
                 void (*each)(const char *of, const char *category, const char *handler,
                              int64_t count),
                 struct tsk_err *err);

/* As errors_count, for each kind of orphan. */
int orphans_count(struct tsk_store *store, const struct options *opts,
                  void (*each)(const char *kind, int64_t count), struct tsk_err *err);

#endif
