/* Circuit breakers, one for each handler_class (tasker-work(1), Circuit breakers): where a handler
 * fails again and again because of what is around it (a service that is down, a full disk), its
 * steps are not started for a while, and come back later, instead of each using up its time and its
 * attempts. Pure: no clock, the time is passed in (ms of one clock that never goes back).
 *
 *   closed     steps run; so many failures in a row, with no success between, open it
 *   open       none runs until the pause is over
 *   half-open  one step runs, as a trial: a success closes the circuit, a failure opens it again,
 *              for twice as long each time, up to the longest pause
 *
 * What counts as a failure is what speaks of the handler's surroundings and not of the step's data:
 *
 *   infrastructure  a service that is not there, an I/O error; also the end by a signal, since
 *                   out of memory is the usual one
 *   timeout         what it waits for does not answer
 *
 * The others (validation, business_logic, permanent; and retryable, exit 75, by which a handler
 * that works asks for another time) are a judgement of the step: they neither count nor interrupt
 * the row, since some data are refused before anything outside is asked. A trial that ends so, or
 * is not run after all, has said nothing: the next step is the trial. */
#ifndef TASKER_CIRCUIT_H
#define TASKER_CIRCUIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tsk_circuit_end { TSK_CIRCUIT_NEITHER, TSK_CIRCUIT_SUCCESS, TSK_CIRCUIT_FAILURE };

/* What an end with that error_category is for a circuit; NULL is success. */
enum tsk_circuit_end tsk_circuit_end_of(const char *error_category);

struct tsk_circuits;

/* Classes with failures that are known at a time; beyond it the oldest is forgotten. */
#define TSK_CIRCUITS_MOST 1000

/* Returns the circuits of a worker, all closed: open after so many failures in a row (0: never),
 * for pause ms at first, and at most longest (or pause, if that is more). */
struct tsk_circuits *tsk_circuits_new(int64_t failures, int64_t pause, int64_t longest);
void tsk_circuits_free(struct tsk_circuits *circuits); /* NULL is fine */

struct tsk_circuit_state {
    const char *handler_class; /* borrowed until the next call that is not const */
    int64_t failures;          /* in a row, up to now */
    int64_t retry_in;          /* ms until the next trial; while one runs: if it fails, at least */
};

enum tsk_circuit_verdict { TSK_CIRCUIT_RUN, TSK_CIRCUIT_TRIAL, TSK_CIRCUIT_OPEN };

/* Asks whether a step of the class may be started now. RUN: yes. TRIAL: yes, and its end is to be
 * told with trial. OPEN: no; *state (may be NULL) says for how long. */
enum tsk_circuit_verdict tsk_circuit_ask(struct tsk_circuits *circuits, const char *handler_class,
                                         int64_t now, struct tsk_circuit_state *state);

enum tsk_circuit_change { TSK_CIRCUIT_SAME, TSK_CIRCUIT_OPENED, TSK_CIRCUIT_CLOSED };

/* Tells how a step of the class ended that was let through; OPENED also says that a trial has
 * failed. After that *state (may be NULL) is the circuit's, all 0 if it is closed. While a circuit
 * is open, failures of steps that had been started before do not make its pause longer, and a
 * success of one closes it. */
enum tsk_circuit_change tsk_circuit_tell(struct tsk_circuits *circuits, const char *handler_class,
                                         enum tsk_circuit_end end, bool trial, int64_t now,
                                         struct tsk_circuit_state *state);

/* Whether no class has a failure in its row: then tsk_circuit_ask says RUN to all. */
bool tsk_circuits_calm(const struct tsk_circuits *circuits);

/* Writes the circuits that are not closed, those first that failed first, at most most of them.
 * Returns how many were written. */
size_t tsk_circuits_open(const struct tsk_circuits *circuits, int64_t now,
                         struct tsk_circuit_state *states, size_t most);

#endif
