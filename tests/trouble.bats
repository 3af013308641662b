#!/usr/bin/env bats
# What an attack on the whole found: publisher, worker and collector together, with input, handlers
# and peers that go to the limits.
load helper
load work

# steps_of CLASS...: step lines, numbered from 1
steps_of() {
    local class n=0
    for class; do
        n=$((n + 1))
        printf '{"step_id":%d,"task_id":1,"step_name":"s","handler_class":"%s"}\n' $n "$class"
    done
}

nested() { printf "%*s" "$1" "" | tr ' ' '['; printf "%*s" "$1" "" | tr ' ' ']'; }

@test "trouble: a step nested as deep as may be, and one deeper" {
    worker
    for depth in 56 57 58; do
        printf '{"step_id":%d,"task_id":1,"step_name":"s","handler_class":"True","task_context":{"x":%s}}\n' \
            $depth "$(nested $depth)"
    done >steps
    run -65 --separate-stderr timeout 60 tasker-publish -b 1 steps
    [ "$stderr" = 'tasker-publish: steps:3: the step is nested deeper than 59' ]
    timeout 60 tasker-collect <<<"$output" >results
    [ "$(grep -c '"status":"completed"' results)" = 2 ]
}

@test "trouble: outputs and progress nested deep, and outputs that grow by escapes, arrive" {
    handler Deep "echo '$(nested 59)'"
    handler Deeper "echo '$(nested 63)'"
    handler Progress "echo '{\"progress\":$(nested 62)}' >&3"
    handler Grows 'head -c 60000 /dev/zero | tr "\0" "\1"'
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=64K
    worker
    steps_of Deep Deeper Progress Grows >steps
    timeout 60 tasker-publish steps >receipts
    timeout 60 tasker-collect --strict receipts >results
    [ "$(of 1 'select(.status=="completed")|.output|type')" = array ]
    [ "$(of 2 'select(.status=="failed")|[.error.error_type,.error.error_category,.retryable,.error.message]|tostring')" = \
        '["OutputTooDeep","validation",false,"its output is nested deeper than 59 levels"]' ]
    [ "$(of 3 'select(.progress)|.progress|type')" = array ]
    [ "$(of 4 'select(.status=="completed")|[(.output|length),.execution_metadata.output_truncated,
        .execution_metadata.output_kept_bytes,.execution_metadata.output_bytes]|tostring')" = \
        '[4096,true,4096,60000]' ]
}

@test "trouble: an error that is too long arrives, and what is cut is whole characters" {
    handler Wordy 'printf "{\"error\":{\"message\":\"%060000d\",\"error_category\":\"permanent\"}}\n" 1 >&3; exit 1'
    local part
    part=$(printf 'é%.0s' {1..60})
    echo "  Long: {command: [./$part/$part/$part]}" >>handlers.yaml
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=16K
    worker
    steps_of Wordy Long True >steps
    timeout 60 tasker-publish steps >receipts
    timeout 60 tasker-collect receipts >results
    [ "$(of 1 'select(.status=="failed")|[.error.error_category,.retryable,(.error.message|length),
        .execution_metadata.shortened]|tostring')" = '["permanent",false,1024,true]' ]
    [ "$(of 2 'select(.status=="failed")|.error.error_type')" = HandlerMissing ]
    [[ $(of 2 'select(.status=="failed")|.error.message') == "cannot run ./$part/"*": No such file or directory" ]]
    [ "$(of 3 'select(.status=="completed")|.execution_metadata.shortened')" = null ]
}

@test "trouble: a batch whose completion could not be sent is refused" {
    export TASKER_ZEROMQ_MAX_MESSAGE_BYTES=64K
    worker
    steps_of $(printf 'True %.0s' {1..600}) >steps
    run -1 --separate-stderr timeout 60 tasker-publish -b 1000 steps
    has 'so many steps that the completion is over max_message_bytes' "$stderr"
}

@test "trouble: control characters that are not escaped are no JSON, on a pipe or the bus" {
    printf '{"message_type":"x","a":"\33[31m"}\n{"a":"b"\v}\n{"message_type":"y",\t"a":"\\u001b"}\n' >lines
    for program in tasker-publish tasker-collect tasker-reconcile; do
        run -65 --separate-stderr timeout 60 $program --set zeromq.wait=1s lines
        [ "$output" = "$(sed -n 3p lines)" ]
        has "$program: lines:1: malformed JSON: it holds a control character" "$stderr"
        has "$program: lines:2: malformed JSON" "$stderr"
    done
}

@test "trouble: a signal ends a program whose output nobody reads" {
    endpoints
    mkfifo full
    exec 7<>full
    head -c 65536 /dev/zero >full
    printf '{"message_type":"x"}\n{\n' >lines
    for program in tasker-publish tasker-collect 'tasker-reconcile --follow'; do
        spawn held bash -c 'p=$1; shift; exec "$p" "$@" lines >full 7>&-' - $program
        wait_line held.err 'lines:2: malformed'
        signal held TERM
        finish_with 74 held
        has 'standard output: stopped by a signal, and nobody reads it' held.err
    done
    # one that reads late gets all
    spawn held bash -c 'exec tasker-collect --follow lines >full 7>&-'
    wait_line held.err 'lines:2: malformed'
    head -c 65536 <&7 >/dev/null
    read -r -t 5 line <&7
    [ "$line" = '{"message_type":"x"}' ]
    signal held TERM
    finish_with 65 held
}

@test "trouble: results that the worker gave up end the wait, and are told as lost" {
    worker --set zeromq.outbox_limit=1 --max-workers 1 # so that the last message is of the last
    steps_of True True >steps
    timeout 60 tasker-publish -b 1 steps >receipts
    wait_line work.err '5 in all'
    run -75 --separate-stderr timeout 60 tasker-collect receipts
    has 'worker w1 has ended it and holds nothing more of it: its completion and the results of 1 of 1 step: 1 did not come' "$stderr"
    jq -e 'select(.message_type=="batch_error") | .missing_step_ids == [1] and .completion_missing and
        .error.error_type == "ResultsLost" and (.error.retryable | not)' <<<"$output"
    # one that still runs is waited for
    waiter
    signal work TERM
    finish_with 0 work
    worker
    steps_of Wait | timeout 60 tasker-publish >receipts
    spawn wait timeout 60 tasker-collect --status receipts
    told() { [ "$(grep -c '"running":1' wait.out)" -ge 3 ]; }
    wait_until 5 told
    py <<<'go()'
    finish_with 0 wait
    has '"status":"completed"' wait.out
}

@test "trouble: peers that subscribe to a megabyte, and 2000 collectors too many, cost little" {
    worker -v
    wait_line work.err 'is ready'
    steps_of True | timeout 60 tasker-publish >receipts
    script crowd <<'END'
c = Collector(None, topics=["worker_status"])
c.wait_status()
for i in range(2000):
    c.socket.send(b"\1collector.many%d " % i)
c.wait_status(lambda s: s["collectors"] == 1024, "a crowd")
flood = ctx.socket(zmq.XSUB)
flood.connect(RESULTS)
flood.set(zmq.LINGER, 0)
for i in range(8):
    flood.send(b"\1%d" % i + b"x" * 1000000)
status = len(c.told)
until(lambda: len(c.told) > status + 1, "more of the worker")
memory = [l for l in open("/proc/%d/status" % c.status["pid"]) if l.startswith("VmRSS")]
print("crowded", memory, flush=True)
assert int(memory[0].split()[1]) < 200000, memory
until(lambda: os.path.exists("done"), "the others", 80)
os.kill(os.getpid(), 9)
END
    spawn crowd timeout 90 /usr/bin/python3 crowd.py
    wait_line crowd.out crowded
    timeout 90 tasker-collect --timeout 60s receipts >results
    touch done
    finish crowd
    signal work TERM
    finish work
    [ "$(of 1 'select(.status=="completed")|.step_id')" = 1 ]
}

# Runs each program that needs a socket or a store, after the words that are given; it must refuse.
all_refuse() { # TEXT PREFIX...
    local text=$1 call status failed=0
    shift
    while read -r call; do
        status=0
        # shellcheck disable=SC2086
        timeout -k 2 60 "$@" "$TASKER_BIN"/$call <<<'{"step_id":1,"task_id":1,"step_name":"s","handler_class":"True"}' \
            >.out 2>.err 3>&- 4>&- || status=$?
        [ "$status" -eq 69 ] && grep -q "$text" .err && continue
        echo "$call: status $status: $(cat .err)"
        failed=1
    done <<'END'
tasker-publish --wait 30s
tasker-collect --follow
tasker-collect --tap
tasker-ready --store sqlite:s.db
tasker-reconcile --ledger --store sqlite:s.db
tasker-resolve --store sqlite:s.db cancel 1 --reason x
tasker-status --store sqlite:s.db tasks
tasker-status workers
tasker-work -H handlers.yaml
END
    return $failed
}

@test "trouble: with too few descriptors or processes each program refuses, with the number" {
    local n uid=$((70000 + $$))
    for n in 8 12; do
        # shellcheck disable=SC2016
        all_refuse 'more file descriptors are needed.*the limit (ulimit -n) is\|cannot make a pipe: Too many' \
            bash -c 'ulimit -n "$0"; exec "$@"' $n
    done
    for n in 16 20 24 28 32 36 44; do # none is aborted by libzmq
        for call in "tasker-publish --wait 0" "tasker-collect --timeout 1ms --all" "tasker-work -H handlers.yaml"; do
            status=0
            # shellcheck disable=SC2086
            (ulimit -n $n && exec timeout -s TERM 60 $call) </dev/null >/dev/null 2>.err 3>&- 4>&- || status=$?
            [[ $status =~ ^(0|69|75)$ ]] || { echo "$n: $call: $status: $(cat .err)" && return 1; }
        done
        [ "$status" -eq 69 ] # the worker's
    done
    [ $UID -eq 0 ] || return 0 # a user of whom no process runs is needed
    open_to_all
    # shellcheck disable=SC2016
    all_refuse 'more processes or threads are needed.*the limit (ulimit -u) is' \
        bash -c 'ulimit -u 2; exec setpriv --reuid="$0" --clear-groups "$@"' $uid
}

@test "trouble: with too little memory for its threads a worker names that limit" {
    ! ldd "$TASKER_BIN/tasker-work" | grep -q asan || skip "a sanitizer needs more memory"
    run -69 --separate-stderr bash -c 'ulimit -v 60000 && exec tasker-work -H handlers.yaml'
    has '(ulimit -v) is 60000' "$stderr"
}

# Whether the program runs, no longer the shell that starts it, and catches TERM: only its own loop can
# end it then.
catches_term() {
    grep -q '^tasker-' "/proc/${PIDS[$1]}/comm" && (((0x$(awk '/^SigCgt/ {print $2}' "/proc/${PIDS[$1]}/status") & 0x4000) != 0))
}

@test "TERM ends a program whose FILE is a FIFO that nobody writes" {
    local n=0 command
    mkfifo fifo
    for command in 'publish' 'collect' 'reconcile' 'reconcile --follow'; do
        n=$((n + 1))
        spawn "$n" tasker-${command%% *} ${command#"${command%% *}"} --store none fifo
        wait_until 10 catches_term "$n"
        signal "$n" TERM
        finish "$n"
        [ "$status" -lt 128 ]
    done
}

@test "a FIFO as FILE is read to the end of its writer, who may come late" {
    mkfifo fifo
    spawn rec tasker-reconcile --store none fifo
    printf '{"mark":1}\n{"mark":2}\n' >fifo
    finish rec
    [ "$status" -eq 0 ]
    [ "$(jq -c .mark rec.out | xargs)" = "1 2" ]
}
