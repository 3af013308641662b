/* What went wrong at PostgreSQL, in one line and with the kind that a program ends with. An error
 * of a statement has its SQLSTATE as a field; one at connecting has it in its text alone, which is
 * therefore asked for in the long form and cut down here. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "store_postgresql.h"

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

int tsk_pg_fail(struct tsk_store_db *db, const char *what, const PGresult *result,
                struct tsk_err *err)
{
    const char *state = tsk_pq.resultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = tsk_pq.resultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    bool broken = false;
    if (!state)
        return tsk_pg_fail_conn(db, what, err);
    enum tsk_exit kind = kind_of(state, &broken);
    db->broken |= broken;
    tsk_err_set(err, kind, "%s: cannot %s: %s (%s)", db->name, what, text ? text : "no reason told",
                state);
    if (err)
        one_line(err->text);
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
    if (tsk_pq.connectionNeedsPassword(conn))
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

/* What helps against it, "" where nothing is known. */
static const char *hint(const char *state)
{
    return strcmp(state, "3D000") == 0 ? ": its owner makes it, with createdb(1)" : "";
}

int tsk_pg_fail_conn(struct tsk_store_db *db, const char *what, struct tsk_err *err)
{
    char *text = tsk_strdup(tsk_pq.errorMessage(db->conn)), state[6] = "";
    char *message = find_state(text, state), *more = strstr(text, "\nLOCATION: ");
    enum tsk_exit kind = kind_of_conn(db, state, text);
    if (more)
        *more = '\0';
    one_line(message ? message : text);
    db->broken = true;
    if (message)
        tsk_err_set(err, kind, "%s: cannot %s: %s (%s)%s", db->name, what, message, state,
                    hint(state));
    else
        tsk_err_set(err, kind, "%s: cannot %s: %s", db->name, what,
                    *text ? text : "the connection is lost");
    free(text);
    return -1;
}
