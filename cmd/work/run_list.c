/* Lists of runs: each run is in one of them at most. */
#include "work/work.h"

void run_list_add(struct run_list *list, struct run *run)
{
    run->next = NULL;
    run->prev = list->last;
    *(list->last ? &list->last->next : &list->first) = run;
    list->last = run;
    list->count++;
}

void run_list_remove(struct run_list *list, struct run *run)
{
    *(run->prev ? &run->prev->next : &list->first) = run->next;
    *(run->next ? &run->next->prev : &list->last) = run->prev;
    list->count--;
}

void run_list_prepend(struct run_list *list, struct run_list *back)
{
    if (!back->first)
        return;
    back->last->next = list->first;
    *(list->first ? &list->first->prev : &list->last) = back->last;
    list->first = back->first;
    list->count += back->count;
}
