#!/usr/bin/env bats
# What a step costs does not depend on how many came before it: no statement reads more than a small
# multiple of what it gives, in a store with 200 000 finished steps; whatever the database knows of it.
bats_require_minimum_version 1.5.0
load helper
load store

setup() {
    test_begin
    endpoints
    export TASKER_TASKS_PATH=$PWD/tasks TASKER_RETRY_BASE=20ms TASKER_RETRY_JITTER=0
    mkdir tasks
    cat >tasks/order.yaml <<'EOT'
name: order
step_templates:
  - {name: check, handler_class: "T"}
  - {name: reserve, handler_class: "T", depends_on_step: check}
  - {name: pay, handler_class: Flaky, depends_on_step: check}
  - {name: ship, handler_class: "T", depends_on_steps: [reserve, pay]}
EOT
    cat >tasks/wide.yaml <<'EOT'
name: wide
step_templates:
  - {name: split, handler_class: Split}
  - {name: shard, handler_class: "T", depends_on_step: split, optional: true}
  - {name: audit, handler_class: "T", depends_on_step: split, optional: true}
  - {name: join, handler_class: "T", depends_on_steps: [shard, audit], join: all_done}
EOT
    cat >tasks/refused.yaml <<'EOT'
name: refused
step_templates:
  - {name: check, handler_class: Refuse}
  - {name: next, handler_class: "T", depends_on_step: check}
EOT
    cat >flaky <<'EOT'
#!/bin/sh
[ "$TASKER_ATTEMPT" -ge 2 ] || exit 75
EOT
    cat >splitter <<'EOT'
#!/bin/sh
echo '{"create_steps":[{"name":"shard","count":3}]}'
EOT
    chmod +x flaky splitter
    cat >handlers.yaml <<'EOT'
handlers:
  T: {command: ["true"]}
  Flaky: {command: [./flaky]}
  Split: {command: [./splitter]}
  Refuse: {command: [/bin/sh, -c, 'exit 65']}
EOT
    printf '{"message_type":"step","step_id":%d,"task_id":7,"step_name":"s","handler_class":"T"}\n' 1 2 3 >foreign
}

teardown() { store_end && test_end; }

is_none() { [ "$(PGOPTIONS='' store_sql "SELECT count(*) FROM $1")" = 0 ]; }

# All that runs per step, per batch or per second, as services do it.
run_all() {
    tasker-submit -T order >>submitted <<<'{"context":{}}'$'\n''{"context":{}}'
    tasker-submit -T wide >>submitted <<<'{"context":{}}'
    tasker-submit -T refused >>submitted <<<'{"context":{}}'
    spawn work tasker-work --handlers handlers.yaml
    mkfifo batches
    spawn pipe sh -c 'tasker-publish <batches | tasker-collect | tasker-reconcile --follow'
    spawn ready sh -c 'exec tasker-ready --follow >batches'
    spawn settle tasker-reconcile --ledger --follow
    wait_until 30 is_none "tasks WHERE state IN ('pending', 'in_progress')"
    signal ready TERM
    finish ready
    finish pipe
    tasker-publish --pending
    tasker-publish foreign | tasker-collect | tasker-reconcile >verdicts
    wait_until 20 is_none unsettled
    for name in settle work; do signal $name TERM; finish $name; done
    rm batches
}

# What is polled: a program that asks once has a plan for what it asks.
look() {
    tasker-status tasks --limit 3 >>shown
    tasker-status tasks --state pending,in_progress,error --limit 1 >>shown
    tasker-status batches --state created,published,executing --limit 3 >>shown
    tasker-status steps --state pending,enqueued,in_progress,error --limit 3 >>shown
    tasker-status batches --state completed --limit 3 >>shown
    tasker-status errors >>shown || [ $? -eq 1 ]
}

# Takes the first tasks out of the history; the prune looks at every row, in groups.
prune() { # MS
    tasker-status store --prune --older-than "$(($(date +%s%3N) - 1700000000000 - $1))ms" >pruned
    grep -q '^took away [1-9][0-9]* tasks, [1-9][0-9]* batches' pruned
}

# The plans of the statements that the programs send: such as they have, and those for any parameters.
plans_are_good() { # MS, as prune
    local log=${CLUSTERS[own]}/log from
    from=$(wc -c <"$log")
    export PGOPTIONS="-c auto_explain.log_min_duration=0 -c auto_explain.log_analyze=on -c auto_explain.log_timing=off
        -c auto_explain.log_buffers=on -c auto_explain.log_format=json"
    run_all
    look
    prune "$1"
    PGOPTIONS+=' -c plan_cache_mode=force_generic_plan'
    run_all
    unset PGOPTIONS
    tail -c "+$((from + 1))" "$log" | python3 "$ROOT/tests/plans.py" 70
}

@test "PostgreSQL: no statement reads more than a small multiple of what it gives" {
    own_cluster own -cshared_preload_libraries=auto_explain -cshared_buffers=256MB
    STORE=postgresql
    "$ROOT/tests/history_fill" "$TASKER_STORE_URL" 20000
    plans_are_good 500 # nothing is known of the tables
    store_sql 'ANALYZE'
    plans_are_good 1000
}

# SQLite plans by the figures that the schema brings, so an empty store has the plans of a full one.
@test "SQLite: no statement goes through a whole table that grows" {
    ! grep -q fsanitize "${TASKER_BUILD:-$ROOT/build}/flags" || skip "a sanitizer has to be loaded first"
    store_begin sqlite
    tasker-status store --init
    cc -shared -fPIC -o sql_log.so "$ROOT/tests/sql_log.c"
    export SQL_LOG=$PWD/log LD_PRELOAD=$PWD/sql_log.so
    run_all
    look
    unset LD_PRELOAD
    python3 "$ROOT/tests/plans_sqlite.py" "${TASKER_STORE_URL#sqlite:}" 70 <log
}
