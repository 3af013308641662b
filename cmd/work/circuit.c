/* A circuit is in the map while it has failures; a class that is not there is closed. So where
 * nothing fails, nothing is looked up. */
#include "work/circuit.h"

#include <stdlib.h>
#include <string.h>

#include "tasker/buf.h"
#include "tasker/map.h"

struct circuit {
    int64_t failures;
    int64_t pause; /* the present one; 0: closed */
    int64_t until; /* when it is over */
    bool trying;   /* a trial is under way */
};

struct tsk_circuits {
    int64_t failures, pause, longest;
    struct tsk_map *map; /* handler_class to struct circuit */
};

enum tsk_circuit_end tsk_circuit_end_of(const char *error_category)
{
    static const char *const failures[] = {"infrastructure", "timeout"};
    if (!error_category)
        return TSK_CIRCUIT_SUCCESS;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        if (strcmp(failures[i], error_category) == 0)
            return TSK_CIRCUIT_FAILURE;
    }
    return TSK_CIRCUIT_NEITHER;
}

struct tsk_circuits *tsk_circuits_new(int64_t failures, int64_t pause, int64_t longest)
{
    struct tsk_circuits *circuits = tsk_alloc(sizeof *circuits);
    circuits->failures = failures;
    circuits->pause = pause > 0 ? pause : 1;
    circuits->longest = longest > circuits->pause ? longest : circuits->pause;
    circuits->map = tsk_map_new(free);
    return circuits;
}

void tsk_circuits_free(struct tsk_circuits *circuits)
{
    if (!circuits)
        return;
    tsk_map_free(circuits->map);
    free(circuits);
}

static struct circuit *find(const struct tsk_circuits *circuits, const char *handler_class)
{
    return tsk_map_count(circuits->map) ? tsk_map_get(circuits->map, handler_class) : NULL;
}

/* How long until the next trial; if one is under way, what it will be at least if that fails. */
static int64_t retry_in(const struct circuit *circuit, int64_t now)
{
    if (circuit->trying)
        return circuit->pause;
    return now < circuit->until ? circuit->until - now : 0;
}

static void describe(const struct circuit *circuit, const char *handler_class, int64_t now,
                     struct tsk_circuit_state *state)
{
    if (state)
        *state =
            (struct tsk_circuit_state){handler_class, circuit->failures, retry_in(circuit, now)};
}

enum tsk_circuit_verdict tsk_circuit_ask(struct tsk_circuits *circuits, const char *handler_class,
                                         int64_t now, struct tsk_circuit_state *state)
{
    struct circuit *circuit = find(circuits, handler_class);
    if (!circuit || !circuit->pause)
        return TSK_CIRCUIT_RUN;
    describe(circuit, handler_class, now, state);
    if (circuit->trying || now < circuit->until)
        return TSK_CIRCUIT_OPEN;
    circuit->trying = true;
    return TSK_CIRCUIT_TRIAL;
}

static struct circuit *add(struct tsk_circuits *circuits, const char *handler_class)
{
    if (tsk_map_count(circuits->map) >= TSK_CIRCUITS_MOST)
        tsk_map_remove(circuits->map, tsk_map_key(tsk_map_first(circuits->map)));
    struct circuit *circuit = tsk_alloc(sizeof *circuit);
    tsk_map_put(circuits->map, handler_class, circuit);
    return circuit;
}

/* The pause after one that was followed by a trial that failed. */
static int64_t longer(const struct tsk_circuits *circuits, int64_t pause)
{
    return pause > circuits->longest / 2 ? circuits->longest : 2 * pause;
}

/* One more failure. Returns whether the circuit opens, or opens again. */
static bool fail(const struct tsk_circuits *circuits, struct circuit *circuit, bool trial,
                 int64_t now)
{
    circuit->failures++;
    if (!circuit->pause && circuit->failures < circuits->failures)
        return false;
    if (circuit->pause && !trial)
        return false;
    circuit->pause = circuit->pause ? longer(circuits, circuit->pause) : circuits->pause;
    circuit->until = now + circuit->pause;
    return true;
}

enum tsk_circuit_change tsk_circuit_tell(struct tsk_circuits *circuits, const char *handler_class,
                                         enum tsk_circuit_end end, bool trial, int64_t now,
                                         struct tsk_circuit_state *state)
{
    struct circuit *circuit = find(circuits, handler_class);
    bool opened = false;
    if (state)
        *state = (struct tsk_circuit_state){.handler_class = handler_class};
    if (!circuits->failures)
        return TSK_CIRCUIT_SAME;
    if (end == TSK_CIRCUIT_SUCCESS) {
        bool closes = circuit && circuit->pause;
        if (circuit)
            tsk_map_remove(circuits->map, handler_class);
        return closes ? TSK_CIRCUIT_CLOSED : TSK_CIRCUIT_SAME;
    }
    if (!circuit && end == TSK_CIRCUIT_FAILURE)
        circuit = add(circuits, handler_class);
    if (!circuit)
        return TSK_CIRCUIT_SAME;
    circuit->trying &= !trial;
    if (end == TSK_CIRCUIT_FAILURE)
        opened = fail(circuits, circuit, trial, now);
    if (circuit->pause)
        describe(circuit, handler_class, now, state);
    return opened ? TSK_CIRCUIT_OPENED : TSK_CIRCUIT_SAME;
}

bool tsk_circuits_calm(const struct tsk_circuits *circuits)
{
    return !tsk_map_count(circuits->map);
}

size_t tsk_circuits_open(const struct tsk_circuits *circuits, int64_t now,
                         struct tsk_circuit_state *states, size_t most)
{
    size_t count = 0;
    struct tsk_map_entry *e = tsk_map_first(circuits->map);
    for (; e && count < most; e = tsk_map_next(e)) {
        const struct circuit *circuit = tsk_map_value(e);
        if (circuit->pause)
            describe(circuit, tsk_map_key(e), now, &states[count++]);
    }
    return count;
}
