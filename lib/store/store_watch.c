/* Being woken by the store. SQLite has nothing of the kind between processes, but every commit
 * writes the file or its write-ahead log: so the folder is watched. Writes of our own wake us too,
 * once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store_ops.h"
#include "tasker/buf.h"
#include "tasker/os.h"

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int watch_file(struct tsk_store *store, struct tsk_err *err)
{
    const char *path = store->opts.url, *base = base_of(path);
    char *folder = tsk_strdup(base == path ? "." : path);
    if (base != path)
        folder[base - path > 1 ? base - path - 1 : 1] = '\0';
    int fd = tsk_os_watch(folder);
    if (fd < 0 && errno == ENOSYS)
        tsk_err_set(err, TSK_OK, "this system cannot tell when a file changes");
    else if (fd < 0)
        tsk_err_sys(err, TSK_UNAVAILABLE, "%s: cannot be watched", folder);
    free(folder);
    return fd;
}

int tsk_store_watch(struct tsk_store *store, struct tsk_err *err)
{
    if (tsk_store_connect(store, err) < 0)
        return -1;
    if (store->ops->watch)
        return store->ops->watch(store->db, err);
    if (store->watch < 0)
        store->watch = watch_file(store, err);
    return store->watch;
}

bool tsk_store_watch_read(struct tsk_store *store)
{
    if (store->ops->watch_read)
        return !store->db || store->ops->watch_read(store->db);
    return store->watch >= 0 && tsk_os_watch_read(store->watch, base_of(store->opts.url));
}

int tsk_store_notify(struct tsk_store *store, struct tsk_err *err)
{
    static const char sql[] = "SELECT pg_notify('tasker', '')";
    if (!store->ops->watch)
        return 0;
    return tsk_store_run(store, sql, NULL, 0, NULL, NULL, err) < 0 ? -1 : 0;
}
