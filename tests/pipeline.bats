#!/usr/bin/env bats
# The main job end to end: publish, work, collect and reconcile, started in any order.
load helper

setup() {
    test_begin
    endpoints
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml
    cat >handlers.yaml <<'END'
handlers:
  Test::Echo: {command: [/bin/sh, -c, 'echo "$TASKER_STEP_ID" >>"$HOME/runs"; cat']}
  Test::Fail: {command: [/bin/sh, -c, 'echo "not today" >&2; exit 65']}
END
}

# Prints steps FROM to TO of a handler.
steps() {
    local i
    for ((i = $2; i <= $3; i++)); do
        printf '{"message_type":"step","step_id":%d,"task_id":1,"step_name":"s%d","handler_class":"Test::%s"}\n' \
            "$i" "$i" "$1"
    done
}

verdicts() { jq -r 'select(.message_type=="batch_reconciled")|.verdict' "$1" | sort | uniq -c | xargs; }

@test "pipeline: the worker is there first" {
    spawn work tasker-work
    steps Echo 1 10 >in
    tasker-publish --batch-size 5 --batch-delay 20s in | tasker-collect --timeout 60s | tasker-reconcile >out
    [ "$(verdicts out)" = "2 consistent" ]
    [ "$(sort -n home/runs | xargs)" = "1 2 3 4 5 6 7 8 9 10" ]
    signal work TERM
    finish_with 0 work
}

@test "pipeline: the worker comes last" {
    steps Echo 1 3 >in
    spawn all bash -c 'tasker-publish --batch-delay 20s in | tasker-collect --timeout 60s | tasker-reconcile'
    wait_until 30 listening "$TASKER_ZEROMQ_BATCH_ENDPOINT"
    spawn work tasker-work
    finish_with 0 all
    [ "$(verdicts all.out)" = "1 consistent" ]
}

listening() { (exec 9<>"/dev/tcp/127.0.0.1/${1##*:}") 2>/dev/null; }

@test "pipeline: collected later, by the receipts" {
    spawn work tasker-work
    steps Echo 1 3 | tasker-publish --batch-delay 20s >receipts
    wait_until 10 grep -q 3 home/runs
    tasker-collect --timeout 60s receipts >results
    tasker-reconcile results >out
    [ "$(verdicts out)" = "1 consistent" ]
}

# Prints a batch of steps FROM to TO, named by a printf format, in one line.
batch_of() {
    printf '{"batch_id":"big","steps":['
    seq "$1" "$2" | jq -c --arg name "$3" '{step_id: ., task_id: 1, step_name: ($name + tostring), handler_class: "Test::Echo"}' | paste -sd,
}

@test "pipeline: a receipt that is longer than a message" {
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=64K
    spawn work tasker-work
    { batch_of 1 330 "$(printf 'n%.0s' {1..90})" | tr -d '\n'; echo ']}'; } >in
    [ "$(wc -c <in)" -lt 65536 ]
    tasker-publish in >receipt
    [ "$(wc -c <receipt)" -gt 65536 ]
    tasker-collect --timeout 30s receipt | tasker-reconcile >out
    [ "$(verdicts out)" = "1 consistent" ]
}

# Ids that are written as short as can be, and told in full.
@test "pipeline: the longest receipt that a batch can have is read" {
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=8K
    spawn w /usr/bin/python3 "$ROOT/tests/publish_peer.py" "$TASKER_ZEROMQ_BATCH_ENDPOINT" --id w
    for i in {1..8}{0..9}; do
        echo '{"step_id":'$i'e14,"task_id":1e15,"step_name":"a","handler_class":"H"}'
    done | paste -sd, | sed 's/^/{"batch_id":"ids","steps":[/; s/$/]}/' >in
    [ "$(wc -c <in)" -lt 8192 ]
    tasker-publish in >receipt
    [ "$(wc -c <receipt)" -gt $((2 * $(wc -c <in))) ]
    run -75 --separate-stderr tasker-collect --timeout 100ms receipt
    [ "${lines[0]}" = "$(cat receipt)" ]
    has "results of 80 of 80 steps" "$stderr"
    run -75 --separate-stderr tasker-reconcile receipt
    [ "$(jq -c '[.verdict, .counts.total]' <<<"$output")" = '["incomplete",80]' ]
}

@test "pipeline: a step that fails makes the answer no" {
    spawn work tasker-work
    { steps Echo 1 2; steps Fail 3 3; } >in
    set -o pipefail
    tasker-publish --batch-delay 20s in | tasker-collect --timeout 60s >results
    set +o pipefail
    run -1 tasker-reconcile results
    [ "$(jq -r 'select(.status=="failed")|[.step_id,.error.error_category,.error.retryable,.error.exit_status]|@csv' results)" = '3,"validation",false,65' ]
    has "not today" "$(jq -r 'select(.status=="failed")|.error.backtrace[]' results)"
}

@test "pipeline: three workers share the work, and each step is run once" {
    local i
    for i in 1 2 3; do
        TASKER_WORKER_ID=w$i TASKER_ZEROMQ_RESULT_ENDPOINT='tcp://127.0.0.1:*' spawn work$i tasker-work
    done
    steps Echo 1 60 >in
    tasker-publish --workers 3 --batch-size 4 --batch-delay 20s in | tasker-collect --timeout 60s >results
    tasker-reconcile results >out
    [ "$(verdicts out)" = "15 consistent" ]
    [ "$(sort -n home/runs | xargs)" = "$(seq 60 | xargs)" ]
    [ "$(jq -r 'select(.message_type=="batch_published")|.worker_id' results | sort -u | xargs)" = "w1 w2 w3" ]
}

@test "pipeline: other lines pass untouched and in order, through all stages" {
    spawn work tasker-work
    { echo '{"message_type":"note","n": 1}'; steps Echo 1 1; echo '{"message_type":"note","n":2.50}'; } >in
    tasker-publish --batch-delay 20s in | tasker-collect --timeout 60s | tasker-reconcile >out
    [ "$(grep -F '"note"' out)" = "$(grep -F '"note"' in)" ]
}

@test "pipeline: with no worker it ends in time with 75 and names what was not sent" {
    steps Echo 1 2 >in
    run -75 --separate-stderr tasker-publish --wait 300ms in
    [ -n "$stderr" ]
}

@test "pipeline: a worker that dies is replaced, and each step has one result" {
    TASKER_WORKER_ID=dies TASKER_ZEROMQ_RESULT_ENDPOINT='tcp://127.0.0.1:*' spawn dies tasker-work
    steps Echo 1 2 | tasker-publish --batch-delay 20s >receipts
    tasker-collect --timeout 60s receipts | tasker-reconcile >out
    [ "$(verdicts out)" = "1 consistent" ]
    signal dies KILL
    finish dies
    spawn work tasker-work
    steps Echo 3 4 | tasker-publish --batch-delay 20s | tasker-collect --timeout 60s | tasker-reconcile >out
    [ "$(verdicts out)" = "1 consistent" ]
}
