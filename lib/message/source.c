#include "tasker/message.h"

#include <stddef.h>
#include <string.h>

static const char *const prefixes[] = {TSK_SOURCE_COLLECTOR, TSK_SOURCE_LINES, TSK_SOURCE_LOST,
                                       TSK_SOURCE_PUBLISH, TSK_SOURCE_READY, TSK_SOURCE_RECONCILE};

bool tsk_source_reserved(const char *source)
{
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (strncmp(source, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}
