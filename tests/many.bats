#!/usr/bin/env bats
# Many workers: who gets what, what is lost with one that dies, and that every start is counted.
load helper

setup() {
    test_begin
    endpoints
    export TASKER_WORKER_HANDLERS=$PWD/handlers.yaml TASKER_ZEROMQ_HEARTBEAT_INTERVAL=1s
    export TASKER_ZEROMQ_RECONNECT_MAX=200ms TASKER_WORKER_CONFIRM_TIMEOUT=20s
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
    finish_with 75 c
    elapsed 1000
    has "lost with worker w1, of which nothing is heard any more: its completion and the results of 2 of 2 steps: 1, 2 did not come" err
    is "$(jq -c 'select(.message_type=="batch_error")|[.error.error_type,.error.error_category,.error.retryable,.worker_id,.missing_step_ids]' results)" \
        '["WorkerLost","infrastructure",true,"w1",[1,2]]'
    run -1 tasker-reconcile results
    is "$(jq -c '.steps[]|[.step_id,.outcome,.attempt,.retry_at!=null]' <<<"$output")" '[1,"retry",1,true]
[2,"retry",1,true]'
}

elapsed() { now_ms && [ $((REPLY - at)) -ge "$1" ]; }

@test "many: a collector that was stopped does not blame the worker" {
    worker w1
    steps Wait 1 1 | publish >receipts
    wait_until 10 started 1
    tasker-collect -v receipts >results 2>err & PIDS[c]=$!
    wait_until 10 grep -q in_progress results
    for pause in 1 2; do
        signal c STOP
        now_ms && at=$REPLY
        wait_until 10 elapsed 5000 # five intervals
        signal c CONT
        now_ms && at=$REPLY
        wait_until 10 elapsed 1000
        running c
    done
    echo >"$GO"
    finish_with 0 c
    run -0 tasker-reconcile results
}

@test "many: a collector whose output is not read does not blame it either" {
    worker w1
    steps Wait 1 1 | publish >receipts
    wait_until 10 started 1
    mkfifo slow
    exec {SLOW}<>slow
    head -c 70000 /dev/zero | tr '\0' x >long
    { printf '{"message_type":"note","text":"%s"}\n' "$(cat long)"; cat receipts; } >in
    tasker-collect in >slow 2>err {SLOW}>&- & PIDS[c]=$!
    now_ms && at=$REPLY
    wait_until 10 elapsed 5000 # the pipe is full: it cannot even say so
    cat slow >results {SLOW}>&- & PIDS[cat]=$!
    wait_until 10 test -s results # it reads: the pipe will not be without a reader
    exec {SLOW}>&-
    now_ms && at=$REPLY
    wait_until 10 elapsed 1000
    running c
    echo >"$GO"
    finish_with 0 c
    finish_with 0 cat
    run -0 tasker-reconcile results
}

@test "many: a worker that ends at once tells so, and nobody waits for its silence" {
    export TASKER_ZEROMQ_HEARTBEAT_INTERVAL=20s
    worker w1
    steps Wait 1 1 | publish >receipts
    wait_until 10 started 1
    tasker-collect receipts >results 2>err & PIDS[c]=$!
    wait_until 10 grep -q in_progress results
    signal w1 TERM
    wait_line w1.err "stopping: 1 step is"
    again() { signal w1 TERM 2>/dev/null || true; ! running w1; }
    wait_until 10 again
    finish_with 75 w1
    finish_with 75 c
    has "lost with worker w1" err
}

@test "many: a worker that was never reached is not lost: what became of its steps is not known" {
    printf '{"message_type":"batch_published","batch_id":"b1","source":"s1","worker_id":"w9","result_endpoint":"tcp://127.0.0.1:1","step_ids":[7],"steps":[{"step_id":7,"attempt":1,"retry_limit":3}]}\n' >receipts
    now_ms && at=$REPLY
    run -75 --separate-stderr timeout 90 tasker-collect --silence-timeout 7s receipts
    elapsed 6900 # three intervals and the time to connect are over before that
    is "$stderr" "tasker-collect: warning: never reached w9 at tcp://127.0.0.1:1: connection refused; a loopback address: is this its machine?
tasker-collect: error: batch b1: never reached worker w9 at tcp://127.0.0.1:1: connection refused, so its steps may have run: its completion and the results of 1 of 1 step: 7 did not come"
    is "$(jq -c 'select(.message_type=="batch_error")|[.error.error_type,.error.error_category]' <<<"$output")" '["BatchTimeout","timeout"]'
    run -75 tasker-reconcile <<<"$output"
    is "$(jq -c '[.verdict,.steps[0].outcome]' <<<"$output")" '["timed_out","unknown"]'
}

@test "many: a worker that was only stopped comes back, and its late results change nothing" {
    worker w1
    steps Wait 1 1 | publish >receipts
    wait_until 10 started 1
    tasker-collect receipts >first 2>err & PIDS[c]=$!
    wait_until 10 grep -q in_progress first
    signal w1 STOP
    finish_with 75 c
    mkfifo to
    exec {TO}<>to
    spawn r tasker-reconcile --follow --settle 100ms to
    cat first >&"$TO"
    wait_line r.out '"outcome":"retry"'
    signal w1 CONT
    echo >"$GO"
    tasker-collect receipts >second
    grep -v batch_published second >&"$TO"
    wait_line r.out '"revision":2'
    exec {TO}>&-
    signal r TERM
    finish r
    is "$(jq -c '[.revision,.verdict,.steps[0].outcome]' r.out)" '[1,"discrepant","retry"]
[2,"discrepant","unknown"]'
    has late_result "$(tail -n 1 r.out)"
}

@test "many: what a stopped worker has not accepted is run by another, and not by it as well" {
    worker w1
    mkfifo in && exec {IN}<>in
    spawn p tasker-publish -v --batch-size 1 --batch-delay 10ms --wait 20s in
    wait_line p.err 'worker.w1.*registered'
    signal w1 STOP
    steps Count 1 5 >&"$IN"
    worker w2
    wait_line p.err 'worker.w1.*gone'
    accepted() { [ "$(grep -c batch_published p.out)" -eq 5 ]; }
    wait_until 10 accepted
    [ "$(jq -r .worker_id p.out | sort -u)" = w2 ]
    signal w1 CONT
    steps Count 6 10 >&"$IN"
    accepted() { [ "$(grep -c batch_published p.out)" -eq 10 ]; }
    wait_until 10 accepted
    signal p TERM
    finish p
    wait_until 10 started 10
    tasker-collect --timeout 60s p.out >results
    tasker-reconcile results >out
    is "$(outcomes out)" "10 done"
    is "$(sort -n starts | xargs -n 2 echo | xargs)" "$(for i in {1..10}; do echo "$i 1"; done | xargs)"
}

@test "many: batches go to free slots" {
    worker wide -j 8
    worker narrow -j 1
    mkfifo in && exec {IN}<>in
    spawn p tasker-publish --workers 2 --batch-size 1 --batch-delay 10ms in
    for i in {1..9}; do
        steps Wait "$i" "$i" >&"$IN"
        accepted() { [ "$(grep -c batch_published p.out)" -eq "$i" ]; }
        wait_until 10 accepted
    done
    is "$(jq -r .worker_id p.out | sort | uniq -c | xargs)" "1 narrow 8 wide"
    wait_until 10 started 9 # none waits
    signal p TERM
    finish p
}

# Runs steps in rounds: what is to be done again is published with its next attempt.
rounds() {
    local round workers=5
    for ((round = 1; round <= 9; round++, workers = 1)); do
        tasker-publish --batch-size 5 --wait 20s --workers "$workers" "in.$round" >"receipts.$round" 2>"p.$round" || return 1
        tasker-collect --timeout 40s "receipts.$round" >"results.$round" 2>"c.$round" || [ $? -eq 75 ] || return 1
        tasker-reconcile "results.$round" >"out.$round" || [ $? -eq 1 ] || return 1
        jq -c 'select(.message_type=="batch_reconciled")|.steps[]|select(.outcome=="retry")|{message_type:"step",step_id,
            task_id:1,step_name:"s",handler_class:"Slow",metadata:{attempt:(.attempt+1),retry_limit:9}}' \
            "out.$round" >"in.$((round + 1))"
        [ -s "in.$((round + 1))" ] || return 0
    done
    return 1
}

@test "many: workers are killed, stopped and ended; every start is counted, each step has one outcome" {
    local i
    cat >>handlers.yaml <<'END'
  Slow: {command: [/bin/sh, -c, 'echo "$TASKER_STEP_ID $TASKER_ATTEMPT" >>"$LOG"; read -r -t 0.3 x <>"$NAPS" || :']}
END
    sed -i 's,Slow: {command: ./bin/sh,Slow: {command: [/bin/bash,' handlers.yaml
    export NAPS=$PWD/naps TASKER_ZEROMQ_RESEND_AFTER=300ms
    mkfifo naps
    for i in 1 2 3 4 5; do worker "w$i" -j 3; done
    steps Slow 1 240 | jq -c '.metadata.retry_limit=9' >in.1
    spawn rounds rounds
    wait_until 20 started 30
    signal w1 KILL
    wait_until 20 started 60
    signal w2 STOP
    wait_until 20 started 90
    signal w3 TERM
    finish w1
    wait_until 20 started 120
    worker w6 -j 3
    now_ms && at=$REPLY
    wait_until 10 elapsed 5000
    signal w2 CONT
    finish_with 0 rounds 60
    # Each step has one outcome that ends it, and it is that it is done.
    is "$(cat out.* | jq -r 'select(.message_type=="batch_reconciled")|.steps[]|select(.outcome!="retry")|"\(.step_id) \(.outcome)"' | sort -n | xargs)" \
        "$(for ((i = 1; i <= 240; i++)); do echo "$i done"; done | xargs)"
    # No attempt of a step was started twice; and a second attempt only after the first was given up.
    is "$(sort starts | uniq -d)" ""
    is "$(awk '{print $1}' starts | sort -un | wc -l)" 240
    # Both that were silent were told as lost.
    is "$(cat results.* | jq -r 'select(.message_type=="batch_error")|[.worker_id,.error.error_type]|@tsv' | sort -u | xargs)" \
        "w1 WorkerLost w2 WorkerLost"
}

# ---- ports that change hands

@test "many: a port that a worker of others takes is left to them" {
    worker w1
    mkfifo receipts
    exec {KEEP}<>receipts
    spawn c tasker-collect -v --follow receipts {KEEP}>&-
    steps Count 1 1 | publish >first
    cat first >receipts
    wait_line c.out '"batch_completion"'
    theirs=$(jq -r .result_endpoint first)
    signal w1 KILL
    finish w1
    # the others: their worker gets the port that this one had, and their collector comes late
    batch=tcp://127.0.0.1:$(port)
    TASKER_ZEROMQ_BATCH_ENDPOINT=$batch TASKER_ZEROMQ_RESULT_ENDPOINT=$theirs TASKER_WORKER_ID=x1 \
        TASKER_WORKER_CONFIRM_TIMEOUT=20s spawn x tasker-work -v
    wait_line c.err "worker x1, which no receipt names, has taken $theirs"
    steps Count 100 139 | TASKER_ZEROMQ_BATCH_ENDPOINT=$batch publish --batch-size 10 >second
    wait_until 20 started 41
    TASKER_ZEROMQ_RESULT_ENDPOINT=$theirs tasker-collect second >results
    is "$(jq -r 'select(.status=="completed").step_id' results | sort -n | xargs)" "$(seq 100 139 | xargs)"
    is "$(jq -r 'select(.worker_id=="x1").step_id' c.out | xargs)" ""
    # a receipt that names it makes it one of ours
    steps Count 200 200 | TASKER_ZEROMQ_BATCH_ENDPOINT=$batch publish >third
    cat third >receipts
    wait_line c.out '"step_id":200,.*"completed"'
}

@test "many: where a worker has ended, its collector leaves" {
    mkfifo receipts
    exec {KEEP}<>receipts
    worker w1
    spawn c tasker-collect -v --follow receipts {KEEP}>&-
    steps Count 1 1 | publish >first
    cat first >receipts
    wait_line c.out '"batch_completion"'
    signal w1 TERM
    finish_with 0 w1
    theirs=$(jq -r .result_endpoint first)
    wait_line c.err "leaving $theirs: nothing more can come from there"
    # the same endpoint again, of a worker that a receipt names
    TASKER_ZEROMQ_RESULT_ENDPOINT=$theirs TASKER_WORKER_ID=w2 spawn w2 tasker-work -v
    steps Count 2 2 | publish >second
    cat second >receipts
    wait_line c.out '"step_id":2,.*"completed"'
}
