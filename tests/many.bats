#!/usr/bin/env bats
# Many workers: who gets what, what is lost with one that dies, and that every start is counted.
load helper

setup() {
    test_begin
    endpoints
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml TASKER_ZEROMQ_HEARTBEAT_INTERVAL=300ms
    export TASKER_ZEROMQ_RECONNECT_MAX=200ms TASKER_WORKER_CONFIRM_TIMEOUT=1s
    export LOG=$PWD/starts GO=$PWD/go
    : >starts
    # Count writes a line a start, in one write; Wait also runs until the file go is there.
    cat >handlers.yaml <<'END'
handlers:
  Count: {command: [/bin/sh, -c, 'echo "$TASKER_STEP_ID $TASKER_ATTEMPT" >>"$LOG"']}
  Wait: {command: [/bin/sh, -c, 'echo "$TASKER_STEP_ID $TASKER_ATTEMPT" >>"$LOG"; read -r x <"$GO"']}
END
    mkfifo go
}

# worker NAME [OPTION...]: starts one with a result endpoint of its own
worker() {
    local name=$1
    shift
    TASKER_WORKER_ID=$name TASKER_ZEROMQ_RESULT_ENDPOINT='tcp://127.0.0.1:*' spawn "$name" tasker-work -v "$@"
}

# steps HANDLER FROM TO [ATTEMPT]
steps() {
    local i
    for ((i = $2; i <= $3; i++)); do
        printf '{"message_type":"step","step_id":%d,"task_id":1,"step_name":"s%d","handler_class":"%s","metadata":{"attempt":%d}}\n' \
            "$i" "$i" "$1" "${4:-1}"
    done
}

publish() { tasker-publish --batch-delay 20s "$@"; }

started() { [ "$(wc -l <starts)" -ge "$1" ]; }

is() { [ "$1" = "$2" ] || { printf 'is:     %s\nwanted: %s\n' "$1" "$2" >&2; return 1; }; }

# outcomes FILE: how many steps have which outcome
outcomes() {
    jq -r 'select(.message_type=="batch_reconciled")|.steps[].outcome' "$1" | sort | uniq -c | xargs
}

@test "many: a worker is killed, and its batch is told as lost after three intervals" {
    worker w1
    steps Wait 1 2 | publish >receipts
    wait_until 10 started 2
    tasker-collect receipts >results 2>err & PIDS[c]=$!
    wait_until 10 grep -q in_progress results
    signal w1 KILL
    now_ms && at=$REPLY
    finish_with 75 c 5
    now_ms
    [ $((REPLY - at)) -ge 600 ] && [ $((REPLY - at)) -lt 2500 ]
    has "lost with worker w1, of which nothing is heard any more: its completion and the results of 2 of 2 steps: 1, 2 did not come" err
    is "$(jq -c 'select(.message_type=="batch_error")|[.error.error_type,.error.error_category,.error.retryable,.worker_id,.missing_step_ids]' results)" \
        '["WorkerLost","infrastructure",true,"w1",[1,2]]'
    run -1 tasker-reconcile results
    is "$(jq -c '.steps[]|[.step_id,.outcome,.attempt,.retry_at!=null]' <<<"$output")" '[1,"retry",1,true]
[2,"retry",1,true]'
}
