/* The schema: made at first use and brought up to date by numbered steps, each in a transaction of
 * its own that holds off all others who would do the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/ops.h"
#include "tasker/buf.h"
#include "tasker/clock.h"

#define TABLE "schema_migrations"

static const char make_table[] =
    "CREATE TABLE IF NOT EXISTS " TABLE " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, "
    "applied_at BIGINT NOT NULL)";
static const char get_version[] = "SELECT max(version) FROM " TABLE;
static const char add_version[] =
    "INSERT INTO " TABLE " (version, name, applied_at) VALUES ($1, $2, $3)";

/* SQLite plans by figures that only ANALYZE brings. Without them it takes rows of one state for
 * few, and looks up the ten steps of a task by going through all that are complete. So it is told
 * once how tables of ours grow: many rows a state, few that are ready. Those of ANALYZE, if
 * somebody runs that, take their place. */
static const char figures_sqlite[] =
    "ANALYZE step_dependencies;"
    "DELETE FROM sqlite_stat1;"
    "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES"
    " ('tasks', 'tasks_by_state', '1000000 200000 2'),"
    " ('batches', 'batches_by_state', '1000000 200000 2'),"
    " ('steps', 'steps_by_state', '10000000 2000000 2');"
    "INSERT INTO sqlite_stat1 (tbl, idx, stat) SELECT tbl_name, name, '1000 300 2 1 1'"
    " FROM sqlite_master WHERE name = 'steps_ready';"
    "ANALYZE sqlite_master"; /* reads them */

int tsk_store_version_known(void)
{
    return tsk_migrations[tsk_migration_count - 1].version;
}

static int take_version(void *ctx, const struct tsk_value *row, size_t columns)
{
    if (columns && row[0].type == TSK_INT)
        *(int64_t *)ctx = row[0].number;
    return 1;
}

static int read_version(struct tsk_store *store, int64_t *version, struct tsk_err *err)
{
    *version = 0;
    int there = store->ops->has_table(store->db, TABLE, err);
    if (there <= 0)
        return there;
    return store->ops->run(store->db, get_version, NULL, 0, take_version, version, err) < 0 ? -1
                                                                                            : 0;
}

int tsk_store_version(struct tsk_store *store, int64_t *version, struct tsk_err *err)
{
    if (tsk_store_connect(store, err) < 0)
        return -1;
    return read_version(store, version, err);
}

/* The text of a migration with the words of the back end put in (the caller's). */
static char *fill_in(const struct tsk_store_ops *ops, const char *text)
{
    struct tsk_buf out = TSK_BUF_INIT;
    while (*text) {
        size_t i = 0;
        while (ops->words[i][0] && strncmp(text, ops->words[i][0], strlen(ops->words[i][0])) != 0)
            i++;
        if (ops->words[i][0]) {
            tsk_buf_str(&out, ops->words[i][1]);
            text += strlen(ops->words[i][0]);
        } else {
            tsk_buf_char(&out, *text++);
        }
    }
    return out.data;
}

static int apply(struct tsk_store *store, const struct tsk_migration *step, struct tsk_err *err)
{
    char *text = fill_in(store->ops, step->text);
    struct tsk_value values[] = {tsk_value_int(step->version), tsk_value_text(step->name),
                                 tsk_value_int(tsk_wall_ms())};
    int rc = store->ops->script(store->db, text, err);
    free(text);
    if (rc == 0 && store->ops->kind == TSK_STORE_SQLITE)
        rc = store->ops->script(store->db, figures_sqlite, err);
    if (rc == 0 && store->ops->run(store->db, add_version, values, 3, NULL, NULL, err) < 0)
        rc = -1;
    return rc < 0 ? tsk_err_prefix(err, "schema step %d (%s): ", step->version, step->name) : 0;
}

/* Applies the next step that is missing, in the transaction that is open; a step that another
 * process has just made is seen here. *version becomes what the store then has. */
static int next_step(struct tsk_store *store, int64_t *version, bool *made, struct tsk_err *err)
{
    if (store->ops->lock_schema(store->db, err) < 0 ||
        store->ops->run(store->db, make_table, NULL, 0, NULL, NULL, err) < 0 ||
        read_version(store, version, err) < 0)
        return -1;
    if (!store->steps_made)
        store->version_seen = *version; /* another may have made steps meanwhile */
    for (size_t i = 0; i < tsk_migration_count; i++) {
        if (tsk_migrations[i].version <= *version)
            continue;
        *version = tsk_migrations[i].version;
        *made = true;
        return apply(store, &tsk_migrations[i], err);
    }
    return 0;
}

static int step_up(struct tsk_store *store, int64_t *version, struct tsk_err *err)
{
    if (store->ops->begin(store->db, true, err) < 0)
        return -1;
    bool made = false;
    int rc = next_step(store, version, &made, err);
    if (rc == 0)
        rc = store->ops->commit(store->db, err);
    store->steps_made += rc == 0 && made;
    if (rc < 0)
        store->ops->rollback(store->db);
    return rc;
}

int tsk_store_migrate(struct tsk_store *store, bool make, struct tsk_err *err)
{
    int64_t version, known = tsk_store_version_known();
    if (read_version(store, &version, err) < 0)
        return -1;
    store->version_seen = version;
    if (version < known && !make)
        return tsk_err_set(err, TSK_UNAVAILABLE,
                           version ? "the store %s has schema %d, this program needs %d: "
                                     "\"tasker-status store --init\" brings it up to date"
                                   : "the store %s is empty (schema %d of %d): \"tasker-status "
                                     "store --init\" makes it",
                           store->name, (int)version, (int)known);
    while (version < known) {
        if (step_up(store, &version, err) < 0)
            return -1;
    }
    if (version > known)
        return tsk_err_set(err, TSK_CONFIG,
                           "the store %s has schema %d, newer than this program knows (%d): use a "
                           "newer tasker",
                           store->name, (int)version, (int)known);
    return 0;
}
