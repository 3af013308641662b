/* What the files resolve*.c share. */
#ifndef LIB_RESOLVE_PRIVATE_H
#define LIB_RESOLVE_PRIVATE_H

#include "resolve/operator.h"

/* Of batches b: when it is clear that no publisher sends it at the moment; -1: somebody has
 * accepted it. Results may be there before a publisher could record who gives them. */
#define TSK_SENT_UNTIL                                                                             \
    "CASE WHEN b.published_at IS NOT NULL THEN -1 WHEN b.state = 'created' THEN b.claimed_until"   \
    " ELSE 9000000000000000 END"

/* Of steps s: an operator has cancelled it where a worker may have had it, and the ledger has no
 * end of it since; and the same, where the batch b in which that was meets a condition. */
#define TSK_UNCONFIRMED_IF(condition)                                                              \
    "s.state = 'cancelled' AND EXISTS (SELECT 1 FROM step_transitions h JOIN batches b ON b.id ="  \
    " h.batch WHERE h.step = s.id AND h.origin = 'operator' AND h.from_state IN ('enqueued',"      \
    " 'in_progress') AND h.to_state = 'cancelled' AND " condition                                  \
    " AND NOT EXISTS (SELECT 1 FROM settled_steps z WHERE z.batch = b.id AND z.step_id ="          \
    " s.step_id AND z.status IN ('completed', 'failed')))"
#define TSK_UNCONFIRMED TSK_UNCONFIRMED_IF("1 = 1")
#define TSK_OPEN "s.state IN ('pending', 'enqueued', 'in_progress')"

/* What is under way in one transaction. */
struct tsk_resolving {
    struct tsk_store *store;
    struct tsk_settler *settler;
    const struct tsk_resolve_order *order;
    enum tsk_resolve_action action; /* as ordered, or of the steps of a task */
    char *about;                    /* metadata of the transitions */
    struct tsk_resolved_list *list;
    struct tsk_settle_list touched; /* batches to be settled */
    struct tsk_resolve_ids tasks;   /* those of steps that are in none */
    struct tsk_err *err;
};

/* Empties list, locks the steps, a task (0: none) and all that is settled with them, and settles
 * what the ledger has of the steps. */
int tsk_resolving_begin(struct tsk_resolving *r, const int64_t *ids, size_t count, int64_t task);
int tsk_resolving_step(struct tsk_resolving *r, int64_t id);
/* What follows from all of it. */
int tsk_resolving_finish(struct tsk_resolving *r);
void tsk_resolving_fini(struct tsk_resolving *r);

struct tsk_resolved *tsk_resolved_add(struct tsk_resolved_list *list);
void tsk_resolve_ids_add(struct tsk_resolve_ids *ids, int64_t id);

/* resolve_lock.c */
int tsk_resolving_lock(struct tsk_resolving *r, const int64_t *ids, size_t count, int64_t task);

/* resolve_text.c: metadata of a transition (the caller's). */
char *tsk_resolve_about(const struct tsk_resolve_order *order);

#endif
