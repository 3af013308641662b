# What the tests of tasker-resolve share; after helper, store and reconcile_store: tasks that fail,
# wait or run through, as the file "fixed" says, a worker for them, and the other programs as from
# cron (run_all) or as services.

setup() {
    test_begin
    endpoints
    export TASKER_TASKS_PATH=$PWD/tasks USER=alice TASKER_WORKER_ID=w1
    export TASKER_WORKER_KILL_GRACE=200ms TASKER_WORKER_CONFIRM_TIMEOUT=1s
    export TASKER_ZEROMQ_LINGER=200ms TASKER_ZEROMQ_HEARTBEAT_INTERVAL=1s TASKER_RETRY_BASE=1m
    who=alice@$(hostname)
    mkdir tasks
    template chain '{name: first, handler_class: True}' \
        '{name: fix, handler_class: Fix, depends_on_step: first}' \
        '{name: last, handler_class: True, depends_on_step: fix}'
    template flaky '{name: flaky, handler_class: Flaky, default_retry_limit: 2}'
    template long '{name: wait, handler_class: Wait}' \
        '{name: after, handler_class: True, depends_on_step: wait}'
    template quick '{name: quick, handler_class: True}'
    template stubborn '{name: stubborn, handler_class: Stubborn}'
    cat >handlers.yaml <<'END'
handlers:
  True: {command: [/bin/sh, -c, 'exit 0']}
  Fix: {command: [/bin/sh, -c, '[ -e fixed ] || exit 65']}
  Flaky: {command: [/bin/sh, -c, '[ -e fixed ] || exit 75']}
  Wait: {command: [/bin/sh, -c, 'echo "started $TASKER_STEP_ID" >>log; exec sleep 300']}
  Stubborn: {command: [/bin/sh, -c, 'trap "" TERM; echo "started $TASKER_STEP_ID" >>log; exec sleep 300']}
END
}

template() { # NAME STEP...
    local name=$1
    shift
    { printf 'name: %s\nnamespace_name: shop\nstep_templates:\n' "$name" && printf '  - %s\n' "$@"; } >"tasks/$name.yaml"
}

submit() { # NAME [COUNT]
    rm -f ../log ../fixed
    seq "${2:-1}" | jq -c '{context: {n: .}}' | tasker-submit -T "$1" >/dev/null
}

worker() { # with the registry of the test, in whose folder handlers run
    spawn work tasker-work -H ../handlers.yaml
}

# All that can run runs, as from cron.
run_all() {
    while tasker-ready >batches.jsonl; do
        tasker-publish batches.jsonl 2>>stages.err | tasker-collect 2>>stages.err | tasker-reconcile >>verdicts 2>>stages.err || true
    done
}

# The same as services.
services() {
    mkfifo batches
    # shellcheck disable=SC2016 # the pipe is that of the shell below
    spawn loop bash -c 'set -m; tasker-publish <batches 2>publish.err | tasker-collect 2>collect.err |
        tasker-reconcile --follow >verdicts 2>reconcile.err'
    spawn ready bash -c 'exec tasker-ready --follow >batches'
}
services_end() {
    signal ready TERM
    finish_with 0 ready
    finish loop 30
}

resolve() { tasker-resolve "$@" --reason 'as I say'; }
states() { store_sql 'SELECT state FROM steps ORDER BY id' | tr '\n' ' '; }
tasks() { store_sql 'SELECT state FROM tasks ORDER BY task_id' | tr '\n' ' '; }
is() { # ACTUAL WANTED
    [ "$1" = "$2" ] && return
    printf 'is:     %s\nwanted: %s\n' "$1" "$2" >&2
    return 1
}
states_are() { [ "$(states)" = "$1" ]; }
tasks_are() { [ "$(tasks)" = "$1" ]; }

brief() { jq -c '[.of, .step_id // .task_id, .steps, .from_state, .to_state, .handler]' | tr '\n' ' '; }
both_started() { [ "$(grep -cs started ../log)" = 2 ]; }
