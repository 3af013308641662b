/* The store, open for what an operator does. */
#ifndef RESOLVE_SESSION_H
#define RESOLVE_SESSION_H

#include "resolve/resolve.h"

struct session {
    struct tsk_store *store;
    struct tsk_settler *settler;
    int64_t patience;
    bool dry;
};

/* Returns TSK_OK, or the status to end with. session_close is to be called in either case. */
enum tsk_exit session_open(struct session *session, const struct options *opts,
                           const struct tsk_conf *conf);
void session_close(struct session *session);

/* Does fn in a transaction, of reading alone where nothing is to be changed. */
int session_do(struct session *session, tsk_store_fn *fn, void *ctx, struct tsk_err *err);

#endif
