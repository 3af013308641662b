/* Loaded before a program (LD_PRELOAD): adds each statement that it prepares in SQLite to the file
 * $SQL_LOG, with a null byte behind it, in one write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sqlite3;
struct sqlite3_stmt;
typedef int prepare_fn(struct sqlite3 *, const char *, int, unsigned, struct sqlite3_stmt **,
                       const char **);
prepare_fn sqlite3_prepare_v3;

int sqlite3_prepare_v3(struct sqlite3 *db, const char *sql, int len, unsigned flags,
                       struct sqlite3_stmt **stmt, const char **rest)
{
    prepare_fn *real = NULL;
    void *symbol = dlsym(RTLD_NEXT, "sqlite3_prepare_v3");
    memcpy(&real, &symbol, sizeof real);
    int fd = open(getenv("SQL_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, sql, strlen(sql) + 1) < 0)
        abort();
    close(fd);
    return real(db, sql, len, flags, stmt, rest);
}
