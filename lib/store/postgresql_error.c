/* What went wrong at PostgreSQL, in one line and with the kind that a program ends with. An error
 * of a statement has its SQLSTATE as a field; one at connecting has it in its text alone, which is
 * therefore asked for in the long form and cut down here. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/postgresql.h"

/* The longest that fits counts, and of these the first. */
static const struct {
    const char *state;
    enum tsk_exit kind;
    bool broken;
} states[] = {
    {"08", TSK_TEMPFAIL, true},       /* the connection */
    {"0A000", TSK_TEMPFAIL, true},    /* a statement that was prepared before the schema changed */
    {"22", TSK_DATA, false},          /* a value that its column cannot hold */
    {"23", TSK_DATA, false},          /* a constraint */
    {"25006", TSK_UNAVAILABLE, true}, /* read only: a standby */
    {"25P03", TSK_TEMPFAIL, true},    /* idle for too long */
    {"28", TSK_UNAVAILABLE, true},    /* who one is */
    {"3D000", TSK_UNAVAILABLE, true}, /* no such database */
    {"3F000", TSK_UNAVAILABLE, false}, {"40", TSK_TEMPFAIL, false}, /* a deadlock, not to be
                                                                       serialised */
    {"42501", TSK_UNAVAILABLE, false},                              /* not allowed */
    {"42P01", TSK_TEMPFAIL, true}, /* no such table: they were there, and were taken away */
    {"53", TSK_TEMPFAIL, false},    /* too many connections, no memory */
    {"53100", TSK_IO, false},       /* the disk is full */
    {"54", TSK_DATA, false},        /* over a limit */
    {"55", TSK_TEMPFAIL, false},    /* locked */
    {"57014", TSK_TEMPFAIL, false}, /* out of time */
    {"57P", TSK_TEMPFAIL, true},    /* shutting down, starting */
    {"57P04", TSK_UNAVAILABLE, true},  {"58", TSK_IO, false},       {"XX001", TSK_IO, false},
    {"XX002", TSK_IO, false},
};

static enum tsk_exit kind_of(const char *state, bool *broken)
{
    enum tsk_exit kind = TSK_BUG;
    size_t best = 0;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        size_t len = strlen(states[i].state);
        if (len <= best || strncmp(state, states[i].state, len) != 0)
            continue;
        best = len;
        kind = states[i].kind;
        *broken = states[i].broken;
    }
    return kind;
}

/* Makes one line of text: line ends and tabs become one space. */
static void one_line(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        bool space = *from == '\n' || *from == '\t' || *from == '\r';
        if (!space)
            *to++ = *from;
        else if (to > text && to[-1] != ' ')
            *to++ = ' ';
    }
    while (to > text && to[-1] == ' ')
        to--;
    *to = '\0';
}

/* What it is and what to do, for those where the server's word is of use to its developers only;
 * else its word. */
static const char *words_for(const char *state, const char *word)
{
    static const struct {
        const char *state, *words;
    } table[] = {
        {"25006", "the server only reads: it is a standby; name the primary in store.url"},
        {"25P03", "the server ended the session, which was idle in a transaction"},
        {"40P01", "two transactions wait for each other; it is tried again"},
        {"40001", "another transaction changed the same rows; it is tried again"},
        {"53100", "the server's disk is full: make room, what is in it is safe"},
        {"53200", "the server has no memory left"},
        {"53300", "the server takes no more connections: raise its max_connections, or run fewer "
                  "programs"},
        {"55P03", "another session holds a lock that it needs: see pg_locks for which"},
        {"57014", "the server needs longer than store.timeout allows: see pg_stat_activity for "
                  "what it does"},
        {"57P01", "the server is shutting down"},
        {"57P02", "a process of the server died, and it starts anew"},
        {"57P03", "the server is starting or stopping"},
        {"XX001", "its data are damaged: see the server's log"},
        {"XX002", "an index is damaged: see the server's log, and REINDEX"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].state, state) == 0)
            return table[i].words;
    }
    return word;
}

/* The errno that stands for a state, for who asks whether the disk is full or the data damaged. */
static int code_of(const char *state)
{
    if (strncmp(state, "XX", 2) == 0 && strcmp(state, "XX000") != 0)
        return EBADMSG;
    return strcmp(state, "53100") == 0 ? ENOSPC : 0;
}

int tsk_pg_fail(struct tsk_store_db *db, const char *what, const PGresult *result,
                struct tsk_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    bool broken = false;
    if (!state)
        return tsk_pg_fail_conn(db, what, err);
    enum tsk_exit kind = kind_of(state, &broken);
    db->broken |= broken;
    tsk_err_set(err, kind, "%s: cannot %s: %s (%s)", db->name, what,
                words_for(state, text ? text : "no reason told"), state);
    if (err) {
        one_line(err->text);
        err->code = code_of(state);
    }
    return -1;
}

/* Finds "SEVERITY:  STATE: message" in a text. Returns where the message begins, or NULL. */
static char *find_state(char *text, char state[6])
{
    for (char *at = strstr(text, ":  "); at; at = strstr(at + 3, ":  ")) {
        size_t len = 0;
        while (len < 5 &&
               (isupper((unsigned char)at[3 + len]) || isdigit((unsigned char)at[3 + len])))
            len++;
        if (len < 5 || at[8] != ':' || at[9] != ' ')
            continue;
        memcpy(state, at + 3, 5);
        state[5] = '\0';
        return at + 10;
    }
    return NULL;
}

/* What is not the server's word but libpq's, and does not pass by itself. */
static bool will_stay(PGconn *conn, const char *text)
{
    static const char *const signs[] = {
        "SSL",         "certificate",       "GSS",      "Name or service not known",
        "invalid ",    "Permission denied", "password", "authentication",
        "No address ",
    };
    if (PQconnectionNeedsPassword(conn))
        return true;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (strstr(text, signs[i]))
            return !strstr(text, "SSL SYSCALL") && !strstr(text, "unexpectedly");
    }
    return false;
}

static enum tsk_exit kind_of_conn(const struct tsk_store_db *db, const char *state,
                                  const char *text)
{
    bool broken;
    if (*state) {
        enum tsk_exit kind = kind_of(state, &broken);
        return kind == TSK_BUG || kind == TSK_DATA ? TSK_UNAVAILABLE : kind;
    }
    return !db->ready && will_stay(db->conn, text) ? TSK_UNAVAILABLE : TSK_TEMPFAIL;
}

/* What libpq says where no server spoke, in our words; else its own. */
static const char *conn_words(const char *text)
{
    static const char *const table[][2] = {
        {"Connection refused",
         "connection refused: does the server run there, and is store.url right?"},
        {"No such file or directory",
         "no server has a socket there: does it run, and is store.url right?"},
        {"could not translate host name", "its host is not known: is store.url right?"},
        {"timeout expired", "no answer in time: packets are dropped, or the host is down"},
        {"No route to host", "there is no route to its host"},
        {"Network is unreachable", "there is no route to its host"},
        {"closed the connection unexpectedly",
         "the server ended the connection: it stopped or crashed"},
        {"no password supplied", "it asks for a password: put it into ~/.pgpass or PGPASSWORD"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strstr(text, table[i][0]))
            return table[i][1];
    }
    return *text ? text : "the connection is lost";
}

/* What helps against it, "" where nothing is known. */
static const char *hint(const char *state)
{
    return strcmp(state, "3D000") == 0 ? ": its owner makes it, with createdb(1)" : "";
}

int tsk_pg_fail_conn(struct tsk_store_db *db, const char *what, struct tsk_err *err)
{
    char *text = tsk_strdup(PQerrorMessage(db->conn)), state[6] = "";
    char *message = find_state(text, state), *more = strstr(text, "\nLOCATION: ");
    enum tsk_exit kind = kind_of_conn(db, state, text);
    if (more)
        *more = '\0';
    one_line(message ? message : text);
    db->broken = true;
    if (message)
        tsk_err_set(err, kind, "%s: cannot %s: %s (%s)%s", db->name, what,
                    words_for(state, message), state, hint(state));
    else
        tsk_err_set(err, kind, "%s: cannot %s: %s", db->name, what, conn_words(text));
    if (err)
        err->code = code_of(state);
    free(text);
    return -1;
}
