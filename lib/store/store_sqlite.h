/* Private to lib/store_sqlite*.c: the place of a store. */
#ifndef LIB_STORE_SQLITE_H
#define LIB_STORE_SQLITE_H

#include "store/store_ops.h"

/* Makes the folders above path that are missing, for this user alone. Returns 0, or -1 with err. */
int tsk_sqlite_make_folders(const char *path, struct tsk_err *err);

/* Whether what is at path, if anything, can be a store at all; make: it need not be there. Returns
 * 0, or -1 with err. */
int tsk_sqlite_check_path(const char *path, bool make, struct tsk_err *err);

/* Says that the file system on which path is, or would be, is mounted read-only; NULL: it is not.
 */
const char *tsk_sqlite_read_only(const char *path);

#endif
