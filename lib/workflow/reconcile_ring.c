/* Rings of open batches, each in the order of their last news. */
#include "workflow/reconcile_private.h"

void tsk_rlink_remove(struct tsk_rlink *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = NULL;
}

void tsk_rlink_append(struct tsk_rlink *ring, struct tsk_rlink *link)
{
    tsk_rlink_remove(link);
    link->prev = ring->prev;
    link->next = ring;
    link->prev->next = ring->prev = link;
}
