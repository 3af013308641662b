/* What the options come to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "resolve/resolve.h"
#include "tasker/clock.h"
#include "tasker/json.h"

bool options_filtered(const struct options *opts)
{
    const struct tsk_resolve_filter *filter = &opts->filter;
    return filter->task || filter->namespace_name || filter->handler_class || filter->category;
}

char *options_by(const struct options *opts)
{
    if (opts->by)
        return tsk_strdup(opts->by);
    struct tsk_buf who = TSK_BUF_INIT;
    const char *user = getenv("USER");
    char host[256] = "";
    if (!user || !*user)
        user = getenv("LOGNAME");
    gethostname(host, sizeof host - 1);
    if (user && *user && tsk_json_is_text(user, strlen(user)))
        tsk_buf_str(&who, user);
    else
        tsk_buf_printf(&who, "uid %ld", (long)getuid());
    tsk_buf_printf(&who, "@%s", host);
    return who.data;
}

struct tsk_resolve_order options_order(const struct options *opts)
{
    return (struct tsk_resolve_order){.action = (enum tsk_resolve_action)opts->action,
                                      .reason = opts->reason,
                                      .by = opts->by,
                                      .now = tsk_wall_ms(),
                                      .dry = opts->dry_run};
}
