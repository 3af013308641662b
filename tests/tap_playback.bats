#!/usr/bin/env bats
# What tasker-collect --tap recorded, played back: by tasker-publish --raw, and by tasker-reconcile.
load helper
load work
load tap

@test "tap: bad records, a table, for --raw and for reconcile" {
    {
        echo 'no JSON' # 1
        echo '[]'
        echo '{"topic":"steps","message":{}}' # 3
        echo '{"message_type":"tapped"}'
        echo '{"message_type":"tapped","topic":7,"message":{}}' # 5
        echo '{"message_type":"tapped","topic":"steps"}'
        line steps '[]' # 7
        line steps '{}' '"raw":"x"'
        line steps '{}' '"time":"2026-02-29T12:00:00Z"' # 9
        echo '{"message_type":"tapped","topic":"steps","raw":1}'
        echo '{"message_type":"tapped","topic":"steps","raw":"","raw_base64":"%"}' # 11
        line "$(printf %0256d 1)" '{}'
        echo '{"message_type":"tapped","topic":"steps","raw":"{","truncated":true}' # 13
        echo '{"message_type":"other"}'
    } >bad.jsonl
    printf 'x\0y\n' >nul.jsonl
    run_case_table tasker-publish <<'END'
nothing | --raw | - | 0 |
no such file | --raw none.jsonl | - | 74 | none.jsonl
bad lines | --raw bad.jsonl | - | 65 | bad.jsonl:13: the message was too long
a NUL | --raw nul.jsonl | - | 65 | nul.jsonl:1
nobody subscribes | --raw --wait 50ms | {"message_type":"tapped","topic":"t","message":{}} | 75 | -:1: not sent, nor what follows: nobody subscribes to topic "t"
pace without raw | --pace recorded | - | 64 | --pace is only of use with --raw
bad pace | --raw --pace fast | - | 64 | fast
raw and dry run | --raw --dry-run | - | 64 | --raw does not go with
raw and workers | --raw --workers 2 | - | 64 | --raw does not go with
bad endpoint | --raw --batch-endpoint x | - | 64 | "x"
disk full | --raw >/dev/full | - | 74 | standard output
sockets switched off | --raw --set zeromq.enabled=false | - | 78 | switched off
END
    run --separate-stderr tasker-publish --raw bad.jsonl
    [ "$status" -eq 65 ]
    is "$(jq -c '[.message_type,.sent,.bad_lines]' <<<"$output" | xargs)" '[other,null,null] [played_back,0,13]'
    is "$(grep -o 'bad.jsonl:[0-9]*' <<<"$stderr" | sed 's/.*://' | xargs)" "$(seq 13 | xargs)"
    run --separate-stderr tasker-reconcile bad.jsonl # 3 is not its own
    [ "$status" -eq 65 ]
    is "$(grep -o 'bad.jsonl:[0-9]*' <<<"$stderr" | sed 's/.*://' | xargs)" "1 2 $(seq 4 13 | xargs)"
    is "$(grep -c . <<<"$output")" 2
}

@test "tap: any bytes are recorded and played back as they were" {
    cat >messages.py <<'END'
import random
random.seed(5)
MESSAGES = [b"steps {\"a\": 1.50, \"b\":\"\\u00e9\"}", "steps {\"ä\":\"ö\"}".encode(), b"{\"no\":\"topic\"}", b"word",
            b"two words", b"steps {broken", b"steps [1]", b"steps 7", b"steps null", b"x\0y z\0", b"a  ", b"~",
            b"t\xff\xfe \x80", b"steps \xc3", b"q {\"bad\":\"\xff\"}", b"!" * 300 + b" {}",
            b"steps {\"deep\":" + b"[" * 100 + b"]" * 100 + b"}"]
MESSAGES += [b"r" + bytes(random.randrange(256) for i in range(n)) for n in range(60)]
END
    export PYTHONPATH=$PWD
    tap --count 77 "$STEPS"
    bare pub <<'END'
from messages import MESSAGES
s = sock(zmq.XPUB, STEPS, True)
wait_for(s, b"~")
for m in MESSAGES: s.send(m)
s.recv()
END
    finish_with 0 tap
    finish pub
    jq -e 'select(.message_type!="tapped" or (.message==null and .raw==null))' tap.out && return 1
    is "$(jq -s 'map(select(.message))|length' tap.out)" 3
    bare sub <<'END'
from messages import MESSAGES
s = sock(zmq.SUB, RESULTS, False)
s.subscribe("")
got = [s.recv() for m in MESSAGES]
assert got == MESSAGES, [x for x in zip(got, MESSAGES) if x[0] != x[1]]
END
    tasker-publish --raw --batch-endpoint "$RESULTS" tap.out >sent
    finish_with 0 sub
    is "$(jq -c '[.sent,.bad_lines]' sent)" '[77,0]'
}

@test "tap: what was recorded goes to a collector, and to a worker" {
    worker
    tap
    wait_line tap.out '"topic":"worker_status"'
    batch b1 >batches.jsonl
    pipeline batches.jsonl
    wait_line tap.out '"topic":"batch_completion"'
    wait_line tap.out '"topic":"worker.w1"'
    signal tap TERM && finish_with 0 tap
    signal work TERM && finish_with 0 work
    grep -E '"topic":"(partial_result|batch_completion)"' tap.out >results.tap
    spawn again tasker-collect --count 3
    tasker-publish --raw --batch-endpoint "$RESULTS" results.tap >sent
    finish_with 0 again
    diff <(grep -v batch_published results.jsonl | grep -v worker_status) again.out
    is "$(jq -c '[.message_type,.sent]' sent)" '["played_back",3]'

    worker
    spawn results tasker-collect --count 3
    jq -c 'select(.topic=="worker.w1")' tap.out | tasker-publish --raw >sent
    finish_with 0 results
    is "$(jq -r 'select(.status=="completed").batch_id' results.out)" b1
}

@test "tap: the recorded pace, and at once" {
    line t '{"n":1}' '"time":"2026-01-01T00:00:00.000Z"' >rec
    line t '{"n":2}' '"time":"2026-01-01T00:00:00.700Z"' >>rec
    line t '{"n":3}' '"time":"2026-01-01T00:00:00.100Z"' >>rec # the clock was set back
    line t '{"n":4}' >>rec
    for pace in recorded at-once; do
        bare sub <<'END'
s = sock(zmq.SUB, STEPS, False)
s.subscribe("t ")
for i in range(4): print(s.recv().decode())
END
        timeout 60 tasker-publish --raw --pace $pace rec >"sent.$pace"
        finish_with 0 sub
        is "$(grep -o '[0-9]' sub.out | xargs)" "1 2 3 4"
        sed -i 's/T00:00:00.700Z/T09:00:00.000Z/' rec # at its own pace it would take hours now
    done
    jq -e '.duration_ms >= 690' sent.recorded
}

@test "tap: playing back waits for the subscriber of each topic; a tap is none while others may come" {
    line a '{"n":1}' >rec
    line b '{"n":2}' >>rec
    tap --count 1
    spawn raw tasker-publish --raw --wait 10s -v rec
    wait_line raw.err ': listening'
    bare sub <<'END'
s = sock(zmq.SUB, STEPS, False)
s.subscribe("a ")
print(s.recv().decode(), flush=True)
s.subscribe("b")
print(s.recv().decode(), flush=True)
END
    finish_with 0 raw
    finish_with 0 sub
    finish_with 0 tap
    has '"sent":2' raw.out

    tap --count 2
    run --separate-stderr tasker-publish --raw --wait 5s rec
    [ "$status" -eq 0 ]
    has 'nobody but a tap subscribes to topic "a"' "$stderr"
    finish_with 0 tap
}

@test "tap: playing back is stopped by a signal, and says where" {
    line a '{"n":1}' >rec
    spawn raw tasker-publish --raw -v rec
    wait_line raw.err ': listening'
    signal raw TERM
    finish_with 75 raw
    has 'rec:1: not sent, nor what follows: stopped by a signal' raw.err
    has '"sent":0' raw.out
}

@test "tap: one endpoint into another, through a pipe" {
    other=tcp://127.0.0.1:$(port)
    tasker-collect --tap "$STEPS" --count 2 2>tap.err 3>&- 4>&- | tasker-publish --raw --batch-endpoint "$other" >raw.out 3>&- 4>&- &
    PIDS[pipe]=$!
    export RESULTS=$other
    bare pub <<'END'
s, t = sock(zmq.XPUB, STEPS, True), sock(zmq.SUB, RESULTS, False)
t.subscribe("")
wait_for(s, b"~")
s.send(b"steps {\"n\":1}")
assert t.recv() == b"steps {\"n\":1}"
s.send(b"steps {\"n\":2}")
assert t.recv() == b"steps {\"n\":2}"
END
    finish_with 0 pub
    finish_with 0 pipe
    has '"sent":2' raw.out
}

@test "tap: reconcile fails the step of a recorded result that is beyond the limits" {
    local deep
    deep=$(printf '[%.0s' {1..80})$(printf ']%.0s' {1..80})
    printf '{"message_type":"tapped","topic":"partial_result","raw":"%s"}\n' \
        '{\"batch_id\":\"b1\",\"output\":'"$deep"',\"status\":\"completed\",\"step_id\":1}' >rec
    line batch_completion '{"batch_id":"b1","total_steps":1,"step_summaries":[{"step_id":1,"final_status":"completed"}]}' >>rec
    run -1 tasker-reconcile rec
    is "$(jq -r '.steps[]|[.outcome,.error_message]|join(" ")' <<<"$output")" "failed JSON is nested deeper than 64"
}

@test "tap: reconcile takes the older shapes of a record, and passes on what it has no use for" {
    line results '{"batch_id":"b1","results":[{"step_id":1,"status":"completed"}]}' >rec
    line partial_result '{"batch_id":"b2","step_id":2,"status":"completed"}' >>rec
    line batch_completion '{"batch_id":"b2","total_steps":1,"completed_steps":1,"failed_steps":0,"step_summaries":[{"step_id":2,"final_status":"completed"}]}' >>rec
    line steps '{"batch_id":"b2","steps":[]}' >>rec
    line worker_status '{"message_type":"worker_status"}' >>rec
    run tasker-reconcile rec
    [ "$status" -eq 0 ]
    is "$(jq -r '[.message_type,.topic//.batch_id]|join(" ")' <<<"$output" | sort | xargs)" \
        "batch_reconciled b1 batch_reconciled b2 tapped steps tapped worker_status"
}
