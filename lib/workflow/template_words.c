/* The words for what a template says of a step's dependencies; they are in the store as well. */
#include <string.h>

#include "tasker/flow.h"

static const char *const joins[] = {
    [TSK_JOIN_ALL_OK] = "all_ok", [TSK_JOIN_ALL_DONE] = "all_done", [TSK_JOIN_ANY_OK] = "any_ok"};
static const char *const rules[] = {
    [TSK_UNSATISFIED_CANCEL] = "cancel", [TSK_UNSATISFIED_BLOCK] = "block"};
static const char *const skips[] = {
    [TSK_WHEN_SKIPPED_RUN] = "run", [TSK_WHEN_SKIPPED_SKIP] = "skip"};

const char *tsk_join_name(int64_t join)
{
    return joins[join];
}

const char *tsk_unsatisfied_name(int64_t unsatisfied)
{
    return rules[unsatisfied];
}

enum tsk_join tsk_join_find(const char *word)
{
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        if (strcmp(word, joins[i]) == 0)
            return (enum tsk_join)i;
    }
    return TSK_JOIN_ALL_OK;
}

enum tsk_unsatisfied tsk_unsatisfied_find(const char *word)
{
    return strcmp(word, rules[TSK_UNSATISFIED_BLOCK]) == 0 ? TSK_UNSATISFIED_BLOCK
                                                           : TSK_UNSATISFIED_CANCEL;
}

const char *tsk_when_skipped_name(int64_t when_skipped)
{
    return skips[when_skipped];
}

enum tsk_when_skipped tsk_when_skipped_find(const char *word)
{
    return strcmp(word, skips[TSK_WHEN_SKIPPED_SKIP]) == 0 ? TSK_WHEN_SKIPPED_SKIP
                                                           : TSK_WHEN_SKIPPED_RUN;
}
