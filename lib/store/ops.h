/* What a back end does. All fail with -1 and err, of the kinds that
 * tsk_store_connect tells. */
#ifndef STORE_OPS_H
#define STORE_OPS_H

#include "tasker/store.h"

struct tsk_store_db; /* a connection; each back end has its own */

struct tsk_store_opts {
    const char *url;    /* of this back end; borrowed for as long as the store lives */
    bool make;          /* what is missing may be made; else it is only looked at */
    bool had;           /* it was there before: what is missing now was taken away */
    int64_t timeout_ms; /* for a connection, for an answer */
    int64_t lock_ms;    /* for another's lock */
    int stop_fd;        /* or -1 */
};

struct tsk_store_ops {
    enum tsk_store_kind kind;
    /* What stands for the words between @ in config/schema: pairs, up to one of NULL. */
    const char *const (*words)[2];
    /* Connects. Returns it, or NULL. */
    struct tsk_store_db *(*open)(const struct tsk_store_opts *opts, struct tsk_err *err);
    void (*close)(struct tsk_store_db *db);
    int (*begin)(struct tsk_store_db *db, bool write, struct tsk_err *err);
    int (*commit)(struct tsk_store_db *db, struct tsk_err *err);
    void (*rollback)(struct tsk_store_db *db);
    /* Whether it is of no use any more and must be closed; asked between transactions,
     * and of a commit that failed. */
    bool (*broken)(struct tsk_store_db *db);
    int64_t (*run)(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
                   size_t count, tsk_row_fn *row, void *ctx, struct tsk_err *err);
    int (*send)(struct tsk_store_db *db, const char *sql, const struct tsk_value *values,
                size_t count, struct tsk_err *err);
    /* Runs several statements without parameters, within a transaction. */
    int (*script)(struct tsk_store_db *db, const char *text, struct tsk_err *err);
    /* Holds off all others that would migrate, until the end of the transaction. */
    int (*lock_schema)(struct tsk_store_db *db, struct tsk_err *err);
    /* Whether the store has a table of that name: 1, 0 or -1. */
    int (*has_table)(struct tsk_store_db *db, const char *name, struct tsk_err *err);
    int (*size)(struct tsk_store_db *db, int64_t *bytes, struct tsk_err *err);
    /* As tsk_store_watch and _read; NULL where commits are seen by the file. */
    int (*watch)(struct tsk_store_db *db, struct tsk_err *err);
    bool (*watch_read)(struct tsk_store_db *db);
};

extern const struct tsk_store_ops tsk_store_sqlite, tsk_store_postgresql;

struct tsk_store {
    const struct tsk_store_ops *ops;
    struct tsk_store_opts opts;
    char *url, *name;
    struct tsk_store_db *db; /* NULL: not connected */
    bool within;             /* a transaction */
    bool in_doubt;           /* as tsk_store_in_doubt */
    int watch;               /* a descriptor, or -1 */
    int64_t version_seen;    /* of the schema, as it was met; -1: not met */
    int steps_made;
};

/* The path that a sqlite url names, made absolute where it is the default one (the caller's). NULL
 * with err if there is none. */
char *tsk_store_sqlite_path(const char *url, struct tsk_err *err);

/* A numbered step of the schema; the texts are those of config/schema, put into the library when it
 * is built. */
struct tsk_migration {
    int version;
    const char *name, *text;
};
extern const struct tsk_migration tsk_migrations[];
extern const size_t tsk_migration_count;

#endif
