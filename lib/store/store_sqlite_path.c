/* The place of an SQLite store: SQLite says little of what is wrong with it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "store/store_sqlite.h"
#include "tasker/buf.h"

#define DEFAULT_PATH "tasker/tasker.db"

int tsk_sqlite_make_folders(const char *path, struct tsk_err *err)
{
    char *folder = tsk_strdup(path);
    int rc = 0;
    for (char *slash = strchr(folder + 1, '/'); slash && rc == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0700) < 0 && errno != EEXIST && errno != EISDIR && errno != EROFS)
            rc = tsk_err_sys(err, TSK_UNAVAILABLE, "%s: cannot make the folder of the store",
                             folder);
        *slash = '/';
    }
    free(folder);
    return rc;
}

int tsk_sqlite_check_path(const char *path, bool make, struct tsk_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return S_ISREG(st.st_mode)
                   ? 0
                   : tsk_err_set(err, TSK_UNAVAILABLE, "%s: the store cannot be here: %s", path,
                                 S_ISDIR(st.st_mode) ? "it is a folder" : "it is not a file");
    if (errno != ENOENT)
        return tsk_err_sys(err, TSK_UNAVAILABLE, "%s: the store cannot be opened", path);
    return make
               ? 0
               : tsk_err_set(err, TSK_UNAVAILABLE,
                             "there is no store at %s yet: \"tasker-status store --init\" makes it",
                             path);
}

const char *tsk_sqlite_read_only(const char *path)
{
    char *place = tsk_strdup(path), *slash;
    struct statvfs fs;
    int rc;
    while ((rc = statvfs(*place ? place : "/", &fs)) < 0 && errno == ENOENT &&
           (slash = strrchr(place, '/')) != NULL)
        *slash = '\0';
    if (rc < 0 && errno == ENOENT)
        rc = statvfs(".", &fs);
    free(place);
    return rc == 0 && fs.f_flag & ST_RDONLY ? "its file system is read-only" : NULL;
}

char *tsk_store_sqlite_path(const char *url, struct tsk_err *err)
{
    const char *path = url[strlen("sqlite")] ? url + strlen("sqlite:") : "";
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct tsk_buf text = TSK_BUF_INIT;
    if (*path)
        return tsk_strdup(path);
    if (state && *state == '/') {
        tsk_buf_printf(&text, "%s/" DEFAULT_PATH, state);
    } else if (home && *home) {
        tsk_buf_printf(&text, "%s/.local/state/" DEFAULT_PATH, home);
    } else {
        tsk_err_set(err, TSK_CONFIG,
                    "no place for the store: neither XDG_STATE_HOME nor HOME is set; set store.url "
                    "to sqlite:PATH, to postgresql://HOST/NAME, or to none");
        return NULL;
    }
    return text.data;
}
