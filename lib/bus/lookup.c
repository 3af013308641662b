/* A name looked up in a thread. */
#include "bus/lookup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/apart.h"
#include "tasker/buf.h"

struct tsk_lookup {
    struct tsk_apart *apart;
    char *host, *port; /* port may be NULL */
    struct addrinfo hints;
    struct addrinfo *found;
    int result; /* of getaddrinfo, and its errno */
    int code;
    char why_not[200];
};

static void run(void *ctx)
{
    struct tsk_lookup *lookup = ctx;
    lookup->result = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &lookup->found);
    lookup->code = errno;
}

static void done(void *ctx)
{
    struct tsk_lookup *lookup = ctx;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    free(lookup->host);
    free(lookup->port);
    free(lookup);
}

struct tsk_lookup *tsk_lookup_start(const char *host, const char *port,
                                    const struct addrinfo *hints)
{
    struct tsk_lookup *lookup = tsk_alloc(sizeof *lookup);
    lookup->host = tsk_strdup(host);
    lookup->port = tsk_strdup(port);
    lookup->hints = *hints;
    lookup->apart = tsk_apart_start(run, done, lookup);
    return lookup;
}

bool tsk_lookup_wait(struct tsk_lookup *lookup, int64_t deadline)
{
    return tsk_apart_wait(lookup->apart, deadline);
}

bool tsk_lookup_unknown(const struct tsk_lookup *lookup)
{
    return !tsk_apart_failed(lookup->apart) && !lookup->found && lookup->result != EAI_AGAIN &&
           lookup->result != EAI_MEMORY && lookup->result != EAI_SYSTEM;
}

const char *tsk_lookup_why_not(struct tsk_lookup *lookup)
{
    char *why = lookup->why_not, text[100];
    int code = tsk_apart_failed(lookup->apart);
    if (lookup->found)
        return NULL;
    if (!code && lookup->result == EAI_SYSTEM)
        code = lookup->code;
    if (code)
        strerror_r(code, text, sizeof text);
    if (tsk_apart_failed(lookup->apart))
        snprintf(why, sizeof lookup->why_not,
                 "cannot be looked up: no thread can start (%s); see ulimit -u", text);
    else if (code)
        snprintf(why, sizeof lookup->why_not, "cannot be looked up: %s", text);
    else
        snprintf(why, sizeof lookup->why_not, "%s: %s",
                 tsk_lookup_unknown(lookup) ? "is not known" : "cannot be looked up now",
                 gai_strerror(lookup->result));
    return why;
}

const struct addrinfo *tsk_lookup_found(const struct tsk_lookup *lookup)
{
    return lookup->found;
}

void tsk_lookup_end(struct tsk_lookup *lookup)
{
    if (lookup)
        tsk_apart_end(lookup->apart);
}
