/* Topics that name a peer. */
#include "tasker/message.h"

#include <string.h>

#include "tasker/parse.h"

bool tsk_topic_is(const char *topic, const char *kind)
{
    return !strncmp(topic, kind, strlen(kind));
}

bool tsk_topic_own(const char *subscription, const char *kind, char name[TSK_ID_SIZE])
{
    size_t start = strlen(kind), len = strlen(subscription);
    if (!tsk_topic_is(subscription, kind) || len <= start + 1 || subscription[len - 1] != ' ' ||
        len - start - 1 >= TSK_ID_SIZE)
        return false;
    memcpy(name, subscription + start, len - start - 1);
    name[len - start - 1] = '\0';
    return tsk_name_valid(name);
}
