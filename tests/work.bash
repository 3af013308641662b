# What the tests of tasker-work share; after helper. work_peer.py is the other side of the sockets.

setup() { work_begin; }

work_begin() {
    test_begin
    endpoints
    export STEPS=$TASKER_ZEROMQ_BATCH_ENDPOINT RESULTS=$TASKER_ZEROMQ_RESULT_ENDPOINT
    export PYTHONPATH=$BATS_TEST_DIRNAME PYTHONDONTWRITEBYTECODE=1
    export TASKER_WORKER_ID=w1 TASKER_WORKER_KILL_GRACE=3s TASKER_WORKER_CONFIRM_TIMEOUT=20s
    export TASKER_ZEROMQ_LINGER=200ms TASKER_ZEROMQ_HEARTBEAT_INTERVAL=2s
    echo 'handlers:' >handlers.yaml
    handler True 'exit 0'
}

# handler CLASS SCRIPT [YAML]: adds a handler that is a shell script, with more keys of the registry
handler() {
    printf '#!/bin/sh\n%s\n' "$2" >"h.$1"
    chmod +x "h.$1"
    printf '  %s: {command: [./h.%s]%s}\n' "$1" "$1" "${3:+, $3}" >>handlers.yaml
}

# A handler that runs until it is told, by go(): "started ID" and "ended ID" are in the file log.
waiter() {
    handler Wait 'echo "started $TASKER_STEP_ID" >>log; read -r x <go; echo "ended $TASKER_STEP_ID" >>log'
    mkfifo go
}

# env: the shell has what it starts in the background ignore INT
worker() { spawn work env --default-signal=INT tasker-work -H handlers.yaml "$@"; }

# Runs the Python program on stdin, with work_peer imported; peer: in the background, as $1.
script() { { echo 'from work_peer import *' && cat; } >"$1.py"; }
py() { script py && timeout -k 2 90 /usr/bin/python3 py.py; }
peer() { script "$1" && spawn "$1" timeout -k 2 90 /usr/bin/python3 "$1.py"; }

# run_steps CLASS...: gives the worker one batch ($BATCH, else b1), its steps numbered from 1; final
# results are in the file results.
run_steps() {
    py <<END
c = run(*"$*".split(), batch_id="${BATCH:-b1}")
open("results", "w").writelines(json.dumps(m) + "\n" for m in c.seen if m.get("status") != "in_progress")
END
}

# of STEP FILTER: what jq makes of its result
of() { jq -rc --argjson id "$1" "select(.step_id==\$id)|$2" results; }

# Lets another user work in the test's folder, with a copy of the programs.
open_to_all() {
    cp -r "$TASKER_BIN" programs
    TASKER_BIN=$PWD/programs
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test"
    chmod -R a+rwX .
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# Prints the process id of the worker's keeper.
keeper() { pgrep -P "${PIDS[work]}" -x work-keeper; }

is() { [ "$1" = "$2" ] || { printf 'is:     %s\nwanted: %s\n' "$1" "$2" >&2; return 1; }; }
