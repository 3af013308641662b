/* Being told of commits by PostgreSQL: whoever changes what others wait for calls
 * tsk_store_notify, and the server tells every session that listens, on its socket. Notifications
 * also come along with answers: what libpq holds of them counts. */
#include "store/store_postgresql.h"

int tsk_pg_watch(struct tsk_store_db *db, struct tsk_err *err)
{
    static const char sql[] = "LISTEN tasker";
    if (!db->listens && tsk_store_postgresql.run(db, sql, NULL, 0, NULL, NULL, err) < 0)
        return -1;
    db->listens = true;
    return tsk_pq.socket(db->conn);
}

bool tsk_pg_watch_read(struct tsk_store_db *db)
{
    PGnotify *notify;
    bool any = !tsk_pq.consumeInput(db->conn); /* lost: the next use tells */
    while ((notify = tsk_pq.notifies(db->conn))) {
        any = true;
        tsk_pq.freemem(notify);
    }
    return any;
}
