#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "store/store_postgresql.h"

#define LIBPQ "libpq.so.5" /* the interface of PostgreSQL 8.2 and later; pipelines since 14 */

struct tsk_pq tsk_pq;

static char why_not[256]; /* it could not be loaded; "": it could */

static void load(void)
{
    static const struct {
        const char *name;
        void *at; /* a pointer to a function */
    } functions[] = {
#define ENTRY(name) {"PQ" #name, &tsk_pq.name},
        TSK_PQ_FUNCTIONS(ENTRY)
#undef ENTRY
    };
    void *lib = dlopen(LIBPQ, RTLD_LAZY | RTLD_LOCAL);
    for (size_t i = 0; lib && i < sizeof functions / sizeof *functions; i++) {
        void *found = dlsym(lib, functions[i].name);
        if (!found)
            lib = NULL;
        *(void **)functions[i].at = found;
    }
    if (!lib)
        snprintf(why_not, sizeof why_not, "%s", dlerror());
}

int tsk_pg_load(struct tsk_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return *why_not ? tsk_err_set(err, TSK_UNAVAILABLE,
                                  "a store in PostgreSQL needs its library libpq: %s", why_not)
                    : 0;
}
