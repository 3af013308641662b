#!/usr/bin/env bats
# Each program against a peer in the opposite role that speaks only the base of the protocol, with
# plain PUB and SUB sockets and somebody else's ZeroMQ binding. None of the peers was written for
# what this project adds, so nothing of that may be needed, and nothing may disturb.
load helper

PY=/usr/bin/python3

setup() {
    test_begin
    endpoints
    steps=$TASKER_ZEROMQ_BATCH_ENDPOINT results=$TASKER_ZEROMQ_RESULT_ENDPOINT
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml
    cat >handlers.yaml <<'END'
handlers:
  "Test::*": {command: [/bin/sh, -c, 'echo run >>"$HOME/runs"; grep -q \"fail\" && exit 65; echo "{\"ok\":true}"']}
END
    batch b1 '{"order_id":1}' '{"order_id":2}' >batches
}

# Prints a batch whose steps have these contexts, in the fewest fields that the base has.
batch() {
    local id=$1 n=0 context steps=
    shift
    for context; do
        n=$((n + 1))
        steps+=${steps:+,}'{"step_id":'$((1000 + n))',"task_id":5,"step_name":"s'$n'","handler_class":"Test::S","task_context":'$context'}'
    done
    echo '{"batch_id":"'"$id"'","protocol_version":"2.0","steps":['"$steps"']}'
}

# Whether somebody is connected to the local endpoint $1.
connected() {
    local hex
    hex=$(printf '0100007F:%04X' "${1##*:}")
    awk -v at="$hex" '$2 == at && $4 == "01" {found = 1} END {exit !found}' /proc/net/tcp
}

# The endpoint at which worker number $1 sends its results.
work_results() {
    wait_line "work$1.err" 'results at ' && sed -n 's/.*results at //p' "work$1.err" | head -n 1
}

# Whether a program with -v has reported twice, a second apart, that it cannot connect.
kept_trying() { [ "$(grep -c 'not connected' "$1")" -ge 2 ]; }

field_of() { jq -r "$2" "$1"; }

@test "interop: the peers understand each other" {
    spawn worker $PY "$ROOT/tests/interop/worker.py" "$steps" "$results"
    spawn collector $PY "$ROOT/tests/interop/collector.py" "$results"
    wait_until 10 connected "$results"
    spawn publisher $PY "$ROOT/tests/interop/publisher.py" "$steps" "$results" <batches
    finish_with 0 publisher
    finish_with 0 collector
    finish_with 0 worker
    [ "$(wc -l <collector.out)" -eq 3 ]
}

@test "interop: a plain publisher drives tasker-work, which runs a batch sent again once" {
    spawn work tasker-work
    spawn publisher $PY "$ROOT/tests/interop/publisher.py" "$steps" "$results" <batches
    finish_with 0 publisher
    [ "$(field_of publisher.out 'select(.status=="completed")|.step_id' | sort -u | xargs)" = "1001 1002" ]
    [ "$(field_of publisher.out 'select(.message_type=="batch_completion")|.completed_steps')" = 2 ]
    [ "$(wc -l <home/runs)" -eq 2 ]
}

@test "interop: a plain publisher that sends two frames drives tasker-work" {
    spawn work tasker-work
    spawn publisher $PY "$ROOT/tests/interop/publisher.py" "$steps" "$results" --two-frames <batches
    finish_with 0 publisher
    [ "$(wc -l <home/runs)" -eq 2 ]
}

@test "interop: a plain publisher hears why a step failed" {
    batch b2 '{"fail":"no"}' '{}' >batches
    spawn work tasker-work
    spawn publisher $PY "$ROOT/tests/interop/publisher.py" "$steps" "$results" <batches
    finish_with 0 publisher
    [ "$(field_of publisher.out 'select(.status=="failed")|[.step_id,.error.error_type==.error.type,.error.retryable]|@csv')" = 1001,true,false ]
    [ "$(field_of publisher.out 'select(.message_type=="batch_completion")|[.completed_steps,.failed_steps]|@csv')" = 1,1 ]
}

@test "interop: tasker-publish, tasker-collect and tasker-reconcile with a plain worker" {
    spawn worker $PY "$ROOT/tests/interop/worker.py" "$steps" "$results"
    mkfifo receipts
    exec 8<>receipts
    spawn collect tasker-collect -v --timeout 60s <receipts 8>&-
    wait_line collect.err 'handshake succeeded'
    tasker-publish batches >&8 8>&-
    exec 8>&-
    finish_with 0 collect
    finish_with 0 worker
    [ "$(field_of collect.out 'select(.message_type=="batch_published")|.delivery')" = unconfirmed ]
    run -0 tasker-reconcile collect.out
    [ "$(jq -r 'select(.message_type=="batch_reconciled")|.verdict' <<<"$output")" = consistent ]
}

@test "interop: a plain worker's failed step, in its own shape, is understood" {
    batch b3 '{}' '{"fail":"card declined"}' >batches
    spawn worker $PY "$ROOT/tests/interop/worker.py" "$steps" "$results"
    spawn collect tasker-collect -v --count 3 --timeout 60s
    wait_line collect.err 'handshake succeeded'
    run -0 tasker-publish batches
    finish_with 0 collect
    [ "$(field_of collect.out 'select(.step_id==1002)|[.status,.error.error_type,.error.message]|@csv')" = '"failed","RuntimeError","card declined"' ]
    { echo "$output"; cat collect.out; } >all
    run -1 tasker-reconcile all
}

@test "interop: a plain collector hears all that tasker-work does" {
    batch b4 '{}' '{}' '{"fail":"x"}' >batches
    spawn collector $PY "$ROOT/tests/interop/collector.py" "$results"
    spawn work tasker-work -v
    wait_line work.err 'a peer subscribed to "batch_completion"'
    run -0 tasker-publish batches
    finish_with 0 collector
    [ "$(field_of collector.out 'select(.status=="completed")|.step_id' | sort | xargs)" = "1001 1002" ]
    [ "$(field_of collector.out 'select(.status=="failed")|.step_id')" = 1003 ]
    [ "$(field_of collector.out 'select(.message_type=="batch_completion")|[.completed_steps,.failed_steps]|@csv')" = 2,1 ]
}

@test "interop: a plain collector sees nothing twice while a confirming one asks for replays" {
    spawn collector $PY "$ROOT/tests/interop/collector.py" "$results"
    spawn work tasker-work -v
    wait_line work.err 'a peer subscribed to "batch_completion"'
    tasker-publish batches >receipts
    run -0 tasker-collect --timeout 60s receipts
    finish_with 0 collector
    [ -z "$(jq -r '[.message_type,.step_id,.sequence]|@csv' collector.out | sort | uniq -d)" ]
}

@test "interop: with a registered worker there a plain one is given nothing" {
    spawn worker $PY "$ROOT/tests/interop/worker.py" "$steps" "tcp://127.0.0.1:$(port)"
    spawn work tasker-work
    tasker-publish --workers 1 batches >receipts
    [ "$(field_of receipts .delivery)" = confirmed ]
    run -0 tasker-collect --timeout 60s receipts
    [ ! -s worker.out ] && running worker
}

# late_worker STEPS RESULTS: a plain worker that comes when the pipe has waited for a while.
late_worker() {
    export TASKER_ZEROMQ_BATCH_ENDPOINT=$1 TASKER_ZEROMQ_RESULT_ENDPOINT=$2
    mkfifo receipts
    exec 8<>receipts
    spawn collect tasker-collect -v --timeout 60s <receipts 8>&-
    spawn publish bash -c 'exec tasker-publish batches >&8 8>&-'
    exec 8>&-
    wait_until 10 kept_trying collect.err
    spawn worker $PY "$ROOT/tests/interop/worker.py" "$1" "${2##*,}" 1 --slow-start
    finish_with 0 collect
    finish_with 0 publish
    finish_with 0 worker
    [ "$(field_of collect.out 'select(.status=="completed")|.step_id' | xargs)" = "1001 1002" ]
    [ ! -s publish.err ]
}

@test "interop: a plain worker that comes late loses no result" {
    late_worker "$steps" "$results"
}

@test "interop: a plain worker that comes late loses no result, over ipc" {
    late_worker "ipc://$PWD/steps" "ipc://$PWD/results"
}

@test "interop: a plain worker that comes late loses no result, at the last of several endpoints" {
    late_worker "$steps" "tcp://127.0.0.1:$(port),tcp://127.0.0.1:$(port),$results"
}

# Both channels are bound by the side that connects by default.
reversed() { export TASKER_ZEROMQ_BATCH_BIND=worker TASKER_ZEROMQ_RESULT_BIND=collector; }

@test "interop: a plain worker that comes late loses no result where both binds are reversed" {
    local i
    reversed
    for i in 1 2 3 4 5; do batch "r$i" '{}' '{}'; done >batches
    mkfifo receipts
    exec 8<>receipts
    spawn collect tasker-collect -v --timeout 60s <receipts 8>&-
    spawn publish bash -c 'exec tasker-publish -v batches >&8 8>&-'
    exec 8>&-
    wait_until 10 kept_trying publish.err
    spawn worker $PY "$ROOT/tests/interop/worker.py" "$steps" "$results" 5 --reversed
    finish_with 0 publish
    finish_with 0 collect
    finish_with 0 worker
    [ "$(field_of collect.out 'select(.status=="completed")|.step_id' | wc -l)" -eq 10 ]
    # the publisher may have warned that nobody was there yet
    [ -z "$(grep -h warning: publish.err collect.err | grep -v 'reached a worker')" ]
}

@test "interop: a plain publisher that comes late reaches a worker where both binds are reversed" {
    reversed
    spawn work tasker-work -v
    wait_until 10 kept_trying work.err
    spawn publisher $PY "$ROOT/tests/interop/publisher.py" "$steps" "$results" --once --reversed <batches
    finish_with 0 publisher
    [ "$(field_of publisher.out 'select(.status=="completed")|.step_id' | sort | xargs)" = "1001 1002" ]
    [ "$(wc -l <home/runs)" -eq 2 ]
}

@test "interop: a plain publisher that sends once reaches each worker that has waited for it" {
    local i
    for i in 1 2 3; do
        spawn work$i tasker-work -v --id w$i --result-endpoint "tcp://127.0.0.1:$(port)"
        spawn collector$i $PY "$ROOT/tests/interop/collector.py" "$(work_results $i)"
        wait_line work$i.err 'a peer subscribed to "batch_completion"'
    done
    for i in 1 2 3; do wait_until 10 kept_trying work$i.err; done
    spawn publisher $PY "$ROOT/tests/interop/publisher.py" "$steps" "$results" --once <batches
    for i in 1 2 3; do finish_with 0 collector$i; done
}

@test "interop: where nothing listens at the results endpoint, plain workers get batches after a warning" {
    spawn worker $PY "$ROOT/tests/interop/worker.py" "$steps" "tcp://127.0.0.1:$(port)"
    run -0 --separate-stderr tasker-publish batches
    has "nothing listens at $results after" "$stderr"
    finish_with 0 worker
}

@test "interop: a worker ends with 0 when a plain collector has taken all results and left" {
    export TASKER_WORKER_CONFIRM_TIMEOUT=500ms
    spawn collector $PY "$ROOT/tests/interop/collector.py" "$results"
    spawn work tasker-work -v
    wait_line work.err 'a peer subscribed to "batch_completion"'
    run -0 tasker-publish batches
    finish_with 0 collector
    wait_line work.err 'a peer ended its subscription to "batch_completion"'
    signal work TERM
    finish_with 0 work
}

@test "interop: a worker whose results nobody took ends with 75" {
    export TASKER_WORKER_CONFIRM_TIMEOUT=500ms
    spawn work tasker-work -v
    run -0 tasker-publish batches
    signal work TERM
    finish_with 75 work
    has 'not confirmed by a collector' work.err
}

# Writes $1 batches of 20 kB to the file many: more than the system takes for one connection.
many_batches() {
    local i text
    text=$(head -c 20000 /dev/zero | tr '\0' x)
    for ((i = 1; i <= $1; i++)); do batch "m$i" '{"text":"'"$text"'"}'; done >many
}

@test "interop: a plain subscriber that is slow loses no batch" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=50ms
    many_batches 600
    spawn slow $PY "$ROOT/tests/interop/subscriber.py" "$steps" 600 0.004
    run -0 --separate-stderr tasker-publish many
    finish_with 0 slow
    [ "$(sort -u slow.out | wc -l)" -eq 600 ]
    [ "$(grep -c '"delivery":"unconfirmed"' <<<"$output")" -eq 600 ]
}

@test "interop: a plain subscriber that takes nothing is disconnected, and each batch is named, 75" {
    many_batches 600
    spawn slow $PY "$ROOT/tests/interop/subscriber.py" "$steps" 600 60
    run -75 --separate-stderr tasker-publish --wait 1s many
    has '1 plain subscriber took nothing for 1000 ms: disconnected' "$stderr"
    has 'not taken by all plain subscribers: batch m' "$stderr"
    { jq -r .batch_id <<<"$output"; sed -n 's/.*error: \(sent\|not sent\).*: batch \([^ ]*\) .*/\2/p' <<<"$stderr"; } | sort >named
    [ "$(sort -u named | wc -l)" -eq 600 ]
}

@test "interop: two plain workers: a warning and the receipt say that each step runs twice" {
    spawn one $PY "$ROOT/tests/interop/subscriber.py" "$steps" 1 0
    spawn two $PY "$ROOT/tests/interop/subscriber.py" "$steps" 1 0
    mkfifo input
    exec 8<>input
    spawn publish bash -c 'exec tasker-publish -v <input 8>&-'
    wait_until 10 both_subscribed
    cat batches >&8
    exec 8>&-
    finish_with 0 publish
    has '2 plain subscribers are at' publish.err
    has 'each step runs 2 times' publish.err
    [ "$(field_of publish.out .subscribers)" = 2 ]
    finish_with 0 one
    finish_with 0 two
}

both_subscribed() { [ "$(grep -c 'a peer subscribed to "steps"' publish.err)" -eq 2 ]; }
