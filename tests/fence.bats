#!/usr/bin/env bats
# One attempt runs on one worker, also if the connection to the worker is lost before its answer
# reaches the publisher.
load helper
load store

setup() {
    test_begin
    endpoints
    E=$TASKER_ZEROMQ_BATCH_ENDPOINT
    export TASKER_WORKER_HANDLERS=$BATS_TEST_TMPDIR/handlers.yaml TASKER_ZEROMQ_RECONNECT_MAX=20ms
    cat >run <<'END'
#!/bin/sh
echo "$TASKER_STEP_ID $TASKER_ATTEMPT" >>"$RUNS"
read -r x <"$RUNS.go"
END
    chmod +x run
    echo 'handlers: {H: {command: [./run]}}' >handlers.yaml
}

teardown() { store_end && test_end; }

# Starts a publisher of one batch, worker w1 behind a relay that takes its answer away, and w2 once
# w1 runs the step.
two_workers() {
    export RUNS=$PWD/runs
    local at
    mkfifo runs.go relay.in
    take_port
    at=$REPLY
    spawn relay /usr/bin/python3 -u "$ROOT/tests/fault/relay.py" 127.0.0.1 <>relay.in
    relay "listen w1 $at ${E##*:}"
    relay "eat w1 batch_accepted"
    spawn w1 tasker-work --id w1 --batch-endpoint "tcp://127.0.0.1:$at"
    spawn pub tasker-publish -v <<<'{"batch_id":"B1","steps":[{"step_id":7,"task_id":5,"step_name":"a","handler_class":"H"}]}'
    wait_line runs '^7 1$'
    take_port
    spawn w2 tasker-work --id w2 --result-endpoint "tcp://127.0.0.1:$REPLY"
    wait_line pub.err 'worker w2: registered'
}

relay() { # COMMAND
    local before
    before=$(wc -l <relay.out)
    echo "$1" >relay.in
    wait_until 5 relay_says_more "$before"
}
relay_says_more() { [ "$(wc -l <relay.out)" -gt "$1" ]; }

lose_w1() {
    relay "hold w1 both"
    relay "cut w1"
    wait_line pub.err 'worker w1: gone'
}

ran_once() {
    finish_with 0 pub
    [ "$(jq -r .worker_id pub.out)" = w1 ]
    [ "$(cat runs)" = "7 1" ]
    : >runs.go # the handler ends
    signal w1 TERM
    signal w2 TERM
    finish w1
    finish w2
    [ "$(cat runs)" = "7 1" ]
}

@test "a connection is lost before the answer: the batch waits for its worker to connect again" {
    two_workers
    lose_w1
    run tasker-status endpoints "$E"
    has "batch B1 waits for its worker to connect again (w1)" "$output"
    relay "eat w1 nothing"
    relay "hold w1 none"
    ran_once
}

the_ledger_knows() {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=500ms
    spawn collect tasker-collect --follow
    two_workers
    wait_line collect.out in_progress
    lose_w1
    ran_once
    wait_line collect.out batch_completion
    [ "$(store_sql "SELECT state, accepted_by, offered_to, sends FROM batches")" = "published|w1|w1|1" ]
    signal collect TERM
    finish_with 0 collect
    [ "$(store_sql "SELECT count(*) FROM received_results WHERE message_type = 'batch_completion'")" = 1 ]
}

@test "a connection is lost for good, and the ledger has news of the batch: it stays its worker's" {
    for_each_store the_ledger_knows
}

@test "a worker that stops leaves at once what it did not accept" {
    export RUNS=$PWD/runs
    mkfifo runs.go
    spawn w1 tasker-work --id w1 -j 1 --queue-limit 1
    spawn pub tasker-publish -v --set zeromq.heartbeat_interval=1m < <(for i in 1 2 3 4; do
        echo "{\"batch_id\":\"B$i\",\"steps\":[{\"step_id\":$i,\"task_id\":5,\"step_name\":\"a\",\"handler_class\":\"H\"}]}"
    done)
    wait_line pub.err 'batch B2: accepted by w1'
    take_port
    spawn w2 tasker-work --id w2 --result-endpoint "tcp://127.0.0.1:$REPLY"
    wait_line pub.err 'worker w2: registered'
    signal w1 TERM
    exec {GO}<>runs.go
    printf '\n%.0s' {1..20} >&"$GO" # a line for each step that may run
    wait_line pub.err 'batch B4: accepted by w2'
    finish_with 0 pub
    exec {GO}>&-
}
