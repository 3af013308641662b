/* Store urls: what they name, and how they are shown without what nobody may read. */
#include <stdio.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/conf.h"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

int tsk_store_kind_of(const char *url)
{
    if (strcmp(url, "none") == 0)
        return TSK_STORE_NONE;
    if (strcmp(url, "sqlite") == 0 || begins(url, "sqlite:"))
        return TSK_STORE_SQLITE;
    if (begins(url, "postgresql://") || begins(url, "postgres://"))
        return TSK_STORE_POSTGRESQL;
    return -1;
}

const char *tsk_store_meant(const char *text)
{
    static const struct {
        const char *begins, *meant;
    } known[] = {{"postgresql:", "postgresql://"}, {"postgresql//", "postgresql://"},
                 {"postgres:", "postgresql://"},   {"postgres//", "postgresql://"},
                 {"pgsql:", "postgresql://"},      {"pgsql//", "postgresql://"},
                 {"sqlite3:", "sqlite:"},          {"sqlite//", "sqlite:"}};
    if (tsk_store_kind_of(text) >= 0)
        return NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (begins(text, known[i].begins))
            return known[i].meant;
    }
    return NULL;
}

bool tsk_store_is_path(const char *text)
{
    if (tsk_store_meant(text))
        return false;
    size_t len = strlen(text), scheme = strcspn(text, ":/.");
    if (text[scheme] == ':')
        return false;
    return strchr(text, '/') || (len > 3 && strcmp(text + len - 3, ".db") == 0);
}

/* Where the password of "SCHEME://USER:PASSWORD@…" stands: begin and end, or false. */
static bool find_password(const char *url, const char **begin, const char **end)
{
    const char *from = strstr(url, "://");
    if (!from)
        return false;
    from += 3;
    size_t len = strcspn(from, "/?");
    const char *at = NULL;
    for (size_t i = 0; i < len; i++) {
        if (from[i] == '@')
            at = from + i;
    }
    const char *colon = at ? memchr(from, ':', (size_t)(at - from)) : NULL;
    if (!colon)
        return false;
    *begin = colon + 1;
    *end = at;
    return true;
}

/* Adds what follows the password, with the values of parameters that are secret put out.
 * Returns whether there was one. */
static bool add_rest(struct tsk_buf *shown, const char *rest)
{
    static const char *const secret[] = {"password=", "sslpassword="};
    bool any = false;
    while (*rest) {
        size_t hidden = 0;
        bool starts = rest[0] == '?' || rest[0] == '&';
        tsk_buf_char(shown, *rest++);
        for (size_t i = 0; starts && i < sizeof secret / sizeof *secret; i++) {
            if (begins(rest, secret[i]))
                hidden = strlen(secret[i]);
        }
        if (!hidden)
            continue;
        tsk_buf_add(shown, rest, hidden);
        tsk_buf_str(shown, "***");
        rest += hidden;
        rest += strcspn(rest, "&");
        any = true;
    }
    return any;
}

bool tsk_store_url_shown(const char *url, char *out, size_t size)
{
    struct tsk_buf shown = TSK_BUF_INIT;
    const char *begin, *end, *rest = url;
    bool postgresql = tsk_store_kind_of(url) == TSK_STORE_POSTGRESQL;
    bool secret = postgresql && find_password(url, &begin, &end);
    if (secret) {
        tsk_buf_add(&shown, url, (size_t)(begin - url));
        tsk_buf_str(&shown, "***");
        rest = end;
    }
    if (postgresql)
        secret |= add_rest(&shown, rest);
    else
        tsk_buf_str(&shown, rest);
    snprintf(out, size, "%s", shown.data ? shown.data : "");
    tsk_buf_fini(&shown);
    return secret;
}
